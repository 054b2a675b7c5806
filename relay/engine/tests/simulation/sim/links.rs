//! How links end and move.

use hushwire_engine::{ShardId, Why, command::HandedOver};

use super::Violation;
use super::ledger::LinkId;
use super::network::{At, RelayEnd};
use super::world::{Event, World, violation};

impl World {
    pub(crate) fn close_link(
        &mut self,
        at: At,
        after_flush: bool,
        why: Why,
    ) -> Result<(), Violation> {
        let Some(&link) = self.shard(at.shard).links.get(&at.conn) else {
            return violation("no bleed", format!("{at:?} is to be closed, and is nobody"));
        };
        if why == Why::Malformed && !self.links[link].rude {
            return violation("no bleed", "an honest connection was closed as malformed".into());
        }
        if after_flush && !self.links[link].output.is_empty() {
            self.links[link].close_after_flush = true;
        } else {
            self.end(link);
        }
        Ok(())
    }

    /// Closes the relay's end of a link.
    pub(crate) fn end(&mut self, link: LinkId) {
        let Some(at) = self.links[link].at() else { return };
        let now = self.time();
        self.shard(at.shard).links.remove(&at.conn);
        let to = &mut self.links[link];
        to.relay = RelayEnd::Closed { was: Some(at) };
        to.output.clear();
        let arrival = to.down_last.max(self.now) + 1;
        self.shard(at.shard).engine.handle_closed(at.conn, now);
        self.see(link, false, 0);
        self.schedule(arrival, Event::Ended(link));
    }

    /// The relay notices that a link is dead.
    pub(crate) fn died(&mut self, link: LinkId) -> Result<(), Violation> {
        match &mut self.links[link].relay {
            RelayEnd::Open(at) => {
                let shard = at.shard;
                self.end(link);
                self.carry_out(shard)
            }
            RelayEnd::Moving { was, .. } => {
                let was = Some(*was);
                self.links[link].relay = RelayEnd::Closed { was };
                Ok(())
            }
            // The death is noticed twice: by a send and by a poll.
            RelayEnd::Closed { was: Some(at) } => {
                let at = *at;
                let (conn, now) = (self.resolve(at), self.time());
                self.shard(at.shard).engine.handle_closed(conn, now);
                self.carry_out(at.shard)
            }
            RelayEnd::Closed { was: None } => Ok(()),
        }
    }

    pub(crate) fn take_over(
        &mut self,
        shard: ShardId,
        link: LinkId,
        handed: HandedOver,
    ) -> Result<(), Violation> {
        let nobody = RelayEnd::Closed { was: None };
        let RelayEnd::Moving { was, waiting } =
            core::mem::replace(&mut self.links[link].relay, nobody)
        else {
            return Ok(());
        };
        let charged: u32 = self.links[link].output.iter().map(|(_, charged)| charged).sum();
        if charged != handed.sealed_bytes {
            return violation("bounded", "sealed bytes were lost on the way".into());
        }
        let now = self.time();
        let Ok(conn) = self.shard(shard).engine.handle_hand_over(handed, now) else {
            self.links[link].relay = RelayEnd::Closed { was: Some(was) };
            let arrival = self.now + 1;
            self.schedule(arrival, Event::Ended(link));
            return Ok(());
        };
        self.links[link].relay = RelayEnd::Open(At { shard, conn });
        self.shard(shard).links.insert(conn, link);
        self.carry_out(shard)?;
        self.schedule_drain(link);
        waiting.into_iter().try_for_each(|unit| self.hear(link, unit))
    }
}
