//! `hush chat` and `hush pipe` as people and programs use them, and as crashes and hostile text treat them.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::people::random;
use crate::support::person::{Person, alice_and_bob, parse, place};
use crate::support::program::Program;
use crate::support::{eventually, relay};

fn interrupt(id: u32) {
    let process = Pid::from_raw(i32::try_from(id).expect("a process ID"));
    kill(process, Signal::SIGINT).expect("it is there");
}

/// A chat that says what it does in JSON.
fn chat(person: &Person, arguments: &[&str]) -> Program {
    person.start(&[&["--json", "chat"], arguments].concat())
}

/// Its next object that has this key.
fn next(chat: &mut Program, key: &str) -> Value {
    loop {
        let value = parse(&chat.line());
        if value.get(key).is_some() {
            return value;
        }
    }
}

fn recorded(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(parse).collect()
}

#[test]
fn lines_go_both_ways_and_steer_no_terminal() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let mut at_alice = alice.start(&["chat", "bob"]);
    let mut at_bob = chat(&bob, &["alice"]);
    at_bob.say("\u{1b}]0;title\u{7}red \u{1b}[31m\u{202e}txt\n");
    let queued = next(&mut at_bob, "queued");
    let line = at_alice.line();
    assert!(line.starts_with("bob: ") && line.contains("red"), "{line:?}");
    assert!(!line.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
    let ended = next(&mut at_bob, "ended");
    assert_eq!((&ended["ended"], &ended["state"]), (&queued["queued"], &"delivered".into()));
    at_alice.say("and back\n");
    assert_eq!(next(&mut at_bob, "message")["message"], "and back");
    // The end of the input ends both, once what was given is delivered; a person is not told of each line.
    assert_eq!(at_bob.end().code, 0);
    let ended = at_alice.end();
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    assert!(!ended.error.contains("delivered"), "{ended:?}");
}

#[test]
fn what_was_recorded_is_there_once_whatever_is_killed() {
    const LINES: usize = 60;
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let record = place.path().join("record");
    let path = record.display().to_string();
    let mut sending = chat(&alice, &["bob"]);
    for number in 0..LINES {
        sending.say(&format!("line {number}\n"));
    }
    // Killed at whatever it does when so many are on the disk.
    for least in [1, 7, 19, 33, 48] {
        let receiving = bob.start(&["--json", "chat", "alice", "--stay", "--record", &path]);
        eventually("lines are recorded", || recorded(&record).len() >= least);
        // Dropping is SIGKILL.
        drop(receiving);
    }
    let receiving = bob.start(&["--json", "chat", "alice", "--stay", "--record", &path]);
    assert_eq!(sending.end().code, 0);
    drop(receiving);
    let texts: Vec<String> = recorded(&record)
        .iter()
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect();
    let expected: Vec<String> = (0..LINES).map(|number| format!("line {number}")).collect();
    assert_eq!(texts, expected);
}

#[test]
fn what_is_left_goes_with_the_next_command() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let mut leaving = alice.start(&["chat", "bob"]);
    leaving.say("one\ntwo\n");
    eventually("both are in the outbox", || alice.objects(&["trace"]).len() == 2);
    interrupt(leaving.id());
    let ended = leaving.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("2 messages stay in the outbox"), "{ended:?}");
    let mut leaving = chat(&alice, &["bob"]);
    leaving.say("three\n");
    next(&mut leaving, "queued");
    interrupt(leaving.id());
    assert_eq!(next(&mut leaving, "left")["left"], 3);
    assert_eq!(leaving.end().code, 0);
    let receiving = bob.start(&["--json", "receive", "--count", "3"]);
    let ended = alice.run(&["chat", "bob"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("3 earlier messages are still on their way"), "{ended:?}");
    let out = receiving.end().out;
    let texts: Vec<Value> = out.lines().map(|line| parse(line)["message"].clone()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert!(alice.objects(&["trace", "bob"]).iter().all(|story| story["state"] == "delivered"));
}

#[test]
fn long_lines_and_bytes_that_are_no_text() {
    const LONGEST: usize = 16 << 20;
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let record = place.path().join("record");
    let path = record.display().to_string();
    let mut receiving = bob.start(&["--json", "chat", "alice", "--stay", "--record", &path]);
    let mut input = vec![b'a'; LONGEST + 1];
    input.extend_from_slice(b"\n\xff\xfe\r\n");
    input.resize(input.len() + LONGEST, b'b');
    let ended = alice.run_with(&["--json", "chat", "bob"], &input);
    assert_eq!(ended.code, 0, "{}", ended.error);
    assert!(parse(&ended.error)["error"].as_str().expect("why").contains("longer than 16 MiB"));
    let first = next(&mut receiving, "message");
    assert_eq!((&first["message"], &first["hex"]), (&"\u{fffd}\u{fffd}".into(), &"fffe".into()));
    let second = next(&mut receiving, "message");
    assert_eq!(second["message"].as_str().map(str::len), Some(LONGEST));
    assert!(second.get("hex").is_none());
    drop(receiving);
    let lines = recorded(&record);
    assert_eq!((lines.len(), &lines[0]["hex"]), (2, &"fffe".into()));
    // And it is read again.
    let receiving = bob.start(&["--json", "chat", "alice", "--record", &path]).end();
    assert_eq!(receiving.code, 0, "{receiving:?}");
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let mut sending = chat(&alice, &["bob"]);
    sending.say("one\ntwo\nthree\n");
    let mut receiving = spawn(&mut bob.hush(&["chat", "alice", "--stay"]));
    let mut first = [0; 10];
    let mut out = receiving.stdout.take().expect("a pipe");
    out.read_exact(&mut first).expect("a line");
    assert_eq!(&first, b"alice: one");
    drop(out);
    sending.say("four\n");
    let ended = receiving.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{ended:?}");
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("hush:"), "{ended:?}");
    let listing = alice.objects(&["trace"]);
    assert_eq!(listing.len(), 4);
}

fn spawn(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

#[test]
fn a_pipe_carries_bytes_both_ways_after_one_has_ended() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let (there, back) = (random(3 << 20), random(1 << 20));
    let mut listening = spawn(&mut bob.hush(&["pipe", "--listen", "alice"]));
    let mut calling = spawn(&mut alice.hush(&["pipe", "bob"]));
    let mut input = calling.stdin.take().expect("a pipe");
    let writing = std::thread::spawn({
        let there = there.clone();
        move || input.write_all(&there)
    });
    let mut received = Vec::new();
    listening.stdout.take().expect("a pipe").read_to_end(&mut received).expect("read");
    assert!(received == there, "{} bytes", received.len());
    writing.join().expect("no panic").expect("it is read");
    // Alice's input has ended; Bob's begins.
    let mut input = listening.stdin.take().expect("a pipe");
    input.write_all(&back).expect("it is read");
    drop(input);
    let ended = calling.wait_with_output().expect("it ends");
    assert!(ended.status.success() && ended.stdout == back, "{:?}", ended.status);
    assert!(listening.wait().expect("it ends").success());
}

#[test]
fn a_peer_that_goes_away_breaks_the_pipe() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let mut listening = bob.start(&["pipe", "--listen", "alice"]);
    let mut calling = alice.start(&["pipe", "bob"]);
    calling.say("hello\n");
    assert_eq!(listening.line(), "hello");
    interrupt(listening.id());
    let (there, here) = (listening.end(), calling.end());
    assert_eq!(there.code, 1, "{there:?}");
    assert!(there.error.contains("interrupted"), "{there:?}");
    assert_ne!(here.code, 0, "{here:?}");
    assert!(here.error.contains("hush: "), "{here:?}");
}
