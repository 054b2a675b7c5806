//! What happened on a shard, since its start.

use hushwire_wire::control::Undelivered;

/// Reports to senders, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// `offline`.
    pub offline: u64,
    /// `busy`.
    pub busy: u64,
    /// `refused`.
    pub refused: u64,
    /// `too_large`.
    pub too_large: u64,
}

impl Reports {
    pub(crate) fn count(&mut self, reason: Undelivered) {
        let counter = match reason {
            Undelivered::Offline => &mut self.offline,
            Undelivered::Busy => &mut self.busy,
            Undelivered::Refused => &mut self.refused,
            Undelivered::TooLarge => &mut self.too_large,
        };
        *counter += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.offline + self.busy + self.refused + self.too_large
    }
}

/// Counters of one shard; they only grow, but for the gauges at the end. None is about one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cells received of all kinds, from devices.
    pub cells_in: u64,
    /// Routed cells given to a recipient's sealed output.
    pub cells_out: u64,
    /// Cells sent to another shard.
    pub cells_crossed_out: u64,
    /// Cells that came from another shard.
    pub cells_crossed_in: u64,
    /// Cells that waited in a slot.
    pub cells_queued: u64,
    /// Cover cells received.
    pub covers_in: u64,
    /// Cover cells sent.
    pub covers_out: u64,
    /// Control messages sent.
    pub controls_out: u64,
    /// Cells for a connection that no longer exists.
    pub cells_stale: u64,
    /// Cells over a rate limit.
    pub cells_over_rate: u64,
    /// UNDELIVERABLE sent to devices of this shard.
    pub undeliverable: Reports,
    /// Refusals beyond those that are answered.
    pub refusals_silenced: u64,
    /// Cells for an absent device that hides its presence.
    pub hidden_silenced: u64,
    /// Reports whose sender was gone.
    pub reports_lost: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections not taken: handshakes of one source.
    pub turned_source: u64,
    /// Connections not taken: any other reason.
    pub turned_other: u64,
    /// Connections handed to their home.
    pub handed_over: u64,
    /// Connections taken from another shard.
    pub taken_over: u64,
    /// Devices admitted.
    pub admitted: u64,
    /// Devices denied.
    pub denied: u64,
    /// Connections displaced by a newer one of the same device.
    pub displaced: u64,
    /// Alarms raised for displacements.
    pub displacement_alarms: u64,
    /// Connections closed for breaking the protocol.
    pub closed_malformed: u64,
    /// Connections closed for silence.
    pub closed_idle: u64,
    /// Connections closed before they introduced themselves.
    pub closed_deadline: u64,
    /// Connections closed because they do not read what they are told.
    pub closed_backlog: u64,
    /// Questions asked of the store.
    pub store_questions: u64,
    /// Cells for an absent device answered from the cache.
    pub absent_cached: u64,
    /// Pairings that met.
    pub paired: u64,
    /// Slots that fell due while the sealed stage was full.
    pub slots_missed: u64,
    /// Gauge: connections now.
    pub connections: u64,
    /// Gauge: connections that have not been welcomed.
    pub unauthenticated: u64,
    /// Gauge: bytes that wait in slots.
    pub egress_pool_bytes: u64,
    /// The most bytes that ever waited in slots.
    pub egress_pool_bytes_high: u64,
}
