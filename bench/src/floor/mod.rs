//! The floor: the least that forwarding can cost on this ring and these records.
//!
//! One thread, one ring, TLS and the opening of the protocol, and then nothing but the path of a
//! cell: receive, open in place, find the recipient by its device ID, rewrite sender and counter,
//! seal into the recipient's output, send when the batch is done. It verifies no proof, asks for no
//! permission, counts nothing and bounds nobody's rate. The relay is measured against it.

mod connection;
mod forward;
mod identity;
mod output;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hushwire_relay::transport::limits::{CARRY_CLASS_BYTES, SCRATCH_BYTES_MIN};
use hushwire_relay::transport::{CarryPool, ServerTls};
use hushwire_uring::sockets::{self, ListenOptions, Listener, SocketBuffers};
use hushwire_uring::{Completion, DormantRing, Interest, Kind, Ring, RingOptions, Token};
use hushwire_wire::id::DeviceId;

use crate::limits::{CONNECTIONS_MAX, READ_BYTES};
use connection::{Connection, Slot, Stage};
use output::OutputPool;

const ACCEPT: Kind = Kind::accept(0);
const POLL: Kind = Kind::poll(0);
const SEND: Kind = Kind::send(0);
const CANCEL: Kind = Kind::cancel(0);

const _: () = assert!(SCRATCH_BYTES_MIN >= CARRY_CLASS_BYTES[3] + READ_BYTES);

/// When output that is held back is sent before the batch of ready connections is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    /// As soon as so many recipients have some, looked at between two connections read.
    pub(crate) recipients_max: usize,
    /// As soon as all have so many bytes together.
    pub(crate) held_bytes_max: usize,
}

/// The server. It ends with its process.
pub(crate) struct Floor {
    ring: Ring,
    listener: Listener,
    tls: Arc<ServerTls>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    devices: HashMap<DeviceId, u32>,
    scratch: Box<[u8]>,
    carry: CarryPool,
    output: OutputPool,
    /// Connections with output that has not been offered to the kernel.
    dirty: Vec<u32>,
    /// Bytes sealed for them.
    held_bytes: usize,
    policy: FlushPolicy,
    /// Connections that stopped reading before they were dry; a poll will not tell of them again.
    ready: Vec<u32>,
}

impl Floor {
    /// A floor that listens on `address`, with an identity made up for the occasion.
    pub(crate) fn new(
        address: SocketAddr,
        policy: FlushPolicy,
        buffers: SocketBuffers,
    ) -> Result<Self> {
        hushwire_uring::raise_nofile(CONNECTIONS_MAX as u64 - 1_000)?;
        let ring = DormantRing::new(RingOptions::default())?.enable()?;
        let options = ListenOptions { buffers, ..ListenOptions::default() };
        let listener = sockets::listen(address, &options)?;
        Ok(Self {
            ring,
            listener,
            tls: identity::self_signed()?,
            slots: Vec::new(),
            free: Vec::new(),
            devices: HashMap::new(),
            scratch: vec![0; SCRATCH_BYTES_MIN].into_boxed_slice(),
            carry: CarryPool::default(),
            output: OutputPool::default(),
            dirty: Vec::new(),
            held_bytes: 0,
            policy,
            ready: Vec::new(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Forwards until the process is ended.
    pub(crate) fn run(mut self) -> Result<()> {
        self.accept()?;
        let mut completions = Vec::new();
        let mut ready = Vec::new();
        loop {
            let wait = (!self.ready.is_empty()).then_some(Duration::ZERO);
            self.ring.wait(wait).context("the ring failed")?;
            self.ring.drain(&mut completions);
            std::mem::swap(&mut ready, &mut self.ready);
            for completion in completions.drain(..) {
                self.complete(completion)?;
            }
            for index in ready.drain(..) {
                self.read(index);
            }
            self.flush_all();
        }
    }

    fn accept(&mut self) -> Result<()> {
        let token = Token::new(ACCEPT, 0, 0);
        Ok(self.ring.accept_multishot(self.listener.socket.as_fd(), token)?)
    }

    fn complete(&mut self, completion: Completion) -> Result<()> {
        match completion {
            Completion::Accepted { socket, more, .. } => {
                self.admit(socket)?;
                if !more {
                    self.accept()?;
                }
            }
            Completion::AcceptFailed { error, .. } => {
                return Err(error).context("accepting failed");
            }
            Completion::Polled { token, ready, more } => {
                let index = token.index();
                let Some(connection) = self.connection(token) else { return Ok(()) };
                connection.end_follows |= ready.peer_closed() || ready.hung_up();
                connection.poll_armed = more;
                self.read(index);
                self.after_poll(index, token)?;
            }
            Completion::PollEnded { token, .. } => {
                if let Some(connection) = self.connection(token) {
                    connection.poll_armed = false;
                    self.settle(token.index());
                }
            }
            Completion::Sent { token, result, .. } => {
                let Some(connection) = self.connection(token) else { return Ok(()) };
                if connection.outbox.finished(result) {
                    self.mark_dirty(token.index());
                } else {
                    self.close(token.index());
                }
                self.settle(token.index());
            }
            Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. } => {}
        }
        Ok(())
    }

    /// The connection that a completion is of, if it still exists.
    fn connection(&mut self, token: Token) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.index() as usize)?;
        if slot.generation == token.generation() { slot.connection.as_deref_mut() } else { None }
    }

    fn admit(&mut self, socket: OwnedFd) -> Result<()> {
        let Ok(handshake) = self.tls.handshake() else { return Ok(()) };
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == CONNECTIONS_MAX => return Ok(()),
            None => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        let connection = slot.connection.insert(Box::new(Connection::new(socket, handshake)));
        let token = Token::new(POLL, slot.generation, index);
        self.ring.poll_multishot(connection.socket.as_fd(), token, Interest::Read)?;
        Ok(())
    }

    /// A multishot poll that ended while its connection lives is armed again.
    fn after_poll(&mut self, index: u32, token: Token) -> Result<()> {
        if let Some(connection) = self.slots[index as usize].connection.as_deref_mut()
            && !connection.poll_armed
            && !matches!(connection.stage, Stage::Closing)
        {
            self.ring.poll_multishot(connection.socket.as_fd(), token, Interest::Read)?;
            connection.poll_armed = true;
        }
        self.settle(index);
        Ok(())
    }

    /// The first step of closing; the descriptor stays open until every operation on it has ended.
    fn close(&mut self, index: u32) {
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
        // A connection that is over cannot be shut down any further.
        let _ = sockets::shutdown_write(connection.socket.as_fd());
        connection.outbox.release(&mut self.output);
        let poll = Token::new(POLL, slot.generation, index);
        let cancels = [
            (connection.poll_armed, poll),
            (connection.outbox.is_in_flight(), poll.with_kind(SEND)),
        ];
        for (armed, target) in cancels {
            if armed {
                // Without it the descriptor only lives as long as the peer holds its end.
                let _ = self.ring.cancel(target, target.with_kind(CANCEL));
            }
        }
        self.settle(index);
    }

    /// The last step of closing.
    fn settle(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let over = slot.connection.as_deref().is_some_and(|connection| {
            matches!(connection.stage, Stage::Closing)
                && !connection.poll_armed
                && !connection.outbox.is_in_flight()
        });
        if over {
            slot.connection = None;
            slot.generation = (slot.generation + 1) & Token::GENERATION_MASK;
            self.free.push(index);
        }
    }
}
