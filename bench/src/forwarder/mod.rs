//! What the floor and the baselines have in common: TLS, the opening of the protocol, and the path of a
//! cell from the bytes received to the bytes to be sent.
//!
//! It verifies no proof, asks for no permission, counts nothing and bounds nobody's rate. Sockets, and
//! when bytes come and go, belong to a [`Driver`].

pub(crate) mod connection;
pub(crate) mod identity;
mod in_place;
pub(crate) mod lane;
pub(crate) mod opening;
pub(crate) mod output;
mod path;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use hushwire_relay::transport::{CarryPool, Cursor, Fault, ServerTls};
use hushwire_uring::Token;
use hushwire_wire::id::DeviceId;

use crate::limits::{CARRIED_BYTES_MAX, CONNECTIONS_MAX};
use connection::{Connection, Place, Slot, Stage};
use output::{Outbox, OutputPool};

/// When output that is held back is sent before the batch of ready connections is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    /// As soon as so many recipients have some, looked at between two connections read.
    pub(crate) recipients_max: usize,
    /// As soon as all have so many bytes together.
    pub(crate) held_bytes_max: usize,
}

/// The connection is to be closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over;

impl From<Fault> for Over {
    fn from(_: Fault) -> Self {
        Self
    }
}

/// What receives and sends.
pub(crate) trait Driver {
    /// Its part of a connection: the socket, and what it keeps beside that.
    type Port;

    /// The first output of a batch was sealed: [`Forwarder::flush_all`] is to be called when the batch is
    /// processed.
    fn output_waits(&mut self);

    /// Sends what waits in `outbox`, or begins to.
    fn flush(
        &mut self,
        place: Place,
        port: &mut Self::Port,
        outbox: &mut Outbox,
        pool: &mut OutputPool,
    ) -> Result<(), Over>;

    /// Whether [`send_past`](Self::send_past) is anything else than a bug: a send that takes its buffer along cannot send
    /// from where everything is received.
    const SENDS_PAST: bool = false;

    /// Sends bytes that are sealed elsewhere, while nothing waits in `outbox`.
    fn send_past(
        &mut self,
        _place: Place,
        _port: &mut Self::Port,
        _outbox: &mut Outbox,
        _sealed: &[u8],
    ) -> Result<(), Over> {
        Err(Over)
    }

    /// The first step of closing: lets what happens on the connection come to its end.
    fn shut(&mut self, place: Place, port: &mut Self::Port, outbox: &Outbox);

    /// Whether anything but a send still happens on the connection, so that it cannot go yet.
    fn is_watched(port: &Self::Port) -> bool;
}

/// Cells, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routed {
    pub(crate) cells: u32,
    pub(crate) bytes: usize,
}

impl Routed {
    #[inline]
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.cells += 1;
        self.bytes += bytes;
    }
}

/// All connections and what passes between them.
pub(crate) struct Forwarder<D: Driver> {
    pub(crate) driver: D,
    pub(crate) slots: Vec<Slot<D::Port>>,
    pub(crate) carry: CarryPool,
    pub(crate) output: OutputPool,
    /// What was forwarded since somebody took the numbers.
    pub(crate) routed: Routed,
    tls: Arc<ServerTls>,
    free: Vec<u32>,
    devices: HashMap<DeviceId, u32>,
    /// Connections with output that has not been offered to the kernel.
    dirty: Vec<u32>,
    /// Bytes sealed for them.
    held_bytes: usize,
    policy: FlushPolicy,
}

impl<D: Driver> Forwarder<D> {
    /// One without connections, with an identity made up for the occasion.
    pub(crate) fn new(driver: D, policy: FlushPolicy) -> Result<Self> {
        Ok(Self {
            driver,
            slots: Vec::new(),
            carry: CarryPool::new(CARRIED_BYTES_MAX),
            output: OutputPool::default(),
            routed: Routed::default(),
            tls: identity::self_signed()?,
            free: Vec::new(),
            devices: HashMap::new(),
            dirty: Vec::new(),
            held_bytes: 0,
            policy,
        })
    }

    /// Takes a connection in, if there is room.
    pub(crate) fn admit(&mut self, port: D::Port) -> Option<Place> {
        let handshake = self.tls.handshake().ok()?;
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == CONNECTIONS_MAX => return None,
            None => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.connection = Some(Box::new(Connection::new(port, handshake)));
        Some(Place { index, generation: slot.generation })
    }

    /// The connection at `place`, if it still exists.
    #[inline]
    pub(crate) fn connection(&mut self, place: Place) -> Option<&mut Connection<D::Port>> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.generation == place.generation { slot.connection.as_deref_mut() } else { None }
    }

    /// [`Connection::begin`] of the connection at `place`.
    #[inline]
    pub(crate) fn begin(&mut self, place: Place, scratch: &mut [u8]) -> Option<Cursor> {
        let slot = self.slots.get_mut(place.index as usize)?;
        slot.connection.as_deref_mut()?.begin(scratch, &mut self.carry)
    }

    /// Puts a connection on the list of those with output.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, index: u32) {
        if let Some(connection) = self.slots[index as usize].connection.as_deref_mut()
            && !std::mem::replace(&mut connection.dirty, true)
        {
            if self.dirty.is_empty() {
                self.driver.output_waits();
            }
            self.dirty.push(index);
        }
    }

    /// Between two connections read: sends everything if too many recipients wait.
    #[inline]
    pub(crate) fn flush_if_many(&mut self) {
        if self.dirty.len() >= self.policy.recipients_max {
            self.flush_all();
        }
    }

    /// Sends what the batch produced, each recipient once.
    pub(crate) fn flush_all(&mut self) {
        self.held_bytes = 0;
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if let Some(connection) = self.slots[index as usize].connection.as_deref_mut() {
                connection.dirty = false;
                self.flush_one(index);
            }
        }
        self.dirty = dirty;
    }

    pub(crate) fn flush_one(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(connection) = slot.connection.as_deref_mut() else { return };
        if connection.is_closing() {
            return;
        }
        let place = Place { index, generation: slot.generation };
        let Connection { port, outbox, .. } = connection;
        if self.driver.flush(place, port, outbox, &mut self.output).is_err() {
            self.close(index);
        }
    }

    /// The first step of closing; the connection stays until everything on it has ended.
    pub(crate) fn close(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(connection) = slot.connection.as_deref_mut() else { return };
        match std::mem::replace(&mut connection.stage, Stage::Closing) {
            Stage::Closing => return,
            Stage::Handshaking(_) => {}
            Stage::Open(mut link) => {
                link.inbound.release(&mut self.carry);
                if self.devices.get(&link.device) == Some(&index) {
                    self.devices.remove(&link.device);
                }
            }
        }
        connection.outbox.release(&mut self.output);
        let place = Place { index, generation: slot.generation };
        self.driver.shut(place, &mut connection.port, &connection.outbox);
        self.settle(index);
    }

    /// The last step of closing.
    pub(crate) fn settle(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let over = slot.connection.as_deref().is_some_and(|connection| {
            connection.is_closing()
                && !D::is_watched(&connection.port)
                && !connection.outbox.is_in_flight()
        });
        if over {
            slot.connection = None;
            slot.generation = (slot.generation + 1) & Token::GENERATION_MASK;
            self.free.push(index);
        }
    }
}
