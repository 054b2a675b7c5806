//! A recipient that really stops: nothing is lost, and no more waits than may.

use crate::relay::{object, run};

const SMALL: [&str; 9] =
    ["stopped-reader", "--pairs", "2", "--warm-up", "0.05", "--seconds", "0.1", "--pace", "1000"];

#[test]
fn its_queue_is_bounded_and_its_senders_hear_busy() {
    for bytes in ["4096", "32768"] {
        let said = object(&run(&[&SMALL[..], &["--rounds", "2", "--bytes", bytes]].concat()));
        let number = |name: &str| said[name].as_u64().unwrap();
        let slices = said["slices"].as_array().unwrap();
        let states: Vec<_> = slices.iter().map(|it| it["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["reading", "stopped", "stopped", "reading"]);
        for slice in slices {
            assert!(slice["others"]["delivered"].as_u64().unwrap() > 0, "{said}");
            assert_eq!(slice["others"]["refused"], 0, "{said}");
            assert!(slice["resident_bytes"].as_u64().unwrap() > 0, "{said}");
            let waited = slice["queue_bytes"].as_u64().unwrap();
            assert!(waited <= number("queue_bytes_max"), "{said}");
            assert!(waited > 0 || slice["state"] == "reading", "{said}");
        }
        assert!(number("busy") > 0, "{said}");
        assert_eq!(number("received") + number("busy"), number("sent"), "{said}");
        let most = number("queue_bytes_most");
        // Senders that got little processor time fill less of it.
        assert!(most > number("queue_bytes_max") / 4, "{said}");
        assert!(most <= number("pool_bytes_high"), "{said}");
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--senders", "0"], "0 is not in 1..=32"),
        (["--pace", "0"], "0 is not in 1..=10000"),
        (["--seconds", "60"], "choose at most 20s"),
        (["--bytes", "300"], "a cell has 256"),
    ] {
        let output = run(&[&["stopped-reader"], &arguments[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{said}");
    }
}
