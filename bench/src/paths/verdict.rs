//! Where a cell goes, on a shard with many devices: each sends a run of cells, as a busy connection does, and
//! what was sealed drains when its run is over.

use std::hint::black_box;

use hushwire_engine::store::{DeviceRow, Reach};
use hushwire_engine::{
    Command, Config, ConnId, Engine, EngineLimits, Envelope, Introduction, Origin, ShardId,
    SourcePrefix, StoreAnswer, StoreQuestion, Time, Verdict, home_of,
};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{CoverMode, Transport};
use hushwire_wire::id::{AccountId, DeviceId, RelayId};

/// Cells that a device sends before the next one has its turn.
const RUN: u32 = 32;
/// Time between two cells: a busy shard's.
const CELL_NANOS: u64 = 300;
/// The size of all cells: the engine sees only its number.
const CLASS: Class = Class::C0;
const HOME_KEY: [u8; 16] = [1; 16];

/// Who is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The same device as in the last cell: the flow cache knows the way.
    Same,
    /// Another device with every cell: one keyed hash and one table.
    Another,
    /// A device that has not let the sender in; the answer is known, and the sender has had its refusals.
    Closed,
    /// The same device as in the last cell, which lives on another shard.
    Elsewhere,
    /// The cells come from another shard, and their recipients live here.
    Arrival,
}

/// A shard, its devices, and whose turn it is.
#[derive(Debug)]
pub struct Shard {
    engine: Engine,
    recipient: Recipient,
    devices: Vec<Device>,
    now: Time,
    /// Whose turn it is, and how many cells are left of it.
    at: usize,
    left: u32,
    /// To whom the last cell went where every cell goes to another one.
    last: usize,
    /// What was sealed in this turn.
    sealed: Vec<(ConnId, u32)>,
}

#[derive(Debug)]
struct Device {
    conn: ConnId,
    id: DeviceId,
    peer: DeviceId,
    sent: u64,
}

impl Shard {
    /// A shard with this many devices, at least 2 and an even number, each of which has sent already.
    ///
    /// # Panics
    /// If the engine does not let one of them in.
    #[must_use]
    pub fn new(recipient: Recipient, devices: u32) -> Self {
        let shards = if recipient == Recipient::Elsewhere { 2 } else { 1 };
        let here = living_on(ShardId(0), shards, devices);
        let peers = match recipient {
            Recipient::Elsewhere => living_on(ShardId(1), shards, devices),
            Recipient::Same | Recipient::Another | Recipient::Closed | Recipient::Arrival => {
                (0..here.len()).map(|at| here[at ^ 1]).collect()
            }
        };
        let mut engine = engine(shards, devices);
        let account = |at: usize| {
            let number = if recipient == Recipient::Closed { at as u128 } else { 0 };
            AccountId::new(number.to_le_bytes())
        };
        let devices: Vec<Device> = (here.iter().zip(&peers).enumerate())
            .map(|(at, (&id, &peer))| {
                let conn = connect(&mut engine, id, account(at));
                Device { conn, id, peer, sent: 1 }
            })
            .collect();
        let (now, at, last) = (Time::from_millis(1_000), 0, 0);
        let (left, sealed) = (RUN, Vec::with_capacity(RUN as usize));
        let mut shard = Self { engine, recipient, devices, now, at, left, last, sealed };
        // Twice each: whoever is not let in has then heard of it as often as it is told in a minute.
        for _ in 0..2 * shard.devices.len() as u32 * RUN {
            shard.step();
        }
        shard
    }

    /// The next cell: its header, the verdict, and the drain of what a turn has sealed.
    #[inline]
    pub fn step(&mut self) -> Verdict {
        if self.left == 0 {
            self.end_turn();
        }
        self.left -= 1;
        self.now = self.now.after_nanos(CELL_NANOS);
        let verdict = if self.recipient == Recipient::Arrival {
            self.engine.handle_arrival(&self.envelope(), self.now)
        } else {
            let header = self.header();
            let conn = self.devices[self.at].conn;
            self.engine.handle_cell(conn, &black_box(header), self.now)
        };
        if let Verdict::Forward { to, .. } = verdict {
            let bytes = EngineLimits::sealed_len(CLASS);
            match self.sealed.last_mut() {
                Some((last, sealed)) if *last == to => *sealed += bytes,
                Some(_) | None => self.sealed.push((to, bytes)),
            }
        }
        verdict
    }

