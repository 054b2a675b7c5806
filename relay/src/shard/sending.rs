//! The two stages of egress: seal now, or wait in a slot.

use std::os::fd::AsFd as _;

use hushwire_engine::command::Stored;
use hushwire_engine::{ConnId, Egress, Stage as Egressing, Time};
use hushwire_uring::{Interest, Token};
use hushwire_wire::cell::{Class, lane_of, set_counter};
use hushwire_wire::control::{Control, enclose};

use super::connection::{Connection, POLL, Poll, SEND, Stage, Tcp, Who, Wire, token};
use super::limits::{OUTPUT_FLUSH_BYTES, OUTPUT_RECIPIENTS_MAX};
use super::output::{Flushed, Follows};
use super::{Shard, ShardError, seconds};
use crate::transport::{Fault, sealed_len};

/// What a KeyUpdate takes, padded to the smallest cell.
const UPDATE_LEN: usize = sealed_len(Class::C0.cell_len());

impl Shard {
    /// Puts a readdressed cell where the engine wants it.
    #[inline]
    pub(super) fn egress(
        &mut self,
        to: ConnId,
        stage: Egressing,
        class: Class,
        cell: &mut [u8],
        now: Time,
    ) {
        match stage {
            Egressing::Sealed => self.seal_cell(to, cell, now),
            Egressing::Queued => {
                let stored = Stored { slot: self.slots.store(class, cell), wrapped: None };
                self.engine.handle_queued(to, stored);
            }
        }
    }

    /// Seals a whole cell into the output of a connection. The engine has charged its bytes.
    #[inline]
    fn seal_cell(&mut self, to: ConnId, cell: &mut [u8], now: Time) {
        let Some(connection) = self.connections[to.index()].as_mut() else {
            unreachable!("the engine sends to connections that exist")
        };
        assert_eq!(connection.id, to, "the engine sends to the connection it means");
        let lane = lane_of(cell);
        set_counter(cell, connection.counters.take(lane));
        connection.used_s = seconds(now);
        let filled = match &mut connection.wire {
            Wire::Tcp(Tcp { stage: Stage::Open(link), outbox, .. }) => {
                let update = link.sealer.update_due();
                let charge = sealed_len(cell.len()) + if update { UPDATE_LEN } else { 0 };
                let sealer = &mut link.sealer;
                let sealed = outbox.seal(&mut self.output, charge, charge, |out| {
                    let used = match update {
                        true => sealer.key_update_into(Class::C0.cell_len(), out)?,
                        false => 0,
                    };
                    Ok::<_, Fault>(used + sealer.seal_into(cell, &mut out[used..])?)
                });
                let filled = outbox.sealing_len();
                if update {
                    self.engine.handle_sealed(to, UPDATE_LEN as u32);
                }
                match sealed {
                    Ok(sealed) => {
                        self.held_bytes += sealed;
                        self.metrics.bytes_out.add(sealed as u64);
                    }
                    Err(fault) => self.sealing_failed(to, &fault),
                }
                filled
            }
            Wire::Quic(quic) => {
                quic.outgoing.push(lane, cell, sealed_len(cell.len()));
                self.held_bytes += cell.len();
                quic.outgoing.gathered()
            }
            Wire::Tcp(_) => unreachable!("the engine sends to open connections"),
        };
        self.mark_dirty(to);
        if filled >= OUTPUT_FLUSH_BYTES {
            self.flush_one(to, Follows::More, now);
        }
        if self.held_bytes >= self.limits.output_held_bytes_max {
            self.flush(now);
        }
        self.flush_if_many(now);
    }

    /// Each recipient with output holds a large buffer, so not many may.
    #[inline]
    pub(super) fn flush_if_many(&mut self, now: Time) {
        if self.dirty.len() >= OUTPUT_RECIPIENTS_MAX {
            self.flush(now);
        }
    }

