//! `hush` and what protects its keys: passphrase, words, restoring. Each command is a process, some with a terminal.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hushwire::keystore::Keystore;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::person::place;
use crate::support::program::{Ended, Program};
use crate::support::pty::Session;
use crate::support::relay;

/// `EX_DATAERR`, `EX_NOPERM`, `EX_CONFIG` of sysexits.
const DATA: i32 = 65;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

const SECRET: &str = "correct horse battery";

struct Device {
    home: PathBuf,
}

impl Device {
    fn new(place: &TempDir, name: &str) -> Self {
        Self { home: place.path().join(name) }
    }

    /// With an identity and no passphrase.
    fn plain(place: &TempDir, name: &str) -> Self {
        let device = Self::new(place, name);
        device.succeeds(&["init"], "");
        device
    }

    /// Without a terminal, even where the test has one.
    fn hush(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg(support::hush()).args(self.all(arguments)).env_remove("HUSH_KEYSTORE");
        command
    }

    fn all<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--keystore", text(&self.home)], arguments].concat()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ended {
        Program::run(&mut self.hush(arguments), input.as_bytes())
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str], input: &str) -> String {
        let ended = self.run(arguments, input);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], input: &str) -> Value {
        let out = self.succeeds(&[&["--json"], arguments].concat(), input);
        serde_json::from_str(out.lines().last().expect("a line")).expect("JSON")
    }

    /// It ends with this code and one sentence that says all of this.
    #[track_caller]
    fn fails(&self, arguments: &[&str], input: &str, code: i32, says: &[&str]) {
        let ended = self.run(arguments, input);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{ended:?}");
        assert_eq!(ended.error.lines().count(), 1, "{ended:?}");
        for part in says {
            assert!(ended.error.contains(part), "{part:?} in {ended:?}");
        }
    }

    fn session(&self, arguments: &[&str]) -> Session {
        Session::start(&support::hush(), &self.all(arguments))
    }

    fn words(&self) -> String {
        self.json(&["backup", "--show"], "")["words"].as_str().expect("words").to_owned()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A file that only its owner reads.
fn private(place: &TempDir, name: &str, contents: &[u8]) -> String {
    let path = place.path().join(name);
    fs::write(&path, contents).expect("written");
    set_mode(&path, 0o600);
    text(&path).to_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is changed");
}

#[test]
fn a_passphrase_is_typed_unseen() {
    let place = place();
    let device = Device::plain(&place, "device");
    let id = device.json(&["id"], "")["device"].as_str().expect("an ID").to_owned();
    let mut setting = device.session(&["passphrase"]);
    setting.expect("New passphrase: ");
    assert!(!setting.echo());
    setting.say(&format!("{SECRET}\n"));
    setting.expect("Once more: ");
    setting.say(&format!("{SECRET}\n"));
    let left = setting.end();
    assert_eq!((left.code, left.echo), (Some(0), true), "{left:?}");
    assert!(!left.seen.contains("horse") && left.seen.contains("has a passphrase now"));

    // Every command asks; a slip is forgiven twice.
    let mut asking = device.session(&["id"]);
    for wrong in ["wrong\n", "correct horse\n"] {
        asking.expect("Passphrase of ");
        asking.expect(": ");
        asking.say(wrong);
        asking.expect("That is not it.");
    }
    asking.expect(": ");
    asking.say(&format!("{SECRET}\n"));
    let left = asking.end();
    assert_eq!((left.code, left.echo), (Some(0), true), "{left:?}");
    assert!(left.seen.contains(&id) && !left.seen.contains("horse"), "{left:?}");
    let mut guessing = device.session(&["id"]);
    for _ in 0..3 {
        guessing.expect("Passphrase of ");
        guessing.expect(": ");
        guessing.say("a guess\n");
    }
    let left = guessing.end();
    assert_eq!(left.code, Some(PERMISSION), "{left:?}");
    assert!(left.seen.contains("not the passphrase") && !left.seen.contains(&id), "{left:?}");

    let mut removing = device.session(&["passphrase", "--remove"]);
    removing.expect(": ");
    removing.say(&format!("{SECRET}\n"));
    assert_eq!(removing.end().code, Some(0));
    assert_eq!(device.json(&["id"], "")["device"], id);
}

#[test]
fn two_new_passphrases_that_differ_change_nothing() {
    let place = place();
    let device = Device::plain(&place, "device");
    let mut setting = device.session(&["passphrase"]);
    for (prompt, typed) in [("New passphrase: ", "one\n"), ("Once more: ", "two\n")] {
        setting.expect(prompt);
        setting.say(typed);
    }
    let left = setting.end();
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.seen.contains("not the same"), "{left:?}");
    let mut setting = device.session(&["passphrase"]);
    setting.expect("New passphrase: ");
    setting.say("\n");
    let left = setting.end();
    assert_eq!(left.code, Some(DATA), "{left:?}");
    let mut setting = device.session(&["passphrase"]);
    setting.expect("New passphrase: ");
    // Ctrl-D: no more input.
    setting.say("\u{4}");
    let left = setting.end();
    assert_eq!((left.code, left.echo), (Some(1), true), "{left:?}");
    device.succeeds(&["id"], "");
}

