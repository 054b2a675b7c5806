//! The lanes of a connection: one unidirectional stream each (`PROTOCOL.md` §2.3), whole cells one behind the other.

use bytes::Bytes;
use hushwire_wire::cell::lane_of;
use hushwire_wire::filler::Filler;
use hushwire_wire::limits::LANES;
use quinn_proto::{Connection, Dir, ReadError, ReadableError, StreamId, Transmit, WriteError};

use crate::io::limits::{LANE_TURN_BYTES, READ_BYTES_MAX};
use crate::link::{LinkError, cell_len};

const LANE_COUNT: usize = LANES as usize;

/// A queue of bytes.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    at: usize,
}

impl Queue {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes so many bytes off the front.
    fn take(&mut self, count: usize) -> &mut [u8] {
        let start = self.at;
        self.at += count;
        &mut self.bytes[start..self.at]
    }
}

/// What the relay sends. A lane whose next cell is not whole holds up no other.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    lanes: [Queue; LANE_COUNT],
    /// Lanes in which the connection has something that is not read yet.
    readable: [bool; LANE_COUNT],
    buffered: usize,
    /// The lane whose cells are handed out.
    turn: usize,
    broken: Option<&'static str>,
}

impl Inbound {
    /// Something has come on a stream of the relay's.
    pub(super) fn on_readable(&mut self, id: StreamId) {
        match usize::try_from(id.index()).ok().and_then(|lane| self.readable.get_mut(lane)) {
            Some(readable) if id.dir() == Dir::Uni => *readable = true,
            Some(_) | None => self.broken = Some("a stream is no lane"),
        }
    }

    /// The relay wants no more of a lane.
    pub(super) const fn on_stopped(&mut self) {
        self.broken = Some("a lane was stopped");
    }

    /// Whether there is something that [`Inbound::read`] would find.
    pub(super) fn is_readable(&self) -> bool {
        self.readable.contains(&true)
    }

    /// Reads every lane as far as there is room: what stays behind has no credit and stops the relay.
    pub(super) fn read(&mut self, connection: &mut Connection) {
        for lane in 0..LANE_COUNT {
            if !self.readable[lane] {
                continue;
            }
            let id = StreamId::new(quinn_proto::Side::Server, Dir::Uni, lane as u64);
            let mut stream = connection.recv_stream(id);
            let mut chunks = match stream.read(true) {
                Ok(chunks) => chunks,
                Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
                    self.readable[lane] = false;
                    continue;
                }
            };
            while self.buffered < READ_BYTES_MAX {
                match chunks.next(READ_BYTES_MAX) {
                    Ok(Some(chunk)) => {
                        self.buffered += chunk.bytes.len();
                        self.lanes[lane].append(&chunk.bytes);
                        continue;
                    }
                    Ok(None) => self.broken = Some("a lane was finished"),
                    Err(ReadError::Reset(_)) => self.broken = Some("a lane was reset"),
                    Err(ReadError::Blocked) => {}
                }
                self.readable[lane] = false;
                break;
            }
        }
    }

    /// The next whole cell. Only behind the last one is told what the relay has broken.
    pub(super) fn next_cell(&mut self) -> Result<Option<&mut [u8]>, LinkError> {
        for lane in (self.turn..LANE_COUNT).chain(0..self.turn) {
            let rest = self.lanes[lane].rest();
            let Some(&first) = rest.first_chunk::<2>() else { continue };
            let length = cell_len(first)?;
            let Some(cell) = rest.get(..length) else { continue };
            if lane_of(cell) != lane {
                return Err(LinkError::Malformed("a cell came on another lane than its own"));
            }
            self.turn = lane;
            self.buffered -= length;
            return Ok(Some(self.lanes[lane].take(length)));
        }
        match self.broken {
            Some(broken) => Err(LinkError::Malformed(broken)),
            None => Ok(None),
        }
    }
}

/// What this end sends.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    lanes: [Queue; LANE_COUNT],
    /// The streams of the first lanes: a stream is opened together with those below it.
    streams: Vec<StreamId>,
    unsent: usize,
    /// The lane that is served first.
    turn: usize,
    filler: Filler,
}

impl Outbound {
    /// Takes whole cells.
    pub(super) fn push(&mut self, mut cells: &[u8]) {
        self.unsent += cells.len();
        while let Some(&first) = cells.first_chunk::<2>() {
            let (cell, rest) = cells.split_at(cell_len(first).expect("our own cell"));
            self.lanes[lane_of(cell)].append(cell);
            cells = rest;
        }
    }

    /// Bytes that wait for credit, the congestion window or a lane to be granted.
    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Hands to the connection what it takes, the lanes in turn.
    pub(super) fn write(&mut self, connection: &mut Connection) {
        let mut blocked = [false; LANE_COUNT];
        while self.unsent > 0 && blocked.contains(&false) {
            let lane = self.turn;
            self.turn = (lane + 1) % LANE_COUNT;
            if !blocked[lane] {
                blocked[lane] = !self.write_lane(lane, connection);
            }
        }
    }

