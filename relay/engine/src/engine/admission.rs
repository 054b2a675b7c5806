//! How a connection becomes a device's: accepted, introduced, moved to its home, admitted by the store.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hushwire_wire::control::{Control, CoverMode, ErrorCode, GoawayReason, HopLimits, Welcome};
use hushwire_wire::limits as wire;

use super::Engine;
use super::requests::Pending;
use crate::command::{Alarm, Command, HandedOver, Introduction, Turned, Why};
use crate::connection::{Asking, Connection, Flow, Member, State};
use crate::id::{ConnId, SourcePrefix};
use crate::limits::{ADMISSIONS_PENDING_MAX, DISPLACEMENT_WINDOW_MS};
use crate::rate::Pace;
use crate::store::{Denial, DeviceRow, StoreAnswer, StoreQuestion};
use crate::time::Time;

impl Engine {
    /// A connection is there, before or after its TLS handshake. It must be welcomed within
    /// [`EngineLimits::unauthenticated_ms_max`](crate::EngineLimits::unauthenticated_ms_max).
    ///
    /// # Errors
    /// Why it is not taken: close it.
    pub fn handle_accept(&mut self, source: SourcePrefix, now: Time) -> Result<ConnId, Turned> {
        let taken = self.check_room().and_then(|()| {
            let hash = self.table_key.hash_one(source);
            if self.sources.admit(hash, now) { Ok(()) } else { Err(Turned::Source) }
        });
        match taken {
            Ok(()) => {
                self.counters.accepted += 1;
                let deadline = now.after_millis(self.config.limits.unauthenticated_ms_max);
                self.take(Connection::fresh(deadline, now), deadline)
            }
            Err(turned) => {
                let counter = match turned {
                    Turned::Source => &mut self.counters.turned_source,
                    Turned::Unauthenticated | Turned::Full | Turned::Draining => {
                        &mut self.counters.turned_other
                    }
                };
                *counter += 1;
                Err(turned)
            }
        }
    }

