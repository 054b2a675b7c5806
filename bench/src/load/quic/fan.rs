//! One device that has a lane to each of several others, of which one may stop reading.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::{KEEP_ALIVE_MS, LANES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connector::QuicConnector;
use super::opening::{Devices, Newcomer};
use crate::clock::Clock;
use crate::limits::{LANE_CATCH_UP_MAX, LATENCY_NS_MAX};
use crate::load::dialect::{Message, News, Seat};
use crate::load::{Identity, undelivered};

/// As many recipients as there are lanes.
pub(crate) const RECIPIENTS: usize = LANES as usize;
/// How long one turn waits at most.
const TURN_MAX: Duration = Duration::from_millis(5);

/// The sender, its recipients, and what is on its way. The recipient on lane 0 is the one that may stop; it is sent cells at a
/// pace, and the others as many as their windows allow.
#[derive(Debug)]
pub(crate) struct Fan {
    clock: Clock,
    sender: Devices,
    /// Those on lanes 1 and up.
    readers: Devices,
    /// The one on lane 0: it reads only when it is told to.
    stopping: Devices,
    message: Message,
    lanes: Vec<Lane>,
    /// From one cell for lane 0 to the next.
    pace_ns: u64,
    /// When the next of them is due.
    next_paced_ns: u64,
    /// When the recipients are to say again that they are there.
    next_alive_ns: u64,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Lane {
    to: DeviceId,
    /// The counter of the next cell.
    counter: u64,
    /// Cells that may be sent.
    due: usize,
    /// When those on their way were sent.
    sent_ns: VecDeque<u64>,
}

/// What has become of cells.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Cells that arrived on lanes 1 and up.
    pub(crate) delivered: u64,
    /// From when they were sent, nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Cells for lane 0.
    pub(crate) paced: u64,
    /// Of them, those that arrived, and those that came back as `busy`.
    pub(crate) arrived: u64,
    pub(crate) busy: u64,
}

impl Fan {
    /// Connects a sender, and a recipient for each of its lanes: the identities in this order. `pace` is cells a second.
    pub(crate) fn connect(
        connector: &QuicConnector,
        identities: &[Identity],
        class: Class,
        pace: u64,
    ) -> Result<Self> {
        let (sender, recipients) = identities.split_first().context("nobody")?;
        ensure!(recipients.len() == RECIPIENTS, "a recipient for each lane");
        let introduce = |identities: &[Identity]| -> Result<Devices> {
            let mut devices = Devices::new()?;
            for identity in identities {
                let seat = Seat { number: 0, identity, peer: sender };
                let newcomer = Newcomer { seat, token: None, first_id: None };
                devices.introduce(connector, newcomer)?;
            }
            Ok(devices)
        };
        let lane = |(lane, to): (usize, &Identity)| Lane {
            to: to.device,
            // HELLO was the first cell of lane 0.
            counter: u64::from(lane == 0),
            due: 0,
            sent_ns: VecDeque::new(),
        };
        Ok(Self {
            clock: Clock::start(),
            sender: introduce(std::slice::from_ref(sender))?,
            stopping: introduce(&recipients[..1])?,
            readers: introduce(&recipients[1..])?,
            message: Message::random(class, None)?,
            lanes: recipients.iter().enumerate().map(lane).collect(),
            pace_ns: 1_000_000_000 / pace,
            next_paced_ns: 0,
            next_alive_ns: 0,
            tally: Tally::new()?,
        })
    }

    /// Since the start.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Begins: a window of cells on every lane but the first.
    pub(crate) fn begin(&mut self, window: usize) -> Result<()> {
        self.next_paced_ns = self.now_ns();
        self.lanes[1..].iter_mut().for_each(|lane| lane.due = window);
        self.send()
    }

    /// One turn. Where it is `stopped`, the recipient on lane 0 does not even look at its socket.
    pub(crate) fn turn(&mut self, stopped: bool) -> Result<()> {
        self.wait(stopped)?;
        let clock = self.clock;
        for devices in [&mut self.sender, &mut self.readers] {
            devices.hub.receive(clock, |_| {})?;
        }
        self.hear_sender()?;
        self.hear_readers()?;
        if !stopped {
            self.hear_stopping()?;
            self.stopping.hub.leave(clock)?;
            self.keep_alive()?;
        }
        self.readers.hub.leave(clock)?;
        self.keep_pace();
        self.send()?;
        self.sender.hub.leave(clock)
    }

    /// Has the recipients say that they are there, who hear and send nothing; the relay takes them for gone otherwise.
    fn keep_alive(&mut self) -> Result<()> {
        let now_ns = self.now_ns();
        if now_ns < self.next_alive_ns {
            return Ok(());
        }
        self.next_alive_ns = now_ns + KEEP_ALIVE_MS * 1_000_000 / 5;
        self.stopping.keep_alive()?;
        self.readers.keep_alive()
    }

