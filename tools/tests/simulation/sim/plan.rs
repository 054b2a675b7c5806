//! What a seed stands for: who there is, what they say, and what goes wrong.

use hushwire::conversation::OutboxLimits;
use hushwire_engine::EngineLimits;

use super::random::Dice;

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;
const DAY_S: i64 = 86_400;

/// How a part is broken, to see whether a checker notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Messages are sent before they are on disk.
    SentBeforeStored,
    /// The peer hears of an acknowledgement before the cursor is on disk.
    AcknowledgedBeforeStored,
    /// Applications hear of an end before it is on disk.
    EndToldBeforeStored,
    /// Now and then the disk says that it has a message, and has not.
    LostEntry,
    /// Now and then the disk forgets how a message ended.
    LostEnd,
    /// Now and then an application is handed a message twice.
    HandedTwice,
    /// Now and then a message changes between the library and the application.
    ChangedMessage,
    /// An application confirms what it has not taken.
    ConfirmedUntaken,
    /// The library forgets the cursors when it starts.
    ForgottenCursor,
    /// The reader of a stream misses a byte now and then.
    StreamHole,
    /// Nobody keeps the bound of an outbox.
    UnboundedOutbox,
    /// The bound of a device's queue at the relay is not kept.
    UnboundedQueue,
    /// From some time on the relay takes cells and delivers nothing.
    DeafRelay,
}

impl Fault {
    /// Every way in which something can be broken.
    pub(crate) const ALL: [Self; 13] = [
        Self::SentBeforeStored,
        Self::AcknowledgedBeforeStored,
        Self::EndToldBeforeStored,
        Self::LostEntry,
        Self::LostEnd,
        Self::HandedTwice,
        Self::ChangedMessage,
        Self::ConfirmedUntaken,
        Self::ForgottenCursor,
        Self::StreamHole,
        Self::UnboundedOutbox,
        Self::UnboundedQueue,
        Self::DeafRelay,
    ];

    /// The checkers that may notice it.
    pub(crate) const fn checkers(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::HandedTwice | Self::ForgottenCursor => &["exactly once"],
            // Its sender has no end for what it forgot, or its recipient what nobody gave.
            Self::SentBeforeStored => &["exactly once", "one end", "no forgery"],
            Self::AcknowledgedBeforeStored
            | Self::EndToldBeforeStored
            | Self::LostEntry
            | Self::LostEnd
            | Self::ConfirmedUntaken => &["one end"],
            Self::ChangedMessage => &["no forgery"],
            Self::StreamHole => &["whole"],
            Self::UnboundedOutbox | Self::UnboundedQueue => &["bounded"],
            Self::DeafRelay => &["live"],
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// A connection is cut, and both ends notice.
    Cut { device: usize },
    /// A connection carries nothing any more, and nobody notices but by the silence.
    Silence { device: usize },
    /// The relay is killed; a new one has the rows of the store and nothing else.
    KillRelay { down_nanos: u64 },
    /// A process is killed. When it starts again, its wall clock has been set.
    Kill { device: usize, down_nanos: u64, clock_s: i64 },
    /// A device is never seen again.
    Lose { device: usize },
    /// A device does not read from its connection.
    StopReading { device: usize, nanos: u64 },
    /// An application does nothing.
    Sleep { device: usize, nanos: u64 },
    /// A disk takes nothing.
    FailDisk { device: usize, nanos: u64 },
    /// A backup is made of a device's disk.
    Backup { device: usize },
    /// A device is killed, and starts with its backup.
    Restore { device: usize, down_nanos: u64 },
}

/// What a hostile relay does to cells, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hostility {
    pub(crate) drops: u64,
    pub(crate) delays: u64,
    pub(crate) repeats: u64,
    pub(crate) replays: u64,
    pub(crate) changes: u64,
    pub(crate) swaps: u64,
    pub(crate) lies: u64,
    /// Reports that are swallowed.
    pub(crate) hides: u64,
    pub(crate) delay_nanos: u64,
}

/// How an application goes about its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// It takes them in order.
    pub(crate) ordered: bool,
    /// It does something about so often.
    pub(crate) pause_nanos: u64,
    /// How likely it decides about a message when it could, in percent.
    pub(crate) decides: u64,
    pub(crate) refuses: u64,
    pub(crate) gives_back: u64,
    /// It dies between its transaction and the confirmation.
    pub(crate) dies: u64,
    /// It confirms at once; else some time later.
    pub(crate) confirms_at_once: u64,
    /// It sends so many messages, of which so many expire, in percent.
    pub(crate) messages: u64,
    pub(crate) expires: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    /// One manner for each device, and the account it belongs to.
    pub(crate) manners: Vec<Manner>,
    pub(crate) accounts: Vec<u8>,
    /// Who sends whom how many bytes by a stream.
    pub(crate) transfers: Vec<(usize, usize, usize)>,
    /// In percent, messages of up to 200 KiB and messages beyond.
    pub(crate) large: u64,
    pub(crate) huge: u64,
    /// Trouble ends here.
    pub(crate) acting_nanos: u64,
    /// By then everything has come to its end.
    pub(crate) settling_nanos: u64,
    pub(crate) delay_nanos: u64,
    pub(crate) store_nanos: u64,
    pub(crate) disk_nanos: u64,
    pub(crate) inbox_cells: usize,
    pub(crate) troubles: Vec<(u64, Trouble)>,
    pub(crate) hostility: Option<Hostility>,
    pub(crate) limits: EngineLimits,
    pub(crate) outbox: OutboxLimits,
    pub(crate) fault: Fault,
}