#[test]
fn signals_find_the_terminal_as_it_was() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let place = place();
    let device = Device::plain(&place, "device");
    // Ctrl-C and Ctrl-\ on the terminal.
    for (key, signal) in [("\u{3}", Signal::SIGINT), ("\u{1c}", Signal::SIGQUIT)] {
        let mut asking = device.session(&["passphrase"]);
        asking.expect("New passphrase: ");
        assert!(!asking.echo());
        asking.say(key);
        let left = asking.end();
        assert_eq!((left.signal, left.echo), (Some(signal as i32), true), "{left:?}");
    }
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut asking = device.session(&["passphrase"]);
        asking.expect("New passphrase: ");
        kill(Pid::from_raw(asking.id().try_into().expect("a PID")), signal).expect("it runs");
        let left = asking.end();
        assert_eq!((left.signal, left.echo), (Some(signal as i32), true), "{left:?}");
    }
    // Ctrl-Z stops a program that a shell waits for. This one has no shell, so it goes on at once, and asks again.
    let mut asking = device.session(&["passphrase"]);
    asking.expect("New passphrase: ");
    asking.say("half of i\u{1a}");
    asking.expect("New passphrase: ");
    asking.say("all of it\n");
    asking.expect("Once more: ");
    assert!(!asking.echo());
    asking.say("all of it\n");
    let left = asking.end();
    assert_eq!((left.code, left.echo), (Some(0), true), "{left:?}");
    assert!(!left.seen.contains("of i"), "{left:?}");
}

#[test]
fn a_passphrase_comes_from_a_file() {
    let place = place();
    let file = private(&place, "secret", format!("{SECRET}\n").as_bytes());
    let other = private(&place, "other", b"another");
    let device = Device::new(&place, "device");
    // Made with it: nothing was ever on the disk without.
    let id = device.json(&["--passphrase-file", &file, "init"], "")["device"].clone();
    assert_eq!(device.json(&["id", "--passphrase-file", &file], "")["device"], id);
    // An open descriptor, here standard input; with the end of a line of another system.
    for typed in [SECRET.to_owned(), format!("{SECRET}\r\n")] {
        assert_eq!(device.json(&["id", "--passphrase-file", "/dev/fd/0"], &typed)["device"], id);
    }
    device.fails(&["id"], "", CONFIG, &["--passphrase-file", "has a passphrase"]);
    let wrong = ["id", "--passphrase-file", &other];
    device.fails(&wrong, "", PERMISSION, &["not the passphrase", "nothing was changed"]);

    let change = ["passphrase", "--passphrase-file", &file, "--new-passphrase-file", &other];
    device.succeeds(&change, "");
    device.fails(&["id", "--passphrase-file", &file], "", PERMISSION, &["not the passphrase"]);
    assert_eq!(device.json(&wrong, "")["device"], id);
    device.succeeds(&["passphrase", "--remove", "--passphrase-file", &other], "");
    assert_eq!(device.json(&["id"], "")["device"], id);
    device.fails(&wrong, "", CONFIG, &["has no passphrase"]);
    device.fails(&["passphrase"], "", 1, &["--new-passphrase-file"]);
}

