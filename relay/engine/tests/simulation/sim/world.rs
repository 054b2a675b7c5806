//! The world: a clock, events in order, and who they happen to.

use std::collections::BTreeMap;

use hushwire_engine::limits::{
    ABSENT_DEVICES_MAX, ABSENT_SENDERS_MAX, ACCOUNTS_COUNTED_MAX, ADMISSIONS_PENDING_MAX,
    COMMANDS_PER_INPUT_MAX, COMMANDS_SOFT_MAX, CONTROL_BACKLOG_MAX, CONTROL_BACKLOG_SHARD_MAX,
    OPERATIONS_PENDING_MAX, PERMITS_MAX, REACH_CELLS_MAX, REACH_QUESTIONS_MAX,
    RECORD_OVERHEAD_BYTES, REFUSALS_WAITING_MAX, REMEMBERED_MAX, RENDEZVOUS_MAX,
    SEALED_BEYOND_POOL_BYTES, SENDER_SHARE_PARTS,
};
use hushwire_engine::{
    Config, ConnId, Engine, Envelope, PortMessage, ShardId, StoreAnswer, StoreQuestion, Ticket,
    Time, command::HandedOver,
};
use hushwire_wire::cell::Class;
use hushwire_wire::id::{AccountId, RelayId};
use hushwire_wire::limits as wire;

use super::device::Device;
use super::ledger::{CellId, DeviceNumber, Ledger, LinkId};
use super::network::{At, Link, Seen, Unit};
use super::plan::{Fault, Plan, SECOND};
use super::random::Random;
use super::store::Store;
use super::{Summary, Violation};

pub(crate) enum Event {
    /// A device does something.
    Act(DeviceNumber),
    /// A device's slot is due.
    Slot(LinkId),
    /// A device reads again.
    Resume(LinkId),
    /// A unit arrives at the relay.
    Up(LinkId, Unit),
    /// The network takes some of a link's output.
    Drain(LinkId),
    /// A unit arrives at the device.
    Down(LinkId, Unit),
    /// The relay notices that a link is dead.
    Died(LinkId),
    /// The device notices that a link is closed.
    Ended(LinkId),
    /// A cell arrives in a shard's inbox.
    Cross {
        from: ShardId,
        to: ShardId,
        envelope: Box<Envelope>,
        cell: CellId,
    },
    Post(ShardId, Box<PortMessage>),
    HandOver(ShardId, LinkId, Box<HandedOver>),
    /// The store gets to a question.
    Decide(ShardId, Ticket, Box<StoreQuestion>),
    Answer(ShardId, Ticket, Box<StoreAnswer>),
    Drained,
}

