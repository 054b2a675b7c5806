//! What is on its way to a device: cells gathered lane by lane, handed to the streams in one piece each.
//!
//! quinn-proto looks for bytes to send by walking over the pieces that are not acknowledged, so a piece for every small
//! cell would cost more the more there are. Cells are gathered until the shard flushes.

use bytes::Bytes;
use hushwire_engine::Time;
use hushwire_wire::filler::Filler;
use hushwire_wire::limits::LANES;
use quinn_proto::{Connection, Dir, Side, StreamId, Transmit, WriteError};

use super::incoming_lanes::LaneFault;
use super::limits::LANE_STUCK_MS;

const LANE_COUNT: usize = LANES as usize;
/// The first piece of a lane has room for so many bytes, and later ones for as many as the last one had.
const PIECE_BYTES_MIN: u32 = 512;

/// One lane towards a device.
#[derive(Debug, Default)]
struct Lane {
    /// What a flush could not hand over.
    waiting: Bytes,
    /// Cells since the last flush.
    gathered: Vec<u8>,
    /// What the engine charged for both.
    charge: usize,
    /// When the stream last refused, if nothing has been taken since.
    refused_at: Option<Time>,
}

impl Lane {
    fn len(&self) -> usize {
        self.waiting.len() + self.gathered.len()
    }
}

/// The lanes towards a device.
#[derive(Debug)]
pub(crate) struct LanesOut {
    lanes: [Lane; LANE_COUNT],
    /// Streams opened: a stream opens all below it.
    opened: usize,
    /// A bit for each lane that has refused and not announced room since.
    full: u8,
    /// A bit for each lane that has no credit while others have.
    stuck: u8,
    piece_bytes: u32,
    /// Bytes gathered since the last flush.
    gathered: usize,
    filler: Filler,
}

/// What a flush came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    /// The charge of what the streams have taken, or what waits on a lane of its own.
    pub(crate) charge: usize,
    /// Lanes that have got stuck: a bit each.
    pub(crate) stuck: u8,
    /// Lanes that are not stuck any more.
    pub(crate) free: u8,
}

impl Default for LanesOut {
    fn default() -> Self {
        Self {
            lanes: Default::default(),
            opened: 0,
            full: 0,
            stuck: 0,
            piece_bytes: PIECE_BYTES_MIN,
            gathered: 0,
            filler: Filler::default(),
        }
    }
}

impl LanesOut {
    /// Gathers a whole cell.
    #[inline]
    pub(crate) fn push(&mut self, lane: usize, cell: &[u8], charge: usize) {
        self.gathered += cell.len();
        let lane = &mut self.lanes[lane];
        if lane.gathered.is_empty() {
            lane.gathered.reserve_exact(cell.len().max(self.piece_bytes as usize));
        }
        lane.gathered.extend_from_slice(cell);
        lane.charge += charge;
    }

    /// Bytes gathered since the last flush.
    pub(crate) const fn gathered(&self) -> usize {
        self.gathered
    }

    /// Bytes that wait on lanes that are stuck.
    pub(crate) fn stuck_bytes(&self) -> usize {
        (0..LANE_COUNT).filter(|at| self.stuck >> at & 1 == 1).map(|at| self.lanes[at].len()).sum()
    }

    /// A stream has room again.
    pub(crate) fn note_writable(&mut self, stream: StreamId) {
        if stream.index() < u64::from(LANES) {
            self.full &= !(1 << stream.index());
        }
    }

    /// More streams may be opened.
    pub(crate) fn note_available(&mut self) {
        let opened = 1u8.checked_shl(self.opened as u32).map_or(u8::MAX, |bit| bit - 1);
        self.full &= opened;
    }