#[test]
fn passphrase_files_that_do_not_work() {
    let place = place();
    let device = Device::plain(&place, "device");
    let set = |file: &str, code, says: &[&str]| {
        device.fails(&["passphrase", "--new-passphrase-file", file], "", code, says);
    };
    set(&private(&place, "empty", b""), DATA, &["at least one character"]);
    set(&private(&place, "line", b"\n"), DATA, &["at least one character"]);
    set(&private(&place, "long", &[b'x'; 1_025]), DATA, &["at most 1 024 bytes"]);
    set(&private(&place, "huge", &[b'x'; 1 << 20]), DATA, &["at most 1 024 bytes"]);
    set("/no/such/file", 1, &["/no/such/file", "No such file"]);
    set(text(place.path()), 1, &["is a directory"]);
    set("/dev/zero", 1, &["open to other users"]);
    let open = private(&place, "open", b"secret");
    for mode in [0o644, 0o640, 0o604, 0o620] {
        set_mode(Path::new(&open), mode);
        set(&open, 1, &["open to other users", "chmod 600"]);
    }
    device.succeeds(&["id"], "");
    let most = private(&place, "most", &[[b'x'; 1_024].as_slice(), b"\r\n"].concat());
    device.succeeds(&["passphrase", "--new-passphrase-file", &most], "");
    device.succeeds(&["id", "--passphrase-file", &most], "");
}

#[test]
fn damaged_locked_and_absurd_keystores_have_sentences() {
    let place = place();
    let file = private(&place, "secret", SECRET.as_bytes());
    let device = Device::new(&place, "device");
    device.succeeds(&["--passphrase-file", &file, "init"], "");
    let id = ["id", "--passphrase-file", &file];
    let lock = device.home.join("passphrase.json");
    let whole = fs::read(&lock).expect("written");
    fs::write(&lock, &whole[..whole.len() / 2]).expect("written");
    device.fails(&id, "", CONFIG, &["passphrase.json is damaged"]);
    // Not asked for in vain.
    device.fails(&["id"], "", CONFIG, &["passphrase.json is damaged"]);
    let line = String::from_utf8(whole.clone()).expect("JSON");
    let line = line.lines().next().expect("a record").replace("65536", "4194304");
    let sum = {
        use sha2::Digest as _;
        let sum = sha2::Sha256::digest(line.as_bytes());
        sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    fs::write(&lock, format!("{line}\n{sum}\n")).expect("written");
    device.fails(&id, "", CONFIG, &["out of all bounds"]);
    fs::write(&lock, &whole).expect("written");
    device.succeeds(&id, "");
    // Another process has it open.
    let passphrase = hushwire::keystore::Passphrase::new(SECRET.as_bytes().to_vec());
    let open = Keystore::open_with(&device.home, &passphrase.expect("a passphrase"));
    let open = open.expect("the right one");
    device.fails(&id, "", CONFIG, &["in use by another process"]);
    drop(open);
    let sealed = device.home.join("storage.json");
    fs::copy(device.home.join("identity.json"), &sealed).expect("copied");
    device.fails(&id, "", CONFIG, &["storage.json is damaged"]);
}

#[test]
fn words_are_shown_on_a_terminal_and_asked_back() {
    let place = place();
    let device = Device::plain(&place, "device");
    device.fails(&["backup"], "", 1, &["--show"]);
    device.fails(&["--json", "backup"], "", 1, &["--show"]);
    device.fails(&["backup", "--rehearse"], "", 1, &["--rehearse -"]);
    let words = device.words();
    let list: Vec<&str> = words.split(' ').collect();
    assert_eq!(list.len(), 24);

    let mut wrong = list.clone();
    wrong[6] = if wrong[6] == "zebra" { "zoo" } else { "zebra" };
    device.fails(&["backup", "--rehearse", "-"], &wrong.join(" "), DATA, &["word 7 is not"]);
    let short = list[..23].join(" ");
    device.fails(&["backup", "--rehearse", "-"], &short, DATA, &["24 words", "23"]);
    device.fails(&["backup", "--rehearse", "-"], "", DATA, &["24 words", "0"]);
    let rehearsed = || Keystore::open(&device.home).expect("opens").backup_rehearsed_at_s();
    assert_eq!(rehearsed(), None);
    let shouted = words.to_uppercase().replace(' ', "\n\n");
    let value = device.json(&["backup", "--rehearse", "-"], &shouted);
    assert_eq!(rehearsed(), value["rehearsed_at_s"].as_u64());
    assert!(rehearsed().is_some());

    let mut showing = device.session(&["backup"]);
    for (index, word) in list.iter().enumerate() {
        showing.expect(&format!("{:>2} {word}", index + 1));
    }
    showing.expect("Enter when you have them: ");
    showing.say("\n");
    showing.expect("in their order: ");
    showing.say(&format!("{}\n", list[..10].join(" ")));
    showing.expect("10 of 24");
    showing.say(&format!("{}\n", list[10..].join("  ")));
    let left = showing.end();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.seen.contains("all 24 words are right"), "{left:?}");
    // What stood on the other screen is gone before the program goes back from it.
    let (_, after) = left.seen.split_once("\u{1b}[?1049l").expect("it goes back");
    assert!(!list.iter().any(|word| after.contains(&format!("{word}  "))), "{after}");

    let mut showing = device.session(&["backup"]);
    showing.expect("Enter when you have them: ");
    showing.say("\u{3}");
    let left = showing.end();
    assert_eq!(left.signal, Some(2), "{left:?}");
    assert!(left.seen.contains("\u{1b}[?1049l"), "{left:?}");
}

