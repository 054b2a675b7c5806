//! The path of a cell: received, opened, readdressed, sealed, sent.

use std::os::fd::AsFd as _;

use aws_lc_rs::rand;
use hushwire_relay::transport::{Cursor, Event, Fault, Progress, sealed_len};
use hushwire_uring::Token;
use hushwire_uring::sockets::{self, Received};
use hushwire_wire::cell::{Class, HEADER_LEN, Kind, PEER_OFFSET, lane_of, readdress, set_counter};
use hushwire_wire::control::{Control, CoverMode, HopLimits, Welcome, disclose, enclose};
use hushwire_wire::id::{DeviceId, RelayId};
use hushwire_wire::limits::VERSION;

use super::connection::{Link, Route, Stage};
use super::output::Flushed;
use super::{Floor, SEND};
use crate::limits::{FLUSH_BYTES, READ_BYTES, READS_PER_TURN};

/// The connection is to be closed.
struct Over;

impl From<Fault> for Over {
    fn from(_: Fault) -> Self {
        Self
    }
}

impl Floor {
    /// Reads one connection until it is dry or others have waited long enough.
    pub(super) fn read(&mut self, index: u32) {
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
                    self.close(index);
                    break;
                }
            }
        }
        self.scratch = scratch;
        if self.dirty.len() >= self.policy.recipients_max {
            self.flush_all();
        }
    }

    /// One receive. Whether there may be more.
    fn read_once(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, Over> {
        let Some(connection) = self.slots[index as usize].connection.as_deref_mut() else {
            return Ok(false);
        };
        let mut cursor = match &mut connection.stage {
            Stage::Open(link) => link.inbound.begin(scratch, &mut self.carry),
            Stage::Handshaking(_) => Cursor::over(0),
            Stage::Closing => return Ok(false),
        };
        let at = cursor.end();
        let room = &mut scratch[at..at + READ_BYTES];
        let count = match sockets::recv(connection.socket.as_fd(), room) {
            Ok(Received::Bytes(count)) => count,
            Ok(Received::Empty) => 0,
            Ok(Received::End) | Err(_) => return Err(Over),
        };
        // A short receive found everything there was, unless an end was announced with it.
        let more = count == READ_BYTES || (connection.end_follows && count > 0);
        if matches!(connection.stage, Stage::Handshaking(_)) {
            if count > 0 {
                self.shake(index, scratch, count)?;
            }
        } else {
            cursor.received(count);
            self.forward(index, scratch, &mut cursor)?;
        }
        Ok(more)
    }

    /// Opens the records at the cursor, one after the other, and passes their cells on.
    fn forward(&mut self, index: u32, scratch: &mut [u8], cursor: &mut Cursor) -> Result<(), Over> {
        loop {
            let link = self.link(index).ok_or(Over)?;
            match link.inbound.next(scratch, cursor, 0)? {
                Event::Cell(range) => self.route(index, &mut scratch[range])?,
                Event::NeedMore => break,
                Event::AnswerKeyUpdate => link.sealer.request_update(),
                Event::Closed => return Err(Over),
            }
        }
        let Some(connection) = self.slots[index as usize].connection.as_deref_mut() else {
            return Err(Over);
        };
        let Stage::Open(link) = &mut connection.stage else { return Err(Over) };
        link.inbound.end(scratch, cursor, &mut self.carry, 0).map_err(|_| Over)
    }

    #[inline]
    fn link(&mut self, index: u32) -> Option<&mut Link> {
        match &mut self.slots.get_mut(index as usize)?.connection.as_deref_mut()?.stage {
            Stage::Open(link) => Some(link),
            Stage::Handshaking(_) | Stage::Closing => None,
        }
    }

    #[inline]
    fn route(&mut self, index: u32, cell: &mut [u8]) -> Result<(), Over> {
        if cell[0] != Kind::Unicast as u8 {
            return self.listen(index, cell);
        }
        let link = self.link(index).ok_or(Over)?;
        let sender = link.device;
        let peer = DeviceId::from_slice(&cell[PEER_OFFSET..PEER_OFFSET + DeviceId::LEN]);
        let mut route = link.last;
        if peer != Some(route.peer)
            || self.slots[route.index as usize].generation != route.generation
        {
            let Some(peer) = peer else { return Err(Over) };
            // To nobody: the floor does not even say so.
            let Some(&to) = self.devices.get(&peer) else { return Ok(()) };
            let generation = self.slots[to as usize].generation;
            route = Route { peer, index: to, generation };
            if let Some(link) = self.link(index) {
                link.last = route;
            }
        }
        readdress(cell, &sender);
        self.seal(route.index, cell);
        Ok(())
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
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(to);
        }
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

    pub(super) fn mark_dirty(&mut self, index: u32) {
        if let Some(connection) = self.slots[index as usize].connection.as_deref_mut()
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    /// Sends what the batch produced, each recipient once.
    pub(super) fn flush_all(&mut self) {
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

    fn flush_one(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(connection) = slot.connection.as_deref_mut() else { return };
        if matches!(connection.stage, Stage::Closing) {
            return;
        }
        match connection.outbox.flush(connection.socket.as_fd(), &mut self.output) {
            Flushed::Done => {}
            Flushed::Short(rest) => {
                let token = Token::new(SEND, slot.generation, index);
                if self.ring.send(connection.socket.as_fd(), token, rest, 0).is_err() {
                    let _ = connection.outbox.finished(Ok(0));
                    self.close(index);
                }
            }
            Flushed::Broken => self.close(index),
        }
    }

    /// Goes on with a handshake that received `count` bytes at the front of `scratch`.
    fn shake(&mut self, index: u32, scratch: &mut [u8], count: usize) -> Result<(), Over> {
        let Some(connection) = self.slots[index as usize].connection.as_deref_mut() else {
            return Err(Over);
        };
        let mut flight = Vec::new();
        let mut used = 0;
        let mut established = None;
        while established.is_none() {
            let Stage::Handshaking(handshake) = &mut connection.stage else { return Err(Over) };
            match handshake.advance(&scratch[used..count], &mut flight)? {
                Progress::More { .. } => break,
                Progress::Flight { consumed } => {
                    used += consumed;
                    handshake.send(&challenge().ok_or(Over)?, &mut flight)?;
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
        let mut welcome = enclose(&welcome().encode()).ok_or(Over)?;
        self.seal(index, &mut welcome);
        Ok(())
    }
}

fn challenge() -> Option<Vec<u8>> {
    let mut nonce = [0; 32];
    rand::fill(&mut nonce).ok()?;
    let relay = RelayId::new([0xf1; 32]);
    enclose(&Control::Challenge { nonce, relay, versions: vec![VERSION] }.encode())
}

fn welcome() -> Control {
    Control::Welcome(Welcome {
        shard: 0,
        shards: 1,
        region: "floor".to_owned(),
        cover: CoverMode::Off,
        limits: HopLimits {
            cells_per_s: u32::MAX,
            bytes_per_s: u64::MAX >> 1,
            egress_bytes: u32::MAX,
            idle_ms: u32::MAX,
        },
        replaced: false,
        pins: Vec::new(),
    })
}
