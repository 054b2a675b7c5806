//! The path of a cell: opened, readdressed, sealed.

use hushwire_relay::transport::{Cursor, Event, Progress, sealed_len, unframe};
use hushwire_wire::cell::{Class, HEADER_LEN, Kind, PEER_OFFSET, lane_of, readdress, set_counter};
use hushwire_wire::control::{Control, disclose};
use hushwire_wire::id::DeviceId;

use super::connection::{Link, Place, Route, Stage};
use super::in_place::Run;
use super::{Driver, Forwarder, Over, opening};
use crate::limits::FLUSH_BYTES;

impl<D: Driver> Forwarder<D> {
    /// Goes on with a connection for which `count` bytes were received into `scratch` at the cursor's end.
    #[inline]
    pub(crate) fn received(
        &mut self,
        index: u32,
        scratch: &mut [u8],
        cursor: &mut Cursor,
        count: usize,
    ) -> Result<(), Over> {
        if self.link(index).is_some() {
            cursor.received(count);
            return self.forward(index, scratch, cursor);
        }
        if count > 0 { self.shake(index, scratch, count) } else { Ok(()) }
    }

    /// Opens the records at the cursor, one after the other, and passes their cells on.
    fn forward(&mut self, index: u32, scratch: &mut [u8], cursor: &mut Cursor) -> Result<(), Over> {
        let mut run = None;
        let forwarded = self.forward_whole(index, scratch, cursor, &mut run);
        self.send_run(&mut run, scratch);
        forwarded?;
        let Self { slots, carry, .. } = self;
        let connection = slots[index as usize].connection.as_deref_mut().ok_or(Over)?;
        let Stage::Open(link) = &mut connection.stage else { return Err(Over) };
        link.inbound.end(scratch, cursor, carry, 0).map_err(|_| Over)
    }

    fn forward_whole(
        &mut self,
        index: u32,
        scratch: &mut [u8],
        cursor: &mut Cursor,
        run: &mut Option<Run>,
    ) -> Result<(), Over> {
        loop {
            let link = self.link(index).ok_or(Over)?;
            match link.inbound.next(scratch, cursor, 0)? {
                Event::Framed(records) if D::SENDS_PAST => {
                    self.route_framed(index, scratch, records, run)?;
                }
                Event::Framed(records) => {
                    let cell = unframe(scratch, records);
                    self.route(index, &mut scratch[cell])?;
                }
                Event::Cell(cell) => {
                    if run.is_some() {
                        self.send_run(run, scratch);
                    }
                    self.route(index, &mut scratch[cell])?;
                }
                Event::NeedMore => return Ok(()),
                Event::AnswerKeyUpdate => link.sealer.request_update(),
                Event::Closed => return Err(Over),
            }
        }
    }

    #[inline]
    pub(super) fn link(&mut self, index: u32) -> Option<&mut Link> {
        match &mut self.slots.get_mut(index as usize)?.connection.as_deref_mut()?.stage {
            Stage::Open(link) => Some(link),
            Stage::Handshaking(_) | Stage::Closing => None,
        }
    }

    #[inline]
    pub(super) fn route(&mut self, index: u32, cell: &mut [u8]) -> Result<(), Over> {
        if cell[0] != Kind::Unicast as u8 {
            return self.listen(index, cell);
        }
        let Some(to) = self.recipient(index, cell)? else { return Ok(()) };
        let sender = self.link(index).ok_or(Over)?.device;
        self.routed.add(cell.len());
        readdress(cell, &sender);
        self.seal(to.index, cell);
        Ok(())
    }

    /// Where a unicast cell with this header goes, if anywhere.
    #[inline(always)]
    pub(super) fn recipient(&mut self, index: u32, header: &[u8]) -> Result<Option<Place>, Over> {
        let link = self.link(index).ok_or(Over)?;
        let peer = DeviceId::from_slice(&header[PEER_OFFSET..PEER_OFFSET + DeviceId::LEN]);
        let Route { peer: known, mut to } = link.last;
        if peer != Some(known) || self.slots[to.index as usize].generation != to.generation {
            let Some(peer) = peer else { return Err(Over) };
            // To nobody: it does not even say so.
            let Some(&index_of_peer) = self.devices.get(&peer) else { return Ok(None) };
            let generation = self.slots[index_of_peer as usize].generation;
            to = Place { index: index_of_peer, generation };
            if let Some(link) = self.link(index) {
                link.last = Route { peer, to };
            }
        }
        Ok(Some(to))
    }

    /// Seals a cell into its recipient's output.
    #[inline]
    fn seal(&mut self, to: u32, cell: &mut [u8]) {
        let Some(connection) = self.slots[to as usize].connection.as_deref_mut() else { return };
        let Stage::Open(link) = &mut connection.stage else { return };
        set_counter(cell, link.counters.take(lane_of(cell)));
        let room = sealed_len(cell.len()) + sealed_len(Class::C0.cell_len());
        let sealer = &mut link.sealer;
        let sealed = connection.outbox.seal(&mut self.output, room, |out| {
            let mut used = 0;
            if sealer.update_due() {
                used = sealer.key_update_into(Class::C0.cell_len(), out)?;
            }
            Ok(used + sealer.seal_into(cell, &mut out[used..])?)
        });
        self.mark_dirty(to);
        match sealed {
            Ok(waiting) if waiting >= FLUSH_BYTES => self.flush_one(to),
            Ok(_) => {}
            Err(_) => self.close(to),
        }
        self.held_bytes += cell.len();
        if self.held_bytes >= self.policy.held_bytes_max {
            self.flush_all();
        }
    }

    /// Goes on with a handshake that received `count` bytes at the front of `scratch`.
    fn shake(&mut self, index: u32, scratch: &mut [u8], count: usize) -> Result<(), Over> {
        let connection = self.slots[index as usize].connection.as_deref_mut().ok_or(Over)?;
        let mut flight = Vec::new();
        let mut used = 0;
        let mut established = None;
        while established.is_none() {
            let Stage::Handshaking(handshake) = &mut connection.stage else { return Err(Over) };
            match handshake.advance(&scratch[used..count], &mut flight)? {
                Progress::More { .. } => break,
                Progress::Flight { consumed } => {
                    used += consumed;
                    handshake.send(&opening::challenge().ok_or(Over)?, &mut flight)?;
                }
                Progress::Done { consumed, established: done } => {
                    used += consumed;
                    established = Some(done);
                }
            }
        }
        connection.outbox.append(&mut self.output, &flight);
        let done = established.is_some();
        if let Some(established) = established {
            connection.stage = Stage::Open(Box::new(Link::new(*established)));
        }
        self.mark_dirty(index);
        if done {
            scratch.copy_within(used..count, 0);
            self.forward(index, scratch, &mut Cursor::over(count - used))?;
        }
        Ok(())
    }

    /// What is not unicast: only a HELLO means anything, and any is believed.
    fn listen(&mut self, index: u32, cell: &[u8]) -> Result<(), Over> {
        if cell[0] != Kind::Control as u8 {
            return Ok(());
        }
        let content = disclose(&cell[HEADER_LEN..]).map_err(|_| Over)?;
        let Ok(Control::Hello(hello)) = Control::decode(content) else { return Ok(()) };
        let link = self.link(index).ok_or(Over)?;
        link.device = hello.device;
        link.inbound.allow(Class::C7);
        self.devices.insert(hello.device, index);
        let mut welcome = opening::welcome().ok_or(Over)?;
        self.seal(index, &mut welcome);
        Ok(())
    }
}
