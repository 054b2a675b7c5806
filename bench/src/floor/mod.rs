//! The floor: the least that forwarding can cost on this ring and these records.
//!
//! One thread, one ring, the relay's pauses, and nothing but the path of a cell: receive, open in place, find the recipient
//! by its device ID, rewrite sender and counter, seal into the recipient's output, send when the batch is
//! done. The relay is measured against it, and so are the baselines, which have another ring and no pauses. [`QuicFloor`] is the same
//! with quinn-proto in the place of records.

mod quic;

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hushwire_engine::Time;
use hushwire_relay::pausing::Pausing;
use hushwire_relay::transport::limits::SCRATCH_BYTES;
use hushwire_uring::sockets::{self, ListenOptions, Listener, Received, SocketBuffers};
use hushwire_uring::{Completion, DormantRing, Interest, Kind, Ring, RingOptions, Token};

use crate::clock::Clock;
use crate::forwarder::connection::{Connection, Place};
use crate::forwarder::output::{Flushed, Outbox, OutputPool};
use crate::forwarder::{Driver, FlushPolicy, Forwarder, Over, Routed};
use crate::limits::{CONNECTIONS_MAX, READS_PER_TURN};

pub(crate) use quic::QuicFloor;

const ACCEPT: Kind = Kind::accept(0);
const POLL: Kind = Kind::poll(0);
const SEND: Kind = Kind::send(0);
const CANCEL: Kind = Kind::cancel(0);

/// The server. It ends with its process.
pub(crate) struct Floor {
    forwarder: Forwarder<Ring>,
    listener: Listener,
    scratch: Box<[u8]>,
    /// Connections that stopped reading before they were dry; a poll will not tell of them again.
    ready: Vec<u32>,
    pausing: Pausing,
    clock: Clock,
}

/// The floor's part of a connection.
pub(crate) struct Port {
    socket: OwnedFd,
    poll_armed: bool,
    /// The end of the peer's stream was announced; it is announced once.
    end_follows: bool,
}

impl Driver for Ring {
    type Port = Port;

    /// The loop flushes after every batch.
    #[inline]
    fn output_waits(&mut self) {}

    #[inline]
    fn flush(
        &mut self,
        place: Place,
        port: &mut Port,
        outbox: &mut Outbox,
        pool: &mut OutputPool,
    ) -> Result<(), Over> {
        let socket = port.socket.as_fd();
        let flushed = outbox.flush(pool, |bytes| sockets::send(socket, bytes));
        finish(self, place, port, outbox, flushed)
    }

    const SENDS_PAST: bool = true;

    #[inline]
    fn send_past(
        &mut self,
        place: Place,
        port: &mut Port,
        outbox: &mut Outbox,
        sealed: &[u8],
    ) -> Result<(), Over> {
        let socket = port.socket.as_fd();
        let flushed = outbox.send_past(sealed, |bytes| sockets::send(socket, bytes));
        finish(self, place, port, outbox, flushed)
    }

    fn shut(&mut self, place: Place, port: &mut Port, outbox: &Outbox) {
        // A connection that is over cannot be shut down any further.
        let _ = sockets::shutdown_write(port.socket.as_fd());
        let poll = Token::new(POLL, place.generation, place.index);
        for (armed, target) in
            [(port.poll_armed, poll), (outbox.is_in_flight(), poll.with_kind(SEND))]
        {
            if armed {
                // Without it the descriptor only lives as long as the peer holds its end.
                let _ = self.cancel(target, target.with_kind(CANCEL));
            }
        }
    }

    fn is_watched(port: &Port) -> bool {
        port.poll_armed
    }
}

/// Has the ring finish a send that found no room.
fn finish(
    ring: &mut Ring,
    place: Place,
    port: &Port,
    outbox: &mut Outbox,
    flushed: Flushed,
) -> Result<(), Over> {
    match flushed {
        Flushed::Done => Ok(()),
        Flushed::Short(rest) => {
            let token = Token::new(SEND, place.generation, place.index);
            ring.send(port.socket.as_fd(), token, rest, 0).map_err(|_| {
                let _ = outbox.finished(Ok(0));
                Over
            })
        }
        Flushed::Broken => Err(Over),
    }
}

