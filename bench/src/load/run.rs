//! One run: a closed loop per pair. An arrival lets the sender send one more.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::rand;
use hdrhistogram::Histogram;
use hushwire_relay::transport::limits::{RECORD_PLAIN_BYTES_MAX, SCRATCH_BYTES_MIN};
use hushwire_relay::transport::record_len;
use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{
    Completion, DormantRing, Interest, Kind as Purpose, Ring, RingOptions, Token,
};
use hushwire_wire::cell::{HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{Control, disclose};

use super::records::{ALERT, APPLICATION_DATA, HANDSHAKE, whole};
use super::{Device, Shape};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{LATENCY_NS_MAX, OPEN_ALWAYS_BYTES_MAX, OPEN_ONE_IN, READ_BYTES, SILENCE_MAX};
use crate::procfs;

const POLL: Purpose = Purpose::poll(0);
const SEND: Purpose = Purpose::send(0);
/// How often a run without arrivals looks at its clock.
const TICK: Duration = Duration::from_millis(100);

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
    /// Cells that arrived.
    pub(crate) delivered: u64,
    /// Cells that the server sent back as undeliverable.
    pub(crate) refused: u64,
    /// Time counted, nanoseconds.
    pub(crate) elapsed_ns: u64,
    /// Processor time of the server meanwhile, nanoseconds.
    pub(crate) server_cpu_ns: u64,
    /// Processor time of the generator meanwhile, nanoseconds.
    pub(crate) load_cpu_ns: u64,
    /// From send to arrival, nanoseconds.
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

/// The cells of one sender on their way: counter and time of each.
#[derive(Debug, Default)]
struct Flight(VecDeque<(u64, u64)>);

struct Run<'a> {
    devices: &'a mut [Device],
    shape: Shape,
    ring: Ring,
    clock: Clock,
    /// By the index of the sender.
    flights: Vec<Flight>,
    /// What a device received of a record that is not whole.
    partial: Vec<Vec<u8>>,
    /// Whether the ring is finishing a send of this device.
    sending: Vec<bool>,
    /// Whether the next record of a device is the second half of a cell.
    second_half: Vec<bool>,
    /// Whether something of a device was left unread.
    unread: Vec<u32>,
    scratch: Vec<u8>,
    cell: Vec<u8>,
    output: Vec<u8>,
    delivered: u64,
    refused: u64,
    latency: Histogram<u64>,
}

