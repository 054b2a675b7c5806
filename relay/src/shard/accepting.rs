//! Listeners, admission, and TLS handshakes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use hushwire_engine::{ConnId, SourcePrefix, Time};
use hushwire_uring::{Interest, Token, sockets};
use hushwire_wire::cell::{HEADER_LEN, LaneCounters, set_counter};
use hushwire_wire::control::{Transport, enclose};
use hushwire_wire::limits::HELLO_CLASS_MAX;

use super::connection::{Connection, Handshaking, Link, POLL, Poll, Stage, Tcp, Who, Wire, token};
use super::reading::Stop;
use super::{ACCEPT, Shard, ShardError, greeting, seconds};
use crate::shard::limits::ACCEPT_RETRY_MS;
use crate::transport::{Established, Fault, Inbound, Progress};

/// The listener and whether it is listened to.
#[derive(Debug)]
pub(super) struct Accepting {
    listener: Option<OwnedFd>,
    armed: bool,
    handshakes: usize,
    retry_at: Option<Time>,
}

impl Accepting {
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener: Some(listener), armed: false, handshakes: 0, retry_at: None }
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// Handshakes under way.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// A handshake began.
    pub(super) fn handshake_begun(&mut self) {
        self.handshakes += 1;
    }

    /// A handshake ended, well or not.
    pub(super) fn handshake_over(&mut self) {
        self.handshakes -= 1;
    }
}

impl Shard {
    /// Arms the listener if it should be and is not.
    pub(super) fn accept_again(&mut self) -> Result<(), ShardError> {
        let accepting = &mut self.accepting;
        let paused = accepting.armed
            || accepting.retry_at.is_some()
            || self.drain_until.is_some()
            || accepting.handshakes >= self.limits.handshakes_in_progress_max;
        if let (Some(listener), false) = (&accepting.listener, paused) {
            self.ring.accept_multishot(listener.as_fd(), Token::new(ACCEPT, 0, 0))?;
            accepting.armed = true;
        }
        Ok(())
    }

    /// Stops listening for good.
    pub(super) fn stop_accepting(&mut self) -> Result<(), ShardError> {
        if self.accepting.armed {
            let accept = Token::new(ACCEPT, 0, 0);
            self.ring.cancel(accept, accept.with_kind(super::connection::CANCEL))?;
        } else {
            self.accepting.listener = None;
        }
        Ok(())
    }

    pub(super) fn accepted(
        &mut self,
        socket: OwnedFd,
        more: bool,
        now: Time,
    ) -> Result<(), ShardError> {
        self.accepting.armed = more;
        if let Err(turned_away) = self.admit(socket, now) {
            tracing::debug!(%turned_away, "a connection was not accepted");
        }
        let full = self.accepting.handshakes >= self.limits.handshakes_in_progress_max;
        if full && self.accepting.armed {
            let accept = Token::new(ACCEPT, 0, 0);
            self.ring.cancel(accept, accept.with_kind(super::connection::CANCEL))?;
        }
        self.accept_again()
    }

    pub(super) fn accept_failed(&mut self, error: &io::Error, more: bool, now: Time) {
        self.accepting.armed = more;
        if self.drain_until.is_some() {
            self.accepting.listener = None;
            return;
        }
        if error.raw_os_error() != Some(rustix::io::Errno::CANCELED.raw_os_error()) {
            self.metrics.accept_failures.add(1);
            tracing::warn!(
                %error,
                "accepting connections failed; if descriptors ran out, raise LimitNOFILE"
            );
            self.accepting.retry_at = Some(now.after_millis(ACCEPT_RETRY_MS));
        }
    }

    /// Listens again after a failure, once its pause is over, or after handshakes ended.
    pub(super) fn accept_when_possible(&mut self, now: Time) -> Result<(), ShardError> {
        if self.accepting.retry_at.is_some_and(|at| now >= at) {
            self.accepting.retry_at = None;
        }
        self.accept_again()
    }

