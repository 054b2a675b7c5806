//! A crowd that stays connected while others talk.

use crate::relay::{object, run};

const SMALL: [&str; 7] = ["growth", "--pairs", "2", "--warm-up", "0.05", "--seconds", "0.1"];

#[test]
fn pairs_are_measured_alone_and_beside_a_crowd() {
    let said = object(&run(&[&SMALL[..], &["--connected", "40", "--rounds", "2"]].concat()));
    let rounds = said["rounds"].as_array().unwrap();
    let order: Vec<_> = rounds
        .iter()
        .map(|it| (it["connected"].as_u64().unwrap(), it["active"]["window"].as_u64().unwrap()))
        .collect();
    let first = [(4, 1), (40, 1), (4, 32), (40, 32)];
    let second = [(40, 1), (4, 1), (40, 32), (4, 32)];
    assert_eq!(order, [first, second].concat());
    for round in rounds {
        assert!(round["active"]["delivered"].as_u64().unwrap() > 0, "{said}");
        assert_eq!(round["active"]["refused"], 0, "{said}");
    }
    let points = said["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for point in points {
        let ratio = point["many_to_few"]["median"].as_f64().unwrap();
        let bar = said["ratio_bar"].as_f64().unwrap();
        assert!(ratio > 0.0 && point["within_bar"] == (ratio <= bar), "{said}");
    }
}

#[test]
fn a_crowd_by_quic_needs_no_files_and_stays_connected() {
    for transport in ["tls", "quic"] {
        let ways = ["--transport", transport, "--crowd", "quic", "--windows", "4"];
        let size = ["--connected", "40", "--rounds", "1"];
        let said = object(&run(&[&SMALL[..], &ways, &size].concat()));
        assert_eq!((&said["transport"], &said["crowd"]), (&transport.into(), &"quic".into()));
        let rounds = said["rounds"].as_array().unwrap();
        let connected: Vec<_> = rounds.iter().map(|it| it["connected"].as_u64().unwrap()).collect();
        assert_eq!(connected, [4, 40], "{said}");
        assert!(rounds.iter().all(|it| it["active"]["delivered"].as_u64().unwrap() > 0), "{said}");
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--connected", "200"], "more than the 200 active ones"),
        (["--connected", "7"], "choose an even number"),
        (["--connected", "1000000"], "at most 24000"),
        (["--pairs", "0"], "choose 1 to"),
        (["--windows", "1,0"], "choose a window"),
        (["--bytes", "300"], "a cell has 256"),
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--seconds", "60"], "choose at most 20s"),
    ] {
        let output = run(&[&["growth"], &arguments[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{said}");
    }
}