    /// Hands over what was gathered, as far as there is credit.
    ///
    /// A lane that is refused although the connection has room has no credit of its own: its device does not read it.
    /// After [`LANE_STUCK_MS`] what waits there is no longer charged, so that the other lanes go on. Call again at
    /// [`deadline`](Self::deadline).
    ///
    /// # Errors
    /// The device has stopped a lane.
    pub(crate) fn hand_over(
        &mut self,
        connection: &mut Connection,
        now: Time,
    ) -> Result<Handed, LaneFault> {
        let mut handed = Handed::default();
        self.gathered = 0;
        for at in 0..LANE_COUNT {
            let bit = 1 << at;
            if self.lanes[at].len() == 0 || self.full & bit != 0 {
                continue;
            }
            if !self.open(connection, at) {
                self.full |= bit;
                continue;
            }
            let lane = &mut self.lanes[at];
            let written = lane.write(connection, at, &mut self.piece_bytes)?;
            self.filler.wrote(at, written);
            if lane.len() > 0 {
                self.full |= bit;
                lane.refused_at =
                    Some(if written > 0 { now } else { lane.refused_at.unwrap_or(now) });
                continue;
            }
            lane.refused_at = None;
            handed.charge += std::mem::take(&mut lane.charge);
            if self.stuck & bit != 0 {
                self.stuck &= !bit;
                handed.free |= bit;
            }
        }
        if self.deadline().is_some_and(|at| at <= now) {
            if self.has_room(connection) {
                handed.stuck = self.find_stuck(now, &mut handed.charge);
            } else {
                // It is the connection that is slow: all lanes have their time once more.
                let refused = self.lanes.iter_mut().filter(|lane| lane.refused_at.is_some());
                refused.for_each(|lane| lane.refused_at = Some(now));
            }
        }
        Ok(handed)
    }

    /// Fills the datagrams up that what was handed over will leave in, unless more waits for credit. To be called before
    /// they are made.
    pub(crate) fn fill_up(&mut self, connection: &mut Connection) {
        let is_all = self.full & !self.stuck == 0 && !connection.is_handshaking();
        let mtu = usize::from(connection.current_mtu());
        let mut datagrams = connection.datagrams();
        let largest = datagrams.max_size().filter(|_| is_all);
        if let Some(fill) = self.filler.fill(largest, mtu) {
            // Where one waits already, it will do.
            let _unfilled = datagrams.send(Bytes::from_static(fill), false);
        }
    }

    /// Takes note of datagrams that have been made.
    pub(crate) fn have_left(&mut self, transmit: &Transmit, connection: &Connection) {
        let mtu = usize::from(connection.current_mtu());
        self.filler.left(transmit.size, transmit.segment_size, mtu);
    }

    /// When a lane that is refused may turn out to be stuck.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let lanes = self.lanes.iter().enumerate();
        let refused = lanes.filter(|(at, _)| self.full & !self.stuck & (1 << at) != 0);
        let since = refused.filter_map(|(_, lane)| lane.refused_at).min()?;
        Some(since.after_millis(LANE_STUCK_MS))
    }

    /// Whether the connection would take bytes of a lane that has credit: asked of one that was not refused. Where there is
    /// none, nobody is held up.
    fn has_room(&mut self, connection: &mut Connection) -> bool {
        let Some(lane) = (0..LANE_COUNT).find(|at| self.full & (1 << at) == 0) else {
            return false;
        };
        let stream = StreamId::new(Side::Server, Dir::Uni, lane as u64);
        self.open(connection, lane) && connection.send_stream(stream).write(&[]).is_ok()
    }

    /// The connection has room: whoever has been refused for long lacks credit of its own.
    fn find_stuck(&mut self, now: Time, charge: &mut usize) -> u8 {
        let mut found = 0;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let since = lane.refused_at.filter(|_| self.full & !self.stuck & (1 << at) != 0);
            if since.is_some_and(|since| since.after_millis(LANE_STUCK_MS) <= now) {
                found |= 1 << at;
                *charge += std::mem::take(&mut lane.charge);
            }
        }
        self.stuck |= found;
        found
    }

    fn open(&mut self, connection: &mut Connection, lane: usize) -> bool {
        while self.opened <= lane {
            if connection.streams().open(Dir::Uni).is_none() {
                return false;
            }
            self.opened += 1;
        }
        true
    }
}

impl Lane {
    /// Bytes that the stream took.
    fn write(
        &mut self,
        connection: &mut Connection,
        lane: usize,
        piece_bytes: &mut u32,
    ) -> Result<usize, LaneFault> {
        let mut taken = 0;
        let mut stream = connection.send_stream(StreamId::new(Side::Server, Dir::Uni, lane as u64));
        loop {
            if self.waiting.is_empty() {
                if self.gathered.is_empty() {
                    return Ok(taken);
                }
                *piece_bytes = (self.gathered.len() as u32).max(PIECE_BYTES_MIN);
                self.waiting = Bytes::from(std::mem::take(&mut self.gathered));
            }
            match stream.write_chunks(std::slice::from_mut(&mut self.waiting)) {
                // What is left is offered again: room is announced only after a refusal.
                Ok(written) => taken += written.bytes,
                Err(WriteError::Blocked) => return Ok(taken),
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    return Err(LaneFault::Stopped);
                }
            }
        }
    }
}
