//! A device: its disk, and the process that drives a link and conversations as the client does, without tokio,
//! sockets and locks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hushwire::conversation::{Conversation, Event as Heard, Moment, PeerKeys};
use hushwire::identity::Identity;
use hushwire::journal::{Entry, Logs};
use hushwire::link::{
    AwaitChallenge, AwaitWelcome, Backoff, Goaway, HelloSettings, Input, Link, LinkError, Opening,
    Origin,
};
use hushwire::suite::Minimum;
use hushwire::suite::frames::ConnectionSalt;
use hushwire::suite::handshake::Role;
use hushwire::suite::keys::PairKey;
use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::{CoverMode, Transport};
use hushwire_wire::id::DeviceId;

use super::app::{App, Running};
use super::plan::{Fault, MILLI};
use super::random::Dice;
use super::relay::{LinkId, RELAY};

/// Cells made in one turn, as in the client.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// Time for WELCOME.
const WELCOME_NANOS_MAX: u64 = 10_000 * MILLI;
/// 2027-01-15, in seconds.
const EPOCH_S: u64 = 1_800_000_000;

/// What the keystore remembers of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    sent_ns: u64,
    seen_ns: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) logs: Logs,
    times: BTreeMap<usize, Times>,
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    identity: Identity,
    pub(crate) dice: Dice,
    /// What its wall clock is set to, beyond the world's time.
    pub(crate) clock_s: i64,
    pub(crate) disk: Disk,
    pub(crate) app: App,
    pub(crate) backup: Option<(Disk, App)>,
    pub(crate) disk_fails_until: u64,
    pub(crate) sleeps_until: u64,
    pub(crate) process: Option<Process>,
    /// Processes so far.
    pub(crate) life: u32,
    /// It will never be seen again.
    pub(crate) is_gone: bool,
}

enum Connection {
    Down { dial_at: Option<u64> },
    Challenged(Box<AwaitChallenge>),
    Introduced(Box<AwaitWelcome>),
    Up(Box<Link>),
}

pub(crate) struct Process {
    connection: Connection,
    pub(crate) link: Option<LinkId>,
    opened_at: u64,
    backoff: Backoff,
    salt: ConnectionSalt,
    pub(crate) conversations: BTreeMap<usize, Conversation>,
    /// What happened in them.
    pub(crate) heard: VecDeque<(usize, Heard)>,
    /// What the disk is to know; with it, whether the conversation believes already that it does.
    to_store: VecDeque<(usize, Entry, bool)>,
    pub(crate) writing: Vec<(usize, Entry, bool)>,
    pub(crate) running: Running,
    /// When it is to be looked at.
    pub(crate) wake: u64,
    /// Turns in a row in which nothing happened though it was said to.
    pub(crate) idle_turns: u32,
}

