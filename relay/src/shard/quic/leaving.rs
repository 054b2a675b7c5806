//! Cells to lanes, datagrams out, and timers.

use std::os::fd::AsFd as _;

use hushwire_engine::{ConnId, Time};
use hushwire_uring::udp::Outgoing;
use hushwire_uring::{Interest, Token};
use quinn_proto::{EndpointEvent, Transmit};

use super::{Place, Quic, QuicKey, QuicWire, UDP_WRITE, Unsent};
use crate::mesh::MeshControl;
use crate::shard::connection::Connection;
use crate::shard::limits::{SEGMENTS_PER_SEND, TRANSMITS_PER_FLUSH};
use crate::shard::{Shard, ShardError};
use crate::transport::quic::limits::STUCK_BYTES_MAX;

/// How far the datagrams of a connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// All that may leave now.
    All,
    /// Its turn is over.
    Some,
    /// The socket is full.
    Blocked,
}

impl Quic {
    /// Sends what the endpoint answers by itself. Where the socket is full it is lost, as on any other way.
    pub(super) fn reply(&mut self, transmit: &Transmit) {
        if let Err(error) = self.socket.send(&outgoing(transmit, &self.out[..transmit.size])) {
            tracing::debug!(%error, "an answer by UDP could not be sent");
        }
    }

    /// Makes and sends the datagrams of a connection.
    fn transmit(&mut self, wire: &mut QuicWire, now: Time, count: &mut Count) -> Sent {
        let instant = self.clock.instant(now);
        wire.outgoing.fill_up(&mut wire.inner);
        for _ in 0..TRANSMITS_PER_FLUSH {
            if self.unsent.is_some() {
                return Sent::Blocked;
            }
            self.out.clear();
            let segments = self.socket.segments_max().min(SEGMENTS_PER_SEND);
            let Some(transmit) = wire.inner.poll_transmit(instant, segments, &mut self.out) else {
                return Sent::All;
            };
            count.add(&transmit);
            wire.outgoing.have_left(&transmit, &wire.inner);
            match self.socket.send(&outgoing(&transmit, &self.out[..transmit.size])) {
                Ok(true) => {}
                Ok(false) => {
                    let bytes = std::mem::take(&mut self.out);
                    self.unsent = Some(Unsent { bytes, transmit });
                }
                // As if the network had lost them.
                Err(error) => tracing::debug!(%error, "datagrams could not be sent"),
            }
        }
        Sent::Some
    }

    /// The same for a connection that is ending: nobody waits for room.
    pub(super) fn transmit_closing(&mut self, wire: &mut QuicWire, now: Time, count: &mut Count) {
        while self.transmit(wire, now, count) == Sent::Some {}
    }

    /// Tries again what the socket had no room for. Whether there is room now.
    fn send_unsent(&mut self) -> bool {
        let Some(unsent) = self.unsent.take() else { return true };
        let Unsent { bytes, transmit } = &unsent;
        let sent = self.socket.send(&outgoing(transmit, &bytes[..transmit.size]));
        if matches!(sent, Ok(false)) {
            self.unsent = Some(unsent);
            return false;
        }
        self.out = unsent.bytes;
        true
    }

    /// Has the timer of a connection go off when it is due, or a little earlier: who is early is asked again.
    pub(super) fn arm(&mut self, wire: &mut QuicWire) {
        let Some(due) = wire.deadline(self.clock) else { return };
        if wire.armed.is_some_and(|armed| armed <= due) {
            return;
        }
        self.disarm(wire);
        wire.armed = Some(due);
        self.timers.insert((due, wire.key));
    }

    pub(super) fn disarm(&mut self, wire: &mut QuicWire) {
        if let Some(armed) = wire.armed.take() {
            self.timers.remove(&(armed, wire.key));
        }
    }
}

/// Datagrams and bytes sent.
#[derive(Debug, Default)]
pub(super) struct Count {
    datagrams: usize,
    bytes: usize,
}

impl Count {
    fn add(&mut self, transmit: &Transmit) {
        self.bytes += transmit.size;
        self.datagrams += transmit.segment_size.map_or(1, |size| transmit.size.div_ceil(size));
    }
}

fn outgoing<'a>(transmit: &Transmit, contents: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        to: transmit.destination,
        from: transmit.src_ip,
        ecn: transmit.ecn.map(|ecn| ecn as u8),
        contents,
        segment: transmit.segment_size,
    }
}

impl Shard {
    /// Hands the cells of a connection to its lanes, then as much of its queue as fits behind them, and sends.
    pub(in crate::shard) fn flush_quic(&mut self, id: ConnId, now: Time) {
        loop {
            let Some(wire) = self.connection(id).and_then(Connection::quic) else { return };
            wire.listen();
            let handed = match wire.outgoing.hand_over(&mut wire.inner, now) {
                Ok(handed) => handed,
                Err(fault) => {
                    wire.fault = Some(fault);
                    self.stir(id);
                    break;
                }
            };
            if handed.stuck | handed.free != 0 {
                let waits = wire.outgoing.stuck_bytes();
                self.lanes_changed(id, handed.stuck, handed.free, waits, now);
            }
            if handed.charge == 0 || !self.drained(id, handed.charge, now) {
                break;
            }
        }
        self.transmit_quic(id, now);
    }

