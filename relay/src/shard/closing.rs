//! The end of a connection.
//!
//! A socket that is closed under an armed poll sends no FIN, and one that is closed with unread input
//! resets the connection and may destroy what it was last told. So closing is a state: say goodbye, shut
//! down our direction, read and discard until the peer has finished too or has had long enough, cancel
//! what is armed, and close when the last completion is in.

use std::os::fd::{AsFd as _, OwnedFd};

use hushwire_engine::command::Why;
use hushwire_engine::{ConnId, Time};
use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{Interest, Token};
use hushwire_wire::cell::Class;

use super::connection::{CANCEL, Connection, POLL, Poll, SEND, Stage, Tcp, Wire, token};
use super::limits::{CLOSING_MAX, DISCARD_BYTES, LINGER_BYTES_MAX, LINGER_MS_MAX};
use super::output::{Flushed, Follows, Outbox};
use super::{Shard, ShardError};
use crate::transport::{Alert, Blame, Fault, record_len};

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The engine wants it so, and has had the device told.
    Engine(Why),
    /// A fault of TLS.
    Fault(Fault),
    /// The peer finished.
    PeerClosed,
    /// The socket failed, or the device takes too long to read its last words.
    Broken,
}

/// A connection that has ended for everybody but the kernel.
#[derive(Debug)]
pub(super) struct Closing {
    socket: OwnedFd,
    poll: Poll,
    /// What is still to be said.
    outbox: Outbox,
    /// The peer has finished, or has said enough.
    finished: bool,
    cancelled: bool,
    discarded: usize,
    deadline: Time,
}

impl Closing {
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    fn is_over(&self) -> bool {
        self.poll == Poll::Idle && !self.outbox.is_in_flight()
    }
}

/// The key of a closing connection: the same for its poll and its send.
fn key(token: Token) -> Token {
    token.with_kind(POLL)
}

impl Shard {
    /// Ends a connection: the engine forgets it, the peer gets its goodbye, the socket goes when it can.
    pub(super) fn end(&mut self, id: ConnId, ending: Ending, now: Time) -> Result<(), ShardError> {
        let Some(connection) = self.remove(id) else { return Ok(()) };
        tracing::debug!(?ending, connection = id.index(), "a connection ends");
        self.count(&ending);
        self.engine.handle_closed(id, now);
        match connection.wire {
            Wire::Tcp(tcp) => {
                if let Stage::Handshaking(shaking) = &tcp.stage
                    && shaking.begun
                {
                    self.accepting.handshake_over();
                }
                self.close(tcp, token(id, POLL), &ending, now)
            }
            Wire::Quic(quic) => {
                self.close_quic(quic, &ending, now);
                Ok(())
            }
        }
    }

    /// Ends a connection before the turn is over, where nothing can be closed yet.
    pub(super) fn end_later(&mut self, id: ConnId) {
        self.broken.push(id);
    }

    /// Ends what broke during this turn, and cancels what has lingered long enough.
    pub(super) fn end_broken(&mut self, now: Time) -> Result<(), ShardError> {
        while let Some(id) = self.broken.pop() {
            self.end(id, Ending::Broken, now)?;
        }
        let overdue: Vec<Token> = self
            .closing
            .iter()
            .filter(|(_, closing)| closing.deadline <= now && !closing.cancelled)
            .map(|(token, _)| *token)
            .collect();
        for token in overdue {
            if let Some(mut closing) = self.closing.remove(&token) {
                self.cancel(&mut closing, token)?;
                self.keep(closing, token);
            }
        }
        Ok(())
    }

    fn close(
        &mut self,
        mut tcp: Tcp,
        token: Token,
        ending: &Ending,
        now: Time,
    ) -> Result<(), ShardError> {
        // Beyond the bound nobody is waited for. In a drain everybody ends at once, and nobody comes.
        let crowded = self.closing.len() >= CLOSING_MAX && self.drain_until.is_none();
        let broken = matches!(ending, Ending::Broken) || crowded;
        self.seal_goodbye(&mut tcp, ending);
        let mut closing = Closing {
            poll: tcp.poll,
            outbox: tcp.outbox,
            finished: broken || tcp.peer_closed,
            cancelled: false,
            discarded: 0,
            deadline: now.after_millis(LINGER_MS_MAX),
            socket: tcp.socket,
        };
        if broken {
            closing.outbox.release(&mut self.output);
            // A socket that is already dead needs no goodbye.
            let _dead = sockets::shutdown_write(closing.socket.as_fd());
            self.cancel(&mut closing, token)?;
        } else {
            self.say_goodbye(&mut closing, token);
        }
        Self::discard(&mut closing);
        self.settle(closing, token)
    }

    /// Sends on what is left to be said, in order, then ends our direction.
    fn say_goodbye(&mut self, closing: &mut Closing, token: Token) {
        match closing.outbox.flush(closing.socket.as_fd(), &mut self.output, Follows::Nothing) {
            Flushed::All(_) => {
                // A socket that is already dead needs no goodbye.
                let _dead = sockets::shutdown_write(closing.socket.as_fd());
            }
            Flushed::Short(rest) => {
                let send = token.with_kind(SEND);
                if self.ring.send(closing.socket.as_fd(), send, rest, 0).is_err() {
                    closing.outbox.not_sent();
                    closing.finished = true;
                }
            }
            Flushed::Waiting => {}
            Flushed::Broken => closing.finished = true,
        }
    }

