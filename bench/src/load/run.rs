//! One run: a closed loop per pair, where an arrival lets the sender send one more, or an open loop, where the clock does.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use hushwire_uring::{DormantRing, Ring, RingOptions};

use super::Shape;
use super::carrier::{Carrier, Heard};
use super::dialect::{Message, News};
use super::pace::Pace;
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{LATE_BYTES_MAX, LATENCY_NS_MAX, SILENCE_MAX};
use crate::procfs;
use crate::progress::Countdown;
use crate::statistics::jain;

/// How often a run without arrivals looks at its clock.
const TICK: Duration = Duration::from_millis(100);
/// What is done beside a run waits for a turn with nothing else to do, but no longer than this.
const BESIDE_WAITS_NS: u64 = 1_000_000;

/// What the generator does beside a run, on the same thread: no scheduler then decides who of the two waits.
pub(crate) trait Beside {
    /// One step, as short as can be: messages that become due meanwhile are late by it.
    fn step(&mut self, now_ns: u64) -> Result<()>;
}

impl Beside for Countdown {
    #[inline]
    fn step(&mut self, now_ns: u64) -> Result<()> {
        self.tick(now_ns);
        Ok(())
    }
}

/// What lets senders send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// The window of the shape: a closed loop.
    Window,
    /// So many messages a second of all senders together, evenly spaced: an open loop.
    Rate(u64),
}

/// How long a run takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Before anything is counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) measured: Duration,
}

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Messages that arrived.
    pub(crate) delivered: u64,
    /// Their bytes, as cells.
    pub(crate) bytes: u64,
    /// Messages that the server sent back as undeliverable.
    pub(crate) refused: u64,
    /// Time counted, nanoseconds.
    pub(crate) elapsed_ns: u64,
    /// Processor time of the server meanwhile, nanoseconds.
    pub(crate) server_cpu_ns: u64,
    /// Processor time of the generator meanwhile, nanoseconds.
    pub(crate) load_cpu_ns: u64,
    /// To the arrival, nanoseconds: from the send in a closed loop, and in an open one from when the message was due.
    pub(crate) latency: Histogram<u64>,
    /// The part of it, in an open loop, until the message was sent, nanoseconds: the generator was busy, or the
    /// socket had no room.
    pub(crate) late: Histogram<u64>,
    /// Messages that arrived, by pair; in a closed loop that is the server's doing.
    pub(crate) by_pair: Vec<u64>,
}

/// How evenly a server has served the pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fairness {
    /// Messages of the pair that got the least, and the most, through.
    pub(crate) least: u64,
    pub(crate) greatest: u64,
    /// Jain's index of all pairs.
    pub(crate) jain: f64,
}

impl Outcome {
    /// The measure of all measures here: processor time of the server for one cell, microseconds.
    pub(crate) fn cpu_us_per_cell(&self) -> f64 {
        self.server_cpu_ns as f64 / 1_000.0 / self.delivered as f64
    }

    /// `None` where nothing was delivered.
    pub(crate) fn fairness(&self) -> Option<Fairness> {
        let least = self.by_pair.iter().copied().min()?;
        let greatest = self.by_pair.iter().copied().max()?;
        Some(Fairness { least, greatest, jain: jain(&self.by_pair)? })
    }

    /// Cells delivered in a second.
    pub(crate) fn cells_per_s(&self) -> f64 {
        self.delivered as f64 * 1e9 / self.elapsed_ns as f64
    }

    /// Bytes of cells delivered in a second.
    pub(crate) fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 * 1e9 / self.elapsed_ns as f64
    }
}

/// The messages of one sender on their way: number and time of each, that is when it was sent or due.
#[derive(Debug)]
struct Flight {
    messages: VecDeque<(u64, u64)>,
    /// The number of the next message.
    next: u64,
}

