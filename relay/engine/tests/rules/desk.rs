//! The desk on which the rules are played.

use std::collections::{HashMap, HashSet, VecDeque};

use hushwire_engine::store::{Denial, DeviceRow, Reach};
use hushwire_engine::{
    Alarm, Command, Config, ConnId, Egress, Engine, EngineLimits, Introduction, ShardId, Slot,
    Slots, SourcePrefix, Stage, StoreAnswer, StoreQuestion, Stored, Ticket, Time, Turned, Verdict,
    Why, home_of,
};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, CoverMode, Request, RequestId, Transport, Undelivered};
use hushwire_wire::id::{AccountId, DeviceId, RelayId};

const HOME_KEY: [u8; 16] = [7; 16];
/// Milliseconds since 1970-01-01 UTC at the beginning of the desk's clock.
pub(crate) const UNIX_MS: u64 = 1_790_000_000_000;

/// A connected device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) device: DeviceId,
    pub(crate) at: At,
    sent: [u64; 8],
    requests: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct At {
    pub(crate) shard: ShardId,
    pub(crate) conn: ConnId,
}

/// What became of a cell, as far as the verdicts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sealed(At),
    Queued(At),
    Dropped,
    Closed(Why),
}

pub(crate) struct Desk {
    pub(crate) engines: Vec<Engine>,
    pub(crate) now: Time,
    pub(crate) rows: HashMap<DeviceId, DeviceRow>,
    pub(crate) denials: HashMap<DeviceId, Denial>,
    /// Questions the store was asked, in order.
    pub(crate) questions: Vec<StoreQuestion>,
    /// While true, the store keeps questions to itself.
    pub(crate) store_waits: bool,
    waiting: VecDeque<(ShardId, Ticket, StoreQuestion)>,
    /// Answers given instead of the store's own, first one first.
    pub(crate) next_answers: VecDeque<StoreAnswer>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) closes: Vec<(At, bool, Why)>,
    pub(crate) released: Vec<Slot>,
    /// Connections whose peer does not read.
    pub(crate) stopped: HashSet<At>,
    sealed: HashMap<At, u32>,
    said: HashMap<At, Vec<Control>>,
    /// Cells that left the queued stage.
    pub(crate) unqueued: Vec<(At, Slot)>,
    classes: HashMap<Slot, Class>,
    slotted: HashMap<At, Class>,
    /// Slots that were served, and what was in them.
    pub(crate) slots: Vec<(At, Vec<Egress>)>,
    next_slot: u32,
}

impl Desk {
    pub(crate) fn new(shards: u16) -> Self {
        Self::with_limits(shards, EngineLimits { connections_max: 1_024, ..Default::default() })
    }

    pub(crate) fn with_limits(shards: u16, limits: EngineLimits) -> Self {
        let engine = |shard| {
            Engine::new(Config {
                shard: ShardId(shard),
                shards,
                home_key: HOME_KEY,
                table_key: [shard as u8; 16],
                relay: RelayId::new([9; 32]),
                region: "desk".into(),
                quic_ids: 0,
                limits,
                seed: u64::from(shard),
                unix_ms_at_zero: UNIX_MS,
            })
        };
        Self {
            engines: (0..shards).map(engine).collect(),
            now: Time::from_millis(1_000),
            rows: HashMap::new(),
            denials: HashMap::new(),
            questions: Vec::new(),
            store_waits: false,
            waiting: VecDeque::new(),
            next_answers: VecDeque::new(),
            alarms: Vec::new(),
            closes: Vec::new(),
            released: Vec::new(),
            stopped: HashSet::new(),
            sealed: HashMap::new(),
            said: HashMap::new(),
            unqueued: Vec::new(),
            classes: HashMap::new(),
            slotted: HashMap::new(),
            slots: Vec::new(),
            next_slot: 0,
        }
    }

    /// A device that lives on `shard`.
    pub(crate) fn device_on(&self, shard: u16, number: u8) -> DeviceId {
        let candidates = (0..=255).map(|salt| {
            DeviceId::new([number, salt, 1, 1].repeat(8).try_into().expect("32 bytes"))
        });
        let shards = self.engines.len() as u16;
        let mut here = candidates.filter(|id| home_of(&HOME_KEY, shards, id) == ShardId(shard));
        here.next().expect("a shard is home to one in a few")
    }

    /// Enrols a device in an account and connects it.
    pub(crate) fn join(&mut self, shard: u16, number: u8, account: u8) -> Peer {
        let device = self.device_on(shard, number);
        self.enrol(device, account);
        self.connect(device)
    }

