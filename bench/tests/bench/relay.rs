//! Whole measurements, small: against the relay in this program, with devices that really enrol.

use std::process::{Command, Output};

use serde_json::json;

use crate::server::PROGRAM;

pub(crate) fn run(arguments: &[&str]) -> Output {
    // Any processor will do for both: the figures are not looked at.
    Command::new(PROGRAM)
        .args(arguments)
        .args(["--server-cpu", "0", "--load-cpu", "0", "--json"])
        .output()
        .unwrap()
}

pub(crate) fn object(output: &Output) -> serde_json::Value {
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn relay_and_floor_are_compared_at_a_point() {
    let said = object(&run(&[
        "compare",
        "--points",
        "4",
        "--rounds",
        "1",
        "--warm-up",
        "0.1",
        "--seconds",
        "0.2",
    ]));
    let [point] = &said.as_array().unwrap()[..] else { panic!("{said}") };
    assert_eq!(
        (&point["pairs"], &point["bytes"], &point["window"]),
        (&json!(256), &json!(32_768), &json!(8))
    );
    let costs = point["cpu_us_per_message"].as_object().unwrap();
    assert_eq!(costs.keys().collect::<Vec<_>>(), ["floor", "relay"]);
    assert!(costs.values().all(|cost| cost.as_f64().unwrap() > 0.0), "{said}");
    assert!(point["p99_us"]["relay"].as_f64().unwrap() > 0.0, "{said}");
    assert!(point["relay_to_floor"]["median"].as_f64().unwrap() > 0.0, "{said}");
    assert!(point["relay_to_best_peer"].is_null(), "{said}");
}

#[test]
fn the_floor_is_compared_with_the_best_baseline() {
    let small = ["--points", "1", "--rounds", "1", "--warm-up", "0.1", "--seconds", "0.2"];
    for (baselines, keys) in [
        ("all", &["tokio", "monoio", "tokio_uring"][..]),
        ("monoio,tokio,monoio", &["tokio", "monoio"]),
    ] {
        let chosen = ["compare", "--floor-only", "--baselines", baselines];
        let said = object(&run(&[&chosen[..], &small].concat()));
        let point = &said[0];
        let costs = point["cpu_us_per_message"].as_object().unwrap();
        let mut servers: Vec<&str> = costs.keys().map(String::as_str).collect();
        servers.sort_unstable();
        let mut expected = [&["floor"], keys].concat();
        expected.sort_unstable();
        assert_eq!(servers, expected);
        assert!(keys.contains(&point["best_baseline"].as_str().unwrap()), "{said}");
        assert!(point["floor_to_best_baseline"]["median"].as_f64().unwrap() > 0.0, "{said}");
    }
    let output = run(&["compare", "--baselines", "async-std"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("choose all, or some of tokio"), "{said}");
}

#[test]
fn idle_devices_stay_connected_and_are_weighed() {
    for what in
        [&["--transport", "tls"][..], &["--transport", "quic"], &["--transport", "quic", "--floor"]]
    {
        let small = ["idle", "--connections", "40", "--rest", "0.1", "--rounds", "2"];
        let said = object(&run(&[&small[..], what].concat()));
        let readings = said["readings"].as_array().unwrap();
        let connected: Vec<_> =
            readings.iter().map(|it| it["connected"].as_u64().unwrap()).collect();
        assert_eq!(connected, [0, 0, 40, 40, 40, 40], "{said}");
        assert_eq!(said["transport"], what[1], "{said}");
        let billed = said["memory_bill_bytes"].as_u64();
        assert!(billed.map_or(what.len() == 3, |bytes| bytes > 0), "{said}");
        assert!(readings.iter().all(|it| it["resident_bytes"].as_u64().unwrap() > 0), "{said}");
    }
}

#[test]
fn a_relay_that_does_not_start_is_an_error() {
    for (binary, sentence) in [
        ("/bin/false", "ended before it was ready"),
        ("/nonexistent/hushwired", "ended before it was ready"),
    ] {
        let output = run(&["idle", "--connections", "2", "--relay-binary", binary]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{said}");
    }
    for connections in ["0", "3", "1000000"] {
        let output = run(&["idle", "--connections", connections]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("choose an even number"), "{said}");
    }
}
