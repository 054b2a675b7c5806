//! A real relay in this process, with its files in a temporary directory, and clients of it.

use std::time::Duration;

use hushwire::Client;
use hushwire::client::{Options, PairingOptions};
use hushwire::identity::Identity;
use hushwire::io::Transports;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use hushwire_relay::daemon::Relay;
use hushwire_wire::code::Invite;
use tempfile::TempDir;

pub(crate) struct TestRelay {
    pub(crate) relay: Relay,
    pub(crate) directory: TempDir,
    /// By what its clients come.
    pub(crate) transports: Transports,
}

impl TestRelay {
    /// Starts one with these lines in its `[limits]`.
    pub(crate) fn start(shards: u32, limits: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let relay = start_at(&directory, 0, shards, limits);
        Self { relay, directory, transports: Transports::Both }
    }

    /// The same, whose clients come by these.
    pub(crate) fn by(self, transports: Transports) -> Self {
        Self { transports, ..self }
    }

    pub(crate) fn options(&self) -> Options {
        Options { transports: self.transports, ..Options::default() }
    }

    pub(crate) fn invite(&self) -> Invite {
        let text = self.relay.invite(Duration::from_secs(600)).expect("an invite");
        Invite::from_text(&text).expect("a well-formed invite")
    }

    pub(crate) fn keystore(&self, name: &str) -> Keystore {
        let path = self.directory.path().join(name);
        Keystore::create(&path, Identity::generate(&mut OsRandom)).expect("a keystore")
    }

    pub(crate) async fn enroll(&self, name: &str) -> Client {
        Client::enroll(self.keystore(name), &self.invite(), self.options()).await.expect("enrolled")
    }
}

pub(crate) fn start_at(directory: &TempDir, port: u16, shards: u32, limits: &str) -> Relay {
    let path = directory.path().display();
    let text = format!(
        r#"
        [listen]
        address = "127.0.0.1:{port}"
        [relay]
        data_dir = "{path}/relay"
        shards = {shards}
        [limits]
        connections_max = 64
        unauthenticated_connections_max = 32
        handshakes_in_progress_max = 16
        {limits}
        [control]
        listen = "127.0.0.1:0"
        admin_socket = "{path}/admin.sock"
        "#
    );
    let config = hushwire_relay::config::check(&text, "test.toml".as_ref()).expect("no typo");
    Relay::start(config).expect("a relay")
}

/// Pairs two clients by link, both users confirming.
pub(crate) async fn pair(first: &Client, second: &Client) {
    let offer = first.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) = tokio::join!(offer.wait(), second.join_pairing::<Link>(&link));
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    assert_eq!(offered.sas(), joined.sas());
    let (one, other) = tokio::join!(offered.confirm("second"), joined.confirm("first"));
    assert_eq!(one.expect("stored"), second.device());
    assert_eq!(other.expect("stored"), first.device());
}
