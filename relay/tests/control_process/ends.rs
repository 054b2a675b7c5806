//! How a relay ends, and what is there when it starts again.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;

use hushwire_relay::control::admin::{Answer, Device, Question};
use hushwire_relay::store::{Answer as Stored, Name, Query, Store, StoreOptions};
use hushwire_wire::id::{AccountId, DeviceId};
use rustix::process::Signal;

use crate::support::{Home, Line, PATIENCE, ask};

#[test]
fn sigterm_drains() {
    let home = Home::new();
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = home.start();
        let address: SocketAddr = daemon.status().listen[0].parse().unwrap();
        daemon.signal(signal);
        let (code, log) = daemon.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("draining"), "{log}");
        assert!(!home.socket().exists());
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_anybody() {
    let home = Home::new();
    let daemon = home.start();
    let mut silent = TcpStream::connect(daemon.status().listen[0].as_str()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0), "{log}");
    let _reset = silent.read_to_end(&mut Vec::new());
}

#[test]
fn sighup_is_harmless() {
    let home = Home::new();
    let daemon = home.start();
    daemon.signal(Signal::HUP);
    let _goes_on = daemon.status();
    daemon.signal(Signal::TERM);
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn hushctl_drains_and_is_answered() {
    let home = Home::new();
    let daemon = home.start();
    let mut idle = Line::open(&home.socket());
    assert_eq!(ask(&home.socket(), &Question::Drain), Answer::Done);
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(idle.answer(), None);
}

#[test]
fn systemd_is_told() {
    let home = Home::new();
    let path = home.path("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = home.write(&home.config());
    let mut command = crate::support::hushwired(&["--config", config.to_str().unwrap()]);
    let mut child = command.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let len = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).trim_end().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(ask(&home.socket(), &Question::Drain), Answer::Done);
    assert_eq!(heard(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

/// Puts devices into the store of a relay that does not run.
fn enrol(home: &Home, count: u16) {
    let store = Store::open(home.data(), StoreOptions::default(), |bytes| bytes.fill(7)).unwrap();
    for number in 0..count {
        let mut id = [3; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let account = AccountId::from_slice(&id[..16]).unwrap();
        let now_unix_s = 1_800_000_000;
        let create = Query::InviteCreate {
            secret_hash: id,
            expires_unix_s: now_unix_s + 60,
            account: None,
            new_account: account,
            now_unix_s,
        };
        assert_eq!(store.call(create), Stored::Done);
        // The longest name there can be in JSON.
        let name = Name::new(&"\"".repeat(64)).unwrap();
        let device = DeviceId::new(id);
        let redeem = Query::Redeem { secret_hash: id, device, name, now_unix_s };
        assert!(matches!(store.call(redeem), Stored::Row(_)));
    }
    store.close();
}

fn devices(home: &Home) -> Vec<Device> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|device: &Device| device.device.clone());
        let answer = ask(&home.socket(), &Question::Devices { after });
        let Answer::Devices { devices, more } = answer else { panic!("{answer:?}") };
        all.extend(devices);
        if !more {
            return all;
        }
    }
}

#[test]
fn a_killed_relay_comes_back_as_itself() {
    let home = Home::new();
    let first = home.start();
    let before = first.status();
    first.kill();
    // More than a page.
    enrol(&home, 257);

    let second = home.start();
    assert_eq!(devices(&home).len(), 257);
    let victim = devices(&home).swap_remove(3).device;
    assert_eq!(ask(&home.socket(), &Question::Revoke { device: victim.clone() }), Answer::Done);
    second.kill();

    let third = home.start();
    let after = third.status();
    assert_eq!((after.relay_id, after.pin), (before.relay_id, before.pin));
    let revoked: Vec<_> = devices(&home).into_iter().filter(|device| device.revoked).collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].device, victim);
    assert_eq!(after.store.devices, 257);
}

#[test]
fn each_event_is_one_line_of_the_log() {
    let home = Home::new();
    let relay = home.start();
    relay.signal(Signal::TERM);
    let (_, log) = relay.wait();
    assert!(!log.contains('\u{1b}'), "no colours where nobody sees them: {log}");
    assert!(log.lines().all(|line| line.starts_with("20")), "each line has its time: {log}");
    let bill = log.lines().find(|line| line.contains("relay_bytes=")).expect("the bill's total");
    assert!(bill.contains("INFO") && !log.contains("on the memory bill"), "{log}");

    let config =
        home.config().replace("format = \"stderr\"", "format = \"json\"\nlevel = \"debug\"");
    let relay = home.start_with(&config);
    relay.signal(Signal::TERM);
    let (_, log) = relay.wait();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let billed = lines.iter().filter(|line| line["fields"]["message"] == "on the memory bill");
    assert!(billed.count() > 20, "the lines of the bill are for those who ask: {log}");
}
