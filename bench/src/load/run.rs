//! One run: a closed loop per pair, where an arrival lets the sender send one more, or an open loop, where the clock does.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use hushwire_relay::transport::limits::SCRATCH_BYTES_MIN;
use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{
    Completion, DormantRing, Interest, Kind as Purpose, Ring, RingOptions, Token,
};

use super::Shape;
use super::dialect::{Message, News, Speaker};
use super::pace::Pace;
use super::records::whole;
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{LATE_BYTES_MAX, LATENCY_NS_MAX, READ_BYTES, SILENCE_MAX};
use crate::procfs;

const POLL: Purpose = Purpose::poll(0);
const SEND: Purpose = Purpose::send(0);
/// How often a run without arrivals looks at its clock.
const TICK: Duration = Duration::from_millis(100);

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
}

impl Outcome {
    /// The measure of all measures here: processor time of the server for one cell, microseconds.
    pub(crate) fn cpu_us_per_cell(&self) -> f64 {
        self.server_cpu_ns as f64 / 1_000.0 / self.delivered as f64
    }

    /// Cells delivered in a second.
    pub(crate) fn cells_per_s(&self) -> f64 {
        self.delivered as f64 * 1e9 / self.elapsed_ns as f64
    }
}

/// The messages of one sender on their way: number and time of each, that is when it was sent or due.
#[derive(Debug)]
struct Flight {
    messages: VecDeque<(u64, u64)>,
    /// The number of the next message.
    next: u64,
}

struct Run<'a, D> {
    devices: &'a mut [D],
    shape: Shape,
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
    /// What a device received of a record that is not whole.
    partial: Vec<Vec<u8>>,
    /// Whether the ring is finishing a send of this device.
    sending: Vec<bool>,
    /// Whether something of a device was left unread.
    unread: Vec<u32>,
    scratch: Vec<u8>,
    message: Message,
    news: News,
    output: Vec<u8>,
    delivered: u64,
    refused: u64,
    latency: Histogram<u64>,
}

/// Runs `shape` over the first of `devices`, which are fresh from their welcome and cannot be used
/// for another run, against the server with this process ID.
pub(crate) fn run<D: Speaker>(
    devices: &mut [D],
    shape: Shape,
    drive: Drive,
    timing: Timing,
    server: u32,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let devices = devices.get_mut(..shape.devices()).context("too few devices")?;
    let count = devices.len();
    let clock = Clock::start();
    let senders = (0..count).step_by(if shape.both_ways { 1 } else { 2 }).collect();
    let pace = match drive {
        Drive::Window => None,
        Drive::Rate(per_s) => Some(Pace::new(per_s, senders, count, clock.now_ns())),
    };
    let mut run = Run {
        devices,
        shape,
        ring: DormantRing::new(RingOptions::default())?.enable()?,
        clock,
        pace,
        touched: Vec::new(),
        counts_from_ns: 0,
        flights: (0..count).map(|_| Flight { messages: VecDeque::new(), next: 1 }).collect(),
        partial: vec![Vec::new(); count],
        sending: vec![false; count],
        unread: Vec::new(),
        scratch: vec![0; SCRATCH_BYTES_MIN],
        message: Message::random(shape.class)?,
        news: News::default(),
        output: Vec::new(),
        delivered: 0,
        refused: 0,
        latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?,
    };
    run.start()?;
    run.turns_until(timing.warm_up, interrupt)?;
    let (delivered, refused) = (run.delivered, run.refused);
    run.latency.reset();
    let begun_ns = run.clock.now_ns();
    if run.pace.is_some() {
        run.counts_from_ns = begun_ns;
    }
    let server_begun_ns = procfs::cpu_ns(server)?;
    let load_begun_ns = procfs::cpu_ns(std::process::id())?;
    run.turns_until(timing.warm_up + timing.measured, interrupt)?;
    let mut outcome = Outcome {
        server_cpu_ns: procfs::cpu_ns(server)? - server_begun_ns,
        load_cpu_ns: procfs::cpu_ns(std::process::id())? - load_begun_ns,
        elapsed_ns: run.clock.now_ns() - begun_ns,
        delivered: run.delivered - delivered,
        refused: run.refused - refused,
        latency: Histogram::new(3)?,
    };
    run.land(interrupt)?;
    outcome.latency = run.latency;
    Ok(outcome)
}

