//! What a seed stands for.

use hushwire_engine::EngineLimits;
use hushwire_wire::cell::Class;

use super::random::Random;

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;

/// How the engine is broken, to see whether a checker notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The bound of a device's queue is not kept.
    UnboundedQueue,
    /// Now and then a verdict names another connection.
    MisroutedVerdict,
    /// Connections are found by index alone.
    IgnoredGeneration,
    /// A slot is given out again while its cell waits.
    SlotReusedEarly,
    /// Now and then a report is swallowed.
    LostReport,
    /// Now and then a report is made twice.
    DoubledReport,
    /// Under constant cover a real cell leaves beside the slots.
    EagerCell,
}

impl Fault {
    /// Every way in which the engine can be broken.
    pub(crate) const ALL: [Self; 7] = [
        Self::UnboundedQueue,
        Self::MisroutedVerdict,
        Self::IgnoredGeneration,
        Self::SlotReusedEarly,
        Self::LostReport,
        Self::DoubledReport,
        Self::EagerCell,
    ];

    /// The checkers that may notice it.
    pub(crate) fn checkers(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::UnboundedQueue => &["bounded"],
            Self::IgnoredGeneration => &["no bleed", "bounded"],
            Self::MisroutedVerdict | Self::SlotReusedEarly => &["no bleed"],
            Self::LostReport | Self::DoubledReport => &["accounted"],
            Self::EagerCell => &["unobservable"],
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) devices: usize,
    /// Devices act for so long; then the world settles.
    pub(crate) acting_nanos: u64,
    pub(crate) settling_nanos: u64,
    /// Mean time between two actions of a device.
    pub(crate) pause_nanos: u64,
    /// The largest burst of cells.
    pub(crate) burst: u64,
    /// The longest delay of a link.
    pub(crate) delay_nanos: u64,
    /// The longest time the store takes.
    pub(crate) store_nanos: u64,
    /// Cells one shard's inbox holds for another.
    pub(crate) inbox_cells: usize,
    /// Constant cover: size and interval of slots, in both directions.
    pub(crate) slots: Option<(Class, u64)>,
    pub(crate) payload: bool,
    pub(crate) drains: bool,
    /// What the checkers hold the engine to.
    pub(crate) limits: EngineLimits,
    pub(crate) fault: Fault,
}

impl Plan {
    /// Everything goes: floods, cuts, rude devices, requests.
    pub(crate) fn open(seed: u64, fault: Fault) -> Self {
        let mut random = Random::new(seed, 1);
        let egress_bytes_max = *random.pick(&[128 * 1024, 256 * 1024, 1024 * 1024]);
        let limits = EngineLimits {
            connections_max: 48,
            unauthenticated_max: 24,
            cells_per_s: *random.pick(&[100, 500, 2_000]),
            egress_bytes_max,
            egress_pool_bytes: egress_bytes_max as usize * *random.pick(&[1, 2, 8]),
            ..EngineLimits::default()
        };
        Self {
            seed,
            shards: random.between(1, 4) as u16,
            devices: random.between(2, 10) as usize,
            acting_nanos: random.between(2, 12) * SECOND,
            settling_nanos: 20 * SECOND,
            pause_nanos: *random.pick(&[50, 200, 1_000]) * MILLI,
            burst: *random.pick(&[4, 20, 60, 300]),
            delay_nanos: *random.pick(&[1, 20, 200]) * MILLI,
            store_nanos: *random.pick(&[1, 20, 1_000]) * MILLI,
            inbox_cells: *random.pick(&[2, 16, 256]),
            slots: None,
            payload: true,
            drains: random.chance(50),
            limits,
            fault,
        }
    }

    /// Constant cover on every link.
    pub(crate) fn constant(seed: u64, payload: bool, fault: Fault) -> Self {
        let mut random = Random::new(seed, 2);
        let class = *random.pick(&[Class::C2, Class::C3, Class::C4, Class::C5]);
        let interval = *random.pick(&[50, 100, 400]) * MILLI;
        Self {
            acting_nanos: random.between(2, 6) * SECOND,
            settling_nanos: 5 * SECOND,
            delay_nanos: *random.pick(&[1, 20]) * MILLI,
            store_nanos: *random.pick(&[1, 20]) * MILLI,
            burst: 6,
            slots: Some((class, interval)),
            payload,
            limits: EngineLimits { connections_max: 48, ..EngineLimits::default() },
            ..Self::open(seed, fault)
        }
    }

    /// What the engine is given: the limits it should keep, unless it is broken in that.
    pub(crate) fn engine_limits(&self) -> EngineLimits {
        match self.fault {
            Fault::UnboundedQueue => EngineLimits {
                egress_bytes_max: u32::MAX / 2,
                egress_pool_bytes: usize::MAX / 4,
                ..self.limits
            },
            Fault::None
            | Fault::MisroutedVerdict
            | Fault::IgnoredGeneration
            | Fault::SlotReusedEarly
            | Fault::LostReport
            | Fault::DoubledReport
            | Fault::EagerCell => self.limits,
        }
    }
}
