//! What a read cut off: partial records between reads, in buffers of four sizes from one pool a shard.

use thiserror::Error;

use super::limits::{CARRY_BYTES_MAX, CARRY_CLASS_BYTES};

const CLASSES: usize = CARRY_CLASS_BYTES.len();

/// The pool has no room for another partial record. The owner closes the connection that has been partial
/// longest ([`Carry::partial_since_ns`]) and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no room for a partial record of {bytes} bytes")]
pub struct PoolEmpty {
    /// The bytes of the buffer that was wanted.
    pub bytes: usize,
}

/// The buffers of a shard's partial records. All sizes share one budget: idle buffers of one size make way
/// for those of another.
#[derive(Debug)]
pub struct CarryPool {
    idle: [Vec<Box<[u8]>>; CLASSES],
    /// Bytes of all buffers, idle ones included. Never above `bytes_max`.
    bytes: usize,
    bytes_max: usize,
}

impl Default for CarryPool {
    fn default() -> Self {
        Self::new(CARRY_BYTES_MAX)
    }
}

impl CarryPool {
    /// A pool of at most `bytes_max` bytes; it starts with none.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { idle: Default::default(), bytes: 0, bytes_max }
    }

    /// Bytes of all buffers, in use or idle.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&mut self, class: usize) -> Result<Box<[u8]>, PoolEmpty> {
        if let Some(buffer) = self.idle[class].pop() {
            return Ok(buffer);
        }
        let wanted = CARRY_CLASS_BYTES[class];
        for idle in &mut self.idle {
            while self.bytes + wanted > self.bytes_max
                && let Some(spare) = idle.pop()
            {
                self.bytes -= spare.len();
            }
        }
        if self.bytes + wanted > self.bytes_max {
            return Err(PoolEmpty { bytes: wanted });
        }
        self.bytes += wanted;
        Ok(vec![0; wanted].into_boxed_slice())
    }

    fn give_back(&mut self, buffer: Box<[u8]>) {
        if let Some(class) = class_for(buffer.len()) {
            self.idle[class].push(buffer);
        }
    }
}

fn class_for(bytes: usize) -> Option<usize> {
    CARRY_CLASS_BYTES.iter().position(|&size| size >= bytes)
}

/// The bytes that a connection keeps between two reads: perhaps the opened first half of a 32 KiB cell,
/// then the front of a record that is not whole. An empty one owns no buffer.
///
/// Give it back with [`release`](Self::release) when its connection closes or moves to another shard;
/// dropping it leaves the pool one buffer short.
#[derive(Debug, Default)]
#[must_use]
pub struct Carry {
    buffer: Option<Box<[u8]>>,
    since_ns: u64,
    len: u16,
    opened: u16,
}

impl Carry {
    /// The bytes kept, the opened half included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the bytes, from the front, are the opened half of a cell: 0 or 16 384.
    #[must_use]
    pub fn opened(&self) -> usize {
        usize::from(self.opened)
    }

    /// When the cell that is not whole yet began to wait; `None` if there is none.
    #[must_use]
    pub fn partial_since_ns(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.since_ns)
    }

    /// The bytes kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.len()])
    }

    /// Keeps `half`, an opened half of a cell or nothing, and `rest`, the front of a record, in a buffer for
    /// `need_total` bytes of record. What was kept before is replaced.
    ///
    /// # Errors
    /// [`PoolEmpty`]; the carry is then empty.
    ///
    /// # Panics
    /// If the parts are longer than the largest buffer, which no record is.
    pub fn store(
        &mut self,
        half: &[u8],
        rest: &[u8],
        need_total: usize,
        since_ns: u64,
        pool: &mut CarryPool,
    ) -> Result<(), PoolEmpty> {
        self.release(pool);
        let len = half.len() + rest.len();
        if len == 0 {
            return Ok(());
        }
        let class = class_for(half.len() + need_total.max(rest.len()));
        assert!(class.is_some(), "a partial record longer than any record");
        let mut buffer = pool.take(class.unwrap_or_default())?;
        buffer[..half.len()].copy_from_slice(half);
        buffer[half.len()..len].copy_from_slice(rest);
        // Bounded by the largest class, which fits.
        (self.len, self.opened) = (len as u16, half.len() as u16);
        self.since_ns = since_ns;
        self.buffer = Some(buffer);
        Ok(())
    }

    /// Gives the buffer back to `pool`.
    pub fn release(&mut self, pool: &mut CarryPool) {
        if let Some(buffer) = self.buffer.take() {
            pool.give_back(buffer);
        }
        (self.len, self.opened) = (0, 0);
    }
}
