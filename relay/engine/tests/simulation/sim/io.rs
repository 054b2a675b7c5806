//! The I/O layer of the simulation: what it does with verdicts and commands.

use hushwire_engine::{
    Command, ConnId, EngineLimits, Envelope, Introduction, ShardId, Slot, Slots, Stage,
    StoreAnswer, StoreQuestion, Stored, Ticket, Verdict,
};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, ControlError, CoverMode, ErrorCode, Transport};
use hushwire_wire::id::DeviceId;

use super::Violation;
use super::ledger::{CellId, LinkId};
use super::network::{At, Body, Piece, RelayEnd, Unit};
use super::plan::{Fault, MILLI};
use super::random::Random;
use super::world::{Event, World, violation};

impl World {
    /// A unit arrives at the relay.
    pub(crate) fn hear(&mut self, link: LinkId, unit: Unit) -> Result<(), Violation> {
        let mut pieces = unit.into_iter();
        while let Some(piece) = pieces.next() {
            match &mut self.links[link].relay {
                RelayEnd::Open(at) => {
                    let at = *at;
                    self.hear_piece(link, at, &piece)?;
                }
                RelayEnd::Moving { waiting, .. } => {
                    waiting.push([piece].into_iter().chain(pieces.by_ref()).collect());
                }
                // A completion that outlives its connection.
                RelayEnd::Closed { was: Some(at) } => {
                    let at = *at;
                    let (conn, now) = (self.resolve(at), self.time());
                    let verdict = self.shard(at.shard).engine.handle_cell(conn, &piece.header, now);
                    if verdict != Verdict::Drop {
                        let what = format!("a dead connection was heard: {verdict:?}");
                        return violation("no bleed", what);
                    }
                }
                RelayEnd::Closed { was: None } => {}
            }
        }
        Ok(())
    }

    fn hear_piece(&mut self, link: LinkId, at: At, piece: &Piece) -> Result<(), Violation> {
        let (conn, now) = (self.resolve(at), self.time());
        let verdict = self.shard(at.shard).engine.handle_cell(conn, &piece.header, now);
        if verdict == Verdict::ReadControl {
            let engine = &mut self.shards[usize::from(at.shard.0)].engine;
            match &piece.body {
                Body::Hello => {
                    let device = self.devices[self.links[link].device].id;
                    engine.handle_hello(conn, introduction(device), now);
                }
                Body::Request(id, request) => {
                    let control = Control::Request { id: *id, request: request.clone() };
                    engine.handle_control(conn, control, now);
                }
                Body::Garbage => {
                    engine.handle_malformed_control(conn, ControlError::Malformed, now);
                }
                Body::Control(control) => engine.handle_control(conn, control.clone(), now),
                Body::Cell(_) | Body::Cover => {
                    return violation("no bleed", "a cell was read as control".into());
                }
            }
        } else {
            let cell = if let Body::Cell(cell) = piece.body { Some(cell) } else { None };
            self.follow(at.shard, verdict, cell)?;
        }
        self.carry_out(at.shard)
    }

    /// A cell arrives in a shard's inbox.
    pub(crate) fn arrive(
        &mut self,
        from: ShardId,
        to: ShardId,
        envelope: &Envelope,
        cell: CellId,
    ) -> Result<(), Violation> {
        self.shard(from).crossing[usize::from(to.0)] -= 1;
        let now = self.time();
        let verdict = self.shard(to).engine.handle_arrival(envelope, now);
        self.follow(to, verdict, Some(cell))?;
        self.carry_out(to)
    }

