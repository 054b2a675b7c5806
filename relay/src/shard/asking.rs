//! The engine's questions in the store's words, and back.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use hushwire_engine::store::{Denial, DeviceRow, Reach};
use hushwire_engine::{StoreAnswer, StoreQuestion, Ticket, Time};
use hushwire_wire::control::{ErrorCode, Transport};
use hushwire_wire::id::{DeviceId, RelayId};

use super::Shard;
use super::greeting;
use super::limits::SEEN_WAITING_MAX;
use crate::store::{Answer, Day, Name, Query, Refusal, Row, SEEN_BATCH_MAX, Status};

/// The ticket of what nobody waits for; the engine counts its own from zero.
const SEEN_TICKET: u64 = u64::MAX;

/// What a ticket was given for, as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// May a device connect by this transport?
    Admission(Transport),
    /// How does an absent device answer?
    Reach,
    /// An operation of a device.
    Operation,
}

impl Shard {
    /// Hands a question to the store. What cannot be asked is answered at once.
    pub(super) fn ask_store(&mut self, ticket: Ticket, question: StoreQuestion, now: Time) {
        let (asked, query) = match translate(question, &self.relay) {
            Ok(translated) => translated,
            Err(answer) => return self.engine.handle_store(ticket, answer, now),
        };
        self.asked.insert(ticket, asked);
        if self.store.submit(ticket.0, query).is_err() {
            self.asked.remove(&ticket);
            self.metrics.store_busy.add(1);
            self.engine.handle_store(ticket, StoreAnswer::Unavailable, now);
        }
    }

    /// Notes that a device was here today; the store hears of it with others.
    pub(super) fn seen(&mut self, device: DeviceId) {
        if self.seen.len() < SEEN_WAITING_MAX {
            self.seen.push((device, (unix_s() / 86_400) as Day));
        }
    }

    /// Tells the store who was seen since the last time. What it has no room for is told again later.
    pub(super) fn tell_seen(&mut self) {
        while !self.seen.is_empty() {
            let batch = self.seen.split_off(self.seen.len().saturating_sub(SEEN_BATCH_MAX));
            if self.store.submit(SEEN_TICKET, Query::SeenDays(batch.clone())).is_err() {
                self.metrics.store_busy.add(1);
                self.seen.extend(batch);
                return;
            }
        }
    }

    /// The store has answered.
    pub(super) fn store_answered(&mut self, ticket: u64, answer: Answer, now: Time) {
        if ticket == SEEN_TICKET {
            if let Answer::Failed(error) = answer {
                tracing::warn!(%error, "the days on which devices were seen could not be written");
            }
            return;
        }
        let ticket = Ticket(ticket);
        let Some(asked) = self.asked.remove(&ticket) else { return };
        self.engine.handle_store(ticket, interpret(asked, answer), now);
    }
}

fn translate(question: StoreQuestion, relay: &RelayId) -> Result<(Asked, Query), StoreAnswer> {
    let operation = |query| Ok((Asked::Operation, query));
    match question {
        StoreQuestion::Admit { device, transport } => {
            Ok((Asked::Admission(transport), Query::Device { device }))
        }
        StoreQuestion::Redeem { device, transport, secret, name } => {
            let mut secret_hash = [0; 32];
            secret_hash.copy_from_slice(digest(&SHA256, &secret).as_ref());
            let query = Query::Redeem {
                secret_hash,
                device,
                name: Name::new(&name).unwrap_or_default(),
                now_unix_s: unix_s(),
            };
            Ok((Asked::Admission(transport), query))
        }
        StoreQuestion::Reach { sender, sender_account, recipient } => {
            Ok((Asked::Reach, Query::Reach { sender, sender_account, recipient }))
        }
        StoreQuestion::Register { account, device, name, asker, proof } => {
            greeting::verify_new(relay, &asker, &device, &proof).map_err(|refusal| {
                let sentence = refusal.sentence.into();
                StoreAnswer::Failed { code: refusal.code, sentence }
            })?;
            operation(Query::Register { account, device, name: checked(&name)? })
        }
        StoreQuestion::Rename { account, device, name } => {
            operation(Query::Rename { account, device, name: checked(&name)? })
        }
        StoreQuestion::Revoke { account, device } => {
            operation(Query::Revoke { account: Some(account), device })
        }
        StoreQuestion::Grant { recipient, sender, .. } => {
            operation(Query::Grant { recipient, sender })
        }
        StoreQuestion::Ungrant { recipient, sender, .. } => {
            operation(Query::Ungrant { recipient, sender })
        }
        StoreQuestion::Presence { device, hidden, .. } => {
            operation(Query::PresenceHide { device, hidden })
        }
    }
}

