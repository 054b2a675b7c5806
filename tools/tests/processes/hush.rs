//! `hush` as people use it: each device is a directory, each command a process.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hushwire::client::PairingOptions;
use hushwire::pairing::Link;
use hushwire_relay::control::admin::{Answer, Question};
use hushwire_tools::admin;
use hushwire_tools::relay_process::RelayProcess;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::support;
use crate::support::people::{connect, enrol, in_time, random};
use crate::support::person::{Person, parse, place};
use crate::support::program::{Ended, Program};
use crate::support::{eventually, free_port, relay};

/// `EX_DATAERR`, `EX_UNAVAILABLE`, `EX_TEMPFAIL`, `EX_NOPERM`, `EX_CONFIG` of sysexits.
const DATA: i32 = 65;
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

/// With an identity, enrolled under this name.
fn enrolled(place: &TempDir, name: &str, relay: &RelayProcess) -> Person {
    let person = Person::new(place, name);
    person.says(&["enroll", &relay.invite().expect("an invite"), "--name", name]);
    person
}

/// It ends with this code and a sentence with these words, to people and to programs.
#[track_caller]
fn fails(person: &Person, arguments: &[&str], code: i32, words: &[&str]) {
    person.fails(arguments, code, &[&["hush: "], words].concat());
    let ended = person.run(&[&["--json"], arguments].concat());
    let said = parse(&ended.error);
    assert_eq!((ended.code, said["exit_code"].as_i64()), (code, Some(i64::from(code))));
    let sentence = said["error"].as_str().expect("a sentence");
    assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
}

/// Begins to offer a pairing; the process and its link.
fn offer(person: &Person, name: &str) -> (Program, String) {
    let mut offering = person.start(&["--json", "pair", "--yes", "--name", name]);
    let link = parse(&offering.line())["link"].as_str().expect("a link").to_owned();
    (offering, link)
}

/// Starts to receive; returns once it does.
fn receive(person: &Person, output: &Path, count: usize) -> Program {
    let (output, count) = (output.display().to_string(), count.to_string());
    let mut receiving = person.start(&["receive", "--output", &output, "--count", &count]);
    assert!(receiving.error_line().starts_with("receiving"));
    receiving
}

/// The two pair; the first calls the other `second`, the second the other `first`.
fn pair(first: &Person, second: &Person) {
    let offerer = first.id();
    let (offering, link) = offer(first, "second");
    let joined = second.json(&["pair", &link, "--yes", "--name", "first"]);
    assert_eq!(joined["paired"], offerer, "{joined}");
    let ended = offering.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(parse(&ended.out)["name"], "second");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn from_nothing_to_files_and_messages() {
    let (place, relay) = (place(), relay());
    let (alice, bob) = (Person::new(&place, "alice"), Person::new(&place, "bob"));
    let made = alice.json(&["init"]);
    assert_eq!((made["made"].as_bool(), made["device"].as_str()), (Some(true), Some(&*alice.id())));
    assert_eq!(alice.json(&["init"])["made"], false);
    assert!(alice.says(&["init"]).contains("already"));
    let invite = relay.invite().expect("an invite");
    // Not on the command line, where `ps` shows it.
    let ended = Program::run(&mut alice.hush(&["--json", "enroll", "-"]), invite.as_bytes());
    assert_eq!((ended.code, &parse(&ended.out)["device"]), (0, &made["device"]), "{ended:?}");
    let enrolled = bob.says(&["enroll", &relay.invite().expect("an invite")]);
    assert!(enrolled.contains(relay.address()) && enrolled.contains(&bob.id()), "{enrolled}");
    assert_eq!(bob.json(&["id"])["relay"], relay.address());

    assert!(alice.says(&["peers"]).contains("hush pair"));
    pair(&alice, &bob);
    let peers = alice.json(&["peers"]);
    assert_eq!(peers["peers"][0]["device"], bob.id());
    assert_eq!(peers["peers"][0]["name"], "second");
    assert!(bob.says(&["peers"]).contains("first"));

    // While a device receives, its keys are in use.
    let bobs = bob.id();
    let (inbox, outbox) = (place.path().join("in"), place.path().join("out"));
    fs::create_dir_all(&inbox).expect("a directory");
    fs::create_dir_all(&outbox).expect("a directory");
    let (file, content) = (outbox.join("report.bin"), random(1_234_567));
    fs::write(&file, &content).expect("a file");
    let receiving = receive(&bob, &inbox, 4);
    let sent = alice.json(&["send", "second", path(&file)]);
    let sha256: String =
        Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&sent["bytes"], &sent["sha256"]), (&content.len().into(), &sha256.clone().into()));
    // Under its ID, or the beginning of it; a file of the same name gets another one.
    assert!(alice.says(&["send", &bobs[..10], path(&file)]).contains(&sha256));
    assert_eq!(alice.json(&["send", &bobs, "-m", "good morning"])["peer"], bobs);
    let ended = Program::run(&mut alice.hush(&["send", "second", "-"]), b"from a pipe");
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = receiving.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains(&sha256) && ended.out.contains("good morning"), "{}", ended.out);
    for (name, content) in
        [("report.bin", &content[..]), ("report (1).bin", &content), ("stdin", b"from a pipe")]
    {
        assert!(fs::read(inbox.join(name)).expect("it arrived") == content, "{name}");
    }
    assert_eq!(fs::read_dir(&inbox).expect("a directory").count(), 3, "nothing else is left");

    // And back, to a program.
    let arguments = ["--json", "receive", "--count", "1"];
    let receiving = Program::start(&mut alice.hush(&arguments));
    bob.says(&["send", "first", "--message", "thanks"]);
    let ended = receiving.end();
    let message = parse(&ended.out);
    assert_eq!((&message["message"], &message["from"]), (&"thanks".into(), &bobs.into()));
}

