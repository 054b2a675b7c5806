//! A message of which a part has come.

use std::collections::BTreeMap;

use super::Violation;
use crate::conversation::limits::PIECES_MAX;
use crate::suite::frame_types::Data;

#[derive(Debug)]
pub(super) struct Partial {
    bytes: Vec<u8>,
    /// The parts that have come: where they begin and end; apart, ascending.
    pieces: BTreeMap<u32, u32>,
}

impl Partial {
    pub(super) fn new(total: usize) -> Self {
        Self { bytes: vec![0; total], pieces: BTreeMap::new() }
    }

    pub(super) const fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a fragment, which may have come before; the message when it is whole.
    pub(super) fn add(&mut self, data: &Data<'_>) -> Result<Option<Vec<u8>>, Violation> {
        if self.bytes.len() != data.total as usize {
            return Err(Violation);
        }
        let (start, end) = (data.offset, data.offset + data.bytes.len() as u32);
        self.bytes[start as usize..end as usize].copy_from_slice(data.bytes);
        let (mut from, mut to) = (start, end);
        while let Some((&near, &far)) = self.pieces.range(..=to).next_back()
            && far >= from
        {
            self.pieces.remove(&near);
            (from, to) = (from.min(near), to.max(far));
        }
        self.pieces.insert(from, to);
        if self.pieces.len() > PIECES_MAX {
            return Err(Violation);
        }
        let whole = from == 0 && to as usize == self.bytes.len();
        Ok(whole.then(|| std::mem::take(&mut self.bytes)))
    }
}
