//! The load generator against the floor and the baselines: cells of every kind of shape arrive, whole and in
//! order, whatever other connections do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};

use crate::server::{Floor, PROGRAM, load};

#[track_caller]
fn check(forwarder: &Floor, arguments: &[&str]) {
    let output = load(&forwarder.address, forwarder.pid(), arguments);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {problem}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["delivered"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["refused"], 0, "{said}");
    assert!(said["cpu_us_per_cell"].as_f64().is_some(), "{said}");
    let jain = said["per_pair"]["jain"].as_f64().unwrap();
    assert!(jain > 0.0 && jain < 1.000_001, "{said}");
    let (least, greatest) = (&said["per_pair"]["least"], &said["per_pair"]["greatest"]);
    assert!(least.as_u64() <= greatest.as_u64() && greatest.as_u64() <= said["delivered"].as_u64());
    assert!(said["latency_us"]["p50"].as_f64() <= said["latency_us"]["p999"].as_f64(), "{said}");
}

fn every_shape_arrives(kind: &[&str]) {
    let forwarder = Floor::start_as(kind);
    for arguments in [
        &["--pairs", "1", "--bytes", "256", "--window", "1"][..],
        &["--pairs", "20", "--bytes", "256", "--window", "32"],
        &["--pairs", "3", "--bytes", "4096", "--window", "32"],
        &["--pairs", "3", "--bytes", "16384", "--window", "8"],
        &["--pairs", "3", "--bytes", "32768", "--window", "8"],
        &["--pairs", "1", "--bytes", "32768", "--window", "256"],
        &["--pairs", "5", "--bytes", "256", "--window", "32", "--one-write-per-cell"],
        &["--pairs", "5", "--bytes", "512", "--window", "4", "--both-ways"],
        &["--pairs", "2", "--bytes", "32768", "--window", "1", "--both-ways"],
        &["--pairs", "2", "--bytes", "32768", "--window", "32", "--both-ways"],
        &["--pairs", "5", "--mix", "256:70,4096:25,32768:5", "--window", "32"],
        &["--pairs", "2", "--mix", "1024:1,16384:1,32768:1", "--window", "8", "--both-ways"],
    ] {
        check(&forwarder, arguments);
    }
}

fn garbage_leaves_nothing_and_disturbs_nobody(kind: &[&str]) {
    let forwarder = Floor::start_as(kind);
    let before = forwarder.descriptors();
    let mut open = Vec::new();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 512], &[22, 3, 1, 0xff, 0xff], b""] {
        let mut stream = TcpStream::connect(&forwarder.address).unwrap();
        stream.write_all(bytes).unwrap();
        open.push(stream);
    }
    check(&forwarder, &["--pairs", "4", "--window", "8"]);
    for mut stream in open {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The end, or a reset: over in both cases.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Its ends of the eight connections of the load may have a moment left.
    until(|| forwarder.descriptors() == before);
}

const VANISHING_PAIRS: usize = 8;

fn devices_that_vanish_leave_nothing_and_disturb_nobody(kind: &[&str]) {
    let forwarder = Floor::start_as(kind);
    let before = forwarder.descriptors();
    for bytes in ["256", "32768"] {
        let mut vanishing = busy_devices(&forwarder, bytes);
        until(|| forwarder.descriptors() == before + 2 * VANISHING_PAIRS);
        check(&forwarder, &["--pairs", "4", "--window", "8"]);
        vanishing.kill().unwrap();
        check(&forwarder, &["--pairs", "4", "--window", "8"]);
        vanishing.wait().unwrap();
        until(|| forwarder.descriptors() == before);
    }
}

/// Pairs that send both ways as long as they are let.
fn busy_devices(forwarder: &Floor, bytes: &str) -> Child {
    Command::new(PROGRAM)
        .args(["load", "--warm-up", "1000", "--window", "64", "--both-ways"])
        .args(["--connect", &forwarder.address, "--pid", &forwarder.pid().to_string()])
        .args(["--pairs", &VANISHING_PAIRS.to_string(), "--bytes", bytes])
        .spawn()
        .unwrap()
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

macro_rules! forwarders {
    ($($name:ident = $kind:expr;)*) => {$(
        mod $name {
            #[test]
            fn every_shape_arrives() {
                super::every_shape_arrives(&$kind);
            }

            #[test]
            fn garbage_leaves_nothing_and_disturbs_nobody() {
                super::garbage_leaves_nothing_and_disturbs_nobody(&$kind);
            }

            #[test]
            fn devices_that_vanish_leave_nothing_and_disturb_nobody() {
                super::devices_that_vanish_leave_nothing_and_disturb_nobody(&$kind);
            }
        }
    )*};
}

forwarders! {
    floor = ["floor"];
    tokio = ["baseline", "--on", "tokio"];
    monoio = ["baseline", "--on", "monoio"];
    tokio_uring = ["baseline", "--on", "tokio-uring"];
}
