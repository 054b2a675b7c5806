//! One connection.

use hushwire_relay::transport::{CarryPool, Cursor, Established, Handshake, Inbound, Sealer};
use hushwire_wire::cell::LaneCounters;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::HELLO_CLASS_MAX;

use super::output::Outbox;

/// A place for a connection. The generation counts its occupants.
pub(crate) struct Slot<P> {
    pub(crate) generation: u32,
    pub(crate) connection: Option<Box<Connection<P>>>,
}

/// Which connection: where it is, and the how manieth there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

pub(crate) struct Connection<P> {
    /// The driver's part.
    pub(crate) port: P,
    pub(crate) stage: Stage,
    pub(crate) outbox: Outbox,
    /// Whether it stands on the list of those with output.
    pub(crate) dirty: bool,
}

pub(crate) enum Stage {
    Handshaking(Handshake),
    Open(Box<Link>),
    Closing,
}

/// What a connection is after its handshake.
pub(crate) struct Link {
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
    pub(super) to: Place,
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self { generation: 0, connection: None }
    }
}

impl<P> Connection<P> {
    pub(super) fn new(port: P, handshake: Handshake) -> Self {
        let stage = Stage::Handshaking(handshake);
        Self { port, stage, outbox: Outbox::default(), dirty: false }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    /// Puts what the last read cut off at the front of `scratch`; the next is to be read behind it. `None`
    /// of a connection that reads no more.
    #[inline]
    pub(crate) fn begin(&mut self, scratch: &mut [u8], carry: &mut CarryPool) -> Option<Cursor> {
        match &mut self.stage {
            Stage::Open(link) => Some(link.inbound.begin(scratch, carry)),
            Stage::Handshaking(_) => Some(Cursor::over(0)),
            Stage::Closing => None,
        }
    }
}

impl Link {
    /// A link on which the CHALLENGE has been sent.
    pub(super) fn new(established: Established) -> Self {
        let mut counters = LaneCounters::default();
        counters.take(0);
        let nowhere = Place { index: 0, generation: 0 };
        Self {
            inbound: Inbound::new(established.opener, HELLO_CLASS_MAX),
            sealer: established.sealer,
            counters,
            device: DeviceId::ZERO,
            last: Route { peer: DeviceId::ZERO, to: nowhere },
        }
    }
}
