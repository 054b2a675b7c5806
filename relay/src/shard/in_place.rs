//! Cells that leave from where they came in.
//!
//! A large cell fills its records, and they are as long when it leaves. So they are sealed again where they were opened, and
//! those that follow each other are sent from there together: nothing is copied, and half as much memory passes through the
//! cache. Whatever else happens to the recipient has to wait until such a run has left, for records and counters are in
//! order; so a run ends with the receive, and with the first cell that does not continue it.

use std::ops::Range;
use std::os::fd::AsFd as _;

use hushwire_engine::{ConnId, Stage as Egressing, Time, Verdict};
use hushwire_wire::cell::{HEADER_LEN, lane_of, set_counter};

use super::connection::{Connection, Stage, Tcp, Wire};
use super::output::Follows;
use super::reading::Stop;
use super::{Shard, seconds};
use crate::transport::limits::RECORD_HEADER_BYTES;
use crate::transport::unframe;

/// Records one behind the other that are sealed for one recipient, and have not left.
#[derive(Debug)]
pub(super) struct Run {
    to: ConnId,
    records: Range<usize>,
}

impl Shard {
    /// Like [`route`](Self::route), for a cell in its records, which may leave from where it is: it continues `run` or begins one, or ends it
    /// and goes another way.
    #[inline(never)]
    pub(super) fn route_framed(
        &mut self,
        id: ConnId,
        scratch: &mut [u8],
        records: Range<usize>,
        run: &mut Option<Run>,
        now: Time,
    ) -> Result<(), Stop> {
        let header_at = records.start + RECORD_HEADER_BYTES;
        let header = &mut scratch[header_at..header_at + HEADER_LEN];
        let (class, verdict) = self.judge(id, header, now)?;
        if let Verdict::Forward { to, stage: Egressing::Sealed } = verdict
            && run.as_ref().is_none_or(|run| run.to == to && run.records.end == records.start)
            && self.may_seal_in_place(to)
        {
            self.readdress(id, header);
            if self.seal_in_place(to, &mut scratch[records.clone()], now) {
                let start = run.as_ref().map_or(records.start, |run| run.records.start);
                *run = Some(Run { to, records: start..records.end });
            }
            return Ok(());
        }
        let is_queued = matches!(verdict, Verdict::Forward { stage: Egressing::Queued, .. });
        if !is_queued {
            self.send_run(run, scratch, Follows::More, now);
        }
        let cell = unframe(scratch, records);
        let followed = self.follow(id, verdict, class, &mut scratch[cell], now);
        // A cell is queued behind bytes that have not left, to be fetched when they have: if those are the run, it is stored first.
        self.send_run(run, scratch, Follows::More, now);
        followed
    }

    /// Whether nothing of the connection waits, neither bytes nor a KeyUpdate, in front of which a record must not leave.
    fn may_seal_in_place(&self, to: ConnId) -> bool {
        match self.connections[to.index()].as_ref().map(|connection| &connection.wire) {
            Some(Wire::Tcp(Tcp { stage: Stage::Open(link), outbox, .. })) => {
                outbox.is_empty() && !link.sealer.update_due()
            }
            Some(Wire::Tcp(_) | Wire::Quic(_)) | None => false,
        }
    }

    /// Seals a cell in the records it fills. Whether that went well.
    fn seal_in_place(&mut self, to: ConnId, records: &mut [u8], now: Time) -> bool {
        let Some(connection) = self.connections[to.index()].as_mut() else {
            unreachable!("the engine sends to connections that exist")
        };
        assert_eq!(connection.id, to, "the engine sends to the connection it means");
        connection.used_s = seconds(now);
        let header = &mut records[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + HEADER_LEN];
        set_counter(header, connection.counters.take(lane_of(header)));
        let Some(link) = connection.link() else { return false };
        match link.sealer.seal_in_place(records) {
            Ok(()) => {
                self.metrics.bytes_out.add(records.len() as u64);
                true
            }
            Err(fault) => {
                self.sealing_failed(to, &fault);
                false
            }
        }
    }

    /// Sends a run from where it stands.
    pub(super) fn send_run(
        &mut self,
        run: &mut Option<Run>,
        scratch: &[u8],
        follows: Follows,
        now: Time,
    ) {
        let Some(Run { to, records }) = run.take() else { return };
        // The engine has charged sealed cells, which are these bytes.
        let (charge, sealed) = (records.len(), &scratch[records]);
        let Some(tcp) = self.connections[to.index()].as_mut().and_then(Connection::tcp) else {
            return;
        };
        let flushed = tcp.outbox.send_past(tcp.socket.as_fd(), charge, sealed, follows);
        self.flushed(to, flushed, now);
        // For what the kernel holds back, and what was queued.
        self.mark_dirty(to);
    }
}
