//! Connection IDs that name a shard and look random.

use std::time::Duration;

use aws_lc_rs::rand;
use hushwire_uring::udp::Steering;
use hushwire_wire::limits::QUIC_ID_BYTES;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

/// Randomness is asked for in blocks of so many IDs: one in as many as there are shards is the shard's own.
const DRAWN_AT_ONCE: usize = 32;

/// Draws the connection IDs of one shard: random ones, until one is steered there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardIds {
    steering: Steering,
    shard: usize,
}

impl ShardIds {
    pub(crate) const fn new(steering: Steering, shard: usize) -> Self {
        Self { steering, shard }
    }

    /// A fresh ID. `None` where the system has no randomness.
    pub(crate) fn draw(&self) -> Option<[u8; QUIC_ID_BYTES]> {
        let mut block = [0; DRAWN_AT_ONCE * QUIC_ID_BYTES];
        loop {
            rand::fill(&mut block).ok()?;
            let (ids, _) = block.as_chunks::<QUIC_ID_BYTES>();
            if let Some(id) = ids.iter().find(|id| self.steering.shard_of_id(*id) == self.shard) {
                return Some(*id);
            }
        }
    }
}

impl ConnectionIdGenerator for ShardIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // An ID that repeats or can be guessed links connections, so there is none without randomness.
        ConnectionId::new(&self.draw().expect("the system has randomness"))
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let ours = id.len() == QUIC_ID_BYTES && self.steering.shard_of_id(id) == self.shard;
        if ours { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        QUIC_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_shard_draws_ids_that_are_steered_to_it() {
        for shards in [1, 2, 3, 64, 256] {
            let steering = Steering::new(0x9e37_79b9, shards);
            for shard in [0, shards / 2, shards - 1] {
                let mut ids = ShardIds::new(steering, shard);
                let drawn: HashSet<_> = (0..100).map(|_| ids.generate_cid()).collect();
                assert_eq!(drawn.len(), 100, "none twice");
                for id in &drawn {
                    assert_eq!(steering.shard_of_id(id), shard, "{shards}");
                    assert!(ids.validate(id).is_ok());
                }
                let other = ShardIds::new(steering, (shard + 1) % shards);
                assert!(shards == 1 || drawn.iter().all(|id| other.validate(id).is_err()));
            }
        }
    }
}