    /// A connection has introduced itself, and its proof, version and relay ID are right. Answered by
    /// commands: a hand-over, or a question to the store and then WELCOME or ERROR and close.
    pub fn handle_hello(&mut self, conn: ConnId, introduction: Introduction, now: Time) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let deadline = match &connection.state {
            State::Fresh(fresh) => fresh.deadline,
            State::Asking(_) | State::Member(_) => {
                self.malformed(conn, "a device introduced itself twice", now);
                return;
            }
            State::Closing(_) => return,
        };
        if self.draining.is_some() {
            self.fail(conn, ErrorCode::Draining, "the relay is stopping", Why::Draining, now);
            return;
        }
        let to = self.home_of(&introduction.device);
        if to == self.config.shard {
            self.introduce(conn, introduction, now);
            return;
        }
        let Some(connection) = self.forget(conn) else { return };
        let handed = HandedOver {
            introduction,
            received: connection.received,
            sealed_bytes: connection.outlet.sealed,
            deadline,
        };
        self.counters.handed_over += 1;
        self.commands.push_back(Command::HandOver { conn, to, handed: Box::new(handed) });
    }

    /// A connection has introduced itself to another shard, but lives here.
    ///
    /// # Errors
    /// Why it is not taken: close it.
    pub fn handle_hand_over(&mut self, handed: HandedOver, now: Time) -> Result<ConnId, Turned> {
        if let Err(turned) = self.check_room() {
            self.counters.turned_other += 1;
            return Err(turned);
        }
        self.counters.taken_over += 1;
        let deadline = handed.deadline;
        let mut connection = Connection::fresh(deadline, now);
        connection.received = handed.received;
        connection.outlet.sealed = handed.sealed_bytes;
        let conn = self.take(connection, deadline)?;
        self.pool.charge_sealed(handed.sealed_bytes);
        self.introduce(conn, handed.introduction, now);
        Ok(conn)
    }

    /// A connection that the I/O layer does not let in (a wrong proof, version or relay): sends the
    /// error, then closes.
    pub fn refuse(&mut self, conn: ConnId, code: ErrorCode, sentence: &str, now: Time) {
        self.counters.denied += 1;
        self.fail(conn, code, sentence, Why::Unauthenticated, now);
    }

    /// The store's word on a device that introduced itself.
    pub(super) fn admission(&mut self, conn: ConnId, again: bool, answer: StoreAnswer, now: Time) {
        let Some(connection) = self.connections.get(conn) else { return };
        let State::Asking(asking) = &connection.state else { return };
        if again && matches!(answer, StoreAnswer::Admitted(_)) {
            let (device, transport) = (asking.device, asking.transport);
            self.ask_admission(conn, StoreQuestion::Admit { device, transport });
            return;
        }
        match answer {
            StoreAnswer::Admitted(row) => self.admit(conn, row, now),
            StoreAnswer::Denied(denial) => {
                let (code, sentence) = match denial {
                    Denial::Unknown => (ErrorCode::Unauthenticated, "this device is not enrolled"),
                    Denial::Revoked => (ErrorCode::Unauthenticated, "this device was revoked"),
                    Denial::NativeOnly => {
                        (ErrorCode::Forbidden, "this device may not connect by WebSocket")
                    }
                    Denial::Invite => {
                        (ErrorCode::Unauthenticated, "this invite is unknown or was used already")
                    }
                    Denial::InviteExpired => (ErrorCode::Expired, "this invite has expired"),
                    Denial::AccountFull => {
                        (ErrorCode::Forbidden, "the account has as many devices as it may")
                    }
                };
                self.counters.denied += 1;
                self.fail(conn, code, sentence, Why::Unauthenticated, now);
            }
            StoreAnswer::Unavailable => {
                let sentence = "the relay's store cannot answer now";
                self.fail(conn, ErrorCode::Busy, sentence, Why::Busy, now);
            }
            StoreAnswer::Reach(_) | StoreAnswer::Done | StoreAnswer::Failed { .. } => {
                panic!("the store answered an admission with {answer:?}")
            }
        }
    }

    /// Sends an error, then closes.
    pub(super) fn fail(
        &mut self,
        conn: ConnId,
        code: ErrorCode,
        sentence: &str,
        why: Why,
        now: Time,
    ) {
        let is_passing = matches!(why, Why::Busy | Why::Draining);
        let wait_ms = is_passing.then(|| self.reconnect_after_ms());
        let sentence = String::from(sentence);
        self.send(conn, Control::Error { id: None, code, sentence, wait_ms });
        self.close(conn, why, now);
    }

    pub(super) fn reconnect_after_ms(&mut self) -> u32 {
        let (first, last) = self.config.limits.reconnect_after_ms;
        self.random.between(first, last)
    }

    fn check_room(&self) -> Result<(), Turned> {
        if self.draining.is_some() {
            Err(Turned::Draining)
        } else if self.unauthenticated >= self.config.limits.unauthenticated_max {
            Err(Turned::Unauthenticated)
        } else if self.connections.is_full() {
            Err(Turned::Full)
        } else {
            Ok(())
        }
    }

    fn take(&mut self, connection: Connection, deadline: Time) -> Result<ConnId, Turned> {
        let conn = self.connections.insert(connection).ok_or(Turned::Full)?;
        self.unauthenticated += 1;
        self.wheel.arm(conn.index, deadline);
        Ok(conn)
    }

    fn introduce(&mut self, conn: ConnId, introduction: Introduction, now: Time) {
        let Introduction { device, transport, token, name, .. } = introduction;
        let secret = match token.map(|token| <[u8; 16]>::try_from(token.as_slice())).transpose() {
            Ok(secret) => secret,
            Err(_) => {
                self.counters.denied += 1;
                let sentence = "the token in the introduction is no invite's secret";
                self.fail(conn, ErrorCode::Unauthenticated, sentence, Why::Unauthenticated, now);
                return;
            }
        };
        let deadline = now.after_millis(self.config.limits.unauthenticated_ms_max);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let deadline = match &connection.state {
            State::Fresh(fresh) => fresh.deadline.min(deadline),
            State::Asking(_) | State::Member(_) | State::Closing(_) => return,
        };
        connection.state = State::Asking(Asking { device, transport, deadline });
        if self.pending.len() - self.operations_pending >= ADMISSIONS_PENDING_MAX {
            self.fail(conn, ErrorCode::Busy, "the relay's store is busy", Why::Busy, now);
            return;
        }
        let question = match secret {
            Some(secret) => {
                let name = name.unwrap_or_default();
                StoreQuestion::Redeem { device, transport, secret, name }
            }
            None => StoreQuestion::Admit { device, transport },
        };
        self.ask_admission(conn, question);
    }

    fn ask_admission(&mut self, conn: ConnId, question: StoreQuestion) {
        self.ask(Pending::Admission { conn, again: false }, question);
    }

    fn admit(&mut self, conn: ConnId, row: DeviceRow, now: Time) {
        let Some(State::Asking(asking)) = self.connections.get(conn).map(|c| &c.state) else {
            return;
        };
        let (device, deadline) = (asking.device, asking.deadline);
        let replaced = self.devices.get(&device);
        let given_back = replaced.and_then(|old| self.connections.get(old)?.member());
        if given_back.is_some_and(|member| member.deadline > deadline) {
            // The device gave this one up and came again: displaced, its newer connection would stay away for good.
            let sentence = "a newer connection of this device is there already";
            self.fail(conn, ErrorCode::Busy, sentence, Why::Busy, now);
            return;
        }
        let given_back = given_back.map_or(0, |member| member.grants.len());
        if self.grants_held - given_back + row.grants.len() > self.config.limits.grants_max {
            let sentence = "the relay holds as many grants as it can";
            self.fail(conn, ErrorCode::Busy, sentence, Why::Busy, now);
            return;
        }
        if let Some(old) = replaced {
            self.displace(old, now);
        }
        let memory = self.remembered.remove(&device, now).unwrap_or_default();
        let DeviceRow { account, hidden, mut grants } = row;
        assert!(grants.len() <= wire::GRANTS_PER_ACCOUNT, "the store keeps to the limit of grants");
        grants.sort_unstable();
        grants.shrink_to_fit();
        self.grants_held += grants.len();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.heard = now;
        connection.state = State::Member(Member {
            pace: Pace::default(),
            epoch: 0,
            hidden,
            account,
            device,
            deadline,
            flow: Flow::NONE,
            grants,
            memory,
            scolded: None,
        });
        self.unauthenticated -= 1;
        self.counters.admitted += 1;
        self.devices.insert(device, conn);
        self.absent.clear(&device);
        self.wheel.arm(conn.index, now.after_millis(self.config.limits.idle_ms));
        let limits = &self.config.limits;
        let welcome = Welcome {
            shard: self.config.shard.0,
            shards: self.config.shards,
            region: self.config.region.clone(),
            cover: CoverMode::Off,
            limits: HopLimits {
                cells_per_s: limits.cells_per_s,
                bytes_per_s: limits.bytes_per_s,
                egress_bytes: limits.egress_bytes_max,
                idle_ms: u32::try_from(limits.idle_ms).unwrap_or(u32::MAX),
            },
            replaced: replaced.is_some(),
            pins: Vec::new(),
            quic_ids: alloc::vec![[0; wire::QUIC_ID_BYTES]; self.config.quic_ids],
        };
        self.send(conn, Control::Welcome(welcome));
    }

    /// The newest connection of a device wins.
    fn displace(&mut self, old: ConnId, now: Time) {
        let Some(member) = self.connections.get_mut(old).and_then(Connection::member_mut) else {
            return;
        };
        let count = member.memory.displacements.count(DISPLACEMENT_WINDOW_MS, now);
        let device = member.device;
        self.counters.displaced += 1;
        if count >= wire::DISPLACEMENTS_ALARM {
            self.counters.displacement_alarms += 1;
            self.commands.push_back(Command::Alarm(Alarm::Displacements { device, count }));
        }
        let reason = GoawayReason::Superseded;
        self.send(old, Control::Goaway { reason, reconnect_after_ms: 0 });
        self.close(old, Why::Superseded, now);
    }
}
