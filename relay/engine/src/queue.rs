//! The queued stage: plaintext cells that wait in slots, one list per connection, all in one pool.
//!
//! A device's queue is shared by its senders. One may hold a quarter, and while others wait at most half
//! of what they leave; a queue may grow only while it is smaller than what is left of the pool. So where
//! memory runs short, whoever holds most hears `busy` first (Choudhury and Hahne, "Dynamic queue length
//! thresholds for shared-memory packet switches", 1998).

use alloc::vec::Vec;

use hashbrown::HashTable;
use hushwire_wire::cell::Class;
use hushwire_wire::id::DeviceId;

use crate::command::Stored;
use crate::hash::TableKey;
use crate::limits::SENDER_SHARE_PARTS;
use crate::port::Origin;

const NONE: u32 = u32::MAX;

/// A cell that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) stored: Stored,
    pub(crate) class: Class,
    pub(crate) origin: Origin,
}

/// The list of one connection.
#[derive(Debug)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    bytes: u32,
    cells: u32,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { head: NONE, tail: NONE, bytes: 0, cells: 0 }
    }

    pub(crate) const fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(crate) const fn cells(&self) -> u32 {
        self.cells
    }
}

struct Entry {
    waiting: Waiting,
    next: u32,
    share: u32,
}

/// What one sender holds of one queue. It exists only while it holds something.
struct Share {
    /// Index of the recipient's connection; a queue is emptied before its index is used again.
    recipient: u32,
    sender: DeviceId,
    bytes: u32,
    next_free: u32,
}

/// What one waiting cell takes beside itself.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>();
/// What one sender's share takes, with its place in the table.
pub(crate) const SHARE_BYTES: usize = size_of::<Share>() + 1 + size_of::<u32>();

pub(crate) struct Pool {
    entries: Vec<Entry>,
    free_entry: u32,
    shares: Vec<Share>,
    free_share: u32,
    by_sender: HashTable<u32>,
    key: TableKey,
    bytes: usize,
    cells: usize,
    bytes_high: usize,
    /// Bytes sealed and not drained, of all connections.
    sealed: usize,
    bytes_max: usize,
    device_bytes_max: u32,
}

impl Pool {
    pub(crate) fn new(bytes_max: usize, device_bytes_max: u32, key: TableKey) -> Self {
        Self {
            entries: Vec::new(),
            free_entry: NONE,
            shares: Vec::new(),
            free_share: NONE,
            by_sender: HashTable::new(),
            key,
            bytes: 0,
            cells: 0,
            bytes_high: 0,
            sealed: 0,
            bytes_max,
            device_bytes_max,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn bytes_high(&self) -> usize {
        self.bytes_high
    }

    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    pub(crate) fn sealed(&self) -> usize {
        self.sealed
    }

    /// What is left for both stages together.
    #[inline]
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes + self.sealed)
    }

    /// Whether a connection whose sealed stage holds `held` bytes may seal `len` more. As with queues, one
    /// may hold as much as is left for all others (Choudhury and Hahne, dynamic thresholds): those that do
    /// not read leave room for those that do.
    #[inline]
    pub(crate) fn may_seal(&self, held: u32, len: u32) -> bool {
        (held + len) as usize <= self.room()
    }

    /// Bytes were sealed. What was queued takes as much as before but for its records' overhead, so a
    /// queue may always go on when its connection drains.
    #[inline]
    pub(crate) fn charge_sealed(&mut self, len: u32) {
        self.sealed += len as usize;
    }

    /// Sealed bytes have left, or their connection has.
    #[inline]
    pub(crate) fn discharge_sealed(&mut self, len: u32) {
        self.sealed -= len as usize;
    }

    /// Whether one more cell of `sender` may wait for the connection at index `recipient`, whose sealed
    /// stage holds `sealed` bytes.
    pub(crate) fn admits(
        &self,
        queue: &Queue,
        sealed: u32,
        recipient: u32,
        sender: &DeviceId,
        class: Class,
    ) -> bool {
        let own = self.share_of(recipient, sender).map_or(0, |share| self.bytes_of(share));
        let others = queue.bytes - own;
        let part = self.device_bytes_max / SENDER_SHARE_PARTS;
        let room = match others {
            0 => part,
            _ => part.min((self.device_bytes_max - others) / 2),
        };
        let len = class.cell_len();
        own as usize + len <= room as usize && (queue.bytes + sealed) as usize + len <= self.room()
    }

