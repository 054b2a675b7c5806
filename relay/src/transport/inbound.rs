//! The loop of a `hushwire/1` connection after its handshake: bytes in, whole cells out, in place.

use std::ops::Range;

use hushwire_wire::cell::Class;

use super::carry::{Carry, CarryPool, PoolEmpty};
use super::cells::{CellCutter, Cut};
use super::fault::Fault;
use super::limits::{RECORD_HEADER_BYTES, RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX};
use super::opener::{Opened, Opener};
use super::record::record_len;

/// A record that is full, in bytes.
const FULL_RECORD_BYTES: usize = record_len(RECORD_PLAIN_BYTES_MAX);

/// The receiving side of a connection.
///
/// ```text
/// let mut cursor = inbound.begin(scratch, pool);        // carried bytes to the front of scratch
/// let read = recv(&mut scratch[cursor.end()..]);
/// cursor.received(read);
/// loop {
///     match inbound.next(scratch, &mut cursor, now_ns)? {
///         Event::Cell(range) => forward(&scratch[range]),
///         Event::Framed(records) => forward(&scratch[unframe(scratch, records)]),
///         Event::AnswerKeyUpdate => sealer.request_update(),
///         Event::Closed => …,
///         Event::NeedMore => break,
///     }
/// }
/// inbound.end(scratch, &cursor, pool, now_ns)?;          // what is left back to the carry
/// ```
#[derive(Debug)]
pub struct Inbound {
    opener: Opener,
    cutter: CellCutter,
    carry: Carry,
}

/// What [`Inbound::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole cell in one piece, at this range of the scratch until the next call.
    Cell(Range<usize>),
    /// A whole cell of 16 or 32 KiB in the one or two full records that brought it, which stand at this range of the scratch
    /// until the next call. [`Sealer::seal_in_place`] seals it there; [`unframe`] makes it one piece.
    ///
    /// [`Sealer::seal_in_place`]: super::Sealer::seal_in_place
    Framed(Range<usize>),
    /// The client updated its keys and wants an update of ours: [`Sealer::request_update`].
    ///
    /// [`Sealer::request_update`]: super::Sealer::request_update
    AnswerKeyUpdate,
    /// The client sends nothing more.
    Closed,
    /// The bytes are used up to a partial record.
    NeedMore,
}

/// Where [`Inbound`] stands in the scratch between [`begin`](Inbound::begin) and [`end`](Inbound::end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The first byte not opened yet.
    at: usize,
    /// Behind the last byte received.
    end: usize,
    /// Where the opened first half of a 32 KiB cell stands.
    half: Option<usize>,
    /// The length of the record that begins at `at`, as far as known.
    need_total: usize,
    /// When what is at the front began to wait, if it did so before this read.
    since_ns: Option<u64>,
}

impl Cursor {
    /// A cursor over the first `received` bytes of a buffer that the kernel filled, for a connection that
    /// carries nothing: no copy is needed then.
    #[must_use]
    pub const fn over(received: usize) -> Self {
        let need_total = RECORD_HEADER_BYTES;
        Self { at: 0, end: received, half: None, need_total, since_ns: None }
    }

    /// Behind the last byte received: where to read to.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.end
    }

    /// `bytes` more have been read to [`end`](Self::end).
    pub fn received(&mut self, bytes: usize) {
        self.end += bytes;
    }
}

impl Inbound {
    /// Accepts cells up to `class_max` and nothing carried yet.
    #[must_use]
    pub fn new(mut opener: Opener, class_max: Class) -> Self {
        opener.limit_plain(class_max.cell_len());
        Self { opener, cutter: CellCutter::new(class_max), carry: Carry::default() }
    }

    /// Accepts cells up to `class_max` from now on. Smaller limits refuse a larger cell by the header of its
    /// record, before it is waited for.
    pub fn allow(&mut self, class_max: Class) {
        self.opener.limit_plain(class_max.cell_len());
        self.cutter.allow(class_max);
    }

    /// Puts the carried bytes at the front of `scratch`.
    ///
    /// # Panics
    /// If `scratch` is shorter than what is carried; see
    /// [`SCRATCH_BYTES`](super::limits::SCRATCH_BYTES).
    pub fn begin(&mut self, scratch: &mut [u8], pool: &mut CarryPool) -> Cursor {
        let carried = self.carry.bytes();
        scratch[..carried.len()].copy_from_slice(carried);
        let mut cursor = Cursor::over(carried.len());
        cursor.at = self.carry.opened();
        cursor.half = (cursor.at > 0).then_some(0);
        cursor.since_ns = self.carry.partial_since_ns();
        self.carry.release(pool);
        cursor
    }

