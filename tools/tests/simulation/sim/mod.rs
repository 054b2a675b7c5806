//! Devices, each with an application, a disk and the endpoint's own link and conversations, on the relay's own
//! engines, from one seed, in one thread with virtual time.
//!
//! Processes are killed, the relay is killed, connections are cut or fall silent, disks are slow and fail, clocks
//! jump, readers stop, a device is set back to a backup or lost; in a third of the seeds the relay is hostile for
//! as long as there is trouble: it drops, delays, reorders, repeats, replays and changes cells, swaps senders and
//! lies about what it delivered. HELLO and its proof, cells, counters, lanes, queues and reports are real; TLS,
//! records and sockets are outside. Checkers look on:
//!
//! * *exactly once*: a message that was promised is taken once, or at most once where it ended as rejected or expired;
//!   one that was not promised never; messages are handed out in order, and none again that the disk knows of;
//! * *one end*: each promised message ends in one way, the same in memory and on disk, and no earlier told than stored;
//!   `delivered` only if the application took it and its disk knows;
//! * *whole*: what has come by streams is a prefix of the content, and at the end the content;
//! * *bounded*: outboxes, what applications hold, and the engines' queues are within their numbers;
//! * *live*: some time after the trouble everything has ended;
//! * *no forgery*: nothing reaches an application that the peer did not send so;
//! * *protocol*: relay and devices never break the protocol towards each other.
//!
//! A run is a pure function of its seed and its plan, so that a seed that fails can be played again.

mod app;
mod device;
mod hostile;
mod ledger;
mod plan;
mod random;
mod relay;
mod store;
mod transfer;
mod world;

pub(crate) use plan::{Fault, Plan};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) sessions: u64,
    pub(crate) kills: u64,
    pub(crate) troubles: u64,
    pub(crate) disk_failures: u64,
    pub(crate) hostile: u64,
    pub(crate) set_backs: u64,
    /// Messages taken by applications.
    pub(crate) taken: u64,
    pub(crate) delivered: u64,
    pub(crate) rejected: u64,
    pub(crate) expired: u64,
    /// Messages that were given and never promised.
    pub(crate) lost: u64,
    /// Bytes by streams.
    pub(crate) content: u64,
    /// Stands for everything that happened.
    pub(crate) trace: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.sessions += other.sessions;
        self.kills += other.kills;
        self.troubles += other.troubles;
        self.disk_failures += other.disk_failures;
        self.hostile += other.hostile;
        self.set_backs += other.set_backs;
        self.taken += other.taken;
        self.delivered += other.delivered;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.lost += other.lost;
        self.content += other.content;
        self.trace ^= other.trace;
    }
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) checker: &'static str,
    pub(crate) what: String,
}

/// Plays everything one seed stands for.
pub(crate) fn play_seed(seed: u64, fault: Fault) -> Result<Summary, Violation> {
    world::World::new(Plan::draw(seed, fault)).play()
}

/// Breaks something and plays seeds until a checker notices: the seed, and what was found.
pub(crate) fn catch(fault: Fault, seeds: u64) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| play_seed(seed, fault).err().map(|violation| (seed, violation)))
}
