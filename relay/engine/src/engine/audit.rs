//! Counting everything anew.

use super::Engine;
use super::requests::Pending;
use crate::audit::Audit;
use crate::connection::{Connection, State};

impl Engine {
    /// Counts everything anew and checks that the engine agrees with itself. Walks every table.
    ///
    /// # Panics
    /// If it does not: a bug of the engine.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let all = || self.connections.iter().map(|(_, connection)| connection);
        let members = || all().filter_map(Connection::member);
        let largest = |measure: fn(&Connection) -> usize| all().map(measure).max().unwrap_or(0);
        let sum = |measure: fn(&Connection) -> usize| all().map(measure).sum::<usize>();
        let unauthenticated =
            all().filter(|c| matches!(c.state, State::Fresh(_) | State::Asking(_))).count();
        assert_eq!(unauthenticated, self.unauthenticated as usize);
        assert_eq!(self.devices.len(), members().count(), "each member is found by its device");
        for (conn, connection) in self.connections.iter() {
            if let State::Member(member) = &connection.state {
                assert_eq!(self.devices.get(&member.device), Some(conn));
            }
        }
        assert_eq!(self.pool.bytes(), sum(|c| c.outlet.queue.bytes() as usize));
        assert_eq!(self.pool.cells(), sum(|c| c.outlet.queue.cells() as usize));
        let (share_bytes, share_bytes_sum) = self.pool.audit_shares();
        assert_eq!(share_bytes_sum, self.pool.bytes(), "each waiting byte is somebody's");
        assert_eq!(self.pool.sealed(), sum(|c| c.outlet.sealed as usize));
        let grants_shard = members().map(|member| member.grants.len()).sum();
        assert_eq!(self.grants_held, grants_shard);
        assert_eq!(self.backlogged, sum(|c| c.outlet.backlog.len()));
        assert_eq!(self.slotted, all().filter(|c| c.outlet.slots.is_some()).count());
        let is_admission = |pending: &&Pending| matches!(pending, Pending::Admission { .. });
        let admissions_pending = self.pending.values().filter(is_admission).count();
        assert_eq!(self.operations_pending, self.pending.len() - admissions_pending);
        let (absent_devices, absent_senders, reach_questions, reach_cells) = self.absent.audit();
        Audit {
            connections: self.connections.len(),
            unauthenticated,
            sealed_bytes: largest(|c| c.outlet.sealed as usize),
            sealed_bytes_shard: self.pool.sealed(),
            queued_bytes: largest(|c| c.outlet.queue.bytes() as usize),
            share_bytes: share_bytes as usize,
            pool_bytes: self.pool.bytes(),
            pool_cells: self.pool.cells(),
            backlog: largest(|c| c.outlet.backlog.len()),
            backlog_shard: self.backlogged,
            grants: members().map(|member| member.grants.len()).max().unwrap_or(0),
            grants_shard,
            absent_devices,
            absent_senders,
            reach_questions,
            reach_cells,
            operations_pending: self.operations_pending,
            admissions_pending,
            accounts_counted: self.accounts.len(),
            rendezvous: self.rendezvous.len(),
            permits: self.permits.len(),
            remembered: self.remembered.len(),
            refusals: self.refusals.len(),
            slotted: self.slotted,
            commands: self.commands.len(),
        }
    }
}
