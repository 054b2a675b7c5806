//! How much fills the datagrams of QUIC up (`PROTOCOL.md` §2.3).
//!
//! Cells of eight sizes share datagrams, so that the size of a burst's last one tells their sum. It is hidden by a
//! DATAGRAM frame (RFC 9221) that nobody reads, in place of PADDING frames: common implementations of QUIC can add those
//! to every packet or to none, and a padded acknowledgement costs as much as a cell and counts as in flight (RFC 9002
//! §2) without ever being acknowledged.
//!
//! Nothing but lengths is known here. Whoever drives QUIC says what its streams were given, asks for the fill before it
//! has packets made, and says what became of them.

use core::mem;

use crate::limits::LANES;

const LANE_COUNT: usize = LANES as usize;

/// The first byte of a DATAGRAM frame and its length, of 64 to 16 383 bytes, in front of its content.
const FRAME_BYTES: usize = 3;
/// The first byte of a STREAM frame and the ID of a lane's stream.
const STREAM_BYTES: u8 = 2;
/// The length of a STREAM frame that does not end its packet.
const STREAM_LENGTH_BYTES: usize = 2;

/// Left free for an acknowledgement, with counts of ECN and some ranges, and for what an implementation leaves unused at
/// the end of a packet.
pub const SPARE_BYTES: usize = 64;
/// A datagram that is shorter than the path's MTU by more than this took the last byte that any stream had: before it
/// sends an acknowledgement alone, an implementation sends what may leave. Probes after a loss may be shorter as well, and
/// cost a fill at most.
pub const UNUSED_BYTES_MAX: usize = 25;
/// The most that fills at a time: beyond the MTU of an Ethernet.
const FILL_BYTES_MAX: usize = 1_536;
/// What fills. Nobody reads it, and it is encrypted.
static FILL: [u8; FILL_BYTES_MAX] = [0; FILL_BYTES_MAX];
/// The heads of the longest DATAGRAM frame and of its packet, as bounds: 9, and 1, 20 of the connection ID, 4 of the
/// packet number and 16 of the tag.
const HEADS_BYTES_MAX: usize = 9 + 41;
/// So much more than the largest DATAGRAM frame carries is there for frames: the bound of its head, and of the packet
/// number what is more than two bytes.
const BESIDE_BYTES: usize = 9 + 2;
/// Fills of a peer that are kept until somebody throws them away, in bytes: later ones push earlier ones out.
pub const FILL_RECEIVE_BYTES: usize = 4 * 1024;
/// What waits to leave of fills, in bytes: one, so that they never stand in front of cells.
pub const FILL_SEND_BYTES: usize = 2 * 1024;

/// Fills the datagrams of one direction of one connection.
///
/// A fill makes the sum of a burst's frames come to whole packets, up to [`SPARE_BYTES`] and [`UNUSED_BYTES_MAX`] for each
/// lane but one. It is as exact as the lengths of
/// packet numbers and of STREAM frames can be told beforehand, mostly a byte for each packet, and one that would take a
/// packet of its own is shorter by [`SPARE_BYTES`] again. What joins bytes that wait to leave goes out as it is, for a fill
/// would take room from cells; so does what is sent again after a loss.
///
/// ```
/// use hushwire_wire::filler::{Filler, SPARE_BYTES};
///
/// let mut filler = Filler::default();
/// filler.wrote(0, 256);
/// let fill = filler.fill(Some(1_162), 1_200).expect("a small cell leaves room").len();
/// assert!(256 + fill < 1_162 && 256 + fill + SPARE_BYTES + 16 > 1_162);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filler {
    /// Bytes that each stream has been given: as far as the offsets in its frames go.
    written: [u64; LANE_COUNT],
    /// What the frames of the bytes given since the last fill will take, but for those of further packets.
    frames: usize,
    /// Lanes among those frames, a bit each.
    lanes: u8,
    /// The longest head of such a frame.
    head: u8,
    /// Streams may have more than what is known of here, since what left last was a full packet.
    is_behind: bool,
}

impl Filler {
    /// The stream of `lane` has taken `bytes`, if any.
    ///
    /// # Panics
    /// There is no such lane.
    pub fn wrote(&mut self, lane: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.written[lane] = self.written[lane].saturating_add(bytes as u64);
        self.frames += bytes;
        let head = head_of_frame(self.written[lane]);
        self.head = self.head.max(head);
        if self.lanes & 1 << lane == 0 {
            self.lanes |= 1 << lane;
            self.frames += usize::from(head) + STREAM_LENGTH_BYTES;
        }
    }