    fn header(&mut self) -> Header {
        if self.recipient == Recipient::Another {
            self.last = (self.last + 1) % self.devices.len();
        }
        let another = self.devices[self.last].id;
        let from = &mut self.devices[self.at];
        let peer = if self.recipient == Recipient::Another { another } else { from.peer };
        let header = Header::unicast(CLASS, 0, from.sent, peer);
        from.sent += 1;
        header
    }

    fn envelope(&self) -> Envelope {
        let Device { conn, peer, sent, .. } = self.devices[self.at];
        let origin = Origin { shard: ShardId(0), conn, lane: 0, counter: sent, heard: self.now };
        black_box(Envelope {
            sender: peer,
            sender_account: AccountId::new([0; 16]),
            recipient: self.devices[self.at].id,
            class: CLASS,
            urgent: false,
            origin,
        })
    }

    fn end_turn(&mut self) {
        for (to, bytes) in self.sealed.drain(..) {
            self.engine.handle_drained(to, bytes);
        }
        settle(&mut self.engine, self.now);
        self.at = (self.at + 1) % self.devices.len();
        self.left = RUN;
    }
}

/// The first IDs that live on a shard.
fn living_on(shard: ShardId, shards: u16, count: u32) -> Vec<DeviceId> {
    let ids = (0_u32..).map(|number| {
        let mut bytes = [0xaa; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        DeviceId::new(bytes)
    });
    ids.filter(|id| home_of(&HOME_KEY, shards, id) == shard).take(count as usize).collect()
}

fn engine(shards: u16, devices: u32) -> Engine {
    Engine::new(Config {
        shard: ShardId(0),
        shards,
        home_key: HOME_KEY,
        table_key: [2; 16],
        relay: RelayId::new([3; 32]),
        region: String::new(),
        quic_ids: 0,
        limits: EngineLimits {
            connections_max: devices,
            cells_per_s: 1_000_000_000,
            bytes_per_s: u64::MAX / 2,
            unauthenticated_max: devices,
            handshakes_per_s: 1_000_000,
            ..EngineLimits::default()
        },
        seed: 4,
        unix_ms_at_zero: 0,
    })
}

fn connect(engine: &mut Engine, device: DeviceId, account: AccountId) -> ConnId {
    let now = Time::from_millis(1);
    let conn = engine.handle_accept(SourcePrefix(1), now).expect("room");
    assert_eq!(engine.handle_cell(conn, &Header::control(CLASS, 0), now), Verdict::ReadControl);
    let introduction = Introduction {
        device,
        transport: Transport::Tls,
        cover: CoverMode::Off,
        token: None,
        name: None,
        software: String::new(),
    };
    engine.handle_hello(conn, introduction, now);
    let Some(Command::AskStore { ticket, .. }) = engine.poll_command() else {
        panic!("the store is asked whether a device may connect")
    };
    let row = DeviceRow { account, hidden: false, grants: Vec::new() };
    engine.handle_store(ticket, StoreAnswer::Admitted(row), now);
    settle(engine, now);
    conn
}

/// Carries out what the engine wants: control cells leave at once, and the store lets nobody in.
fn settle(engine: &mut Engine, now: Time) {
    while let Some(command) = engine.poll_command() {
        match command {
            Command::Send { conn, control } => {
                let class = Class::for_body(4 + control.encode().len()).expect("a small cell");
                engine.handle_drained(conn, EngineLimits::sealed_len(class));
            }
            Command::AskStore { ticket, question: StoreQuestion::Reach { .. } } => {
                engine.handle_store(ticket, StoreAnswer::Reach(Reach::Refused), now);
            }
            other @ (Command::AskStore { .. }
            | Command::Close { .. }
            | Command::HandOver { .. }
            | Command::Post { .. }
            | Command::Release(_)
            | Command::Alarm(_)) => panic!("cells that are well formed do not cause {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hushwire_engine::Stage;

    use super::*;

    fn check(recipient: Recipient, expect: impl Fn(&Verdict) -> bool) {
        let mut shard = Shard::new(recipient, 64);
        for _ in 0..1_000 {
            let verdict = shard.step();
            assert!(expect(&verdict), "{recipient:?}: {verdict:?}");
        }
    }

    #[test]
    fn cells_go_where_they_are_meant_to() {
        let sealed =
            |verdict: &Verdict| matches!(verdict, Verdict::Forward { stage: Stage::Sealed, .. });
        check(Recipient::Same, sealed);
        check(Recipient::Another, sealed);
        check(Recipient::Arrival, sealed);
        check(Recipient::Closed, |verdict| *verdict == Verdict::Drop);
        check(Recipient::Elsewhere, |verdict| {
            matches!(verdict, Verdict::Port { to: ShardId(1), .. })
        });
    }
}
