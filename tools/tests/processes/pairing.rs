//! Pairing as people do it: by code, picture and link; and what they get wrong.

use std::os::unix::fs::PermissionsExt as _;

use hushwire_tools::relay_process::RelayProcess;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support;
use crate::support::person::{Person, parse, place};
use crate::support::program::Program;
use crate::support::{free_port, relay};

/// `EX_DATAERR`, `EX_NOPERM`, `EX_CONFIG` of sysexits.
const DATA: i32 = 65;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

/// Starts to offer with these options; the process and what it says first.
fn offer(person: &Person, options: &[&str]) -> (Program, Value) {
    let mut offering = person.start(&[&["--json", "pair"], options].concat());
    let said = parse(&offering.line());
    (offering, said)
}

fn peer(person: &Person, at: usize) -> Value {
    person.json(&["peers"])["peers"][at].clone()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[test]
fn a_code_is_said_and_typed() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (offering, said) = offer(&alice, &["--spoken", "--name", "bob"]);
    let code = text(&said["code"]);
    // As it was heard: words apart, in another case.
    let heard = code.to_uppercase();
    let words: Vec<&str> = heard.split('-').collect();
    let joined = bob.json(&[&["pair", "--name", "alice"][..], &words].concat());
    let offered = offering.end();
    assert_eq!(offered.code, 0, "{offered:?}");
    assert_eq!((&joined["name"], &joined["verified"]), (&"alice".into(), &"spoken".into()));
    assert_eq!(joined["may_send"], "yes");
    let ids = [alice.json(&["id"]), bob.json(&["id"])];
    for (person, other) in [(&alice, &ids[1]), (&bob, &ids[0])] {
        let peer = peer(person, 0);
        assert_eq!(
            (&peer["device"], &peer["fingerprint"]),
            (&other["device"], &other["fingerprint"])
        );
        assert_eq!((&peer["verified"], &peer["may_send"]), (&"spoken".into(), &"yes".into()));
        assert_eq!(text(&peer["fingerprint"]).split(' ').count(), 13);
    }
    // A person sees the same.
    let shown = alice.run(&["peers"]);
    assert!(shown.out.contains("verified on 20") && shown.out.contains("by a spoken code"));
    assert!(shown.out.contains(&text(&ids[1]["fingerprint"])), "{}", shown.out);
    assert!(shown.error.contains("hush id"), "{}", shown.error);
    let id = alice.run(&["id"]);
    assert!(id.error.contains(&text(&ids[0]["fingerprint"])), "{}", id.error);
    // To a person the code is said with what to do.
    let mut offering = Program::start(&mut alice.hush(&["pair", "--spoken"]));
    assert_eq!(offering.line().split('-').count(), 3);
    bob.fails(&["pair", &code], PERMISSION, &["tried on this device before"]);
}

#[test]
fn a_code_that_was_misheard_is_void_on_both_devices() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (offering, said) = offer(&alice, &["--spoken"]);
    let code = text(&said["code"]);
    let wrong = format!("{}-zoo-zoo", code.split('-').next().expect("a nameplate"));
    assert_ne!(wrong, code);
    bob.fails(&["pair", &wrong], PERMISSION, &["does not know this code", "make a new one"]);
    offering.end().assert(PERMISSION, &["does not know this code"]);
    // Processes that have just started give nobody a second try.
    bob.fails(&["pair", &wrong], PERMISSION, &["tried on this device before"]);
    bob.fails(&["pair", &code], 1, &["used or past its time"]);
    assert_eq!(alice.json(&["peers"])["peers"], serde_json::json!([]));
}

