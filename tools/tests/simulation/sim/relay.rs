//! The relay: engines, and an I/O layer in memory that moves whole cells as the engines say.

use std::collections::{BTreeMap, VecDeque};

use ed25519_dalek::{Signature, VerifyingKey};
use hushwire::suite::random::Random as _;
use hushwire_engine::command::HandedOver;
use hushwire_engine::{
    Command, Config, ConnId, Egress, Engine, EngineLimits, Envelope, Introduction, PortMessage,
    ShardId, Slot, SourcePrefix, Stage, StoreAnswer, StoreQuestion, Stored, Ticket, Time, Verdict,
    Why,
};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, LaneCounters, lane_of, readdress};
use hushwire_wire::control::{self, Control, ErrorCode, Transport};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::VERSION;
use sha2::{Digest, Sha256};

use super::Violation;
use super::plan::{MILLI, Plan, SECOND};
use super::world::{Event, World, violation};

pub(crate) const RELAY: RelayId = RelayId::new([1; 32]);

pub(crate) type LinkId = usize;

/// A connection's place at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    shard: ShardId,
    conn: ConnId,
}

enum RelayEnd {
    Open(At),
    /// On its way to its home; what arrives meanwhile waits in the socket.
    Moving {
        was: At,
        waiting: Vec<Vec<u8>>,
    },
    Closed,
}

/// A connection between a device and the relay.
pub(crate) struct Link {
    pub(crate) device: usize,
    relay: RelayEnd,
    /// Whether the device still has its end.
    pub(crate) is_open: bool,
    /// Nothing gets through any more.
    pub(crate) is_silent: bool,
    /// What the device sent last is lost with the connection.
    pub(crate) is_lossy: bool,
    /// The device does not read.
    pub(crate) is_stopped: bool,
    is_welcomed: bool,
    /// WELCOME has left.
    knows: bool,
    pub(crate) binding: [u8; 32],
    challenge: Vec<u8>,
    counters: LaneCounters,
    /// Sealed and not yet taken by the network, with the bytes charged.
    output: VecDeque<(Vec<u8>, u32)>,
    drain_scheduled: bool,
    close_after_flush: bool,
    up_last: u64,
    down_last: u64,
}

pub(crate) struct Shard {
    pub(crate) engine: Engine,
    links: BTreeMap<ConnId, LinkId>,
    slots: Vec<Option<Vec<u8>>>,
    free_slots: Vec<u32>,
    crossing: Vec<usize>,
    mesh_last: Vec<u64>,
}

/// What happens inside one life of the relay.
pub(crate) enum Inside {
    Cross { from: ShardId, to: ShardId, envelope: Box<Envelope>, cell: Vec<u8> },
    Post(ShardId, Box<PortMessage>),
    HandOver(ShardId, LinkId, Box<HandedOver>),
    Decide(ShardId, Ticket, Box<StoreQuestion>),
    Answer(ShardId, Ticket, Box<StoreAnswer>),
}

pub(crate) fn start_shards(plan: &Plan, life: u32, unix_ms: u64) -> Vec<Shard> {
    let shard = |number: u16| Shard {
        engine: Engine::new(Config {
            shard: ShardId(number),
            shards: plan.shards,
            home_key: [plan.seed as u8; 16],
            table_key: [number as u8 ^ life as u8; 16],
            relay: RELAY,
            region: String::new(),
            quic_ids: 0,
            limits: plan.engine_limits(),
            seed: plan.seed ^ u64::from(life),
            unix_ms_at_zero: unix_ms,
        }),
        links: BTreeMap::new(),
        slots: Vec::new(),
        free_slots: Vec::new(),
        crossing: vec![0; usize::from(plan.shards)],
        mesh_last: vec![0; usize::from(plan.shards)],
    };
    (0..plan.shards).map(shard).collect()
}