/// Runs `shape` over the first of `devices`, which are fresh from their welcome and cannot be used
/// for another run, against the server with this process ID.
pub(crate) fn run(
    devices: &mut [Device],
    shape: Shape,
    timing: Timing,
    server: u32,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let devices = devices.get_mut(..shape.devices()).context("too few devices")?;
    let count = devices.len();
    let mut cell = vec![0; shape.class.cell_len()];
    rand::fill(&mut cell).map_err(|_| anyhow!("no random bytes"))?;
    let mut run = Run {
        devices,
        shape,
        ring: DormantRing::new(RingOptions::default())?.enable()?,
        clock: Clock::start(),
        flights: (0..count).map(|_| Flight::default()).collect(),
        partial: vec![Vec::new(); count],
        sending: vec![false; count],
        second_half: vec![false; count],
        unread: Vec::new(),
        scratch: vec![0; SCRATCH_BYTES_MIN],
        cell,
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
    let server_begun_ns = procfs::cpu_ns(server)?;
    let load_begun_ns = procfs::cpu_ns(std::process::id())?;
    run.turns_until(timing.warm_up + timing.measured, interrupt)?;
    let outcome = Outcome {
        server_cpu_ns: procfs::cpu_ns(server)? - server_begun_ns,
        load_cpu_ns: procfs::cpu_ns(std::process::id())? - load_begun_ns,
        elapsed_ns: run.clock.now_ns() - begun_ns,
        delivered: run.delivered - delivered,
        refused: run.refused - refused,
        latency: run.latency,
    };
    Ok(outcome)
}

impl Run<'_> {
    fn start(&mut self) -> Result<()> {
        for (index, device) in self.devices.iter().enumerate() {
            let token = Token::new(POLL, 0, index as u32);
            self.ring.poll_multishot(device.socket.as_fd(), token, Interest::Read)?;
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
        let mut completions = Vec::new();
        let mut unread = Vec::new();
        let mut last = (self.delivered, self.clock.now_ns());
        loop {
            interrupt.check()?;
            let now_ns = self.clock.now_ns();
            if now_ns >= end_ns && self.delivered > begun {
                return Ok(());
            }
            if self.delivered > last.0 {
                last = (self.delivered, now_ns);
            } else if now_ns - last.1 > SILENCE_MAX.as_nanos() as u64 {
                bail!("nothing has arrived for {SILENCE_MAX:?}: cells are lost, or not forwarded");
            }
            let wait = if self.unread.is_empty() { TICK } else { Duration::ZERO };
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
                    let socket = self.devices[index].socket.as_fd();
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
        let mut scratch = std::mem::take(&mut self.scratch);
        let carried = self.partial[index].len();
        scratch[..carried].copy_from_slice(&self.partial[index]);
        self.partial[index].clear();
        let room = &mut scratch[carried..carried + READ_BYTES];
        let count = match sockets::recv(self.devices[index].socket.as_fd(), room)? {
            Received::Bytes(count) => count,
            Received::Empty => 0,
            Received::End => bail!("the server closed a connection in the middle of a run"),
        };
        if count == READ_BYTES {
            self.unread.push(index as u32);
        }
        let now_ns = self.clock.now_ns();
        let end = carried + count;
        let mut at = 0;
        while let Some(length) = whole(&scratch[at..end])? {
            self.record(index, &mut scratch[at..at + length], now_ns)?;
            at += length;
        }
        self.partial[index].extend_from_slice(&scratch[at..end]);
        self.scratch = scratch;
        self.send_more(Self::other(index))
    }

    /// A record has arrived at `index`.
    #[inline]
    fn record(&mut self, index: usize, record: &mut [u8], now_ns: u64) -> Result<()> {
        let bytes = self.shape.class.cell_len();
        let usual = record.len() == record_len(bytes.min(RECORD_PLAIN_BYTES_MAX));
        let device = &mut self.devices[index];
        if self.second_half[index] {
            device.opening.skip();
            self.second_half[index] = false;
            return self.arrived(index, None, now_ns);
        }
        let opened = bytes <= OPEN_ALWAYS_BYTES_MAX || device.expected.is_multiple_of(OPEN_ONE_IN);
        if usual && !opened {
            device.opening.skip();
            device.expected += 1;
            self.second_half[index] = bytes > RECORD_PLAIN_BYTES_MAX;
            return if self.second_half[index] {
                Ok(())
            } else {
                self.arrived(index, None, now_ns)
            };
        }
        let (kind, content) = device.opening.open(record)?;
        match (kind, content) {
            (APPLICATION_DATA, cell) => {
                let header = cell.first_chunk::<HEADER_LEN>().context("a cell without a header")?;
                let header = Header::decode(header)?;
                if header.lane != 0 || header.counter != device.expected {
                    bail!("cell {} came where {} was due", header.counter, device.expected);
                }
                device.expected += 1;
                self.cell(index, &header, cell, now_ns)
            }
            (HANDSHAKE, [24, ..]) => bail!(
                "the server updated its keys, which the generator cannot follow: shorten the run"
            ),
            (HANDSHAKE, _) => Ok(()),
            (ALERT, [_, description]) => bail!("the server sent TLS alert {description}"),
            (kind, _) => bail!("the server sent a record of type {kind}"),
        }
    }

    fn cell(&mut self, index: usize, header: &Header, cell: &[u8], now_ns: u64) -> Result<()> {
        match header.kind {
            Kind::Cover => Ok(()),
            Kind::Unicast if header.peer != self.devices[Self::other(index)].id => {
                bail!("a cell arrived from a device that did not send it")
            }
            Kind::Unicast if header.class != self.shape.class => {
                bail!("a cell of {:?} arrived that nobody sent", header.class)
            }
            Kind::Unicast if header.class.cell_len() > RECORD_PLAIN_BYTES_MAX => {
                self.second_half[index] = true;
                Ok(())
            }
            Kind::Unicast => self.arrived(index, Some(&cell[HEADER_LEN..]), now_ns),
            Kind::Broadcast => bail!("a broadcast arrived that nobody sent"),
            Kind::Control => match Control::decode(disclose(&cell[HEADER_LEN..])?)? {
                Control::Undeliverable { counter, .. } => self.undeliverable(index, counter),
                other @ (Control::Challenge { .. }
                | Control::Hello(_)
                | Control::Welcome(_)
                | Control::Error { .. }
                | Control::Request { .. }
                | Control::Done { .. }
                | Control::Paired { .. }
                | Control::Pong { .. }
                | Control::Goaway { .. }) => bail!("the server said {other:?}"),
            },
        }
    }

    /// A cell has arrived at `index`, whole; its body is looked at where it was opened.
    #[inline]
    fn arrived(&mut self, index: usize, body: Option<&[u8]>, now_ns: u64) -> Result<()> {
        if body.is_some_and(|body| body != &self.cell[HEADER_LEN..]) {
            bail!("a cell's body was changed on its way");
        }
        let flight = &mut self.flights[Self::other(index)].0;
        let (_, sent_ns) = flight.pop_front().context("a cell arrived that nobody sent")?;
        self.latency.saturating_record(now_ns - sent_ns);
        self.delivered += 1;
        Ok(())
    }

    fn undeliverable(&mut self, index: usize, counter: u64) -> Result<()> {
        let flight = &mut self.flights[index].0;
        let at = flight.iter().position(|&(sent, _)| sent == counter);
        flight.remove(at.context("a cell was refused that nobody sent")?);
        self.refused += 1;
        self.send_more(index)
    }

    /// Fills the window of `index`, if it is one that sends.
    fn send_more(&mut self, index: usize) -> Result<()> {
        if index % 2 == 1 && !self.shape.both_ways {
            return Ok(());
        }
        while !self.sending[index] && self.flights[index].0.len() < self.shape.window {
            let room = self.shape.window - self.flights[index].0.len();
            let cells = if self.shape.one_write_per_cell { 1 } else { room };
            self.send(index, cells)?;
        }
        Ok(())
    }

    /// Seals so many cells and sends them with one system call.
    fn send(&mut self, index: usize, cells: usize) -> Result<()> {
        let peer = self.devices[Self::other(index)].id;
        let device = &mut self.devices[index];
        let header = Header::unicast(self.shape.class, 0, device.counter, peer).encode();
        self.cell[..HEADER_LEN].copy_from_slice(&header);
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let first = device.counter;
        for _ in 0..cells {
            set_counter(&mut self.cell, device.counter);
            device.sealing.seal(&self.cell, &mut output)?;
            device.counter += 1;
        }
        let now_ns = self.clock.now_ns();
        let counters = first..device.counter;
        self.flights[index].0.extend(counters.map(|counter| (counter, now_ns)));
        let sent = sockets::send(device.socket.as_fd(), &output)?;
        if sent == output.len() {
            self.output = output;
            return Ok(());
        }
        // A later completion tells how much of the buffer was sent, and it should be all of it.
        let rest = output.split_off(sent);
        self.output = output;
        self.sending[index] = true;
        let token = Token::new(SEND, 0, index as u32);
        self.ring.send(device.socket.as_fd(), token, rest, 0)?;
        Ok(())
    }
}
