//! Senders to the reader: at one pace whether it reads or not, so that they cost the same.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_lc_rs::rand;
use hushwire_uring::sockets::{self, Received};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;

use crate::clock::Clock;
use crate::limits::READ_BYTES;
use crate::load::records::{APPLICATION_DATA, HANDSHAKE, whole};
use crate::load::{Device, undelivered};

/// The senders wake at fixed times, not at what happens: their wakes cost the same in both states.
const TICK: Duration = Duration::from_millis(10);
/// A sender that was kept from its pace catches up by this part of a second at most.
const CATCH_UP_PARTS: u64 = 10;

/// What the senders have done since their start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Cells sent.
    pub(super) sent: u64,
    /// Cells that came back as `busy`.
    pub(super) busy: u64,
}

impl Counts {
    pub(super) fn since(self, before: Self) -> Self {
        Self { sent: self.sent - before.sent, busy: self.busy - before.busy }
    }
}

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    busy: AtomicU64,
    paused: AtomicBool,
    /// The senders have seen that, and count no more cells.
    rests: AtomicBool,
}

/// The senders, in a thread that ends with this value.
#[derive(Debug)]
pub(super) struct Senders {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Lane {
    device: Device,
    /// What the socket did not take.
    unsent: Vec<u8>,
    /// What came of a record that is not whole.
    partial: Vec<u8>,
}

impl Senders {
    /// Lets each of `devices` send `pace` cells a second to `reader`.
    pub(super) fn start(
        devices: Vec<Device>,
        reader: DeviceId,
        class: Class,
        pace: u32,
    ) -> Result<Self> {
        let mut cell = vec![0; class.cell_len()];
        rand::fill(&mut cell).map_err(|_| anyhow!("no random bytes"))?;
        cell[..HEADER_LEN].copy_from_slice(&Header::unicast(class, 0, 0, reader).encode());
        let lanes = devices
            .into_iter()
            .map(|device| Lane { device, unsent: Vec::new(), partial: Vec::new() })
            .collect();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = channel();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("senders".to_owned())
            .spawn(move || run(lanes, cell, pace, &for_thread, &stopped))?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// What they have done, or what ended them.
    pub(super) fn counts(&mut self) -> Result<Counts> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))?;
        }
        ensure!(self.thread.is_some(), "the senders have ended");
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Counts { sent: of(&self.shared.sent), busy: of(&self.shared.busy) })
    }

    /// Lets them send no more; they go on listening.
    pub(super) fn pause(&self) {
        self.shared.paused.store(true, Ordering::Relaxed);
    }

    /// Whether they have heard that, so that [`counts`](Self::counts) has all that they sent.
    pub(super) fn rest(&self) -> bool {
        self.shared.rests.load(Ordering::Acquire)
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Whoever drops them has the figures, or an error of their own.
            let _ = thread.join();
        }
    }
}

fn run(
    mut lanes: Vec<Lane>,
    mut cell: Vec<u8>,
    pace: u32,
    shared: &Shared,
    stopped: &Receiver<()>,
) -> Result<()> {
    let clock = Clock::start();
    let mut scratch = vec![0; 2 * READ_BYTES];
    let mut due_before = 0;
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let due = (u128::from(clock.now_ns()) * u128::from(pace) / 1_000_000_000) as u64;
        let cells = (due - due_before).min(u64::from(pace).div_ceil(CATCH_UP_PARTS));
        due_before = due;
        let is_paused = shared.paused.load(Ordering::Relaxed);
        shared.rests.store(is_paused, Ordering::Release);
        let cells = if is_paused { 0 } else { cells };
        for lane in &mut lanes {
            let busy = lane.listen(&mut scratch)?;
            shared.busy.fetch_add(busy, Ordering::Relaxed);
            let sent = lane.send(cells, &mut cell)?;
            shared.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }
    Ok(())
}

impl Lane {
    /// Sends so many cells in one write, or none while the socket has no room. Returns their number.
    fn send(&mut self, cells: u64, cell: &mut [u8]) -> Result<u64> {
        let cells = if self.unsent.is_empty() { cells } else { 0 };
        for _ in 0..cells {
            set_counter(cell, self.device.counter);
            self.device.sealing.seal(cell, &mut self.unsent)?;
            self.device.counter += 1;
        }
        if !self.unsent.is_empty() {
            let sent = sockets::send(self.device.socket.as_fd(), &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(cells)
    }

    /// Reads what the relay said. Returns how many cells it called undeliverable because of a full queue.
    fn listen(&mut self, scratch: &mut [u8]) -> Result<u64> {
        let carried = self.partial.len();
        scratch[..carried].copy_from_slice(&self.partial);
        let room = &mut scratch[carried..carried + READ_BYTES];
        let count = match sockets::recv(self.device.socket.as_fd(), room)? {
            Received::Bytes(count) => count,
            Received::Empty => return Ok(0),
            Received::End => bail!("the relay closed the connection of a sender"),
        };
        let end = carried + count;
        let (mut at, mut busy) = (0, 0);
        while let Some(length) = whole(&scratch[at..end])? {
            busy += u64::from(self.record(&mut scratch[at..at + length])?);
            at += length;
        }
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[at..end]);
        Ok(busy)
    }

    /// Whether the record says that a cell met a full queue.
    fn record(&mut self, record: &mut [u8]) -> Result<bool> {
        let cell = match self.device.opening.open(record)? {
            (APPLICATION_DATA, cell) => cell,
            (HANDSHAKE, [24, ..]) => bail!("the relay updated its keys: shorten the run"),
            (HANDSHAKE, _) => return Ok(false),
            (kind, _) => bail!("the relay sent a sender a record of type {kind}"),
        };
        let header = Header::decode(cell.first_chunk::<HEADER_LEN>().context("no header")?)?;
        let (came, due) = (header.counter, self.device.expected);
        ensure!(came == due, "cell {came} came to a sender where {due} was due");
        self.device.expected += 1;
        match header.kind {
            Kind::Cover => Ok(false),
            Kind::Control => {
                let returned = undelivered(&cell[HEADER_LEN..])?;
                ensure!(returned.reason == Undelivered::Busy, "the relay returned {returned:?}");
                ensure!(returned.counter < self.device.counter, "a cell is busy that nobody sent");
                Ok(true)
            }
            Kind::Unicast | Kind::Broadcast => bail!("a sender was sent a cell"),
        }
    }
}
