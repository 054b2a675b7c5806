//! A relay of two shards: cells cross where they are to, and not where they are not.

use std::process::{Command, Output};

use crate::relay::object;
use crate::server::PROGRAM;

fn run(arguments: &[&str]) -> Output {
    // One processor is enough for two shards: the figures are not looked at.
    Command::new(PROGRAM)
        .arg("shards")
        .args(arguments)
        .args(["--cpus", "0", "--json"])
        .output()
        .unwrap()
}

#[test]
fn cells_cross_where_the_two_of_a_pair_live_apart() {
    let small = ["--pairs", "4", "--rounds", "1", "--warm-up", "0.05", "--seconds", "0.1"];
    let said = object(&run(&small));
    let points = said.as_array().unwrap();
    let number = |of: &serde_json::Value| of.as_u64().unwrap();
    let shapes: Vec<_> =
        points.iter().map(|it| (number(&it["bytes"]), number(&it["window"]))).collect();
    assert_eq!(shapes, [(256, 32), (256, 1), (4_096, 32)]);
    for point in points {
        let crossed = |who: &str| point["crossed"][who].as_f64().unwrap();
        assert_eq!((crossed("one_shard"), crossed("same")), (0.0, 0.0), "{said}");
        // What the devices said to the relay itself does not cross.
        assert!(crossed("cross") > 0.5 && crossed("cross") <= 1.0, "{said}");
        assert!(crossed("random") <= 1.0, "{said}");
        for who in ["one_shard", "same", "cross", "random"] {
            let round = &point["rounds"][who][0];
            assert!(round["delivered"].as_u64().unwrap() > 0, "{said}");
            assert!(point["cpu_us_per_cell"][who].as_f64().unwrap() > 0.0, "{said}");
        }
        assert!(point["cross_to_same"]["median"].as_f64().unwrap() > 0.0, "{said}");
        assert!(point["crossing_us"].as_f64().is_some(), "{said}");
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--pairs", "0"], "choose 1 to 320 pairs"),
        (["--pairs", "321"], "choose 1 to 320 pairs"),
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--relay-binary", "/bin/false"], "ended before it was ready"),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{arguments:?}: {said}");
    }
}
