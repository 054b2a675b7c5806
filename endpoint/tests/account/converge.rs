//! Random operations on several devices, random gossip through a relay that withholds, repeats and reorders: all devices
//! come to the same log, nobody is in it whom no member added, and nothing honest raises an alarm.

use std::collections::BTreeSet;

use crate::support::{add, hear, id, identity, log_of, remove};
use hushwire::account::{AccountLog, LogError, Merge, Operation};
use proptest::prelude::*;

/// Devices that are members from the beginning, and talk.
const DEVICES: u8 = 4;

#[derive(Clone, Debug)]
enum Act {
    Add {
        by: u8,
        number: u8,
    },
    /// Devices remove others that were added, not each other: that is a person's matter.
    Remove {
        by: u8,
        number: u8,
    },
    /// `to` hears what the relay once carried for `from`, however long ago.
    Deliver {
        from: u8,
        to: u8,
        age: u8,
    },
    Restart {
        at: u8,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let device = 0..DEVICES;
    prop_oneof![
        2 => (device.clone(), 10u8..20).prop_map(|(by, number)| Act::Add { by, number }),
        1 => (device.clone(), 10u8..20).prop_map(|(by, number)| Act::Remove { by, number }),
        4 => (device.clone(), 0..DEVICES, 0u8..4)
            .prop_map(|(from, to, age)| Act::Deliver { from, to, age }),
        1 => device.prop_map(|at| Act::Restart { at }),
    ]
}

struct World {
    logs: Vec<AccountLog>,
    /// All that each ever sent, which the relay may show to anybody at any time.
    sent: Vec<Vec<Vec<u8>>>,
    removed: BTreeSet<u8>,
}

impl World {
    fn new() -> Self {
        let log = log_of(DEVICES);
        let copy = |n| AccountLog::join(&log.entries_from(0), &id(n)).expect("a member");
        let logs: Vec<_> = (1..=DEVICES).map(copy).collect();
        let sent = logs.iter().map(|log| vec![log.entries_from(0)]).collect();
        Self { logs, sent, removed: BTreeSet::new() }
    }

    fn run(&mut self, act: &Act) {
        match *act {
            Act::Add { by, number } => {
                let added = add(&mut self.logs[usize::from(by)], by + 1, number);
                let fine = matches!(added, Ok(()) | Err(LogError::Present(_) | LogError::Ended(_)));
                assert!(fine, "{added:?}");
            }
            Act::Remove { by, number } => {
                let removed = remove(&mut self.logs[usize::from(by)], by + 1, number);
                assert!(matches!(removed, Ok(()) | Err(LogError::NotMember(_))), "{removed:?}");
                if removed.is_ok() {
                    self.removed.insert(number);
                }
            }
            Act::Deliver { from, to, age } => self.deliver(from, to, age),
            Act::Restart { at } => {
                let log = &mut self.logs[usize::from(at)];
                *log = AccountLog::decode(&log.encode()).expect("its own bytes");
            }
        }
        for (log, sent) in self.logs.iter().zip(&mut self.sent) {
            let now = log.entries_from(0);
            if sent.last() != Some(&now) {
                sent.push(now);
            }
        }
    }

    fn deliver(&mut self, from: u8, to: u8, age: u8) {
        let sent = &self.sent[usize::from(from)];
        let bytes = sent[sent.len().saturating_sub(1 + usize::from(age))].clone();
        let log = &mut self.logs[usize::from(to)];
        let merge = log.extend(&identity(to + 1), &bytes, 50).expect("honest entries");
        assert!(!matches!(merge, Merge::Forked { .. }), "nobody was dishonest: {merge:?}");
    }

    /// Everybody hears everybody until nothing is new.
    fn settle(&mut self) {
        for _ in 0..20 {
            for to in 0..self.logs.len() {
                for from in 0..self.logs.len() {
                    let heard = self.logs[from].clone();
                    let at = u8::try_from(to).expect("few") + 1;
                    hear(&mut self.logs[to], at, &heard);
                }
            }
            if self.logs.iter().all(|log| log.head() == self.logs[0].head()) {
                return;
            }
        }
        panic!("the devices do not agree");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn all_come_to_the_same_log(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        let mut asked: BTreeSet<u8> = (1..=DEVICES).collect();
        for act in &acts {
            if let Act::Add { number, .. } = act {
                asked.insert(*number);
            }
            world.run(act);
        }
        world.settle();
        let log = &world.logs[0];
        for member in log.members() {
            prop_assert!(asked.iter().any(|number| id(*number) == member.device), "slipped in");
        }
        for number in &world.removed {
            prop_assert!(log.member(&id(*number)).is_none(), "{number} was removed");
        }
        for log in &world.logs {
            prop_assert!(log.waiting().is_empty(), "{:?}", log.waiting());
        }
        // No device ever signed two entries on one parent, on whatever branch.
        let mut signed = BTreeSet::new();
        for bytes in world.sent.iter().flatten() {
            let log = AccountLog::join(bytes, &id(1)).expect("what was sent");
            let heads = log.entries().windows(2);
            for pair in heads {
                if !matches!(pair[1].operation(), Operation::Genesis { .. }) {
                    signed.insert((pair[0].hash(), pair[1].actor(), pair[1].hash()));
                }
            }
        }
        let parents: BTreeSet<_> = signed.iter().map(|(parent, by, _)| (*parent, *by)).collect();
        prop_assert_eq!(parents.len(), signed.len());
    }
}