    /// The content of the DATAGRAM frame that fills up what has been written since the last call, if one is due.
    ///
    /// `largest` is what the largest such frame may carry now, on a path of this MTU. Say `None` before the handshake has
    /// ended, for the peer's address may not be proved to be its own (RFC 9000 §8), and where more is known to wait than
    /// the streams have taken. Where the peer takes only smaller frames, or none, nothing is filled.
    pub fn fill(&mut self, largest: Option<usize>, mtu: usize) -> Option<&'static [u8]> {
        let frames = mem::take(&mut self.frames);
        let head = usize::from(mem::take(&mut self.head));
        let lanes = mem::take(&mut self.lanes).count_ones() as usize;
        if frames == 0 || mem::replace(&mut self.is_behind, true) {
            return None;
        }
        let largest = largest.filter(|largest| largest + HEADS_BYTES_MAX >= mtu)?;
        let room = largest + BESIDE_BYTES;
        let further = room.checked_sub(head).filter(|&further| further > 0)?;
        // Each lane may end where there is no room for another frame.
        let spare = SPARE_BYTES + UNUSED_BYTES_MAX * (lanes - 1);
        let least = frames + FRAME_BYTES + spare;
        let more_packets = least.saturating_sub(room).div_ceil(further);
        let fill = room + more_packets * further - least;
        // Behind it a STREAM frame still has its place: a packet without would be the measure of those that follow.
        let fill = fill.min(room.saturating_sub(FRAME_BYTES + SPARE_BYTES)).min(largest);
        FILL.get(..fill.min(FILL_BYTES_MAX)).filter(|fill| !fill.is_empty())
    }

    /// Packets have been made: datagrams of `segment` bytes, all of `bytes` together, the last of which may be shorter, on
    /// a path of this MTU.
    pub const fn left(&mut self, bytes: usize, segment: Option<usize>, mtu: usize) {
        let last = match segment {
            Some(segment) if segment > 0 && !bytes.is_multiple_of(segment) => bytes % segment,
            Some(segment) => segment,
            None => bytes,
        };
        if last > 0 && last + UNUSED_BYTES_MAX < mtu {
            self.is_behind = false;
        }
    }
}