impl Device {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed, number as u64 + 100);
        let identity = Identity::generate(&mut dice);
        Self {
            id: identity.device_id(),
            identity,
            dice,
            clock_s: 0,
            disk: Disk::default(),
            app: App::default(),
            backup: None,
            disk_fails_until: 0,
            sleeps_until: 0,
            process: None,
            life: 0,
            is_gone: false,
        }
    }

    pub(crate) fn moment(&self, start: Instant, now: u64) -> Moment {
        let seconds = EPOCH_S.saturating_add_signed(self.clock_s);
        Moment { now: start + Duration::from_nanos(now), unix_ns: seconds * 1_000_000_000 + now }
    }

    /// The process starts, with what is on disk.
    pub(crate) fn start(&mut self, peers: &[(usize, DeviceId, PairKey)], now: u64, fault: Fault) {
        let salt = ConnectionSalt::draw(&mut self.dice);
        let mut conversations = BTreeMap::new();
        for (peer, id, pair_key) in peers {
            let times = self.disk.times.get(peer).copied().unwrap_or_default();
            let keys = PeerKeys {
                pair_key: pair_key.clone(),
                minimum: Minimum::Hybrid,
                last_sent_ns: times.sent_ns,
                last_seen_ns: times.seen_ns,
            };
            let mut logs = self.disk.logs.peer(id).cloned().unwrap_or_default();
            if let (Fault::ForgottenCursor, Some(incoming)) = (fault, &mut logs.incoming) {
                incoming.next = 0;
            }
            let conversation = Conversation::new(self.id, *id, keys, logs, salt, &mut self.dice);
            conversations.insert(*peer, conversation);
        }
        self.life += 1;
        self.process = Some(Process {
            connection: Connection::Down { dial_at: Some(now) },
            link: None,
            opened_at: now,
            backoff: Backoff::default(),
            salt,
            conversations,
            heard: VecDeque::new(),
            to_store: VecDeque::new(),
            writing: Vec::new(),
            running: Running::default(),
            wake: now,
            idle_turns: 0,
        });
    }

    /// The process is killed. Of what was being written, the disk has some.
    pub(crate) fn kill(&mut self) -> Option<LinkId> {
        let process = self.process.take()?;
        let there = self.dice.below(process.writing.len() as u64 + 1) as usize;
        for (_, entry, _) in process.writing.into_iter().take(there) {
            self.disk.logs.apply(entry);
        }
        process.link
    }

    /// A connection to the relay was made.
    pub(crate) fn dialled(&mut self, link: LinkId, binding: [u8; 32], now: u64) {
        let Some(process) = &mut self.process else { return };
        let settings = HelloSettings {
            token: None,
            name: None,
            cover: CoverMode::Off,
            software: "simulation".into(),
        };
        let awaiting = AwaitChallenge::new(RELAY, settings, Transport::Tls, binding);
        process.connection = Connection::Challenged(Box::new(awaiting));
        (process.link, process.opened_at) = (Some(link), now);
    }

    /// The connection is gone; when it is to be tried again.
    pub(crate) fn disconnected(&mut self, now: u64, wait: Option<Duration>) {
        let Some(process) = &mut self.process else { return };
        process.link = None;
        for conversation in process.conversations.values_mut() {
            conversation.handle_disconnected();
        }
        if now.saturating_sub(process.opened_at) > 60_000 * MILLI {
            process.backoff.reset();
        }
        let wait = wait.unwrap_or_else(|| process.backoff.next(&mut self.dice));
        let dial_at = Some(now + 1 + wait.as_nanos() as u64);
        process.connection = Connection::Down { dial_at };
    }

    /// Whether it is time to connect; it is then taken to try.
    pub(crate) fn takes_dial(&mut self, now: u64) -> bool {
        let Some(process) = &mut self.process else { return false };
        match &mut process.connection {
            Connection::Down { dial_at } if dial_at.is_some_and(|at| at <= now) => {
                *dial_at = None;
                true
            }
            Connection::Down { .. }
            | Connection::Challenged(_)
            | Connection::Introduced(_)
            | Connection::Up(_) => false,
        }
    }

    /// A cell has come from the relay. Returns what is to be sent at once, and a farewell.
    pub(crate) fn hear(
        &mut self,
        cell: &mut [u8],
        peers: &[DeviceId],
        moment: Moment,
    ) -> Result<(Option<Vec<u8>>, Option<Goaway>), LinkError> {
        let Some(process) = &mut self.process else { return Ok((None, None)) };
        let down = Connection::Down { dial_at: None };
        match std::mem::replace(&mut process.connection, down) {
            Connection::Down { .. } => {}
            Connection::Challenged(state) => match state.on_cell(cell, &self.identity)? {
                Opening::Next((state, hello)) => {
                    process.connection = Connection::Introduced(Box::new(state));
                    return Ok((Some(hello), None));
                }
                Opening::Same(same) => process.connection = Connection::Challenged(Box::new(same)),
            },
            Connection::Introduced(state) => match state.on_cell(cell, moment.now)? {
                Opening::Next(link) => {
                    process.connection = Connection::Up(Box::new(link));
                    process.salt = ConnectionSalt::draw(&mut self.dice);
                    for conversation in process.conversations.values_mut() {
                        conversation.handle_connected(process.salt, moment);
                    }
                }
                Opening::Same(same) => process.connection = Connection::Introduced(Box::new(same)),
            },
            Connection::Up(mut link) => {
                let input = link.handle_cell(cell, moment.now);
                process.connection = Connection::Up(link);
                match input? {
                    Input::Nothing | Input::Answer { .. } | Input::Joined { .. } => {}
                    Input::Goaway(goaway) => return Ok((None, Some(goaway))),
                    Input::Body { peer } => {
                        let number = peers.iter().position(|id| *id == peer);
                        let known = number.and_then(|n| process.conversations.get_mut(&n));
                        if let Some(conversation) = known {
                            let body = &mut cell[HEADER_LEN..];
                            let (identity, dice) = (&self.identity, &mut self.dice);
                            conversation.handle_body(body, identity, moment, true, dice);
                        }
                    }
                    Input::Undeliverable(report) => {
                        let number = peers.iter().position(|id| *id == report.peer);
                        let known = number.and_then(|n| process.conversations.get_mut(&n));
                        if let (Some(conversation), Origin::Conversation(id)) =
                            (known, report.origin)
                        {
                            let reason = report.reason;
                            conversation.handle_undeliverable(id, reason, moment, &mut self.dice);
                        }
                    }
                }
            }
        }
        Ok((None, None))
    }

    /// Does what is due, makes cells, and finds out when to be asked again.
    pub(crate) fn turn(
        &mut self,
        peers: &[DeviceId],
        moment: Moment,
        now: u64,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), LinkError> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut next = process.expire(moment, now);
        match &mut process.connection {
            Connection::Down { dial_at } => next = next.min(dial_at.unwrap_or(u64::MAX)),
            Connection::Challenged(_) | Connection::Introduced(_) => {
                let end = process.opened_at + WELCOME_NANOS_MAX;
                if now >= end {
                    return Err(LinkError::Silent);
                }
                next = next.min(end);
            }
            Connection::Up(link) => {
                while link.handle_timeout(moment.now)?.is_some() {}
                let mut bytes = Vec::new();
                while link.poll_cell(moment.now, &mut self.dice, &mut bytes) {
                    out.push(std::mem::take(&mut bytes));
                }
                let mut made = 0;
                let mut more: VecDeque<usize> = process.conversations.keys().copied().collect();
                for conversation in process.conversations.values_mut() {
                    let (identity, dice) = (&self.identity, &mut self.dice);
                    conversation.handle_timeout(identity, moment, true, dice);
                }
                while let Some(&number) = more.front() {
                    let is_full = made + Class::C7.cell_len() > OUT_BYTES_MAX;
                    if is_full || link.ready_at(moment.now).is_some() {
                        break;
                    }
                    more.pop_front();
                    let conversation =
                        process.conversations.get_mut(&number).expect("it was listed");
                    let mut cell = Vec::new();
                    let polled = conversation.poll_cell(moment, &mut self.dice, &mut cell);
                    if let Some(transmit) = polled {
                        let origin = Origin::Conversation(transmit.id);
                        link.stamp(&mut cell, transmit.lane, peers[number], origin, moment.now);
                        made += cell.len();
                        out.push(cell);
                        more.push_back(number);
                    }
                }
                let since = |at: Instant| now + at.duration_since(moment.now).as_nanos() as u64;
                if !more.is_empty() {
                    let ready = link.ready_at(moment.now).map_or(now + MILLI, since);
                    next = next.min(ready);
                }
                next = next.min(since(link.next_timeout()));
                for (number, conversation) in &process.conversations {
                    if let Some(at) = conversation.next_timeout(moment)
                        && !more.contains(number)
                    {
                        next = next.min(since(at));
                    }
                }
            }
        }
        let is_busy = next <= now && out.is_empty();
        process.idle_turns = if is_busy { process.idle_turns + 1 } else { 0 };
        process.wake = next.max(now + 50_000);
        Ok(())
    }

    /// Takes over what conversations say, as the client does.
    pub(crate) fn collect(&mut self, fault: Fault, moment: Moment) {
        let Some(process) = &mut self.process else { return };
        for (&number, conversation) in &mut process.conversations {
            loop {
                while let Some(event) = conversation.poll_event() {
                    let times = self.disk.times.entry(number).or_default();
                    match event {
                        Heard::HandshakeBegins { time_ns } => {
                            times.sent_ns = times.sent_ns.max(time_ns);
                        }
                        Heard::HandshakeAnswered { time_ns } => {
                            times.seen_ns = times.seen_ns.max(time_ns);
                        }
                        Heard::HandshakeEnded(established) => {
                            let time_ns = established.time_ns();
                            match established.role() {
                                Role::Initiator => times.sent_ns = times.sent_ns.max(time_ns),
                                Role::Responder => times.seen_ns = times.seen_ns.max(time_ns),
                            }
                        }
                        other @ (Heard::SessionUp
                        | Heard::SessionLost
                        | Heard::MessageReady
                        | Heard::Stored { .. }
                        | Heard::Ended(_)
                        | Heard::SetBack
                        | Heard::Lost { .. }
                        | Heard::StreamIncoming
                        | Heard::StreamChanged(_)
                        | Heard::PeerIncompatible { .. }
                        | Heard::PeerAway { .. }) => process.heard.push_back((number, other)),
                    }
                }
                let Some(entry) = conversation.poll_entry() else { break };
                // Entries are said to be stored in their order: one is believed early only where none waits.
                let mut waiting = process.writing.iter().chain(&process.to_store);
                let is_next = !waiting.any(|(of, _, is_early)| *of == number && !is_early);
                let is_early = is_next && is_believed_early(&entry, fault);
                if is_early {
                    conversation.handle_stored(moment, &mut self.dice);
                }
                process.to_store.push_back((number, entry, is_early));
            }
        }
    }
}

