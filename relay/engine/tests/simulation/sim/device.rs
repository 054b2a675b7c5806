//! Devices: what they do, and what they make of what they hear.

use hushwire_engine::{ShardId, SourcePrefix};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, Request, RequestId};
use hushwire_wire::id::DeviceId;

use super::Violation;
use super::ledger::{DeviceNumber, LinkId};
use super::network::{At, Body, Link, Piece, Unit, len_of};
use super::plan::{MILLI, SECOND};
use super::random::Random;
use super::world::{Event, World};

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// Its newest link, as far as it knows.
    link: Option<LinkId>,
    /// What it does, and when: never depends on payload.
    acts: Random,
    /// What it sends.
    payload: Random,
    /// A tag it has opened.
    tag: Option<[u8; 16]>,
}

impl Device {
    pub(crate) fn new(number: DeviceNumber, seed: u64) -> Self {
        let mut id = [number as u8; 32];
        id[8..16].copy_from_slice(&seed.to_le_bytes());
        id[31] = 1;
        let name = number as u64 * 2 + 100_000;
        Self {
            id: DeviceId::new(id),
            link: None,
            acts: Random::new(seed, name),
            payload: Random::new(seed, name + 1),
            tag: None,
        }
    }
}

impl World {
    /// A device does something, and will again.
    pub(crate) fn act(&mut self, number: DeviceNumber) -> Result<(), Violation> {
        if !self.is_acting() {
            return Ok(());
        }
        let pause = self.devices[number].acts.below(2 * self.plan.pause_nanos) + 1;
        self.schedule(self.now + pause, Event::Act(number));
        let choice = self.devices[number].acts.below(100);
        let link = self.devices[number].link.filter(|&link| self.links[link].device_open);
        match link {
            None => self.connect(number, choice < 5),
            Some(link) if self.plan.slots.is_some() => self.act_covered(number, link, choice),
            Some(link) => self.act_openly(number, link, choice),
        }
    }

    fn act_openly(
        &mut self,
        number: DeviceNumber,
        link: LinkId,
        choice: u64,
    ) -> Result<(), Violation> {
        if !self.links[link].welcomed {
            return Ok(());
        }
        match choice {
            0..=54 => self.burst(number, link),
            55..=69 => {
                if let Some(piece) = self.request(number, link) {
                    self.send_up(link, vec![piece]);
                }
            }
            70..=79 => {
                self.links[link].stopped = true;
                let until = self.now + self.devices[number].acts.between(1, 3 * SECOND);
                self.schedule(until, Event::Resume(link));
            }
            80..=84 => self.cut(link),
            85..=89 => return self.connect(number, false),
            90..=93 if self.links[link].rude => self.be_rude(number, link),
            _ => {
                let counter = self.links[link].take_counter(0);
                self.send_up(link, vec![Piece::cover(Class::C1, counter)]);
            }
        }
        Ok(())
    }

