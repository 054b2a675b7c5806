//! What leaves by the links: sealed output, the network that takes it, slots.

use hushwire_engine::{Egress, EngineLimits, ShardId};
use hushwire_wire::cell::Class;

use super::Violation;
use super::io::control_piece;
use super::ledger::LinkId;
use super::network::{At, Piece, Unit, len_of};
use super::plan::MILLI;
use super::world::{Event, World, violation};

impl World {
    pub(crate) fn put_out(&mut self, link: LinkId, unit: Unit, charged: u32) {
        self.links[link].output.push_back((unit, charged));
        self.schedule_drain(link);
    }

    pub(crate) fn schedule_drain(&mut self, link: LinkId) {
        let to = &mut self.links[link];
        if to.output.is_empty() || to.drain_scheduled || to.stopped {
            return;
        }
        to.drain_scheduled = true;
        let at = self.now + to.down.between(1, MILLI);
        self.schedule(at, Event::Drain(link));
    }

    /// The network takes some of a link's output.
    pub(crate) fn drain(&mut self, link: LinkId) -> Result<(), Violation> {
        let (now, delay) = (self.now, self.plan.delay_nanos);
        self.links[link].drain_scheduled = false;
        let Some(at) = self.links[link].at().filter(|_| !self.links[link].stopped) else {
            return Ok(());
        };
        let mut drained = 0;
        for _ in 0..self.links[link].down.between(1, 8) {
            let to = &mut self.links[link];
            let Some((unit, charged)) = to.output.pop_front() else { break };
            drained += charged;
            let arrival = (now + to.down.between(1, delay)).max(to.down_last + 1);
            to.down_last = arrival;
            self.see(link, false, len_of(&unit));
            self.schedule(arrival, Event::Down(link, unit));
        }
        let conn = self.resolve(at);
        if self.shard(at.shard).engine.handle_drained(conn, drained) {
            self.empty(link, at)?;
        }
        if self.links[link].output.is_empty() && self.links[link].close_after_flush {
            self.end(link);
        }
        self.schedule_drain(link);
        self.carry_out(at.shard)
    }

    /// Seals what waits for a connection.
    fn empty(&mut self, link: LinkId, at: At) -> Result<(), Violation> {
        loop {
            let Some((piece, class)) = self.next_piece(link, at)? else { return Ok(()) };
            self.put_out(link, vec![piece], EngineLimits::sealed_len(class));
        }
    }

    fn next_piece(&mut self, link: LinkId, at: At) -> Result<Option<(Piece, Class)>, Violation> {
        let piece = match self.shard(at.shard).engine.poll_egress(at.conn) {
            Egress::Nothing => return Ok(None),
            Egress::Cover(class) => Piece::cover(class, 0),
            Egress::Control(control) => control_piece(control),
            Egress::Real(stored) => {
                let cell = self.take_slot(at.shard, stored.slot)?;
                self.seal(link, cell)?
            }
        };
        let class = piece.header.class;
        Ok(Some((piece, class)))
    }

    /// Time passes for every engine.
    pub(crate) fn pass_time(&mut self) -> Result<(), Violation> {
        let now = self.time();
        for number in 0..self.plan.shards {
            let shard = ShardId(number);
            if self.shard(shard).engine.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            self.shard(shard).engine.handle_timeout(now);
            self.carry_out(shard)?;
            while let Some(conn) = self.shard(shard).engine.poll_slots(now) {
                let Some(&link) = self.shard(shard).links.get(&conn) else {
                    return violation("no bleed", format!("a slot of {conn:?}, which is nobody"));
                };
                let (mut unit, at) = (Vec::new(), At { shard, conn });
                while let Some((piece, _)) = self.next_piece(link, at)? {
                    unit.push(piece);
                }
                let Some((class, _)) = self.plan.slots else { return Ok(()) };
                if len_of(&unit) != class.cell_len() {
                    let what = format!("a slot of {class:?} holds {} bytes", len_of(&unit));
                    return violation("unobservable", what);
                }
                self.put_out(link, unit, EngineLimits::sealed_len(class));
                self.carry_out(shard)?;
            }
        }
        Ok(())
    }
}
