//! One connection of the floor.

use std::os::fd::OwnedFd;

use hushwire_relay::transport::{Established, Handshake, Inbound, Sealer};
use hushwire_wire::cell::LaneCounters;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::HELLO_CLASS_MAX;

use super::output::Outbox;

/// A place for a connection. The generation counts its occupants.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) connection: Option<Box<Connection>>,
}

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
    /// Whether it stands on the list of those with output.
    pub(super) dirty: bool,
    pub(super) poll_armed: bool,
    /// The end of the peer's stream was announced; it is announced once.
    pub(super) end_follows: bool,
}

pub(super) enum Stage {
    Handshaking(Handshake),
    Open(Box<Link>),
    Closing,
}

/// What a connection is after its handshake.
pub(super) struct Link {
    pub(super) inbound: Inbound,
    pub(super) sealer: Sealer,
    pub(super) counters: LaneCounters,
    /// Who it is, once it has said so; zero before.
    pub(super) device: DeviceId,
    pub(super) last: Route,
}

/// Where the last cell of a connection went: the next one mostly goes there too.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) peer: DeviceId,
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, handshake: Handshake) -> Self {
        Self {
            socket,
            stage: Stage::Handshaking(handshake),
            outbox: Outbox::default(),
            dirty: false,
            poll_armed: true,
            end_follows: false,
        }
    }
}

impl Link {
    /// A link on which the CHALLENGE has been sent.
    pub(super) fn new(established: Established) -> Self {
        let mut counters = LaneCounters::default();
        counters.take(0);
        Self {
            inbound: Inbound::new(established.opener, HELLO_CLASS_MAX),
            sealer: established.sealer,
            counters,
            device: DeviceId::ZERO,
            last: Route { peer: DeviceId::ZERO, index: 0, generation: 0 },
        }
    }
}