#[test]
fn what_is_typed_wrong_has_its_sentence() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let long = "a".repeat(100_000);
    for (typed, words) in [
        (&["hello"][..], &["neither a link", "7-apple-river"][..]),
        (&["7-aple-river"], &["\"aple\"", "\"apple\""]),
        (&["7", "apple", "rivr"], &["\"rivr\"", "\"river\""]),
        (&["7-apple-qqqqqqqq"], &["\"qqqqqqqq\"", "ask for it again"]),
        (&["7-apple"], &["this one has 1"]),
        (&["7", "apple", "river", "zoo"], &["this one has 3"]),
        (&["0-apple-river"], &["from 1 to 9999"]),
        (&["12345-apple-river"], &["from 1 to 9999"]),
        (&["apple-river"], &["from 1 to 9999"]),
        (&["7-apple-\u{1b}[31m"], &["not a word of spoken codes"]),
        (&[""], &["neither a link"]),
        (&[&long], &["hushwire:pair:"]),
        (&["hushwire:pair:abc"], &["copy the text again"]),
        (&["hushwire:invite:abc"], &["hushwire:pair:"]),
    ] {
        let ended = alice.run(&[&["pair"], typed].concat());
        ended.assert(DATA, words);
        assert!(!ended.error.contains('\u{1b}'), "{:?}", ended.error);
    }
    alice.fails(&["pair", "9999-apple-river"], 1, &["unknown, used or past its time"]);
    // From standard input, as everything that is a secret.
    let ended = Program::run(&mut alice.hush(&["pair", "-"]), b"7-aple-river\n");
    ended.assert(DATA, &["\"apple\""]);
    let ended = Program::run(&mut alice.hush(&["pair", "-"]), b"\xff\xfe");
    assert_eq!(ended.code, 1, "{ended:?}");
    for usage in [
        &["pair", "--spoken", "7-apple-river"][..],
        &["pair", "--spoken", "--qr", "x.png"],
        &["pair", "--spoken", "--scanned"],
        &["pair", "hushwire:pair:x", "--qr", "x.png"],
        &["unpair"],
    ] {
        alice.fails(usage, 2, &["Usage: hush"]);
    }
    alice.fails(&["unpair", "nobody"], 1, &["\"nobody\"", "hush peers"]);
    alice.fails(&["grant", "nobody"], 1, &["\"nobody\""]);
}

#[test]
fn links_that_are_ones_own_or_for_another_relay() {
    let (place, relay, elsewhere) = (place(), relay(), support::relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let stranger = Person::enrolled(&place, "stranger", &elsewhere);
    let (offering, said) = offer(&alice, &[]);
    let link = text(&said["link"]);
    // While it is offered, the keystore is in use.
    alice.fails(&["pair", &link], CONFIG, &["in use by another process"]);
    stranger.fails(&["pair", &link], 1, &["another relay", relay.address()]);
    drop(offering);
    alice.fails(&["pair", &link], 1, &["made on this very device"]);
    alice.fails(&["pair", &link, "--scanned"], 1, &["made on this very device"]);
    alice.fails(&["pair", "7-apple-river", "--scanned"], 1, &["leave out --scanned"]);
}

#[test]
fn a_picture_is_private_and_gone_with_the_pairing() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (png, svg) = (place.path().join("code.png"), place.path().join("code.svg"));
    let [at_png, at_svg] = [&png, &svg].map(|path| path.to_str().expect("UTF-8").to_owned());

    let (offering, said) = offer(&alice, &["--qr", &at_png, "--yes"]);
    assert_eq!(said["qr"], at_png);
    let mode = png.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = std::fs::read(&png).expect("readable");
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
    let joined = bob.json(&["pair", &text(&said["link"]), "--yes", "--name", "alice"]);
    assert_eq!(joined["verified"], "digits");
    let ended = offering.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!png.exists(), "it holds a secret");

    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (offering, _) = offer(&alice, &["--qr", &at_svg]);
        assert!(std::fs::read(&svg).expect("readable").starts_with(b"<?xml"));
        kill(Pid::from_raw(offering.id() as i32), signal).expect("it runs");
        offering.end().assert(1, &["interrupted"]);
        assert!(!svg.exists(), "{signal}");
    }

    std::fs::write(&png, b"a photograph").expect("written");
    alice.fails(&["pair", "--qr", &at_png], 1, &["exists already"]);
    assert_eq!(std::fs::read(&png).expect("still there"), b"a photograph");
    alice.fails(&["pair", "--qr", "code.gif"], 1, &["neither in .png nor in .svg"]);
    alice.fails(&["pair", "--qr", "/no/such/place/code.png"], 1, &["cannot write"]);
}

/// Interrupted while it asks: nobody has to answer first.
#[test]
fn a_question_is_no_reason_to_stay() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (mut offering, said) = offer(&alice, &[]);
    let link = text(&said["link"]);
    let mut joining = Program::start(&mut bob.hush(&["--json", "pair", &link]));
    let (asked, _) = (offering.line(), joining.line());
    assert!(asked.contains("digits"), "{asked}");
    kill(Pid::from_raw(offering.id() as i32), Signal::SIGINT).expect("it runs");
    assert!(offering.error_line().contains("interrupted"));
    joining.say("no\n");
    assert_eq!(joining.end().code, 1);
    // Its input was still open: it has ended all the same, and given back the keystore.
    support::eventually("the keystore is free", || alice.run(&["peers"]).code == 0);
}

