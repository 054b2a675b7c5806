//! What became of messages, told by a process that did not send them.

use hushwire_tools::days::date;

use crate::support::person::{alice_and_bob, parse, place};
use crate::support::{now_s, relay};

#[test]
fn the_story_of_a_message() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = alice_and_bob(&place, &relay);
    assert!(alice.objects(&["trace"]).is_empty());
    // Bob is away: the line stays in the outbox of a process that is still at work.
    let mut chat = alice.start(&["--json", "chat", "bob"]);
    chat.say("are you there?\n");
    let id = parse(&chat.line())["queued"].as_str().expect("an ID").to_owned();
    let story = alice.json(&["trace", &id]);
    assert_eq!((&story["state"], &story["name"]), (&"waiting".into(), &"bob".into()), "{story}");
    assert_eq!((&story["bytes"], &story["number"]), (&14.into(), &0.into()));
    assert_eq!((&story["peer"], &story["id"]), (&bob.id().into(), &id.clone().into()));
    for unknown in ["first_sent_s", "expires_s", "ended_s", "reason"] {
        assert!(story[unknown].is_null(), "{story}");
    }
    let (queued_s, now) = (story["queued_s"].as_u64().expect("a time"), now_s());
    assert!((now - 600..=now).contains(&queued_s), "{story}");
    // To a person, in sentences, with who may know more.
    let told = alice.run(&["trace", &id]);
    let day = date(u32::try_from(queued_s / 86_400).expect("a day"));
    for words in [&day, "to bob, 14 bytes", "has not ended", "only the process that sends knows"] {
        assert!(told.out.contains(words), "{words}: {told:?}");
    }
    let process = format!("another process ({}) is at work", chat.id());
    assert!(told.error.contains(&process), "{told:?}");
    // Bob reads it, and Alice's process hears so.
    let mut received = bob.start(&["--json", "receive", "--count", "1"]);
    assert_eq!(parse(&received.line())["message"], "are you there?");
    assert_eq!(parse(&chat.line())["state"], "delivered");
    assert_eq!((received.end().code, chat.end().code), (0, 0));
    let story = alice.json(&["trace", &id]);
    assert_eq!(story["state"], "delivered", "{story}");
    let [first, ended] = ["first_sent_s", "ended_s"].map(|key| story[key].as_u64());
    assert!(first.expect("sent") >= queued_s && ended >= first, "{story}");
    let told = alice.run(&["trace", &id]);
    assert!(told.out.contains("Delivered: bob has taken it"), "{told:?}");
    assert_eq!(told.error, "");
    // By peer, and all: the same message.
    assert_eq!(alice.objects(&["trace", "bob"]), alice.objects(&["trace"]));
    let line = alice.says(&["trace"]);
    assert!(line.contains(&id) && line.contains(": delivered "), "{line}");
    // At the receiver: what the cursor says, and no more.
    assert_eq!(bob.json(&["trace", &id])["received"], "done");
    let told = bob.says(&["trace", &id]);
    assert!(told.contains("from alice") && told.contains("not kept"), "{told}");
    let later = id.replace("-0", "-5");
    assert_eq!(bob.json(&["trace", &later])["received"], "not_taken");
    assert!(bob.objects(&["trace"]).is_empty());
}

#[test]
fn messages_that_expired_and_such_that_nobody_knows() {
    let (place, relay) = (place(), relay());
    let (alice, _bob) = alice_and_bob(&place, &relay);
    let ended = alice.run_with(&["--json", "chat", "bob", "--expires-in", "1"], b"too late\n");
    assert_eq!(ended.code, 0, "{ended:?}");
    let ends: Vec<_> = ended.out.lines().map(parse).collect();
    assert_eq!(ends[1]["state"], "expired", "{ended:?}");
    let id = ends[0]["queued"].as_str().expect("an ID");
    let story = alice.json(&["trace", id]);
    assert_eq!(story["state"], "expired", "{story}");
    assert!(story["ended_s"].as_u64() > story["queued_s"].as_u64(), "{story}");
    let told = alice.says(&["trace", id]);
    assert!(told.contains("may or may not have arrived"), "{told}");
    let other = format!("{}-7", "0".repeat(16));
    for (arguments, words) in [
        (["trace", other.as_str()], "no message is known here"),
        (["trace", id.replace("-0", "-9").as_str()], "no message is known here"),
        (["trace", "carol"], "no peer is called"),
    ] {
        let ended = alice.run(&arguments);
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
        assert!(ended.error.contains(words), "{ended:?}");
    }
}

#[test]
fn a_journal_that_is_damaged_is_told_of() {
    let (place, relay) = (place(), relay());
    let (alice, _bob) = alice_and_bob(&place, &relay);
    let journal = alice.home.join("journal");
    let mut bytes = std::fs::read(&journal).expect("a journal");
    bytes[3] ^= 1;
    std::fs::write(&journal, &bytes).expect("written");
    let ended = alice.run(&["trace"]);
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.error.contains("journal"), "{ended:?}");
    assert_eq!(std::fs::read(&journal).expect("there"), bytes);
}