/// Where a run stood at a moment.
#[derive(Debug, Clone)]
struct Mark {
    at_ns: u64,
    delivered: u64,
    bytes: u64,
    refused: u64,
    server_cpu_ns: u64,
    load_cpu_ns: u64,
    by_pair: Vec<u64>,
}

/// A run that goes on from lap to lap.
pub(crate) struct Run<'a, C, B> {
    carrier: C,
    shape: Shape,
    /// Process ID of the server.
    server: u32,
    interrupt: &'a Interrupt,
    pub(crate) beside: &'a mut B,
    /// When it had its last step.
    stepped_ns: u64,
    ring: Ring,
    clock: Clock,
    /// The clock of an open loop.
    pace: Option<Pace>,
    /// Senders for whom something has become due.
    touched: Vec<usize>,
    /// Messages of this time or a later one count for the latency.
    counts_from_ns: u64,
    /// By the index of the sender.
    flights: Vec<Flight>,
    message: Message,
    news: News,
    delivered: u64,
    bytes: u64,
    refused: u64,
    by_pair: Vec<u64>,
    latency: Histogram<u64>,
    late: Histogram<u64>,
    /// Where the lap began.
    mark: Mark,
}

/// Runs `shape` over devices that are fresh from their welcome and cannot be used for another run, against the server with
/// this process ID.
pub(crate) fn run<C: Carrier>(
    carrier: C,
    shape: Shape,
    drive: Drive,
    timing: Timing,
    server: u32,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut countdown = Countdown::new(timing.warm_up + timing.measured);
    let mut run = Run::start(carrier, shape, drive, server, &mut countdown, interrupt)?;
    run.go_on(timing.warm_up)?;
    run.begin()?;
    // A warm-up lasts until something has arrived, which may be later than was asked.
    let mut outcome = run.lap(run.elapsed() + timing.measured)?;
    outcome.latency.add(run.land()?)?;
    Ok(outcome)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?)
}

impl<'a, C: Carrier, B: Beside> Run<'a, C, B> {
    /// Lets devices begin that are fresh from their welcome, as many as the shape has.
    pub(crate) fn start(
        carrier: C,
        shape: Shape,
        drive: Drive,
        server: u32,
        beside: &'a mut B,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let count = shape.devices();
        ensure!(carrier.devices() == count, "other devices than the shape has");
        let clock = Clock::start();
        let senders = (0..count).step_by(if shape.both_ways { 1 } else { 2 }).collect();
        let pace = match drive {
            Drive::Window => None,
            Drive::Rate(per_s) => Some(Pace::new(per_s, senders, count, clock.now_ns())),
        };
        let mut run = Run {
            carrier,
            shape,
            server,
            interrupt,
            beside,
            stepped_ns: 0,
            ring: DormantRing::new(RingOptions::default())?.enable()?,
            clock,
            pace,
            touched: Vec::new(),
            counts_from_ns: 0,
            flights: (0..count).map(|_| Flight { messages: VecDeque::new(), next: 1 }).collect(),
            message: Message::random(shape.class, shape.mix)?,
            news: News::default(),
            delivered: 0,
            bytes: 0,
            refused: 0,
            by_pair: vec![0; shape.pairs],
            latency: histogram()?,
            late: histogram()?,
            mark: Mark {
                at_ns: 0,
                delivered: 0,
                bytes: 0,
                refused: 0,
                server_cpu_ns: 0,
                load_cpu_ns: 0,
                by_pair: Vec::new(),
            },
        };
        run.listen_and_send()?;
        run.mark = run.marked()?;
        Ok(run)
    }

    fn marked(&self) -> Result<Mark> {
        Ok(Mark {
            at_ns: self.clock.now_ns(),
            delivered: self.delivered,
            bytes: self.bytes,
            refused: self.refused,
            server_cpu_ns: procfs::cpu_ns(self.server)?,
            load_cpu_ns: procfs::cpu_ns(std::process::id())?,
            by_pair: self.by_pair.clone(),
        })
    }