#[test]
fn a_camera_needs_no_digits() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (offering, said) = offer(&alice, &["--scanned"]);
    let ended = bob.run(&["pair", "--scanned", &text(&said["link"])]);
    ended.assert(0, &["Nothing was compared", "hush unpair"]);
    let offered = offering.end();
    assert_eq!(offered.code, 0, "{offered:?}");
    assert_eq!(
        (&peer(&alice, 0)["verified"], &peer(&bob, 0)["verified"]),
        (&"camera".into(), &"camera".into())
    );
    // A person is shown the picture, and no link that could be copied.
    let mut offering = Program::start(&mut alice.hush(&["pair", "--scanned"]));
    let mut lines = std::iter::repeat_with(|| offering.line());
    let before: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Waiting")).collect();
    assert!(!before.iter().any(|line| line.contains("hushwire:pair:")), "{before:?}");
    assert!(before.iter().any(|line| line.contains('█')), "{before:?}");
}

#[test]
fn one_way_until_it_is_granted() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let (offering, said) = offer(&alice, &["--spoken", "--name", "bob"]);
    let joined = bob.run(&["pair", &text(&said["code"]), "--one-way", "--name", "alice"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    assert!(joined.out.contains("hush grant alice"), "{}", joined.out);
    assert_eq!(offering.end().code, 0);
    assert_eq!(
        (&peer(&alice, 0)["may_send"], &peer(&bob, 0)["may_send"]),
        (&"yes".into(), &"no".into())
    );
    assert!(bob.run(&["peers"]).out.contains("may not send to this device"));
    assert_eq!(bob.json(&["grant", "alice"])["may_send"], true);
    assert_eq!(peer(&bob, 0)["may_send"], "yes");
    let receiving = Program::start(&mut bob.hush(&["--json", "receive", "--count", "1"]));
    assert_eq!(alice.run(&["send", "bob", "-m", "thank you"]).code, 0);
    assert_eq!(parse(&receiving.end().out)["message"], "thank you");
    assert_eq!(bob.json(&["ungrant", "alice"])["may_send"], false);
    assert_eq!(peer(&bob, 0)["may_send"], "no");
}

#[test]
fn unpairing_works_without_the_relay_and_is_told_later() {
    let (place, port) = (place(), free_port());
    let address = format!("\"127.0.0.1:{port}\"");
    let mut options = support::options().set("listen", "address", address);
    options.data_dir = Some(place.path().join("data"));
    let relay = RelayProcess::start(&options).expect("it starts");
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let pair = |name: &str| {
        let (offering, said) = offer(&alice, &["--spoken", "--name", "bob"]);
        bob.json(&["pair", &text(&said["code"]), "--name", name]);
        assert_eq!(offering.end().code, 0);
    };
    pair("alice");
    assert_eq!(bob.json(&["unpair", "alice"])["relay_told"], true);
    bob.fails(&["unpair", "alice"], 1, &["\"alice\""]);
    pair("alice");
    drop(relay);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port));
    support::eventually("the port is closed", || connect().is_err());
    let ended = bob.run(&["unpair", "alice"]);
    ended.assert(0, &["cannot be told now"]);
    assert!(ended.out.contains("next command that connects"), "{}", ended.out);
    assert_eq!(bob.json(&["peers"])["peers"], serde_json::json!([]));
    let waiting = || std::fs::read_dir(bob.home.join("unpaired")).expect("a directory").count();
    assert_eq!(waiting(), 1);
    let _relay = RelayProcess::start(&options).expect("it starts again");
    // Any command that connects.
    let (offering, _) = offer(&bob, &["--spoken"]);
    support::eventually("the relay is told", || waiting() == 0);
    drop(offering);
}

#[test]
fn a_device_that_pairs_again_keeps_its_name_and_another_does_not_get_it() {
    let (place, relay) = (place(), relay());
    let alice = Person::enrolled(&place, "alice", &relay);
    let bob = Person::enrolled(&place, "bob", &relay);
    let new = Person::enrolled(&place, "new", &relay);
    for _ in 0..2 {
        let (offering, said) = offer(&bob, &["--spoken"]);
        let name: &[&str] = match alice.json(&["peers"])["peers"].as_array().expect("a list").len()
        {
            0 => &["--name", "bobs phone"],
            _ => &[],
        };
        let code = text(&said["code"]);
        assert_eq!(alice.json(&[&["pair", &code], name].concat())["name"], "bobs phone");
        assert_eq!(offering.end().code, 0);
    }
    assert_eq!(alice.json(&["peers"])["peers"].as_array().expect("a list").len(), 1);
    // Bob's next phone.
    let (offering, said) = offer(&new, &["--yes"]);
    let link = text(&said["link"]);
    let taken = ["pair", &link, "--yes", "--name", "bobs phone"];
    alice.fails(&taken, CONFIG, &["another device is called", "hush unpair"]);
    assert_eq!(alice.json(&["unpair", "bobs phone"])["relay_told"], true);
    assert_eq!(alice.json(&taken)["name"], "bobs phone");
    assert_eq!(offering.end().code, 0);
}