    fn follow(
        &mut self,
        shard: ShardId,
        verdict: Verdict,
        cell: Option<CellId>,
    ) -> Result<(), Violation> {
        let now = self.time();
        match (self.misroute(shard, verdict), cell) {
            (Verdict::Drop | Verdict::Close(_), _) => Ok(()),
            (Verdict::Forward { to, stage: Stage::Sealed }, Some(cell)) => {
                let class = self.ledger.cell(cell).class;
                let Some(&link) = self.shard(shard).links.get(&to) else {
                    return violation(
                        "no bleed",
                        format!("a verdict names {to:?}, which is nobody"),
                    );
                };
                let piece = self.seal(link, cell)?;
                self.put_out(link, vec![piece], EngineLimits::sealed_len(class));
                Ok(())
            }
            (Verdict::Forward { to, stage: Stage::Queued }, Some(cell)) => {
                self.queue(shard, to, cell);
                Ok(())
            }
            (Verdict::Port { to, envelope }, Some(cell)) => {
                let room = self.plan.inbox_cells;
                let here = self.shard(shard);
                if here.crossing[usize::from(to.0)] >= room {
                    here.engine.handle_port_full(&envelope, now);
                    return Ok(());
                }
                here.crossing[usize::from(to.0)] += 1;
                let at = self.mesh_arrival(shard, to);
                let envelope = Box::new(envelope);
                self.schedule(at, Event::Cross { from: shard, to, envelope, cell });
                Ok(())
            }
            (verdict, cell) => violation("no bleed", format!("{verdict:?} for cell {cell:?}")),
        }
    }

    fn misroute(&mut self, shard: ShardId, verdict: Verdict) -> Verdict {
        let broken = self.plan.fault == Fault::MisroutedVerdict;
        let here = self.shard(shard);
        if let Verdict::Forward { to, stage: Stage::Sealed } = verdict {
            here.verdicts += 1;
            let other = here.links.keys().find(|&&conn| conn != to);
            if let Some(&to) = other.filter(|_| broken && here.verdicts.is_multiple_of(7)) {
                return Verdict::Forward { to, stage: Stage::Sealed };
            }
        }
        verdict
    }

    fn queue(&mut self, shard: ShardId, to: ConnId, cell: CellId) {
        let (fault, now) = (self.plan.fault, self.time());
        if self.plan.slots.is_none() && self.mesh.chance(1) {
            self.shard(shard).engine.handle_unqueued(to, now);
            return;
        }
        let here = self.shard(shard);
        let slot = here.free_slots.pop().unwrap_or(here.slots.len() as u32);
        here.slots.resize(here.slots.len().max(slot as usize + 1), None);
        here.slots[slot as usize] = Some(cell);
        here.engine.handle_queued(to, Stored { slot: Slot(slot), wrapped: None });
        let link = here.links.get(&to).copied();
        if fault == Fault::SlotReusedEarly {
            here.free_slots.push(slot);
        }
        if let Some(link) = link.filter(|_| fault == Fault::EagerCell) {
            let bytes = self.ledger.cell(cell).class.cell_len();
            self.see(link, false, bytes);
        }
    }

    /// The cell in a slot is taken out, and the slot is free.
    pub(crate) fn take_slot(&mut self, shard: ShardId, slot: Slot) -> Result<CellId, Violation> {
        let here = self.shard(shard);
        match here.slots[slot.0 as usize].take() {
            Some(cell) => {
                here.free_slots.push(slot.0);
                Ok(cell)
            }
            None => violation("no bleed", format!("{slot:?} holds the canary")),
        }
    }

    pub(crate) fn seal(&mut self, link: LinkId, cell: CellId) -> Result<Piece, Violation> {
        let device = self.links[link].device;
        self.ledger.seal(cell, link, device, &self.accounts)?;
        let sent = self.ledger.cell(cell);
        let sender = self.devices[sent.sender].id;
        let header = Header::unicast(sent.class, u32::from(sent.lane), 0, sender);
        Ok(Piece { header, body: Body::Cell(cell) })
    }

