//! What is said before cells flow: a challenge that nobody has to answer, and a welcome without limits.

use aws_lc_rs::rand;
use hushwire_wire::control::{Control, CoverMode, HopLimits, Welcome, enclose};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::VERSION;

/// The cell of a CHALLENGE; `None` without randomness.
pub(crate) fn challenge() -> Option<Vec<u8>> {
    let mut nonce = [0; 32];
    rand::fill(&mut nonce).ok()?;
    let relay = RelayId::new([0xf1; 32]);
    enclose(&Control::Challenge { nonce, relay, versions: vec![VERSION] }.encode())
}

/// The cell of a WELCOME.
pub(crate) fn welcome() -> Option<Vec<u8>> {
    let welcome = Control::Welcome(Welcome {
        shard: 0,
        shards: 1,
        region: "floor".to_owned(),
        cover: CoverMode::Off,
        limits: HopLimits {
            cells_per_s: u32::MAX,
            bytes_per_s: u64::MAX >> 1,
            egress_bytes: u32::MAX,
            idle_ms: u32::MAX,
        },
        replaced: false,
        pins: Vec::new(),
        quic_ids: Vec::new(),
    });
    enclose(&welcome.encode())
}
