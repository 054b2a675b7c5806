//! Many engines, devices, a store and a network from one seed, in one thread.
//!
//! The network delays, reorders between connections, cuts and floods; readers stop; the store answers
//! late, not at all, or about a past that is over; the mesh is short of room. While a run goes on, checkers
//! look on:
//!
//! * *bounded*: after every event each queue of each engine is within its number;
//! * *no bleed*: a cell reaches its own recipient only, by its own slot, and never a stranger;
//! * *accounted*: every cell that was sent is delivered, reported or refused once, never twice, unless the
//!   connection of its sender or its recipient died;
//! * *in order*: between two connections no cell overtakes another;
//! * *unobservable*: under constant cover, one seed with and without payload shows an observer the same
//!   times, sizes and directions.
//!
//! A run is a pure function of its seed and its plan, so that a seed that fails can be played again.

mod device;
mod io;
mod ledger;
mod links;
mod network;
mod output;
mod plan;
mod random;
mod store;
mod world;

pub(crate) use plan::{Fault, Plan};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) reported: u64,
    pub(crate) queued: u64,
    pub(crate) crossed: u64,
    pub(crate) handed_over: u64,
    pub(crate) covers: u64,
    /// Things an observer of all links saw.
    pub(crate) seen: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.reported += other.reported;
        self.queued += other.queued;
        self.crossed += other.crossed;
        self.handed_over += other.handed_over;
        self.covers += other.covers;
        self.seen += other.seen;
    }
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) checker: &'static str,
    pub(crate) what: String,
}

/// Plays one plan.
pub(crate) fn play(plan: Plan) -> Result<Summary, Violation> {
    Ok(world::World::new(plan).play()?.0)
}

/// Plays one seed with and without payload and compares what an observer saw.
pub(crate) fn play_unobservable(seed: u64, fault: Fault) -> Result<Summary, Violation> {
    let (summary, with) = world::World::new(Plan::constant(seed, true, fault)).play()?;
    let (_, without) = world::World::new(Plan::constant(seed, false, fault)).play()?;
    let difference = with.iter().zip(&without).position(|(with, without)| with != without);
    if difference.is_some() || with.len() != without.len() {
        let at = difference.unwrap_or(with.len().min(without.len()));
        let (with, without) = (with.get(at), without.get(at));
        let what = format!("with payload {with:?} was seen, without {without:?} (item {at})");
        return Err(Violation { checker: "unobservable", what });
    }
    Ok(summary)
}

/// Plays everything one seed stands for.
pub(crate) fn play_seed(seed: u64, fault: Fault) -> Result<Summary, Violation> {
    let mut summary = play(Plan::open(seed, fault))?;
    summary.add(&play_unobservable(seed, fault)?);
    Ok(summary)
}

/// Breaks the engine and plays seeds until a checker notices: the seed, and what was found.
pub(crate) fn catch(fault: Fault, seeds: u64) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| play_seed(seed, fault).err().map(|violation| (seed, violation)))
}
