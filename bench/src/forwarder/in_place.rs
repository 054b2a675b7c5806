//! Cells that leave from where they came in, as in the relay's shards, for drivers that send at once.

use std::ops::Range;

use hushwire_relay::transport::limits::RECORD_HEADER_BYTES;
use hushwire_relay::transport::{framed_len, unframe};
use hushwire_wire::cell::{HEADER_LEN, Kind, lane_of, readdress, set_counter};

use super::connection::{Connection, Place, Stage};
use super::{Driver, Forwarder, Over};

/// Records one behind the other that are sealed for one recipient, and have not left.
pub(super) struct Run {
    to: u32,
    records: Range<usize>,
}

impl<D: Driver> Forwarder<D> {
    /// Like [`route`](Self::route), for a cell in its records, which may leave from where it is.
    #[inline(never)]
    pub(super) fn route_framed(
        &mut self,
        index: u32,
        scratch: &mut [u8],
        records: Range<usize>,
        run: &mut Option<Run>,
    ) -> Result<(), Over> {
        let header_at = records.start + RECORD_HEADER_BYTES;
        let header = &mut scratch[header_at..header_at + HEADER_LEN];
        if header[0] == Kind::Unicast as u8 {
            let Some(to) = self.recipient(index, header)? else { return Ok(()) };
            let continues = run
                .as_ref()
                .is_none_or(|run| run.to == to.index && run.records.end == records.start);
            if continues && self.may_seal_in_place(to.index) {
                let sender = self.link(index).ok_or(Over)?.device;
                readdress(header, &sender);
                if self.seal_in_place(to.index, &mut scratch[records.clone()]) {
                    let start = run.as_ref().map_or(records.start, |run| run.records.start);
                    *run = Some(Run { to: to.index, records: start..records.end });
                }
                return Ok(());
            }
        }
        self.send_run(run, scratch);
        let cell = unframe(scratch, records);
        self.route(index, &mut scratch[cell])
    }

    /// Whether nothing waits for the connection in front of which a record must not leave.
    fn may_seal_in_place(&mut self, to: u32) -> bool {
        let Some(connection) = self.slots[to as usize].connection.as_deref() else { return false };
        let Stage::Open(link) = &connection.stage else { return false };
        connection.outbox.is_empty() && !link.sealer.update_due()
    }

    /// Seals a cell in the records it fills. Whether that went well.
    fn seal_in_place(&mut self, to: u32, records: &mut [u8]) -> bool {
        let Some(link) = self.link(to) else { return false };
        let header = &mut records[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + HEADER_LEN];
        set_counter(header, link.counters.take(lane_of(header)));
        let sealed = link.sealer.seal_in_place(records).is_ok();
        self.routed.add(framed_len(records.len()));
        if !sealed {
            self.close(to);
        }
        sealed
    }

    /// Sends a run from where it stands.
    pub(super) fn send_run(&mut self, run: &mut Option<Run>, scratch: &[u8]) {
        let Some(Run { to, records }) = run.take() else { return };
        let sealed = &scratch[records];
        let slot = &mut self.slots[to as usize];
        let Some(connection) = slot.connection.as_deref_mut() else { return };
        if connection.is_closing() {
            return;
        }
        let place = Place { index: to, generation: slot.generation };
        let Connection { port, outbox, .. } = connection;
        if self.driver.send_past(place, port, outbox, sealed).is_err() {
            self.close(to);
        }
    }
}