    /// Carries out what an engine wants.
    pub(crate) fn carry_out(&mut self, shard: ShardId) -> Result<(), Violation> {
        while let Some(command) = self.shard(shard).engine.poll_command() {
            match command {
                Command::Send { conn, control } => self.say(At { shard, conn }, control),
                Command::Close { conn, after_flush, why } => {
                    self.close_link(At { shard, conn }, after_flush, why)?;
                }
                Command::HandOver { conn, to, handed } => {
                    let Some(link) = self.shard(shard).links.remove(&conn) else { continue };
                    let was = At { shard, conn };
                    self.links[link].relay = RelayEnd::Moving { was, waiting: Vec::new() };
                    let at = self.mesh_arrival(shard, to);
                    self.schedule(at, Event::HandOver(to, link, handed));
                }
                Command::AskStore { ticket, question } => {
                    let at = self.now + self.store_delay(&question, ticket, 1);
                    let event = if self.plan.slots.is_none() && self.mesh.chance(3) {
                        Event::Answer(shard, ticket, Box::new(StoreAnswer::Unavailable))
                    } else {
                        Event::Decide(shard, ticket, Box::new(question))
                    };
                    self.schedule(at, event);
                }
                Command::Post { to, message } => {
                    let at = self.mesh_arrival(shard, to);
                    self.schedule(at, Event::Post(to, Box::new(message)));
                }
                Command::Release(slot) => {
                    self.take_slot(shard, slot)?;
                }
                Command::Alarm(_) => {}
            }
        }
        Ok(())
    }

    fn say(&mut self, at: At, control: Control) {
        let fault = self.plan.fault;
        let here = self.shard(at.shard);
        let Some(&link) = here.links.get(&at.conn) else { return };
        let is_report = matches!(control, Control::Undeliverable { .. });
        here.reports += u64::from(is_report);
        let is_hit = is_report && here.reports.is_multiple_of(5);
        let is_welcome = matches!(control, Control::Welcome(_));
        let piece = control_piece(control);
        let charged = EngineLimits::sealed_len(piece.header.class);
        let unit = if is_hit && fault == Fault::LostReport {
            Vec::new()
        } else if is_hit && fault == Fault::DoubledReport {
            vec![piece.clone(), piece]
        } else {
            vec![piece]
        };
        self.put_out(link, unit, charged);
        if let Some((class, interval_nanos)) = self.plan.slots.filter(|_| is_welcome) {
            let (slots, now) = (Some(Slots { class, interval_nanos }), self.time());
            self.shard(at.shard).engine.set_slots(at.conn, slots, now);
        }
    }

    /// Keeps order between two shards. Under constant cover the mesh has one delay, so that what an
    /// observer sees cannot depend on who shared it.
    fn mesh_arrival(&mut self, from: ShardId, to: ShardId) -> u64 {
        let delay = if self.plan.slots.is_some() { 50_000 } else { self.mesh.between(1, MILLI) };
        let at = self.now + delay;
        let last = &mut self.shard(from).mesh_last[usize::from(to.0)];
        *last = at.max(*last);
        *last
    }

    /// How long the store takes. An admission takes as long in every run of a seed.
    pub(crate) fn store_delay(&self, question: &StoreQuestion, ticket: Ticket, step: u64) -> u64 {
        let name = match question {
            StoreQuestion::Admit { device, .. } => u64::from(device.as_bytes()[0]) + 1_000_000,
            StoreQuestion::Redeem { .. }
            | StoreQuestion::Reach { .. }
            | StoreQuestion::Register { .. }
            | StoreQuestion::Rename { .. }
            | StoreQuestion::Revoke { .. }
            | StoreQuestion::Grant { .. }
            | StoreQuestion::Ungrant { .. }
            | StoreQuestion::Presence { .. } => ticket.0,
        };
        Random::new(self.plan.seed ^ step, name).between(1_000, self.plan.store_nanos)
    }

    /// Seals the challenge into a new connection.
    pub(crate) fn challenge(&mut self, link: LinkId, at: At) {
        let challenge = Control::Error {
            id: None,
            code: ErrorCode::Busy,
            sentence: "stands for a challenge".into(),
            wait_ms: None,
        };
        let piece = control_piece(challenge);
        let charged = EngineLimits::sealed_len(piece.header.class);
        self.shard(at.shard).engine.handle_sealed(at.conn, charged);
        self.put_out(link, vec![piece], charged);
    }
}

pub(crate) fn control_piece(control: Control) -> Piece {
    let class = Class::for_body(4 + control.encode().len()).unwrap_or(Class::C7);
    Piece::control(class, 0, Body::Control(control))
}

fn introduction(device: DeviceId) -> Introduction {
    Introduction {
        device,
        transport: Transport::Tls,
        cover: CoverMode::Off,
        token: None,
        name: None,
        software: String::new(),
    }
}
