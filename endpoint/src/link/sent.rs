//! What was sent lately, so that UNDELIVERABLE can be told to whoever sent it.

use std::collections::VecDeque;

use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::LANES;

use super::limits::SENT_CELLS_MAX;

/// Number of a cell among those of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u64);

/// Who sent a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The conversation with the peer.
    Conversation(CellId),
    /// A pairing in progress.
    Pairing,
}

#[derive(Debug, Default)]
struct Lane {
    /// Counter of the first remembered.
    first: u64,
    cells: VecDeque<Option<(DeviceId, Origin)>>,
}

/// The last cells of every lane.
#[derive(Debug)]
pub(super) struct SentCells([Lane; LANES as usize]);

impl SentCells {
    /// `next` is the counter that lane 0's next cell will have; the other lanes begin at 0.
    pub(super) fn new(next: u64) -> Self {
        let mut lanes: [Lane; LANES as usize] = Default::default();
        lanes[0].first = next;
        Self(lanes)
    }

    /// Remembers the cell that took the next counter of `lane`; `None` for one that nobody asks about.
    pub(super) fn push(&mut self, lane: usize, cell: Option<(DeviceId, Origin)>) {
        let lane = &mut self.0[lane];
        if lane.cells.len() == SENT_CELLS_MAX {
            lane.cells.pop_front();
            lane.first += 1;
        }
        lane.cells.push_back(cell);
    }

    /// Who sent that cell; each is told once.
    pub(super) fn take(&mut self, lane: usize, counter: u64) -> Option<(DeviceId, Origin)> {
        let lane = self.0.get_mut(lane)?;
        let at = usize::try_from(counter.checked_sub(lane.first)?).ok()?;
        lane.cells.get_mut(at)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_cells_of_each_lane_once() {
        let mut sent = SentCells::new(1);
        let (peer, cell) = (DeviceId::new([1; 32]), |n| Origin::Conversation(CellId(n)));
        sent.push(0, None);
        for n in 0..SENT_CELLS_MAX as u64 {
            sent.push(0, Some((peer, cell(n))));
        }
        sent.push(3, Some((peer, Origin::Pairing)));
        let mut check = |lane, counter, expect| assert_eq!(sent.take(lane, counter), expect);
        check(0, 0, None);
        check(0, 1, None);
        check(0, 2, Some((peer, cell(0))));
        check(0, 2, None);
        check(0, SENT_CELLS_MAX as u64 + 1, Some((peer, cell(SENT_CELLS_MAX as u64 - 1))));
        check(0, SENT_CELLS_MAX as u64 + 2, None);
        check(3, 0, Some((peer, Origin::Pairing)));
        check(8, 0, None);
    }
}