impl Plan {
    pub(crate) fn draw(seed: u64, fault: Fault) -> Self {
        let mut dice = Dice::new(seed, 1);
        let devices = *dice.pick(&[2, 2, 2, 2, 3, 3, 4, 6]);
        let acting_nanos = dice.between(4, 40) * SECOND;
        let egress_bytes_max = *dice.pick(&[256 * 1024, 512 * 1024, 1024 * 1024]);
        let limits = EngineLimits {
            connections_max: 32,
            unauthenticated_max: 16,
            handshakes_per_s: 32,
            cells_per_s: *dice.pick(&[100, 500, 2_000]),
            egress_bytes_max,
            egress_pool_bytes: egress_bytes_max as usize * *dice.pick(&[1, 2, 8]),
            ..EngineLimits::default()
        };
        let is_small = dice.chance(20);
        let outbox = if is_small {
            OutboxLimits { messages: 8, bytes: 64 * 1024 }
        } else {
            OutboxLimits::default()
        };
        let transfers = (0..*dice.pick(&[0, 0, 1, 1, 2, 3])).map(|_| {
            let from = dice.below(devices) as usize;
            let to = (from + 1 + dice.below(devices - 1) as usize) % devices as usize;
            let length = *dice.pick(&[0, 1, 5_000, 60_000, 250_000, 250_000, 1_500_000]);
            (from, to, dice.between(length / 2, length) as usize)
        });
        let transfers = transfers.collect();
        let hostility = dice.chance(33).then(|| Hostility::draw(&mut dice));
        Self {
            seed,
            shards: *dice.pick(&[1, 1, 2, 3]),
            manners: (0..devices).map(|_| Manner::draw(&mut dice)).collect(),
            accounts: (0..devices).map(|_| dice.below(3) as u8).collect(),
            transfers,
            large: *dice.pick(&[0, 5, 15]),
            huge: *dice.pick(&[0, 0, 1]),
            acting_nanos,
            settling_nanos: 1_200 * SECOND,
            delay_nanos: *dice.pick(&[1, 10, 50, 200]) * MILLI,
            store_nanos: *dice.pick(&[1, 20, 500]) * MILLI,
            disk_nanos: *dice.pick(&[1, 5, 30, 300]) * MILLI,
            inbox_cells: *dice.pick(&[4, 32, 256]),
            troubles: troubles(devices, acting_nanos, &mut dice),
            hostility,
            limits,
            outbox,
            fault,
        }
    }

    /// What the engine is given: the limits it should keep, unless it is broken in that.
    pub(crate) fn engine_limits(&self) -> EngineLimits {
        if self.fault != Fault::UnboundedQueue {
            return self.limits;
        }
        let egress_bytes_max = u32::MAX / 2;
        EngineLimits { egress_bytes_max, egress_pool_bytes: usize::MAX / 4, ..self.limits }
    }
}

impl Hostility {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            drops: *dice.pick(&[0, 2, 10, 40]),
            delays: *dice.pick(&[0, 5, 30]),
            repeats: *dice.pick(&[0, 5, 20]),
            replays: *dice.pick(&[0, 5, 20]),
            changes: *dice.pick(&[0, 2, 10]),
            swaps: *dice.pick(&[0, 2, 10]),
            lies: *dice.pick(&[0, 2, 10]),
            hides: *dice.pick(&[0, 20, 100]),
            delay_nanos: *dice.pick(&[20, 300, 5_000]) * MILLI,
        }
    }
}

impl Manner {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            ordered: dice.chance(60),
            pause_nanos: *dice.pick(&[20, 100, 400]) * MILLI,
            decides: *dice.pick(&[20, 60, 95]),
            refuses: *dice.pick(&[0, 0, 5, 20]),
            gives_back: *dice.pick(&[0, 0, 5]),
            dies: *dice.pick(&[0, 0, 1]),
            confirms_at_once: *dice.pick(&[100, 50]),
            messages: dice.between(2, 40),
            expires: *dice.pick(&[0, 0, 20]),
        }
    }
}

fn troubles(devices: u64, acting_nanos: u64, dice: &mut Dice) -> Vec<(u64, Trouble)> {
    let mut troubles = Vec::new();
    let restored = dice.chance(12).then(|| dice.below(devices) as usize);
    for _ in 0..dice.between(0, 9) {
        let at = dice.below(acting_nanos);
        let device = dice.below(devices) as usize;
        let most = *dice.pick(&[100, 3_000, 20_000]);
        let down_nanos = dice.between(1, most) * MILLI;
        let nanos = dice.between(100, 8_000) * MILLI;
        // A clock behind the times of a restored keystore would be a device that nobody believes for days.
        let is_restored = restored == Some(device);
        let clock_s = match dice.below(6) {
            0 => dice.between(0, 3 * DAY_S as u64) as i64,
            1 if !is_restored => -(dice.between(0, 3 * DAY_S as u64) as i64),
            _ => 0,
        };
        let trouble = match dice.below(20) {
            0..=3 => Trouble::Cut { device },
            4 => Trouble::Silence { device },
            5..=7 => Trouble::KillRelay { down_nanos: down_nanos / 4 },
            8..=13 => Trouble::Kill { device, down_nanos, clock_s },
            14..=15 => Trouble::StopReading { device, nanos },
            16..=17 => Trouble::Sleep { device, nanos },
            _ => Trouble::FailDisk { device, nanos },
        };
        troubles.push((at, trouble));
    }
    if let Some(device) = restored {
        let (first, last) = (dice.below(acting_nanos), dice.below(acting_nanos));
        let down_nanos = dice.between(1, 3_000) * MILLI;
        troubles.push((first.min(last), Trouble::Backup { device }));
        troubles.push((first.max(last) + 1, Trouble::Restore { device, down_nanos }));
    } else if devices > 2 && dice.chance(15) {
        troubles.push((dice.below(acting_nanos), Trouble::Lose { device: 0 }));
    }
    troubles
}
