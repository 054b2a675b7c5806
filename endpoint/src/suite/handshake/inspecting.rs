//! Two honest devices shake hands over a relay that does as a fuzzer says.

use hushwire_wire::cell::Class;

use super::{AwaitHs2, AwaitHs3, Established, Initiator, Refused, Responder, Setup};
use crate::identity::Identity;
use crate::suite::keys::{PairKey, Psk};
use crate::suite::random::Random;
use crate::suite::{Minimum, Suite};

/// Counts; a fuzzer's finding must replay.
#[derive(Debug)]
struct Counter(u64);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// One end: what it waits for, and what it has come to.
#[derive(Debug, Default)]
struct Ends {
    initiator: Option<AwaitHs2>,
    responder: Option<AwaitHs3>,
    initiated: Option<Established>,
    responded: Option<Established>,
}

/// Messages handled in one run.
const STEPS_MAX: usize = 24;

/// Any bytes as a relay's doings.
///
/// # Panics
/// Where the two ends finish with different keys, or one finishes on a message that nobody sent.
pub(crate) fn inspect_states(data: &[u8]) {
    let (one, two) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
    let psk = Psk::Session(PairKey::new([3; 32]));
    let setup = |peer: &Identity| Setup {
        peer: peer.device_id(),
        psk: psk.clone(),
        minimum: Minimum::Hybrid,
        class_max: Class::C7,
    };
    let mut random = Counter(7);
    let mut ends = Ends::default();
    // All that was ever sent, which the relay chooses from.
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let (mut last_sent, mut last_seen) = (0, 0);
    for step in data.chunks(4).take(STEPS_MAX) {
        let byte = |at: usize| step.get(at).copied().unwrap_or(0);
        if byte(0) % 8 == 0 || sent.is_empty() {
            let started =
                Initiator::start(setup(&two), Suite::HybridAes, &one, 5, last_sent, &mut random);
            let (state, hs1) = started.expect("a hybrid suite is never a downgrade");
            last_sent = state.time_ns();
            (ends.initiator, ends.initiated) = (Some(state), None);
            sent.push(hs1);
            continue;
        }
        let chosen = usize::from(byte(1)) % sent.len();
        let mut message = sent[chosen].clone();
        let changed = byte(2) != 0;
        if changed {
            let at = usize::from(byte(3)) * 7 % message.len();
            message[at] ^= byte(2);
        }
        match byte(0) % 8 {
            1 | 2 => {
                let setup = setup(&one);
                let answered = Responder::on_hs1(&setup, &two, &message, last_seen, &mut random);
                if let Ok((state, hs2)) = answered {
                    assert!(state.time_ns() > last_seen, "no time twice");
                    last_seen = state.time_ns();
                    (ends.responder, ends.responded) = (Some(state), None);
                    sent.push(hs2);
                }
            }
            3 | 4 => {
                if let Some(state) = ends.initiator.take() {
                    match state.on_hs2(&one, &message) {
                        Ok((established, hs3)) => {
                            assert!(!changed, "nobody takes a changed HS2");
                            ends.initiated = Some(established);
                            sent.push(hs3);
                        }
                        Err(Refused { state, .. }) => ends.initiator = Some(*state),
                    }
                }
            }
            _ => {
                if let Some(state) = ends.responder.take() {
                    match state.on_hs3(&message) {
                        Ok(established) => {
                            assert!(!changed, "nobody takes a changed HS3");
                            ends.responded = Some(established);
                        }
                        Err(Refused { state, .. }) => ends.responder = Some(*state),
                    }
                }
            }
        }
        ends.check();
    }
}

impl Ends {
    /// An end that has finished by the same HS1 as the other has the same keys.
    fn check(&self) {
        let (Some(one), Some(two)) = (&self.initiated, &self.responded) else { return };
        if one.time_ns() == two.time_ns() {
            let keys = (one.session_keys(), two.session_keys());
            assert_eq!(keys.0.exporter(), keys.1.exporter(), "both ends have the same keys");
        }
    }
}
