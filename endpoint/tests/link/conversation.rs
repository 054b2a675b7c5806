//! Messages arrive once and in order, streams whole or reported as truncated, whatever the network does.

use std::time::Duration;

use hushwire::conversation::{Event, Incoming, OutboxLimits, StreamError, StreamRead};
use hushwire::journal::Outcome;

use crate::support::world::{Dice, Weather, World};

const LONG: Duration = Duration::from_secs(40_000);

fn message(seed: u64, number: u64) -> Vec<u8> {
    let mut dice = Dice(seed ^ (number << 20));
    let length = match dice.below(10) {
        0 => 0,
        1..=6 => dice.below(200),
        7 | 8 => dice.below(5_000),
        _ => dice.below(120_000),
    };
    let mut bytes = vec![0; length as usize];
    hushwire::suite::random::Random::fill(&mut dice, &mut bytes);
    bytes
}

fn is_delivered(event: &Event) -> bool {
    matches!(event, Event::Ended(ended) if ended.outcome == Outcome::Delivered)
}

/// Both ends send `count` messages; each must arrive once, in order, and be acknowledged.
fn exchange(seed: u64, weather: Weather, count: u64, trouble: impl Fn(&mut World, u64)) -> World {
    let mut world = World::new(seed, weather);
    let mut pushed = [0; 2];
    let mut taken = [0; 2];
    let mut steps = 0;
    world.run(LONG, |world| {
        steps += 1;
        trouble(world, steps);
        for end in 0..2 {
            while pushed[end] < count {
                let bytes = message(seed + end as u64, pushed[end]);
                if world.push(end, bytes).is_err() {
                    break;
                }
                pushed[end] += 1;
            }
            while let Some(Incoming { bytes, .. }) = world.take(end) {
                assert!(bytes == message(seed + 1 - end as u64, taken[end]), "seed {seed}: order");
                taken[end] += 1;
            }
        }
        let delivered = |end: usize| {
            let events = world.ends[end].events.iter();
            events.filter(|event| is_delivered(event)).count() as u64
        };
        taken == [count; 2] && delivered(0) == count && delivered(1) == count
    });
    world
}

#[test]
fn messages_in_fair_weather() {
    for seed in 0..20 {
        let world = exchange(seed, Weather::default(), 200, |_, _| {});
        assert!(
            world.now - world.start < Duration::from_secs(2),
            "seed {seed}: no timer was needed, {:?}",
            world.now - world.start
        );
    }
}

#[test]
fn messages_in_foul_weather() {
    let weathers = [
        Weather { busy: 20, ..Weather::default() },
        Weather { lost: 10, ..Weather::default() },
        Weather { changed: 10, ..Weather::default() },
        Weather { repeated: 30, ..Weather::default() },
        Weather { jitter_ms: 50, ..Weather::default() },
        Weather { busy: 5, lost: 3, changed: 3, repeated: 5, jitter_ms: 20, ..Weather::default() },
        Weather { queue_bytes: 64 * 1024, bytes_per_ms: 1_000, ..Weather::default() },
        Weather { disk_ms: 20, lost: 3, ..Weather::default() },
    ];
    for weather in weathers {
        for seed in 0..12 {
            exchange(seed, weather, 60, |_, _| {});
        }
    }
}

#[test]
fn messages_across_reconnects() {
    for seed in 0..30 {
        exchange(seed, Weather { jitter_ms: 5, ..Weather::default() }, 100, |world, step| {
            let mut dice = Dice(seed * 1_000 + step);
            let end = dice.below(2) as usize;
            if step < 2_000 && dice.percent(3) {
                if world.ends[end].online {
                    world.cut(end);
                } else {
                    world.reconnect(end);
                }
            }
            if step == 2_000 {
                (0..2).for_each(|end| {
                    if !world.ends[end].online {
                        world.reconnect(end);
                    }
                });
            }
            if (0..2).all(|end| !world.ends[end].online) {
                world.reconnect(end);
            }
        });
    }
}

#[test]
fn both_ends_begin_at_once_and_one_session_comes_of_it() {
    for seed in 0..20 {
        let world = exchange(seed, Weather::default(), 1, |_, _| {});
        for end in &world.ends {
            let ups = end.events.iter().filter(|event| matches!(event, Event::SessionUp)).count();
            assert_eq!(ups, 1, "seed {seed}");
        }
    }
}

#[test]
fn a_message_stays_until_the_application_has_taken_it() {
    let mut world = World::new(1, Weather::default());
    world.push(0, b"wait".to_vec()).expect("room");
    world.pass(Duration::from_secs(200));
    let delivered = |world: &World| world.ends[0].events.iter().any(is_delivered);
    assert!(!delivered(&world) && world.ends[1].conversation.has_message());
    assert!(world.ends[1].received_cells < 20, "no storm of copies");
    let bytes = world.take(1).map(|incoming| incoming.bytes);
    assert_eq!(bytes.as_deref(), Some(&b"wait"[..]));
    world.run(Duration::from_millis(100), |world| delivered(world));
}

