//! Who is killed when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::random::Random;

/// Who can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Relay,
    /// One end of the chat: `hush chat`, sender and receiver at once.
    Alice,
    /// The other.
    Bob,
    /// `hush send`, a file after the other.
    Sender,
    /// `hush receive`.
    Receiver,
}

/// One round; each is played in an order of its own.
const ROUND: [Victim; 10] = [
    Victim::Relay,
    Victim::Relay,
    Victim::Alice,
    Victim::Alice,
    Victim::Bob,
    Victim::Bob,
    Victim::Sender,
    Victim::Sender,
    Victim::Receiver,
    Victim::Receiver,
];
/// The longest wait for the next kill, in milliseconds.
const WAIT_MS_MAX: u64 = 1_600;
/// The longest a victim stays away, in milliseconds.
const AWAY_MS_MAX: u64 = 400;

/// One kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) victim: Victim,
    /// It comes after this time, ...
    pub(crate) after: Duration,
    /// ... or as soon as the victim has printed so many lines; the relay prints none.
    pub(crate) lines: Option<u64>,
    /// The victim is started again after this time.
    pub(crate) away: Duration,
}

/// All kills of a run.
#[derive(Debug)]
pub(crate) struct Strikes {
    random: Random,
    round: Vec<Victim>,
    left: u64,
    made: BTreeMap<Victim, u64>,
}

impl Strikes {
    pub(crate) const fn new(random: Random, kills: u64) -> Self {
        Self { random, round: Vec::new(), left: kills, made: BTreeMap::new() }
    }

    pub(crate) const fn made(&self) -> &BTreeMap<Victim, u64> {
        &self.made
    }

    /// Whether the last one has been drawn.
    pub(crate) const fn is_over(&self) -> bool {
        self.left == 0
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Option<Strike> {
        self.left = self.left.checked_sub(1)?;
        if self.round.is_empty() {
            self.round = ROUND.to_vec();
            self.random.shuffle(&mut self.round);
        }
        let victim = self.round.pop().expect("a round was filled");
        *self.made.entry(victim).or_default() += 1;
        let (after, lines) = match self.random.below(10) {
            // Two at the same moment.
            0 => (0, None),
            // While it starts, or just after.
            1 => (self.random.below(60), None),
            2..6 => (self.random.below(WAIT_MS_MAX), None),
            _ => (WAIT_MS_MAX, Some(1 + self.random.below(40))),
        };
        let lines = lines.filter(|_| victim != Victim::Relay);
        let away = if self.random.percent(30) { 0 } else { self.random.below(AWAY_MS_MAX) };
        let (after, away) = (Duration::from_millis(after), Duration::from_millis(away));
        Some(Strike { victim, after, lines, away })
    }
}
