//! The end of a connection: its last words are heard before it is closed, or a second has passed.

use bytes::Bytes;
use hushwire_engine::Time;
use quinn_proto::{EndpointEvent, VarInt};

use super::leaving::Count;
use super::{Place, QuicKey, QuicWire};
use crate::mesh::MeshControl;
use crate::shard::Shard;
use crate::shard::closing::Ending;
use crate::shard::limits::{CLOSING_MAX, LINGER_MS_MAX};

impl Shard {
    /// Lets a connection end that the shard's table has given up.
    pub(in crate::shard) fn close_quic(
        &mut self,
        mut wire: Box<QuicWire>,
        ending: &Ending,
        now: Time,
    ) {
        let Some(quic) = &mut self.quic else { return };
        if std::mem::take(&mut wire.handshaking) {
            self.accepting.handshake_over();
        }
        wire.incoming.release(&mut self.carry);
        (wire.stirred, wire.waiting) = (false, false);
        quic.release(&mut wire);
        if wire.drained {
            return quic.disarm(&mut wire);
        }
        let has_last_words = matches!(ending, Ending::Engine(_) | Ending::Fault(_));
        // Beyond the bound nobody is waited for.
        let is_crowded = quic.closing.len() >= CLOSING_MAX;
        if has_last_words && !is_crowded {
            wire.until = Some(now.after_millis(LINGER_MS_MAX));
        } else if !wire.inner.is_closed() {
            wire.inner.close(quic.clock.instant(now), VarInt::from_u32(0), Bytes::new());
        }
        let key = wire.key;
        quic.set_place(key, Place::Closing);
        quic.closing.insert(key, wire);
        self.serve_closing(key, now);
        if is_crowded {
            self.quic_gone(key);
        }
    }

    /// Takes the next step of a connection that is ending.
    pub(super) fn serve_closing(&mut self, key: QuicKey, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        let Some(mut wire) = quic.closing.remove(&key) else { return };
        wire.listen();
        // The device has gone: nothing is left to be said.
        let has_left = wire.lost.take().is_some();
        let is_over = has_left || wire.until.is_some_and(|until| until <= now);
        let is_stopped =
            wire.until.is_some() && wire.outgoing.hand_over(&mut wire.inner, now).is_err();
        if is_over || is_stopped {
            wire.until = None;
            if !wire.inner.is_closed() {
                wire.inner.close(quic.clock.instant(now), VarInt::from_u32(0), Bytes::new());
            }
        }
        let mut count = Count::default();
        let mut posts = Vec::new();
        loop {
            // What finds the socket full here is lost: the timers send it again.
            quic.transmit_closing(&mut wire, now, &mut count);
            if !quic.forward_endpoint_events(&mut wire, &mut posts) {
                break;
            }
        }
        if wire.drained {
            quic.disarm(&mut wire);
        } else {
            quic.arm(&mut wire);
            quic.closing.insert(key, wire);
        }
        self.count_sent(&count);
        self.post_all(posts);
    }

    /// Forgets a connection at once.
    pub(in crate::shard) fn quic_gone(&mut self, key: QuicKey) {
        let Some(quic) = &mut self.quic else { return };
        if let Some(mut wire) = quic.closing.remove(&key) {
            quic.disarm(&mut wire);
        } else if quic.place(key) == Place::Nowhere {
            return;
        }
        quic.set_place(key, Place::Nowhere);
        let event = EndpointEvent::drained();
        if key.shard == quic.shard {
            quic.endpoint_event(key, event);
        } else {
            let post: MeshControl = super::elsewhere::to_endpoint(key, event);
            self.post_all(vec![(key.shard, post)]);
        }
    }
}
