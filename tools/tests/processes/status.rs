//! `hush status`: what it says, and what it does not claim.

use crate::support::person::{Person, alice_and_bob, parse, place};
use crate::support::relay;

const TEMPORARY: i32 = 75;

#[test]
fn a_device_that_is_connected() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    let status = alice.json(&["status"]);
    assert_eq!((&status["device"], &status["other_process"]), (&alice.id().into(), &false.into()));
    assert_eq!(status["fingerprint"], alice.json(&["id"])["fingerprint"]);
    assert_eq!(status["keystore"], alice.home.display().to_string());
    assert_eq!(
        (&status["protection"], &status["relay"]["trust"]),
        (&"permissions".into(), &"pins".into())
    );
    assert_eq!(status["relay"]["address"], relay.address());
    assert!(status["backup_rehearsed_at_s"].is_null());
    let connection = &status["connection"];
    assert_eq!((&connection["state"], &connection["shards"]), (&"connected".into(), &1.into()));
    assert!(connection["after_ms"].is_u64(), "{status}");
    assert!(connection["clock_ahead_ms"].as_i64().expect("a clock").abs() < 5_000, "{status}");
    let peer = &status["peers"][0];
    assert_eq!((&peer["name"], &peer["device"]), (&"bob".into(), &bob.id().into()));
    assert_eq!((&peer["verified"], &peer["may_send"]), (&"digits".into(), &"yes".into()));
    assert_eq!((&peer["waiting"], &peer["waiting_bytes"]), (&0.into(), &0.into()));
    // Nobody asked Bob anything.
    assert!(peer["reachable"].is_null() && peer["last_end"].is_null(), "{status}");
    let told = alice.says(&["status"]);
    for words in [
        "protected by file permissions only",
        "never rehearsed",
        "1 pinned",
        "connected within",
        "shard 0 of 1",
        "bob",
        "whether it is reachable is not known",
        "no message waits",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_peer_is_reachable_once_it_answers() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    // A line for Bob stays in the outbox.
    let mut chat = alice.start(&["--json", "chat", "bob"]);
    chat.say("hello\n");
    assert!(chat.line().contains("queued"));
    // Beside a process at work: what is on the disk, and nothing of the connection.
    let status = alice.json(&["status"]);
    assert_eq!(status["connection"]["state"], "unknown", "{status}");
    assert_eq!(
        (&status["other_process"], &status["other_process_id"]),
        (&true.into(), &chat.id().into())
    );
    assert_eq!(
        (&status["peers"][0]["waiting"], &status["peers"][0]["waiting_bytes"]),
        (&1.into(), &5.into())
    );
    assert!(alice.says(&["status"]).contains("the other process may be connected"));
    drop(chat);
    let status = alice.json(&["status", "--offline"]);
    assert_eq!(status["connection"]["state"], "not_tried", "{status}");
    assert!(status["other_process"].is_null(), "{status}");
    assert!(status["peers"][0]["waiting_since_s"].is_u64(), "{status}");
    let mut receiving = bob.start(&["--json", "receive", "--count", "1"]);
    let status = alice.json(&["status", "--wait", "60"]);
    assert!(
        ["acknowledged", "session"]
            .contains(&status["peers"][0]["reachable"].as_str().expect("it answers")),
        "{status}"
    );
    assert_eq!(parse(&receiving.line())["message"], "hello");
    assert_eq!(receiving.end().code, 0);
}

#[test]
fn a_relay_that_is_not_there() {
    let (place, relay) = (place(), relay());
    let (alice, _bob) = alice_and_bob(&place, &relay);
    drop(relay);
    let ended = alice.run(&["--json", "status"]);
    assert_eq!(ended.code, TEMPORARY, "{ended:?}");
    let status = parse(&ended.out);
    assert_eq!(status["connection"]["state"], "failed", "{status}");
    assert!(status["connection"]["why"].as_str().expect("why").contains("127.0.0.1"), "{status}");
    assert_eq!(parse(&ended.error)["exit_code"], TEMPORARY);
    // What is on the disk needs no relay.
    assert_eq!(alice.json(&["status", "--offline"])["peers"][0]["name"], "bob");
}

#[test]
fn a_device_that_is_not_enrolled_or_not_there() {
    let place = place();
    let person = Person { home: place.path().join("new") };
    let ended = person.run(&["status"]);
    assert_eq!(ended.code, 78, "{ended:?}");
    person.json(&["init"]);
    let status = person.json(&["status"]);
    assert!(status["relay"].is_null() && status["connection"]["state"] == "not_tried", "{status}");
    assert!(person.says(&["status"]).contains("hush enroll INVITE"));
}
