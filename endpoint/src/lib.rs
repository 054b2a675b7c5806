//! End-to-end encrypted messages and streams between devices over a blind Hushwire relay.
//!
//! A device has an identity in a [`keystore`], is enrolled at a relay with an invite from its operator, and pairs with
//! other devices by a link, a QR code or a code that is spoken. Then a [`Client`] sends and receives.
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use hushwire::client::{Options, PairingOptions};
//! use hushwire::identity::Identity;
//! use hushwire::keystore::Keystore;
//! use hushwire::pairing::Link;
//! use hushwire::suite::random::OsRandom;
//! use hushwire::Client;
//! use hushwire_wire::code::Invite;
//!
//! async fn enroll(path: &Path, invite: &str) -> Result<Client, Box<dyn std::error::Error>> {
//!     let keystore = Keystore::create(path, Identity::generate(&mut OsRandom))?;
//!     Ok(Client::enroll(keystore, &Invite::from_text(invite)?, Options::default()).await?)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path();
//! # let text = format!(
//! #     "[listen]\naddress = \"127.0.0.1:0\"\n[relay]\ndata_dir = \"{0}/relay\"\nshards = 1\n\
//! #      [limits]\nconnections_max = 64\nunauthenticated_connections_max = 32\nhandshakes_in_progress_max = 16\n\
//! #      [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = \"{0}/admin.sock\"",
//! #     path.display()
//! # );
//! # let config = hushwire_relay::config::check(&text, "example.toml".as_ref()).expect("no typo");
//! # let relay = hushwire_relay::daemon::Relay::start(config)?;
//! # let invites = [relay.invite(Duration::from_secs(60))?, relay.invite(Duration::from_secs(60))?];
//! # let [alice_invite, bob_invite] = invites;
//! let alice = enroll(&path.join("alice"), &alice_invite).await?;
//! let bob = enroll(&path.join("bob"), &bob_invite).await?;
//!
//! // Alice makes a link; Bob's user opens it. Both compare six digits before they trust each other.
//! let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await?;
//! let link = offer.link();
//! let (at_alice, at_bob) = tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link));
//! let (at_alice, at_bob) = (at_alice?, at_bob?);
//! assert_eq!(at_alice.sas(), at_bob.sas());
//! let (confirmed, also) = tokio::join!(at_alice.confirm("bob"), at_bob.confirm("alice"));
//! (confirmed?, also?);
//!
//! // A message has arrived once the other application has taken it.
//! let (receipt, message) = tokio::join!(alice.send(bob.device(), "hello"), bob.receive());
//! assert_eq!(receipt?.peer, bob.device());
//! assert_eq!(message?.bytes, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`client`] | what applications use: connect, send, receive, streams, pairing |
//! | [`identity`] | the device's Ed25519 key: who it is; on paper as 24 words |
//! | [`keystore`] | the directory that keeps identity, relay and peers; its passphrase and backup |
//! | [`account`] | the devices of one account in a signed log, and new keys for old, without I/O |
//! | [`pairing`] | how two devices come to know each other, without I/O |
//! | [`conversation`] | messages and streams with one peer, without I/O |
//! | [`journal`] | messages, their ends and cursors, over a crash |
//! | [`transfer`] | files that arrive whole or not at all, and go on after a break |
//! | [`link`] | the connection to the relay, without I/O |
//! | [`suite`] | outer seal, handshake, frames: the bytes two devices exchange, without I/O |
//! | [`io`] | TLS over TCP on tokio |
//! | [`fuzzing`] | fuzz entry points as plain functions |

pub mod account;
pub mod client;
pub mod conversation;
mod error;
pub mod fuzzing;
pub mod identity;
pub mod io;
pub mod journal;
pub mod keystore;
pub mod link;
pub mod pairing;
pub mod suite;
pub mod transfer;

pub use client::Client;
pub use error::Error;