#[test]
fn a_peer_started_anew_is_noticed_and_messages_go_on() {
    let mut world = World::new(3, Weather::default());
    world.push(0, b"before".to_vec()).expect("room");
    let take = |world: &mut World| world.take(1).map(|incoming| incoming.bytes);
    world.run(LONG, |world| take(world).is_some());
    world.pass(Duration::from_secs(1));
    world.restart(1);
    world.push(0, b"after".to_vec()).expect("room");
    let start = world.now;
    let mut got = None;
    world.run(LONG, |world| {
        got = got.take().or_else(|| take(world));
        got.is_some()
    });
    assert_eq!(got.as_deref(), Some(&b"after"[..]));
    assert!(world.now - start < Duration::from_secs(5), "{:?}", world.now - start);
}

#[test]
fn messages_larger_than_the_limit_are_refused() {
    let mut world = World::new(4, Weather::default());
    assert!(world.push(0, vec![0; (16 << 20) + 1]).is_err());
    assert!(world.push(0, vec![0; 16 << 20]).is_ok());
    assert!(world.push(0, vec![0; 1]).is_err(), "the outbox is bounded");
    world.run(LONG, |world| world.ends[1].conversation.has_message());
    assert!(world.most_flying < 256 * 1024, "below the relay's share of one sender");
}

/// One stream of `length` bytes; what the reader gets must be it, or the error that says otherwise.
fn stream(
    seed: u64,
    weather: Weather,
    length: usize,
    trouble: impl Fn(&mut World, u64),
) -> (World, Result<(), StreamError>) {
    let mut world = World::new(seed, weather);
    let mut content = vec![0; length];
    hushwire::suite::random::Random::fill(&mut Dice(seed), &mut content);
    let (mut writer, mut reader) = (None, None);
    let (mut written, mut read) = (0, Vec::new());
    let mut finished = false;
    let mut outcome = None;
    let mut steps = 0;
    world.run(LONG, |world| {
        steps += 1;
        trouble(world, steps);
        let moment = world.moment();
        let World { ends, dice, .. } = &mut *world;
        let [first, second] = ends;
        writer = writer.or_else(|| first.conversation.open_stream());
        reader = reader.or_else(|| second.conversation.accept_stream());
        if let Some(id) = writer
            && outcome.is_none()
        {
            while written < length {
                let chunk = (1 + dice.below(100_000) as usize).min(length - written);
                match first.conversation.write_stream(id, &content[written..written + chunk]) {
                    Ok(0) => break,
                    Ok(count) => written += count,
                    Err(error) => {
                        outcome = Some(Err(error));
                        break;
                    }
                }
            }
            if written == length && !finished {
                finished = first.conversation.finish_stream(id).is_ok();
            }
        }
        if let Some(id) = reader {
            let mut buffer = vec![0; 1 + dice.below(50_000) as usize];
            for _ in 0..dice.below(8) {
                match second.conversation.read_stream(id, &mut buffer, moment, dice) {
                    Ok(StreamRead::Bytes(count)) => read.extend_from_slice(&buffer[..count]),
                    Ok(StreamRead::End) => {
                        assert!(read == content, "seed {seed}: {} of {length}", read.len());
                        let done = first.conversation.is_stream_done(writer.expect("open"));
                        if done == Ok(true) {
                            outcome = Some(Ok(()));
                        }
                        break;
                    }
                    Ok(StreamRead::Nothing) => break,
                    Err(error) => {
                        assert!(content.starts_with(&read), "seed {seed}");
                        outcome = Some(Err(error));
                        break;
                    }
                }
            }
        }
        outcome.is_some()
    });
    (world, outcome.expect("the run ended with one"))
}

#[test]
fn streams_in_all_weathers() {
    let weathers = [
        Weather::default(),
        Weather { busy: 20, ..Weather::default() },
        Weather { lost: 5, ..Weather::default() },
        Weather { changed: 5, repeated: 10, ..Weather::default() },
        Weather { jitter_ms: 30, ..Weather::default() },
        Weather { queue_bytes: 100 * 1024, bytes_per_ms: 5_000, ..Weather::default() },
        Weather { busy: 5, lost: 2, changed: 2, repeated: 5, jitter_ms: 9, ..Weather::default() },
    ];
    for weather in weathers {
        for (seed, length) in
            [0, 1, 136, 32_656, 32_657, 100_000, 3_000_000].into_iter().enumerate()
        {
            let (_, outcome) = stream(seed as u64, weather, length, |_, _| {});
            assert_eq!(outcome, Ok(()), "{weather:?} {length}");
        }
    }
}

