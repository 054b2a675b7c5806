//! Kills the relay and both ends of chats and file transfers, which are real processes, at moments that a seed chooses,
//! starts them again, and looks whether anything was lost, repeated or left behind.
//!
//! `Talker` and `Courier` are what an honest application does around its crashes: it remembers nothing itself, and
//! learns from the library's journal what was taken from it.

mod courier;
mod driver;
#[path = "../../support/people.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "what the tests of whole processes share; a part of it is used here"
)]
mod people;
mod process;
mod random;
mod relay;
mod strikes;
mod summary;
mod talker;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use driver::Driver;
use random::Random;
use strikes::Strikes;
pub(crate) use summary::Summary;
use world::World;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) hush: PathBuf,
    /// Decides who is killed when, and what is said and sent.
    pub(crate) seed: u64,
    /// Kills in all.
    pub(crate) kills: u64,
    /// Leaves the directories of a run that has failed where they are.
    pub(crate) keep: bool,
}

/// Plays a plan.
///
/// # Errors
/// What was lost, repeated or left behind.
pub(crate) fn play(plan: &Plan) -> Result<Summary> {
    let mut random = Random::new(plan.seed);
    let world = World::make(&plan.hush, &mut random)?;
    let strikes = Strikes::new(random.clone(), plan.kills);
    let mut driver = Driver::new(world, strikes);
    let outcome = driver.run();
    let story = || format!("seed {}, lately:{}", plan.seed, driver.story());
    let outcome = outcome.with_context(story);
    if outcome.is_err() && plan.keep {
        let place = driver.keep();
        return outcome.context(format!("what is left is in {}", place.display()));
    }
    outcome
}
