//! A device whose disk is full: what cannot be stored is not sent, and says so; what was promised before is kept.

use std::process::Command;

use tempfile::TempDir;

use crate::support;
use crate::support::people::{enrol, pair};
use crate::support::program::Program;

#[tokio::test]
async fn what_finds_no_room_is_refused_and_nothing_is_lost() {
    let directory = TempDir::new().expect("a directory");
    let relay = support::relay();
    let (home_a, home_b) = (directory.path().join("a"), directory.path().join("b"));
    let (a, b) = (enrol(&relay, &home_a).await, enrol(&relay, &home_b).await);
    pair(&a, &b).await;
    // Nobody takes it yet: it stays in the outbox.
    let (device_a, device_b) = (a.device().to_text(), b.device().to_text());
    let waiting = a.enqueue(b.device(), "kept").await.expect("stored").id();
    a.close().await;
    b.close().await;

    std::fs::create_dir(directory.path().join("small")).expect("a directory");
    // A small disk with the keystore of A, filled up; then room is made on it.
    let script = r#"
        mount -t tmpfs -o size=1m,mode=700 none "$1" && cp -a "$2/." "$1/" || exit 90
        head -c 2097152 /dev/zero > "$1/filler" 2>/dev/null
        text=$(head -c 100000 /dev/zero | tr '\0' x)
        "$3" --json --keystore "$1" send "$4" -m "$text"; echo "full: $?"
        rm "$1/filler"
        "$3" --json --keystore "$1" send "$4" -m "$text"; echo "room: $?"
    "#;
    let spaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut sending = Program::start(
        Command::new("unshare")
            .args([spaces, "sh", "-c", script, "sh"])
            .arg(directory.path().join("small"))
            .arg(&home_a)
            .arg(support::hush())
            .arg(&device_b),
    );
    assert_eq!(sending.line(), "full: 75");
    let refused = sending.error_line();
    assert!(refused.contains("could not be stored") && refused.contains("no room"), "{refused}");

    let receiving = Program::run(
        Command::new(support::hush())
            .args(["--json", "receive", "--count", "2"])
            .arg("--output")
            .arg(directory.path())
            .arg("--keystore")
            .arg(&home_b),
        b"",
    );
    assert_eq!(receiving.code, 0, "{receiving:?}");
    let lines: Vec<serde_json::Value> =
        receiving.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let texts: Vec<usize> =
        lines.iter().map(|line| line["message"].as_str().expect("a message").len()).collect();
    assert_eq!(texts, ["kept".len(), 100_000], "what was kept, and what was sent once: {waiting}");
    assert!(lines.iter().all(|line| line["from"] == device_a.as_str()));
    let delivered = sending.line();
    assert!(delivered.contains("number"), "{delivered}");
    assert_eq!(sending.line(), "room: 0");
}
