//! One connection: what leaves by it, and the state it is in.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hushwire_wire::cell::{Class, LaneCounters};
use hushwire_wire::control::{Control, Transport};
use hushwire_wire::id::{AccountId, DeviceId};

use crate::command::Why;
use crate::id::{ConnId, ShardId};
use crate::queue::Queue;
use crate::rate::{Pace, Window};
use crate::time::Time;

pub(crate) struct Connection {
    pub(crate) outlet: Outlet,
    /// When a cell last arrived.
    pub(crate) heard: Time,
    pub(crate) received: LaneCounters,
    pub(crate) state: State,
}

impl Connection {
    pub(crate) fn fresh(deadline: Time, now: Time) -> Self {
        Self {
            outlet: Outlet::new(),
            heard: now,
            received: LaneCounters::default(),
            state: State::Fresh(Fresh { deadline }),
        }
    }

    #[inline]
    pub(crate) fn member(&self) -> Option<&Member> {
        if let State::Member(member) = &self.state { Some(member) } else { None }
    }

    #[inline]
    pub(crate) fn member_mut(&mut self) -> Option<&mut Member> {
        if let State::Member(member) = &mut self.state { Some(member) } else { None }
    }
}

/// Nearly all connections are members, and a cell must not follow one more pointer: nothing is boxed.
pub(crate) enum State {
    Fresh(Fresh),
    Asking(Asking),
    Member(Member),
    Closing(Closing),
}

/// It has not introduced itself; it may still be in its TLS handshake.
pub(crate) struct Fresh {
    pub(crate) deadline: Time,
}

/// It has introduced itself, and the store is being asked.
pub(crate) struct Asking {
    pub(crate) device: DeviceId,
    pub(crate) transport: Transport,
    pub(crate) deadline: Time,
}

/// It was welcomed.
pub(crate) struct Member {
    pub(crate) pace: Pace,
    /// Grows when a grant is given or taken: flows found under an earlier one are looked up anew.
    pub(crate) epoch: u32,
    pub(crate) hidden: bool,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    /// When it had to be welcome: the later, the newer it is.
    pub(crate) deadline: Time,
    pub(crate) flow: Flow,
    /// Sorted.
    pub(crate) grants: Vec<DeviceId>,
    pub(crate) memory: Memory,
    /// When it was last told that it is over its rate.
    pub(crate) scolded: Option<Time>,
}

/// What is remembered of a device beyond its connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) refusals: Window,
    pub(crate) displacements: Window,
}

/// Its last words are on their way; nothing it says counts any more.
pub(crate) struct Closing {
    pub(crate) why: Why,
    pub(crate) deadline: Time,
    /// Whether the I/O layer was told to close it.
    pub(crate) announced: bool,
}

/// Where the last cell of a connection went: the same peer's next one needs no look-up.
pub(crate) struct Flow {
    pub(crate) peer: DeviceId,
    pub(crate) target: Target,
}

impl Flow {
    /// Never the peer of a unicast.
    pub(crate) const NONE: Self = Self { peer: DeviceId::ZERO, target: Target::Port(ShardId(0)) };
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    Local { to: ConnId, epoch: u32 },
    Port(ShardId),
}

/// What leaves by a connection.
pub(crate) struct Outlet {
    /// Bytes sealed and not drained.
    pub(crate) sealed: u32,
    /// A bit for each lane that the device gives no credit for.
    pub(crate) stuck: u8,
    /// It could not hold one more control message: it will be closed.
    pub(crate) overflowed: bool,
    pub(crate) queue: Queue,
    /// Control messages that wait; without memory of its own while empty.
    pub(crate) backlog: VecDeque<Control>,
    pub(crate) slots: Option<Box<Slotted>>,
}

/// A connection under constant cover.
pub(crate) struct Slotted {
    pub(crate) class: Class,
    pub(crate) interval_nanos: u64,
    pub(crate) due: Time,
    /// Bytes of the open slot not yet filled.
    pub(crate) left: usize,
}

impl Outlet {
    fn new() -> Self {
        Self {
            sealed: 0,
            stuck: 0,
            overflowed: false,
            queue: Queue::new(),
            backlog: VecDeque::new(),
            slots: None,
        }
    }

    /// Whether a cell may be sealed at once without overtaking another or leaving outside a slot.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.queue.cells() == 0 && self.backlog.is_empty() && self.slots.is_none()
    }

    /// Whether the device gives no credit for this lane.
    #[inline]
    pub(crate) fn is_stuck(&self, lane: u8) -> bool {
        self.stuck >> (lane & 7) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.cells() == 0 && self.backlog.is_empty()
    }

    pub(crate) fn pop_backlog(&mut self) -> Option<Control> {
        let control = self.backlog.pop_front();
        if self.backlog.is_empty() {
            self.backlog = VecDeque::new();
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        let bytes = core::mem::size_of::<Connection>();
        assert!(bytes <= 448, "{bytes} bytes: memory of an idle device is counted in bytes");
    }
}
