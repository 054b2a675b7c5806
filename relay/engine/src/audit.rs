//! The length of every queue, counted anew. For the simulation's checkers; it walks all tables.

/// What [`Engine::audit`] found.
///
/// [`Engine::audit`]: crate::Engine::audit
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Connections.
    pub connections: usize,
    /// Connections not welcomed.
    pub unauthenticated: usize,
    /// The largest sealed stage, in bytes.
    pub sealed_bytes: usize,
    /// All sealed stages, in bytes.
    pub sealed_bytes_shard: usize,
    /// The largest queue of a device, in bytes.
    pub queued_bytes: usize,
    /// The largest share of a queue that one sender holds, in bytes.
    pub share_bytes: usize,
    /// All queues, in bytes.
    pub pool_bytes: usize,
    /// All queues, in cells.
    pub pool_cells: usize,
    /// The longest control backlog, in messages.
    pub backlog: usize,
    /// All control backlogs, in messages.
    pub backlog_shard: usize,
    /// The largest number of grants held for a device.
    pub grants: usize,
    /// All grants held.
    pub grants_shard: usize,
    /// Absent devices remembered.
    pub absent_devices: usize,
    /// The most answers kept for one of them.
    pub absent_senders: usize,
    /// Open questions about absent devices.
    pub reach_questions: usize,
    /// The most cells that wait for one question.
    pub reach_cells: usize,
    /// Requests the store works on.
    pub operations_pending: usize,
    /// Admissions the store works on.
    pub admissions_pending: usize,
    /// Accounts counted.
    pub accounts_counted: usize,
    /// Rendezvous.
    pub rendezvous: usize,
    /// Permits.
    pub permits: usize,
    /// Devices remembered.
    pub remembered: usize,
    /// Refusals that wait for their tick.
    pub refusals: usize,
    /// Connections served by slots.
    pub slotted: usize,
    /// Commands not yet polled.
    pub commands: usize,
}
