//! Two conversations wired back to back over a network in memory: seeded, with virtual time, and as unkind as asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hushwire::conversation::{
    Conversation, Event, Incoming, Moment, OutboxLimits, PeerKeys, PushError,
};
use hushwire::identity::Identity;
use hushwire::journal::{Entry, Logs, MessageId, PeerLogs};
use hushwire::link::CellId;
use hushwire::suite::Minimum;
use hushwire::suite::frames::ConnectionSalt;
use hushwire::suite::keys::PairKey;
use hushwire::suite::random::Random;
use hushwire_wire::cell::HEADER_LEN;
use hushwire_wire::control::Undelivered;
use hushwire_wire::limits::LANES;

/// SplitMix64: replays from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Random for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.roll().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What the network does to cells, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Reported as busy.
    pub(crate) busy: u64,
    /// Lost without a word.
    pub(crate) lost: u64,
    /// A bit is changed.
    pub(crate) changed: u64,
    /// Delivered twice.
    pub(crate) repeated: u64,
    /// Delay of each of eight ways, which cells take at random, up to so many ms beyond 1 ms: they overtake each other,
    /// as no good relay lets the cells of one lane do.
    pub(crate) jitter_ms: u64,
    /// Bytes that fit the recipient's queue; more are busy. 0: no bound.
    pub(crate) queue_bytes: usize,
    /// Bytes that leave that queue each ms. 0: at once.
    pub(crate) bytes_per_ms: usize,
    /// Time until an entry is on disk, up to so many ms. 0: at once.
    pub(crate) disk_ms: u64,
}

#[derive(Debug)]
struct Flying {
    at: Instant,
    way: u64,
    body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) identity: Identity,
    pub(crate) conversation: Conversation,
    pub(crate) events: Vec<Event>,
    /// What is on this end's disk, and what is on its way there.
    pub(crate) logs: Logs,
    writing: VecDeque<(Instant, Entry)>,
    /// Cells on their way to this end.
    flying: VecDeque<Flying>,
    /// Reports on their way to this end.
    reports: VecDeque<(Instant, CellId, Undelivered)>,
    queue_free_at: Instant,
    /// The lane of all that this end sends.
    lane: Option<u32>,
    pub(crate) received_cells: usize,
    pub(crate) online: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ends: [End; 2],
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    /// The largest sum of bytes that was ever on its way to one end.
    pub(crate) most_flying: usize,
    /// What each end's keystore holds.
    pub(crate) stored: [PeerKeys; 2],
    /// By how many seconds each end's wall clock is wrong.
    pub(crate) wall_s: [i64; 2],
    /// Cells that an end sends vanish.
    pub(crate) mute: [bool; 2],
    /// Where asked for, bodies that were sent to each end.
    pub(crate) recorded: Option<[Vec<Vec<u8>>; 2]>,
}

