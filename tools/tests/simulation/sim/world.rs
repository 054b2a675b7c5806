//! The world: a clock, events in order, and who they happen to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use hushwire::conversation::{Event as Heard, OutboxLimits};
use hushwire::link::LinkError;
use hushwire::suite::keys::PairKey;
use hushwire_engine::Time;
use hushwire_engine::limits::{CONTROL_BACKLOG_MAX, SENDER_SHARE_PARTS};
use hushwire_wire::control::GoawayReason;
use hushwire_wire::id::{AccountId, DeviceId};

use super::device::{Device, Disk, Process};
use super::hostile::Recorded;
use super::ledger::{Ledger, Stage};
use super::plan::{MILLI, Plan, SECOND, Trouble};
use super::random::Dice;
use super::relay::{Inside, Link, LinkId, Shard, is_hopeless, start_shards};
use super::store::Store;
use super::transfer::Transfer;
use super::{Summary, Violation};

/// Everything has ended: so long nothing more may happen. Who was not answered asks again within a minute.
const QUIET_NANOS: u64 = 150 * SECOND;
const RETRY_NANOS: u64 = SECOND;
/// Engines are audited after every so many events.
const AUDIT_EVERY: u64 = 64;

pub(crate) enum Event {
    /// An application does something.
    Act(usize),
    Trouble(Trouble),
    /// A process starts.
    Starts(usize),
    RelayStarts,
    /// A cell arrives at the relay.
    Up(LinkId, Vec<u8>),
    /// The network takes some of a link's output.
    Drain(LinkId),
    /// A cell arrives at a device.
    Down(LinkId, Vec<u8>),
    /// The relay notices that a link is dead.
    Died(LinkId),
    /// The device notices that a link is dead.
    Ended(LinkId),
    /// A device reads again.
    Reads(LinkId),
    /// The disk is done with a batch of this process.
    Written(usize, u32),
    /// What could not be stored is tried again.
    Retry(usize, u32),
    /// Something inside this life of the relay.
    Inside(u32, Inside),
    /// A delayed or repeated cell.
    Late(usize, Vec<u8>),
    /// A false report.
    Lie(LinkId, Vec<u8>),
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) start: Instant,
    pub(crate) now: u64,
    pub(crate) devices: Vec<Device>,
    ids: Vec<DeviceId>,
    pub(crate) transfers: Vec<Transfer>,
    /// Messages that each application has given.
    pub(crate) given: Vec<u64>,
    pub(crate) ledger: Ledger,
    pub(crate) shards: Vec<Shard>,
    pub(crate) relay_life: u32,
    pub(crate) links: Vec<Link>,
    pub(crate) store: Store,
    pub(crate) net: Dice,
    pub(crate) evil: Dice,
    pub(crate) recorded: Recorded,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    summary: Summary,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let devices: Vec<_> =
            (0..plan.manners.len()).map(|number| Device::new(number, plan.seed)).collect();
        let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
        let mut store = Store::default();
        for (id, account) in ids.iter().zip(&plan.accounts) {
            let grants: BTreeSet<_> = ids.iter().copied().collect();
            store.enrol(*id, AccountId::new([account + 1; 16]), grants);
        }
        let transfers = plan.transfers.iter().enumerate().map(|(number, &(from, to, length))| {
            let content = Dice::new(plan.seed, number as u64 + 5_000).bytes(length);
            Transfer { from, to, content }
        });
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let start = Instant::now();
        let mut world = Self {
            start,
            now: SECOND,
            given: vec![0; devices.len()],
            ids,
            transfers: transfers.collect(),
            ledger: Ledger::default(),
            shards: start_shards(&plan, 0, 0),
            relay_life: 0,
            links: Vec::new(),
            store,
            net: Dice::new(plan.seed, 2),
            evil: Dice::new(plan.seed, 3),
            recorded: Recorded::default(),
            events: BTreeMap::new(),
            next_event: 0,
            summary: Summary::default(),
            devices,
            plan,
        };
        for number in 0..world.devices.len() {
            let at = world.now + world.net.below(SECOND / 2);
            world.schedule(at, Event::Starts(number));
            world.schedule(at + 1, Event::Act(number));
        }
        for (at, trouble) in world.plan.troubles.clone() {
            world.schedule(SECOND + at, Event::Trouble(trouble));
        }
        world
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    /// Until this time there is trouble; then everything comes to its end.
    pub(crate) fn is_acting(&self) -> bool {
        self.now < SECOND + self.plan.acting_nanos
    }

    /// Adds to what a run can be known by.
    pub(crate) fn trace(&mut self, word: u64) {
        self.summary.trace = (self.summary.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Plays to the end: what it came to.
    pub(crate) fn play(mut self) -> Result<Summary, Violation> {
        let end = SECOND + self.plan.acting_nanos + self.plan.settling_nanos;
        let mut quiet_until = None;
        let mut steps_at_once = 0;
        loop {
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let due = |shard: &Shard| shard.engine.poll_timeout().map(Time::as_nanos);
            let engines = self.shards.iter().filter_map(due).min();
            let wakes = self.devices.iter().enumerate().filter_map(|(number, device)| {
                device.process.as_ref().map(|process| (process.wake, number))
            });
            let wake = wakes.min();
            let soonest = [event, engines, wake.map(|(at, _)| at)].into_iter().flatten().min();
            let next = soonest.unwrap_or(end).max(self.now);
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            if steps_at_once > 100_000 {
                return violation("live", "time stands still".into());
            }
            self.now = next;
            if quiet_until.is_some_and(|until| next >= until) {
                break;
            }
            if next >= end {
                return self.unfinished();
            }
            self.summary.events += 1;
            if engines.is_some_and(|at| at <= next) {
                self.pass_time()?;
            } else if let Some((_, number)) = wake.filter(|(at, _)| *at <= next) {
                self.work(number)?;
            } else if let Some((_, event)) = self.events.pop_first() {
                self.happen(event)?;
            }
            if self.summary.events.is_multiple_of(AUDIT_EVERY) {
                self.check_engines()?;
                let is_done = quiet_until.is_none() && self.is_done();
                quiet_until = quiet_until.or(is_done.then_some(self.now + QUIET_NANOS));
            }
        }
        self.close()
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Act(number) => self.acts(number),
            Event::Trouble(trouble) => self.make_trouble(trouble),
            Event::Starts(number) => self.starts(number),
            Event::RelayStarts => {
                if self.shards.is_empty() {
                    let unix_ms = self.now / MILLI;
                    self.shards = start_shards(&self.plan, self.relay_life, unix_ms);
                }
                Ok(())
            }
            Event::Up(link, cell) => self.hear(link, cell),
            Event::Drain(link) => self.drain(link),
            Event::Down(link, cell) => self.arrives(link, cell),
            Event::Died(link) => self.died(link),
            Event::Ended(link) => {
                if self.links[link].is_open && !self.links[link].is_silent {
                    self.disconnect(link);
                    return self.work(self.links[link].device);
                }
                Ok(())
            }
            Event::Reads(link) => {
                self.links[link].is_stopped = false;
                self.schedule_drain(link);
                Ok(())
            }
            Event::Written(number, life) => self.written(number, life),
            Event::Retry(number, life) if self.devices[number].life == life => {
                if let Some(process) = &mut self.devices[number].process {
                    process.running.disk_failed = false;
                }
                self.work(number)
            }
            Event::Retry(..) => Ok(()),
            Event::Inside(life, inside) if life == self.relay_life => self.happen_inside(inside),
            Event::Inside(..) => Ok(()),
            Event::Late(number, cell) => {
                self.late(number, cell);
                Ok(())
            }
            Event::Lie(link, cell) => {
                let device = self.links[link].device;
                if self.link_of(device) == Some(link) {
                    self.wire_down(link, cell);
                }
                Ok(())
            }
        }
    }

    fn acts(&mut self, number: usize) -> Result<(), Violation> {
        if self.devices[number].is_gone {
            return Ok(());
        }
        let pause = self.plan.manners[number].pause_nanos;
        let pause = if self.is_acting() { pause } else { pause.min(50 * MILLI) };
        let at = self.now + 1 + self.devices[number].dice.below(2 * pause);
        self.schedule(at, Event::Act(number));
        let device = &self.devices[number];
        if device.process.is_none() || (self.is_acting() && self.now < device.sleeps_until) {
            return Ok(());
        }
        if !self.act(number)? {
            let down_nanos = 200 * MILLI;
            return self.kill(number, Some(down_nanos));
        }
        self.work(number)
    }

    fn make_trouble(&mut self, trouble: Trouble) -> Result<(), Violation> {
        self.summary.troubles += 1;
        let link = |world: &Self, number: usize| {
            world.devices[number].process.as_ref().and_then(|process| process.link)
        };
        match trouble {
            Trouble::Cut { device } => {
                if let Some(link) = link(self, device) {
                    self.hang_up(link);
                    self.disconnect(link);
                    return self.work(device);
                }
            }
            Trouble::Silence { device } => {
                if let Some(link) = link(self, device) {
                    self.links[link].is_silent = true;
                }
            }
            Trouble::KillRelay { down_nanos } => {
                if !self.shards.is_empty() {
                    self.kill_relay(down_nanos);
                }
            }
            Trouble::Kill { device, down_nanos, clock_s } => {
                self.devices[device].clock_s = (self.devices[device].clock_s + clock_s).max(0);
                return self.kill(device, Some(down_nanos));
            }
            Trouble::Lose { device } => return self.kill(device, None),
            Trouble::StopReading { device, nanos } => {
                if let Some(link) = link(self, device) {
                    self.links[link].is_stopped = true;
                    self.schedule(self.now + nanos, Event::Reads(link));
                }
            }
            Trouble::Sleep { device, nanos } => {
                self.devices[device].sleeps_until = self.now + nanos;
            }
            Trouble::FailDisk { device, nanos } => {
                self.devices[device].disk_fails_until = self.now + nanos;
            }
            Trouble::Backup { device } => {
                let device = &mut self.devices[device];
                device.backup = Some((device.disk.clone(), device.app.clone()));
            }
            Trouble::Restore { device, down_nanos } => {
                self.kill(device, Some(down_nanos))?;
                let restored = &mut self.devices[device];
                if let Some((disk, app)) = restored.backup.take() {
                    (restored.disk, restored.app) = (disk, app);
                    let (disk, ids) = (&self.devices[device].disk, &self.ids);
                    self.ledger.set_back(device, |to| next_number(disk, &ids[to]));
                }
            }
        }
        Ok(())
    }

    /// Kills a process, which starts again some time later, or never.
    fn kill(&mut self, number: usize, down_nanos: Option<u64>) -> Result<(), Violation> {
        let device = &mut self.devices[number];
        device.is_gone |= down_nanos.is_none();
        if device.process.is_none() {
            return Ok(());
        }
        self.summary.kills += 1;
        if let Some(link) = device.kill() {
            self.hang_up(link);
        }
        let (disk, ids) = (&self.devices[number].disk, &self.ids);
        let lost = self.ledger.died(number, |to| next_number(disk, &ids[to]))?;
        for purpose in lost {
            self.give_again(number, purpose);
        }
        if let Some(down_nanos) = down_nanos {
            self.schedule(self.now + down_nanos, Event::Starts(number));
        }
        Ok(())
    }

    fn starts(&mut self, number: usize) -> Result<(), Violation> {
        if self.devices[number].process.is_some() || self.devices[number].is_gone {
            return Ok(());
        }
        let peers: Vec<_> = self
            .ids
            .iter()
            .enumerate()
            .filter(|(peer, _)| *peer != number)
            .map(|(peer, id)| (peer, *id, pair_key(number, peer)))
            .collect();
        self.devices[number].start(&peers, self.now, self.plan.fault);
        self.app_started(number);
        self.work(number)
    }

    /// A device's connection is gone, as it notices.
    fn disconnect(&mut self, link: LinkId) {
        let number = self.links[link].device;
        self.links[link].is_open = false;
        let is_this = |device: &Device| {
            device.process.as_ref().is_some_and(|process| process.link == Some(link))
        };
        if is_this(&self.devices[number]) {
            self.devices[number].disconnected(self.now, None);
        }
    }

    /// A cell arrives at a device.
    fn arrives(&mut self, link: LinkId, mut cell: Vec<u8>) -> Result<(), Violation> {
        let number = self.links[link].device;
        let device = &mut self.devices[number];
        let is_heard = self.links[link].is_open && !self.links[link].is_silent;
        if !is_heard || device.process.as_ref().is_none_or(|process| process.link != Some(link)) {
            return Ok(());
        }
        let moment = device.moment(self.start, self.now);
        match device.hear(&mut cell, &self.ids, moment) {
            Ok((hello, goaway)) => {
                if let Some(hello) = hello {
                    self.send_up(link, hello);
                }
                if let Some(goaway) = goaway {
                    if matches!(goaway.reason, GoawayReason::Superseded | GoawayReason::Revoked) {
                        let what = format!("the relay says {} to device {number}", goaway.reason);
                        return violation("protocol", what);
                    }
                    self.hang_up(link);
                    self.devices[number].disconnected(self.now, Some(goaway.reconnect_after));
                }
            }
            Err(error) => self.link_failed(link, &error)?,
        }
        self.work(number)
    }

    fn link_failed(&mut self, link: LinkId, error: &LinkError) -> Result<(), Violation> {
        let is_fault = match error {
            LinkError::Silent => false,
            LinkError::Refused { code, .. } => is_hopeless(*code),
            LinkError::Malformed(_)
            | LinkError::Header(_)
            | LinkError::Control(_)
            | LinkError::Counter { .. }
            | LinkError::WrongRelay { .. }
            | LinkError::Version(_) => true,
        };
        if is_fault {
            return violation("protocol", format!("a device gives up its connection: {error}"));
        }
        self.hang_up(link);
        self.disconnect(link);
        Ok(())
    }

    /// One turn of a device's process.
    pub(crate) fn work(&mut self, number: usize) -> Result<(), Violation> {
        let (fault, now) = (self.plan.fault, self.now);
        if self.devices[number].takes_dial(now) {
            match self.accept(number) {
                Some(link) => {
                    let binding = self.links[link].binding;
                    self.devices[number].dialled(link, binding, now);
                }
                None => self.devices[number].disconnected(now, None),
            }
        }
        let device = &mut self.devices[number];
        let moment = device.moment(self.start, now);
        let mut out = Vec::new();
        device.collect(fault, moment);
        let turned = device.turn(&self.ids, moment, now, &mut out);
        device.collect(fault, moment);
        let Some(process) = &mut device.process else { return Ok(()) };
        let link = process.link;
        if !process.running.disk_failed && process.begins_writing() {
            let at = now + self.net.between(1, self.plan.disk_nanos);
            let life = self.devices[number].life;
            self.schedule(at, Event::Written(number, life));
        }
        if let Some(link) = link {
            for cell in out {
                self.send_up(link, cell);
            }
            if let Err(error) = turned {
                self.link_failed(link, &error)?;
            }
        }
        self.look(number)
    }

    fn written(&mut self, number: usize, life: u32) -> Result<(), Violation> {
        let (now, fault) = (self.now, self.plan.fault);
        let device = &mut self.devices[number];
        let moment = device.moment(self.start, now);
        let Some(process) = device.process.as_mut().filter(|_| device.life == life) else {
            return Ok(());
        };
        if now >= device.disk_fails_until {
            device.stored(moment, fault);
            return self.work(number);
        }
        self.summary.disk_failures += 1;
        process.running.disk_failed = true;
        for (to, numbers) in process.not_stored() {
            for message in numbers {
                let purpose = self.ledger.withdrawn(number, to, message)?;
                self.give_again(number, purpose);
            }
        }
        self.schedule(now + RETRY_NANOS, Event::Retry(number, life));
        self.work(number)
    }

    /// What conversations said, compared with what is known.
    fn look(&mut self, number: usize) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.devices[number].process else { return Ok(()) };
            let Some((peer, heard)) = process.heard.pop_front() else { return Ok(()) };
            match heard {
                Heard::Stored { number: message } => self.ledger.stored(number, peer, message)?,
                Heard::Ended(ended) => {
                    let logs =
                        |at: usize, of: usize| self.devices[at].disk.logs.peer(&self.ids[of]);
                    let nothing = Default::default();
                    let ours = logs(number, peer).unwrap_or(&nothing);
                    let theirs = logs(peer, number).and_then(|logs| logs.incoming.as_ref());
                    self.ledger.ended(number, peer, &ended, ours, theirs)?;
                    self.trace(self.now ^ (ended.number << 40) ^ ended.length);
                }
                Heard::Lost { count } => {
                    let life = self.devices[number].life;
                    self.ledger.lost(peer, number, life, count);
                }
                Heard::SetBack => {
                    self.summary.set_backs += 1;
                    if !self.ledger.is_set_back(number) {
                        let what = format!("device {number} was never set back");
                        return violation("one end", what);
                    }
                }
                Heard::SessionUp => {
                    self.summary.sessions += 1;
                    self.trace(self.now);
                }
                Heard::PeerIncompatible { why } => {
                    let what = format!("device {number} cannot talk to {peer}: {why}");
                    return violation("protocol", what);
                }
                Heard::HandshakeBegins { .. }
                | Heard::HandshakeAnswered { .. }
                | Heard::HandshakeEnded(_)
                | Heard::SessionLost
                | Heard::MessageReady
                | Heard::StreamIncoming
                | Heard::StreamChanged(_)
                | Heard::PeerAway { .. } => {}
            }
        }
    }

    /// *bounded*: the queues of each engine are within their numbers.
    fn check_engines(&self) -> Result<(), Violation> {
        let limits = self.plan.limits;
        for shard in &self.shards {
            let audit = shard.engine.audit();
            let table = [
                ("connections", audit.connections, limits.connections_max as usize),
                ("unauthenticated", audit.unauthenticated, limits.unauthenticated_max as usize),
                ("sealed bytes", audit.sealed_bytes, limits.sealed_bytes_max as usize),
                ("queued bytes", audit.queued_bytes, limits.egress_bytes_max as usize),
                (
                    "share bytes",
                    audit.share_bytes,
                    (limits.egress_bytes_max / SENDER_SHARE_PARTS) as usize,
                ),
                ("pool bytes", audit.pool_bytes, limits.egress_pool_bytes),
                ("backlog", audit.backlog, CONTROL_BACKLOG_MAX),
            ];
            if let Some((name, found, bound)) = table.into_iter().find(|row| row.1 > row.2) {
                return violation("bounded", format!("{name}: {found} above {bound}"));
            }
        }
        Ok(())
    }

    fn is_gone(&self, number: usize) -> bool {
        self.devices[number].is_gone
    }

    /// Who is not done, and with what.
    fn obstacle(&self) -> Option<String> {
        for (number, device) in self.devices.iter().enumerate().filter(|(_, of)| !of.is_gone) {
            let Some(process) = &device.process else {
                return Some(format!("device {number} is down"));
            };
            if !process.is_all_stored() || !process.running.is_done() {
                return Some(format!("the application or disk of {number} is not done"));
            }
            for (&peer, conversation) in &process.conversations {
                if let Some(pending) = conversation.pending().next()
                    && !self.is_gone(peer)
                {
                    return Some(format!("{number}->{peer}: {pending:?}"));
                }
            }
        }
        for (number, transfer) in self.transfers.iter().enumerate() {
            let Transfer { from, to, content } = transfer;
            if self.is_gone(*from) || self.is_gone(*to) || self.ledger.is_set_back(*to) {
                continue;
            }
            let sent = self.devices[*from].app.sending.get(&number).is_some_and(|of| of.is_done);
            let got = self.devices[*to].app.receiving.get(&number).is_some_and(|of| of.is_done);
            if !(sent && got) {
                let length = content.len();
                return Some(format!("{length} bytes {from}->{to}: sent {sent}, received {got}"));
            }
        }
        None
    }

    fn is_done(&self) -> bool {
        let is_up =
            |device: &Device| device.is_gone || device.process.as_ref().is_some_and(Process::is_up);
        !self.is_acting() && self.devices.iter().all(is_up) && self.obstacle().is_none()
    }

    /// *live*: time is up.
    fn unfinished(&self) -> Result<Summary, Violation> {
        violation("live", self.obstacle().unwrap_or_else(|| "nothing is quiet".into()))
    }

    fn close(mut self) -> Result<Summary, Violation> {
        self.check_engines()?;
        if let Some(obstacle) = self.obstacle() {
            return violation("live", format!("it was done, and is not: {obstacle}"));
        }
        let (devices, ids) = (&self.devices, &self.ids);
        self.ledger.close(
            |number| devices[number].is_gone,
            |at, of| devices[at].disk.logs.peer(&ids[of]),
        )?;
        let gone: Vec<_> = self.devices.iter().map(|device| device.is_gone).collect();
        for number in 0..self.devices.len() {
            let moment = self.devices[number].moment(self.start, self.now);
            let Some(process) = &mut self.devices[number].process else { continue };
            for (&peer, conversation) in &mut process.conversations {
                // Finds room where nothing at all is kept for the peer any more, not even gaps.
                let none = OutboxLimits { messages: 0, bytes: 0 };
                let is_empty = conversation.push_message(Vec::new(), None, none, moment).is_ok();
                if !is_empty && !gone[peer] {
                    let what = format!("{number}->{peer}: gaps are kept for ever");
                    return violation("live", what);
                }
            }
        }
        let sent = &self.ledger.sent;
        self.summary.lost = sent.iter().filter(|sent| sent.stage == Stage::Lost).count() as u64;
        self.summary.taken = self.ledger.taken;
        [self.summary.delivered, self.summary.rejected, self.summary.expired] = self.ledger.ends;
        self.summary.hostile = u64::from(self.plan.hostility.is_some());
        self.summary.content = self.transfers.iter().map(|of| of.content.len() as u64).sum();
        Ok(self.summary)
    }
}

fn next_number(disk: &Disk, peer: &DeviceId) -> u64 {
    let log = disk.logs.peer(peer).and_then(|logs| logs.outgoing.as_ref());
    log.map_or(0, |log| log.next_number)
}

/// What two devices share since they were paired.
fn pair_key(one: usize, other: usize) -> PairKey {
    PairKey::new([(one.min(other) * 16 + one.max(other)) as u8; 32])
}

pub(crate) fn violation<T>(checker: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { checker, what })
}