#[test]
fn people_compare_the_digits() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    let alices = alice.id();
    let mut offering = Program::start(&mut alice.hush(&["--json", "pair"]));
    let link = parse(&offering.line())["link"].as_str().expect("a link").to_owned();
    let mut joining = Program::start(&mut bob.hush(&["--json", "pair", &link]));
    // Programs are given the digits, and asked for their answer.
    let (offered, joined) = (parse(&offering.line()), parse(&joining.line()));
    assert_eq!((&offered["digits"], &joined["device"]), (&joined["digits"], &alices.into()));
    joining.say("no\n");
    offering.say("n\n");
    for ended in [offering.end(), joining.end()] {
        assert_eq!(ended.code, 1, "{ended:?}");
        let sentence = parse(&ended.error)["error"].to_string();
        assert!(sentence.contains("make a new link"), "{sentence}");
    }
    assert_eq!(alice.json(&["peers"])["peers"], serde_json::json!([]));

    let mut offering = Program::start(&mut alice.hush(&["pair", "--name", "bob"]));
    let mut lines = std::iter::repeat_with(|| offering.line());
    let line = lines.find(|line| line.contains("hush pair ")).expect("a picture, then the link");
    let link = line.trim().trim_start_matches("hush pair ").to_owned();
    let mut joining = Program::start(&mut bob.hush(&["pair", "-", "--name", "alice"]));
    joining.say(&format!("{link}\nyes\n"));
    offering.say("Y\n");
    let (offered, joined) = (offering.end(), joining.end());
    assert_eq!((offered.code, joined.code), (0, 0), "{offered:?} {joined:?}");
    // The same digits stand in both questions.
    let digits =
        |ended: &Ended| -> String { ended.error.chars().filter(char::is_ascii_digit).collect() };
    assert_eq!((digits(&offered).len(), digits(&offered)), (6, digits(&joined)));
    assert_eq!(alice.json(&["peers"])["peers"][0]["name"], "bob");
}

#[test]
fn a_peer_that_is_given_no_name_is_called_by_its_id() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    let (alices, bobs) = (alice.id(), bob.id());
    let mut offering = Program::start(&mut alice.hush(&["--json", "pair", "--yes"]));
    let link = parse(&offering.line())["link"].as_str().expect("a link").to_owned();
    assert_eq!(bob.json(&["pair", &link, "--yes"])["name"], alices[..8]);
    let ended = offering.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(alice.json(&["peers"])["peers"][0]["name"], bobs[..8]);
}

