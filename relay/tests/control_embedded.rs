//! The relay inside another program: several at once, started and ended by calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use hushwire_relay::config::{self, Config};
use hushwire_relay::daemon::{Relay, StartError};
use hushwire_relay::store::StoreError;
use hushwire_wire::code::Invite;

fn configuration(home: &Path) -> Config {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n\
         [relay]\ndata_dir = {:?}\nshards = 1\n\
         [limits]\nconnections_max = 256\nunauthenticated_connections_max = 256\n\
         [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = {:?}\n",
        home.join("data"),
        home.join("admin.sock")
    );
    config::check(&text, Path::new("test.toml")).unwrap()
}

#[test]
fn several_relays_live_in_one_process() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let relays = homes.each_ref().map(|home| Relay::start(configuration(home.path())).unwrap());
    let [first, second] = &relays;
    assert_ne!(first.address(), second.address());
    assert_ne!(first.control_address(), second.control_address());
    assert_ne!(first.relay_id(), second.relay_id());
    assert_ne!(first.pin(), second.pin());
    for relay in &relays {
        let invite = relay.invite(Duration::from_secs(60)).unwrap();
        let invite = Invite::from_text(&invite).unwrap();
        assert_eq!(invite.relay.relay(), relay.relay_id());
        assert_eq!(invite.relay.address(), relay.address().to_string());
        assert_eq!(relay.totals()["store_changes"], 1);
        assert!(relay.admin_socket().exists());
    }
    let [first, second] = relays;
    first.drain();
    first.wait().unwrap();
    // The other one goes on.
    drop(TcpStream::connect(second.address()).unwrap());
    second.stop();
    second.wait().unwrap();
}

#[test]
fn a_relay_that_was_dropped_is_gone_and_can_come_back() {
    let home = tempfile::tempdir().unwrap();
    let first = Relay::start(configuration(home.path())).unwrap();
    let (address, pin, id) = (first.address(), first.pin(), first.relay_id());
    let second = Relay::start(configuration(home.path())).unwrap_err();
    assert!(matches!(second, StartError::Store(StoreError::InUse { .. })), "{second}");
    drop(first);
    assert!(TcpStream::connect(address).is_err());
    assert!(!home.path().join("admin.sock").exists());

    let again = Relay::start(configuration(home.path())).unwrap();
    assert_eq!((again.pin(), again.relay_id()), (pin, id));
}

#[test]
fn a_start_that_failed_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("admin.sock"), "in the way").unwrap();
    let failed = Relay::start(configuration(home.path())).unwrap_err();
    assert!(matches!(failed, StartError::Admin(_)), "{failed}");
    std::fs::remove_file(home.path().join("admin.sock")).unwrap();
    let relay = Relay::start(configuration(home.path())).unwrap();
    relay.stop();
    relay.wait().unwrap();
}
