//! Whether a turn should wait a little for receives to get fuller.
//!
//! A sender that makes a system call of each message gives the kernel many small segments. A shard that is quick
//! wakes for each one or two of them, and pays a wake-up and a receive for what a single receive would have brought a
//! moment later. A shard that pauses a tenth of a millisecond between its turns pays half of that; but a pause that
//! finds no more than before, as where each device sends one cell and waits, is time lost for everybody. So it is
//! tried, seldom and for a few turns, and kept for as long as receives are fuller by it. Where a sender is slow, half a
//! burst has come by then: so a pause that pays is followed by the trial of a longer one, which has to pay again.
//!
//! A shard that many keep busy with bursts makes the shorter pause without a trial. Receives may get no fuller by it, but a
//! turn then serves several connections with one wake-up, where each would have had its own, and nobody who has sent a burst
//! waits for its first cell alone. Those who send a cell and wait are served at once.
//!
//! ```text
//!             busy, receives not full         receives fuller
//!       plain ──────────────────────▶ trial ──────────────────▶ trial of the next longer, paused
//!         ▲                             │ not: the next one      │ not fuller any more, idle,
//!         │                             │ is later each time     │ or time to look again
//!         └─────────────────────────────┴────────────────────────┘
//!       plain, with bursts of a crowd: after the first pause, and the trial is of the second
//! ```

use std::time::Duration;

use hushwire_engine::Time;
use hushwire_wire::cell::Class;

/// The pauses, in the order in which they are tried.
const PAUSES: [Pause; 2] = [
    Pause { length: Duration::from_micros(100), pays: (3, 2) },
    Pause { length: Duration::from_micros(250), pays: (5, 4) },
];
/// Turns that are looked at together.
const WINDOW_TURNS: u32 = 128;
/// Turns with a pause that show whether it pays.
const TRIAL_TURNS: u32 = 8;
/// So many connections of which a window had bursts are a crowd.
const CROWD_MIN: u32 = 32;
/// The share of its time for which a shard works that is busy, in per cent: without pauses, and with those for a crowd.
const BUSY_PERCENT: (u64, u64) = (50, 25);
/// More cells than this in a row of the same connection in one turn are a burst, or more bytes than that: one cell never is.
const CELLS_PER_BURST: u32 = 4;
const BYTES_PER_BURST: usize = Class::C7.cell_len();
/// Where receives bring more cells than this on average no pause is tried, or more bytes than that.
const CELLS_PER_RECEIVE_MAX: u64 = 16;
const BYTES_PER_RECEIVE_MAX: u64 = 16 * 1_024;
/// How long after a trial that failed the next may be: the first, and the longest, for it doubles.
const TRY_AGAIN_MS: (u64, u64) = (10, 500);
/// What a pause has to bring, as [`Pause::pays`], to be kept.
const STILL_PAYS: (u64, u64) = (5, 4);
/// How long it pauses before it looks again how it would be without.
const PAUSED_MS_MAX: u64 = 1_000;

/// What the turns of one shard bring, and whether pauses between them pay.
#[derive(Debug)]
pub struct Pausing {
    phase: Phase,
    /// Whether many keep the shard busy with bursts.
    crowded: bool,
    window: Window,
    /// No trial before this.
    try_at: Time,
    /// How long after one that failed the next may be.
    patience_ms: u64,
}

/// A pause between turns.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// Also what a cell waits longer by it, at most.
    length: Duration,
    /// It pays where receives are more than this many times as full as without it, or with the one before: over, under.
    pays: (u64, u64),
}

/// How turns follow each other. `step` says after which of the [`PAUSES`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// As soon as there is something, or after the first pause if there is a crowd.
    Plain,
    /// After a pause, to compare with the fill that turns had by the one before, or `plain`.
    Trial { plain: Fill, before: Fill, step: usize },
    /// After a pause, until the time.
    Paused { plain: Fill, step: usize, until: Time },
}

/// Receives, and what they brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fill {
    receives: u64,
    bytes: u64,
    cells: u64,
}

impl Fill {
    /// Whether a receive brings more than `numerator / denominator` times as many cells as one of `other`.
    const fn is_fuller(self, other: Self, (numerator, denominator): (u64, u64)) -> bool {
        self.cells * other.receives * denominator > other.cells * self.receives * numerator
    }

    const fn is_full(self) -> bool {
        self.cells > self.receives * CELLS_PER_RECEIVE_MAX
            || self.bytes > self.receives * BYTES_PER_RECEIVE_MAX
    }
}

/// The turns that are looked at together.
#[derive(Debug, Default)]
struct Window {
    turns: u32,
    fill: Fill,
    bursts: Bursts,
    worked_ns: u64,
    rested_ns: u64,
    /// When the turn began, or the rest.
    since: Time,
}

