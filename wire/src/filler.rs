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
/// the end of a packet: a filled datagram is shorter than the path's MTU by at most this, besides what is said at
/// [`Filler`].
pub const SPARE_BYTES: usize = 64;
/// A datagram that is shorter than the path's MTU by more than this took the last byte that any stream had.
pub const UNUSED_BYTES_MAX: usize = 25;
/// What fills: as many of these as it takes, and no more. Nobody reads them, and they are encrypted.
pub static FILL: [u8; FILL_BYTES_MAX] = [0; FILL_BYTES_MAX];
/// The most that fills at a time: beyond the MTU of an Ethernet.
pub const FILL_BYTES_MAX: usize = 1_536;
/// A datagram of fewer bytes carries no cell to its end: it may be an acknowledgement alone.
const CELL_DATAGRAM_BYTES_MIN: usize = 128;

/// Fills the datagrams of one direction of one connection.
///
/// A fill makes the sum of a burst's frames come to whole packets. It is as exact as the lengths of packet numbers and of
/// STREAM frames can be told beforehand: mostly a byte for each packet. A burst that the congestion window holds up goes out as it
/// is, for a fill would take room from cells; so does what is sent again after a loss.
///
/// ```
/// use hushwire_wire::filler::{Filler, SPARE_BYTES};
///
/// let mut filler = Filler::default();
/// filler.wrote(0, 256);
/// let fill = filler.fill(Some(1_400)).expect("a small cell leaves room");
/// assert!(256 + fill < 1_400 && 256 + fill + SPARE_BYTES + 16 > 1_400);
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
    /// The stream of `lane` has been given `bytes`.
    ///
    /// # Panics
    /// There is no such lane.
    pub fn wrote(&mut self, lane: usize, bytes: usize) {
        self.written[lane] = self.written[lane].saturating_add(bytes as u64);
        self.frames += bytes;
        let head = head_of_frame(self.written[lane]);
        self.head = self.head.max(head);
        if self.lanes & 1 << lane == 0 {
            self.lanes |= 1 << lane;
            self.frames += usize::from(head) + STREAM_LENGTH_BYTES;
        }
    }

    /// The content of the DATAGRAM frame that fills up what has been written since the last call, if one is due. `room` is
    /// what a packet has for frames: the path's MTU without the packet's header and tag. There is none where the peer takes
    /// no such frames, and before the handshake has ended: its address may not be proved to be its own (RFC 9000 §8).
    pub fn fill(&mut self, room: Option<usize>) -> Option<usize> {
        let frames = mem::take(&mut self.frames);
        let head = usize::from(mem::take(&mut self.head));
        self.lanes = 0;
        if frames == 0 || mem::replace(&mut self.is_behind, true) {
            return None;
        }
        let room = room?;
        let further = room.checked_sub(head).filter(|&further| further > 0)?;
        let least = frames + FRAME_BYTES + SPARE_BYTES;
        let more_packets = least.saturating_sub(room).div_ceil(further);
        Some(room + more_packets * further - least)
    }

    /// Packets have been made: datagrams of `segment` bytes, all of `bytes` together, the last of which may be shorter, on
    /// a path of this MTU.
    pub const fn left(&mut self, bytes: usize, segment: Option<usize>, mtu: usize) {
        let last = match segment {
            Some(segment) if segment > 0 && !bytes.is_multiple_of(segment) => bytes % segment,
            Some(segment) => segment,
            None => bytes,
        };
        if last >= CELL_DATAGRAM_BYTES_MIN && last + UNUSED_BYTES_MAX < mtu {
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
    use proptest::prelude::*;

    use super::*;

    const MTU: usize = 1_452;
    const ROOM: usize = MTU - 27;

    /// The last datagram of a burst that was filled so, where nothing but its lanes' bytes takes room.
    fn last_datagram(header: usize, lanes: usize, bytes: usize, fill: usize) -> usize {
        let mut rest = bytes + lanes * (header + STREAM_LENGTH_BYTES) + FRAME_BYTES + fill;
        while rest > ROOM {
            rest = rest - ROOM + header;
        }
        rest + MTU - ROOM
    }

    #[test]
    fn every_class_of_cell_ends_in_a_datagram_of_one_size() {
        for class in crate::cell::Class::ALL {
            let mut filler = Filler::default();
            filler.wrote(0, class.cell_len());
            let header = usize::from(filler.head);
            let fill = filler.fill(Some(ROOM)).expect("there is room");
            let last = last_datagram(header, 1, class.cell_len(), fill);
            assert_eq!(last, MTU - SPARE_BYTES, "{class:?}");
        }
    }

    #[test]
    fn what_may_be_held_up_is_not_filled() {
        let mut filler = Filler::default();
        assert_eq!(filler.fill(Some(ROOM)), None, "nothing was written");
        filler.wrote(3, 256);
        assert!(filler.fill(Some(ROOM)).is_some());
        filler.wrote(3, 256);
        assert_eq!(filler.fill(Some(ROOM)), None, "nobody said that the first has left");
        for full in [MTU, MTU - UNUSED_BYTES_MAX, CELL_DATAGRAM_BYTES_MIN - 1] {
            filler.left(full, None, MTU);
            filler.wrote(3, 256);
            assert_eq!(filler.fill(Some(ROOM)), None, "{full} may not be the last");
        }
        filler.left(3 * MTU, Some(MTU), MTU);
        filler.wrote(3, 256);
        assert_eq!(filler.fill(Some(ROOM)), None, "three full ones may not be the last");
        filler.left(3 * MTU - SPARE_BYTES, Some(MTU), MTU);
        filler.wrote(3, 256);
        assert!(filler.fill(Some(ROOM)).is_some());
    }

    #[test]
    fn a_packet_without_room_is_not_filled() {
        for room in [None, Some(0), Some(1), Some(4)] {
            let mut filler = Filler::default();
            filler.wrote(0, 256);
            assert_eq!(filler.fill(room), None, "{room:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_written_ends_in_a_datagram_of_one_size(
            before in proptest::array::uniform8(0u64..1 << 40),
            cells in proptest::collection::vec((0usize..8, 0usize..8), 1..40),
            room in 1_000usize..9_000,
        ) {
            let mut filler = Filler { written: before, ..Filler::default() };
            let mut lanes = 0u8;
            let mut bytes = 0;
            for (lane, class) in cells {
                let cell = crate::cell::Class::ALL[class].cell_len();
                filler.wrote(lane, cell);
                lanes |= 1 << lane;
                bytes += cell;
            }
            let frames = filler.frames;
            let header = usize::from(filler.head);
            let most = lanes.count_ones() as usize * (header + STREAM_LENGTH_BYTES);
            prop_assert!(frames <= bytes + most);
            let fill = filler.fill(Some(room)).expect("there is room");
            prop_assert!(fill < room, "it fits a packet of its own");
            let sum = frames + FRAME_BYTES + fill + SPARE_BYTES;
            // Whole packets, each but the first with the header of the lane that goes on there.
            prop_assert_eq!((sum - room) % (room - header), 0);
        }
    }
}