    /// Seals a control message, for which the engine has charged the connection.
    pub(super) fn seal_control(&mut self, to: ConnId, message: &Control, now: Time) {
        let Some(mut cell) = enclose(&message.encode()) else {
            unreachable!("the largest cell holds every message of the engine")
        };
        if self.connection(to).is_some() {
            self.seal_cell(to, &mut cell, now);
        }
    }

    pub(super) fn sealing_failed(&mut self, id: ConnId, fault: &Fault) {
        self.metrics.bugs.add(1);
        tracing::error!(%fault, "sealing failed; the connection is closed");
        self.end_later(id);
    }

    /// Puts a connection on the list of those with output.
    #[inline]
    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(connection) = self.connections[id.index()].as_mut()
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Sends what every connection on the list has.
    pub(super) fn flush(&mut self, now: Time) {
        self.held_bytes = 0;
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(connection) = self.connection(id) {
                connection.dirty = false;
                self.flush_one(id, Follows::Nothing, now);
            }
        }
        // What refilling put on the list meanwhile stays there.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// Sends what one connection has, then as much of its queue as fits behind it.
    fn flush_one(&mut self, id: ConnId, follows: Follows, now: Time) {
        match self.connection(id).map(|connection| &connection.wire) {
            Some(Wire::Tcp(_)) => self.flush_tcp(id, follows, now),
            Some(Wire::Quic(_)) => self.flush_quic(id, now),
            None => {}
        }
    }

    fn flush_tcp(&mut self, id: ConnId, follows: Follows, now: Time) {
        self.seal_due_update(id);
        loop {
            let Some(connection) = self.connections[id.index()].as_mut() else { return };
            let Some(tcp) = connection.tcp() else { return };
            let flushed = tcp.outbox.flush(tcp.socket.as_fd(), &mut self.output, follows);
            if !self.flushed(id, flushed, now) {
                return;
            }
        }
    }

    /// Goes on after a flush. Whether more was sealed, for the next.
    pub(super) fn flushed(&mut self, id: ConnId, flushed: Flushed, now: Time) -> bool {
        match flushed {
            Flushed::All(0) | Flushed::Waiting => false,
            Flushed::All(charge) => self.drained(id, charge, now),
            Flushed::Short(rest) => {
                let connection = self.connections[id.index()].as_mut();
                let Some(tcp) = connection.and_then(Connection::tcp) else { return false };
                let socket = tcp.socket.as_fd();
                if self.ring.send(socket, token(id, SEND), rest, 0).is_err() {
                    tcp.outbox.not_sent();
                    self.end_later(id);
                }
                false
            }
            Flushed::Broken => {
                self.end_later(id);
                false
            }
        }
    }

    /// Bytes have left: the next ones of the queue may be sealed. Whether any were.
    pub(super) fn drained(&mut self, id: ConnId, charge: usize, now: Time) -> bool {
        if !self.engine.handle_drained(id, charge as u32) {
            return false;
        }
        loop {
            match self.engine.poll_egress(id) {
                Egress::Real(stored) => {
                    let mut cell = self.slots.take(stored.slot);
                    self.seal_behind(id, &mut cell, now);
                    self.slots.recycle(cell);
                }
                Egress::Control(control) => {
                    if let Some(mut cell) = enclose(&control.encode()) {
                        self.seal_behind(id, &mut cell, now);
                    }
                }
                Egress::Cover(_) => unreachable!("cover is off: the engine has no slots to fill"),
                Egress::Nothing => return true,
            }
        }
    }