#[test]
fn devices_that_are_not_ready() {
    let (place, relay) = (place(), relay());
    let nobody = Person::new(&place, "nobody");
    let file = place.path().join("file");
    fs::write(&file, b"something").expect("a file");
    for arguments in [&["id"][..], &["peers"], &["pair"], &["receive"], &["send", "x", path(&file)]]
    {
        fails(&nobody, arguments, CONFIG, &["hush init"]);
    }
    nobody.says(&["init"]);
    for arguments in [&["pair"][..], &["receive"]] {
        fails(&nobody, arguments, CONFIG, &["not enrolled", "invite"]);
    }
    fails(&nobody, &["send", "bob", path(&file)], 1, &["\"bob\"", "hush pair"]);

    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    pair(&alice, &bob);
    fails(&alice, &["send", "third", path(&file)], 1, &["\"third\"", "hush peers"]);
    fails(&alice, &["send", "second", "/no/such/file"], 1, &["/no/such/file", "No such file"]);
    fails(&alice, &["send", "second", path(place.path())], 1, &["is a directory", "tar c"]);
    fails(&alice, &["receive", "--output", "/no/such/place"], 1, &["/no/such/place", "--output"]);
}

#[test]
fn invites_that_do_not_work() {
    let (place, relay) = (place(), relay());
    let used = relay.invite().expect("an invite");
    let alice = Person::new(&place, "alice");
    alice.says(&["enroll", &used]);
    let bob = Person::new(&place, "bob");
    fails(&bob, &["enroll", &used], PERMISSION, &["invite", "ask for a new one"]);

    let question = Question::Invite { account: None, ttl_s: 1 };
    let answer = admin::ask(relay.socket(), &question).expect("an answer");
    let Answer::Invite { invite, expires_unix_s } = answer else { panic!("{answer:?}") };
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(expires_unix_s + 1);
    eventually("the invite expires", || clock() > expires);
    fails(&bob, &["enroll", &invite], PERMISSION, &["invite", "ask for a new one"]);

    let good = relay.invite().expect("an invite");
    let cut = &good[..good.len() - 10];
    for garbage in
        ["", "hello", "hushwire:invite:", "hushwire:invite:!!!!", cut, "https://x.example"]
    {
        fails(&bob, &["enroll", garbage], DATA, &[""]);
    }
    // None of these has enrolled anybody, nor used up what is good.
    fails(&bob, &["pair"], CONFIG, &["not enrolled"]);
    bob.says(&["enroll", &good]);
}

#[expect(clippy::disallowed_methods, reason = "an invite expires by the calendar")]
fn clock() -> SystemTime {
    SystemTime::now()
}

#[test]
fn pairing_links_that_do_not_work() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    let carol = enrolled(&place, "carol", &relay);
    let (offering, link) = offer(&alice, "bob");
    bob.says(&["pair", &link, "--yes", "--name", "alice"]);
    assert_eq!(offering.end().code, 0);
    fails(&carol, &["pair", &link, "--yes"], 1, &["used or past its time"]);

    let (offering, link) = offer(&alice, "never");
    drop(offering);
    fails(&carol, &["pair", &link, "--yes"], 1, &[""]);
    for garbage in ["hello", "hushwire:pair:", &link[..60], &relay.invite().expect("an invite")] {
        fails(&carol, &["pair", garbage, "--yes"], DATA, &[""]);
    }

    let elsewhere = support::relay();
    let stranger = enrolled(&place, "stranger", &elsewhere);
    let (_offering, link) = offer(&stranger, "carol");
    fails(&carol, &["pair", &link, "--yes"], 1, &["another relay", elsewhere.address()]);
    assert_eq!(carol.json(&["peers"])["peers"], serde_json::json!([]));
}

#[tokio::test]
async fn an_expired_pairing_link() {
    let (place, relay) = (place(), relay());
    let alice = enrol(&relay, &place.path().join("alice")).await;
    let bob = enrolled(&place, "bob", &relay);
    let options = PairingOptions { ttl: Duration::from_secs(1), ..PairingOptions::default() };
    let offer = alice.offer_pairing::<Link>(options).await.expect("an offer");
    let link = offer.link();
    let error = in_time(offer.wait()).await.expect_err("nobody came");
    assert!(error.to_string().contains("expired"), "{error}");
    fails(&bob, &["pair", &link, "--yes"], 1, &["used or past its time"]);
}

