//! What a device sends: cells cut from the streams that are its lanes.

use hushwire_wire::cell::Class;
use hushwire_wire::limits::LANES;
use quinn_proto::{Connection, Dir, ReadError, Side, StreamId};
use thiserror::Error;

use crate::transport::{Carry, CarryPool, CellFault, PoolEmpty};

const LANE_COUNT: usize = LANES as usize;

/// How a device breaks the rules of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum LaneFault {
    /// It finished or reset one.
    #[error("a lane is never finished or reset")]
    Ended,
    /// It does not want to hear one.
    #[error("a lane is never stopped")]
    Stopped,
    /// A cell of another lane than the one it came on.
    #[error("a cell came on another lane than its header names")]
    Astray,
    /// What comes is no cell.
    #[error(transparent)]
    Cell(#[from] CellFault),
}

/// What one lane had.
#[derive(Debug)]
pub(crate) struct LaneRead {
    /// Behind the last byte in the scratch.
    pub(crate) end: usize,
    /// When the cell at the front began to wait, if it did so before.
    pub(crate) since_ns: Option<u64>,
}

/// The lanes of a device, and what is there of cells that are not whole.
#[derive(Debug, Default)]
pub(crate) struct LanesIn {
    partial: [Carry; LANE_COUNT],
    /// A bit for each lane that has something to read.
    readable: u8,
}

/// Partial cells on their way to another shard: lane, bytes, and since when.
pub(crate) type CarriedLanes = Vec<(usize, Box<[u8]>, u64)>;

impl LanesIn {
    /// The stream has something, if it is a lane.
    pub(crate) fn note_readable(&mut self, stream: StreamId) {
        if let Ok(lane) = u8::try_from(stream.index())
            && u32::from(lane) < LANES
        {
            self.readable |= 1 << lane;
        }
    }

    /// A lane to read. It stays one until a read has emptied it.
    pub(crate) fn next_readable(&self) -> Option<usize> {
        (self.readable != 0).then(|| self.readable.trailing_zeros() as usize)
    }

    /// Puts the partial cell of `lane` at the front of `scratch` and what has arrived since behind it.
    pub(crate) fn read(
        &mut self,
        connection: &mut Connection,
        lane: usize,
        scratch: &mut [u8],
        pool: &mut CarryPool,
    ) -> Result<LaneRead, LaneFault> {
        let partial = &mut self.partial[lane];
        let since_ns = partial.partial_since_ns();
        let mut end = partial.len();
        scratch[..end].copy_from_slice(partial.bytes());
        partial.release(pool);
        let stream = StreamId::new(Side::Client, Dir::Uni, lane as u64);
        let mut recv = connection.recv_stream(stream);
        let mut chunks = recv.read(true).map_err(|_| LaneFault::Ended)?;
        let outcome = loop {
            let room = scratch.len() - end;
            if room == 0 {
                break Ok(());
            }
            match chunks.next(room) {
                Ok(Some(chunk)) => {
                    scratch[end..end + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                    end += chunk.bytes.len();
                }
                Err(ReadError::Blocked) => {
                    self.readable &= !(1 << lane);
                    break Ok(());
                }
                Ok(None) | Err(ReadError::Reset(_)) => break Err(LaneFault::Ended),
            }
        };
        // Whether credit is to be told of is asked again before the connection's packets are made.
        let _credit = chunks.finalize();
        outcome.map(|()| LaneRead { end, since_ns })
    }

    /// Keeps the front of a cell.
    ///
    /// # Errors
    /// [`PoolEmpty`]; the bytes still stand in `rest`.
    pub(crate) fn keep(
        &mut self,
        lane: usize,
        rest: &[u8],
        since_ns: u64,
        pool: &mut CarryPool,
    ) -> Result<(), PoolEmpty> {
        let need = match rest {
            [_, class, ..] => Class::from_wire(*class).map_or(rest.len(), Class::cell_len),
            _ => rest.len(),
        };
        self.partial[lane].store(&[], rest, need, since_ns, pool)
    }

    /// Since when the lane has waited that waits longest for the rest of a cell.
    pub(crate) fn partial_since_ns(&self) -> Option<u64> {
        self.partial.iter().filter_map(Carry::partial_since_ns).min()
    }

    /// Gives all buffers back.
    pub(crate) fn release(&mut self, pool: &mut CarryPool) {
        self.partial.iter_mut().for_each(|partial| partial.release(pool));
    }

    /// Takes the partial cells out, for another shard's pool.
    pub(crate) fn take_carried(&mut self, pool: &mut CarryPool) -> CarriedLanes {
        let lanes = self.partial.iter().enumerate();
        let carried = lanes.filter_map(|(lane, partial)| {
            Some((lane, Box::from(partial.bytes()), partial.partial_since_ns()?))
        });
        let carried = carried.collect();
        self.release(pool);
        carried
    }

    /// The other half of [`take_carried`](Self::take_carried).
    pub(crate) fn put_carried(
        &mut self,
        carried: CarriedLanes,
        pool: &mut CarryPool,
    ) -> Result<(), PoolEmpty> {
        carried
            .into_iter()
            .try_for_each(|(lane, bytes, since_ns)| self.keep(lane, &bytes, since_ns, pool))
    }
}

/// The length of the cell at the front of `bytes`, if it is all there.
///
/// # Errors
/// What is there is no cell, or a larger one than `class_max`.
pub(crate) fn whole_cell(bytes: &[u8], class_max: Class) -> Result<Option<usize>, CellFault> {
    let Some(&number) = bytes.get(1) else { return Ok(None) };
    let class = Class::from_wire(number).ok_or(CellFault::Class(number))?;
    if class > class_max {
        return Err(CellFault::TooLarge(number));
    }
    Ok((bytes.len() >= class.cell_len()).then_some(class.cell_len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_cut_by_its_class() {
        let check = |bytes: &[u8], max, expect| assert_eq!(whole_cell(bytes, max), expect);
        check(&[], Class::C7, Ok(None));
        check(&[1], Class::C7, Ok(None));
        check(&[1, 0], Class::C7, Ok(None));
        check(&[0; 255], Class::C7, Ok(None));
        check(&[0; 256], Class::C7, Ok(Some(256)));
        check(&[0; 900], Class::C7, Ok(Some(256)));
        check(&[1, 8], Class::C7, Err(CellFault::Class(8)));
        check(&[1, 4], Class::C3, Err(CellFault::TooLarge(4)));
        check(&[1, 3], Class::C3, Ok(None));
    }
}
