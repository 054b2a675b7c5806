//! Any entries, in any batches, opened anew and compacted at any time: the file holds what they amount to.

use std::fs::File;
use std::io;

use proptest::prelude::*;

use super::*;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Delivered),
        any::<u16>().prop_map(|reason| Outcome::Rejected { reason }),
        proptest::option::of(proptest::sample::select(Undelivered::ALL))
            .prop_map(|hint| Outcome::Expired { hint }),
    ]
}

/// Few peers, numbers and logs, so that entries meet; contradictions among them too.
fn entry() -> impl Strategy<Value = Entry> {
    let whose = (0_u8..3).prop_map(peer);
    let log = 0_u64..3;
    let id = (any::<u64>(), any::<u64>())
        .prop_map(|(incarnation, sequence)| MessageId { incarnation, sequence });
    let time = any::<Option<u64>>();
    let queued = (whose.clone(), 0_u64..30, id, any::<u64>(), time.clone(), 0_usize..200);
    prop_oneof![
        1 => (whose.clone(), log.clone(), 0_u64..10)
            .prop_map(|(peer, incarnation, base)| Entry::LogBegun { peer, incarnation, base }),
        8 => queued.prop_map(|(peer, number, id, queued_s, expires_s, length)| {
            let bytes = vec![number as u8; length];
            Entry::Queued { peer, number, id, queued_s, expires_s, bytes }
        }),
        6 => (whose.clone(), 0_u64..30, outcome(), any::<u64>(), time).prop_map(
            |(peer, number, outcome, ended_s, first_sent_s)| {
                Entry::Ended { peer, number, outcome, ended_s, first_sent_s }
            }
        ),
        2 => (whose.clone(), log.clone(), 0_u64..20)
            .prop_map(|(peer, incarnation, next)| Entry::Taken { peer, incarnation, next }),
        2 => (whose.clone(), log, 0_u64..20, any::<Option<u16>>()).prop_map(
            |(peer, incarnation, sequence, refused)| {
                Entry::Ahead { peer, incarnation, sequence, refused }
            }
        ),
        1 => whose.clone().prop_map(|peer| Entry::Forgotten { peer }),
        1 => (whose.clone(), whose.clone()).prop_map(|(peer, to)| Entry::Renamed { peer, to }),
        1 => (whose, proptest::option::of(0_u64..30))
            .prop_map(|(peer, from)| Entry::Unsent { peer, from }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(entry(), 0..8).prop_map(Step::Append),
        1 => Just(Step::Reopen),
    ]
}

/// The machine does not end here, so nothing need be forced, of which there would be very much.
struct Unforced;

impl Medium for Unforced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn open_small(path: &Path) -> (Journal, Logs) {
    let sizes = Sizes { compact_bytes_min: 300, journal_bytes_max: 1 << 20, ..SIZES };
    let medium = Box::new(Unforced);
    Journal::open_on(medium, sizes, path, &key(), Durability::Process).expect("opens")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_file_holds_what_all_entries_amount_to(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let (_directory, path) = place();
        let (mut journal, _) = open_small(&path);
        let mut expect = Logs::default();
        for step in steps {
            match step {
                Step::Append(batch) => {
                    journal.append(&batch).expect("appended");
                    batch.into_iter().for_each(|entry| expect.apply(entry));
                }
                Step::Reopen => {
                    drop(journal);
                    let logs;
                    (journal, logs) = open_small(&path);
                    prop_assert_eq!(&logs, &expect);
                }
            }
            prop_assert!(journal.index.is_of(&expect));
            let living = journal.index.living_bytes();
            let bound = (living * 2).max(journal.look_at) + 4_000;
            prop_assert!(journal.end.position <= bound, "{} of {}", journal.end.position, bound);
        }
        prop_assert_eq!(Journal::view(&path, &key()).expect("seen"), expect);
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_read_again(
        data in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
    ) {
        inspect_entries(&data);
        inspect_file(&data);
        let (_directory, path) = place();
        written(&path);
        let mut bytes = fs::read(&path).expect("read");
        bytes.extend_from_slice(&data);
        inspect_file(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        inspect_file(&bytes);
    }
}