fn checked(name: &str) -> Result<Name, StoreAnswer> {
    Name::new(name).map_err(|error| StoreAnswer::Failed {
        code: ErrorCode::TooLarge,
        sentence: error.to_string(),
    })
}

fn interpret(asked: Asked, answer: Answer) -> StoreAnswer {
    match (asked, answer) {
        (Asked::Admission(transport), Answer::Row(row)) => admit(transport, *row),
        (Asked::Admission(_), Answer::Unknown) => StoreAnswer::Denied(Denial::Unknown),
        (Asked::Admission(_), Answer::Refused(refusal)) => StoreAnswer::Denied(denial(refusal)),
        (Asked::Reach, Answer::Offline { push, hidden }) => {
            StoreAnswer::Reach(Reach::Offline { push, hidden })
        }
        (Asked::Reach, Answer::Refused(_) | Answer::Unknown) => StoreAnswer::Reach(Reach::Refused),
        (Asked::Operation, Answer::Done) => StoreAnswer::Done,
        (Asked::Operation, Answer::Refused(refusal)) => {
            StoreAnswer::Failed { code: code(refusal), sentence: refusal.to_string() }
        }
        (_, Answer::Failed(error)) => {
            tracing::warn!(%error, "the store could not answer");
            StoreAnswer::Unavailable
        }
        (asked, answer) => unreachable!("the store answered {asked:?} with {answer:?}"),
    }
}

fn admit(transport: Transport, row: Row) -> StoreAnswer {
    match row.status {
        Status::Revoked => StoreAnswer::Denied(Denial::Revoked),
        Status::Active if row.native_only && transport == Transport::WebSocket => {
            StoreAnswer::Denied(Denial::NativeOnly)
        }
        Status::Active => StoreAnswer::Admitted(DeviceRow {
            account: row.account,
            hidden: row.presence_hidden,
            grants: row.grants,
        }),
    }
}

fn denial(refusal: Refusal) -> Denial {
    match refusal {
        Refusal::Revoked => Denial::Revoked,
        Refusal::InviteExpired => Denial::InviteExpired,
        Refusal::AccountFull => Denial::AccountFull,
        Refusal::InviteUsed
        | Refusal::InviteUnknown
        | Refusal::AlreadyEnrolled
        | Refusal::NotAllowed
        | Refusal::UnknownDevice
        | Refusal::UnknownAccount
        | Refusal::OtherAccount
        | Refusal::GrantsFull
        | Refusal::InvitesFull
        | Refusal::InviteExists
        | Refusal::TooMany => Denial::Invite,
    }
}

fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::UnknownDevice | Refusal::UnknownAccount => ErrorCode::UnknownDevice,
        Refusal::AccountFull | Refusal::GrantsFull | Refusal::InvitesFull | Refusal::TooMany => {
            ErrorCode::RateLimited
        }
        Refusal::InviteExpired => ErrorCode::Expired,
        Refusal::OtherAccount
        | Refusal::AlreadyEnrolled
        | Refusal::InviteUsed
        | Refusal::InviteExists => ErrorCode::Conflict,
        Refusal::NotAllowed | Refusal::InviteUnknown | Refusal::Revoked => ErrorCode::Forbidden,
    }
}

#[expect(clippy::disallowed_methods, reason = "invites end by the wall clock")]
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