    fn admit(&mut self, socket: OwnedFd, now: Time) -> Result<(), String> {
        let peer = sockets::peer_addr(socket.as_fd()).map_err(|error| error.to_string())?;
        let quic = self.quic.as_ref().map_or(0, |quic| quic.open());
        if self.open_connections - quic >= self.limits.tcp_connections_max {
            return Err("there are as many connections as the limit allows".to_owned());
        }
        let tls = self.tls.handshake().map_err(|fault| fault.to_string())?;
        let id = self
            .engine
            .handle_accept(SourcePrefix::of(peer.ip()), now)
            .map_err(|turned| format!("{turned:?}"))?;
        let stage = Stage::Handshaking(Box::new(Handshaking { tls, begun: false }));
        let wire = Wire::Tcp(Tcp::new(socket, stage));
        self.insert(Connection::new(id, Who::Stranger, LaneCounters::default(), wire, now));
        self.poll_once(id).map_err(|error| error.to_string())
    }

    /// Waits for the next bytes of a connection that is not welcome yet.
    pub(super) fn poll_once(&mut self, id: ConnId) -> Result<(), ShardError> {
        if let Some(connection) = self.connections[id.index()].as_mut()
            && connection.id == id
            && let Some(tcp) = connection.tcp()
            && tcp.poll == Poll::Idle
        {
            self.ring.poll_once(tcp.socket.as_fd(), token(id, POLL), Interest::Read)?;
            tcp.poll = Poll::Once;
        }
        Ok(())
    }

    /// Feeds what was received to the handshake. What is left of `input` when it is done are records; their
    /// number of bytes is returned.
    pub(super) fn shake_hands(
        &mut self,
        id: ConnId,
        input: &[u8],
        now: Time,
    ) -> Result<Option<usize>, Stop> {
        self.begin(id);
        let mut flight = Vec::new();
        let outcome = self.advance_handshake(id, input, &mut flight);
        if let Some(connection) = self.connections[id.index()].as_mut() {
            connection.used_s = seconds(now);
            if let Some(tcp) = connection.tcp() {
                tcp.outbox.append(&mut self.output, &flight);
            }
        }
        self.mark_dirty(id);
        self.flush_if_many(now);
        outcome.map_err(Stop::Fault)
    }

    /// Counts a handshake from its first bytes on: whoever connects and says nothing holds nobody up.
    fn begin(&mut self, id: ConnId) {
        if let Some(tcp) = self.connection(id).and_then(Connection::tcp)
            && let Stage::Handshaking(shaking) = &mut tcp.stage
            && !std::mem::replace(&mut shaking.begun, true)
        {
            self.accepting.handshakes += 1;
        }
    }

    fn advance_handshake(
        &mut self,
        id: ConnId,
        input: &[u8],
        flight: &mut Vec<u8>,
    ) -> Result<Option<usize>, Fault> {
        let relay = self.relay;
        let Some(connection) = self.connection(id) else { return Ok(None) };
        let Wire::Tcp(tcp) = &mut connection.wire else { return Ok(None) };
        let Stage::Handshaking(shaking) = &mut tcp.stage else { return Ok(None) };
        let mut used = 0;
        loop {
            match shaking.tls.advance(&input[used..], flight)? {
                Progress::More { .. } => return Ok(None),
                Progress::Flight { consumed } => {
                    used += consumed;
                    let binding = shaking.tls.binding()?;
                    let challenged = greeting::challenge(relay, Transport::Tls, binding)
                        .ok_or(Fault::Internal("the system has no randomness"))?;
                    let mut cell = enclose(&challenged.challenge)
                        .ok_or(Fault::Internal("a challenge fits the smallest cell"))?;
                    set_counter(&mut cell[..HEADER_LEN], connection.counters.take(0));
                    shaking.tls.send(&cell, flight)?;
                    connection.who = Who::Challenged(Box::new(challenged));
                }
                Progress::Done { consumed, established } => {
                    used += consumed;
                    let Established { opener, sealer, .. } = *established;
                    let inbound = Inbound::new(opener, HELLO_CLASS_MAX);
                    tcp.stage = Stage::Open(Link { inbound, sealer });
                    self.accepting.handshake_over();
                    return Ok(Some(input.len() - used));
                }
            }
        }
    }
}