#[test]
fn streams_across_reconnects() {
    for seed in 0..20 {
        let (_, outcome) = stream(seed, Weather::default(), 4_000_000, |world, step| {
            let end = (step / 100 % 2) as usize;
            if step % 100 == 40 + seed {
                world.cut(end);
            }
            if step % 100 == 45 + seed {
                world.reconnect(end);
            }
        });
        assert_eq!(outcome, Ok(()));
    }
}

#[test]
fn a_stream_whose_peer_was_started_anew_is_reported_as_truncated() {
    let (_, outcome) = stream(5, Weather::default(), 40_000_000, |world, step| {
        if step == 100 {
            world.restart(0);
        }
    });
    assert_eq!(outcome, Err(StreamError::SessionLost));
}

#[test]
fn a_dropped_end_is_an_error_at_the_other() {
    for drop_reader in [false, true] {
        let mut world = World::new(6, Weather { lost: 20, ..Weather::default() });
        let (mut writer, mut reader) = (None, None);
        world.run(LONG, |world| {
            let [first, second] = &mut world.ends;
            if writer.is_none() {
                writer = first.conversation.open_stream();
                if let Some(id) = writer {
                    first.conversation.write_stream(id, b"abc").expect("open");
                }
            }
            reader = reader.or_else(|| second.conversation.accept_stream());
            reader.is_some()
        });
        let (writer, reader) = (writer.expect("open"), reader.expect("accepted"));
        let moment = world.moment();
        if drop_reader {
            world.ends[1].conversation.release_reading(reader, moment);
        } else {
            world.ends[0].conversation.release_writing(writer, moment);
        }
        world.run(LONG, |world| {
            let moment = world.moment();
            let World { ends, dice, .. } = &mut *world;
            let outcome = if drop_reader {
                ends[0].conversation.write_stream(writer, b"d").map(|_| ())
            } else {
                ends[1].conversation.read_stream(reader, &mut [0; 9], moment, dice).map(|_| ())
            };
            assert!(matches!(outcome, Ok(()) | Err(StreamError::Abandoned(0))), "{outcome:?}");
            outcome.is_err()
        });
    }
}

#[test]
fn sessions_are_renewed_under_way() {
    let mut world = World::new(7, Weather { jitter_ms: 10, lost: 1, ..Weather::default() });
    let (mut sent, mut taken) = (0_u64, 0_u64);
    let mut writer = None;
    let mut reader = None;
    let start = world.now;
    // A little every few minutes, over five hours.
    world.run(Duration::from_secs(20_000), |world| {
        let moment = world.moment();
        let World { ends, dice, now, .. } = &mut *world;
        let [first, second] = ends;
        writer = writer.or_else(|| first.conversation.open_stream());
        if *now > start + Duration::from_secs(100 * sent) {
            let bytes = sent.to_le_bytes().to_vec();
            let limits = OutboxLimits::default();
            first.conversation.push_message(bytes, None, limits, moment).expect("room");
            if let Some(id) = writer {
                first
                    .conversation
                    .write_stream(id, &sent.to_le_bytes())
                    .expect("the stream lives on");
            }
            sent += 1;
        }
        while let Some(Incoming { id, bytes, .. }) = second.conversation.hand_out() {
            second.conversation.confirm(id);
            assert_eq!(bytes, taken.to_le_bytes());
            taken += 1;
        }
        reader = reader.or_else(|| second.conversation.accept_stream());
        if let Some(id) = reader {
            second.conversation.read_stream(id, &mut [0; 100], moment, dice).expect("lives on");
        }
        taken >= 180
    });
    let count = |end: usize, which: fn(&Event) -> bool| {
        world.ends[end].events.iter().filter(|event| which(event)).count()
    };
    for end in 0..2 {
        assert_eq!(count(end, |event| matches!(event, Event::SessionUp)), 1);
        assert!(count(end, |event| matches!(event, Event::HandshakeEnded(_))) >= 5);
    }
}

#[test]
fn an_absent_peer_is_tried_again_until_it_is_there() {
    let mut world = World::new(8, Weather::default());
    world.ends[1].online = false;
    world.push(0, b"hello?".to_vec()).expect("room");
    world.pass(Duration::from_secs(120));
    let tries =
        world.ends[0].events.iter().filter(|event| matches!(event, Event::PeerAway { .. })).count();
    assert!((3..60).contains(&tries), "{tries}");
    world.reconnect(1);
    world.run(Duration::from_secs(31), |world| world.ends[1].conversation.has_message());
}
