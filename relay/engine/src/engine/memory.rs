//! What an engine takes when everything in it is full.

use alloc::vec::Vec;
use core::mem::size_of;

use hushwire_wire::cell::Class;
use hushwire_wire::control::Control;
use hushwire_wire::id::{AccountId, DeviceId};

use super::delivery::Refusal;
use super::pairing::Rendezvous;
use super::requests::{Pending, Usage};
use crate::command::Command;
use crate::connection::{Connection, Memory};
use crate::id::{ConnId, Ticket};
use crate::limits::{
    ABSENT_DEVICES_MAX, ABSENT_SENDERS_MAX, ACCOUNTS_COUNTED_MAX, ADMISSIONS_PENDING_MAX,
    COMMANDS_PER_INPUT_MAX, COMMANDS_SOFT_MAX, CONTROL_BACKLOG_SHARD_MAX, EngineLimits,
    OPERATIONS_PENDING_MAX, PERMITS_MAX, REACH_CELLS_MAX, REACH_QUESTIONS_MAX,
    REFUSALS_WAITING_MAX, REMEMBERED_MAX, RENDEZVOUS_MAX, SEALED_BEYOND_POOL_BYTES, SOURCE_BUCKETS,
};
use crate::port::Origin;
use crate::time::Time;
use crate::{absent, queue, slab, wheel};

/// The text of a control message that waits: a sentence.
const SENTENCE_BYTES: usize = 128;
/// A list that grew may have twice the room it needs.
const GROWTH: usize = 2;

/// One table or queue of an engine when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLine {
    /// What it is for.
    pub what: &'static str,
    /// How many entries.
    pub count: usize,
    /// Bytes each.
    pub size_bytes: usize,
}

impl EngineLimits {
    /// What an engine with these limits takes when everything in it is full, the cells that it lets the
    /// I/O layer keep included: queued and sealed ones together are one line.
    #[must_use]
    pub fn memory(&self) -> Vec<MemoryLine> {
        let line = |what, count, size_bytes| MemoryLine { what, count, size_bytes };
        let connections = self.connections_max as usize;
        let cells = self.egress_pool_bytes / Class::C0.cell_len();
        let per_connection = slab::place_bytes::<Connection>() + wheel::LINK_BYTES;
        let free_list = GROWTH * size_of::<u32>();
        let control = GROWTH * size_of::<Control>() + SENTENCE_BYTES;
        alloc::vec![
            line("engine: connections", connections, per_connection + free_list),
            line("engine: devices", buckets(connections), 1 + size_of::<(DeviceId, ConnId)>()),
            line("engine: grants held", self.grants_max, size_of::<DeviceId>()),
            line("cells queued and sealed", cells, Class::C0.cell_len()),
            line("sealed beyond the pool", connections, SEALED_BEYOND_POOL_BYTES),
            line("engine: cells that wait", cells, GROWTH * queue::ENTRY_BYTES),
            line("engine: shares of senders", cells, GROWTH * queue::SHARE_BYTES),
            line("engine: control backlog", CONTROL_BACKLOG_SHARD_MAX, control),
            line(
                "engine: absent devices",
                buckets(ABSENT_DEVICES_MAX),
                1 + size_of::<(DeviceId, Vec<()>)>(),
            ),
            line(
                "engine: absent answers",
                ABSENT_DEVICES_MAX * ABSENT_SENDERS_MAX,
                absent::ANSWER_BYTES,
            ),
            line("engine: questions", buckets(REACH_QUESTIONS_MAX), absent::QUESTION_BYTES),
            line(
                "engine: cells of questions",
                REACH_QUESTIONS_MAX * REACH_CELLS_MAX,
                size_of::<Origin>(),
            ),
            line(
                "engine: asked of the store",
                buckets(OPERATIONS_PENDING_MAX + ADMISSIONS_PENDING_MAX),
                1 + size_of::<(Ticket, Pending)>(),
            ),
            bounded::<AccountId, Usage>("engine: accounts counted", ACCOUNTS_COUNTED_MAX),
            bounded::<[u8; 16], Rendezvous>("engine: rendezvous", RENDEZVOUS_MAX),
            bounded::<(DeviceId, DeviceId), u32>("engine: permits", PERMITS_MAX),
            bounded::<DeviceId, Memory>("engine: remembered", REMEMBERED_MAX),
            line("engine: refusals", REFUSALS_WAITING_MAX, GROWTH * size_of::<Refusal>()),
            line("engine: sources", 2 * SOURCE_BUCKETS, size_of::<u64>()),
            line(
                "engine: commands",
                COMMANDS_PER_INPUT_MAX + COMMANDS_SOFT_MAX,
                GROWTH * size_of::<Command>(),
            ),
        ]
    }
}

/// Buckets of a hash table with room for so many: a power of two, at most seven eighths full.
const fn buckets(entries: usize) -> usize {
    match entries.checked_mul(8) {
        Some(eighths) => (eighths / 7).next_power_of_two(),
        None => usize::MAX,
    }
}

const fn bounded<K, V>(what: &'static str, limit: usize) -> MemoryLine {
    MemoryLine { what, count: buckets(limit), size_bytes: 1 + size_of::<(K, (V, Time))>() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GRANTS_HELD_MAX;

    #[test]
    fn tables_are_billed_by_their_buckets() {
        let check = |entries| {
            let table = hashbrown::HashTable::<u64>::with_capacity(entries);
            assert!(table.capacity() <= buckets(entries), "{entries}");
            assert!(buckets(entries) * 7 / 8 >= entries, "{entries}");
        };
        for entries in [100, 7_168, 16_384, 32_768, 65_535] {
            check(entries);
        }
        assert_eq!(buckets(usize::MAX), usize::MAX);
    }

    #[test]
    fn the_bill_follows_the_limits() {
        let of = |limits: &EngineLimits, what| {
            let lines = limits.memory();
            let line = *lines.iter().find(|line| line.what == what).expect("on the bill");
            line.count * line.size_bytes
        };
        let small = EngineLimits { connections_max: 1_000, ..EngineLimits::default() };
        let large = EngineLimits {
            connections_max: 2_000,
            egress_pool_bytes: 2 * small.egress_pool_bytes,
            grants_max: 2 * GRANTS_HELD_MAX,
            ..small
        };
        for what in ["engine: connections", "sealed beyond the pool", "cells queued and sealed"] {
            assert_eq!(of(&large, what), 2 * of(&small, what), "{what}");
        }
        assert_eq!(of(&small, "engine: grants held"), 32 * GRANTS_HELD_MAX);
    }
}
