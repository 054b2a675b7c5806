//! A conversation as a fuzzer sees it: behind the encryption, where a paired peer says whatever it likes.

use std::time::{Duration, Instant};

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::Undelivered;
use hushwire_wire::padding::FRAME_OVERHEAD;

use super::limits::{GAPS_MAX, INBOX_BYTES_MAX, MESSAGES_AHEAD_MAX, STREAMS_MAX};
use super::{Conversation, Incoming, Moment, OutboxLimits, PeerKeys, StreamId};
use crate::identity::Identity;
use crate::journal::{Logs, PeerLogs};
use crate::link::CellId;
use crate::suite::Minimum;
use crate::suite::frame_types::{FrameWriter, Frames};
use crate::suite::frames::ConnectionSalt;
use crate::suite::handshake::Role;
use crate::suite::keys::PairKey;
use crate::suite::random::Random;

/// Repeats 251 bytes: a fuzzer's finding must replay.
#[derive(Debug)]
struct Steady(u8);

impl Random for Steady {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(17) % 251;
            *byte = self.0;
        }
    }
}

/// One end, its disk and its application.
struct Bench {
    conversation: Conversation,
    identity: Identity,
    peer: Identity,
    logs: Logs,
    moment: Moment,
    random: Steady,
    held: Vec<Incoming>,
    reading: Vec<StreamId>,
    writing: Vec<StreamId>,
    cells: u64,
}

fn keys() -> PeerKeys {
    PeerKeys {
        pair_key: PairKey::new([3; 32]),
        minimum: Minimum::Hybrid,
        last_sent_ns: 0,
        last_seen_ns: 0,
    }
}

/// Any bytes as what happens to a conversation: the peer's frames, the application's calls, time, the disk, restarts.
///
/// # Panics
/// Where a limit does not hold, what is written is no frames, or a message comes twice: a fault of this crate.
pub(crate) fn inspect(mut data: &[u8]) {
    let mut bench = Bench::new();
    while let Some((&step, rest)) = data.split_first() {
        let length = usize::from(rest.first().copied().unwrap_or(0)) * 2;
        let (argument, left) = rest.split_at(length.min(rest.len()));
        // Only frames take more than a byte.
        data = if step % 16 < 5 { left } else { rest };
        bench.step(step % 16, argument);
        bench.check();
    }
}

impl Bench {
    fn new() -> Self {
        let (identity, peer) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let mut random = Steady(1);
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let moment = Moment { now: Instant::now(), unix_ns: 1_000_000_000_000 };
        let salt = ConnectionSalt::draw(&mut random);
        let (ours, theirs) = (identity.device_id(), peer.device_id());
        let logs = PeerLogs::default();
        let mut conversation = Conversation::new(ours, theirs, keys(), logs, salt, &mut random);
        conversation.handle_connected(salt, moment);
        conversation.on_fresh(Role::Responder);
        Self {
            conversation,
            identity,
            peer,
            logs: Logs::default(),
            moment,
            random,
            held: Vec::new(),
            reading: Vec::new(),
            writing: Vec::new(),
            cells: 0,
        }
    }

    fn step(&mut self, step: u8, argument: &[u8]) {
        let Self { conversation, identity, moment, random, .. } = self;
        let number = argument.first().copied().unwrap_or(0);
        match step {
            0..5 => {
                conversation.on_frames(argument, 256, identity, *moment, true, random);
            }
            5 => {
                let (length, limits) = (usize::from(number) * 40, OutboxLimits::default());
                let expires_s = number.is_multiple_of(3).then_some(moment.unix_s() + 2);
                let bytes = vec![number; length];
                let _full = conversation.push_message(bytes, expires_s, limits, *moment);
            }
            6 => self.held.extend(conversation.hand_out()),
            7 | 8 => self.decide(number),
            9 => self.store(),
            10 => {
                moment.now += Duration::from_millis(u64::from(number) * 50);
                moment.unix_ns += u64::from(number) * 50_000_000;
                conversation.expire(*moment);
            }
            11 | 12 => self.write(number),
            13 => self.streams(number),
            14 => {
                let id = CellId(u64::from(number));
                let reasons = [Undelivered::Busy, Undelivered::Offline, Undelivered::TooLarge];
                let reason = reasons[usize::from(number) % 3];
                conversation.handle_undeliverable(id, reason, *moment, random);
            }
            _ => self.restart(number),
        }
        while self.conversation.poll_event().is_some() {}
    }