    /// Adds a cell that was admitted.
    pub(crate) fn push(
        &mut self,
        queue: &mut Queue,
        recipient: u32,
        sender: &DeviceId,
        waiting: Waiting,
    ) {
        let len = waiting.class.cell_len();
        let share = self.share_for(recipient, sender);
        self.shares[share as usize].bytes += len as u32;
        let entry = Entry { waiting, next: NONE, share };
        let index = match self.free_entry {
            NONE => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
            free => {
                self.free_entry = self.entries[free as usize].next;
                self.entries[free as usize] = entry;
                free
            }
        };
        match queue.tail {
            NONE => queue.head = index,
            tail => self.entries[tail as usize].next = index,
        }
        queue.tail = index;
        queue.bytes += len as u32;
        queue.cells += 1;
        self.bytes += len;
        self.cells += 1;
        self.bytes_high = self.bytes_high.max(self.bytes);
    }

    /// The class of the cell that [`Pool::pop`] would return.
    pub(crate) fn front(&self, queue: &Queue) -> Option<Class> {
        self.entries.get(queue.head as usize).map(|entry| entry.waiting.class)
    }

    pub(crate) fn pop(&mut self, queue: &mut Queue) -> Option<Waiting> {
        let index = queue.head;
        let entry = self.entries.get_mut(index as usize)?;
        let (waiting, share) = (entry.waiting, entry.share);
        queue.head = core::mem::replace(&mut entry.next, self.free_entry);
        self.free_entry = index;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        let len = waiting.class.cell_len();
        queue.bytes -= len as u32;
        queue.cells -= 1;
        self.bytes -= len;
        self.cells -= 1;
        self.shares[share as usize].bytes -= len as u32;
        if self.bytes_of(share) == 0 {
            self.free(share);
        }
        Some(waiting)
    }

    /// Takes the cells of one lane out; the others keep their order.
    pub(crate) fn take_lane(
        &mut self,
        queue: &mut Queue,
        recipient: u32,
        lane: u8,
    ) -> Vec<Waiting> {
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        while let Some(entry) = self.entries.get(queue.head as usize) {
            let sender = self.shares[entry.share as usize].sender;
            let Some(waiting) = self.pop(queue) else { break };
            if waiting.origin.lane == lane {
                taken.push(waiting);
            } else {
                kept.push((sender, waiting));
            }
        }
        for (sender, waiting) in kept {
            self.push(queue, recipient, &sender, waiting);
        }
        taken
    }

    /// The largest share of any queue, in bytes, and the sum of all.
    pub(crate) fn audit_shares(&self) -> (u32, usize) {
        let bytes = || self.by_sender.iter().map(|&share| self.bytes_of(share));
        (bytes().max().unwrap_or(0), bytes().map(|bytes| bytes as usize).sum())
    }

    fn bytes_of(&self, share: u32) -> u32 {
        self.shares[share as usize].bytes
    }

