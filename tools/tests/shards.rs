//! Two shards, many devices: every message arrives, whichever shards its ends live on.

mod support;

use std::collections::HashMap;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Request};
use support::raw::Device;

const DEVICES: usize = 200;
const ROUNDS: usize = 30;

/// Knuth's MMIX generator: the pairs are the same in every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn every_message_between_random_pairs_arrives() {
    let relay = RelayProcess::start(&support::options().shards(2)).expect("it starts");
    let mut devices: Vec<Device> = (0..DEVICES).map(|_| Device::enrol(&relay)).collect();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    let mut random = Lcg(7);
    let pairs: Vec<(usize, usize)> =
        (0..DEVICES).map(|from| (from, (from + 1 + random.below(DEVICES - 1)) % DEVICES)).collect();
    for &(from, to) in &pairs {
        let answer = devices[to].ask(from as u32, Request::Grant { device: ids[from] });
        assert!(matches!(answer, Control::Done { .. }), "{answer:?}");
    }

    let classes = [Class::C0, Class::C3, Class::C6, Class::C7];
    for round in 0..ROUNDS {
        let mut expected: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
        for &(from, to) in &pairs {
            let text = format!("round {round} from {from}");
            let class = classes[random.below(classes.len())];
            devices[from].send(ids[to], class, text.as_bytes());
            expected.entry(to).or_default().push((from, text));
        }
        for (to, mut messages) in expected {
            while !messages.is_empty() {
                let (header, body) = devices[to].raw.receive().expect("a cell");
                let found = messages.iter().position(|(from, text)| {
                    ids[*from] == header.peer && body.starts_with(text.as_bytes())
                });
                messages.swap_remove(found.expect("a message of this round, from whom it says"));
            }
        }
    }

    let status = relay.status().expect("a status");
    let total = |name: &str| status.totals[name];
    let routed = (DEVICES * ROUNDS) as u64;
    assert_eq!(total("cells_out"), routed, "{:?}", status.totals);
    assert!(total("handed_over") > DEVICES as u64 / 4, "{:?}", status.totals);
    assert_eq!(total("handed_over"), total("taken_over"));
    assert!(total("cells_crossed_out") > routed / 4, "{:?}", status.totals);
    assert_eq!(total("cells_crossed_out"), total("cells_crossed_in"));
    assert_eq!(total("bugs"), 0);
}