/// What is in front of a lane's bytes in a packet, up to this offset (RFC 9000 §16, §19.8).
const fn head_of_frame(offset: u64) -> u8 {
    STREAM_BYTES
        + match offset {
            0..=0x3f => 1,
            0x40..=0x3fff => 2,
            0x4000..=0x3fff_ffff => 4,
            _ => 8,
        }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::cell::Class;

    const MTU: usize = 1_200;
    /// With a connection ID of 8 bytes.
    const LARGEST: usize = MTU - 29 - 9;

    const fn varint(value: u64) -> usize {
        match value {
            0..=0x3f => 1,
            0x40..=0x3fff => 2,
            0x4000..=0x3fff_ffff => 4,
            _ => 8,
        }
    }

    /// Bytes of frames in the packets of a burst, as quinn-proto makes them: acknowledgement, DATAGRAM, STREAM frames in
    /// turns. A frame that its stream does not fill has its length, for which 8 bytes are allowed; with 25 bytes left no
    /// frame is begun; and no packet is larger than the first.
    fn packets(room: usize, ack: usize, fill: usize, lanes: &[(u64, usize)]) -> Vec<usize> {
        let mut lanes: VecDeque<_> = lanes.iter().copied().filter(|(_, left)| *left > 0).collect();
        let (mut packets, mut fill, mut room) = (Vec::new(), Some(fill), room);
        while !lanes.is_empty() || fill.is_some() {
            let mut used = if packets.is_empty() { ack } else { 0 };
            if let Some(bytes) = fill.take_if(|bytes| used + 3 + *bytes <= room) {
                used += 3 + bytes;
            }
            while used + 25 < room {
                let Some((offset, left)) = lanes.pop_front() else { break };
                let head = 2 + if offset == 0 { 0 } else { varint(offset) };
                let most = room - used - head;
                let (taken, length) = match left < most {
                    true => (left.min(most - 8), varint(left.min(most - 8) as u64)),
                    false => (most, 0),
                };
                used += head + length + taken;
                if left > taken {
                    lanes.push_back((offset + taken as u64, left - taken));
                }
            }
            if packets.is_empty() {
                room = used;
            }
            packets.push(used);
        }
        packets
    }

    #[test]
    fn every_class_of_cell_ends_in_a_datagram_of_one_size() {
        for class in Class::ALL {
            let mut filler = Filler::default();
            filler.wrote(0, 300_000);
            assert!(filler.fill(None, MTU).is_none());
            filler.left(MTU / 2, None, MTU);
            filler.wrote(0, class.cell_len());
            let fill = filler.fill(Some(LARGEST), MTU).expect("there is room").len();
            let room = LARGEST + BESIDE_BYTES;
            let packets = packets(room, 0, fill, &[(300_000, class.cell_len())]);
            let last = packets.last().expect("it leaves");
            assert_eq!(room - last, SPARE_BYTES, "{class:?}: {packets:?}");
        }
    }

    #[test]
    fn what_joins_bytes_that_wait_is_not_filled() {
        let mut filler = Filler::default();
        let largest = Some(LARGEST);
        assert_eq!(filler.fill(largest, MTU), None, "nothing was written");
        filler.wrote(3, 0);
        assert_eq!(filler.fill(largest, MTU), None, "nothing was taken");
        filler.wrote(3, 256);
        assert!(filler.fill(largest, MTU).is_some());
        filler.wrote(3, 256);
        assert_eq!(filler.fill(largest, MTU), None, "nobody said that the first has left");
        for full in [MTU, MTU - UNUSED_BYTES_MAX] {
            filler.left(full, None, MTU);
            filler.wrote(3, 256);
            assert_eq!(filler.fill(largest, MTU), None, "{full} may not be the last");
        }
        filler.left(3 * MTU, Some(MTU), MTU);
        filler.wrote(3, 256);
        assert_eq!(filler.fill(largest, MTU), None, "three full ones may not be the last");
        for last in [1, 49, MTU - SPARE_BYTES] {
            filler.left(2 * MTU + last, Some(MTU), MTU);
            filler.wrote(3, 256);
            assert!(filler.fill(largest, MTU).is_some(), "{last} was the last");
        }
    }

    #[test]
    fn a_peer_that_takes_less_than_a_packet_gets_none() {
        for largest in [None, Some(0), Some(1), Some(9), Some(MTU - HEADS_BYTES_MAX - 1)] {
            let mut filler = Filler::default();
            filler.wrote(0, 256);
            assert_eq!(filler.fill(largest, MTU), None, "{largest:?}");
        }
        let mut filler = Filler::default();
        filler.wrote(0, 256);
        assert_eq!(filler.fill(Some(0), 0), None, "no path is so narrow");
    }

    proptest! {
        #[test]
        fn whatever_was_written_ends_in_a_datagram_of_nearly_one_size(
            before in proptest::array::uniform8(0u64..1 << 40),
            cells in proptest::collection::vec((0usize..8, 0usize..8), 1..40),
            ack in 0usize..=38,
            number in 1usize..=2,
            largest in 1_160usize..1_480,
        ) {
            let mut filler = Filler { written: before, ..Filler::default() };
            let mut lanes: Vec<_> = before.iter().map(|offset| (*offset, 0)).collect();
            for (lane, class) in cells {
                let cell = Class::ALL[class].cell_len();
                filler.wrote(lane, cell);
                lanes[lane].1 += cell;
            }
            let Some(fill) = filler.fill(Some(largest), largest + 38) else { return Ok(()) };
            let room = largest + BESIDE_BYTES + 2 - number;
            let filled = packets(room, ack, fill.len(), &lanes);
            let bare = packets(room, ack, 0, &lanes).len();
            let (count, last) = (filled.len(), *filled.last().expect("it leaves"));
            // Where a lane ends just before the first packet does, all packets are as short as that one.
            if count > 1 && filled[0] < room {
                return Ok(());
            }
            prop_assert!(count <= bare + 1, "{count} for {bare}");
            // Two bytes where an offset or a frame turns out shorter, in each packet, and for each lane.
            let exact = 2 * SPARE_BYTES + 5 * count + (UNUSED_BYTES_MAX + 16) * 8;
            prop_assert!(last + exact >= room, "{last} of {room}: {filled:?}");
        }
    }
}