    /// Some lanes have no credit although others have, or have it again: the engine answers `busy` for them.
    fn lanes_changed(&mut self, id: ConnId, stuck: u8, free: u8, waits: usize, now: Time) {
        self.metrics.lanes_stuck.add(u64::from(stuck.count_ones()));
        for lane in 0..u8::BITS as u8 {
            if stuck >> lane & 1 == 1 {
                self.engine.handle_lane(id, lane, false, now);
            } else if free >> lane & 1 == 1 {
                self.engine.handle_lane(id, lane, true, now);
            }
        }
        let Some(quic) = &mut self.quic else { return };
        let connection = self.connections.get_mut(id.index()).and_then(Option::as_mut);
        let Some(wire) = connection.and_then(Connection::quic) else { return };
        quic.stuck_bytes += waits;
        quic.stuck_bytes -= std::mem::replace(&mut wire.stuck_bytes, waits);
        if quic.stuck_bytes > STUCK_BYTES_MAX {
            self.end_later(id);
        }
    }

    /// Sends the datagrams of a connection that may leave now.
    fn transmit_quic(&mut self, id: ConnId, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        let Some(connection) = self.connections.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        let Some(wire) = connection.quic() else { return };
        let mut count = Count::default();
        let mut posts = Vec::new();
        let sent = loop {
            let sent = quic.transmit(wire, now, &mut count);
            if !quic.forward_endpoint_events(wire, &mut posts) {
                break sent;
            }
        };
        quic.arm(wire);
        match sent {
            Sent::All => {}
            Sent::Some => {
                if !std::mem::replace(&mut wire.stirred, true) {
                    quic.stirred.push(id);
                }
            }
            Sent::Blocked => {
                if !std::mem::replace(&mut wire.waiting, true) {
                    quic.waiting.push(id);
                }
            }
        }
        self.count_sent(&count);
        self.post_all(posts);
    }

    pub(super) fn count_sent(&self, count: &Count) {
        self.metrics.datagrams_out.add(count.datagrams as u64);
        self.metrics.bytes_out.add(count.bytes as u64);
    }

    /// Endpoint events of guests, on their way to the shard that their IDs lead to.
    pub(super) fn post_all(&mut self, posts: Vec<(u16, MeshControl)>) {
        for (to, post) in posts {
            if self.mesh.post_control(usize::from(to), post).is_err() {
                self.metrics.bugs.add(1);
                tracing::error!(shard = to, "a message between shards was lost: its queue is full");
            }
        }
    }

    /// Waits for room in the socket, where it had none.
    pub(in crate::shard) fn watch_udp_room(&mut self) -> Result<(), ShardError> {
        if let Some(quic) = &mut self.quic
            && quic.unsent.is_some()
            && !std::mem::replace(&mut quic.write_armed, true)
        {
            let token = Token::new(UDP_WRITE, 0, 0);
            self.ring.poll_once(quic.socket.as_fd(), token, Interest::Write)?;
        }
        Ok(())
    }

    /// The socket has room again: whoever waited sends.
    pub(in crate::shard) fn udp_writable(&mut self) {
        let Some(quic) = &mut self.quic else { return };
        quic.write_armed = false;
        if !quic.send_unsent() {
            return;
        }
        let waiting = std::mem::take(&mut quic.waiting);
        for id in waiting {
            if let Some(wire) = self.connection(id).and_then(Connection::quic) {
                wire.waiting = false;
            }
            self.stir(id);
        }
    }

    /// Lets the timers go off that are due.
    pub(in crate::shard) fn quic_timers(&mut self, now: Time) {
        // Each once: one that is due again at once has its turn in the next one.
        for _ in 0..self.quic.as_ref().map_or(0, |quic| quic.timers.len()) {
            let Some(quic) = &mut self.quic else { return };
            let Some(&(at, key)) = quic.timers.first().filter(|(at, _)| *at <= now) else { return };
            quic.timers.remove(&(at, key));
            match quic.place(key) {
                Place::Open(id) => {
                    let connection = self.connections.get_mut(id.index()).and_then(Option::as_mut);
                    if let Some(wire) = connection.and_then(Connection::quic) {
                        wire.armed = None;
                        wire.inner.handle_timeout(quic.clock.instant(now));
                        self.stir(id);
                    }
                }
                Place::Closing => {
                    if let Some(wire) = quic.closing.get_mut(&key) {
                        wire.armed = None;
                        wire.inner.handle_timeout(quic.clock.instant(now));
                    }
                    self.serve_closing(key, now);
                }
                Place::Away(_) | Place::Nowhere => {}
            }
        }
    }

    /// Tells everybody that the relay is gone, as far as one datagram each does.
    pub(in crate::shard) fn quic_farewell(&mut self, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        let instant = quic.clock.instant(now);
        let mut count = Count::default();
        for wire in self.connections.iter_mut().flatten().filter_map(Connection::quic) {
            wire.inner.close(instant, quinn_proto::VarInt::from_u32(0), bytes::Bytes::new());
            quic.transmit(wire, now, &mut count);
        }
        self.count_sent(&count);
    }
}

impl Quic {
    /// Gives what a connection has for its endpoint to it. Whether there was something, and so perhaps more to send.
    pub(super) fn forward_endpoint_events(
        &mut self,
        wire: &mut QuicWire,
        posts: &mut Vec<(u16, MeshControl)>,
    ) -> bool {
        let mut any = false;
        while let Some(event) = wire.inner.poll_endpoint_events() {
            any = true;
            wire.drained |= event.is_drained();
            if wire.key.shard != self.shard {
                posts.push((wire.key.shard, super::elsewhere::to_endpoint(wire.key, event)));
            } else if let Some(answer) = self.endpoint_event(wire.key, event) {
                wire.inner.handle_event(answer);
            }
        }
        if wire.drained {
            self.set_place(wire.key, Place::Nowhere);
        }
        any
    }

    /// An event of a connection whose IDs lead here.
    pub(super) fn endpoint_event(
        &mut self,
        key: QuicKey,
        event: EndpointEvent,
    ) -> Option<quinn_proto::ConnectionEvent> {
        self.endpoint.handle_event(key.handle(), event)
    }
}
