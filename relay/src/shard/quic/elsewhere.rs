//! Connections that live on another shard than their IDs lead to.

use hushwire_engine::{ConnId, ShardId, Time};
use quinn_proto::{ConnectionEvent, EndpointEvent};

use super::arriving::Stray;
use super::{Place, QuicKey, QuicWire};
use crate::mesh::MeshControl;
use crate::shard::connection::MovedWire;
use crate::shard::{Shard, ShardError};

/// What crosses the mesh for QUIC.
#[derive(Debug)]
pub(crate) enum QuicPost {
    /// To the shard where a connection lives: something for it.
    Event { key: QuicKey, event: ConnectionEvent },
    /// To the shard that a connection's IDs lead to: something for its endpoint.
    Endpoint { key: QuicKey, event: EndpointEvent },
    /// To the shard that a datagram's ID names.
    Stray(Stray),
}

pub(super) fn to_endpoint(key: QuicKey, event: EndpointEvent) -> MeshControl {
    MeshControl::Quic(Box::new(QuicPost::Endpoint { key, event }))
}

impl Shard {
    /// Takes a connection apart from this shard; what arrives for it is sent after it.
    pub(in crate::shard) fn quic_moves_out(
        &mut self,
        mut wire: Box<QuicWire>,
        to: ShardId,
    ) -> MovedWire {
        if std::mem::take(&mut wire.handshaking) {
            // A HELLO can come together with the last packet of the handshake.
            self.accepting.handshake_over();
            wire.listen();
            wire.connected = false;
        }
        (wire.stirred, wire.waiting) = (false, false);
        if let Some(quic) = &mut self.quic {
            quic.disarm(&mut wire);
            quic.release(&mut wire);
            quic.set_place(wire.key, Place::Away(to.0));
        }
        let carried = wire.incoming.take_carried(&mut self.carry);
        MovedWire::Quic { quic: wire, carried }
    }

    /// A connection has come home.
    pub(in crate::shard) fn quic_moves_in(&mut self, wire: &mut QuicWire, id: ConnId) {
        if let Some(quic) = &mut self.quic {
            quic.hold(wire, id);
        }
    }

    /// Something has come from another shard.
    pub(in crate::shard) fn quic_posted(
        &mut self,
        post: QuicPost,
        now: Time,
    ) -> Result<(), ShardError> {
        let Some(quic) = &mut self.quic else { return Ok(()) };
        match post {
            QuicPost::Event { key, event } => self.quic_event(key, event, now),
            QuicPost::Endpoint { key, event } => {
                let Place::Away(at) = quic.place(key) else { return Ok(()) };
                if event.is_drained() {
                    quic.set_place(key, Place::Nowhere);
                }
                if let Some(event) = quic.endpoint_event(key, event) {
                    let post = MeshControl::Quic(Box::new(QuicPost::Event { key, event }));
                    self.post_all(vec![(at, post)]);
                }
            }
            QuicPost::Stray(stray) => self.datagram(stray, now)?,
        }
        Ok(())
    }
}
