//! Pooled plaintext cells: the queued stage of egress.
//!
//! The engine decides what waits and how much of it; here are only the bytes, one free list a class.

use hushwire_engine::Slot;
use hushwire_wire::cell::Class;

use crate::shard::limits::CELL_BUFFERS_KEPT_BYTES;

/// The waiting cells of one shard.
#[derive(Debug, Default)]
pub(crate) struct CellSlots {
    cells: Vec<Option<Box<[u8]>>>,
    vacant: Vec<u32>,
    /// Emptied buffers by class, the one used last on top.
    free: [Vec<Box<[u8]>>; Class::ALL.len()],
    free_bytes: usize,
}

impl CellSlots {
    /// Keeps a copy of `cell` until [`take`](Self::take).
    pub(crate) fn store(&mut self, class: Class, cell: &[u8]) -> Slot {
        let buffer = match self.free[class as usize].pop() {
            Some(mut buffer) => {
                self.free_bytes -= buffer.len();
                buffer.copy_from_slice(cell);
                buffer
            }
            None => cell.into(),
        };
        match self.vacant.pop() {
            Some(index) => {
                self.cells[index as usize] = Some(buffer);
                Slot(index)
            }
            None => {
                self.cells.push(Some(buffer));
                Slot((self.cells.len() - 1) as u32)
            }
        }
    }

    /// Takes the cell out; its buffer comes back through [`recycle`](Self::recycle).
    ///
    /// # Panics
    /// If the slot is empty: the engine names each slot it was given exactly once.
    pub(crate) fn take(&mut self, slot: Slot) -> Box<[u8]> {
        let cell = self.cells.get_mut(slot.0 as usize).and_then(Option::take);
        self.vacant.push(slot.0);
        match cell {
            Some(cell) => cell,
            None => unreachable!("the engine named an empty slot"),
        }
    }

    /// Keeps an emptied buffer for the next cell of its class, within a bound.
    pub(crate) fn recycle(&mut self, buffer: Box<[u8]>) {
        let class = Class::ALL.into_iter().find(|class| class.cell_len() == buffer.len());
        if let Some(class) = class
            && self.free_bytes + buffer.len() <= CELL_BUFFERS_KEPT_BYTES
        {
            self.free_bytes += buffer.len();
            self.free[class as usize].push(buffer);
        }
    }
}
