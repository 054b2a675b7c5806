//! Two devices and a relay: what is sent arrives, of ours and of OpenSSL's, and is counted.

use std::process::{Command, Output};

use crate::relay::object;
use crate::server::PROGRAM;

fn run(arguments: &[&str]) -> Output {
    // One processor is enough: the figures are not looked at.
    Command::new(PROGRAM).args(arguments).args(["--cpus", "0", "--json"]).output().unwrap()
}

#[test]
fn a_file_crosses_the_relay_and_openssl() {
    // Not a multiple of anything.
    let said = object(&run(&["transfer", "--bytes", "5000001", "--rounds", "2"]));
    assert_eq!(said["bytes"], 5_000_001);
    const OURS: &[&str] = &["sender", "relay", "receiver"];
    for (who, processes) in
        [("openssl", &["client", "server"][..]), ("file", OURS), ("stream", OURS)]
    {
        if who != "openssl" {
            assert!(said[who]["ratio_to_openssl"]["median"].as_f64().unwrap() > 0.0, "{said}");
        }
        let who = &said[who];
        assert!(who["mib_per_s"]["least"].as_f64().unwrap() > 0.0, "{said}");
        for process in processes {
            assert!(who["cpu_s_per_gib"][process].as_f64().unwrap() > 0.0, "{process}: {said}");
        }
    }
    for process in OURS {
        assert!(said["peak_resident_bytes"][process].as_u64().unwrap() > 0, "{said}");
    }
}

#[test]
fn a_file_crosses_the_relay_alone_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let small = ["transfer", "--alone", "--bytes", "1", "--rounds", "1", "--directory", place];
    let said = object(&run(&small));
    assert!(said["openssl"].is_null() && said["file"]["ratio_to_openssl"].is_null(), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn messages_go_there_and_back_also_beside_a_stream() {
    let small = ["round-trip", "--messages", "50", "--rounds", "2"];
    let said = object(&run(&small));
    let kinds = |said: &serde_json::Value| -> Vec<String> {
        let mut kinds: Vec<_> = said["round_trips"].as_object().unwrap().keys().cloned().collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(kinds(&said), ["alone", "tcp_echo"]);
    assert_eq!(said["durability"], "disk");
    assert!(said["p99_beside_to_alone"].is_null(), "{said}");
    let said = object(&run(&[
        &small[..],
        &["--with-transfer", "--bytes", "5", "--durability", "process"],
    ]
    .concat()));
    assert_eq!(kinds(&said), ["alone", "beside_stream", "tcp_echo"]);
    for (kind, of) in said["round_trips"].as_object().unwrap() {
        let at = |quantile: &str| of[quantile]["median"].as_f64().unwrap();
        assert!(0.0 < at("p50_us") && at("p50_us") <= at("p99_us"), "{kind}: {said}");
    }
    assert!(said["p99_to_tcp"]["median"].as_f64().unwrap() > 1.0, "{said}");
    assert!(said["stream_mib_per_s"].as_f64().unwrap() > 0.0, "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (arguments, sentence) in [
        (&["transfer", "--bytes", "0"][..], "choose 1 byte to 64 GiB"),
        (&["transfer", "--bytes", "1TiB"], "write a size as"),
        (&["transfer", "--bytes", "99999999999GiB"], "choose 1 byte to 64 GiB"),
        (&["transfer", "--directory", "/nonexistent"], "/nonexistent cannot be written to"),
        (&["transfer", "--alone", "--bytes", "1", "--relay-binary", "/bin/false"], "ended before"),
        (&["round-trip", "--messages", "0"], "0 is not in 1..=1000000"),
        (&["round-trip", "--bytes", "2000000"], "2000000 is not in 1..=1048576"),
        (&["round-trip", "--rounds", "0"], "0 is not in 1..=1000"),
        (&["round-trip", "--relay-binary", "/bin/false"], "ended before it was ready"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
