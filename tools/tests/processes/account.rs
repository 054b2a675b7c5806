//! Several devices of one account, and a new key for one of them, as people have them: `hush devices`, `hush rotate`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::person::{Person, parse};
use crate::support::relay;

/// `EX_TEMPFAIL`, `EX_CONFIG` of sysexits.
const TEMPORARY: i32 = 75;
const CONFIG: i32 = 78;

/// Its devices' names, each with what it is paired as here.
fn devices(person: &Person) -> Vec<(String, Value)> {
    let listed = person.json(&["devices"]);
    let devices = listed["devices"].as_array().expect("a list").iter();
    let mut devices: Vec<_> =
        devices.map(|device| (text(&device["name"]), device["paired_as"].clone())).collect();
    devices.sort_by(|one, other| one.0.cmp(&other.0));
    devices
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn pair(offering: (&Person, &str), joining: (&Person, &str)) {
    let mut offer = offering.0.start(&["--json", "pair", "--spoken", "--name", joining.1]);
    let code = text(&parse(&offer.line())["code"]);
    joining.0.json(&["pair", &code, "--name", offering.1]);
    assert_eq!(offer.end().code, 0);
}

/// One device adds another, whose user says the same there.
fn add(adding: &Person, peer: &str, joining: &Person, other: &str) {
    let mut added = adding.start(&["devices", "add", peer]);
    assert!(added.error_line().contains("hush devices join"), "it says what to do over there");
    let joined = joining.run(&["devices", "join", other]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let added = added.end();
    assert_eq!(added.code, 0, "{added:?}");
}

#[test]
fn devices_are_added_listed_and_removed() {
    let (place, relay) = (tempfile::tempdir().expect("a directory"), relay());
    let [laptop, phone, server] =
        ["laptop", "phone", "server"].map(|name| Person::enrolled(&place, name, &relay));
    pair((&laptop, "laptop"), (&phone, "phone"));
    pair((&phone, "phone"), (&server, "server"));

    assert_eq!(laptop.json(&["devices"])["devices"], json!([]));
    assert!(laptop.run(&["devices"]).out.contains("hush devices begin"));
    for arguments in [&["add", "phone"][..], &["remove", "phone"], &["sync"]] {
        laptop.fails(&[&["devices"], arguments].concat(), CONFIG, &["belongs to no account"]);
    }
    laptop.json(&["devices", "begin", "laptop"]);
    laptop.fails(&["devices", "begin", "laptop"], 1, &[""]);
    add(&laptop, "phone", &phone, "laptop");
    // The laptop has never met the server, and is not there meanwhile.
    add(&phone, "server", &server, "phone");
    let listening = phone.start(&["--json", "receive"]);
    let synced = laptop.json(&["devices", "sync"]);
    assert_eq!((&synced["devices"], &synced["unheard"]), (&json!(3), &json!([])));
    let named = |name: &str, paired_as: Value| (name.to_owned(), paired_as);
    let [a, b, c] = ["laptop", "phone", "server"];
    assert_eq!(
        devices(&laptop),
        [named(a, Value::Null), named(b, json!("phone")), named(c, Value::Null)]
    );
    let shown = laptop.run(&["devices"]);
    for words in ["laptop (this device)", "paired as phone", "not paired", "added by phone"] {
        assert!(shown.out.contains(words), "{words:?} is not in {}", shown.out);
    }
    let print = text(&synced["fingerprint"]);
    assert!(shown.error.contains(&print), "{}", shown.error);
    assert_eq!(text(&server.json(&["devices"])["fingerprint"]), print);

    // Asked, and answered with nothing.
    laptop.fails(&["devices", "remove", "server"], 1, &["nothing was changed"]);
    laptop.fails(&["devices", "remove", "nobody", "--yes"], 1, &["`hush devices` lists them"]);
    laptop.fails(&["devices", "settle", "first"], 1, &[""]);
    let removed = laptop.json(&["devices", "remove", "server", "--yes"]);
    assert_eq!((&removed["name"], &removed["unheard"]), (&json!("server"), &json!([])));
    drop(listening);
    assert_eq!(devices(&phone).len(), 2);
    // One that is not there is named, and hears of it later.
    let removed = laptop.json(&["devices", "remove", &laptop.id(), "--yes"]);
    assert_eq!(removed["unheard"], json!(["phone"]));
}

#[test]
fn a_key_is_replaced_and_peers_know_the_new_one() {
    let (place, relay) = (tempfile::tempdir().expect("a directory"), relay());
    let [alice, bob, carol] =
        ["alice", "bob", "carol"].map(|name| Person::enrolled(&place, name, &relay));
    pair((&alice, "alice"), (&bob, "bob"));
    pair((&alice, "alice"), (&carol, "carol"));
    let old = alice.id();
    alice.fails(&["rotate", "--cancel"], 1, &["is not being replaced"]);
    alice.fails(&["rotate"], 1, &["nothing was changed"]);
    assert_eq!(alice.id(), old);

    let mut listening = bob.start(&["--json", "receive", "--count", "1"]);
    // Carol is not there.
    let waiting = alice.run(&["--json", "rotate", "--yes", "--wait", "3"]);
    assert_eq!(waiting.code, TEMPORARY, "{waiting:?}");
    let said = parse(&waiting.out);
    assert_eq!((&said["told"], &said["unheard"]), (&json!(["bob"]), &json!(["carol"])));
    assert!(text(&parse(&waiting.error)["error"]).contains("--leave-behind"), "{waiting:?}");
    assert_eq!(alice.id(), old);
    alice.fails(&["rotate", "--cancel"], 1, &["not at that point"]);

    let done = alice.json(&["rotate", "--leave-behind", "--wait", "1"]);
    let new = alice.id();
    assert_ne!(new, old);
    assert_eq!((text(&done["device"]), text(&done["old"])), (new.clone(), old.clone()));
    assert_eq!((&done["told"], &done["left_behind"]), (&json!(["bob"]), &json!(["carol"])));
    assert_eq!(done["old_key_revoked"], true);
    let delivered = alice.run(&["send", "bob", "--message", "it is me"]);
    assert_eq!(delivered.code, 0, "{delivered:?}");
    let heard = parse(&listening.line());
    assert_eq!((text(&heard["from"]), text(&heard["message"])), (new.clone(), "it is me".into()));
    assert_eq!(listening.end().code, 0);
    let peers = bob.json(&["peers"]);
    assert_eq!(
        (text(&peers["peers"][0]["device"]), &peers["peers"][0]["name"]),
        (new, &json!("alice"))
    );
}

/// Wherever it is killed, it goes on from there. Where only a peer's acknowledgement was lost, the peer is left behind
/// in name, and knows the new key all the same.
#[test]
fn a_rotation_that_is_killed_again_and_again_comes_to_its_end() {
    const ROUNDS: u64 = 4;
    const KILLS: u64 = 5;
    let (place, relay) = (tempfile::tempdir().expect("a directory"), relay());
    let [alice, bob] = ["alice", "bob"].map(|name| Person::enrolled(&place, name, &relay));
    pair((&alice, "alice"), (&bob, "bob"));
    let mut listening = bob.start(&["--json", "receive", "--count", &ROUNDS.to_string()]);
    let is_on = || alice.home.join("rotation.json").exists();
    let mut known = alice.id();
    let mut kills = 0;
    for round in 0..ROUNDS {
        // At moments all over the time that it takes, whatever that is on this machine.
        for at in 0..KILLS {
            if alice.id() != known && !is_on() {
                break;
            }
            let time = Duration::from_millis(17 * round + 70 * at);
            let rotating = alice.start(&["rotate", "--yes", "--leave-behind", "--wait", "15"]);
            kills += u64::from(!rotating.killed_after(time));
        }
        if alice.id() == known || is_on() {
            let ended = alice.run(&["rotate", "--yes", "--leave-behind", "--wait", "15"]);
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        let new = alice.id();
        assert_ne!(new, known, "round {round}");
        let words = format!("round {round}");
        let sent = alice.run(&["send", "bob", "--message", &words]);
        assert_eq!(sent.code, 0, "{sent:?}");
        let heard = parse(&listening.line());
        assert_eq!((text(&heard["from"]), text(&heard["message"])), (new.clone(), words));
        let peers = alice.json(&["peers"]);
        assert_eq!(peers["peers"].as_array().map(Vec::len), Some(1));
        known = new;
    }
    assert!(kills >= ROUNDS, "only {kills} of the rotations were killed");
    assert_eq!(listening.end().code, 0);
    let peers = bob.json(&["peers"]);
    assert_eq!(peers["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (text(&peers["peers"][0]["device"]), &peers["peers"][0]["name"]),
        (known, &json!("alice"))
    );
}