#[test]
fn words_that_do_not_work() {
    let place = place();
    let device = Device::plain(&place, "device");
    let words = device.words();
    let list: Vec<&str> = words.split(' ').collect();
    let changed = |index: usize, word: &str| {
        let mut list = list.clone();
        list[index] = word;
        list.join(" ")
    };
    let fresh = Device::new(&place, "fresh");
    let refused = |input: &str, says: &[&str]| fresh.fails(&["restore", "-"], input, DATA, says);
    refused("", &["24 words, these are 0"]);
    refused(&list[..23].join(" "), &["24 words, these are 23"]);
    refused(&format!("{words} zoo"), &["24 words, these are 25"]);
    refused(&changed(6, "abondon"), &["word 7", "did you mean \"abandon\"?"]);
    refused(&"zoo ".repeat(1 << 18), &["24 words"]);
    // The last word holds the checksum: of eight bits, so one other in 256 fits as well.
    let other = ["zoo", "zebra"].into_iter().find(|other| {
        let text = changed(23, other);
        *other != list[23] && hushwire::identity::Words::parse(&text).is_err()
    });
    refused(&changed(23, other.expect("one that does not fit")), &["do not fit together"]);
    fresh.fails(&["restore", list[0]], "", 1, &["`ps`"]);
    fresh.fails(&["restore"], "", 1, &["hush restore -"]);
    device.fails(&["restore", "-"], &words, CONFIG, &["already"]);
    assert!(!fresh.home.exists());
    let id = device.json(&["id"], "")["device"].clone();
    let text = fresh.succeeds(&["restore", "-"], &words.to_uppercase());
    assert!(text.contains("hush enroll") && text.contains("hush pair"), "{text}");
    assert_eq!(fresh.json(&["id"], "")["device"], id);
}

#[test]
fn words_are_typed_to_restore_with_a_passphrase() {
    let place = place();
    let device = Device::plain(&place, "device");
    let file = private(&place, "secret", SECRET.as_bytes());
    let fresh = Device::new(&place, "fresh");
    let mut typing = fresh.session(&["restore", "--passphrase-file", &file]);
    typing.expect("in their order: ");
    typing.say(&format!("{}\n", device.words()));
    let left = typing.end();
    assert_eq!(left.code, Some(0), "{left:?}");
    let id = device.json(&["id"], "")["device"].clone();
    fresh.fails(&["id"], "", CONFIG, &["has a passphrase"]);
    assert_eq!(fresh.json(&["id", "--passphrase-file", &file], "")["device"], id);
}