    /// Seals a queued cell. The caller flushes.
    fn seal_behind(&mut self, id: ConnId, cell: &mut [u8], now: Time) {
        let Some(connection) = self.connections[id.index()].as_mut() else { return };
        let lane = lane_of(cell);
        set_counter(cell, connection.counters.take(lane));
        connection.used_s = seconds(now);
        let charge = sealed_len(cell.len());
        match &mut connection.wire {
            Wire::Tcp(Tcp { stage: Stage::Open(link), outbox, .. }) => {
                let sealer = &mut link.sealer;
                let seal = |out: &mut [u8]| sealer.seal_into(cell, out);
                match outbox.seal(&mut self.output, charge, charge, seal) {
                    Ok(sealed) => self.metrics.bytes_out.add(sealed as u64),
                    Err(fault) => self.sealing_failed(id, &fault),
                }
            }
            Wire::Quic(quic) => quic.outgoing.push(lane, cell, charge),
            Wire::Tcp(_) => {}
        }
    }

    /// A KeyUpdate that is due leaves even if no cell follows.
    fn seal_due_update(&mut self, id: ConnId) {
        let Some(connection) = self.connections[id.index()].as_mut() else { return };
        let Wire::Tcp(Tcp { stage: Stage::Open(link), outbox, .. }) = &mut connection.wire else {
            return;
        };
        // Behind a send in flight it waits: however many a device that does not read asks for, it gets one.
        if !link.sealer.update_due() || outbox.is_in_flight() {
            return;
        }
        let sealer = &mut link.sealer;
        let sealed = outbox.seal(&mut self.output, UPDATE_LEN, UPDATE_LEN, |out| {
            sealer.key_update_into(Class::C0.cell_len(), out)
        });
        match sealed {
            Ok(sealed) => {
                self.metrics.bytes_out.add(sealed as u64);
                self.engine.handle_sealed(id, UPDATE_LEN as u32);
            }
            Err(fault) => self.sealing_failed(id, &fault),
        }
    }

    /// The ring finished a send, or failed to.
    pub(super) fn sent(
        &mut self,
        token: Token,
        result: std::io::Result<usize>,
        now: Time,
    ) -> Result<(), ShardError> {
        let Some(id) = self.id_of(token) else { return self.sent_while_closing(token, result) };
        let Some(tcp) = self.connection(id).and_then(Connection::tcp) else { return Ok(()) };
        match tcp.outbox.finished(result) {
            Some(charge) => {
                self.seal_due_update(id);
                self.drained(id, charge, now);
                self.mark_dirty(id);
                self.flush_if_many(now);
            }
            None => self.end_later(id),
        }
        Ok(())
    }

    /// Arms the poll that lasts as long as the connection.
    pub(super) fn poll_on(&mut self, id: ConnId) -> Result<(), ShardError> {
        if let Some(tcp) = self.connections[id.index()].as_mut().and_then(Connection::tcp)
            && tcp.poll == Poll::Idle
        {
            self.ring.poll_multishot(tcp.socket.as_fd(), token(id, POLL), Interest::Read)?;
            tcp.poll = Poll::Multi;
        }
        Ok(())
    }

    /// The device is welcome: it may send cells of all sizes.
    pub(super) fn welcomed(&mut self, id: ConnId) -> Result<(), ShardError> {
        let Some(connection) = self.connection(id) else { return Ok(()) };
        if matches!(connection.who, Who::Introduced) {
            connection.who = Who::Welcome;
            match &mut connection.wire {
                Wire::Tcp(Tcp { stage: Stage::Open(link), .. }) => {
                    link.inbound.allow(Class::C7);
                    // Many devices have nothing to say for a while.
                    if link.put_keys_away() {
                        self.metrics.keys_put_away.add(1);
                    }
                }
                Wire::Tcp(_) => {}
                Wire::Quic(_) => self.welcome_quic(id),
            }
            if let Some(device) = self.engine.device_of(id).copied() {
                self.seen(device);
            }
            self.poll_on(id)?;
        }
        Ok(())
    }
}

/// What the engine and this layer must agree on: the bytes a cell takes when it is sealed.
const _: () = {
    let mut class = 0;
    while class < Class::ALL.len() {
        let ours = sealed_len(Class::ALL[class].cell_len());
        assert!(ours == hushwire_engine::limits::sealed_len(Class::ALL[class]) as usize);
        class += 1;
    }
};
