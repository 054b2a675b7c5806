// What the examples in the documentation have before they begin: a real relay in this process, and devices of it. It is
// included by them (`include!`), in lines that rustdoc does not show.

mod devices {
    use std::time::Duration;

    use hushwire::client::{Options, PairingOptions};
    use hushwire::identity::Identity;
    use hushwire::keystore::Keystore;
    use hushwire::pairing::Link;
    use hushwire::suite::random::OsRandom;
    use hushwire::{Client, Invite};
    use hushwire_relay::daemon::Relay;

    pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// A relay and a directory, gone with this.
    pub struct Place {
        pub relay: Relay,
        pub directory: tempfile::TempDir,
    }

    impl Place {
        pub fn new() -> Outcome<Self> {
            let directory = tempfile::tempdir()?;
            let path = directory.path().display();
            let text = format!(
                "[listen]\naddress = \"127.0.0.1:0\"\n[relay]\ndata_dir = \"{path}/relay\"\nshards = 1\n\
                 [limits]\nconnections_max = 64\nunauthenticated_connections_max = 32\n\
                 handshakes_in_progress_max = 16\n\
                 [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = \"{path}/admin.sock\""
            );
            let config = hushwire_relay::config::check(&text, "example.toml".as_ref());
            let relay = Relay::start(config.expect("no typo"))?;
            Ok(Self { relay, directory })
        }

        /// As `hushctl invite` prints it.
        pub fn invite(&self) -> Outcome<String> {
            Ok(self.relay.invite(Duration::from_secs(60))?)
        }

        pub async fn enroll(&self, name: &str) -> Outcome<Client> {
            let path = self.directory.path().join(name);
            let keystore = Keystore::create(&path, Identity::generate(&mut OsRandom))?;
            let invite = Invite::from_text(&self.invite()?)?;
            Ok(Client::enroll(keystore, &invite, Options::default()).await?)
        }

        /// Two devices that call each other `bob` and `alice`.
        pub async fn paired(&self) -> Outcome<(Client, Client)> {
            let (alice, bob) = (self.enroll("alice").await?, self.enroll("bob").await?);
            let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await?;
            let link = offer.link();
            let (at_alice, at_bob) = tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link));
            let (to_bob, to_alice) = tokio::join!(at_alice?.confirm("bob"), at_bob?.confirm("alice"));
            (to_bob?, to_alice?);
            Ok((alice, bob))
        }
    }
}