pub(crate) const KEY: [u8; 32] = [9; 32];

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let start = Instant::now();
        let mut dice = Dice(seed);
        let (first, second) = (Identity::generate(&mut dice), Identity::generate(&mut dice));
        let ids = [first.device_id(), second.device_id()];
        let mut make = |identity: Identity, ours: usize| {
            let salt = ConnectionSalt::draw(&mut dice);
            let mut conversation = Conversation::new(
                ids[ours],
                ids[1 - ours],
                keys(),
                PeerLogs::default(),
                salt,
                &mut dice,
            );
            let moment = Moment { now: start, unix_ns: 1 };
            conversation.handle_connected(salt, moment);
            End {
                identity,
                conversation,
                events: Vec::new(),
                logs: Logs::default(),
                writing: VecDeque::new(),
                flying: VecDeque::new(),
                reports: VecDeque::new(),
                queue_free_at: start,
                lane: None,
                received_cells: 0,
                online: true,
            }
        };
        let ends = [make(first, 0), make(second, 1)];
        Self {
            ends,
            dice,
            weather,
            start,
            now: start,
            most_flying: 0,
            stored: [keys(), keys()],
            wall_s: [0; 2],
            mute: [false; 2],
            recorded: None,
        }
    }

    /// The time as one end's clocks show it.
    fn moment_of(&self, end: usize) -> Moment {
        let Moment { now, unix_ns } = self.moment();
        let wrong_ns = self.wall_s[end].saturating_mul(1_000_000_000);
        Moment { now, unix_ns: unix_ns.saturating_add_signed(wrong_ns) }
    }

    /// Takes the events of an end and stores what its keystore would.
    pub(crate) fn collect(&mut self, end: usize) {
        let Self { ends, stored, .. } = self;
        let (at, stored) = (&mut ends[end], &mut stored[end]);
        while let Some(event) = at.conversation.poll_event() {
            if let Event::HandshakeBegins { time_ns } = event {
                stored.last_sent_ns = stored.last_sent_ns.max(time_ns);
            }
            if let Event::HandshakeAnswered { time_ns } = event {
                stored.last_seen_ns = stored.last_seen_ns.max(time_ns);
            }
            at.events.push(event);
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        let unix_ns = 1_800_000_000_000_000_000 + (self.now - self.start).as_nanos() as u64;
        Moment { now: self.now, unix_ns }
    }

    /// Gives a message to be sent by one end.
    pub(crate) fn push(
        &mut self,
        at: usize,
        bytes: Vec<u8>,
    ) -> Result<(u64, MessageId), (PushError, Vec<u8>)> {
        let (moment, limits) = (self.moment(), OutboxLimits::default());
        self.ends[at].conversation.push_message(bytes, None, limits, moment)
    }

    /// The next message at one end, confirmed at once.
    pub(crate) fn take(&mut self, at: usize) -> Option<Incoming> {
        let conversation = &mut self.ends[at].conversation;
        let incoming = conversation.hand_out()?;
        conversation.confirm(incoming.id);
        Some(incoming)
    }

    /// Starts one end anew, as if its process had been killed: what was not on disk is gone.
    pub(crate) fn restart(&mut self, at: usize) {
        let ids = [0, 1].map(|end: usize| self.ends[end].identity.device_id());
        let salt = ConnectionSalt::draw(&mut self.dice);
        self.collect(at);
        let keys = self.stored[at].clone();
        let logs = self.ends[at].logs.peer(&ids[1 - at]).cloned().unwrap_or_default();
        let mut fresh = Conversation::new(ids[at], ids[1 - at], keys, logs, salt, &mut self.dice);
        if self.ends[at].online {
            fresh.handle_connected(salt, self.moment_of(at));
        }
        self.ends[at].conversation = fresh;
        self.ends[at].writing.clear();
    }

    /// Cuts the connection of one end: what is on its way in either direction is lost.
    pub(crate) fn cut(&mut self, at: usize) {
        self.ends[at].online = false;
        self.ends[at].conversation.handle_disconnected();
        self.ends[at].flying.clear();
        self.ends[at].reports.clear();
        let keep = self.dice.below(self.ends[1 - at].flying.len() as u64 + 1) as usize;
        self.ends[1 - at].flying.truncate(keep);
    }

    pub(crate) fn reconnect(&mut self, at: usize) {
        self.ends[at].online = true;
        let salt = ConnectionSalt::draw(&mut self.dice);
        let moment = self.moment_of(at);
        self.ends[at].conversation.handle_connected(salt, moment);
    }

    /// Polls, delivers, and moves the clock to whatever comes first. `false` when nothing will ever happen.
    fn step(&mut self) -> bool {
        let never = self.now + Duration::from_secs(1 << 32);
        self.step_until(never)
    }

    /// The same, but not beyond `end`.
    fn step_until(&mut self, end: Instant) -> bool {
        for from in 0..2 {
            self.work(from);
        }
        let moments = [0, 1].map(|end| self.moment_of(end));
        let next = self.ends.iter().zip(moments).flat_map(|(end, moment)| {
            let flying = end.flying.iter().map(|cell| cell.at).min();
            let report = end.reports.iter().map(|(at, ..)| *at).min();
            let stored = end.writing.front().map(|(at, _)| *at);
            [flying, report, stored, end.conversation.next_timeout(moment)]
        });
        let Some(next) = next.flatten().min() else { return false };
        if next > end {
            self.now = end;
            return false;
        }
        self.now = next.max(self.now + Duration::from_micros(100));
        for to in 0..2 {
            self.deliver(to);
            self.store(to);
        }
        true
    }

    fn work(&mut self, from: usize) {
        let moment = self.moment_of(from);
        loop {
            self.store(from);
            let Self { ends, dice, .. } = self;
            let End { identity, conversation, .. } = &mut ends[from];
            conversation.handle_timeout(identity, moment, true, dice);
            self.collect(from);
            let Self { ends, dice, .. } = self;
            let End { conversation, online, .. } = &mut ends[from];
            let mut cell = Vec::new();
            let Some(transmit) = conversation.poll_cell(moment, dice, &mut cell) else { break };
            assert!(cell.len().is_power_of_two() && (256..=32_768).contains(&cell.len()));
            if *online {
                assert!((1..LANES).contains(&transmit.lane));
                let lane = *self.ends[from].lane.get_or_insert(transmit.lane);
                assert_eq!(lane, transmit.lane, "handshakes and what needs them keep their order");
                self.send(from, transmit.id, cell.split_off(HEADER_LEN));
            }
        }
    }

    /// Writes down what is due.
    pub(crate) fn store(&mut self, at: usize) {
        let moment = self.moment_of(at);
        let Self { ends, dice, weather, .. } = self;
        let End { conversation, logs, writing, .. } = &mut ends[at];
        while let Some(entry) = conversation.poll_entry() {
            let delay = if weather.disk_ms == 0 { 0 } else { dice.below(weather.disk_ms * 1_000) };
            let after = writing.back().map_or(moment.now, |(at, _)| *at);
            writing.push_back((after.max(moment.now + Duration::from_micros(delay)), entry));
        }
        while writing.front().is_some_and(|(at, _)| *at <= moment.now) {
            let (_, entry) = writing.pop_front().expect("looked at");
            logs.apply(entry);
            conversation.handle_stored(moment, dice);
        }
        self.collect(at);
    }

    fn send(&mut self, from: usize, id: CellId, body: Vec<u8>) {
        let to = 1 - from;
        if let Some(recorded) = &mut self.recorded {
            recorded[to].push(body.clone());
        }
        if self.mute[from] {
            return;
        }
        let report_at = self.now + Duration::from_millis(1);
        let report = |end: &mut End, reason| end.reports.push_back((report_at, id, reason));
        if !self.ends[to].online {
            return report(&mut self.ends[from], Undelivered::Offline);
        }
        let waiting: usize =
            self.ends[to].flying.iter().map(|cell| cell.body.len() + HEADER_LEN).sum();
        let full = self.weather.queue_bytes > 0 && waiting + body.len() > self.weather.queue_bytes;
        if full || self.dice.percent(self.weather.busy) {
            return report(&mut self.ends[from], Undelivered::Busy);
        }
        if self.dice.percent(self.weather.lost) {
            return;
        }
        self.most_flying = self.most_flying.max(waiting + body.len());
        let (jitter, way) = match self.weather.jitter_ms {
            0 => (0, 0),
            jitter_ms => (self.dice.below(jitter_ms), self.dice.below(8)),
        };
        let mut at = self.now + Duration::from_millis(1 + jitter);
        if let Some(micros) = (body.len() * 1_000).checked_div(self.weather.bytes_per_ms) {
            let micros = Duration::from_micros(micros as u64);
            let free = self.ends[to].queue_free_at.max(self.now) + micros;
            self.ends[to].queue_free_at = free;
            at = at.max(free);
        }
        // A way keeps its order.
        let last =
            self.ends[to].flying.iter().filter(|cell| cell.way == way).map(|cell| cell.at).max();
        at = last.map_or(at, |last| last.max(at));
        let twice = self.dice.percent(self.weather.repeated);
        let mut body = body;
        if twice {
            self.ends[to].flying.push_back(Flying { at, way, body: body.clone() });
        }
        if self.dice.percent(self.weather.changed) {
            let at = self.dice.below(body.len() as u64) as usize;
            body[at] ^= 1 << self.dice.below(8);
        }
        self.ends[to].flying.push_back(Flying { at, way, body });
    }

    fn deliver(&mut self, to: usize) {
        let moment = self.moment_of(to);
        let Self { ends, dice, .. } = self;
        let End { identity, conversation, flying, reports, received_cells, .. } = &mut ends[to];
        while let Some(at) = flying.iter().position(|cell| cell.at <= moment.now) {
            let mut cell = flying.remove(at).expect("found");
            *received_cells += 1;
            conversation.handle_body(&mut cell.body, identity, moment, true, dice);
        }
        while let Some(at) = reports.iter().position(|(at, ..)| *at <= moment.now) {
            let (_, id, reason) = reports.remove(at).expect("found");
            conversation.handle_undeliverable(id, reason, moment, dice);
        }
        self.collect(to);
    }

    /// Lets time pass, whatever happens in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.step_until(end) {}
        self.now = self.now.max(end);
    }

    /// Steps until `done`, which also plays the applications.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(
                self.now < end,
                "not done after {limit:?} of virtual time: {:#?}",
                self.summary()
            );
            if !self.step() {
                // Only the applications can go on.
                self.now += Duration::from_secs(1);
            }
        }
    }

    fn summary(&self) -> [String; 2] {
        [0, 1].map(|at| {
            let text = format!("{:#?}", self.ends[at].conversation);
            text.chars().take(6_000).collect()
        })
    }
}

pub(crate) fn keys() -> PeerKeys {
    PeerKeys {
        pair_key: PairKey::new(KEY),
        minimum: Minimum::Hybrid,
        last_sent_ns: 0,
        last_seen_ns: 0,
    }
}