    /// Under constant cover, what shows is the same with and without payload.
    fn act_covered(
        &mut self,
        number: DeviceNumber,
        link: LinkId,
        choice: u64,
    ) -> Result<(), Violation> {
        match choice {
            0..=3 => {
                self.links[link].stopped = true;
                let until = self.now + self.devices[number].acts.between(1, 500 * MILLI);
                self.schedule(until, Event::Resume(link));
            }
            4..=5 => self.cut(link),
            6..=7 => return self.connect(number, false),
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self, number: DeviceNumber, rude: bool) -> Result<(), Violation> {
        let shard = ShardId(self.devices[number].acts.below(self.plan.shards.into()) as u16);
        let (now, source) = (self.time(), SourcePrefix(number as u64 / 2));
        let Ok(conn) = self.shard(shard).engine.handle_accept(source, now) else { return Ok(()) };
        let (link, at) = (self.links.len(), At { shard, conn });
        let rude = rude && self.plan.slots.is_none();
        self.links.push(Link::new(link, number, at, rude, self.plan.seed));
        self.shard(shard).links.insert(conn, link);
        self.devices[number].link = Some(link);
        self.challenge(link, at);
        let counter = self.links[link].take_counter(0);
        self.send_up(link, vec![Piece::control(Class::C0, counter, Body::Hello)]);
        Ok(())
    }

    /// The device is gone without a word; the relay notices later.
    fn cut(&mut self, link: LinkId) {
        self.links[link].device_open = false;
        let noticed = self.links[link].up_last.max(self.now) + self.links[link].up.below(SECOND);
        self.schedule(noticed, Event::Died(link));
        self.schedule(noticed + SECOND, Event::Died(link));
    }

    fn burst(&mut self, number: DeviceNumber, link: LinkId) {
        let to = self.devices[number].payload.below(self.plan.devices as u64) as DeviceNumber;
        let cells = self.devices[number].payload.between(1, self.plan.burst);
        for _ in 0..cells {
            let class = Class::ALL[self.devices[number].payload.below(40).min(7) as usize];
            let class = if cells > 60 { class } else { Class::ALL[7 - class as usize] };
            let piece = self.cell(number, link, to, class);
            self.send_up(link, vec![piece]);
        }
    }

    fn cell(
        &mut self,
        number: DeviceNumber,
        link: LinkId,
        to: DeviceNumber,
        class: Class,
    ) -> Piece {
        let lane = self.devices[number].payload.below(8) as u8;
        let counter = self.links[link].sent[usize::from(lane)];
        let cell = self.ledger.send((number, to), (link, lane, counter), class);
        let id = self.devices[to].id;
        self.links[link].unicast(class, lane, id, cell)
    }

    fn request(&mut self, number: DeviceNumber, link: LinkId) -> Option<Piece> {
        let other = self.devices[number].payload.below(self.plan.devices as u64) as DeviceNumber;
        let device = self.devices[other].id;
        // What changes a row makes a concurrent admission read it again: that shows, before the cover
        // begins.
        let first = if self.plan.slots.is_some() { 11 } else { 0 };
        let request = match self.devices[number].payload.between(first, 19) {
            0..=5 => {
                self.ledger.let_in.insert((number, other));
                Request::Grant { device }
            }
            6..=8 => Request::Ungrant { device },
            9 => {
                self.ledger.hidden.insert(number);
                Request::Presence { hidden: true }
            }
            10 => Request::Presence { hidden: false },
            11..=13 => {
                let tag = [self.devices[number].payload.below(256) as u8; 16];
                self.devices[number].tag = Some(tag);
                Request::PairOpen { tag, ttl_s: 1 + self.devices[number].payload.below(9) as u32 }
            }
            14..=16 => {
                let tag = self.devices[other].tag?;
                for opener in 0..self.plan.devices {
                    self.ledger.let_in.extend([(number, opener), (opener, number)]);
                }
                Request::PairJoin { tag }
            }
            17 if other % 4 == 3 && first == 0 => {
                // Its account may find it gone: reports are then refusals, and may meet silence.
                self.ledger.hidden.insert(other);
                Request::Revoke { device }
            }
            _ => Request::Ping,
        };
        let from = &mut self.links[link];
        from.requests += 1;
        let (id, counter) = (RequestId(from.requests), from.take_counter(0));
        Some(Piece::control(Class::C0, counter, Body::Request(id, request)))
    }

    /// Breaks the protocol in one of several ways.
    fn be_rude(&mut self, number: DeviceNumber, link: LinkId) {
        let to = self.devices[number].id;
        let counter = self.links[link].sent[0];
        let piece = match self.devices[number].payload.below(4) {
            0 => Piece::cover(Class::C0, counter + 5),
            1 => Piece::control(Class::C0, counter, Body::Garbage),
            2 => Piece::control(Class::C0, counter, Body::Hello),
            _ => Piece { header: Header::unicast(Class::C0, 9, counter, to), body: Body::Cover },
        };
        self.send_up(link, vec![piece]);
    }

    fn send_up(&mut self, link: LinkId, unit: Unit) {
        let from = &mut self.links[link];
        let arrival = (self.now + from.up.between(1, self.plan.delay_nanos)).max(from.up_last + 1);
        from.up_last = arrival;
        self.see(link, true, len_of(&unit));
        self.schedule(arrival, Event::Up(link, unit));
    }

    /// A device's slot: its cells first, cover for the rest.
    pub(crate) fn device_slot(&mut self, link: LinkId) -> Result<(), Violation> {
        let Some((class, interval)) = self.plan.slots else { return Ok(()) };
        if self.links[link].is_dead() && !self.links[link].device_open {
            return Ok(());
        }
        self.schedule(self.now + interval, Event::Slot(link));
        let (mut unit, mut left) = (Vec::new(), class.cell_len());
        let number = self.links[link].device;
        if self.plan.payload && self.is_acting() && self.devices[number].payload.chance(60) {
            let to = self.devices[number].payload.below(self.plan.devices as u64) as DeviceNumber;
            for _ in 0..self.devices[number].payload.below(self.plan.burst) {
                let cell = Class::ALL[self.devices[number].payload.below(3) as usize];
                let is_request = self.devices[number].payload.chance(10);
                if cell.cell_len() > left {
                    break;
                }
                let piece = match is_request {
                    true => self.request(number, link),
                    false => Some(self.cell(number, link, to, cell)),
                };
                left -= piece.as_ref().map_or(0, |piece| piece.header.class.cell_len());
                unit.extend(piece);
            }
        }
        while left > 0 {
            let fits = |class: &Class| class.cell_len() <= left;
            let Some(class) = Class::ALL.into_iter().rev().find(fits) else { break };
            left -= class.cell_len();
            let counter = self.links[link].take_counter(0);
            unit.push(Piece::cover(class, counter));
        }
        self.send_up(link, unit);
        Ok(())
    }

    /// A unit arrives at the device.
    pub(crate) fn device_hears(&mut self, link: LinkId, unit: Unit) -> Result<(), Violation> {
        if !self.links[link].device_open {
            return Ok(());
        }
        for piece in unit {
            match piece.body {
                Body::Cell(cell) => self.ledger.deliver(cell, link)?,
                Body::Control(Control::Undeliverable { lane, counter, .. }) => {
                    self.ledger.report(link, lane, counter)?;
                }
                Body::Control(Control::Welcome(_)) => {
                    self.links[link].welcomed = true;
                    if let Some((_, interval)) = self.plan.slots {
                        self.schedule(self.now + interval, Event::Slot(link));
                    }
                }
                Body::Control(_)
                | Body::Hello
                | Body::Request(..)
                | Body::Cover
                | Body::Garbage => {}
            }
        }
        Ok(())
    }
}
