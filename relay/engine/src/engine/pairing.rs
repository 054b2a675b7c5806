//! Two devices meet at a rendezvous and may exchange a few cells.

use hushwire_wire::control::{Control, ErrorCode};
use hushwire_wire::id::DeviceId;

use super::Engine;
use super::requests::error;
use crate::hash::shard_for;
use crate::limits::PERMIT_CELLS;
use crate::port::{Asker, PortMessage};
use crate::time::Time;

/// A device waits for another one that knows the same code. It lives on the home of its tag.
pub(super) struct Rendezvous {
    opener: DeviceId,
    until: Time,
    is_used: bool,
}

impl Engine {
    pub(super) fn send_to_meet(
        &mut self,
        asker: Asker,
        tag: [u8; 16],
        open_ttl_s: Option<u32>,
        now: Time,
    ) {
        let to = shard_for(&self.config.home_key, self.config.shards, &tag);
        self.post(to, PortMessage::Rendezvous { asker, tag, open_ttl_s }, now);
    }

    /// At the home of the tag.
    pub(super) fn meet(&mut self, asker: Asker, tag: [u8; 16], open_ttl_s: Option<u32>, now: Time) {
        match open_ttl_s {
            Some(ttl_s) => {
                let answer =
                    self.open(&asker, tag, now.after_millis(u64::from(ttl_s) * 1_000), now);
                self.answer(asker, answer, None, now);
            }
            None => self.join(asker, tag, now),
        }
    }

    /// At the home of one of two that have met: lets the other's cells in, and tells it.
    pub(super) fn paired(
        &mut self,
        device: DeviceId,
        other: DeviceId,
        tag: [u8; 16],
        until: Time,
        joiner: Option<Asker>,
        now: Time,
    ) {
        let is_permitted = self.permits.insert((device, other), PERMIT_CELLS, until, now);
        let (conn, id) = match joiner {
            Some(asker) => (Some(asker.conn), Some(asker.id)),
            None => (self.devices.get(&device), None),
        };
        let Some(conn) = conn.filter(|&conn| self.device_of(conn) == Some(&device)) else { return };
        match id {
            Some(id) if !is_permitted => {
                let sentence = "too many pairings are in progress";
                self.send(conn, error(id, ErrorCode::Busy, sentence, Some(1_000)));
            }
            _ => self.send(conn, Control::Paired { id, tag, device: other }),
        }
    }

    /// Uses up one of the cells that a pairing lets `sender` send to `recipient`.
    pub(super) fn use_permit(
        &mut self,
        recipient: &DeviceId,
        sender: &DeviceId,
        now: Time,
    ) -> bool {
        match self.permits.get_mut(&(*recipient, *sender), now) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn open(&mut self, asker: &Asker, tag: [u8; 16], until: Time, now: Time) -> Control {
        if let Some(old) = self.rendezvous.get_mut(&tag, now)
            && (old.is_used || old.opener != asker.device)
        {
            return error(asker.id, ErrorCode::Conflict, "this pairing code is taken", None);
        }
        let rendezvous = Rendezvous { opener: asker.device, until, is_used: false };
        if self.rendezvous.insert(tag, rendezvous, until, now) {
            Control::Done { id: asker.id }
        } else {
            let sentence = "too many pairings are in progress";
            error(asker.id, ErrorCode::Busy, sentence, Some(1_000))
        }
    }

    /// An unknown tag, a used one and one's own get the same answer.
    fn join(&mut self, asker: Asker, tag: [u8; 16], now: Time) {
        let found = self.rendezvous.get_mut(&tag, now);
        let Some(rendezvous) = found.filter(|r| !r.is_used && r.opener != asker.device) else {
            let sentence = "this pairing code is unknown, used or past its time";
            self.answer(asker, error(asker.id, ErrorCode::Expired, sentence, None), None, now);
            return;
        };
        rendezvous.is_used = true;
        let (opener, until) = (rendezvous.opener, rendezvous.until);
        let joiner = asker.device;
        self.counters.paired += 1;
        let to_opener =
            PortMessage::Paired { device: opener, other: joiner, tag, until, joiner: None };
        self.post(self.home_of(&opener), to_opener, now);
        let joiner_asks = Some(asker);
        let to_joiner =
            PortMessage::Paired { device: joiner, other: opener, tag, until, joiner: joiner_asks };
        self.post(asker.shard, to_joiner, now);
    }
}
