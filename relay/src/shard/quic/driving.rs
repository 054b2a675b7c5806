//! What connections have to tell, and the cells that came on their lanes.

use hushwire_engine::{ConnId, Time};
use hushwire_wire::cell::lane_of;
use quinn_proto::ConnectionError;

use crate::shard::connection::{Connection, Who};
use crate::shard::limits::READS_PER_TURN;
use crate::shard::reading::Stop;
use crate::shard::{Shard, ShardError};
use crate::transport::quic::{LaneFault, LaneRead, whole_cell};

impl Shard {
    /// Hears every connection that has something to tell.
    pub(in crate::shard) fn drive_stirred(&mut self, now: Time) -> Result<(), ShardError> {
        let Some(quic) = &mut self.quic else { return Ok(()) };
        let mut stirred = std::mem::take(&mut quic.stirred);
        for id in stirred.drain(..) {
            let Some(wire) = self.connection(id).and_then(Connection::quic) else { continue };
            wire.stirred = false;
            if let Err(stop) = self.drive(id, now) {
                self.stop_reading(id, stop, now)?;
            }
            self.carry_out(now)?;
            if self.connection(id).is_some() {
                self.mark_dirty(id);
                self.flush_if_many(now);
            }
        }
        if let Some(quic) = &mut self.quic {
            stirred.append(&mut quic.stirred);
            quic.stirred = stirred;
        }
        Ok(())
    }

    fn drive(&mut self, id: ConnId, now: Time) -> Result<(), Stop> {
        let Some(connection) = self.connection(id) else { return Ok(()) };
        let is_deaf = connection.deaf;
        let Some(wire) = connection.quic() else { return Ok(()) };
        wire.listen();
        let (lost, fault) = (wire.lost.take(), wire.fault.take());
        if std::mem::take(&mut wire.connected) && std::mem::take(&mut wire.handshaking) {
            self.accepting.handshake_over();
        }
        match lost {
            None => {}
            Some(ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_)) => {
                return Err(Stop::PeerClosed);
            }
            Some(reason) => {
                tracing::debug!(%reason, connection = id.index(), "a QUIC connection is lost");
                return Err(Stop::Broken);
            }
        }
        if is_deaf {
            return Ok(());
        }
        if let Some(fault) = fault {
            return Err(Stop::Lane(fault));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let outcome = self.read_lanes(id, &mut scratch, now);
        self.scratch = scratch;
        outcome
    }

    /// Reads lanes until they are empty or the connection's turn is over; then it is stirred for the next.
    fn read_lanes(&mut self, id: ConnId, scratch: &mut [u8], now: Time) -> Result<(), Stop> {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get_mut(id.index()).and_then(Option::as_mut)
            else {
                return Ok(());
            };
            // What follows HELLO is read where the device is welcome.
            if connection.id != id || matches!(connection.who, Who::Introduced) {
                return Ok(());
            }
            let Some(wire) = connection.quic() else { return Ok(()) };
            let Some(lane) = wire.incoming.next_readable() else { return Ok(()) };
            let read = wire
                .incoming
                .read(&mut wire.inner, lane, scratch, &mut self.carry)
                .map_err(Stop::Lane)?;
            self.work_through_lane(id, lane, scratch, &read, now)?;
        }
        self.stir(id);
        Ok(())
    }

    /// Routes the whole cells of one lane; keeps the rest.
    fn work_through_lane(
        &mut self,
        id: ConnId,
        lane: usize,
        scratch: &mut [u8],
        read: &LaneRead,
        now: Time,
    ) -> Result<(), Stop> {
        let mut at = 0;
        loop {
            let Some(connection) = self.connection(id) else { return Ok(()) };
            let fault = |fault| Stop::Lane(LaneFault::Cell(fault));
            let class_max = connection.class_max();
            let Some(len) = whole_cell(&scratch[at..read.end], class_max).map_err(fault)? else {
                break;
            };
            let cell = &mut scratch[at..at + len];
            if lane_of(cell) != lane {
                return Err(Stop::Lane(LaneFault::Astray));
            }
            self.route(id, cell, now)?;
            at += len;
        }
        let since_ns = read.since_ns.filter(|_| at == 0).unwrap_or(now.as_nanos());
        self.keep_rest_of_lane(id, lane, &scratch[at..read.end], since_ns, now)
    }

    /// Puts a partial cell away; where the pool is empty, whoever has been partial longest goes.
    fn keep_rest_of_lane(
        &mut self,
        id: ConnId,
        lane: usize,
        rest: &[u8],
        since_ns: u64,
        now: Time,
    ) -> Result<(), Stop> {
        loop {
            let Some(connection) = self.connections.get_mut(id.index()).and_then(Option::as_mut)
            else {
                return Ok(());
            };
            let Some(wire) = connection.quic() else { return Ok(()) };
            if wire.incoming.keep(lane, rest, since_ns, &mut self.carry).is_ok() {
                return Ok(());
            }
            self.evict_longest_partial(id, now)?;
        }
    }
}
