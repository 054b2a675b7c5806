//! What goes in and out of a client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hushwire_wire::control::CoverMode;
use hushwire_wire::id::DeviceId;
use tokio::sync::oneshot;

use crate::error::Error;

/// What a client says of itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Software and version, told to the relay; at most 32 bytes. Default: `hushwire/` and this crate's version.
    pub software: String,
    /// A name for people, taken by the relay on enrolment; at most 64 bytes. Default: none.
    pub name: Option<String>,
    /// Cover asked for. Default: off.
    pub cover: CoverMode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            software: concat!("hushwire/", env!("CARGO_PKG_VERSION")).into(),
            name: None,
            cover: CoverMode::Off,
        }
    }
}

/// A message from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub peer: DeviceId,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// The peer's application has taken a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The peer.
    pub peer: DeviceId,
    /// Number of the message among those this client has sent to the peer.
    pub number: u64,
}

/// A peer, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its pinned identity.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// Whether a session with it is up.
    pub is_up: bool,
}

/// A message on its way: resolves when the peer's application has taken it. Dropping it changes nothing for the
/// message.
#[derive(Debug)]
pub struct Delivery(pub(super) oneshot::Receiver<Result<Receipt, Error>>);

impl Future for Delivery {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|sent| sent.unwrap_or(Err(Error::Closed)))
    }
}