#[test]
fn keystores_that_are_not_safe() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let key = alice.home.join("identity.json");
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is changed");
    };
    set(&key, 0o644);
    let chmod = format!("chmod 600 {}", key.display());
    fails(&alice, &["id"], CONFIG, &[&chmod, "open to other users"]);
    set(&key, 0o000);
    fails(&alice, &["id"], CONFIG, &[&chmod, "cannot be read"]);
    set(&key, 0o600);
    set(&alice.home, 0o755);
    let chmod = format!("chmod 700 {}", alice.home.display());
    fails(&alice, &["receive"], CONFIG, &[&chmod]);
    set(&alice.home, 0o700);

    let whole = fs::read(&key).expect("the key");
    for damaged in [&b""[..], b"{}", &whole[..whole.len() / 2], &[0; 100_000]] {
        fs::write(&key, damaged).expect("it is damaged");
        fails(&alice, &["id"], CONFIG, &[path(&key), "damaged"]);
    }
    fs::write(&key, whole).expect("it is restored");
    alice.says(&["id"]);

    let _receiving = receive(&alice, place.path(), 1);
    fails(&alice, &["peers"], CONFIG, &["in use by another process"]);
}

/// A relay with its data in `place/data`, on this port.
fn relay_at(place: &TempDir, data: &str, port: u16) -> RelayProcess {
    let address = format!("\"127.0.0.1:{port}\"");
    let mut options = support::options().set("listen", "address", address);
    options.data_dir = Some(place.path().join(data));
    RelayProcess::start(&options).expect("the relay starts")
}

/// The kernel takes a killed relay's sockets down a little later than the process.
fn kill(relay: RelayProcess, port: u16) {
    drop(relay);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port));
    eventually("the port is closed", || connect().is_err());
}

#[test]
fn relays_that_are_not_there_or_not_themselves() {
    let (place, port) = (place(), free_port());
    let relay = relay_at(&place, "first", port);
    let alice = enrolled(&place, "alice", &relay);
    let invite = relay.invite().expect("an invite");
    kill(relay, port);
    fails(&alice, &["receive"], TEMPORARY, &["cannot be reached", &format!("127.0.0.1:{port}")]);
    let bob = Person::new(&place, "bob");
    fails(&bob, &["enroll", &invite], TEMPORARY, &["cannot be reached"]);

    let other = relay_at(&place, "second", port);
    let pin = other.status().expect("a status").pin;
    fails(&alice, &["receive"], UNAVAILABLE, &["the relay's key is", &pin, "new invite"]);
    fails(&bob, &["enroll", &invite], UNAVAILABLE, &[&pin]);
    kill(other, port);
    let _first_again = relay_at(&place, "first", port);
    bob.says(&["enroll", &invite]);
}

#[tokio::test]
async fn peers_that_want_no_more() {
    let (place, port) = (place(), free_port());
    let relay = relay_at(&place, "data", port);
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    pair(&alice, &bob);
    // A pairing lets a few cells through until its code expires, or the relay has forgotten it.
    kill(relay, port);
    let relay = relay_at(&place, "data", port);
    let client = connect(&bob.home).await;
    let peer = client.peers()[0].device;
    client.unpair(peer).await.expect("the relay answers");
    client.close().await;
    let alices = alice.id();
    fails(&alice, &["send", "second", "-m", "hello?"], PERMISSION, &["pair again"]);

    let revoke = |device: String| {
        let answer = admin::ask(relay.socket(), &Question::Revoke { device }).expect("an answer");
        assert_eq!(answer, Answer::Done);
    };
    revoke(alices);
    fails(&alice, &["send", "second", "-m", "hello?"], PERMISSION, &["does not admit this device"]);
    let bobs = bob.id();
    let receiving = receive(&bob, place.path(), 1);
    revoke(bobs);
    let ended = receiving.end();
    assert_eq!(ended.code, PERMISSION, "{ended:?}");
    assert!(ended.error.contains("revoked"), "{ended:?}");
}

#[tokio::test]
async fn a_broken_transfer_is_no_reason_to_miss_the_next() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    pair(&alice, &bob);
    let mut receiving =
        Program::start(bob.hush(&["--json", "receive", "--count", "1"]).current_dir(place.path()));
    let client = connect(&alice.home).await;
    let peer = client.peers()[0].device;
    let cut: [&[u8]; 3] =
        [b"\xff\xff no head", b"\x02\x00{}", b"\x18\x00{\"name\":\"x\",\"size\":1000}"];
    for bytes in cut {
        let mut stream = in_time(client.open_stream(peer)).await.expect("a stream");
        in_time(stream.write_all(bytes)).await.expect("it is written");
        // The peer may have given it up already.
        let _given_up = in_time(stream.shutdown()).await;
        let said = parse(&receiving.error_line());
        assert_eq!(said["from"], client.device().to_text());
        assert!(said["error"].as_str().expect("a sentence").contains("the peer"), "{said}");
    }
    client.close().await;
    alice.says(&["send", "second", "-m", "whole"]);
    let ended = receiving.end();
    assert_eq!((ended.code, &parse(&ended.out)["message"]), (0, &"whole".into()));
    let names = fs::read_dir(place.path()).expect("a directory");
    assert_eq!(names.count(), 2, "nothing is left of them, beside the two homes");
}

