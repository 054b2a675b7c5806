//! A cell arrives: its counter, its rate, and whose it is.

use alloc::format;
use alloc::string::String;

use hushwire_wire::cell::{Header, HeaderError, Kind};
use hushwire_wire::control::{Control, ErrorCode, Undelivered};
use hushwire_wire::limits as wire;

use super::Engine;
use crate::command::{Stage, Verdict, Why};
use crate::connection::{Connection, State, Target};
use crate::id::ConnId;
use crate::limits::sealed_len;
use crate::port::{Envelope, Origin};
use crate::rate::Exceeded;
use crate::time::Time;

/// How often a device is told that it is over its rate.
const SCOLD_MS: u64 = 1_000;

impl Engine {
    /// A cell has arrived whole, and its header was well formed. No allocation, and no hashing where the
    /// sender's last cell had the same peer.
    ///
    /// # Panics
    /// If the last verdict was [`Stage::Queued`] and nobody said what became of it.
    pub fn handle_cell(&mut self, conn: ConnId, header: &Header, now: Time) -> Verdict {
        assert!(self.queuing.is_none(), "the last verdict's cell was queued or given up");
        let Some(connection) = self.connections.get_mut(conn) else {
            self.counters.cells_stale += 1;
            return Verdict::Drop;
        };
        let State::Member(member) = &mut connection.state else {
            return self.handle_early_cell(conn, header, now);
        };
        self.counters.cells_in += 1;
        if !connection.received.accept(header.lane, header.counter) {
            return self.malformed(conn, "a cell's counter is not the next of its lane", now);
        }
        connection.heard = now;
        if let Err(exceeded) = member.pace.admit(&self.tariff, header.class, now) {
            return self.over_rate(conn, header, exceeded, now);
        }
        match header.kind {
            Kind::Unicast => {}
            Kind::Control => return Verdict::ReadControl,
            Kind::Cover => {
                self.counters.covers_in += 1;
                return Verdict::Drop;
            }
            Kind::Broadcast => return self.no_channels(conn),
        }
        let origin = Origin {
            shard: self.config.shard,
            conn,
            lane: header.lane as u8,
            counter: header.counter,
            heard: now,
        };
        if member.flow.peer != header.peer {
            return self.route(conn, header, origin, now);
        }
        match member.flow.target {
            Target::Port(to) => {
                let envelope = Envelope {
                    sender: member.device,
                    sender_account: member.account,
                    recipient: header.peer,
                    class: header.class,
                    urgent: header.urgent,
                    origin,
                };
                self.counters.cells_crossed_out += 1;
                Verdict::Port { to, envelope }
            }
            Target::Local { to, epoch } => {
                let len = sealed_len(header.class);
                if let Some(Connection { outlet, state: State::Member(peer), .. }) =
                    self.connections.get_mut(to)
                    && peer.epoch == epoch
                    && !outlet.is_stuck(header.lane as u8)
                    && outlet.is_direct()
                    && outlet.sealed + len <= self.sealed_cells_max
                    && self.pool.may_seal(outlet.sealed, len)
                {
                    outlet.sealed += len;
                    self.pool.charge_sealed(len);
                    self.counters.cells_out += 1;
                    return Verdict::Forward { to, stage: Stage::Sealed };
                }
                self.route(conn, header, origin, now)
            }
        }
    }

    /// A cell's header was not well formed: tells the peer, then closes.
    pub fn handle_malformed_cell(&mut self, conn: ConnId, error: HeaderError, now: Time) {
        self.malformed(conn, &format!("{error}"), now);
    }

    /// What came cannot be cut into cells, as `sentence` says: tells the peer, then closes.
    pub fn handle_malformed_stream(&mut self, conn: ConnId, sentence: &str, now: Time) {
        self.malformed(conn, sentence, now);
    }

    /// A cell has come from another shard; this one is the recipient's home.
    ///
    /// # Panics
    /// If the last verdict was [`Stage::Queued`] and nobody said what became of it.
    pub fn handle_arrival(&mut self, envelope: &Envelope, now: Time) -> Verdict {
        assert!(self.queuing.is_none(), "the last verdict's cell was queued or given up");
        self.counters.cells_crossed_in += 1;
        self.deliver(envelope, now).0
    }

    /// The inbox a verdict named was full: the sender hears `busy`.
    pub fn handle_port_full(&mut self, envelope: &Envelope, now: Time) {
        self.report(envelope.origin, Undelivered::Busy, now);
    }

