//! One TCP connection as its shard sees it.

use std::os::fd::OwnedFd;

use hushwire_engine::ConnId;
use hushwire_engine::command::HandedOver;
use hushwire_uring::{Kind, Token};
use hushwire_wire::cell::LaneCounters;

use super::output::Outbox;
use crate::transport::inbound::Carried;
use crate::transport::{Handshake, Inbound, Sealer};

/// Polls of a connection.
pub(super) const POLL: Kind = Kind::poll(0);
/// Unfinished sends of a connection.
pub(super) const SEND: Kind = Kind::send(0);
/// Cancelled polls and sends.
pub(super) const CANCEL: Kind = Kind::cancel(0);

/// What is armed for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    /// Nothing: the connection is being worked on, or its last poll was a one-shot.
    Idle,
    /// A one-shot: before a device is welcome, so that at a hand-over nothing is in flight.
    Once,
    /// A multishot, for as long as the connection lasts.
    Multi,
}

/// A connection and its bytes.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) socket: OwnedFd,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
    pub(super) poll: Poll,
    /// On the shard's list of connections to read.
    pub(super) ready: bool,
    /// On the shard's list of connections with output.
    pub(super) dirty: bool,
    /// The engine is ending it: nothing more is read.
    pub(super) deaf: bool,
    /// The end of its stream was announced, which happens once: read to the end.
    pub(super) peer_closed: bool,
    /// Second of the last record, for the compaction of keys.
    pub(super) used_s: u32,
}

/// How far a connection has come.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a connection is open for nearly all of its life")]
pub(super) enum Stage {
    /// TLS is being agreed on.
    Handshaking(Box<Handshaking>),
    /// Records flow.
    Open(Link),
}

/// A TLS handshake and what the device will be asked to sign, once the first flight has gone.
#[derive(Debug)]
pub(super) struct Handshaking {
    pub(super) tls: Handshake,
    pub(super) challenged: Option<Box<Challenged>>,
    /// It has said something, and so counts among the handshakes under way.
    pub(super) begun: bool,
}

/// An established record layer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) inbound: Inbound,
    pub(super) sealer: Sealer,
    /// Numbers of the cells towards the device.
    pub(super) counters: LaneCounters,
    pub(super) who: Who,
}

/// What is known of the other end.
#[derive(Debug)]
pub(super) enum Who {
    /// It was challenged and has not answered.
    Challenged(Box<Challenged>),
    /// It has proved its key; its home decides whether it is welcome.
    Introduced,
    /// It is welcome.
    Welcome,
}

/// What a HELLO is checked against.
#[derive(Debug)]
pub(crate) struct Challenged {
    /// The CHALLENGE's content.
    pub(crate) challenge: Vec<u8>,
    /// The TLS exporter of the connection.
    pub(super) binding: [u8; 32],
}

impl Link {
    /// Keeps the keys without their AEAD contexts: the next record either way makes one anew. Whether there
    /// were any.
    pub(super) fn put_keys_away(&mut self) -> bool {
        let had_any = !(self.inbound.opener().is_compact() && self.sealer.is_compact());
        self.inbound.compact();
        self.sealer.compact();
        had_any
    }
}

impl Connection {
    pub(super) fn token(&self, kind: Kind) -> Token {
        token(self.id, kind)
    }

    /// The record layer, where there is one.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Open(link) => Some(link),
            Stage::Handshaking(_) => None,
        }
    }
}

/// The ring's name for an operation of `connection`.
pub(super) fn token(connection: ConnId, kind: Kind) -> Token {
    Token::new(kind, connection.generation(), connection.index() as u32)
}

/// A connection that has introduced itself, between two shards.
#[derive(Debug)]
pub(crate) struct MovedConnection {
    pub(super) socket: OwnedFd,
    pub(super) inbound: Inbound,
    pub(super) carried: Carried,
    pub(super) sealer: Sealer,
    pub(super) counters: LaneCounters,
    pub(super) handed: HandedOver,
}