impl Floor {
    /// A floor that listens on `address`.
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
            forwarder: Forwarder::new(ring, policy)?,
            listener,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            ready: Vec::new(),
            pausing: Pausing::new(),
            clock: Clock::start(),
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
            self.rest().context("the ring failed")?;
            self.pausing.begin(self.now());
            self.forwarder.driver.drain(&mut completions);
            std::mem::swap(&mut ready, &mut self.ready);
            for completion in completions.drain(..) {
                self.complete(completion)?;
            }
            for index in ready.drain(..) {
                self.read(index);
            }
            self.forwarder.flush_all();
        }
    }

    /// Waits for something to do.
    fn rest(&mut self) -> std::io::Result<()> {
        let pause = self.pausing.end(self.now());
        let ring = &mut self.forwarder.driver;
        if !self.ready.is_empty() {
            ring.wait(Some(Duration::ZERO))?;
        } else if let Some(pause) = pause {
            ring.pause(pause)?;
        } else {
            ring.wait(None)?;
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.clock.now_ns())
    }

    fn accept(&mut self) -> Result<()> {
        let token = Token::new(ACCEPT, 0, 0);
        let listener = self.listener.socket.as_fd();
        Ok(self.forwarder.driver.accept_multishot(listener, token)?)
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
                connection.port.end_follows |= ready.peer_closed() || ready.hung_up();
                connection.port.poll_armed = more;
                self.read(index);
                self.after_poll(index, token)?;
            }
            Completion::PollEnded { token, .. } => {
                if let Some(connection) = self.connection(token) {
                    connection.port.poll_armed = false;
                    self.forwarder.settle(token.index());
                }
            }
            Completion::Sent { token, result, .. } => {
                let Some(connection) = self.connection(token) else { return Ok(()) };
                if connection.outbox.finished(result) {
                    self.forwarder.mark_dirty(token.index());
                } else {
                    self.forwarder.close(token.index());
                }
                self.forwarder.settle(token.index());
            }
            Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. } => {}
        }
        Ok(())
    }

    /// The connection that a completion is of, if it still exists.
    fn connection(&mut self, token: Token) -> Option<&mut Connection<Port>> {
        let place = Place { index: token.index(), generation: token.generation() };
        self.forwarder.connection(place)
    }

    fn admit(&mut self, socket: OwnedFd) -> Result<()> {
        let port = Port { socket, poll_armed: true, end_follows: false };
        let Some(place) = self.forwarder.admit(port) else { return Ok(()) };
        self.poll(Token::new(POLL, place.generation, place.index))
    }

    fn poll(&mut self, token: Token) -> Result<()> {
        let Forwarder { slots, driver: ring, .. } = &mut self.forwarder;
        let connection = slots[token.index() as usize].connection.as_deref();
        let socket = connection.context("a poll of nothing")?.port.socket.as_fd();
        Ok(ring.poll_multishot(socket, token, Interest::Read)?)
    }

    /// A multishot poll that ended while its connection lives is armed again.
    fn after_poll(&mut self, index: u32, token: Token) -> Result<()> {
        if let Some(connection) = self.forwarder.slots[index as usize].connection.as_deref_mut()
            && !connection.port.poll_armed
            && !connection.is_closing()
        {
            connection.port.poll_armed = true;
            self.poll(token)?;
        }
        self.forwarder.settle(index);
        Ok(())
    }

    /// Reads one connection until it is dry or others have waited long enough.
    fn read(&mut self, index: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 1.. {
            match self.read_once(index, &mut scratch) {
                Ok(true) if turn < READS_PER_TURN => {}
                Ok(true) => {
                    self.ready.push(index);
                    break;
                }
                Ok(false) => break,
                Err(Over) => {
                    self.forwarder.close(index);
                    break;
                }
            }
        }
        self.scratch = scratch;
        self.forwarder.flush_if_many();
    }

    /// One receive. Whether there may be more.
    fn read_once(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, Over> {
        let Forwarder { slots, carry, .. } = &mut self.forwarder;
        let Some(connection) = slots[index as usize].connection.as_deref_mut() else {
            return Ok(false);
        };
        let Some(mut cursor) = connection.begin(scratch, carry) else { return Ok(false) };
        let at = cursor.end();
        let room = &mut scratch[at..];
        let asked = room.len();
        let count = match sockets::recv(connection.port.socket.as_fd(), room) {
            Ok(Received::Bytes(count)) => {
                self.pausing.received(count);
                count
            }
            Ok(Received::Empty) => 0,
            Ok(Received::End) | Err(_) => return Err(Over),
        };
        // A short receive found everything there was, unless an end was announced with it.
        let more = count == asked || (connection.port.end_follows && count > 0);
        let received = self.forwarder.received(index, scratch, &mut cursor, count);
        let Routed { cells, bytes } = std::mem::take(&mut self.forwarder.routed);
        if cells > 0 {
            self.pausing.routed(index as usize, cells, bytes);
        }
        received?;
        Ok(more)
    }
}
