//! One turn of the background task: what is due, and the cells that may go.

use std::time::Instant;

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::id::DeviceId;

use super::State;
use crate::conversation::Moment;
use crate::link::{Answer, LinkError, Origin};

impl State {
    /// One turn: does what is due and appends the cells that may go, up to `room` bytes.
    pub(in crate::client) fn turn(
        &mut self,
        moment: Moment,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        while let Some(&(at, device)) = self.timers.first()
            && at <= moment.now
        {
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&device) {
                peer.timer = None;
            }
            self.touch(device);
        }
        let mut expired = Vec::new();
        let Some(link) = &mut self.link else { return Ok(()) };
        while let Some(id) = link.handle_timeout(moment.now)? {
            expired.push(id);
        }
        for id in expired {
            if self.wish_answered(id, &Answer::None, moment) {
                continue;
            }
            if let Some(asker) = self.answers.remove(&id) {
                let _gone = asker.send(Answer::None);
            }
        }
        self.turn_wishes(moment);
        let Some(link) = &mut self.link else { return Ok(()) };
        while out.len() < room && link.poll_cell(moment.now, &mut self.random, out) {}
        while out.len() < room
            && let Some((peer, body)) = self.meetings.next_out()
        {
            let start = out.len();
            out.resize(start + HEADER_LEN, 0);
            out.extend_from_slice(&body);
            link.stamp(&mut out[start..], 0, peer, Origin::Pairing, moment.now);
        }
        self.turn_conversations(moment, room, out);
        Ok(())
    }

    /// One cell of each peer in turn.
    fn turn_conversations(&mut self, moment: Moment, room: usize, out: &mut Vec<u8>) {
        let mut fresh = self.dirty.len();
        while let Some(device) = self.dirty.pop_front() {
            let may_begin = self.may_begin_for(device);
            let (Some(peer), Some(link)) = (self.peers.get_mut(&device), &mut self.link) else {
                continue;
            };
            let conversation = &mut peer.conversation;
            if fresh > 0 {
                fresh -= 1;
                let identity = self.keystore.identity();
                conversation.handle_timeout(identity, moment, may_begin, &mut self.random);
            }
            if out.len() + Class::C7.cell_len() > room || link.ready_at(moment.now).is_some() {
                self.dirty.push_front(device);
                return;
            }
            let start = out.len();
            conversation.yield_until(self.messages_until, moment.now);
            let polled = conversation.poll_cell(moment, &mut self.random, out);
            self.messages_until = self.messages_until.max(conversation.messages_until());
            match polled {
                Some(transmit) => {
                    let origin = Origin::Conversation(transmit.id);
                    link.stamp(&mut out[start..], transmit.lane, device, origin, moment.now);
                    self.dirty.push_back(device);
                    self.events_of(device);
                }
                None => {
                    self.events_of(device);
                    self.set_timer(device, moment);
                }
            }
        }
    }

    fn set_timer(&mut self, device: DeviceId, moment: Moment) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let next = peer.conversation.next_timeout(moment);
        if next != peer.timer {
            if let Some(at) = peer.timer {
                self.timers.remove(&(at, device));
            }
            peer.timer = next;
            if let Some(at) = next {
                self.timers.insert((at, device));
            }
        }
    }

    /// Whether the last turn left cells unmade for want of room.
    pub(in crate::client) fn has_more(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the client may end now that it is to: every peer knows what was taken here.
    pub(in crate::client) fn may_close(&self, now: Instant) -> bool {
        self.closing
            && self.dirty.is_empty()
            && self.is_all_stored()
            && !self.wishes.is_asking()
            && !self.peers.values().any(|peer| peer.conversation.owes(now))
    }

    /// When the next turn is due even if nothing happens.
    pub(in crate::client) fn next_turn(&self, moment: Moment) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let mut next = link.next_timeout();
        if let Some(at) = self.wishes.next_at(moment.now) {
            next = next.min(at);
        }
        if let Some((at, _)) = self.timers.first() {
            next = next.min(*at);
        }
        if !self.dirty.is_empty()
            && let Some(at) = link.ready_at(moment.now)
        {
            next = next.min(at);
        }
        Some(next)
    }
}
