//! Cells: the only unit that crosses a hop (`PROTOCOL.md` §3).
//!
//! A cell has one of eight sizes, `256 << class`, and begins with a header of one cache line. All
//! integers are little-endian. What lies behind the header of a routed cell is nobody's business here.

use core::fmt;

use crate::id::{ChannelId, DeviceId};
use crate::limits;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 64;
/// Offset of the lane in the header.
pub const LANE_OFFSET: usize = 4;
/// Offset of the counter in the header.
pub const COUNTER_OFFSET: usize = 8;
/// Offset of the peer in the header.
pub const PEER_OFFSET: usize = 16;
/// The largest cell in bytes.
pub const CELL_LEN_MAX: usize = Class::C7.cell_len();

/// Size class of a cell: `256 << class` bytes, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// 256 bytes.
    C0 = 0,
    /// 512 bytes.
    C1 = 1,
    /// 1 024 bytes.
    C2 = 2,
    /// 2 048 bytes.
    C3 = 3,
    /// 4 096 bytes.
    C4 = 4,
    /// 8 192 bytes.
    C5 = 5,
    /// 16 384 bytes.
    C6 = 6,
    /// 32 768 bytes.
    C7 = 7,
}

impl Class {
    /// All classes, smallest first.
    pub const ALL: [Self; 8] =
        [Self::C0, Self::C1, Self::C2, Self::C3, Self::C4, Self::C5, Self::C6, Self::C7];

    /// Size of a cell of this class in bytes.
    #[must_use]
    pub const fn cell_len(self) -> usize {
        256 << self as usize
    }

    /// Size of the body, which is what the header leaves.
    #[must_use]
    pub const fn body_len(self) -> usize {
        self.cell_len() - HEADER_LEN
    }

    /// The class with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        if number < 8 { Some(Self::ALL[number as usize]) } else { None }
    }

    /// The smallest class whose body holds `bytes`.
    #[must_use]
    pub fn for_body(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.body_len() >= bytes)
    }
}

/// What a cell is, as far as the relay can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Random bytes of this hop: counted and discarded.
    Cover = 0,
    /// To one device.
    Unicast = 1,
    /// To the members of a channel.
    Broadcast = 2,
    /// Between a device and its relay.
    Control = 3,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Cover, Self::Unicast, Self::Broadcast, Self::Control];
}

/// The header of a cell, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the cell is.
    pub kind: Kind,
    /// Its size.
    pub class: Class,
    /// Wake the recipient by push if it is offline; tells the relay that the cell is real.
    pub urgent: bool,
    /// 0 to 7.
    pub lane: u32,
    /// Number of this cell in its hop, direction and lane.
    pub counter: u64,
    /// To the relay: destination. From the relay: sender. Zero for broadcasts to the relay, cover and control.
    pub peer: DeviceId,
    /// The channel of a broadcast, or by whose membership a unicast is sent; else zero.
    pub channel: ChannelId,
}

/// Why 64 bytes are no header. Each closes the connection with `malformed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The kind is none of the four.
    Kind(u8),
    /// The class is above 7.
    Class(u8),
    /// A reserved flag is set.
    Flags(u16),
    /// The lane is above 7, or not 0 where it must be.
    Lane(u32),
    /// `peer` or `channel` is set where it must be zero, or zero where it must be set.
    Address,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a cell has the unknown kind {kind}"),
            Self::Class(class) => write!(f, "a cell has the unknown class {class}"),
            Self::Flags(flags) => write!(f, "a cell sets reserved flags ({flags:#06x})"),
            Self::Lane(lane) => write!(f, "a cell names the impossible lane {lane}"),
            Self::Address => f.write_str("a cell's peer or channel does not fit its kind"),
        }
    }
}

impl core::error::Error for HeaderError {}

const FLAG_URGENT: u16 = 1;

impl Header {
    /// A unicast to `peer` (towards the relay) or from it (towards a device).
    #[must_use]
    pub const fn unicast(class: Class, lane: u32, counter: u64, peer: DeviceId) -> Self {
        let channel = ChannelId::ZERO;
        Self { kind: Kind::Unicast, class, urgent: false, lane, counter, peer, channel }
    }

    /// A control cell; always on lane 0.
    #[must_use]
    pub const fn control(class: Class, counter: u64) -> Self {
        Self {
            kind: Kind::Control,
            class,
            urgent: false,
            lane: 0,
            counter,
            peer: DeviceId::ZERO,
            channel: ChannelId::ZERO,
        }
    }

    /// A cover cell.
    #[must_use]
    pub const fn cover(class: Class, lane: u32, counter: u64) -> Self {
        Self { kind: Kind::Cover, lane, ..Self::control(class, counter) }
    }