    fn decide(&mut self, number: u8) {
        if self.held.is_empty() {
            return;
        }
        let incoming = self.held.remove(usize::from(number) % self.held.len());
        match number % 4 {
            0 => self.conversation.give_back(incoming),
            1 => self.conversation.refuse(incoming.id, u16::from(number)),
            2 => self.conversation.confirm_up_to(incoming.id),
            _ => self.conversation.confirm(incoming.id),
        }
    }

    fn store(&mut self) {
        while let Some(entry) = self.conversation.poll_entry() {
            self.logs.apply(entry);
            self.conversation.handle_stored(self.moment, &mut self.random);
        }
    }

    /// What would go into a cell is frames, whatever came before.
    fn write(&mut self, number: u8) {
        let class = Class::ALL[usize::from(number) % Class::ALL.len()];
        let mut buffer = vec![0; class.body_len() - FRAME_OVERHEAD];
        let mut writer = FrameWriter::new(&mut buffer);
        let mut items = Vec::new();
        self.conversation.write_told(&mut writer, None);
        self.conversation.write_data(&mut writer, &mut items, self.moment.unix_s());
        let length = writer.len();
        assert!(Frames::new(&buffer[..length]).all(|frame| frame.is_ok()), "frames are frames");
        if !items.is_empty() {
            let id = CellId(self.cells);
            self.conversation.flight.on_sent(id, class, items, self.moment.now);
        }
        self.cells += 1;
        assert!(buffer.len() + HEADER_LEN < Class::C7.cell_len());
    }

    fn streams(&mut self, number: u8) {
        let Self { conversation, moment, random, .. } = self;
        match number % 5 {
            0 => self.writing.extend(conversation.streams.open()),
            1 => self.reading.extend(conversation.accept_stream()),
            2 => {
                for id in &self.writing {
                    let _full = conversation.write_stream(*id, &[number; 300]);
                }
            }
            3 => {
                for id in &self.reading {
                    let _over = conversation.read_stream(*id, &mut [0; 500], *moment, random);
                }
            }
            _ => {
                if let Some(id) = self.writing.pop() {
                    let _over = conversation.finish_stream(id);
                    conversation.release_writing(id, *moment);
                }
                if let Some(id) = self.reading.pop() {
                    conversation.release_reading(id, *moment);
                }
            }
        }
    }

    /// The peer, or this device, was started anew.
    fn restart(&mut self, number: u8) {
        if number.is_multiple_of(2) {
            self.conversation.on_fresh(Role::Initiator);
            return;
        }
        let (ours, theirs) = (self.identity.device_id(), self.peer.device_id());
        let salt = ConnectionSalt::draw(&mut self.random);
        let logs = self.logs.peer(&theirs).cloned().unwrap_or_default();
        self.held.clear();
        self.conversation = Conversation::new(ours, theirs, keys(), logs, salt, &mut self.random);
        self.conversation.handle_connected(salt, self.moment);
        self.conversation.on_fresh(Role::Responder);
    }

    fn check(&mut self) {
        self.conversation.inbox.check(INBOX_BYTES_MAX, MESSAGES_AHEAD_MAX, GAPS_MAX);
        assert!(self.reading.len() <= 2 * STREAMS_MAX + 1_024, "streams are bounded");
        self.reading.truncate(STREAMS_MAX);
    }
}
