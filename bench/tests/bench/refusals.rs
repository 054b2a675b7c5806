//! What cannot be measured is refused with a sentence.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;

use crate::server::{Floor, PROGRAM, load};

#[track_caller]
fn check(output: &std::process::Output, sentence: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(sentence), "{sentence:?} is not in {said:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn impossible_shapes_are_refused() {
    for (arguments, sentence) in [
        (["--bytes", "300"], "a cell has 256"),
        (["--bytes", "65536"], "a cell has 256"),
        (["--pairs", "0"], "choose 1 to"),
        (["--pairs", "1000000"], "choose 1 to"),
        (["--window", "0"], "choose a window"),
        (["--seconds", "inf"], "choose 0 to 1000 seconds"),
        (["--seconds", "NaN"], "choose 0 to 1000 seconds"),
        (["--warm-up", "1e9"], "choose 0 to 1000 seconds"),
        (["--mix", "300:1"], "a cell has 256"),
        (["--mix", "256"], "write a mix as"),
        (["--rate", "0"], "0 is not in 1..=10000000"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["load", "--connect", "127.0.0.1:1", "--pid", "1"])
            .args(arguments)
            .output()
            .unwrap();
        check(&output, sentence);
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = load(&free, std::process::id(), &["--pairs", "1"]);
    check(&output, &format!("connecting to {free} failed"));
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let floor = Floor::start();
    let output = load(&floor.address, u32::MAX, &["--pairs", "1"]);
    check(&output, "/proc/4294967295/task");
}

#[test]
fn a_server_that_speaks_something_else_is_refused() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", &[22, 3, 3, 0, 1, 0]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                // The generator may be gone already.
                let _ = stream.unwrap().write_all(answer);
            }
        });
        let output = load(&address, std::process::id(), &["--pairs", "1"]);
        check(&output, "handshake failed");
        drop(server);
    }
}
