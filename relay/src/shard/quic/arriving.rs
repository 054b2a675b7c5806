//! Datagrams in, and connections that begin.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use bytes::BytesMut;
use hushwire_engine::command::Turned;
use hushwire_engine::{ConnId, SourcePrefix, Time};
use hushwire_uring::{Interest, Readiness, Token};
use hushwire_wire::cell::LaneCounters;
use hushwire_wire::control::{Transport, enclose};
use quinn_proto::{ConnectionEvent, DatagramEvent, EcnCodepoint, Incoming};

use super::elsewhere::QuicPost;
use super::{Place, QuicKey, QuicWire, UDP_READ};
use crate::shard::connection::{Connection, Who, Wire};
use crate::shard::limits::DATAGRAM_READS_PER_TURN;
use crate::shard::{Shard, ShardError, greeting};
use crate::transport::take_binding;

/// A datagram that the kernel gave to another shard than its ID names.
#[derive(Debug)]
pub(crate) struct Stray {
    from: SocketAddr,
    to: Option<IpAddr>,
    ecn: Option<u8>,
    bytes: BytesMut,
}

impl Shard {
    /// Arms the poll of the UDP socket where it is not.
    pub(in crate::shard) fn listen_udp(&mut self) -> Result<(), ShardError> {
        if let Some(quic) = &mut self.quic
            && !std::mem::replace(&mut quic.armed, true)
        {
            let token = Token::new(UDP_READ, 0, 0);
            self.ring.poll_multishot(quic.socket.as_fd(), token, Interest::Read)?;
        }
        Ok(())
    }

    /// The UDP socket has something to read.
    pub(in crate::shard) fn udp_readable(&mut self, readiness: Readiness, more: bool) {
        if let Some(quic) = &mut self.quic {
            quic.readable |= readiness.readable() || readiness.error();
            quic.armed = more;
        }
    }

    /// Reads datagrams, a bounded number a turn.
    pub(in crate::shard) fn read_datagrams(&mut self, now: Time) -> Result<(), ShardError> {
        for _ in 0..DATAGRAM_READS_PER_TURN {
            let Some(quic) = self.quic.as_mut().filter(|quic| quic.readable) else { break };
            let Some(mut inbox) = quic.inbox.take() else { break };
            match quic.socket.receive(&mut inbox) {
                Ok(more) => quic.readable = more,
                Err(error) => {
                    quic.readable = false;
                    tracing::warn!(%error, "receiving from the UDP socket failed");
                }
            }
            let mut bytes = 0;
            if quic.readable {
                for datagram in inbox.datagrams() {
                    bytes += datagram.bytes.len();
                    self.metrics.datagrams_in.add(1);
                    let to = self.shard_of_datagram(datagram.bytes);
                    let stray = Stray {
                        from: datagram.from,
                        to: datagram.to,
                        ecn: datagram.ecn,
                        bytes: BytesMut::from(datagram.bytes),
                    };
                    match to {
                        None => self.datagram(stray, now)?,
                        Some(to) => self.forward_stray(to, stray),
                    }
                }
                self.pausing.received(bytes);
                self.metrics.bytes_in.add(bytes as u64);
            }
            if let Some(quic) = &mut self.quic {
                quic.inbox = Some(inbox);
            }
        }
        self.listen_udp()
    }

    /// The shard that a datagram is for, if it is another one.
    fn shard_of_datagram(&self, datagram: &[u8]) -> Option<usize> {
        let quic = self.quic.as_ref()?;
        let to = quic.server.shard_of(datagram);
        (to != usize::from(quic.shard)).then_some(to)
    }

    /// The kernel steers by the same rule, where it lets a filter be attached.
    fn forward_stray(&mut self, to: usize, stray: Stray) {
        self.metrics.datagrams_strayed.add(1);
        if self.mesh.post_datagram(to, QuicPost::Stray(stray)).is_err() {
            self.metrics.mesh_full.add(1);
        }
    }