    /// Parses a header and checks everything that can be checked without state.
    ///
    /// # Errors
    /// Each [`HeaderError`] is the sender's fault and ends its connection.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        let kind = match bytes[0] {
            0 => Kind::Cover,
            1 => Kind::Unicast,
            2 => Kind::Broadcast,
            3 => Kind::Control,
            other => return Err(HeaderError::Kind(other)),
        };
        let class = Class::from_wire(bytes[1]).ok_or(HeaderError::Class(bytes[1]))?;
        let flags = u16::from_le_bytes([bytes[2], bytes[3]]);
        let routed = matches!(kind, Kind::Unicast | Kind::Broadcast);
        if flags & !FLAG_URGENT != 0 || (flags != 0 && !routed) {
            return Err(HeaderError::Flags(flags));
        }
        let lane = u32::from_le_bytes(field(bytes, LANE_OFFSET));
        if lane >= limits::LANES || (lane != 0 && kind == Kind::Control) {
            return Err(HeaderError::Lane(lane));
        }
        let header = Self {
            kind,
            class,
            urgent: flags & FLAG_URGENT != 0,
            lane,
            counter: u64::from_le_bytes(field(bytes, COUNTER_OFFSET)),
            peer: DeviceId::new(field(bytes, PEER_OFFSET)),
            channel: ChannelId::new(field(bytes, 48)),
        };
        if header.address_fits() { Ok(header) } else { Err(HeaderError::Address) }
    }

    /// The 64 bytes of this header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = self.kind as u8;
        bytes[1] = self.class as u8;
        bytes[2..4].copy_from_slice(&(if self.urgent { FLAG_URGENT } else { 0 }).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.lane.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.counter.to_le_bytes());
        bytes[16..48].copy_from_slice(self.peer.as_bytes());
        bytes[48..64].copy_from_slice(self.channel.as_bytes());
        bytes
    }

    /// A broadcast may carry a peer: from the relay it is the sender.
    fn address_fits(&self) -> bool {
        match self.kind {
            Kind::Cover | Kind::Control => self.peer.is_zero() && self.channel.is_zero(),
            Kind::Unicast => !self.peer.is_zero(),
            Kind::Broadcast => !self.channel.is_zero(),
        }
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Rewrites a routed cell's header for its next hop, in place: clears the flags, sets the sender.
/// The counter follows with [`set_counter`] when the cell is sealed.
///
/// # Panics
/// If `cell` is shorter than a header.
#[inline]
pub fn readdress(cell: &mut [u8], sender: &DeviceId) {
    cell[2..4].fill(0);
    cell[PEER_OFFSET..PEER_OFFSET + DeviceId::LEN].copy_from_slice(sender.as_bytes());
}

/// Writes the counter of a cell at the moment it is sealed.
///
/// # Panics
/// If `cell` is shorter than a header.
#[inline]
pub fn set_counter(cell: &mut [u8], counter: u64) {
    cell[COUNTER_OFFSET..COUNTER_OFFSET + 8].copy_from_slice(&counter.to_le_bytes());
}

/// The lane of a cell whose header has been checked.
///
/// # Panics
/// If `cell` is shorter than a header.
#[inline]
#[must_use]
pub fn lane_of(cell: &[u8]) -> usize {
    usize::from(cell[LANE_OFFSET] & 7)
}

/// The next counter expected or due on each lane of one direction of a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters([u64; limits::LANES as usize]);

impl LaneCounters {
    /// Takes the next number of `lane`, which must be below [`limits::LANES`].
    #[inline]
    pub fn take(&mut self, lane: usize) -> u64 {
        let next = self.0[lane];
        self.0[lane] = next + 1;
        next
    }

    /// Checks that `counter` is the one expected on `lane` and moves on.
    #[inline]
    pub fn accept(&mut self, lane: u32, counter: u64) -> bool {
        match self.0.get_mut(lane as usize) {
            Some(next) if *next == counter => {
                *next += 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_from_256_to_32_768() {
        let bodies = Class::ALL.map(Class::body_len);
        assert_eq!(bodies, [192, 448, 960, 1_984, 4_032, 8_128, 16_320, 32_704]);
        assert_eq!(Class::from_wire(8), None);
        assert_eq!(Class::for_body(193), Some(Class::C1));
        assert_eq!(Class::for_body(32_705), None);
    }

    #[test]
    fn each_malformed_header_is_refused_for_its_own_reason() {
        let good = Header::unicast(Class::C2, 7, 9, DeviceId::new([1; 32])).encode();
        let check = |at: usize, value: u8, expect| {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Header::decode(&bytes), Err(expect), "byte {at} = {value}");
        };
        check(0, 4, HeaderError::Kind(4));
        check(0, 255, HeaderError::Kind(255));
        check(1, 8, HeaderError::Class(8));
        check(2, 2, HeaderError::Flags(2));
        check(3, 1, HeaderError::Flags(256));
        check(4, 8, HeaderError::Lane(8));
        check(7, 1, HeaderError::Lane(0x0100_0007));
        check(0, 3, HeaderError::Lane(7));
        check(0, 0, HeaderError::Address);
        check(0, 2, HeaderError::Address);
        let unaddressed = Header::unicast(Class::C0, 0, 0, DeviceId::ZERO).encode();
        assert_eq!(Header::decode(&unaddressed), Err(HeaderError::Address));
    }

    #[test]
    fn counters_admit_each_number_once_and_in_order() {
        let mut counters = LaneCounters::default();
        assert!(counters.accept(0, 0));
        assert!(!counters.accept(0, 0));
        assert!(!counters.accept(0, 2));
        assert!(counters.accept(0, 1));
        assert!(counters.accept(7, 0));
        assert!(!counters.accept(8, 0));
        assert_eq!(counters.take(0), 2);
    }
}
