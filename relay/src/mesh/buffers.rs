//! The buffers of the cells that one shard sends to one other: on their way, on their way back, and waiting here, all of
//! them together within a number of bytes.

use hushwire_wire::cell::Class;

const CLASSES: usize = Class::ALL.len();

/// The sender's end.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Those that wait here, by class.
    free: [Vec<Vec<u8>>; CLASSES],
    /// Bytes of all of them, wherever they are.
    bytes: usize,
    bytes_max: usize,
}

impl Buffers {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: [const { Vec::new() }; CLASSES], bytes: 0, bytes_max }
    }

    /// A copy of a cell; `None` if as much is on its way already as may be.
    pub(super) fn copy(&mut self, cell: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = match self.free[class_of(cell)].pop() {
            Some(buffer) => buffer,
            None => self.another(cell.len())?,
        };
        buffer.clear();
        buffer.extend_from_slice(cell);
        Some(buffer)
    }

    /// A new one, in place of some that wait where there must be.
    fn another(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.bytes + len > self.bytes_max {
            let waiting = self.free.iter_mut().rev().find_map(Vec::pop)?;
            self.bytes -= waiting.len();
        }
        self.bytes += len;
        Some(Vec::with_capacity(len))
    }

    /// One has come back, with its cell still in it.
    pub(super) fn back(&mut self, buffer: Vec<u8>) {
        self.free[class_of(&buffer)].push(buffer);
    }
}

/// The number of the class that cells of this length have.
fn class_of(cell: &[u8]) -> usize {
    let class = Class::ALL.iter().position(|class| class.cell_len() == cell.len());
    class.expect("what crosses is a whole cell")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_on_its_way_as_may_be_whatever_its_size() {
        let (small, large) = ([1; 256], [2; 32 * 1024]);
        let mut buffers = Buffers::new(64 * 1024);
        let on_their_way: Vec<_> = std::iter::from_fn(|| buffers.copy(&small)).collect();
        assert_eq!(on_their_way.len(), 256);
        assert_eq!(buffers.copy(&large), None);
        let one = on_their_way.into_iter().inspect(|it| assert_eq!(it[..], small));
        one.for_each(|buffer| buffers.back(buffer));
        // Small ones give way.
        let first = buffers.copy(&large).expect("room");
        let second = buffers.copy(&large).expect("room");
        assert_eq!((&first[..], buffers.copy(&large)), (&large[..], None));
        assert_eq!(buffers.copy(&small), None, "nothing is left of them");
        // And large ones.
        buffers.back(second);
        assert_eq!(std::iter::from_fn(|| buffers.copy(&small)).count(), 128);
        drop(first);
    }

    #[test]
    fn a_buffer_is_used_again_for_its_class() {
        let mut buffers = Buffers::new(64 * 1024);
        let cell = buffers.copy(&[1; 512]).expect("room");
        let at = cell.as_ptr();
        buffers.back(cell);
        let other = buffers.copy(&[2; 256]).expect("room");
        assert_ne!(other.as_ptr(), at);
        let again = buffers.copy(&[3; 512]).expect("room");
        assert_eq!((again.as_ptr(), &again[..]), (at, &[3; 512][..]));
    }
}