    /// `false` where nothing more goes on this lane at present.
    fn write_lane(&mut self, lane: usize, connection: &mut Connection) -> bool {
        if self.lanes[lane].rest().is_empty() {
            return false;
        }
        while self.streams.len() <= lane {
            let Some(id) = connection.streams().open(Dir::Uni) else { return false };
            self.streams.push(id);
        }
        let rest = self.lanes[lane].rest();
        let bytes = &rest[..rest.len().min(LANE_TURN_BYTES)];
        match connection.send_stream(self.streams[lane]).write(bytes) {
            Ok(written) => {
                self.lanes[lane].take(written);
                self.filler.wrote(lane, written);
                self.unsent -= written;
                true
            }
            // That the lane was stopped, or the connection is gone, is told as an event.
            Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => false,
        }
    }

    /// Fills the datagrams up that what was written will leave in, unless more waits. To be called before they are made.
    pub(super) fn fill_up(&mut self, connection: &mut Connection) {
        let is_all = self.unsent == 0 && !connection.is_handshaking();
        let mtu = usize::from(connection.current_mtu());
        let mut datagrams = connection.datagrams();
        let largest = datagrams.max_size().filter(|_| is_all);
        if let Some(fill) = self.filler.fill(largest, mtu) {
            // Where one waits already, it will do.
            let _unfilled = datagrams.send(Bytes::from_static(fill), false);
        }
    }

    /// Takes note of datagrams that have been made.
    pub(super) fn have_left(&mut self, transmit: &Transmit, connection: &Connection) {
        let mtu = usize::from(connection.current_mtu());
        self.filler.left(transmit.size, transmit.segment_size, mtu);
    }

    /// Whether the relay has acknowledged all that was handed to the connection. quinn-proto does not say so; but where a
    /// window of one byte is open, it holds nothing that is not acknowledged. The next [`Outbound::write`] must come
    /// behind a new window.
    pub(super) fn is_acknowledged(&self, connection: &mut Connection) -> bool {
        let Some(&any) = self.streams.first() else { return true };
        connection.set_send_window(1);
        connection.send_stream(any).write(&[]) != Err(WriteError::Blocked)
    }
}

#[cfg(test)]
mod tests {
    use hushwire_wire::cell::{Class, Header};

    use super::*;

    fn cell(class: Class, lane: u32, counter: u64) -> Vec<u8> {
        let mut cell = Header::cover(class, lane, counter).encode().to_vec();
        cell.resize(class.cell_len(), 0);
        cell
    }

    fn lane_and_counter(cell: &[u8]) -> (usize, u8) {
        (lane_of(cell), cell[8])
    }

    #[test]
    fn a_cell_that_is_not_whole_holds_up_its_own_lane_only() {
        let mut inbound = Inbound::default();
        let (whole, mut cut) = (cell(Class::C0, 5, 0), cell(Class::C3, 0, 0));
        let rest = cut.split_off(1_000);
        inbound.lanes[0].append(&cut);
        inbound.lanes[5].append(&whole);
        inbound.lanes[5].append(&cell(Class::C0, 5, 1));
        inbound.buffered = 1_000 + 2 * 256;
        let check = |inbound: &mut Inbound, expect: Option<(usize, u8)>| {
            let found = inbound.next_cell().expect("good cells");
            assert_eq!(found.map(|cell| lane_and_counter(cell)), expect);
        };
        check(&mut inbound, Some((5, 0)));
        check(&mut inbound, Some((5, 1)));
        check(&mut inbound, None);
        inbound.lanes[0].append(&rest);
        inbound.buffered += rest.len();
        check(&mut inbound, Some((0, 0)));
        check(&mut inbound, None);
        assert_eq!(inbound.buffered, 0);
    }

    #[test]
    fn what_broke_is_told_behind_the_last_whole_cell() {
        let mut inbound = Inbound { broken: Some("a lane was finished"), ..Inbound::default() };
        inbound.lanes[2].append(&cell(Class::C1, 2, 7));
        inbound.buffered = 512;
        assert!(inbound.next_cell().is_ok_and(|cell| cell.is_some()));
        let broken = LinkError::Malformed("a lane was finished");
        assert_eq!(inbound.next_cell().expect_err("broken"), broken);
    }

    #[test]
    fn a_cell_belongs_on_its_own_lane() {
        let mut inbound = Inbound::default();
        inbound.lanes[2].append(&cell(Class::C0, 3, 0));
        assert!(matches!(inbound.next_cell(), Err(LinkError::Malformed(_))));
        let mut inbound = Inbound::default();
        inbound.lanes[2].append(&[0, 8]);
        assert!(matches!(inbound.next_cell(), Err(LinkError::Header(_))));
    }

    #[test]
    fn only_eight_unidirectional_streams_are_lanes() {
        for (dir, index, good) in
            [(Dir::Uni, 0, true), (Dir::Uni, 7, true), (Dir::Uni, 8, false), (Dir::Bi, 0, false)]
        {
            let mut inbound = Inbound::default();
            inbound.on_readable(StreamId::new(quinn_proto::Side::Server, dir, index));
            assert_eq!(inbound.broken.is_none(), good, "{dir:?} {index}");
            assert_eq!(inbound.is_readable(), good, "{dir:?} {index}");
        }
    }
}