    /// Works through the bytes at `cursor` to the next event. `now_ns` is the time since any fixed moment.
    ///
    /// # Errors
    /// The client's faults; the connection is then over.
    #[inline]
    pub fn next(
        &mut self,
        scratch: &mut [u8],
        cursor: &mut Cursor,
        now_ns: u64,
    ) -> Result<Event, Fault> {
        loop {
            let at = cursor.at;
            match self.opener.open(&mut scratch[at..cursor.end], now_ns)? {
                Opened::Data { consumed, plain } => {
                    cursor.at = at + consumed;
                    let plain = at + plain.start..at + plain.end;
                    match self.cutter.cut(&scratch[plain.clone()])? {
                        Cut::Whole => {
                            cursor.since_ns = None;
                            // A full record has no room for padding.
                            return Ok(match plain.len() {
                                RECORD_PLAIN_BYTES_MAX => Event::Framed(at..cursor.at),
                                _ => Event::Cell(plain),
                            });
                        }
                        Cut::FirstHalf => cursor.half = Some(plain.start),
                        Cut::SecondHalf => return second_half(scratch, cursor, &plain),
                    }
                }
                Opened::Incomplete { need_total } => {
                    cursor.need_total = need_total;
                    return Ok(Event::NeedMore);
                }
                Opened::KeyUpdate { consumed, answer_requested } => {
                    cursor.at = at + consumed;
                    if answer_requested {
                        return Ok(Event::AnswerKeyUpdate);
                    }
                }
                Opened::Ignored { consumed } => cursor.at = at + consumed,
                Opened::Closed { consumed } => {
                    cursor.at = at + consumed;
                    return Ok(Event::Closed);
                }
            }
        }
    }

    /// Keeps what is left behind the last whole record; to be called after [`Event::NeedMore`].
    ///
    /// # Errors
    /// [`PoolEmpty`]: the bytes still stand in `scratch`; after another connection is closed, call again.
    ///
    /// # Panics
    /// If whole records are left, more than the largest buffer holds.
    pub fn end(
        &mut self,
        scratch: &[u8],
        cursor: &Cursor,
        pool: &mut CarryPool,
        now_ns: u64,
    ) -> Result<(), PoolEmpty> {
        let half = cursor.half.map_or(&[][..], |at| &scratch[at..at + RECORD_PLAIN_BYTES_MAX]);
        let rest = &scratch[cursor.at..cursor.end];
        let since_ns = cursor.since_ns.unwrap_or(now_ns);
        self.carry.store(half, rest, cursor.need_total, since_ns, pool)
    }

    /// What is carried.
    pub fn carry(&self) -> &Carry {
        &self.carry
    }

    /// Gives what is carried back to `pool`, before the connection is dropped.
    pub fn release(&mut self, pool: &mut CarryPool) {
        self.carry.release(pool);
    }

    /// Moves what is carried from the pool of one shard to that of another, with the connection: first
    /// `let moved = inbound.take_carried(old_pool)` on the old shard, then `inbound.put_carried(moved, …)`
    /// on the new one.
    pub fn take_carried(&mut self, pool: &mut CarryPool) -> Carried {
        let carried = Carried {
            bytes: self.carry.bytes().into(),
            opened: self.carry.opened(),
            since_ns: self.carry.partial_since_ns().unwrap_or_default(),
        };
        self.carry.release(pool);
        carried
    }

    /// The other half of [`take_carried`](Self::take_carried).
    ///
    /// # Errors
    /// [`PoolEmpty`]; nothing is carried then.
    pub fn put_carried(
        &mut self,
        carried: &Carried,
        pool: &mut CarryPool,
    ) -> Result<(), PoolEmpty> {
        let (half, rest) = carried.bytes.split_at(carried.opened);
        self.carry.store(half, rest, rest.len(), carried.since_ns, pool)
    }

    /// Forgets the AEAD context (640 bytes of heap) of an idle connection; the next record rebuilds it.
    pub fn compact(&mut self) {
        self.opener.compact();
    }

    /// The opener.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.opener
    }
}

/// The carried bytes of a connection on its way to another shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    bytes: Box<[u8]>,
    opened: usize,
    since_ns: u64,
}

/// The second half of a 32 KiB cell was opened at `plain`. Where its record follows the first half's, the cell is left in the
/// two; the first half that was carried from an earlier read is moved up to the second, over its header.
fn second_half(
    scratch: &mut [u8],
    cursor: &mut Cursor,
    plain: &Range<usize>,
) -> Result<Event, Fault> {
    let half = cursor.half.take().ok_or(Fault::Internal("half a cell is lost"))?;
    cursor.since_ns = None;
    if let Some(first) = half.checked_sub(RECORD_HEADER_BYTES)
        && first + 2 * FULL_RECORD_BYTES == cursor.at
    {
        return Ok(Event::Framed(first..cursor.at));
    }
    let start = plain.start - RECORD_PLAIN_BYTES_MAX;
    scratch.copy_within(half..half + RECORD_PLAIN_BYTES_MAX, start);
    Ok(Event::Cell(start..plain.end))
}

/// How long the cell of [`Event::Framed`] is in records of so many bytes.
#[must_use]
pub const fn framed_len(records: usize) -> usize {
    records / FULL_RECORD_BYTES * RECORD_PLAIN_BYTES_MAX
}

/// Makes the cell of [`Event::Framed`] one piece: the first half of one of 32 KiB moves up to the second, over the tag and the
/// header between them. Returns where it stands then.
///
/// # Panics
/// If `records` is not what [`Event::Framed`] said.
pub fn unframe(scratch: &mut [u8], records: Range<usize>) -> Range<usize> {
    let first = records.start + RECORD_HEADER_BYTES;
    let end = records.end - (RECORD_OVERHEAD_BYTES - RECORD_HEADER_BYTES);
    if records.len() == FULL_RECORD_BYTES {
        return first..end;
    }
    assert_eq!(records.len(), 2 * FULL_RECORD_BYTES, "one full record or two");
    let start = end - 2 * RECORD_PLAIN_BYTES_MAX;
    scratch.copy_within(first..first + RECORD_PLAIN_BYTES_MAX, start);
    start..end
}
