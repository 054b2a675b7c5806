//! A lane whose recipient does not read: its cells come back, and the other lanes go on.

use crate::relay::{object, run};

const SMALL: [&str; 7] = ["lanes", "--warm-up", "0.05", "--seconds", "0.2", "--pace", "2000"];

#[test]
fn cells_of_the_blocked_lane_come_back_and_others_arrive() {
    let said = object(&run(&[&SMALL[..], &["--rounds", "2"]].concat()));
    let slices = said["slices"].as_array().unwrap();
    let states: Vec<_> = slices.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["reading", "stopped", "stopped", "reading"]);
    for slice in slices {
        assert!(slice["cells_per_s"].as_f64().unwrap() > 0.0, "{said}");
        let (sent, busy) = (slice["sent"].as_u64().unwrap(), slice["busy"].as_u64().unwrap());
        assert!(sent > 0, "{said}");
        // A machine that leaves the recipient alone for a quarter of a second has made a stopped one of it.
        let is_read = busy * 2 < sent;
        assert!(if slice["state"] == "stopped" { busy > 0 } else { is_read }, "{said}");
    }
    for name in ["throughput", "p99"] {
        assert!(
            said["stopped_to_reading"][name]["ratio"]["median"].as_f64().unwrap() > 0.0,
            "{said}"
        );
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--pace", "0"], "0 is not in 1..=10000"),
        (["--seconds", "60"], "choose at most 20s"),
        (["--bytes", "300"], "a cell has 256"),
        (["--window", "9"], "choose a window of at most 32768 bytes"),
    ] {
        let output = run(&[&["lanes"], &arguments[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{said}");
    }
}