    fn hash(&self, recipient: u32, sender: &DeviceId) -> u64 {
        self.key.hash_device(sender) ^ u64::from(recipient).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn share_of(&self, recipient: u32, sender: &DeviceId) -> Option<u32> {
        let is_it = |&index: &u32| {
            let share = &self.shares[index as usize];
            share.recipient == recipient && share.sender == *sender
        };
        self.by_sender.find(self.hash(recipient, sender), is_it).copied()
    }

    fn share_for(&mut self, recipient: u32, sender: &DeviceId) -> u32 {
        if let Some(share) = self.share_of(recipient, sender) {
            return share;
        }
        let share = Share { recipient, sender: *sender, bytes: 0, next_free: NONE };
        let index = match self.free_share {
            NONE => {
                self.shares.push(share);
                self.shares.len() as u32 - 1
            }
            free => {
                self.free_share = self.shares[free as usize].next_free;
                self.shares[free as usize] = share;
                free
            }
        };
        let hash = self.hash(recipient, sender);
        let Self { by_sender, shares, key, .. } = self;
        by_sender.insert_unique(hash, index, |&index| {
            let share = &shares[index as usize];
            key.hash_device(&share.sender)
                ^ u64::from(share.recipient).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        index
    }

    fn free(&mut self, share: u32) {
        let Share { recipient, sender, .. } = self.shares[share as usize];
        let hash = self.hash(recipient, &sender);
        if let Ok(found) = self.by_sender.find_entry(hash, |&index| index == share) {
            found.remove();
        }
        self.shares[share as usize].next_free = self.free_share;
        self.free_share = share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, ShardId, Slot};
    use crate::time::Time;

    const MIB: u32 = 1024 * 1024;

    fn waiting(slot: u32, class: Class) -> Waiting {
        let conn = ConnId { index: 9, generation: 0 };
        let origin = Origin { shard: ShardId(0), conn, lane: 0, counter: 0, heard: Time::ZERO };
        Waiting { stored: Stored { slot: Slot(slot), wrapped: None }, class, origin }
    }

    /// Fills `queue` with cells of `sender` until it is refused; how many bytes it got in.
    fn fill(pool: &mut Pool, queue: &mut Queue, recipient: u32, sender: u8, class: Class) -> u32 {
        let (sender, before) = (DeviceId::new([sender; 32]), queue.bytes());
        while pool.admits(queue, 0, recipient, &sender, class) {
            pool.push(queue, recipient, &sender, waiting(0, class));
        }
        queue.bytes() - before
    }

    fn pool(bytes_max: usize) -> Pool {
        Pool::new(bytes_max, MIB, TableKey::new(&[3; 16]))
    }

    #[test]
    fn cells_leave_in_order_and_everything_is_given_back() {
        let mut pool = pool(64 << 20);
        let mut queue = Queue::new();
        for (slot, class) in [(1, Class::C0), (2, Class::C7), (3, Class::C1)] {
            pool.push(&mut queue, 4, &DeviceId::new([slot as u8; 32]), waiting(slot, class));
        }
        assert_eq!((queue.bytes(), queue.cells()), (256 + 32_768 + 512, 3));
        assert_eq!(pool.front(&queue), Some(Class::C0));
        let slots = core::iter::from_fn(|| pool.pop(&mut queue)).map(|w| w.stored.slot.0);
        assert!(slots.eq([1, 2, 3]));
        assert_eq!((queue.bytes(), queue.cells(), pool.bytes(), pool.cells()), (0, 0, 0, 0));
        assert_eq!(pool.audit_shares(), (0, 0));
        assert_eq!(pool.by_sender.len(), 0);
        pool.push(&mut queue, 4, &DeviceId::new([1; 32]), waiting(7, Class::C0));
        assert_eq!((pool.entries.len(), pool.shares.len()), (3, 3), "places are used again");
    }

    #[test]
    fn one_sender_gets_a_quarter_and_others_half_of_what_is_left() {
        let mut pool = pool(64 << 20);
        let mut queue = Queue::new();
        assert_eq!(fill(&mut pool, &mut queue, 0, 1, Class::C2), MIB / 4);
        assert_eq!(fill(&mut pool, &mut queue, 0, 2, Class::C2), MIB / 4);
        assert_eq!(fill(&mut pool, &mut queue, 0, 3, Class::C2), MIB / 4);
        assert_eq!(fill(&mut pool, &mut queue, 0, 4, Class::C2), MIB / 8);
        assert_eq!(fill(&mut pool, &mut queue, 0, 5, Class::C2), MIB / 16);
        assert_eq!(fill(&mut pool, &mut queue, 0, 1, Class::C2), 0);
        assert!(queue.bytes() < MIB);
        assert!(fill(&mut pool, &mut queue, 0, 6, Class::C2) > 0, "a newcomer finds room");
        let mut other = Queue::new();
        assert_eq!(fill(&mut pool, &mut other, 1, 1, Class::C0), MIB / 4, "a share is per queue");
    }

    #[test]
    fn where_the_pool_runs_short_the_largest_queue_is_refused_first() {
        let mut pool = pool(MIB as usize / 4);
        let (mut large, mut small) = (Queue::new(), Queue::new());
        assert_eq!(fill(&mut pool, &mut large, 0, 1, Class::C2), MIB / 8);
        assert_eq!(fill(&mut pool, &mut small, 1, 1, Class::C2), MIB / 16);
        let (sender, class) = (DeviceId::new([2; 32]), Class::C2);
        assert!(!pool.admits(&large, 0, 0, &sender, class));
        assert!(pool.admits(&Queue::new(), 0, 2, &sender, class));
        assert!(pool.bytes() <= MIB as usize / 4);
        assert_eq!(pool.bytes_high(), pool.bytes());
    }
}
