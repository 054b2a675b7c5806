//! Both transports without sockets: bytes and the time come in, cells come out. [`quic`] has QUIC; the rest is TLS 1.3
//! over TCP.
//!
//! A connection is first a [`Handshake`], which is rustls, fed record by record. What that leaves behind
//! is [`Established`]: an [`Opener`] for what the client sends, a [`Sealer`] for what it is sent, and the
//! exporter value that a proof of identity is bound to. [`Inbound`] is the loop around the opener: it
//! cuts records from bytes and cells from plaintext, and keeps what a read cut off in a [`Carry`].
//!
//! Nothing here reads a clock, and nothing a client sends makes it panic, block or grow past a number of
//! [`limits`].

mod aead;
pub mod carry;
pub mod cells;
pub mod fault;
#[cfg(test)]
mod generations;
mod handshake;
pub mod inbound;
mod keys;
pub mod limits;
pub mod opener;
pub mod quic;
pub mod record;
pub mod sealer;
mod secrets;
pub mod tls;

pub use carry::{Carry, CarryPool, PoolEmpty};
pub use cells::{CellCutter, CellFault, Cut};
pub use fault::{Alert, Blame, Fault};
pub use inbound::{Cursor, Event, Inbound, framed_len, unframe};
pub use opener::{Opened, Opener};
pub use record::{record_len, sealed_len};
pub use sealer::Sealer;
pub use secrets::Suite;
pub(crate) use secrets::take_binding;
pub use tls::{
    Established, Handshake, Progress, Protocol, ServerTls, ServerTlsError, ServerTlsOptions,
};

/// Both ends of one direction of a connection under `secret`, with no handshake behind them.
pub(crate) fn direction(suite: Suite, secret: &[u8; 32]) -> Result<(Sealer, Opener), Fault> {
    let keys = || {
        let secret = secrets::Secret::from_slice(secret);
        keys::TrafficKeys::new(suite, secret.ok_or(Fault::Internal("a secret is too long"))?, 0)
    };
    Ok((Sealer::new(keys()?), Opener::new(keys()?)))
}
