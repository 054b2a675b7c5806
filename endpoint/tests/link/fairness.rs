//! Small messages and a stream to the same peer share one way: the messages stay quick, and the stream takes the rest.

use std::time::{Duration, Instant};

use hushwire::conversation::{Incoming, StreamId, StreamRead};

use crate::support::world::{Weather, World};

/// How long each measurement is, of virtual time.
const LONG: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Seen {
    /// The slowest of a hundred round trips of a message.
    p99: Duration,
    /// Bytes of the stream that were read.
    read: usize,
}

#[derive(Debug, Default)]
struct Applications {
    stream: Option<(StreamId, Option<StreamId>)>,
    read: usize,
    begun: Option<Instant>,
    times: Vec<Duration>,
}

impl Applications {
    /// The first end writes what the stream takes, the second reads what has come.
    fn flood(&mut self, world: &mut World) {
        let moment = world.moment();
        let World { ends: [first, second], dice, .. } = world;
        if self.stream.is_none() {
            self.stream = first.conversation.open_stream().map(|writer| (writer, None));
        }
        let Some((writer, reader)) = &mut self.stream else { return };
        while first.conversation.write_stream(*writer, &[7; 100_000]).expect("open") > 0 {}
        *reader = reader.or_else(|| second.conversation.accept_stream());
        let Some(reader) = *reader else { return };
        let mut buffer = vec![0; 100_000];
        while let Ok(StreamRead::Bytes(count)) =
            second.conversation.read_stream(reader, &mut buffer, moment, dice)
        {
            self.read += count;
        }
    }

    /// One message at a time from the first end to the second and back.
    fn ping(&mut self, world: &mut World) {
        if let Some(Incoming { bytes, .. }) = world.take(1) {
            assert!(world.push(1, bytes).is_ok(), "there is room for one");
        }
        if world.take(0).is_some()
            && let Some(begun) = self.begun.take()
        {
            self.times.push(world.now - begun);
        }
        if self.begun.is_none() {
            assert!(world.push(0, vec![1; 100]).is_ok(), "there is room for one");
            self.begun = Some(world.now);
        }
    }
}

fn see(weather: Weather, messages: bool, stream: bool) -> Seen {
    let mut world = World::new(1, weather);
    let mut applications = Applications::default();
    world.run(2 * LONG, |world| {
        if stream {
            applications.flood(world);
        }
        if messages {
            applications.ping(world);
        }
        world.now - world.start >= LONG
    });
    let mut times = applications.times;
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Seen { p99, read: applications.read }
}

#[test]
fn a_stream_at_most_doubles_what_messages_take() {
    // A narrow way: what streams put into its queue, messages wait for.
    let weather = Weather { bytes_per_ms: 40_000, ..Weather::default() };
    let alone = see(weather, true, false);
    let beside = see(weather, true, true);
    let stream = see(weather, false, true);
    assert!(beside.p99 <= 2 * alone.p99, "{alone:?} {beside:?}");
    assert!(beside.read > stream.read / 4, "it is slower, not stopped: {stream:?} {beside:?}");
}

#[test]
fn a_stream_keeps_a_wide_way_full_beside_messages() {
    // No queue ever forms, so there is nothing to yield.
    let alone = see(Weather::default(), true, false);
    let beside = see(Weather::default(), true, true);
    let stream = see(Weather::default(), false, true);
    assert!(beside.p99 <= 2 * alone.p99, "{alone:?} {beside:?}");
    assert!(beside.read > stream.read / 10 * 8, "{stream:?} {beside:?}");
}