impl Window {
    /// Whether the shard worked for at least this share of the time.
    const fn is_busy(&self, percent: u64) -> bool {
        self.worked_ns * 100 >= (self.worked_ns + self.rested_ns) * percent
    }
}

/// Which connections sent bursts. How many others there were, and how much they sent, makes no difference.
#[derive(Debug, Default)]
struct Bursts {
    /// By the low bits of their indices.
    which: [u64; 4],
    row: Row,
}

/// Cells of the same connection with none of another between them.
#[derive(Debug, Default)]
struct Row {
    connection: Option<usize>,
    cells: u32,
    bytes: usize,
}

impl Bursts {
    #[inline]
    fn note(&mut self, connection: usize, cells: u32, bytes: usize) {
        if self.row.connection != Some(connection) {
            self.row = Row { connection: Some(connection), ..Row::default() };
        }
        self.row.cells += cells;
        self.row.bytes += bytes;
        if self.row.cells > CELLS_PER_BURST || self.row.bytes > BYTES_PER_BURST {
            self.which[connection / 64 % 4] |= 1 << (connection % 64);
        }
    }

    /// How many they were at least.
    fn count(&self) -> u32 {
        self.which.iter().map(|part| part.count_ones()).sum()
    }
}

impl Default for Pausing {
    fn default() -> Self {
        Self::new()
    }
}

impl Pausing {
    /// No turn has been yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Plain,
            crowded: false,
            window: Window::default(),
            try_at: Time::ZERO,
            patience_ms: TRY_AGAIN_MS.0,
        }
    }

    /// A receive brought so many bytes.
    #[inline]
    pub const fn received(&mut self, bytes: usize) {
        self.window.fill.receives += 1;
        self.window.fill.bytes += bytes as u64;
    }

    /// So many cells of the connection with this index were routed, of so many bytes together.
    #[inline]
    pub fn routed(&mut self, connection: usize, cells: u32, bytes: usize) {
        self.window.fill.cells += u64::from(cells);
        self.window.bursts.note(connection, cells, bytes);
    }

    /// A turn begins.
    pub fn begin(&mut self, now: Time) {
        self.window.rested_ns += now.since(self.window.since).as_nanos() as u64;
        self.window.since = now;
        self.window.bursts.row = Row::default();
    }

    /// The turn is over: how long to pause before the next.
    pub fn end(&mut self, now: Time) -> Option<Duration> {
        let window = &mut self.window;
        window.worked_ns += now.since(window.since).as_nanos() as u64;
        window.since = now;
        window.turns += 1;
        let turns = match self.phase {
            Phase::Trial { .. } => TRIAL_TURNS,
            Phase::Plain | Phase::Paused { .. } => WINDOW_TURNS,
        };
        if window.turns >= turns {
            let window = std::mem::take(window);
            self.window.since = now;
            self.phase = self.next(&window, now);
        }
        self.step().map(|step| PAUSES[step].length)
    }

    /// Which of the pauses turns have.
    const fn step(&self) -> Option<usize> {
        match self.phase {
            Phase::Plain if self.crowded => Some(0),
            Phase::Plain => None,
            Phase::Trial { step, .. } | Phase::Paused { step, .. } => Some(step),
        }
    }

    /// The first pause that has to be tried.
    const fn first_trial(&self) -> usize {
        if self.crowded { 1 } else { 0 }
    }

    fn next(&mut self, window: &Window, now: Time) -> Phase {
        match self.phase {
            Phase::Plain => {
                let percent = if self.crowded { BUSY_PERCENT.1 } else { BUSY_PERCENT.0 };
                let is_busy = window.is_busy(percent);
                let crowded = is_busy && window.bursts.count() >= CROWD_MIN;
                if crowded != self.crowded {
                    self.crowded = crowded;
                    // The next window is what a trial is compared with.
                    return Phase::Plain;
                }
                let worth = window.fill.receives > 0 && !window.fill.is_full();
                if worth && is_busy && now >= self.try_at {
                    let step = self.first_trial();
                    Phase::Trial { plain: window.fill, before: window.fill, step }
                } else {
                    Phase::Plain
                }
            }
            Phase::Trial { plain, before, step } => {
                if window.fill.is_fuller(before, PAUSES[step].pays) {
                    self.patience_ms = TRY_AGAIN_MS.0;
                    match step + 1 {
                        next if next < PAUSES.len() => {
                            Phase::Trial { plain, before: window.fill, step: next }
                        }
                        _ => paused(plain, step, now),
                    }
                } else if step > self.first_trial() {
                    paused(plain, step - 1, now)
                } else {
                    self.try_at = now.after_millis(self.patience_ms);
                    self.patience_ms = (self.patience_ms * 2).min(TRY_AGAIN_MS.1);
                    Phase::Plain
                }
            }
            Phase::Paused { plain, until, .. } => {
                let pays = window.is_busy(10) && window.fill.is_fuller(plain, STILL_PAYS);
                if pays && now < until { self.phase } else { Phase::Plain }
            }
        }
    }
}

