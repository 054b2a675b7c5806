//! The two stages of egress: seal now, or wait in a slot.

use std::os::fd::AsFd as _;

use hushwire_engine::command::Stored;
use hushwire_engine::{ConnId, Egress, Stage as Egressing, Time};
use hushwire_uring::{Interest, Token};
use hushwire_wire::cell::{Class, lane_of, set_counter};
use hushwire_wire::control::{Control, enclose};

use super::connection::{POLL, Poll, SEND, Stage, Who};
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
        let Stage::Open(link) = &mut connection.stage else {
            unreachable!("the engine sends to open connections")
        };
        set_counter(cell, link.counters.take(lane_of(cell)));
        let update = link.sealer.update_due();
        let charge = sealed_len(cell.len()) + if update { UPDATE_LEN } else { 0 };
        let sealer = &mut link.sealer;
        let sealed = connection.outbox.seal(&mut self.output, charge, charge, |out| {
            let used = match update {
                true => sealer.key_update_into(Class::C0.cell_len(), out)?,
                false => 0,
            };
            Ok::<_, Fault>(used + sealer.seal_into(cell, &mut out[used..])?)
        });
        connection.used_s = seconds(now);
        let filled = connection.outbox.sealing_len();
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

    fn sealing_failed(&mut self, id: ConnId, fault: &Fault) {
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
        self.seal_due_update(id);
        loop {
            let Some(connection) = self.connections[id.index()].as_mut() else { return };
            match connection.outbox.flush(connection.socket.as_fd(), &mut self.output, follows) {
                Flushed::All(0) => return,
                Flushed::All(charge) => {
                    if !self.drained(id, charge, now) {
                        return;
                    }
                }
                Flushed::Short(rest) => {
                    let token = connection.token(SEND);
                    if self.ring.send(connection.socket.as_fd(), token, rest, 0).is_err() {
                        connection.outbox.not_sent();
                        self.end_later(id);
                    }
                    return;
                }
                Flushed::Waiting => return,
                Flushed::Broken => return self.end_later(id),
            }
        }
    }

    /// Bytes have left: the next ones of the queue may be sealed. Whether any were.
    fn drained(&mut self, id: ConnId, charge: usize, now: Time) -> bool {
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
        let Stage::Open(link) = &mut connection.stage else { return };
        set_counter(cell, link.counters.take(lane_of(cell)));
        connection.used_s = seconds(now);
        let charge = sealed_len(cell.len());
        let sealer = &mut link.sealer;
        let sealed = connection
            .outbox
            .seal(&mut self.output, charge, charge, |out| sealer.seal_into(cell, out));
        match sealed {
            Ok(sealed) => self.metrics.bytes_out.add(sealed as u64),
            Err(fault) => self.sealing_failed(id, &fault),
        }
    }

    /// A KeyUpdate that is due leaves even if no cell follows.
    fn seal_due_update(&mut self, id: ConnId) {
        let Some(connection) = self.connections[id.index()].as_mut() else { return };
        let Stage::Open(link) = &mut connection.stage else { return };
        // Behind a send in flight it waits: however many a device that does not read asks for, it gets one.
        if !link.sealer.update_due() || connection.outbox.is_in_flight() {
            return;
        }
        let sealer = &mut link.sealer;
        let sealed = connection.outbox.seal(&mut self.output, UPDATE_LEN, UPDATE_LEN, |out| {
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
        let Some(connection) = self.connection(id) else { return Ok(()) };
        match connection.outbox.finished(result) {
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
        if let Some(connection) = self.connections[id.index()].as_mut()
            && connection.poll == Poll::Idle
        {
            let token = connection.token(POLL);
            self.ring.poll_multishot(connection.socket.as_fd(), token, Interest::Read)?;
            connection.poll = Poll::Multi;
        }
        Ok(())
    }

    /// The device is welcome: it may send cells of all sizes.
    pub(super) fn welcomed(&mut self, id: ConnId) -> Result<(), ShardError> {
        let Some(connection) = self.connection(id) else { return Ok(()) };
        let Some(link) = connection.link() else { return Ok(()) };
        if matches!(link.who, Who::Introduced) {
            link.who = Who::Welcome;
            link.inbound.allow(Class::C7);
            // Many devices have nothing to say for a while.
            if link.put_keys_away() {
                self.metrics.keys_put_away.add(1);
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
