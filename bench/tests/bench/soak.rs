//! A soak of a moment: devices really come and go, in every way, and leave nothing behind.

use serde_json::json;

use crate::relay::{object, run};

const SMALL: [&str; 9] =
    ["soak", "--pairs", "4", "--minutes", "0.03", "--every", "0.45", "--warm-up", "0.2"];

#[test]
fn devices_that_come_and_go_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("soak");
    let place = ["--rate", "500", "--churn", "100", "--out", out.to_str().unwrap()];
    let said = object(&run(&[&SMALL[..], &place].concat()));
    let number = |name: &str| said[name].as_u64().unwrap();
    // Every way to arrive and to leave has had its turn: a cycle has eight devices of couples and three of others.
    assert!(number("visited") >= 8 && number("deserted") >= 3, "{said}");
    assert_eq!((number("failed"), number("refused")), (0, 0), "{said}");
    assert_eq!((&said["errors"], &said["failure"]), (&json!({}), &json!(null)), "{said}");
    let at_rest = &said["descriptors_at_rest"];
    assert_eq!(at_rest["first"], at_rest["last"], "{said}");
    assert!(at_rest["first"].as_f64().unwrap() >= 8.0, "{said}");
    let samples = said["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 4);
    for sample in samples {
        assert!(sample["delivered"].as_u64().unwrap() > 0, "{said}");
        assert!(sample["anonymous_bytes"].as_u64().unwrap() > 0, "{said}");
        let latency = &sample["latency_us"];
        assert!(latency["p50"].as_f64() <= latency["p99.9"].as_f64(), "{said}");
    }
    let closed = |sample: &serde_json::Value| sample["connections_closed"].as_u64().unwrap();
    assert!(closed(&samples[3]) > closed(&samples[0]), "{said}");
    for name in ["first.hgrm", "last.hgrm"] {
        let distribution = std::fs::read_to_string(out.join(name)).unwrap();
        assert!(distribution.contains("#[Max"), "{distribution}");
    }
    for (name, label) in [("throughput.svg", ">messages<"), ("latency.svg", ">p99.9<")] {
        let plot = std::fs::read_to_string(out.join(name)).unwrap();
        assert!(plot.starts_with("<svg") && plot.contains(label), "{plot}");
    }
}

#[test]
fn pairs_are_soaked_by_themselves() {
    let said = object(&run(&[&SMALL[..], &["--rate", "200", "--churn", "0"]].concat()));
    assert_eq!((&said["visited"], &said["deserted"]), (&json!(0), &json!(0)), "{said}");
    assert!(said["samples"][0]["delivered"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--minutes", "0"], "choose more than 0"),
        (["--minutes", "NaN"], "choose more than 0"),
        (["--minutes", "1e9"], "choose more than 0"),
        (["--every", "0"], "choose --every so that there are 3 to"),
        (["--every", "1000"], "choose --every so that there are 3 to"),
        (["--rate", "1"], "choose a rate of at least 21"),
        (["--churn", "501"], "501 is not in 0..=500"),
        (["--out", "/proc/nowhere"], "cannot make /proc/nowhere"),
    ] {
        let output = run(&[&["soak"], &arguments[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{arguments:?}: {said}");
    }
}
