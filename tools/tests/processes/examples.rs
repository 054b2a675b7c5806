//! The examples of the endpoint library, each as two processes with a real relay between them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use hushwire_tools::relay_process::RelayProcess;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::people::{enrol, random};
use crate::support::program::Program;

/// The programs by name, built from the sources beside this test into the directory it was built into.
static EXAMPLES: LazyLock<HashMap<String, PathBuf>> = LazyLock::new(|| {
    let test = std::env::current_exe().expect("the test's own path");
    // TARGET/PROFILE/deps/processes-…
    let profile = test.parent().and_then(Path::parent).expect("a profile's directory");
    let target = profile.parent().expect("a target directory");
    let profile = match profile.file_name().and_then(|name| name.to_str()).expect("a profile") {
        "debug" => "dev",
        other => other,
    };
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--workspace", "--examples", "--locked"])
        .args(["--message-format", "json-render-diagnostics", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let lines = String::from_utf8(built.stdout).expect("JSON");
    let artifacts = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let programs = artifacts.filter_map(|artifact: Value| {
        let name = artifact["target"]["name"].as_str()?.to_owned();
        let is_example = artifact["target"]["kind"][0] == "example";
        Some((name, artifact["executable"].as_str().filter(|_| is_example)?.into()))
    });
    programs.collect()
});

fn example(name: &str) -> Command {
    Command::new(EXAMPLES.get(name).expect("an example of this name"))
}

/// Two devices that are paired and call each other `bob` and `alice`.
struct Pair {
    directory: TempDir,
    _relay: RelayProcess,
}

impl Pair {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let relay = support::relay();
        let alice = enrol(&relay, &directory.path().join("alice")).await;
        let bob = enrol(&relay, &directory.path().join("bob")).await;
        support::people::pair_as(&alice, "bob", &bob, "alice").await;
        alice.close().await;
        bob.close().await;
        Self { directory, _relay: relay }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[tokio::test]
async fn two_people_chat_and_what_one_writes_while_the_other_is_away_arrives_later() {
    let pair = Pair::new().await;
    let chat =
        |own: &str, other: &str| Program::start(example("chat").arg(pair.path(own)).arg(other));
    let mut alice = chat("alice", "bob");
    alice.say("are you there?\n");
    let mut bob = chat("bob", "alice");
    assert_eq!(bob.line(), "alice: are you there?");
    bob.say("now I am\u{7}\n");
    assert_eq!(alice.line(), "bob: now I am", "what steers a terminal is not shown");

    let ended = bob.end();
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{}", ended.error);
    alice.say("one more thing\n");
    // Given away, and so on disk, before bob is back.
    alice.say("and another\n");
    let mut bob = chat("bob", "alice");
    assert_eq!(bob.line(), "alice: one more thing");
    assert_eq!(bob.line(), "alice: and another");
    let ended = alice.end();
    assert_eq!(ended.code, 0, "{}", ended.error);
    assert!(ended.error.contains("all of it was read"), "{}", ended.error);
}

#[tokio::test]
async fn files_are_dropped_whole_and_under_a_name_of_their_own() {
    let pair = Pair::new().await;
    let inbox = pair.path("inbox");
    let mut command = example("file_drop");
    let mut bob = Program::start(command.arg("receive").arg(pair.path("bob")).arg(&inbox));
    let content = random(3_000_000);
    fs::write(pair.path("report.bin"), &content).expect("a file");
    for (round, name) in ["report.bin", "report (1).bin"].into_iter().enumerate() {
        let mut command = example("file_drop");
        command.arg("send").arg(pair.path("alice")).arg("bob").arg(pair.path("report.bin"));
        let sent = Program::run(&mut command, b"");
        assert_eq!(
            (sent.code, sent.out.as_str()),
            (0, "bob has all 3000000 bytes\n"),
            "{}",
            sent.error
        );
        let line = bob.line();
        assert!(line.ends_with("(3000000 bytes) from alice"), "{line}");
        let saved: Vec<_> = fs::read_dir(&inbox).expect("a folder").collect();
        assert_eq!(saved.len(), round + 1, "{name}: nothing else is left there");
        let path = line.split(" (3000000").next().expect("a path");
        assert!(fs::read(path).expect("the file") == content, "{name} is what was sent");
    }
    // A file that nobody can read is the sender's failure, in a sentence.
    let mut command = example("file_drop");
    command.arg("send").arg(pair.path("alice")).arg("bob").arg(pair.path("nothing"));
    let sent = Program::run(&mut command, b"");
    assert_eq!(sent.code, 1);
    assert!(sent.error.contains("Error"), "{}", sent.error);
}

#[tokio::test]
async fn requests_are_answered_also_by_a_server_that_was_away_when_they_were_made() {
    let pair = Pair::new().await;
    let serve = || {
        let mut command = example("request_response");
        Program::start(command.arg("serve").arg(pair.path("bob")))
    };
    let ask = |words: &[&str]| {
        let mut command = example("request_response");
        Program::start(command.arg("ask").arg(pair.path("alice")).arg("bob").args(words))
    };
    // The client is first, and waits for its server.
    let early = ask(&["sum", "1 2 39"]);
    let mut server = serve();
    assert_eq!(server.error_line(), "serving");
    let early = early.end();
    assert_eq!((early.code, early.out.as_str()), (0, "42\n"), "{}", early.error);
    let echoed = ask(&["echo", "the same"]).end();
    assert_eq!((echoed.code, echoed.out.as_str()), (0, "the same\n"), "{}", echoed.error);
    for (words, complaint) in [
        (["sum", "1 two"], "no numbers"),
        (["sum", "9223372036854775807 1"], "no numbers with a sum"),
        (["fly", "home"], "knows no"),
    ] {
        let refused = ask(&words).end();
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{words:?}");
        assert!(refused.error.contains(complaint), "{words:?}: {}", refused.error);
        assert!(!refused.error.contains("asking again"), "{words:?}: {}", refused.error);
    }
    // It is killed; the next request goes to its successor.
    drop(server);
    let between = ask(&["echo", "still there"]);
    let _server = serve();
    let between = between.end();
    assert_eq!((between.code, between.out.as_str()), (0, "still there\n"), "{}", between.error);
}

#[tokio::test]
async fn a_command_streams_while_it_runs_and_nothing_else_can_be_run() {
    let pair = Pair::new().await;
    let mut command = example("remote_command");
    let listed =
        ["sort=/usr/bin/sort -n", "cat=/bin/cat", "false=/bin/false", "wrong=/bin/ls /nowhere"];
    let mut bob =
        Program::start(command.arg("serve").arg(pair.path("bob")).arg("alice").args(listed));
    assert_eq!(bob.error_line(), "serving");
    let run = |name: &str| {
        let mut command = example("remote_command");
        command.arg("run").arg(pair.path("alice")).arg("bob").arg(name);
        command
    };
    let sorted = Program::run(&mut run("sort"), b"10\n9\n8\n");
    assert_eq!((sorted.code, sorted.out.as_str()), (0, "8\n9\n10\n"), "{}", sorted.error);
    // What is said comes back while the command runs: its input is still open.
    let mut cat = Program::start(&mut run("cat"));
    for line in ["first", "second"] {
        cat.say(&format!("{line}\n"));
        assert_eq!(cat.line(), line);
    }
    assert_eq!(cat.end().code, 0);
    assert_eq!(Program::run(&mut run("false"), b"").code, 1);
    let wrong = Program::run(&mut run("wrong"), b"");
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    assert!(wrong.error.contains("/nowhere"), "its standard error comes too: {}", wrong.error);
    for name in ["ls", "/bin/ls", "sort -r", "cat;ls", "", "sort=/bin/ls"] {
        let refused = Program::run(&mut run(name), b"");
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{name:?}");
    }
}