    /// Gives back what is pooled and seals the alert that ends the stream.
    fn seal_goodbye(&mut self, tcp: &mut Tcp, ending: &Ending) {
        let Stage::Open(link) = &mut tcp.stage else { return };
        link.inbound.release(&mut self.carry);
        let alert = match ending {
            Ending::Fault(fault) => fault.alert(),
            Ending::Engine(_) | Ending::PeerClosed => Some(Alert::CloseNotify),
            Ending::Broken => None,
        };
        let Some(alert) = alert else { return };
        let (sealer, padded_to) = (&mut link.sealer, Class::C0.cell_len());
        // Without the alert the peer still sees the end of the stream.
        let _unsealed = tcp.outbox.seal(&mut self.output, record_len(padded_to), 0, |out| {
            sealer.alert_into(alert, padded_to, out)
        });
    }

    /// Reads and forgets what has arrived.
    fn discard(closing: &mut Closing) {
        // The scratch may be in use: a connection can end while another is read.
        let mut sink = [0; DISCARD_BYTES];
        while !closing.finished {
            match sockets::recv(closing.socket.as_fd(), &mut sink) {
                Ok(Received::Bytes(bytes)) => closing.discarded += bytes,
                Ok(Received::Empty) => return,
                Ok(Received::End) | Err(_) => closing.finished = true,
            }
            closing.finished |= closing.discarded > LINGER_BYTES_MAX;
        }
    }

    /// Takes the next step of closing, whatever it is.
    fn settle(&mut self, mut closing: Closing, token: Token) -> Result<(), ShardError> {
        if closing.finished && !closing.outbox.is_in_flight() {
            self.cancel(&mut closing, token)?;
        } else if !closing.finished && closing.poll == Poll::Idle && !closing.cancelled {
            self.ring.poll_once(closing.socket.as_fd(), token, Interest::Read)?;
            closing.poll = Poll::Once;
        }
        self.keep(closing, token);
        Ok(())
    }

    /// Keeps the socket until its last completion; otherwise it closes here.
    fn keep(&mut self, closing: Closing, token: Token) {
        if !closing.is_over() {
            self.closing.insert(key(token), closing);
        }
    }

    fn cancel(&mut self, closing: &mut Closing, token: Token) -> Result<(), ShardError> {
        if std::mem::replace(&mut closing.cancelled, true) {
            return Ok(());
        }
        if closing.poll != Poll::Idle {
            self.ring.cancel(token.with_kind(POLL), token.with_kind(CANCEL))?;
        }
        if closing.outbox.is_in_flight() {
            self.ring.cancel(token.with_kind(SEND), token.with_kind(CANCEL))?;
        }
        Ok(())
    }

    /// Something arrived for a connection that is closing.
    pub(super) fn polled_while_closing(
        &mut self,
        token: Token,
        more: bool,
    ) -> Result<(), ShardError> {
        let Some(mut closing) = self.closing.remove(&key(token)) else { return Ok(()) };
        if !more {
            closing.poll = Poll::Idle;
        }
        Self::discard(&mut closing);
        self.settle(closing, token)
    }

    /// The final completion of a cancelled poll, or of one whose connection failed.
    pub(super) fn poll_ended(&mut self, token: Token) -> Result<(), ShardError> {
        if let Some(id) = self.id_of(token) {
            if let Some(tcp) = self.connection(id).and_then(Connection::tcp) {
                tcp.poll = Poll::Idle;
            }
            self.end_later(id);
            return Ok(());
        }
        let Some(mut closing) = self.closing.remove(&key(token)) else { return Ok(()) };
        closing.poll = Poll::Idle;
        closing.finished = true;
        self.settle(closing, token)
    }

    /// A send of a connection that is closing is done.
    pub(super) fn sent_while_closing(
        &mut self,
        token: Token,
        result: std::io::Result<usize>,
    ) -> Result<(), ShardError> {
        let Some(mut closing) = self.closing.remove(&key(token)) else { return Ok(()) };
        match closing.outbox.finished(result) {
            Some(_) if !closing.cancelled => self.say_goodbye(&mut closing, token),
            Some(_) | None => closing.finished = true,
        }
        self.settle(closing, token)
    }

    /// The connection an operation belongs to, unless it is closing or gone.
    pub(super) fn id_of(&self, token: Token) -> Option<ConnId> {
        let connection = self.connections.get(token.index() as usize)?.as_ref()?;
        (connection.token(POLL) == key(token)).then_some(connection.id)
    }

    fn count(&self, ending: &Ending) {
        match ending {
            Ending::Fault(fault) if fault.blame() == Blame::Relay => {
                self.metrics.bugs.add(1);
                tracing::error!(%fault, "a fault of the relay's own ended a connection");
            }
            Ending::Fault(_) => self.metrics.tls_faults.add(1),
            Ending::Engine(Why::Malformed) => self.metrics.malformed.add(1),
            Ending::Engine(_) | Ending::PeerClosed | Ending::Broken => {}
        }
    }
}