    /// As [`Desk::join`], while the store keeps its answers to itself.
    pub(crate) fn join_waiting(&mut self, shard: u16, number: u8, account: u8) -> At {
        let device = self.device_on(shard, number);
        self.enrol(device, account);
        self.introduce(device, None)
    }

    pub(crate) fn enrol(&mut self, device: DeviceId, account: u8) {
        let account = AccountId::new([account; 16]);
        self.rows.insert(device, DeviceRow { account, hidden: false, grants: Vec::new() });
    }

    /// Connects a device; it must be admitted.
    pub(crate) fn connect(&mut self, device: DeviceId) -> Peer {
        let at = self.introduce(device, None);
        let said = self.hear(at);
        assert!(matches!(said.last(), Some(Control::Welcome(_))), "{device:?} heard {said:?}");
        self.said.insert(at, said);
        Peer { device, at, sent: [1, 0, 0, 0, 0, 0, 0, 0], requests: 0 }
    }

    /// Accepts a connection on shard 0 and introduces it; where it is now.
    pub(crate) fn introduce(&mut self, device: DeviceId, token: Option<Vec<u8>>) -> At {
        let at = self.accept().expect("room");
        let verdict = self.cell(at, &Header::control(Class::C0, 0));
        assert_eq!(verdict, Verdict::ReadControl);
        self.hello(at, device, token)
    }

    /// Each connection comes from an address of its own.
    pub(crate) fn accept(&mut self) -> Result<At, Turned> {
        self.next_slot += 1;
        let source = SourcePrefix(u64::from(self.next_slot));
        let conn = self.engines[0].handle_accept(source, self.now)?;
        Ok(At { shard: ShardId(0), conn })
    }

    pub(crate) fn hello(&mut self, at: At, device: DeviceId, token: Option<Vec<u8>>) -> At {
        let introduction = Introduction {
            device,
            transport: Transport::Tls,
            cover: CoverMode::Off,
            token,
            name: Some("a device".into()),
            software: "desk".into(),
        };
        let now = self.now;
        self.engine(at.shard).handle_hello(at.conn, introduction, now);
        self.run(Some(at)).unwrap_or(at)
    }

    pub(crate) fn engine(&mut self, shard: ShardId) -> &mut Engine {
        &mut self.engines[usize::from(shard.0)]
    }

    /// Gives the engine a header as it is.
    pub(crate) fn cell(&mut self, at: At, header: &Header) -> Verdict {
        let now = self.now;
        self.engine(at.shard).handle_cell(at.conn, header, now)
    }

    /// Sends a cell of the smallest class on lane 0.
    pub(crate) fn send(&mut self, from: &mut Peer, to: DeviceId) -> Fate {
        self.send_class(from, to, Class::C0)
    }

    pub(crate) fn send_class(&mut self, from: &mut Peer, to: DeviceId, class: Class) -> Fate {
        let header = Header::unicast(class, 0, from.sent[0], to);
        self.send_header(from, &header)
    }

    /// The header's counter must be the next one.
    pub(crate) fn send_header(&mut self, from: &mut Peer, header: &Header) -> Fate {
        from.sent[header.lane as usize] += 1;
        let verdict = self.cell(from.at, header);
        let fate = if let Verdict::Port { to, envelope } = verdict {
            let now = self.now;
            let verdict = self.engine(to).handle_arrival(&envelope, now);
            self.settle(to, verdict, header.class)
        } else {
            self.settle(from.at.shard, verdict, header.class)
        };
        self.run(None);
        fate
    }

    /// The slot that was used last.
    pub(crate) fn slot(&self) -> u32 {
        self.next_slot
    }

    pub(crate) fn next_counter(&self, from: &Peer, lane: usize) -> u64 {
        from.sent[lane]
    }

    /// Sends a request and returns everything the asker heard since.
    pub(crate) fn request(&mut self, from: &mut Peer, request: Request) -> Vec<Control> {
        self.hear(from.at);
        let header = Header::control(Class::C0, from.sent[0]);
        from.sent[0] += 1;
        from.requests += 1;
        assert_eq!(self.cell(from.at, &header), Verdict::ReadControl);
        let (id, now) = (RequestId(from.requests), self.now);
        let control = Control::Request { id, request };
        self.engine(from.at.shard).handle_control(from.at.conn, control, now);
        self.run(None);
        self.hear(from.at)
    }

