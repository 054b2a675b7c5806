//! Sessions begin, are renewed and begin again, whatever the network and the clocks do (`PROTOCOL.md` §6).

use std::time::Duration;

use hushwire::conversation::{Event, StreamRead};
use hushwire::journal::Outcome;
use proptest::prelude::*;

use crate::support::world::{Weather, World};

const LONG: Duration = Duration::from_secs(40_000);
const DAY_S: i64 = 86_400;

fn is_delivered(event: &Event) -> bool {
    matches!(event, Event::Ended(ended) if ended.outcome == Outcome::Delivered)
}

fn count(world: &World, end: usize, which: fn(&Event) -> bool) -> usize {
    world.ends[end].events.iter().filter(|event| which(event)).count()
}

fn ups(world: &World, end: usize) -> usize {
    count(world, end, |event| matches!(event, Event::SessionUp))
}

fn handshakes(world: &World, end: usize) -> usize {
    count(world, end, |event| matches!(event, Event::HandshakeEnded(_)))
}

/// One message from `from` arrives, and its sender knows.
fn message(world: &mut World, from: usize, limit: Duration) {
    let bytes = world.now.duration_since(world.start).as_nanos().to_le_bytes().to_vec();
    let events = world.ends[from].events.len();
    world.push(from, bytes.clone()).expect("room");
    let mut taken = Vec::new();
    world.run(limit, |world| {
        taken.extend(world.take(1 - from).map(|incoming| incoming.bytes));
        world.ends[from].events[events..].iter().any(is_delivered)
    });
    assert_eq!(taken, [bytes]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn both_begin_at_once_in_any_weather(
        seed: u64,
        lost in 0..35_u64,
        changed in 0..20_u64,
        repeated in 0..60_u64,
        busy in 0..30_u64,
        jitter_ms in 0..2_500_u64,
    ) {
        let weather = Weather { lost, changed, repeated, busy, jitter_ms, ..Weather::default() };
        let mut world = World::new(seed, weather);
        for end in 0..2 {
            world.push(end, vec![end as u8; 9]).expect("room");
        }
        let mut taken = [0; 2];
        world.run(Duration::from_secs(900), |world| {
            for (end, taken) in taken.iter_mut().enumerate() {
                while let Some(incoming) = world.take(end) {
                    assert_eq!(incoming.bytes, vec![1 - end as u8; 9]);
                    *taken += 1;
                }
            }
            (0..2).all(|end| world.ends[end].events.iter().any(is_delivered))
        });
        prop_assert_eq!(taken, [1, 1]);
    }
}

#[test]
fn a_renewal_that_nobody_confirmed_is_made_again() {
    for seed in 0..10 {
        let mut world = World::new(seed, Weather::default());
        message(&mut world, 0, LONG);
        // The first renewal: as soon as its initiator has the keys, its cells vanish for longer than it waits.
        let before = [handshakes(&world, 0), handshakes(&world, 1)];
        let mut initiator = None;
        world.run(LONG, |world| {
            initiator = (0..2).find(|end| handshakes(world, *end) > before[*end]);
            initiator.is_some()
        });
        let initiator = initiator.expect("somebody has renewed");
        world.mute[initiator] = true;
        world.pass(Duration::from_secs(15));
        world.mute[initiator] = false;
        let made = handshakes(&world, initiator);
        let start = world.now;
        world.run(Duration::from_secs(120), |world| handshakes(world, initiator) > made);
        assert!(world.now - start < Duration::from_secs(60), "seed {seed}");
        for end in 0..2 {
            message(&mut world, end, LONG);
            assert_eq!(ups(&world, end), 1, "seed {seed}: the session was never lost");
        }
    }
}

#[test]
fn a_stream_flows_through_renewals_in_foul_weather() {
    let weather = Weather { lost: 5, repeated: 5, jitter_ms: 40, busy: 5, ..Weather::default() };
    for seed in 0..4 {
        let mut world = World::new(seed, weather);
        let (mut writer, mut reader, mut ended) = (None, None, false);
        let (mut written, mut read) = (0_u32, Vec::new());
        let start = world.now;
        world.run(LONG, |world| {
            let moment = world.moment();
            let World { ends, dice, now, .. } = &mut *world;
            let [first, second] = ends;
            writer = writer.or_else(|| first.conversation.open_stream());
            reader = reader.or_else(|| second.conversation.accept_stream());
            // A word every ten seconds, over four hours.
            if let Some(id) = writer
                && *now >= start + Duration::from_secs(10) * written
                && written < 1_440
            {
                let word = written.to_le_bytes();
                assert_eq!(first.conversation.write_stream(id, &word), Ok(4));
                written += 1;
                if written == 1_440 {
                    first.conversation.finish_stream(id).expect("open");
                }
            }
            if let Some(id) = reader {
                let mut buffer = [0; 64];
                match second.conversation.read_stream(id, &mut buffer, moment, dice) {
                    Ok(StreamRead::Bytes(count)) => read.extend_from_slice(&buffer[..count]),
                    Ok(StreamRead::End) => ended = true,
                    Ok(StreamRead::Nothing) => {}
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            ended
        });
        assert_eq!(read, (0..1_440_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        for end in 0..2 {
            assert_eq!(ups(&world, end), 1, "seed {seed}");
            assert!(handshakes(&world, end) >= 4, "seed {seed}: renewed each hour");
        }
    }
}

#[test]
fn clocks_that_are_days_apart_do_no_harm() {
    for wall_s in [[0, 9 * DAY_S], [-9 * DAY_S, 9 * DAY_S], [400 * DAY_S, 0]] {
        let mut world = World::new(1, Weather::default());
        world.wall_s = wall_s;
        for end in [0, 1, 0] {
            message(&mut world, end, Duration::from_secs(5));
        }
        for restarted in [1, 0] {
            world.restart(restarted);
            message(&mut world, restarted, Duration::from_secs(10));
            message(&mut world, 1 - restarted, Duration::from_secs(10));
        }
    }
}

#[test]
fn a_clock_that_goes_back_over_a_restart_locks_nobody_out() {
    for end in 0..2 {
        let mut world = World::new(2, Weather::default());
        world.wall_s = [30 * DAY_S; 2];
        message(&mut world, end, Duration::from_secs(5));
        let before = world.stored[end].last_sent_ns;
        world.wall_s[end] = -30 * DAY_S;
        world.restart(end);
        message(&mut world, end, Duration::from_secs(10));
        assert!(world.stored[end].last_sent_ns >= before, "the time of HS1 never goes back");
        message(&mut world, 1 - end, Duration::from_secs(10));
    }
}

#[test]
fn a_clock_that_jumps_does_not_change_when_a_session_is_renewed() {
    for jump_s in [-9 * DAY_S, 9 * DAY_S, 0] {
        let mut world = World::new(3, Weather::default());
        message(&mut world, 0, LONG);
        let start = world.now;
        let before = handshakes(&world, 0);
        world.wall_s = [jump_s; 2];
        world.pass(Duration::from_secs(60));
        assert_eq!(handshakes(&world, 0), before, "not at once: {jump_s}");
        world.run(LONG, |world| handshakes(world, 0) > before);
        let age = (world.now - start).as_secs();
        assert!((40 * 60..=61 * 60).contains(&age), "{jump_s}: {age} s");
    }
}

#[test]
fn what_was_recorded_before_a_restart_is_refused_after_it() {
    for seed in 0..10 {
        let mut world = World::new(seed, Weather::default());
        world.recorded = Some(Default::default());
        // A handshake that never ends: the peer's answers vanish, and so its HS3 is never sent.
        world.mute[1] = true;
        world.push(0, b"first".to_vec()).expect("room");
        world.pass(Duration::from_secs(4));
        assert_eq!(handshakes(&world, 0) + handshakes(&world, 1), 0);
        assert!(world.ends[1].conversation.is_shaking(), "HS1 was answered");
        let unfinished = world.recorded.take().expect("recorded");
        world.restart(1);
        replay(&mut world, 1, &unfinished[1]);
        assert!(!world.ends[1].conversation.is_shaking(), "seed {seed}: answered before");

        // Then a whole session.
        world.mute[1] = false;
        world.recorded = Some(Default::default());
        world.run(LONG, |world| world.take(1).is_some());
        message(&mut world, 1, LONG);
        let recorded = world.recorded.take().expect("recorded");
        world.cut(0);
        world.cut(1);
        for (end, recorded) in recorded.iter().enumerate() {
            world.restart(end);
            world.reconnect(end);
            let events = world.ends[end].events.len();
            replay(&mut world, end, recorded);
            let conversation = &world.ends[end].conversation;
            assert!(!conversation.has_message() && !conversation.is_up(), "seed {seed}");
            let news = &world.ends[end].events[events..];
            let answered =
                news.iter().any(|event| matches!(event, Event::HandshakeAnswered { .. }));
            assert!(!answered, "seed {seed}");
        }
        message(&mut world, 0, LONG);
    }
}

/// The relay hands out what it has recorded, forwards and backwards.
fn replay(world: &mut World, to: usize, bodies: &[Vec<u8>]) {
    let moment = world.moment();
    let World { ends, dice, .. } = world;
    let end = &mut ends[to];
    for body in bodies.iter().chain(bodies.iter().rev()) {
        end.conversation.handle_body(&mut body.clone(), &end.identity, moment, true, dice);
    }
    world.collect(to);
}

#[test]
fn garbage_neither_ends_a_session_nor_begins_one() {
    let mut world = World::new(5, Weather::default());
    message(&mut world, 0, LONG);
    let (begins, answers) = (
        count(&world, 1, |event| matches!(event, Event::HandshakeBegins { .. })),
        count(&world, 1, |event| matches!(event, Event::HandshakeAnswered { .. })),
    );
    for round in 0..20 {
        let moment = world.moment();
        let World { ends, dice, .. } = &mut world;
        let end = &mut ends[1];
        for cell in 0..500 {
            let class = hushwire_wire::cell::Class::ALL[cell % 8];
            let mut body = vec![0; class.body_len()];
            hushwire::suite::random::Random::fill(dice, &mut body[..64]);
            end.conversation.handle_body(&mut body, &end.identity, moment, true, dice);
        }
        assert!(end.conversation.is_up() && !end.conversation.is_shaking());
        message(&mut world, round % 2, Duration::from_secs(1));
    }
    for end in 0..2 {
        assert_eq!(ups(&world, end), 1);
    }
    assert_eq!(count(&world, 1, |e| matches!(e, Event::HandshakeBegins { .. })), begins);
    assert_eq!(count(&world, 1, |e| matches!(e, Event::HandshakeAnswered { .. })), answers);
}

#[test]
fn garbage_without_a_session_begins_few_handshakes() {
    let mut world = World::new(6, Weather::default());
    world.mute = [true; 2];
    let start = world.now;
    while world.now - start < Duration::from_secs(120) {
        let moment = world.moment();
        let World { ends, dice, .. } = &mut world;
        let end = &mut ends[1];
        for _ in 0..10 {
            let mut body = vec![7; hushwire_wire::cell::Class::C3.body_len()];
            end.conversation.handle_body(&mut body, &end.identity, moment, true, dice);
        }
        world.pass(Duration::from_millis(100));
    }
    let begun = count(&world, 1, |event| matches!(event, Event::HandshakeBegins { .. }));
    let most = 1 + (world.now - start).as_secs() as usize / 10;
    assert!((2..=most).contains(&begun), "{begun} begun");
}