impl<D: Speaker> Run<'_, D> {
    fn start(&mut self) -> Result<()> {
        for (index, device) in self.devices.iter().enumerate() {
            let token = Token::new(POLL, 0, index as u32);
            self.ring.poll_multishot(device.socket(), token, Interest::Read)?;
        }
        for index in 0..self.devices.len() {
            self.send_more(index)?;
        }
        Ok(())
    }

    /// Goes on until `end`, and until something has arrived.
    fn turns_until(&mut self, end: Duration, interrupt: &Interrupt) -> Result<()> {
        let end_ns = end.as_nanos() as u64;
        let begun = self.delivered;
        self.turns(|run, now_ns| now_ns >= end_ns && run.delivered > begun, interrupt)
    }

    /// Lets arrive what an open loop has on its way: the slowest messages would be missing otherwise.
    fn land(&mut self, interrupt: &Interrupt) -> Result<()> {
        let now_ns = self.clock.now_ns();
        let Some(pace) = &mut self.pace else { return Ok(()) };
        pace.end(now_ns);
        let landed = |run: &Self| {
            run.pace.as_ref().is_none_or(Pace::is_over)
                && run.flights.iter().all(|flight| flight.messages.is_empty())
        };
        self.turns(|run, _| landed(run), interrupt)
    }

    fn turns(&mut self, is_over: impl Fn(&Self, u64) -> bool, interrupt: &Interrupt) -> Result<()> {
        let mut completions = Vec::new();
        let mut unread = Vec::new();
        let mut last = (self.delivered, self.clock.now_ns());
        loop {
            interrupt.check()?;
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
            // The clock of an open loop is watched all the time: a sleep would end too late.
            let busy = !self.unread.is_empty() || self.pace.is_some();
            let wait = if busy { Duration::ZERO } else { TICK };
            self.ring.wait(Some(wait))?;
            self.ring.drain(&mut completions);
            std::mem::swap(&mut unread, &mut self.unread);
            for completion in completions.drain(..) {
                self.complete(completion)?;
            }
            for index in unread.drain(..) {
                self.read(index as usize)?;
            }
        }
    }

    fn complete(&mut self, completion: Completion) -> Result<()> {
        match completion {
            Completion::Polled { token, more, .. } => {
                let index = token.index() as usize;
                self.read(index)?;
                if !more {
                    let socket = self.devices[index].socket();
                    self.ring.poll_multishot(socket, token, Interest::Read)?;
                }
                Ok(())
            }
            Completion::Sent { token, buffer, result } => {
                let index = token.index() as usize;
                if result? != buffer.len() {
                    bail!("the server stopped reading for good");
                }
                self.sending[index] = false;
                self.send_more(index)
            }
            other @ (Completion::Accepted { .. }
            | Completion::AcceptFailed { .. }
            | Completion::PollEnded { .. }
            | Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. }) => bail!("the ring said {other:?}"),
        }
    }

    /// The device at the other end of a pair.
    const fn other(index: usize) -> usize {
        index ^ 1
    }

    /// One receive, and the sends that it lets happen.
    fn read(&mut self, index: usize) -> Result<()> {
        let device = &mut self.devices[index];
        let carried = self.partial[index].len();
        self.scratch[..carried].copy_from_slice(&self.partial[index]);
        self.partial[index].clear();
        let room = &mut self.scratch[carried..carried + READ_BYTES];
        let count = match sockets::recv(device.socket(), room)? {
            Received::Bytes(count) => count,
            Received::Empty => 0,
            Received::End => bail!("the server closed a connection in the middle of a run"),
        };
        if count == READ_BYTES {
            self.unread.push(index as u32);
        }
        let now_ns = self.clock.now_ns();
        let bytes = &mut self.scratch[..carried + count];
        let mut at = 0;
        while let Some(length) = whole(&bytes[at..])? {
            device.record(&mut bytes[at..at + length], &self.message, &mut self.news)?;
            at += length;
        }
        self.partial[index].extend_from_slice(&bytes[at..]);
        self.take_news(index, now_ns)?;
        self.send_more(Self::other(index))
    }

    /// What has become of messages between `index` and its other, by one receive of `index`.
    fn take_news(&mut self, index: usize, now_ns: u64) -> Result<()> {
        let flight = &mut self.flights[Self::other(index)].messages;
        for _ in 0..self.news.arrived {
            let (_, sent_ns) = flight.pop_front().context("a message arrived that nobody sent")?;
            if sent_ns >= self.counts_from_ns {
                self.latency.saturating_record(now_ns - sent_ns);
            }
        }
        self.delivered += self.news.arrived as u64;
        self.news.arrived = 0;
        if self.news.refused.is_empty() && !self.devices[index].owes() {
            return Ok(());
        }
        let flight = &mut self.flights[index].messages;
        for number in self.news.refused.drain(..) {
            let at = flight.iter().position(|&(sent, _)| sent == number);
            flight.remove(at.context("a message was refused that nobody sent")?);
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
        if self.devices[index].owes() && !self.sending[index] {
            self.send(index, 0)?;
        }
        if index % 2 == 1 && !self.shape.both_ways {
            return Ok(());
        }
        while !self.sending[index] {
            let room = self.room(index);
            if room == 0 {
                break;
            }
            let messages = if self.shape.one_write_per_cell { 1 } else { room };
            self.send(index, messages)?;
        }
        Ok(())
    }

    /// Seals so many messages and sends them with one system call.
    fn send(&mut self, index: usize, messages: usize) -> Result<()> {
        let device = &mut self.devices[index];
        let flight = &mut self.flights[index];
        let numbers = flight.next..flight.next + messages as u64;
        self.output.clear();
        device.seal(&mut self.message, numbers.clone(), &mut self.output)?;
        flight.next = numbers.end;
        let now_ns = self.clock.now_ns();
        let pace = &mut self.pace;
        let mut due = || pace.as_mut().and_then(|pace| pace.take(index)).unwrap_or(now_ns);
        flight.messages.extend(numbers.map(|number| (number, due())));
        let sent = sockets::send(device.socket(), &self.output)?;
        if sent == self.output.len() {
            return Ok(());
        }
        // A later completion tells how much of the buffer was sent, and it should be all of it.
        let rest = self.output.split_off(sent);
        self.sending[index] = true;
        let token = Token::new(SEND, 0, index as u32);
        self.ring.send(device.socket(), token, rest, 0)?;
        Ok(())
    }
}