/// One shard: its engine and what its I/O layer keeps.
pub(crate) struct Shard {
    pub(crate) engine: Engine,
    pub(crate) links: BTreeMap<ConnId, LinkId>,
    /// Pooled cells; a free one holds the canary `None`.
    pub(crate) slots: Vec<Option<CellId>>,
    pub(crate) free_slots: Vec<u32>,
    /// Cells on their way from here to other shards.
    pub(crate) crossing: Vec<usize>,
    /// The last arrival at other shards, since the mesh keeps order.
    pub(crate) mesh_last: Vec<u64>,
    pub(crate) verdicts: u64,
    pub(crate) reports: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) shards: Vec<Shard>,
    pub(crate) devices: Vec<Device>,
    pub(crate) accounts: Vec<u8>,
    pub(crate) links: Vec<Link>,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) seen: Vec<Seen>,
    pub(crate) mesh: Random,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    played: u64,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut store = Store::default();
        let mut random = Random::new(plan.seed, 3);
        let accounts: Vec<u8> = (0..plan.devices).map(|_| random.below(3) as u8).collect();
        let mut world = Self {
            plan,
            now: SECOND,
            shards: (0..plan.shards).map(|number| shard(&plan, number)).collect(),
            devices: Vec::new(),
            links: Vec::new(),
            ledger: Ledger::default(),
            seen: Vec::new(),
            mesh: Random::new(plan.seed, 4),
            events: BTreeMap::new(),
            next_event: 0,
            played: 0,
            store: Store::default(),
            accounts: accounts.clone(),
        };
        for (number, &account) in accounts.iter().enumerate() {
            let device = Device::new(number, plan.seed);
            let granted = random.below(plan.devices as u64) as DeviceNumber;
            world.ledger.let_in.insert((number, granted));
            let grants = [Device::new(granted, plan.seed).id].into();
            store.enrol(device.id, AccountId::new([account + 1; 16]), grants);
            world.devices.push(device);
            let start = world.now + random.below(SECOND);
            world.schedule(start, Event::Act(number));
        }
        world.store = store;
        world
    }

    /// Plays to the end: what it came to, and what was seen.
    pub(crate) fn play(mut self) -> Result<(Summary, Vec<Seen>), Violation> {
        let end = self.now + self.plan.acting_nanos + self.plan.settling_nanos;
        if self.plan.drains {
            let drained = end - self.plan.settling_nanos / 2;
            self.schedule(drained, Event::Drained);
        }
        let mut steps_at_once = 0;
        loop {
            let due = |shard: &Shard| shard.engine.poll_timeout().map(Time::as_nanos);
            let timeout = self.shards.iter().filter_map(due).min().map(|due| due.max(self.now));
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let Some(next) = [timeout, event].into_iter().flatten().min().filter(|&at| at <= end)
            else {
                break;
            };
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            if steps_at_once > 100_000 {
                return violation("bounded", "time stands still".into());
            }
            self.now = next;
            self.played += 1;
            if timeout == Some(next) {
                self.pass_time()?;
            } else if let Some((_, event)) = self.events.pop_first() {
                self.happen(event)?;
            }
            self.check_bounds()?;
        }
        let summary = self.close()?;
        Ok((summary, self.seen))
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    /// Devices act until this time; then they only finish what they began.
    pub(crate) fn is_acting(&self) -> bool {
        self.now < SECOND + self.plan.acting_nanos
    }

    pub(crate) fn see(&mut self, link: LinkId, is_up: bool, bytes: usize) {
        self.seen.push(Seen { nanos: self.now, link, is_up, bytes });
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    pub(crate) fn shard(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(shard.0)]
    }

    /// The connection an input of the I/O layer is about, as a broken engine would see it.
    pub(crate) fn resolve(&mut self, at: At) -> ConnId {
        if self.plan.fault != Fault::IgnoredGeneration {
            return at.conn;
        }
        let same_index = |conn: &&ConnId| conn.index() == at.conn.index();
        self.shard(at.shard).links.keys().find(same_index).copied().unwrap_or(at.conn)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Act(device) => self.act(device),
            Event::Slot(link) => self.device_slot(link),
            Event::Resume(link) => {
                self.links[link].stopped = false;
                self.schedule_drain(link);
                Ok(())
            }
            Event::Up(link, unit) => self.hear(link, unit),
            Event::Drain(link) => self.drain(link),
            Event::Down(link, unit) => self.device_hears(link, unit),
            Event::Died(link) => self.died(link),
            Event::Ended(link) => {
                self.links[link].device_open = false;
                Ok(())
            }
            Event::Cross { from, to, envelope, cell } => self.arrive(from, to, &envelope, cell),
            Event::Post(shard, message) => {
                let now = self.time();
                self.shard(shard).engine.handle_port(*message, now);
                self.carry_out(shard)
            }
            Event::HandOver(shard, link, handed) => self.take_over(shard, link, *handed),
            Event::Decide(shard, ticket, question) => {
                let answer = self.store.decide(&question);
                let at = self.now + self.store_delay(&question, ticket, 2);
                self.schedule(at, Event::Answer(shard, ticket, Box::new(answer)));
                Ok(())
            }
            Event::Answer(shard, ticket, answer) => {
                let now = self.time();
                self.shard(shard).engine.handle_store(ticket, *answer, now);
                self.carry_out(shard)
            }
            Event::Drained => {
                let now = self.time();
                for shard in 0..self.plan.shards {
                    self.shard(ShardId(shard)).engine.drain(now);
                    self.carry_out(ShardId(shard))?;
                }
                Ok(())
            }
        }
    }

    /// *bounded*: each queue of each engine is within its number.
    fn check_bounds(&mut self) -> Result<(), Violation> {
        let limits = self.plan.limits;
        // A record adds 22 bytes to a cell that moves from the queue into the sealed stage.
        let records =
            limits.egress_pool_bytes / Class::C0.cell_len() * RECORD_OVERHEAD_BYTES as usize;
        let beyond = limits.connections_max as usize * SEALED_BEYOND_POOL_BYTES;
        let slots = self.plan.slots.map_or(0, |_| limits.sealed_bytes_max as usize);
        let slots = limits.connections_max as usize * slots;
        let waiting = limits.egress_pool_bytes + records + beyond + slots;
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
                ("queued and sealed bytes", audit.pool_bytes + audit.sealed_bytes_shard, waiting),
                ("admissions", audit.admissions_pending, ADMISSIONS_PENDING_MAX),
                ("pool cells", audit.pool_cells, limits.egress_pool_bytes / 256),
                ("backlog", audit.backlog, CONTROL_BACKLOG_MAX),
                ("backlogs", audit.backlog_shard, CONTROL_BACKLOG_SHARD_MAX),
                ("grants", audit.grants, wire::GRANTS_PER_ACCOUNT),
                ("absent devices", audit.absent_devices, ABSENT_DEVICES_MAX),
                ("absent senders", audit.absent_senders, ABSENT_SENDERS_MAX),
                ("questions", audit.reach_questions, REACH_QUESTIONS_MAX),
                ("cells of a question", audit.reach_cells, REACH_CELLS_MAX),
                ("operations", audit.operations_pending, OPERATIONS_PENDING_MAX),
                ("accounts", audit.accounts_counted, ACCOUNTS_COUNTED_MAX),
                ("rendezvous", audit.rendezvous, RENDEZVOUS_MAX),
                ("permits", audit.permits, PERMITS_MAX),
                ("remembered", audit.remembered, REMEMBERED_MAX),
                ("refusals", audit.refusals, REFUSALS_WAITING_MAX),
                ("commands", audit.commands, COMMANDS_SOFT_MAX + COMMANDS_PER_INPUT_MAX),
                ("slotted", audit.slotted, audit.connections),
            ];
            if let Some((name, found, bound)) = table.into_iter().find(|row| row.1 > row.2) {
                return violation("bounded", format!("{name}: {found} above {bound}"));
            }
            if audit.connections != shard.links.len() {
                let (connections, links) = (audit.connections, shard.links.len());
                let what = format!("{connections} connections on {links} links");
                return violation("bounded", what);
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<Summary, Violation> {
        let mut summary = Summary {
            events: self.played,
            sent: self.ledger.sent(),
            delivered: self.ledger.delivered,
            reported: self.ledger.reported,
            seen: self.seen.len() as u64,
            ..Summary::default()
        };
        let mut silences = 0;
        for shard in &self.shards {
            let counters = shard.engine.counters();
            silences += counters.refusals_silenced + counters.hidden_silenced;
            summary.queued += counters.cells_queued;
            summary.crossed += counters.cells_crossed_in;
            summary.handed_over += counters.handed_over;
            summary.covers += counters.covers_out;
            if self.plan.drains && shard.engine.connections() > 0 {
                let what = format!("{} connections outlive the drain", shard.engine.connections());
                return violation("accounted", what);
            }
            let held = shard.slots.iter().flatten().count();
            let audit = shard.engine.audit();
            if held != audit.pool_cells {
                let what = format!("{held} slots are held for {} cells", audit.pool_cells);
                return violation("accounted", what);
            }
            if held + audit.backlog_shard > 0 {
                let what = format!("{held} cells, {} messages wait forever", audit.backlog_shard);
                return violation("accounted", what);
            }
        }
        self.ledger.close(|link| self.links[link].is_dead(), &self.accounts, silences)?;
        Ok(summary)
    }
}

fn shard(plan: &Plan, number: u16) -> Shard {
    let engine = Engine::new(Config {
        shard: ShardId(number),
        shards: plan.shards,
        home_key: [plan.seed as u8; 16],
        table_key: [number as u8; 16],
        relay: RelayId::new([1; 32]),
        region: String::new(),
        quic_ids: 0,
        limits: plan.engine_limits(),
        seed: plan.seed,
        unix_ms_at_zero: 0,
    });
    Shard {
        engine,
        links: BTreeMap::new(),
        slots: Vec::new(),
        free_slots: Vec::new(),
        crossing: vec![0; usize::from(plan.shards)],
        mesh_last: vec![0; usize::from(plan.shards)],
        verdicts: 0,
        reports: 0,
    }
}

pub(crate) fn violation<T>(checker: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { checker, what })
}
