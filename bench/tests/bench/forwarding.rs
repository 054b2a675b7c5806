//! The load generator against the floor: cells of every kind of shape arrive, whole and in order.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::{Floor, load};

#[track_caller]
fn check(floor: &Floor, arguments: &[&str]) {
    let output = load(&floor.address, floor.pid(), arguments);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {problem}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["delivered"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["refused"], 0, "{said}");
    assert!(said["cpu_us_per_cell"].as_f64().is_some(), "{said}");
    assert!(said["latency_us"]["p50"].as_f64() <= said["latency_us"]["p999"].as_f64(), "{said}");
}

#[test]
fn every_shape_arrives() {
    let floor = Floor::start();
    for arguments in [
        &["--pairs", "1", "--bytes", "256", "--window", "1"][..],
        &["--pairs", "20", "--bytes", "256", "--window", "32"],
        &["--pairs", "3", "--bytes", "4096", "--window", "32"],
        &["--pairs", "3", "--bytes", "16384", "--window", "8"],
        &["--pairs", "3", "--bytes", "32768", "--window", "8"],
        &["--pairs", "1", "--bytes", "32768", "--window", "256"],
        &["--pairs", "5", "--bytes", "256", "--window", "32", "--one-write-per-cell"],
        &["--pairs", "5", "--bytes", "512", "--window", "4", "--both-ways"],
    ] {
        check(&floor, arguments);
    }
}

#[test]
fn connections_that_end_badly_leave_nothing_and_disturb_nobody() {
    let floor = Floor::start();
    let before = floor.descriptors();
    let mut open = Vec::new();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 512], &[22, 3, 1, 0xff, 0xff], b""] {
        let mut stream = TcpStream::connect(&floor.address).unwrap();
        stream.write_all(bytes).unwrap();
        open.push(stream);
    }
    check(&floor, &["--pairs", "4", "--window", "8"]);
    for mut stream in open {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The end, or a reset: over in both cases.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Its ends of the eight connections of the load may have a moment left.
    while floor.descriptors() > before {
        std::thread::yield_now();
    }
}
