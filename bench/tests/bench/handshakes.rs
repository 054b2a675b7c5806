//! Connects that are measured, on both servers and in both ways; and what the bare one does with others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::relay::{object, run};
use crate::server::{Floor, PROGRAM, load};

const SMALL: [&str; 7] = ["handshakes", "--warm-up", "0.05", "--seconds", "0.2", "--at-once", "2"];

#[test]
fn both_servers_make_full_and_resumed_handshakes() {
    let said = object(&run(&[&SMALL[..], &["--rounds", "2"]].concat()));
    let rounds = said["rounds"].as_array().unwrap();
    let order: Vec<_> = rounds
        .iter()
        .map(|it| (it["handshake"].as_str().unwrap(), it["server"].as_str().unwrap()))
        .collect();
    assert_eq!(
        order,
        [
            ("full", "bare"),
            ("full", "relay"),
            ("resumed", "bare"),
            ("resumed", "relay"),
            ("full", "relay"),
            ("full", "bare"),
            ("resumed", "relay"),
            ("resumed", "bare"),
        ]
    );
    for round in rounds {
        assert!(round["handshakes"].as_u64().unwrap() > 0, "{said}");
        assert!(round["cpu_us_each"].as_f64().unwrap() > 0.0, "{said}");
    }
    for way in ["full", "resumed"] {
        let found = &said["handshakes"][way];
        for server in ["bare", "relay"] {
            assert!(found[server]["one_core_per_s"].as_f64().unwrap() > 0.0, "{said}");
        }
        let ratio = found["relay_to_bare"]["median"].as_f64().unwrap();
        let bar = said["ratio_bar"].as_f64().unwrap();
        assert!(way == "resumed" || said["full_within_bar"] == (ratio >= bar), "{said}");
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (arguments, sentence) in [
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--at-once", "0"], "0 is not in 1..=64"),
        (["--at-once", "65"], "65 is not in 1..=64"),
        (["--seconds", "NaN"], "choose 0 to 1000 seconds"),
        (["--seconds", "0"], "no handshake ended in the time that is counted"),
    ] {
        let output = run(&[&SMALL[..1], &["--warm-up", "0"], &arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(sentence), "{said}");
    }
}

/// A bare server with the certificate that a relay has made.
fn greeter(directory: &std::path::Path) -> Floor {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let [certificate, key] = [certificate, key].map(|path| path.to_str().unwrap().to_owned());
    Floor::start_as(&["greeter", "--certificate", &certificate, "--key", &key])
}

#[test]
fn the_bare_server_closes_on_garbage_and_forwards_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let greeter = greeter(directory.path());
    let before = greeter.descriptors();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 512], &[22, 3, 1, 0xff, 0xff], b""] {
        let mut stream = TcpStream::connect(&greeter.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The end, or a reset: over in both cases.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Devices are welcomed all the same, and closed on with their first cell.
    let output = load(&greeter.address, greeter.pid(), &["--pairs", "1"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    while greeter.descriptors() != before {
        std::thread::yield_now();
    }
}

#[test]
fn a_bare_server_without_a_certificate_is_an_error() {
    let output = Command::new(PROGRAM)
        .args(["greeter", "--certificate", "/nonexistent/c.pem", "--key", "/nonexistent/k.pem"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("/nonexistent/c.pem"), "{said}");
}
