//! That padded acknowledgements do not silence this end.
//!
//! quinn-proto pads every datagram of a connection or none, and what is padded counts as in flight (RFC 9002 §2). Nobody
//! acknowledges an acknowledgement by itself, so a device that mostly receives would fill its congestion window with them
//! and fall silent. It asks for an acknowledgement (a PING) whenever a quarter of a window has gone without one: all
//! that went before is acknowledged with it.

use quinn_proto::{Connection, Transmit};

/// What has been sent since the peer was last heard to acknowledge something.
#[derive(Debug, Default)]
pub(super) struct Padding {
    bytes: u64,
    /// ACK frames received when that was begun to be counted.
    acknowledged: u64,
}

/// The part of the congestion window that may go without an acknowledgement. Some of it may be counted twice, or not at
/// all, between two looks.
const PARTS: u64 = 4;

impl Padding {
    /// To be called before datagrams are made.
    pub(super) fn before_sending(&mut self, connection: &mut Connection) {
        if self.bytes * PARTS < connection.congestion_state().window() {
            return;
        }
        self.bytes = 0;
        let acknowledged = connection.stats().frame_rx.acks;
        if std::mem::replace(&mut self.acknowledged, acknowledged) == acknowledged {
            connection.ping();
        }
    }

    /// So much was sent.
    pub(super) fn sent(&mut self, transmit: &Transmit) {
        self.bytes += transmit.size as u64;
    }
}
