//! Sockets, TLS and QUIC on tokio: how cells get to the relay. Everything else in this crate is free of I/O.

pub mod limits;

mod cells;
mod connector;
mod quic;
mod racer;
mod tls;
mod trust;

use std::fmt;
use std::time::{Duration, Instant};

pub use cells::{CellStream, Filled};
pub use connector::Connector;
pub use racer::{Racer, Transports};
pub use trust::TrustError;

/// A hash of a public key, as people compare it: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({:02x}{:02x})", self.0[0], self.0[1])
    }
}

/// Why there is no connection to the relay.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The address is not `host:port`.
    #[error("'{address}' is no address: it must be host:port")]
    Address {
        /// As given.
        address: String,
    },
    /// No way there: no connection over TCP, or none over UDP.
    #[error("the relay at {address} cannot be reached: {error}")]
    Connect {
        /// Where.
        address: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Nobody answered in time.
    #[error("the relay at {address} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// Where.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The relay's key is none of the pinned ones.
    #[error(
        "the relay's key is {found}, but {} expected: somebody is in between, or the relay was \
         installed anew and needs a new invite",
        pins(expected)
    )]
    PinDiffers {
        /// The pins trusted.
        expected: Vec<Pin>,
        /// The key's hash.
        found: Pin,
    },
    /// The certificate is not good.
    #[error("the relay's certificate is not trusted: {0}")]
    Certificate(String),
    /// Something else than a relay, or one of another protocol version.
    #[error("what answers at this address does not speak hushwire/1")]
    WrongService,
    /// TLS failed otherwise.
    #[error("the TLS connection to the relay failed: {0}")]
    Tls(rustls::Error),
    /// QUIC failed, or the relay broke its rules.
    #[error("the QUIC connection to the relay failed: {0}")]
    Quic(quinn_proto::ConnectionError),
    /// The relay takes no connection over QUIC, at least at present.
    #[error("the relay refuses connections over QUIC at present")]
    QuicRefused,
    /// The connection ended.
    #[error("the connection to the relay was lost: {0}")]
    Lost(std::io::Error),
    /// The relay closed the connection.
    #[error("the relay closed the connection")]
    Closed,
}

fn pins(pins: &[Pin]) -> String {
    let list: Vec<_> = pins.iter().map(Pin::to_string).collect();
    let verb = if list.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", list.join(" or "))
}

/// Where time enters what runs on a socket.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