    /// A datagram whose ID leads here.
    pub(super) fn datagram(&mut self, stray: Stray, now: Time) -> Result<(), ShardError> {
        let Some(quic) = &mut self.quic else { return Ok(()) };
        let instant = quic.clock.instant(now);
        let ecn = stray.ecn.and_then(EcnCodepoint::from_bits);
        quic.out.clear();
        let Stray { from, to, bytes, .. } = stray;
        match quic.endpoint.handle(instant, from, to, ecn, bytes, &mut quic.out) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let key = QuicKey::new(quic.shard, handle);
                self.quic_event(key, event, now);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.incoming(incoming, now),
            Some(DatagramEvent::Response(transmit)) => quic.reply(&transmit),
            None => {}
        }
        Ok(())
    }

    /// Something for a connection, wherever it lives.
    pub(super) fn quic_event(&mut self, key: QuicKey, event: ConnectionEvent, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        match quic.place(key) {
            Place::Open(id) => {
                let Some(connection) = self.connection(id) else { return };
                let is_stranger = matches!(connection.who, Who::Stranger);
                let Some(wire) = connection.quic() else { return };
                wire.inner.handle_event(event);
                if is_stranger {
                    self.greet(id);
                }
                self.stir(id);
            }
            Place::Closing => {
                if let Some(wire) = quic.closing.get_mut(&key) {
                    wire.inner.handle_event(event);
                }
                // Its handshake may go on, and nobody wants to know for what.
                let _unwanted = take_binding();
                self.serve_closing(key, now);
            }
            Place::Away(to) => {
                let post = QuicPost::Event { key, event };
                if self.mesh.post_datagram(usize::from(to), post).is_err() {
                    self.metrics.mesh_full.add(1);
                }
            }
            Place::Nowhere => {}
        }
    }

    /// Somebody wants a connection. Until its address is proved to be its own, it may not hold more than half of the
    /// handshakes, and does not count among those of an address that somebody else may own.
    fn incoming(&mut self, incoming: Incoming, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        let proved = incoming.remote_address_validated();
        let max = self.limits.handshakes_in_progress_max;
        let handshakes = self.accepting.handshakes();
        let source = incoming.remote_address().ip();
        let source = if proved { SourcePrefix::of(source) } else { SourcePrefix::unproved(source) };
        quic.out.clear();
        if self.drain_until.is_some() || quic.open >= quic.connections_max {
            self.metrics.quic_turned.add(1);
            let refusal = quic.endpoint.refuse(incoming, &mut quic.out);
            return quic.reply(&refusal);
        }
        if !proved && handshakes * 2 >= max {
            return self.ask_to_prove(incoming);
        }
        if handshakes >= max {
            self.metrics.quic_turned.add(1);
            return quic.endpoint.ignore(incoming);
        }
        match self.engine.handle_accept(source, now) {
            Ok(id) => self.accept_quic(incoming, id, now),
            Err(Turned::Source) if !proved => self.ask_to_prove(incoming),
            Err(Turned::Source | Turned::Unauthenticated | Turned::Full | Turned::Draining) => {
                self.metrics.quic_turned.add(1);
                let refusal = quic.endpoint.refuse(incoming, &mut quic.out);
                quic.reply(&refusal);
            }
        }
    }

    /// Sends a token to the address that the connection claims (RFC 9000 §8.1.2), and keeps nothing.
    fn ask_to_prove(&mut self, incoming: Incoming) {
        let Some(quic) = &mut self.quic else { return };
        self.metrics.quic_retries.add(1);
        quic.out.clear();
        match quic.endpoint.retry(incoming, &mut quic.out) {
            Ok(retry) => quic.reply(&retry),
            Err(refused) => quic.endpoint.ignore(refused.into_incoming()),
        }
    }

    fn accept_quic(&mut self, incoming: Incoming, id: ConnId, now: Time) {
        let Some(quic) = &mut self.quic else { return };
        let instant = quic.clock.instant(now);
        let traced = quic.server.traced(usize::from(quic.shard), instant);
        match quic.endpoint.accept(incoming, instant, &mut quic.out, traced) {
            Ok((handle, inner)) => {
                let key = QuicKey::new(quic.shard, handle);
                self.metrics.quic_accepted.add(1);
                self.accepting.handshake_begun();
                let mut wire = Box::new(QuicWire::new(key, inner));
                quic.hold(&mut wire, id);
                let wire = Wire::Quic(wire);
                let counters = LaneCounters::default();
                self.insert(Connection::new(id, Who::Stranger, counters, wire, now));
                self.greet(id);
                self.stir(id);
            }
            Err(error) => {
                tracing::debug!(error = %error.cause, "a QUIC handshake failed at its first packet");
                if let Some(transmit) = error.response {
                    quic.reply(&transmit);
                }
                let _unwanted = take_binding();
                self.metrics.tls_faults.add(1);
                self.engine.handle_closed(id, now);
            }
        }
    }

    /// Sends CHALLENGE with the first flight, once rustls has written it: the exporter does not depend on what the
    /// client says after that.
    fn greet(&mut self, id: ConnId) {
        let Some(binding) = take_binding() else { return };
        let relay = self.relay;
        let challenged = binding
            .ok()
            .and_then(|binding| greeting::challenge(relay, Transport::Quic, binding))
            .and_then(|challenged| Some((enclose(&challenged.challenge)?, challenged)));
        let Some((cell, challenged)) = challenged else {
            self.metrics.bugs.add(1);
            return self.end_later(id);
        };
        let Some(connection) = self.connection(id) else { return };
        connection.who = Who::Challenged(Box::new(challenged));
        // It is the first on its lane, and so has the number it was made with: zero.
        connection.counters.take(0);
        if let Some(wire) = connection.quic() {
            wire.outgoing.push(0, &cell, 0);
        }
        self.mark_dirty(id);
    }
}