    /// What was said to a connection since last asked.
    pub(crate) fn hear(&mut self, at: At) -> Vec<Control> {
        self.said.remove(&at).unwrap_or_default()
    }

    /// The reports among it.
    pub(crate) fn reports(&mut self, peer: &Peer) -> Vec<(u8, u64, Undelivered)> {
        let report = |control| {
            if let Control::Undeliverable { lane, counter, reason } = control {
                Some((lane, counter, reason))
            } else {
                None
            }
        };
        self.hear(peer.at).into_iter().filter_map(report).collect()
    }

    /// Lets time pass, doing what falls due on the way.
    pub(crate) fn advance(&mut self, millis: u64) {
        let end = self.now.after_millis(millis);
        loop {
            let due = self.engines.iter().filter_map(Engine::poll_timeout).min();
            let Some(due) = due.filter(|&due| due <= end) else { break };
            self.now = self.now.max(due);
            self.timeout();
        }
        self.now = end;
    }

    pub(crate) fn timeout(&mut self) {
        let now = self.now;
        for shard in 0..self.engines.len() {
            self.engines[shard].handle_timeout(now);
            while let Some(conn) = self.engines[shard].poll_slots(now) {
                let at = At { shard: ShardId(shard as u16), conn };
                let class = self.slotted[&at];
                *self.sealed.entry(at).or_default() += EngineLimits::sealed_len(class);
                let (cells, bytes) = self.empty(at);
                assert_eq!(bytes, class.cell_len(), "a slot is filled exactly");
                self.slots.push((at, cells));
            }
        }
        self.run(None);
    }

    /// The socket of a connection died.
    pub(crate) fn die(&mut self, at: At) {
        let now = self.now;
        self.engine(at.shard).handle_closed(at.conn, now);
        self.run(None);
    }

    /// The peer reads again.
    pub(crate) fn resume(&mut self, at: At) {
        self.stopped.remove(&at);
        self.drain_sealed(at);
        self.run(None);
    }

    /// Has the store answer what it kept to itself.
    pub(crate) fn answer_store(&mut self) {
        self.store_waits = false;
        while let Some((shard, ticket, question)) = self.waiting.pop_front() {
            let answer = self.next_answers.pop_front().unwrap_or_else(|| self.decide(&question));
            let now = self.now;
            self.engine(shard).handle_store(ticket, answer, now);
        }
        self.run(None);
    }

    fn settle(&mut self, shard: ShardId, verdict: Verdict, class: Class) -> Fate {
        match verdict {
            Verdict::Forward { to, stage: Stage::Sealed } => {
                let at = At { shard, conn: to };
                *self.sealed.entry(at).or_default() += EngineLimits::sealed_len(class);
                Fate::Sealed(at)
            }
            Verdict::Forward { to, stage: Stage::Queued } => {
                self.next_slot += 1;
                let stored = Stored { slot: Slot(self.next_slot), wrapped: None };
                self.classes.insert(stored.slot, class);
                self.engine(shard).handle_queued(to, stored);
                Fate::Queued(At { shard, conn: to })
            }
            Verdict::Drop => Fate::Dropped,
            Verdict::Close(why) => Fate::Closed(why),
            Verdict::ReadControl | Verdict::Port { .. } => panic!("no end: {verdict:?}"),
        }
    }

    /// Carries out commands until there are none. Where `followed` was handed over, its new place.
    pub(crate) fn run(&mut self, followed: Option<At>) -> Option<At> {
        let mut place = None;
        loop {
            let mut idle = true;
            for shard in 0..self.engines.len() {
                while let Some(command) = self.engines[shard].poll_command() {
                    idle = false;
                    let shard = ShardId(shard as u16);
                    if let Some(new) = self.carry_out(shard, command, followed) {
                        place = Some(new);
                    }
                }
            }
            let all: Vec<At> = self.sealed.keys().copied().collect();
            for at in all {
                idle &= !self.drain_sealed(at);
            }
            if idle {
                return place;
            }
        }
    }