#[test]
fn receiving_ends_when_it_is_interrupted() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let receiving = receive(&alice, place.path(), 1);
    // The signal is listened for from the first wait on, just after the line.
    eventually("it sleeps", || {
        let path = format!("/proc/{}/stat", receiving.id());
        fs::read_to_string(path).expect("it runs").contains(") S ")
    });
    let pid = rustix::process::Pid::from_raw(receiving.id() as i32).expect("a process ID");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is interrupted");
    let ended = receiving.end();
    assert_eq!((ended.code, ended.out.as_str(), ended.error.as_str()), (0, "", ""));
}

#[test]
fn a_peer_that_is_away_is_waited_for() {
    let (place, relay) = (place(), relay());
    let alice = enrolled(&place, "alice", &relay);
    let bob = enrolled(&place, "bob", &relay);
    pair(&alice, &bob);
    let mut sending =
        Program::start(&mut alice.hush(&["send", "second", "-m", "when you are back"]));
    assert!(sending.error_line().contains("away"));
    let receiving = receive(&bob, place.path(), 1);
    let (sent, received) = (sending.end(), receiving.end());
    assert_eq!((sent.code, received.code), (0, 0), "{sent:?} {received:?}");
    assert!(received.out.contains("when you are back"), "{received:?}");
}

#[test]
fn the_demo_as_a_program_sees_it() {
    let place = place();
    let file = place.path().join("file");
    fs::write(&file, random(3_000_000)).expect("a file");
    let shown =
        Person::new(&place, "x").json(&["demo", path(&file), "--messages", "50", "--shards", "2"]);
    assert_eq!((&shown["bytes"], &shown["sha256_equal"]), (&3_000_000.into(), &true.into()));
    assert!(shown["mib_per_s"].as_f64().expect("a number") > 0.0, "{shown}");
    let at = |name: &str| shown["latency_us"][name].as_u64().expect("a number");
    assert!(at("p50") <= at("p99") && at("p99") <= at("p999"), "{shown}");
    for name in ["cells_in", "cells_out", "resident_bytes"] {
        assert!(shown["relay"][name].as_u64().expect("a number") > 90, "{name} in {shown}");
    }
    assert_eq!(shown["transport"], "QUIC");
    let by_tls = Person::new(&place, "x").json(&["demo", path(&file), "--messages", "5", "--tls"]);
    assert_eq!((&by_tls["transport"], &by_tls["sha256_equal"]), (&"TLS".into(), &true.into()));
    assert!(!place.path().join("x").exists(), "a demo leaves this device's keys alone");

    Person::new(&place, "x").fails(&["demo", "/no/such/file"], 1, &["/no/such/file"]);
}

#[test]
fn the_demo_as_a_person_sees_it() {
    let place = place();
    let file = place.path().join("file");
    fs::write(&file, b"a few bytes").expect("a file");
    let shown = Person::new(&place, "x").says(&["demo", path(&file), "--messages", "5"]);
    for words in ["hashes   equal", "what the relay saw", "what the devices saw", "p99.9"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
}

#[test]
fn usage() {
    let place = place();
    let person = Person::new(&place, "x");
    let help = person.says(&["--help"]);
    let commands = ["demo", "init", "enroll", "id", "pair", "unpair", "peers", "grant", "ungrant"];
    for command in commands.into_iter().chain(["send", "receive"]) {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        let help = person.says(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: hush {command}")), "{help}");
    }
    assert!(person.says(&["--version"]).starts_with("hush "));
    for wrong in [&["fly"][..], &[], &["send", "x"], &["send", "x", "y", "-m", "z"], &["enroll"]] {
        let ended = person.run(wrong);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{wrong:?}");
        assert!(ended.error.contains("Usage: hush"), "{}", ended.error);
    }
    assert!(!person.home.exists(), "help and mistakes change nothing");
}