    /// Lane 0 may have what has become due; what became due in a long pause of this process is not made up for.
    fn keep_pace(&mut self) {
        let now_ns = self.now_ns();
        while self.next_paced_ns <= now_ns {
            self.next_paced_ns += self.pace_ns;
            self.lanes[0].due += 1;
            if self.lanes[0].due > LANE_CATCH_UP_MAX {
                self.lanes[0].due = LANE_CATCH_UP_MAX;
                self.next_paced_ns = now_ns + self.pace_ns;
            }
        }
    }

    /// Sends what is due, lane by lane, as far as the relay gives credit.
    fn send(&mut self) -> Result<()> {
        for lane in 0..RECIPIENTS {
            let line = self.sender.hub.wire_mut(0).context("the sender has ended")?;
            if line.port.is_full() {
                return Ok(());
            }
            let now_ns = self.clock.now_ns();
            let Lane { to, counter, due, sent_ns } = &mut self.lanes[lane];
            let count = std::mem::take(due);
            if count == 0 {
                continue;
            }
            let class = self.message.class;
            let mut cells = Vec::with_capacity(count * class.cell_len());
            for number in *counter..*counter + count as u64 {
                let header = Header::unicast(class, lane as u32, number, *to).encode();
                cells.extend_from_slice(&header);
                cells.extend_from_slice(&self.message.bytes[HEADER_LEN..]);
            }
            *counter += count as u64;
            if lane == 0 {
                self.tally.paced += count as u64;
            } else {
                sent_ns.extend(std::iter::repeat_n(now_ns, count));
            }
            line.write_on(lane as u32, cells)?;
            self.sender.hub.stir(0);
        }
        Ok(())
    }

    fn wait(&mut self, stopped: bool) -> Result<()> {
        let awake = [&self.sender, &self.readers, &self.stopping];
        let awake = &awake[..if stopped { 2 } else { 3 }];
        let idle = awake.iter().filter_map(|devices| devices.hub.idle_for(self.clock)).min();
        let idle = idle.map_or(TURN_MAX, |idle| idle.min(TURN_MAX));
        let mut sockets: Vec<_> = awake
            .iter()
            .map(|devices| PollFd::from_borrowed_fd(devices.hub.socket(), PollFlags::IN))
            .collect();
        match poll(&mut sockets, Some(&Timespec::try_from(idle)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The sender hears of cells on lane 0 that met a full queue, and of nothing else.
    fn hear_sender(&mut self) -> Result<()> {
        let mut news = News::default();
        while let Some(place) = self.sender.hub.next_heard() {
            let line = self.sender.hub.wire_mut(place).context("the sender has ended")?;
            line.listen()?;
            line.read(None, &mut news)?;
            if let Some(lost) = &line.port.lost {
                bail!("the sender's connection ended: {lost}");
            }
            for body in line.port.control.drain(..) {
                let returned = undelivered(&body)?;
                let is_busy = returned.lane == 0 && returned.reason == Undelivered::Busy;
                ensure!(is_busy, "the relay returned {returned:?}");
                self.tally.busy += 1;
            }
        }
        Ok(())
    }

    fn hear_readers(&mut self) -> Result<()> {
        let mut news = News::default();
        while let Some(place) = self.readers.hub.next_heard() {
            let at_ns = self.readers.hub.received_ns;
            let line = self.readers.hub.wire_mut(place).context("a recipient has ended")?;
            line.listen()?;
            line.read(Some(&self.message), &mut news)?;
            let arrived = std::mem::take(&mut news.arrived);
            let lane = place + 1;
            for _ in 0..arrived {
                let sent_ns = self.lanes[lane].sent_ns.pop_front();
                let sent_ns = sent_ns.context("a cell arrived that nobody sent")?;
                self.tally.latency.saturating_record(at_ns.saturating_sub(sent_ns));
            }
            self.tally.delivered += arrived as u64;
            self.lanes[lane].due += arrived;
        }
        Ok(())
    }

    fn hear_stopping(&mut self) -> Result<()> {
        let hub = &mut self.stopping.hub;
        hub.receive(self.clock, |_| {})?;
        let mut news = News::default();
        while let Some(place) = hub.next_heard() {
            let line = hub.wire_mut(place).context("the recipient on lane 0 has ended")?;
            line.listen()?;
            line.read(Some(&self.message), &mut news)?;
        }
        self.tally.arrived += news.arrived as u64;
        Ok(())
    }
}

impl Tally {
    fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
        Ok(Self { delivered: 0, latency, paced: 0, arrived: 0, busy: 0 })
    }

    /// Whether the cells for lane 0 have arrived, or come back, but for those that are always on their way.
    pub(crate) const fn is_settled(&self) -> bool {
        self.paced - self.arrived - self.busy <= 2 * LANE_CATCH_UP_MAX as u64
    }
}