    fn carry_out(&mut self, shard: ShardId, command: Command, followed: Option<At>) -> Option<At> {
        let now = self.now;
        match command {
            Command::Send { conn, control } => {
                let at = At { shard, conn };
                *self.sealed.entry(at).or_default() += EngineLimits::sealed_len(class_of(&control));
                self.said.entry(at).or_default().push(control);
            }
            Command::Close { conn, after_flush, why } => {
                let at = At { shard, conn };
                self.closes.push((at, after_flush, why));
                self.engine(shard).handle_closed(conn, now);
                self.sealed.remove(&at);
            }
            Command::HandOver { conn, to, handed } => {
                let taken = self.engine(to).handle_hand_over(*handed, now);
                let from = At { shard, conn };
                return taken
                    .ok()
                    .map(|conn| At { shard: to, conn })
                    .filter(|_| followed == Some(from));
            }
            Command::AskStore { ticket, question } => {
                self.questions.push(question.clone());
                if self.store_waits {
                    self.waiting.push_back((shard, ticket, question));
                    return None;
                }
                let answer =
                    self.next_answers.pop_front().unwrap_or_else(|| self.decide(&question));
                self.engine(shard).handle_store(ticket, answer, now);
            }
            Command::Post { to, message } => self.engine(to).handle_port(message, now),
            Command::Release(slot) => self.released.push(slot),
            Command::Alarm(alarm) => self.alarms.push(alarm),
        }
        None
    }

    fn drain_sealed(&mut self, at: At) -> bool {
        if self.stopped.contains(&at) {
            return false;
        }
        let Some(bytes) = self.sealed.remove(&at) else { return false };
        if self.engine(at.shard).handle_drained(at.conn, bytes) {
            self.empty(at);
        }
        true
    }

    /// Polls a connection's egress until there is nothing; its cells' bytes.
    pub(crate) fn empty(&mut self, at: At) -> (Vec<Egress>, usize) {
        let (mut out, mut bytes) = (Vec::new(), 0);
        loop {
            let egress = self.engine(at.shard).poll_egress(at.conn);
            let class = match &egress {
                Egress::Nothing => break,
                Egress::Control(control) => {
                    self.said.entry(at).or_default().push(control.clone());
                    class_of(control)
                }
                Egress::Real(stored) => {
                    self.unqueued.push((at, stored.slot));
                    self.classes[&stored.slot]
                }
                Egress::Cover(class) => *class,
            };
            bytes += class.cell_len();
            if !self.slotted.contains_key(&at) {
                *self.sealed.entry(at).or_default() += EngineLimits::sealed_len(class);
            }
            out.push(egress);
        }
        (out, bytes)
    }

    pub(crate) fn set_slots(&mut self, at: At, class: Class, interval_nanos: u64) {
        let now = self.now;
        self.slotted.insert(at, class);
        let slots = Some(Slots { class, interval_nanos });
        self.engine(at.shard).set_slots(at.conn, slots, now);
    }

    fn decide(&mut self, question: &StoreQuestion) -> StoreAnswer {
        match question {
            StoreQuestion::Admit { device, .. } | StoreQuestion::Redeem { device, .. } => {
                if let Some(denial) = self.denials.get(device) {
                    return StoreAnswer::Denied(*denial);
                }
                match self.rows.get(device) {
                    Some(row) => StoreAnswer::Admitted(row.clone()),
                    None => StoreAnswer::Denied(Denial::Unknown),
                }
            }
            StoreQuestion::Reach { sender, sender_account, recipient } => {
                let row = self.rows.get(recipient);
                let reach = match row {
                    Some(row) if row.account == *sender_account || row.grants.contains(sender) => {
                        Reach::Offline { push: false, hidden: row.hidden }
                    }
                    _ => Reach::Refused,
                };
                StoreAnswer::Reach(reach)
            }
            StoreQuestion::Grant { recipient, sender, .. } => {
                if let Some(row) = self.rows.get_mut(recipient) {
                    row.grants.push(*sender);
                }
                StoreAnswer::Done
            }
            StoreQuestion::Ungrant { recipient, sender, .. } => {
                if let Some(row) = self.rows.get_mut(recipient) {
                    row.grants.retain(|granted| granted != sender);
                }
                StoreAnswer::Done
            }
            StoreQuestion::Presence { device, hidden, .. } => {
                if let Some(row) = self.rows.get_mut(device) {
                    row.hidden = *hidden;
                }
                StoreAnswer::Done
            }
            StoreQuestion::Revoke { device, .. } => {
                self.rows.remove(device);
                self.denials.insert(*device, Denial::Revoked);
                StoreAnswer::Done
            }
            StoreQuestion::Register { .. } | StoreQuestion::Rename { .. } => StoreAnswer::Done,
        }
    }
}

fn class_of(control: &Control) -> Class {
    Class::for_body(4 + control.encode().len()).expect("it fits a cell")
}
