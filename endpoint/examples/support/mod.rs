//! What the examples share: a client of a keystore, a peer by its name, and text that may be shown.
#![allow(dead_code, clippy::allow_attributes, reason = "each example uses a part of it")]

pub(crate) mod pieces;

use std::io;
use std::path::Path;
use std::time::Duration;

use hushwire::client::{Options, StreamReader};
use hushwire::keystore::Keystore;
use hushwire::{Client, DeviceId};
use tokio::io::AsyncReadExt as _;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The client of a device that was enrolled with `hush`. While the relay cannot be reached it is tried again.
pub(crate) async fn connect(keystore: impl AsRef<Path>) -> Outcome<Client> {
    loop {
        // A client takes its keystore with it, and a failed attempt gives it up.
        let keystore = Keystore::open(keystore.as_ref())?;
        match Client::connect(keystore, Options::default()).await {
            Err(error) if error.is_retryable() => {
                eprintln!("{error}; trying again");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            connected => return Ok(connected?),
        }
    }
}

/// The device that was given this name when it was paired.
pub(crate) fn peer(client: &Client, name: &str) -> Outcome<DeviceId> {
    let peer = client.peer_named(name).ok_or_else(|| format!("no peer is called {name}"))?;
    Ok(peer.device)
}

/// What this device calls a peer.
pub(crate) fn name(client: &Client, peer: DeviceId) -> String {
    let known = client.peers().into_iter().find(|known| known.device == peer);
    known.map_or_else(|| peer.to_text(), |known| known.name)
}

/// Foreign bytes without what steers a terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|letter| !letter.is_control()).collect()
}

/// The whole of a short stream. Its end is the writer's own: nothing was cut off.
pub(crate) async fn read_at_most(
    stream: &mut StreamReader,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more than was agreed on"));
    }
    Ok(bytes)
}
