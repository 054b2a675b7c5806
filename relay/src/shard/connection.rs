//! One connection as its shard sees it, whatever carries it.

use std::os::fd::OwnedFd;

use hushwire_engine::command::HandedOver;
use hushwire_engine::{ConnId, Time};
use hushwire_uring::{Kind, Token};
use hushwire_wire::cell::{Class, LaneCounters};
use hushwire_wire::control::Transport;
use hushwire_wire::limits::HELLO_CLASS_MAX;

use super::output::Outbox;
use super::quic::QuicWire;
use super::seconds;
use crate::transport::inbound::Carried;
use crate::transport::quic::CarriedLanes;
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
    pub(super) who: Who,
    /// Numbers of the cells towards the device.
    pub(super) counters: LaneCounters,
    pub(super) wire: Wire,
    /// On the shard's list of connections to read.
    pub(super) ready: bool,
    /// On the shard's list of connections with output.
    pub(super) dirty: bool,
    /// The engine is ending it: nothing more is read.
    pub(super) deaf: bool,
    /// Second of the last record, for the compaction of keys.
    pub(super) used_s: u32,
}

/// What carries a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "quinn's connection is a hundred times as large as TCP's"
)]
pub(super) enum Wire {
    Tcp(Tcp),
    Quic(Box<QuicWire>),
}

/// TLS over a socket of its own.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) socket: OwnedFd,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
    pub(super) poll: Poll,
    /// The end of its stream was announced, which happens once: read to the end.
    pub(super) peer_closed: bool,
}

/// How far TLS has come.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a connection is open for nearly all of its life")]
pub(super) enum Stage {
    /// TLS is being agreed on.
    Handshaking(Box<Handshaking>),
    /// Records flow.
    Open(Link),
}

/// A TLS handshake.
#[derive(Debug)]
pub(super) struct Handshaking {
    pub(super) tls: Handshake,
    /// It has said something, and so counts among the handshakes under way.
    pub(super) begun: bool,
}

/// An established record layer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) inbound: Inbound,
    pub(super) sealer: Sealer,
}

/// What is known of the other end.
#[derive(Debug)]
pub(super) enum Who {
    /// Nothing: it was not challenged yet.
    Stranger,
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
    pub(super) transport: Transport,
}

impl Tcp {
    pub(super) fn new(socket: OwnedFd, stage: Stage) -> Self {
        Self { socket, stage, outbox: Outbox::default(), poll: Poll::Idle, peer_closed: false }
    }
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

    /// A connection that was just accepted, or has come from another shard.
    pub(super) fn new(id: ConnId, who: Who, counters: LaneCounters, wire: Wire, now: Time) -> Self {
        let used_s = seconds(now);
        Self { id, who, counters, wire, ready: false, dirty: false, deaf: false, used_s }
    }

    pub(super) fn tcp(&mut self) -> Option<&mut Tcp> {
        match &mut self.wire {
            Wire::Tcp(tcp) => Some(tcp),
            Wire::Quic(_) => None,
        }
    }

    pub(super) fn quic(&mut self) -> Option<&mut QuicWire> {
        match &mut self.wire {
            Wire::Quic(quic) => Some(quic),
            Wire::Tcp(_) => None,
        }
    }

    /// The record layer of TLS over TCP, where there is one.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.wire {
            Wire::Tcp(Tcp { stage: Stage::Open(link), .. }) => Some(link),
            Wire::Tcp(_) | Wire::Quic(_) => None,
        }
    }

    /// Since when it has been waited for the rest of a cell, in nanoseconds of the shard's clock.
    pub(super) fn partial_since_ns(&self) -> Option<u64> {
        match &self.wire {
            Wire::Tcp(Tcp { stage: Stage::Open(link), .. }) => {
                link.inbound.carry().partial_since_ns()
            }
            Wire::Tcp(_) => None,
            Wire::Quic(quic) => quic.incoming.partial_since_ns(),
        }
    }

    /// The largest cell it may send.
    pub(super) fn class_max(&self) -> Class {
        if matches!(self.who, Who::Welcome) { Class::C7 } else { HELLO_CLASS_MAX }
    }
}

/// The ring's name for an operation of `connection`.
pub(super) fn token(connection: ConnId, kind: Kind) -> Token {
    Token::new(kind, connection.generation(), connection.index() as u32)
}

/// A connection that has introduced itself, between two shards.
#[derive(Debug)]
pub(crate) struct MovedConnection {
    pub(super) counters: LaneCounters,
    pub(super) handed: HandedOver,
    pub(super) wire: MovedWire,
}

/// What carries it there.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is boxed as a whole")]
pub(super) enum MovedWire {
    Tcp { socket: OwnedFd, inbound: Inbound, carried: Carried, sealer: Sealer },
    Quic { quic: Box<QuicWire>, carried: CarriedLanes },
}