    /// Begins to count: what was due before is no part of any lap.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.latency.reset();
        self.late.reset();
        self.mark = self.marked()?;
        if self.pace.is_some() {
            self.counts_from_ns = self.mark.at_ns;
        }
        Ok(())
    }

    /// Goes on until `end` after the start, and tells what has become of it since the last lap. A message counts in
    /// the lap in which it arrives.
    pub(crate) fn lap(&mut self, end: Duration) -> Result<Outcome> {
        self.go_on(end)?;
        let mark = self.marked()?;
        let before = std::mem::replace(&mut self.mark, mark);
        let now = &self.mark;
        let by_pair = now.by_pair.iter().zip(&before.by_pair).map(|(now, then)| now - then);
        let outcome = Outcome {
            delivered: now.delivered - before.delivered,
            bytes: now.bytes - before.bytes,
            refused: now.refused - before.refused,
            elapsed_ns: now.at_ns - before.at_ns,
            server_cpu_ns: now.server_cpu_ns - before.server_cpu_ns,
            load_cpu_ns: now.load_cpu_ns - before.load_cpu_ns,
            latency: self.latency.clone(),
            late: self.late.clone(),
            by_pair: by_pair.collect(),
        };
        self.latency.reset();
        self.late.reset();
        Ok(outcome)
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns())
    }

    fn listen_and_send(&mut self) -> Result<()> {
        self.carrier.listen(&mut self.ring)?;
        for index in 0..self.shape.devices() {
            self.send_more(index)?;
        }
        Ok(())
    }

    /// Goes on until `end` after the start, and until something has arrived.
    pub(crate) fn go_on(&mut self, end: Duration) -> Result<()> {
        let end_ns = end.as_nanos() as u64;
        let begun = self.delivered;
        self.turns(|run, now_ns| now_ns >= end_ns && run.delivered > begun)
    }

    /// Lets arrive what an open loop has on its way, and tells how long that took: the slowest messages would be
    /// missing otherwise.
    pub(crate) fn land(mut self) -> Result<Histogram<u64>> {
        let now_ns = self.clock.now_ns();
        if let Some(pace) = &mut self.pace {
            pace.end(now_ns);
            let landed = |run: &Self| {
                run.pace.as_ref().is_none_or(Pace::is_over)
                    && run.flights.iter().all(|flight| flight.messages.is_empty())
            };
            self.turns(|run, _| landed(run))?;
        }
        Ok(self.latency)
    }

    fn turns(&mut self, is_over: impl Fn(&Self, u64) -> bool) -> Result<()> {
        let mut completions = Vec::new();
        let mut last = (self.delivered, self.clock.now_ns());
        loop {
            self.interrupt.check()?;
            let now_ns = self.clock.now_ns();
            if is_over(self, now_ns) {
                return Ok(());
            }
            if self.delivered > last.0 {
                last = (self.delivered, now_ns);
            } else if now_ns - last.1 > SILENCE_MAX.as_nanos() as u64 {
                bail!(
                    "nothing has arrived for {SILENCE_MAX:?}: messages are lost, or not forwarded"
                );
            }
            self.send_due(now_ns)?;
            self.carrier.leave(self.clock)?;
            // The clock of an open loop is watched all the time: a sleep would end too late.
            let idle = self.carrier.idle_for(self.clock).map_or(TICK, |idle| idle.min(TICK));
            self.ring.wait(Some(if self.pace.is_some() { Duration::ZERO } else { idle }))?;
            self.ring.drain(&mut completions);
            let quiet = completions.is_empty() && !idle.is_zero();
            if quiet || now_ns - self.stepped_ns >= BESIDE_WAITS_NS {
                self.stepped_ns = now_ns;
                self.beside.step(now_ns)?;
            }
            for completion in completions.drain(..) {
                self.carrier.complete(completion, &mut self.ring)?;
            }
            self.hear()?;
        }
    }

    /// Hears everyone who has something to tell, and sends what that lets be sent.
    fn hear(&mut self) -> Result<()> {
        self.carrier.begin(self.clock)?;
        while let Some(heard) = self.carrier.next(self.clock, &self.message, &mut self.news)? {
            match heard {
                Heard::Read { index, at_ns } => {
                    self.take_news(index, at_ns)?;
                    self.send_more(Self::other(index))?;
                }
                Heard::Room { index } => self.send_more(index)?,
            }
        }
        Ok(())
    }

    /// The device at the other end of a pair.
    const fn other(index: usize) -> usize {
        index ^ 1
    }

    /// What has become of messages between `index` and its other, by one receive of `index`.
    fn take_news(&mut self, index: usize, now_ns: u64) -> Result<()> {
        let flight = &mut self.flights[Self::other(index)].messages;
        for _ in 0..self.news.arrived {
            let (_, sent_ns) = flight.pop_front().context("a message arrived that nobody sent")?;
            if sent_ns >= self.counts_from_ns {
                self.latency.saturating_record(now_ns.saturating_sub(sent_ns));
            }
        }
        self.delivered += self.news.arrived as u64;
        self.by_pair[index / 2] += self.news.arrived as u64;
        self.bytes += self.news.bytes;
        (self.news.arrived, self.news.bytes) = (0, 0);
        if self.news.refused.is_empty() && !self.carrier.owes(index) {
            return Ok(());
        }
        let Flight { messages, next } = &mut self.flights[index];
        for number in self.news.refused.drain(..) {
            ensure!(number < *next, "a message was refused that nobody sent");
            // Where messages behind it have arrived before its refusal did, they were taken for those in front of them,
            // and the first that is left is the last that arrived.
            let at = messages.iter().position(|&(sent, _)| sent == number).unwrap_or(0);
            messages.remove(at).context("a message was refused that had arrived")?;
            self.refused += 1;
        }
        self.send_more(index)
    }

    /// Sends what has become due in an open loop.
    fn send_due(&mut self, now_ns: u64) -> Result<()> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let mut touched = std::mem::take(&mut self.touched);
        pace.advance(now_ns, &mut touched)?;
        for index in touched.drain(..) {
            self.send_more(index)?;
        }
        self.touched = touched;
        Ok(())
    }

    /// How many messages `index` may send now.
    fn room(&self, index: usize) -> usize {
        match &self.pace {
            Some(pace) => pace.waiting(index).min(LATE_BYTES_MAX / self.message.bytes.len()),
            None => self.shape.window.saturating_sub(self.flights[index].messages.len()),
        }
    }

    /// Says what `index` owes, and what it may send if it is one that sends.
    fn send_more(&mut self, index: usize) -> Result<()> {
        if self.carrier.owes(index) && !self.carrier.is_full(index) {
            self.send(index, 0)?;
        }
        if index % 2 == 1 && !self.shape.both_ways {
            return Ok(());
        }
        while !self.carrier.is_full(index) {
            let room = self.room(index);
            if room == 0 {
                break;
            }
            let messages = if self.shape.one_write_per_cell { 1 } else { room };
            self.send(index, messages)?;
        }
        Ok(())
    }

    /// Sends so many messages together.
    fn send(&mut self, index: usize, messages: usize) -> Result<()> {
        let flight = &mut self.flights[index];
        let numbers = flight.next..flight.next + messages as u64;
        self.carrier.seal(index, &mut self.message, numbers.clone())?;
        flight.next = numbers.end;
        let now_ns = self.clock.now_ns();
        for number in numbers {
            let due = self.pace.as_mut().and_then(|pace| pace.take(index));
            if let Some(due_ns) = due.filter(|&due_ns| due_ns >= self.counts_from_ns) {
                self.late.saturating_record(now_ns - due_ns);
            }
            flight.messages.push_back((number, due.unwrap_or(now_ns)));
        }
        self.carrier.send(index, self.clock, &mut self.ring)
    }
}
