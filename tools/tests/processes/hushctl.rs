//! `hushctl` against a real relay, and against none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use assert_cmd::Command;
use hushwire_relay::config;
use hushwire_relay::daemon::Relay;
use hushwire_relay::store::{Name, Query, Store, StoreOptions};
use hushwire_wire::id::{AccountId, DeviceId};
use tempfile::TempDir;

struct Ended {
    code: i32,
    out: String,
    error: String,
}

fn hushctl(socket: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::cargo_bin("hushctl").unwrap();
    let output = command.arg("--socket").arg(socket).args(arguments).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn succeeds(socket: &Path, arguments: &[&str]) -> String {
    let ended = hushctl(socket, arguments);
    assert_eq!((ended.code, ended.error.as_str()), (0, ""), "{arguments:?}");
    ended.out
}

#[track_caller]
fn fails(socket: &Path, arguments: &[&str], code: i32, words: &str) {
    let ended = hushctl(socket, arguments);
    assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{arguments:?} {}", ended.error);
    assert!(ended.error.starts_with("hushctl: ") || code == 2, "{}", ended.error);
    assert!(ended.error.contains(words), "{words:?} is not in {:?}", ended.error);
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn relay(home: &TempDir) -> Relay {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n\
         [relay]\ndata_dir = {:?}\nshards = 1\n\
         [limits]\nconnections_max = 256\nunauthenticated_connections_max = 256\n\
         [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = {:?}\n",
        home.path().join("data"),
        home.path().join("admin.sock")
    );
    Relay::start(config::check(&text, Path::new("test.toml")).unwrap()).unwrap()
}

/// More devices than one page has.
const DEVICES: u16 = 300;

fn enrol(home: &TempDir) {
    let data = home.path().join("data");
    let store = Store::open(data, StoreOptions::default(), |bytes| bytes.fill(9)).unwrap();
    for number in 0..DEVICES {
        let mut id = [1; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let now_unix_s = 1_800_000_000;
        let create = Query::InviteCreate {
            secret_hash: id,
            expires_unix_s: now_unix_s + 60,
            account: None,
            new_account: AccountId::from_slice(&id[..16]).unwrap(),
            now_unix_s,
        };
        let name = Name::new(&format!("machine {number}")).unwrap();
        let redeem = Query::Redeem { secret_hash: id, device: DeviceId::new(id), name, now_unix_s };
        let _created = (store.call(create), store.call(redeem));
    }
    store.close();
}

#[test]
fn status_and_drain() {
    let home = tempfile::tempdir().unwrap();
    let relay = relay(&home);
    let socket = relay.admin_socket();
    let shown = succeeds(socket, &["status"]);
    for words in [relay.relay_id().to_text(), relay.address().to_string(), "running".into()] {
        assert!(shown.contains(&words), "{words:?} is not in {shown}");
    }
    let shown = json(&succeeds(socket, &["status", "--json"]));
    assert_eq!(shown["relay_id"], relay.relay_id().to_text());
    assert_eq!(shown["totals"]["cells_in"], 0);
    assert_eq!(json(&succeeds(socket, &["--json", "drain"]))["answer"], "done");
    relay.wait().unwrap();
}

#[test]
fn invites() {
    let home = tempfile::tempdir().unwrap();
    let relay = relay(&home);
    let socket = relay.admin_socket();
    let ended = hushctl(socket, &["invite", "--ttl", "90m"]);
    assert_eq!(ended.code, 0, "{}", ended.error);
    // The invite alone on stdout, so that it can be piped; what to do with it beside it.
    assert!(ended.out.starts_with("hushwire:invite:") && ended.out.lines().count() == 1);
    assert!(ended.error.contains("1 h 30 min") && ended.error.contains("hush enroll"));
    let shown = json(&succeeds(socket, &["invite", "--json"]));
    assert!(shown["invite"].as_str().unwrap().starts_with("hushwire:invite:"));
    assert!(shown["expires_unix_s"].as_u64().unwrap() > 1_700_000_000);

    fails(socket, &["invite", "--ttl", "31d"], 1, "30 days");
    fails(socket, &["invite", "--account", "me"], 1, "account ID");
    fails(socket, &["invite", "--ttl", "soon"], 2, "such as 24h");
}

#[test]
fn devices_and_revocation() {
    let home = tempfile::tempdir().unwrap();
    drop(relay(&home));
    enrol(&home);
    let relay = relay(&home);
    let socket = relay.admin_socket();
    let lines = succeeds(socket, &["devices", "--json"]);
    let devices: Vec<_> = lines.lines().map(json).collect();
    assert_eq!(devices.len(), usize::from(DEVICES));
    let victim = devices[7]["device"].as_str().unwrap();
    let said = succeeds(socket, &["revoke", victim]);
    assert!(said.contains("for good"), "{said}");

    let table = succeeds(socket, &["devices"]);
    assert_eq!(table.lines().count(), usize::from(DEVICES) + 1);
    let row = table.lines().find(|line| line.starts_with(victim)).unwrap();
    assert!(row.contains("revoked") && row.ends_with("machine 7"), "{row}");
    assert_eq!(table.matches("revoked").count(), 1);
    fails(socket, &["revoke", "x"], 1, "device ID");
    fails(socket, &["revoke", &"a".repeat(52)], 1, "no such device");
}

#[test]
fn no_devices_yet() {
    let home = tempfile::tempdir().unwrap();
    let relay = relay(&home);
    assert!(succeeds(relay.admin_socket(), &["devices"]).contains("hushctl invite"));
    assert_eq!(succeeds(relay.admin_socket(), &["devices", "--json"]), "");
}

#[test]
fn nobody_there() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("admin.sock");
    fails(&missing, &["status"], 69, "is the relay running");
    let dead = home.path().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    fails(&dead, &["drain"], 69, "is the relay running");
    let ended = hushctl(&missing, &["status", "--json"]);
    assert_eq!(ended.code, 69);
    assert!(json(&ended.error)["error"].as_str().unwrap().contains("is the relay running"));
}

#[test]
fn somebody_else_there() {
    let check = |answer: &'static [u8], code, words: &str| {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
        });
        fails(&path, &["status"], code, words);
        other.join().unwrap();
    };
    check(b"", 75, "did not answer");
    check(b"220 mail ESMTP\r\n", 76, "not understood");
    check(b"{\"answer\":\"done\"}\n", 76, "another question");
    check(b"{\"answer\":\"failed\",\"sentence\":\"not now\"}\n", 1, "hushctl: not now");
}

#[test]
fn usage() {
    let nowhere = Path::new("/nonexistent/admin.sock");
    fails(nowhere, &["reboot"], 2, "reboot");
    fails(nowhere, &["revoke"], 2, "DEVICE");
    let help = succeeds(nowhere, &["--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes"), "{help}");
}