fn is_believed_early(entry: &Entry, fault: Fault) -> bool {
    match entry {
        Entry::Queued { .. } => fault == Fault::SentBeforeStored,
        Entry::Taken { .. } => fault == Fault::AcknowledgedBeforeStored,
        Entry::Ended { .. } => fault == Fault::EndToldBeforeStored,
        Entry::LogBegun { .. }
        | Entry::Ahead { .. }
        | Entry::Unsent { .. }
        | Entry::Forgotten { .. }
        | Entry::Renamed { .. } => false,
    }
}

impl Process {
    /// Ends what has expired; when there is more to do.
    fn expire(&mut self, moment: Moment, now: u64) -> u64 {
        let mut next = u64::MAX;
        for conversation in self.conversations.values_mut() {
            if conversation.next_expiry_s().is_some_and(|at| at <= moment.unix_s()) {
                conversation.expire(moment);
            }
            if let Some(at) = conversation.next_expiry_s() {
                let wait = at.saturating_mul(1_000_000_000).saturating_sub(moment.unix_ns);
                // What has expired and is not stored yet is looked at again a little later.
                next = next.min(now.saturating_add(wait.max(MILLI)));
            }
        }
        next
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.connection, Connection::Up(_))
    }

    /// Whether a batch is to be written, which is taken to be under way then.
    pub(crate) fn begins_writing(&mut self) -> bool {
        if !self.writing.is_empty() || self.to_store.is_empty() {
            return false;
        }
        self.writing = self.to_store.drain(..).collect();
        true
    }

    pub(crate) fn is_all_stored(&self) -> bool {
        self.writing.is_empty() && self.to_store.is_empty()
    }

    pub(crate) fn waiting_entries(&self) -> usize {
        self.writing.len() + self.to_store.len()
    }

    /// The disk takes nothing: messages are given back to who gave them, everything else is tried again. Returns which
    /// are given back.
    pub(crate) fn not_stored(&mut self) -> Vec<(usize, std::ops::Range<u64>)> {
        for entry in std::mem::take(&mut self.writing).into_iter().rev() {
            self.to_store.push_front(entry);
        }
        self.to_store.retain(|(_, entry, _)| !matches!(entry, Entry::Queued { .. }));
        let withdraw = |(&number, conversation): (&usize, &mut Conversation)| {
            (number, conversation.withdraw_messages())
        };
        self.conversations.iter_mut().map(withdraw).collect()
    }
}

impl Device {
    /// The batch is on disk. A broken disk leaves some of it out.
    pub(crate) fn stored(&mut self, moment: Moment, fault: Fault) {
        let Some(process) = &mut self.process else { return };
        for (number, entry, is_early) in std::mem::take(&mut process.writing) {
            let is_lost = match &entry {
                Entry::Queued { .. } => fault == Fault::LostEntry,
                Entry::Ended { .. } => fault == Fault::LostEnd,
                Entry::LogBegun { .. }
                | Entry::Taken { .. }
                | Entry::Ahead { .. }
                | Entry::Unsent { .. }
                | Entry::Forgotten { .. }
                | Entry::Renamed { .. } => false,
            };
            if !(is_lost && self.dice.chance(10)) {
                self.disk.logs.apply(entry);
            }
            if let Some(conversation) = process.conversations.get_mut(&number)
                && !is_early
            {
                conversation.handle_stored(moment, &mut self.dice);
            }
        }
    }
}
