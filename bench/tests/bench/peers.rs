//! Real runs against the servers that are installed, and what becomes of those that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::relay::{object, run};
use crate::server::PROGRAM;

const SMALL: [&str; 7] = ["compare", "--rounds", "1", "--warm-up", "0.1", "--seconds", "0.3"];

/// Messages arrive one at a time, and large ones that take several records, together.
#[test]
fn every_peer_that_is_installed_forwards() {
    let output =
        run(&[&SMALL[..], &["--points", "1,4", "--floor-only", "--peers", "all"]].concat());
    let said = object(&output);
    let problem = String::from_utf8_lossy(&output.stderr);
    for (key, program) in [
        ("nats", "nats-server"),
        ("mosquitto", "mosquitto"),
        ("redis", "redis-server"),
        ("iroh_relay", "iroh-relay"),
    ] {
        let missing = problem.contains(&format!("{program} is not installed: left out"));
        if missing {
            eprintln!("skipped: {program} is not installed");
        }
        for point in said.as_array().unwrap() {
            assert_eq!(point["failed"], json!({}), "{problem}");
            assert_eq!(point["cpu_us_per_message"][key].is_null(), missing, "{said}");
            if !missing {
                let run = &point["rounds"][key][0];
                assert!(run["delivered"].as_u64().unwrap() > 0, "{said}");
                assert_eq!(run["refused"], 0, "{said}");
                assert!(point["p99_us"][key].as_f64().unwrap() > 0.0, "{said}");
            }
        }
    }
}

/// Something in the place of a peer, which is found below the directory.
fn impostor(program: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = bin.join("iroh-relay");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    root
}

/// TLS 1.3 on the port of iroh-relay, and not its protocol behind it.
const WEB_SERVER: &str = r#"#!/bin/sh
port=$(sed -n 's/^https_bind_addr = "127.0.0.1:\([0-9]*\)"$/\1/p' "$2")
directory=$(dirname "$2")
exec openssl s_server -accept 127.0.0.1:"$port" -www -tls1_3 \
    -cert "$directory/certificate.pem" -key "$directory/key.pem" >/dev/null
"#;

#[test]
fn a_peer_that_fails_is_left_out_and_does_not_end_the_measurement() {
    let root = impostor(WEB_SERVER);
    let place = root.path().to_str().unwrap();
    let peers = ["--floor-only", "--peers", "iroh-relay", "--peers-root", place];
    let said = object(&run(&[&SMALL[..], &["--points", "1"], &peers].concat()));
    let point = &said[0];
    let problem = point["failed"]["iroh_relay"].as_str().unwrap();
    assert!(
        problem.contains("iroh-relay answered") && problem.contains("HTTP/1.0 200"),
        "{problem}"
    );
    assert!(point["cpu_us_per_message"]["iroh_relay"].is_null(), "{said}");
    assert!(point["rounds"]["floor"][0]["delivered"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn a_peer_that_does_not_start_is_an_error_and_one_that_is_missing_is_not() {
    let root = impostor("#!/bin/sh\necho no >&2\nexit 1\n");
    let place = ["--server-cpu", "0", "--load-cpu", "0", "--json"];
    let with = |peers: &[&str]| {
        // Without a path nothing is found that an administrator did not install.
        Command::new(PROGRAM)
            .env("PATH", "")
            .args([&SMALL[..], &["--points", "1"], &["--floor-only"], peers, &place].concat())
            .output()
            .unwrap()
    };
    let output = with(&["--peers", "iroh-relay", "--peers-root", root.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("iroh-relay did not start"), "{said}");
    assert!(said.contains("(exit status: 1): no"), "{said}");
    let output = with(&["--peers", "iroh-relay"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("iroh-relay is not installed: left out"), "{said}");
    assert_eq!(object(&output)[0]["best_peer"], Value::Null);
    let output = run(&[&SMALL[..], &["--peers", "kafka"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("choose of nats, mosquitto, redis, iroh-relay, or all"), "{said}");
}