const fn paused(plain: Fill, step: usize, now: Time) -> Phase {
    Phase::Paused { plain, step, until: now.after_millis(PAUSED_MS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shard finds: so many connections at each turn, each with so many cells and one more for every 10 µs since it was
    /// last looked, at most a burst. A turn takes 3 µs for each connection, and so long the shard rests after it.
    #[derive(Clone, Copy, Debug)]
    struct Load {
        connections: usize,
        cells: u64,
        burst: u64,
        rest_us: u64,
    }

    const LONE: Load = Load { connections: 20, cells: 1, burst: 1, rest_us: 1 };
    const BURSTS: Load = Load { burst: u64::MAX, ..LONE };
    const CROWD: Load = Load { connections: CROWD_MIN as usize, cells: 8, burst: 8, rest_us: 1 };

    /// Plays so many turns. How many had each of the pauses.
    fn play(pausing: &mut Pausing, now: &mut Time, turns: u32, load: Load) -> [u32; PAUSES.len()] {
        let mut paused = [0; PAUSES.len()];
        let mut waited_us = load.rest_us;
        for _ in 0..turns {
            pausing.begin(*now);
            for connection in 0..load.connections {
                let cells = (load.cells + waited_us / 10).min(load.burst) as u32;
                pausing.received(300);
                pausing.routed(connection, cells, 256 * cells as usize);
            }
            *now = now.after_nanos(3_000 * load.connections as u64);
            let pause = pausing.end(*now);
            waited_us = load.rest_us + pause.map_or(0, |pause| pause.as_micros() as u64);
            *now = now.after_nanos(1_000 * waited_us);
            for (count, of) in paused.iter_mut().zip(PAUSES) {
                *count += u32::from(pause == Some(of.length));
            }
        }
        paused
    }

    /// The same: how many had any.
    fn count(pausing: &mut Pausing, now: &mut Time, turns: u32, load: Load) -> u32 {
        play(pausing, now, turns, load).iter().sum()
    }

    /// Plays turns that take so long each and find the same. How many had a pause.
    fn count_same(turns: u32, took_us: u64, find: impl Fn(&mut Pausing)) -> u32 {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        let mut paused = 0;
        for _ in 0..turns {
            pausing.begin(now);
            find(&mut pausing);
            now = now.after_nanos(1_000 * took_us);
            paused += u32::from(pausing.end(now).is_some());
        }
        paused
    }

    #[test]
    fn as_long_as_a_burst_lasts_and_no_longer() {
        for load in [LONE, Load { cells: 5, ..CROWD }] {
            let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
            // In 100 µs the whole burst has come: longer pauses bring nothing, and are tried once a second.
            let short_bursts = Load { burst: 8, ..load };
            let [short, long] = play(&mut pausing, &mut now, 10_000, short_bursts);
            assert!(short > 9_000 && long < 100, "{short}, {long} by {load:?}");
            // In 250 µs there is more than in 100.
            let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
            let long_bursts = Load { burst: 32, ..load };
            let [short, long] = play(&mut pausing, &mut now, 10_000, long_bursts);
            assert!(short < 6 * WINDOW_TURNS && long > 9_000, "{short}, {long} by {load:?}");
        }
    }

    #[test]
    fn bursts_that_come_in_pieces_are_paused_for() {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        let paused = count(&mut pausing, &mut now, 10_000, BURSTS);
        assert!(paused > 9_500, "{paused}");
        // They are over: so are the pauses, within a window, and little is tried afterwards.
        let paused = count(&mut pausing, &mut now, 10_000, LONE);
        assert!(paused < WINDOW_TURNS + 10 * TRIAL_TURNS, "{paused}");
    }

    #[test]
    fn lone_cells_are_hardly_ever_paused_for() {
        for connections in [LONE.connections, CROWD.connections] {
            let load = Load { connections, ..LONE };
            let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
            play(&mut pausing, &mut now, 100_000, load);
            let begun = now;
            let paused = count(&mut pausing, &mut now, 1_000_000, load);
            let trials = now.since(begun).as_millis() as u64 / TRY_AGAIN_MS.1 + 1;
            let most = trials * u64::from(TRIAL_TURNS);
            assert!(u64::from(paused) <= most, "{paused}, not {most}, {load:?}");
        }
    }

    #[test]
    fn a_crowd_with_bursts_is_paused_for() {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        let [short, long] = play(&mut pausing, &mut now, 10_000, CROWD);
        assert!(short + long > 10_000 - WINDOW_TURNS && long < 200, "{short}, {long}");
        // One has gone, or all send single cells now.
        let few = Load { connections: CROWD.connections - 1, ..CROWD };
        let lone = Load { connections: CROWD.connections, ..LONE };
        for other in [few, lone] {
            play(&mut pausing, &mut now, 1_000, CROWD);
            let paused = count(&mut pausing, &mut now, 10_000, other);
            assert!(paused < 2 * WINDOW_TURNS + 20 * TRIAL_TURNS, "{paused}, {other:?}");
        }
    }

    /// One at a time, as a shard finds them that wakes for each.
    #[test]
    fn a_crowd_of_which_each_turn_hears_one_is_a_crowd() {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        for turn in 0..WINDOW_TURNS as usize {
            pausing.begin(now);
            pausing.received(300 * 32);
            pausing.routed(1_000 * turn + turn / 2, 32, 256 * 32);
            now = now.after_nanos(30_000);
            let is_crowd = turn + 1 == WINDOW_TURNS as usize;
            assert_eq!(pausing.end(now), is_crowd.then_some(PAUSES[0].length));
            now = now.after_nanos(15_000);
        }
    }

    /// As datagrams come: many at once, of as many connections.
    #[test]
    fn receives_that_bring_lone_cells_of_many_are_no_bursts() {
        let paused = count_same(10_000, 150, |pausing| {
            for receive in 0..6 {
                pausing.received(8 * 300);
                for connection in 0..8 {
                    pausing.routed(8 * receive + connection, 1, 256);
                }
            }
        });
        assert!(paused <= 20 * TRIAL_TURNS, "{paused}");
    }

    /// However much a few send, it does not make a crowd of others who send single cells, also of the largest.
    #[test]
    fn bursts_of_a_few_among_many_lone_cells_are_not_paused_for() {
        let bursting = CROWD_MIN as usize - 1;
        for (class, lone) in [(Class::C0, 200), (Class::C6, 60), (Class::C7, 60)] {
            let paused = count_same(100_000, 2_000, |pausing| {
                for connection in 0..bursting {
                    pausing.received(64 * 1_024);
                    pausing.routed(connection, 250, 250 * 256);
                }
                for connection in bursting..bursting + lone {
                    pausing.received(class.cell_len());
                    pausing.routed(connection, 1, class.cell_len());
                }
            });
            assert_eq!(paused, 0, "{class:?}");
        }
    }

    /// As a device answers that reads 64 KiB at a time.
    #[test]
    fn two_of_the_largest_cells_are_a_burst() {
        let turns = 10 * WINDOW_TURNS;
        let paused = count_same(turns, 2_000, |pausing| {
            for connection in 0..CROWD_MIN as usize {
                pausing.received(2 * Class::C7.cell_len());
                for _ in 0..2 {
                    pausing.routed(connection, 1, Class::C7.cell_len());
                }
            }
        });
        assert!(paused > turns - 2 * WINDOW_TURNS, "{paused}");
    }

    #[test]
    fn a_crowd_is_paused_for_while_it_keeps_the_shard_busy() {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        // Less than half of the time.
        let calm = Load { rest_us: 3 * CROWD_MIN as u64 + 10, ..CROWD };
        assert_eq!(count(&mut pausing, &mut now, 10_000, calm), 0);
        // The pause itself, in which it rests, does not end that.
        play(&mut pausing, &mut now, 1_000, CROWD);
        assert_eq!(count(&mut pausing, &mut now, 1_000, CROWD), 1_000);
        let calm = Load { rest_us: 300, ..CROWD };
        let paused = count(&mut pausing, &mut now, 10_000, calm);
        assert!(paused <= 2 * WINDOW_TURNS, "{paused}");
    }

    #[test]
    fn receives_that_bring_no_cells_are_not_paused_for() {
        let paused = count_same(100_000, 60, |pausing| pausing.received(1_500));
        assert!(paused <= 200, "{paused}");
    }

    #[test]
    fn who_has_time_does_not_pause() {
        let (mut pausing, mut now) = (Pausing::new(), Time::ZERO);
        assert_eq!(count(&mut pausing, &mut now, 10_000, Load { rest_us: 100, ..BURSTS }), 0);
        // One who paused stops when there is little left to do.
        assert!(count(&mut pausing, &mut now, 1_000, BURSTS) > 500);
        let paused = count(&mut pausing, &mut now, 10_000, Load { rest_us: 1_000, ..BURSTS });
        assert!(paused <= 2 * WINDOW_TURNS, "{paused}");
    }

    #[test]
    fn full_receives_are_not_tried_with_a_pause() {
        for (bytes, cells) in [(5_000, CELLS_PER_RECEIVE_MAX as u32 + 1), (65_000, 2)] {
            let paused = count_same(10_000, 60, |pausing| {
                pausing.received(bytes);
                pausing.routed(7, cells, bytes);
            });
            assert_eq!(paused, 0, "{cells} cells of {bytes} bytes");
        }
    }
}