    /// Tells the peer that it broke the protocol, then closes.
    pub(super) fn malformed(&mut self, conn: ConnId, sentence: &str, now: Time) -> Verdict {
        let Some(connection) = self.connections.get(conn) else { return Verdict::Drop };
        match connection.state {
            State::Closing(_) => return Verdict::Drop,
            State::Fresh(_) | State::Asking(_) | State::Member(_) => {}
        }
        self.counters.closed_malformed += 1;
        self.fail(conn, ErrorCode::Malformed, sentence, Why::Malformed, now);
        Verdict::Close(Why::Malformed)
    }

    /// Before WELCOME there is one control cell, of limited size.
    fn handle_early_cell(&mut self, conn: ConnId, header: &Header, now: Time) -> Verdict {
        let Some(connection) = self.connections.get_mut(conn) else { return Verdict::Drop };
        match connection.state {
            State::Fresh(_) => {}
            State::Asking(_) => {
                self.counters.cells_in += 1;
                return self.malformed(conn, "a cell came before the welcome", now);
            }
            State::Member(_) | State::Closing(_) => {
                self.counters.cells_stale += 1;
                return Verdict::Drop;
            }
        }
        self.counters.cells_in += 1;
        connection.heard = now;
        if header.kind != Kind::Control || header.class > wire::HELLO_CLASS_MAX {
            return self.malformed(conn, "the first cell is not an introduction", now);
        }
        if !connection.received.accept(header.lane, header.counter) {
            return self.malformed(conn, "a cell's counter is not the next of its lane", now);
        }
        Verdict::ReadControl
    }

    /// Finds out where a cell goes, and remembers it for the next one.
    fn route(&mut self, conn: ConnId, header: &Header, origin: Origin, now: Time) -> Verdict {
        let Some(member) = self.connections.get(conn).and_then(Connection::member) else {
            return Verdict::Drop;
        };
        let envelope = Envelope {
            sender: member.device,
            sender_account: member.account,
            recipient: header.peer,
            class: header.class,
            urgent: header.urgent,
            origin,
        };
        let to = self.home_of(&header.peer);
        let (verdict, target) = if to == self.config.shard {
            self.deliver(&envelope, now)
        } else {
            self.counters.cells_crossed_out += 1;
            (Verdict::Port { to, envelope }, Some(Target::Port(to)))
        };
        if let Some(target) = target
            && let Some(member) = self.connections.get_mut(conn).and_then(Connection::member_mut)
        {
            member.flow.peer = header.peer;
            member.flow.target = target;
        }
        verdict
    }

    /// The cell is dropped, its sender told; the rate itself is named at most once a second.
    fn over_rate(
        &mut self,
        conn: ConnId,
        header: &Header,
        exceeded: Exceeded,
        now: Time,
    ) -> Verdict {
        self.counters.cells_over_rate += 1;
        if header.kind == Kind::Unicast {
            self.counters.undeliverable.count(Undelivered::Busy);
            let (lane, counter) = (header.lane as u8, header.counter);
            self.send(conn, Control::Undeliverable { lane, counter, reason: Undelivered::Busy });
        }
        let Some(member) = self.connections.get_mut(conn).and_then(Connection::member_mut) else {
            return Verdict::Drop;
        };
        if member.scolded.is_some_and(|last| now < last.after_millis(SCOLD_MS)) {
            return Verdict::Drop;
        }
        member.scolded = Some(now);
        let limits = &self.config.limits;
        let (sentence, wait_ms) = match exceeded {
            Exceeded::Cells { wait_ms } => {
                (format!("more than {} cells a second", limits.cells_per_s), wait_ms)
            }
            Exceeded::Bytes { wait_ms } => {
                (format!("more than {} bytes a second", limits.bytes_per_s), wait_ms)
            }
        };
        let (code, wait_ms) = (ErrorCode::RateLimited, Some(wait_ms));
        self.send(conn, Control::Error { id: None, code, sentence, wait_ms });
        Verdict::Drop
    }

    fn no_channels(&mut self, conn: ConnId) -> Verdict {
        let sentence = String::from("this relay has no channels");
        let code = ErrorCode::Unsupported;
        self.send(conn, Control::Error { id: None, code, sentence, wait_ms: None });
        Verdict::Drop
    }
}
