//! Somebody's device, each command a process.

use std::path::PathBuf;
use std::process::Command;

use hushwire_tools::relay_process::RelayProcess;
use serde_json::Value;
use tempfile::TempDir;

use super::program::{Ended, Program};

/// Somebody's device.
#[derive(Debug)]
pub struct Person {
    pub home: PathBuf,
}

impl Person {
    /// Without an identity.
    pub fn new(place: &TempDir, name: &str) -> Self {
        Self { home: place.path().join(name) }
    }

    pub fn enrolled(place: &TempDir, name: &str, relay: &RelayProcess) -> Self {
        let person = Self::new(place, name);
        person.json(&["enroll", &relay.invite().expect("an invite")]);
        person
    }

    pub fn hush(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(super::hush());
        command.arg("--keystore").arg(&self.home).args(arguments).env_remove("HUSH_KEYSTORE");
        command
    }

    /// Starts a command.
    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(&mut self.hush(arguments))
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"")
    }

    /// Runs a command to its end, with `input`.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        Program::run(&mut self.hush(arguments), input)
    }

    /// What it prints to a person.
    #[track_caller]
    pub fn says(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// The objects that it prints to a program, one a line, and nothing else.
    #[track_caller]
    pub fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.run(&[&["--json"], arguments].concat());
        assert_eq!((ended.code, ended.error.as_str()), (0, ""), "{arguments:?}");
        ended.out.lines().map(parse).collect()
    }

    /// The one object that it prints to a program.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut objects = self.objects(arguments);
        assert_eq!(objects.len(), 1, "{arguments:?}: {objects:?}");
        objects.remove(0)
    }

    /// It ends with this code and a sentence with these words.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        self.run(arguments).assert(code, words);
    }

    pub fn id(&self) -> String {
        self.json(&["id"])["device"].as_str().expect("an ID").to_owned()
    }
}

/// Alice and Bob, enrolled and paired, who call each other by name.
pub fn alice_and_bob(place: &TempDir, relay: &RelayProcess) -> (Person, Person) {
    let alice = Person::enrolled(place, "alice", relay);
    let bob = Person::enrolled(place, "bob", relay);
    let mut offering = alice.start(&["--json", "pair", "--yes", "--name", "bob"]);
    let link = parse(&offering.line())["link"].as_str().expect("a link").to_owned();
    bob.json(&["pair", &link, "--yes", "--name", "alice"]);
    assert_eq!(offering.end().code, 0);
    (alice, bob)
}

/// One object.
#[track_caller]
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// A directory that is gone with the test.
pub fn place() -> TempDir {
    tempfile::tempdir().expect("a directory")
}