impl World {
    fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    fn shard(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(shard.0)]
    }

    /// A device connects: the connection and its TLS exporter, or nothing where the relay is down or full.
    pub(crate) fn accept(&mut self, device: usize) -> Option<LinkId> {
        if self.shards.is_empty() {
            return None;
        }
        let shard = ShardId(self.net.below(self.shards.len() as u64) as u16);
        let (now, source) = (self.time(), SourcePrefix(device as u64));
        let conn = self.shard(shard).engine.handle_accept(source, now).ok()?;
        let (mut nonce, mut binding) = ([0; 32], [0; 32]);
        self.net.fill(&mut nonce);
        self.net.fill(&mut binding);
        let challenge = Control::Challenge { nonce, relay: RELAY, versions: vec![VERSION] };
        let cell = enclose(&challenge);
        let link = self.links.len();
        self.links.push(Link {
            device,
            relay: RelayEnd::Open(At { shard, conn }),
            is_open: true,
            is_silent: false,
            is_lossy: false,
            is_stopped: false,
            is_welcomed: false,
            knows: false,
            binding,
            challenge: challenge.encode(),
            counters: LaneCounters::default(),
            output: VecDeque::new(),
            drain_scheduled: false,
            close_after_flush: false,
            up_last: 0,
            down_last: 0,
        });
        self.shard(shard).links.insert(conn, link);
        let charged = charge_of(&cell);
        self.shard(shard).engine.handle_sealed(conn, charged);
        self.put_out(link, cell, charged);
        Some(link)
    }

    /// A device writes to its connection.
    pub(crate) fn send_up(&mut self, link: LinkId, cell: Vec<u8>) {
        let delay = self.net.between(1, self.plan.delay_nanos);
        let from = &mut self.links[link];
        from.up_last = (self.now + delay).max(from.up_last + 1);
        let at = from.up_last;
        self.schedule(at, Event::Up(link, cell));
    }

    /// A cell arrives at the relay.
    pub(crate) fn hear(&mut self, link: LinkId, cell: Vec<u8>) -> Result<(), Violation> {
        let from = &mut self.links[link];
        if from.is_silent || (from.is_lossy && !from.is_open) {
            return Ok(());
        }
        match &mut from.relay {
            RelayEnd::Open(at) => {
                let at = *at;
                self.hear_cell(link, at, cell)
            }
            RelayEnd::Moving { waiting, .. } => {
                waiting.push(cell);
                Ok(())
            }
            RelayEnd::Closed => Ok(()),
        }
    }

    fn hear_cell(&mut self, link: LinkId, at: At, mut cell: Vec<u8>) -> Result<(), Violation> {
        let now = self.time();
        let head = cell.first_chunk::<HEADER_LEN>().expect("a cell has a header");
        let Ok(header) = Header::decode(head) else {
            return violation("protocol", "a device sends a header that is none".into());
        };
        let engine = &mut self.shards[usize::from(at.shard.0)].engine;
        let verdict = engine.handle_cell(at.conn, &header, now);
        if verdict == Verdict::ReadControl {
            self.read_control(link, at, &cell)?;
        } else {
            let sender = engine.device_of(at.conn).copied();
            if let Some(sender) = sender {
                readdress(&mut cell, &sender);
            }
            let is_routed = matches!(verdict, Verdict::Forward { .. } | Verdict::Port { .. });
            if let Verdict::Close(why) = verdict {
                return violation("protocol", format!("an honest device is cut off: {why:?}"));
            }
            self.follow(at.shard, verdict, cell)?;
            if is_routed {
                self.lie(link, &header);
            }
        }
        self.carry_out(at.shard)
    }

    fn read_control(&mut self, link: LinkId, at: At, cell: &[u8]) -> Result<(), Violation> {
        let now = self.time();
        let content = control::disclose(&cell[HEADER_LEN..]);
        let decoded = content.and_then(|content| Ok((content, Control::decode(content)?)));
        let Ok((content, control)) = decoded else {
            return violation("protocol", "a device sends a control cell that is none".into());
        };
        let Control::Hello(hello) = control else {
            self.shard(at.shard).engine.handle_control(at.conn, control, now);
            return Ok(());
        };
        let from = &self.links[link];
        let mut transcript = from.challenge.clone();
        let start = transcript.len();
        transcript.extend_from_slice(content);
        control::replace_proof(&mut transcript[start..], &[0; 64]).expect("a HELLO has a proof");
        let hash: [u8; 32] = Sha256::digest(&transcript).into();
        let message = control::proof_message(&hash, Transport::Tls, &from.binding);
        let key = VerifyingKey::from_bytes(hello.device.as_bytes());
        let proof = Signature::from_bytes(&hello.proof);
        if key.is_err() || key.is_ok_and(|key| key.verify_strict(&message, &proof).is_err()) {
            return violation("protocol", "a device's proof does not hold".into());
        }
        let introduction = Introduction {
            device: hello.device,
            transport: Transport::Tls,
            cover: hello.cover,
            token: None,
            name: None,
            software: hello.software,
        };
        self.shard(at.shard).engine.handle_hello(at.conn, introduction, now);
        Ok(())
    }

    fn follow(&mut self, shard: ShardId, verdict: Verdict, cell: Vec<u8>) -> Result<(), Violation> {
        let now = self.time();
        match verdict {
            Verdict::Drop | Verdict::Close(_) => {}
            Verdict::ReadControl => {
                return violation("protocol", "a routed cell is read as control".into());
            }
            Verdict::Forward { to, stage: Stage::Sealed } => {
                let Some(&link) = self.shard(shard).links.get(&to) else {
                    return violation("protocol", format!("{to:?} is nobody"));
                };
                let charged = charge_of(&cell);
                self.put_out(link, cell, charged);
            }
            Verdict::Forward { to, stage: Stage::Queued } => {
                let here = self.shard(shard);
                let slot = here.free_slots.pop().unwrap_or(here.slots.len() as u32);
                here.slots.resize(here.slots.len().max(slot as usize + 1), None);
                here.slots[slot as usize] = Some(cell);
                here.engine.handle_queued(to, Stored { slot: Slot(slot), wrapped: None });
            }
            Verdict::Port { to, envelope } => {
                let room = self.plan.inbox_cells;
                let here = self.shard(shard);
                if here.crossing[usize::from(to.0)] >= room {
                    here.engine.handle_port_full(&envelope, now);
                    return Ok(());
                }
                here.crossing[usize::from(to.0)] += 1;
                let at = self.mesh_arrival(shard, to);
                let envelope = Box::new(envelope);
                self.inside(at, Inside::Cross { from: shard, to, envelope, cell });
            }
        }
        Ok(())
    }

    fn inside(&mut self, at: u64, inside: Inside) {
        let life = self.relay_life;
        self.schedule(at, Event::Inside(life, inside));
    }

    pub(crate) fn happen_inside(&mut self, inside: Inside) -> Result<(), Violation> {
        let now = self.time();
        let shard = match inside {
            Inside::Cross { from, to, envelope, cell } => {
                self.shard(from).crossing[usize::from(to.0)] -= 1;
                let verdict = self.shard(to).engine.handle_arrival(&envelope, now);
                self.follow(to, verdict, cell)?;
                to
            }
            Inside::Post(shard, message) => {
                self.shard(shard).engine.handle_port(*message, now);
                shard
            }
            Inside::HandOver(shard, link, handed) => return self.take_over(shard, link, *handed),
            Inside::Decide(shard, ticket, question) => {
                let answer = self.store.decide(&question);
                let at = self.now + self.net.between(1_000, self.plan.store_nanos);
                self.inside(at, Inside::Answer(shard, ticket, Box::new(answer)));
                return Ok(());
            }
            Inside::Answer(shard, ticket, answer) => {
                self.shard(shard).engine.handle_store(ticket, *answer, now);
                shard
            }
        };
        self.carry_out(shard)
    }

    fn take_over(
        &mut self,
        shard: ShardId,
        link: LinkId,
        handed: HandedOver,
    ) -> Result<(), Violation> {
        let moved = std::mem::replace(&mut self.links[link].relay, RelayEnd::Closed);
        let RelayEnd::Moving { waiting, .. } = moved else { return Ok(()) };
        let now = self.time();
        let Ok(conn) = self.shard(shard).engine.handle_hand_over(handed, now) else {
            let at = self.now + 1;
            self.schedule(at, Event::Ended(link));
            return Ok(());
        };
        self.links[link].relay = RelayEnd::Open(At { shard, conn });
        self.shard(shard).links.insert(conn, link);
        self.carry_out(shard)?;
        self.schedule_drain(link);
        waiting.into_iter().try_for_each(|cell| self.hear(link, cell))
    }

    fn carry_out(&mut self, shard: ShardId) -> Result<(), Violation> {
        while let Some(command) = self.shard(shard).engine.poll_command() {
            match command {
                Command::Send { conn, control } => {
                    let Some(&link) = self.shard(shard).links.get(&conn) else { continue };
                    let is_report = matches!(control, Control::Undeliverable { .. });
                    let is_hidden = is_report && self.hides_report();
                    self.links[link].is_welcomed |= matches!(control, Control::Welcome(_));
                    let cell = enclose(&control);
                    let charged = charge_of(&cell);
                    self.put_out(link, if is_hidden { Vec::new() } else { cell }, charged);
                }
                Command::Close { conn, after_flush, why } => {
                    self.close_link(At { shard, conn }, after_flush, why)?;
                }
                Command::HandOver { conn, to, handed } => {
                    let Some(link) = self.shard(shard).links.remove(&conn) else { continue };
                    let was = At { shard, conn };
                    self.links[link].relay = RelayEnd::Moving { was, waiting: Vec::new() };
                    let at = self.mesh_arrival(shard, to);
                    self.inside(at, Inside::HandOver(to, link, handed));
                }
                Command::AskStore { ticket, question } => {
                    let at = self.now + self.net.between(1_000, self.plan.store_nanos);
                    let inside = if self.is_acting() && self.net.chance(3) {
                        Inside::Answer(shard, ticket, Box::new(StoreAnswer::Unavailable))
                    } else {
                        Inside::Decide(shard, ticket, Box::new(question))
                    };
                    self.inside(at, inside);
                }
                Command::Post { to, message } => {
                    let at = self.mesh_arrival(shard, to);
                    self.inside(at, Inside::Post(to, Box::new(message)));
                }
                Command::Release(slot) => {
                    self.take_slot(shard, slot);
                }
                Command::Alarm(_) => {}
            }
        }
        Ok(())
    }

    fn take_slot(&mut self, shard: ShardId, slot: Slot) -> Vec<u8> {
        let here = self.shard(shard);
        here.free_slots.push(slot.0);
        here.slots[slot.0 as usize].take().expect("the engine names slots that are in use")
    }

    fn mesh_arrival(&mut self, from: ShardId, to: ShardId) -> u64 {
        let at = self.now + self.net.between(1, MILLI);
        let last = &mut self.shard(from).mesh_last[usize::from(to.0)];
        *last = at.max(*last);
        *last
    }

    // What leaves.

    fn put_out(&mut self, link: LinkId, cell: Vec<u8>, charged: u32) {
        self.links[link].output.push_back((cell, charged));
        self.schedule_drain(link);
    }

    pub(crate) fn schedule_drain(&mut self, link: LinkId) {
        let to = &mut self.links[link];
        if to.output.is_empty() || to.drain_scheduled || to.is_stopped || to.is_silent {
            return;
        }
        to.drain_scheduled = true;
        let at = self.now + self.net.between(1, MILLI);
        self.schedule(at, Event::Drain(link));
    }

    /// The network takes some of a link's output.
    pub(crate) fn drain(&mut self, link: LinkId) -> Result<(), Violation> {
        self.links[link].drain_scheduled = false;
        let to = &self.links[link];
        let RelayEnd::Open(at) = to.relay else { return Ok(()) };
        if to.is_stopped || to.is_silent {
            return Ok(());
        }
        let mut drained = 0;
        for _ in 0..self.net.between(1, 8) {
            let Some((cell, charged)) = self.links[link].output.pop_front() else { break };
            drained += charged;
            if !cell.is_empty() {
                self.pass(link, cell);
            }
        }
        if self.shard(at.shard).engine.handle_drained(at.conn, drained) {
            loop {
                let engine = &mut self.shard(at.shard).engine;
                let cell = match engine.poll_egress(at.conn) {
                    Egress::Nothing => break,
                    Egress::Cover(_) => return violation("protocol", "cover without slots".into()),
                    Egress::Control(control) => enclose(&control),
                    Egress::Real(stored) => self.take_slot(at.shard, stored.slot),
                };
                let charged = charge_of(&cell);
                self.put_out(link, cell, charged);
            }
        }
        let to = &mut self.links[link];
        to.knows |= to.is_welcomed && to.output.is_empty();
        if to.output.is_empty() && to.close_after_flush {
            self.end(link);
        }
        self.schedule_drain(link);
        self.carry_out(at.shard)
    }

    /// Puts a cell on the wire to a device.
    pub(crate) fn wire_down(&mut self, link: LinkId, mut cell: Vec<u8>) {
        let delay = self.net.between(1, self.plan.delay_nanos);
        let to = &mut self.links[link];
        let counter = to.counters.take(lane_of(&cell));
        hushwire_wire::cell::set_counter(&mut cell, counter);
        to.down_last = (self.now + delay).max(to.down_last + 1);
        let at = to.down_last;
        self.schedule(at, Event::Down(link, cell));
    }

    /// The connection of a device that knows that it is welcome, if there is one.
    pub(crate) fn link_of(&self, device: usize) -> Option<LinkId> {
        let is_there = |link: &Link| {
            let is_up = link.is_open && link.knows && !link.is_silent;
            link.device == device && is_up && matches!(link.relay, RelayEnd::Open(_))
        };
        self.links.iter().rposition(is_there)
    }

    /// Time passes for every engine.
    pub(crate) fn pass_time(&mut self) -> Result<(), Violation> {
        let now = self.time();
        for number in 0..self.shards.len() {
            let shard = ShardId(number as u16);
            if self.shard(shard).engine.poll_timeout().is_some_and(|due| due <= now) {
                self.shard(shard).engine.handle_timeout(now);
                self.carry_out(shard)?;
            }
        }
        Ok(())
    }

    // How links end.

    fn close_link(&mut self, at: At, after_flush: bool, why: Why) -> Result<(), Violation> {
        let Some(&link) = self.shard(at.shard).links.get(&at.conn) else { return Ok(()) };
        let is_fault = matches!(why, Why::Malformed | Why::Unauthenticated | Why::Revoked);
        if is_fault {
            return violation("protocol", format!("an honest connection is closed: {why:?}"));
        }
        if after_flush && !self.links[link].output.is_empty() {
            self.links[link].close_after_flush = true;
        } else {
            self.end(link);
        }
        Ok(())
    }

    /// Closes the relay's end of a link.
    fn end(&mut self, link: LinkId) {
        let now = self.time();
        let to = &mut self.links[link];
        let RelayEnd::Open(at) = to.relay else { return };
        to.relay = RelayEnd::Closed;
        to.output.clear();
        let ended = to.down_last.max(self.now) + 1;
        let is_silent = to.is_silent;
        let here = self.shard(at.shard);
        here.links.remove(&at.conn);
        here.engine.handle_closed(at.conn, now);
        if !is_silent {
            self.schedule(ended, Event::Ended(link));
        }
    }

    /// The relay notices that a link is dead.
    pub(crate) fn died(&mut self, link: LinkId) -> Result<(), Violation> {
        match self.links[link].relay {
            RelayEnd::Open(at) => {
                self.end(link);
                self.carry_out(at.shard)
            }
            RelayEnd::Moving { was, .. } => {
                self.links[link].relay = RelayEnd::Closed;
                self.carry_out(was.shard)
            }
            RelayEnd::Closed => Ok(()),
        }
    }

    /// The relay's process is killed: every connection and every queue is gone.
    pub(crate) fn kill_relay(&mut self, down_nanos: u64) {
        self.relay_life += 1;
        self.shards.clear();
        for link in 0..self.links.len() {
            let to = &mut self.links[link];
            if matches!(to.relay, RelayEnd::Closed) {
                continue;
            }
            to.relay = RelayEnd::Closed;
            to.output.clear();
            let ended = to.down_last.max(self.now) + 1;
            if !to.is_silent {
                self.schedule(ended, Event::Ended(link));
            }
        }
        let at = self.now + down_nanos;
        self.schedule(at, Event::RelayStarts);
    }

    /// A device drops its end; the relay notices some time later.
    pub(crate) fn hang_up(&mut self, link: LinkId) {
        let is_lossy = self.net.chance(50);
        let within = *self.net.pick(&[1, 100, 1_000]) * MILLI;
        let to = &mut self.links[link];
        to.is_open = false;
        to.is_lossy = is_lossy;
        let noticed = to.up_last.max(self.now) + 1;
        let at = noticed + self.net.below(within.min(SECOND));
        self.schedule(at, Event::Died(link));
    }
}

fn enclose(control: &Control) -> Vec<u8> {
    control::enclose(&control.encode()).expect("a control message fits a cell")
}

/// Bytes of the sealed stage that a cell takes.
fn charge_of(cell: &[u8]) -> u32 {
    let class = Class::for_body(cell.len() - HEADER_LEN).expect("a cell has one of eight sizes");
    EngineLimits::sealed_len(class)
}

/// Why a device is not let in for good: never, here.
pub(crate) fn is_hopeless(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unauthenticated | ErrorCode::Forbidden)
}
