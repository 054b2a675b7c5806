//! Ways into parts that stay private, for `hushwire-bench` alone: each is what a shard does with the part, and no more.
//! Not an interface: it changes with what it measures.

use std::io;
use std::sync::Arc;

use hushwire_engine::Envelope;
use hushwire_uring::Wake;
use hushwire_wire::control::{Hello, Transport};
use hushwire_wire::id::RelayId;
use quinn_proto::TransportConfig;
use rustls::server::ServerConfig;

use crate::mesh::Mesh;
use crate::mesh::doorbell::Doorbell;
use crate::shard::greeting;
use crate::transport::{Fault, Opener, Sealer, ServerTls, Suite, direction, quic};

/// Both ends of one direction under a secret that everybody may know.
///
/// # Errors
/// [`Fault::Internal`] if the keys cannot be derived.
pub fn records(suite: Suite, secret: &[u8; 32]) -> Result<(Sealer, Opener), Fault> {
    direction(suite, secret)
}

/// What a server is configured to that speaks the relay's TLS through rustls alone.
#[must_use]
pub fn rustls_alone(tls: &ServerTls) -> ServerConfig {
    tls.rustls_alone()
}

/// What a connection of QUIC is configured to, before its device is welcome.
#[must_use]
pub fn quic_transport(idle_ms: u64) -> TransportConfig {
    quic::transport(idle_ms)
}

/// One of two shards, as the other one sees it.
#[derive(Debug)]
pub struct Neighbour {
    mesh: Mesh,
    other: usize,
}

/// Two shards with up to `bytes_max` bytes of cells on their way in each direction. Neither sleeps, so neither is ever woken.
///
/// # Errors
/// If there are no descriptors left for their doorbells.
pub fn neighbours(bytes_max: usize) -> io::Result<[Neighbour; 2]> {
    let doorbells = [Wake::new()?, Wake::new()?].map(|wake| Arc::new(Doorbell::new(wake)));
    let mut all = Mesh::all(&doorbells, bytes_max).into_iter();
    let mut next = |other| Neighbour { mesh: all.next().expect("a mesh a doorbell"), other };
    Ok([next(1), next(0)])
}

impl Neighbour {
    /// Posts a cell; false if the way is full.
    pub fn post(&mut self, envelope: Envelope, cell: &[u8]) -> bool {
        self.mesh.post_cell(self.other, envelope, cell).is_ok()
    }

    /// What a shard does at the end of a turn in which it has posted.
    pub fn ring(&mut self) {
        self.mesh.ring();
    }

    /// Takes the next cell, gives it to `arrive` and sends its buffer home; false if there is none.
    pub fn take(&mut self, arrive: impl FnOnce(&Envelope, &mut [u8])) -> bool {
        let Some(mut crossing) = self.mesh.next_cell(self.other) else { return false };
        arrive(&crossing.envelope, &mut crossing.cell);
        self.mesh.return_buffer(self.other, crossing.cell);
        true
    }
}

/// A connection that was challenged and whose HELLO is due.
#[derive(Debug)]
pub struct Greeting(greeting::Challenged);

impl Greeting {
    /// Challenges a connection with this TLS exporter; `None` without randomness.
    #[must_use]
    pub fn new(relay: RelayId, binding: [u8; 32]) -> Option<Self> {
        greeting::challenge(relay, Transport::Tls, binding).map(Self)
    }

    /// The content of CHALLENGE.
    #[must_use]
    pub fn challenge(&self) -> &[u8] {
        &self.0.challenge
    }

    /// Whether `hello`, read from `content`, is signed by the device it names for this connection.
    #[must_use]
    pub fn is_proved(&self, content: &[u8], hello: Hello) -> bool {
        greeting::verify(&self.0, content, hello).is_ok()
    }
}