/// Two devices that know each other.
fn paired(place: &TempDir, relay: &hushwire_tools::relay_process::RelayProcess) -> [Device; 2] {
    let [alice, bob] = ["alice", "bob"].map(|name| {
        let device = Device::new(place, name);
        device.succeeds(&["enroll", &relay.invite().expect("an invite")], "");
        device
    });
    pair(&alice, &bob);
    [alice, bob]
}

fn pair(alice: &Device, bob: &Device) {
    let mut offering =
        Program::start(&mut alice.hush(&["--json", "pair", "--yes", "--name", "bob"]));
    let offer: Value = serde_json::from_str(&offering.line()).expect("JSON");
    let link = offer["link"].as_str().expect("a link").to_owned();
    bob.succeeds(&["pair", "-", "--yes", "--name", "alice"], &link);
    assert_eq!(offering.end().code, 0);
}

/// One message from `a` to `b`.
fn tell(a: &Device, b: &Device, peer: &str, message: &str) {
    let mut receiving = Program::start(&mut b.hush(&["--json", "receive", "--count", "1"]));
    a.succeeds(&["send", peer, "--message", message], "");
    let received: Value = serde_json::from_str(&receiving.line()).expect("JSON");
    assert_eq!(received["message"], message);
    assert_eq!(receiving.end().code, 0);
}

#[test]
fn a_device_comes_back_with_its_backup_file() {
    let (place, relay) = (place(), relay());
    let [alice, bob] = paired(&place, &relay);
    tell(&alice, &bob, "bob", "before");
    let words = alice.words();
    let file = place.path().join("backup");
    let file = text(&file);
    let made = alice.succeeds(&["backup", "--to", file], "");
    assert!(made.contains("1 peers") && made.contains("hush backup"), "{made}");
    alice.fails(&["backup", "--to", file], "", 1, &["cannot make", "exists"]);
    tell(&alice, &bob, "bob", "after the backup");
    tell(&bob, &alice, "alice", "and back");
    fs::remove_dir_all(&alice.home).expect("lost");

    let refuse = |from: &str, says: &str| {
        alice.fails(&["restore", "-", "--from", from], &words, DATA, &[says]);
    };
    let whole = fs::read(file).expect("written");
    refuse(&private(&place, "cut", &whole[..whole.len() - 9]), "damaged");
    refuse(&private(&place, "huge", &vec![b'x'; 8 << 20]), "damaged");
    let bobs = bob.words();
    alice.fails(&["restore", "-", "--from", file], &bobs, DATA, &["is of device"]);
    alice.fails(&["restore", "-", "--from", "/no/such"], &words, 1, &["/no/such"]);
    let value = alice.json(&["restore", "-", "--from", file], &words);
    assert_eq!(value["peers"], 1);
    tell(&alice, &bob, "bob", "from the dead");
    tell(&bob, &alice, "alice", "welcome");
}

#[test]
fn a_device_comes_back_with_its_words_alone() {
    let (place, relay) = (place(), relay());
    let [alice, bob] = paired(&place, &relay);
    let (words, id) = (alice.words(), alice.json(&["id"], "")["device"].clone());
    fs::remove_dir_all(&alice.home).expect("lost");
    alice.succeeds(&["restore", "-"], &words);
    alice.fails(&["receive"], "", CONFIG, &["not enrolled"]);
    // The relay knows the device, whatever the invite is for; and it stays good for somebody else.
    let invite = relay.invite().expect("an invite");
    assert_eq!(alice.json(&["enroll", "-"], &invite)["device"], id);
    Device::new(&place, "carol").succeeds(&["enroll", "-"], &invite);
    alice.succeeds(&["enroll", "-"], &invite);
    assert_eq!(alice.json(&["peers"], "")["peers"], serde_json::json!([]));
    pair(&alice, &bob);
    tell(&alice, &bob, "bob", "it is me");
    tell(&bob, &alice, "alice", "so it is");
}
