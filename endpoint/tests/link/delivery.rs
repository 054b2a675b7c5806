//! Every message ends once, in one of three ways, and reaches the application once, whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use hushwire::conversation::{Event, Incoming, OutboxLimits};
use hushwire::journal::{Logs, MessageId, Outcome};
use hushwire_wire::control::Undelivered;

use crate::support::world::{Dice, Weather, World};

const LONG: Duration = Duration::from_secs(400_000);

/// An application that keeps what it took where it keeps the message's name, and both over its own death.
#[derive(Debug, Default)]
struct App {
    taken: Vec<u64>,
    last: Option<MessageId>,
    /// What it holds and has not decided.
    held: Vec<Incoming>,
}

impl App {
    fn restarted(&mut self, world: &mut World, at: usize) {
        self.held.clear();
        if let Some(last) = self.last {
            world.ends[at].conversation.confirm_up_to(last);
        }
    }

    /// Takes what there is. The transaction comes before the confirmation, and death may come in between: `false` then.
    fn work(&mut self, world: &mut World, at: usize, dice: &mut Dice) -> bool {
        let conversation = &mut world.ends[at].conversation;
        while let Some(incoming) = conversation.hand_out() {
            self.held.push(incoming);
        }
        while !self.held.is_empty() && dice.percent(60) {
            let incoming = self.held.remove(0);
            let number = u64::from_le_bytes(incoming.bytes[..8].try_into().expect("8 bytes"));
            self.taken.push(number);
            self.last = Some(incoming.id);
            if dice.percent(70) {
                conversation.confirm(incoming.id);
            } else if dice.percent(50) {
                return false;
            } else {
                conversation.confirm_up_to(incoming.id);
            }
        }
        true
    }
}

fn ends(world: &World, at: usize) -> BTreeMap<u64, Outcome> {
    let mut ends = BTreeMap::new();
    for event in &world.ends[at].events {
        if let Event::Ended(ended) = event {
            let before = ends.insert(ended.number, ended.outcome);
            assert_eq!(before, None, "message {} has two ends", ended.number);
        }
    }
    ends
}

#[test]
fn kills_at_any_moment_lose_and_repeat_nothing() {
    const COUNT: u64 = 120;
    for seed in 0..60 {
        let weather = Weather { disk_ms: 8, jitter_ms: 4, lost: 2, busy: 3, ..Weather::default() };
        let mut world = World::new(seed, weather);
        let mut apps = [App::default(), App::default()];
        let mut pushed = [0_u64; 2];
        let mut dice = Dice(seed ^ 0xabcd);
        let mut kills = 40;
        world.run(LONG, |world| {
            for at in 0..2 {
                // A sender is promised nothing before a message is stored: it gives the next one then.
                let next = next_number(world, at);
                if next == pushed[at] && pushed[at] < COUNT {
                    let mut bytes = vec![0; 8 + dice.below(3_000) as usize];
                    bytes[..8].copy_from_slice(&pushed[at].to_le_bytes());
                    if world.push(at, bytes).is_ok() {
                        pushed[at] += 1;
                    }
                }
                let alive = apps[at].work(world, at, &mut dice);
                if !alive || (kills > 0 && dice.percent(4)) {
                    kills -= i32::from(alive);
                    world.restart(at);
                    apps[at].restarted(world, at);
                    // What was not stored was never promised, and is given again.
                    pushed[at] = next_number(world, at);
                }
            }
            let all = |at: usize| apps[at].taken.len() as u64 >= COUNT && pending(world, at) == 0;
            pushed == [COUNT; 2] && all(0) && all(1)
        });
        for (at, app) in apps.iter().enumerate() {
            let expect: Vec<u64> = (0..COUNT).collect();
            assert_eq!(app.taken, expect, "seed {seed}, end {at}");
            let peer = world.ends[1 - at].identity.device_id();
            let logs = world.ends[at].logs.peer(&peer).expect("known");
            let delivered =
                logs.ended.iter().filter(|ended| ended.outcome == Outcome::Delivered).count();
            assert_eq!(delivered as u64, COUNT, "seed {seed}: one end each");
        }
        assert!(kills <= 10, "seed {seed}: it was killed enough");
    }
}

fn next_number(world: &World, at: usize) -> u64 {
    let peer = world.ends[1 - at].identity.device_id();
    let log = world.ends[at].logs.peer(&peer).and_then(|logs| logs.outgoing.as_ref());
    log.map_or(0, |log| log.next_number)
}

fn pending(world: &World, at: usize) -> usize {
    let peer = world.ends[1 - at].identity.device_id();
    let log = world.ends[at].logs.peer(&peer).and_then(|logs| logs.outgoing.as_ref());
    log.map_or(0, |log| log.held.len())
}

#[test]
fn a_refused_message_is_rejected_once_and_holds_up_nobody() {
    for seed in 0..40 {
        let weather = Weather { lost: 10, jitter_ms: 3, disk_ms: 3, ..Weather::default() };
        let mut world = World::new(seed, weather);
        for number in 0..50_u64 {
            world.push(0, number.to_le_bytes().to_vec()).expect("room");
        }
        let mut dice = Dice(seed);
        let mut taken = Vec::new();
        world.run(LONG, |world| {
            if next_number(world, 0) == 50 && dice.percent(2) {
                world.restart(dice.below(2) as usize);
            }
            let conversation = &mut world.ends[1].conversation;
            while let Some(Incoming { id, bytes, .. }) = conversation.hand_out() {
                if bytes[0] % 3 == 0 {
                    conversation.refuse(id, 77);
                } else {
                    conversation.confirm(id);
                    taken.push(bytes[0]);
                }
            }
            pending(world, 0) == 0 && next_number(world, 0) == 50
        });
        let peer = world.ends[1].identity.device_id();
        let ended = &world.ends[0].logs.peer(&peer).expect("known").ended;
        assert_eq!(ended.len(), 50);
        for end in ended {
            let refused = end.number % 3 == 0;
            let expect =
                if refused { Outcome::Rejected { reason: 77 } } else { Outcome::Delivered };
            assert_eq!(end.outcome, expect, "seed {seed}, message {}", end.number);
        }
        taken.sort_unstable();
        taken.dedup();
        let expect: Vec<u8> = (0..50).filter(|number| number % 3 != 0).collect();
        assert_eq!(taken, expect, "seed {seed}");
    }
}

#[test]
fn what_expires_says_so_once_and_the_rest_goes_on() {
    let mut world = World::new(9, Weather::default());
    world.ends[1].online = false;
    let moment = world.moment();
    let limits = OutboxLimits::default();
    for number in 0..10_u64 {
        // Every other one has ten seconds.
        let expires_s = (number % 2 == 0).then_some(moment.unix_s() + 10);
        let bytes = number.to_le_bytes().to_vec();
        let conversation = &mut world.ends[0].conversation;
        conversation.push_message(bytes, expires_s, limits, moment).expect("room");
    }
    world.store(0);
    assert_eq!(world.ends[0].conversation.next_expiry_s(), Some(moment.unix_s() + 10));
    world.pass(Duration::from_secs(11));
    let later = world.moment();
    world.ends[0].conversation.expire(later);
    world.ends[0].conversation.expire(later);
    world.store(0);
    let ended = ends(&world, 0);
    let hint = Some(Undelivered::Offline);
    assert_eq!(ended.len(), 5);
    assert!(ended.values().all(|outcome| *outcome == Outcome::Expired { hint }), "{ended:?}");

    world.reconnect(1);
    let mut taken = Vec::new();
    world.run(LONG, |world| {
        while let Some(incoming) = world.take(1) {
            taken.push(incoming.bytes[0]);
        }
        pending(world, 0) == 0
    });
    assert_eq!(taken, [1, 3, 5, 7, 9]);
    assert_eq!(ends(&world, 0).len(), 10);
    let lost: u64 = world.ends[1]
        .events
        .iter()
        .filter_map(|event| if let Event::Lost { count } = event { Some(*count) } else { None })
        .sum();
    assert_eq!(lost, 5, "the receiver hears of each");
}

#[test]
fn a_device_set_back_begins_a_new_log_and_says_so() {
    let mut world = World::new(11, Weather::default());
    world.push(0, 0_u64.to_le_bytes().to_vec()).expect("room");
    let mut taken = Vec::new();
    let drain = |world: &mut World, taken: &mut Vec<u8>| {
        while let Some(incoming) = world.take(1) {
            taken.push(incoming.bytes[0]);
        }
    };
    world.run(LONG, |world| {
        drain(world, &mut taken);
        pending(world, 0) == 0 && next_number(world, 0) == 1
    });
    let backup: Logs = world.ends[0].logs.clone();
    for number in 1..5_u64 {
        world.push(0, number.to_le_bytes().to_vec()).expect("room");
    }
    world.run(LONG, |world| {
        drain(world, &mut taken);
        pending(world, 0) == 0 && next_number(world, 0) == 5
    });
    // The backup is restored: messages 1 to 4 were never sent, as far as it knows.
    world.ends[0].logs = backup;
    world.restart(0);
    world.push(0, 50_u64.to_le_bytes().to_vec()).expect("room");
    world.push(0, 51_u64.to_le_bytes().to_vec()).expect("room");
    world.run(LONG, |world| {
        drain(world, &mut taken);
        pending(world, 0) == 0 && next_number(world, 0) == 3
    });
    assert_eq!(taken, [0, 1, 2, 3, 4, 50, 51]);
    let told = world.ends[0].events.iter().filter(|event| matches!(event, Event::SetBack)).count();
    assert_eq!(told, 1);
}

#[test]
fn what_cannot_be_stored_is_given_back_and_nothing_else() {
    let mut world = World::new(12, Weather::default());
    world.push(0, b"stored".to_vec()).expect("room");
    world.store(0);
    world.push(0, b"not stored".to_vec()).expect("room");
    world.push(0, b"nor this".to_vec()).expect("room");
    let conversation = &mut world.ends[0].conversation;
    assert!(conversation.poll_entry().is_some(), "one of them is on its way to the disk");
    assert_eq!(conversation.withdraw_messages(), 1..3);
    assert_eq!(conversation.pending().count(), 1);
    world.push(0, b"later".to_vec()).expect("room");
    let mut taken = Vec::new();
    world.run(LONG, |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes));
        pending(world, 0) == 0 && next_number(world, 0) == 2
    });
    assert_eq!(taken, [b"stored".to_vec(), b"later".to_vec()]);
}

#[test]
fn a_message_given_back_comes_again_in_its_place() {
    let mut world = World::new(13, Weather::default());
    for number in 0..3_u64 {
        world.push(0, number.to_le_bytes().to_vec()).expect("room");
    }
    let mut held = Vec::new();
    world.run(LONG, |world| {
        held.extend(world.ends[1].conversation.hand_out());
        held.len() == 3
    });
    let conversation = &mut world.ends[1].conversation;
    let first = held.remove(0);
    conversation.give_back(first.clone());
    assert_eq!(conversation.hand_out().as_ref(), Some(&first));
    assert_eq!(conversation.hand_out(), None);
    // Confirmed out of turn: the peer hears of it when the first is.
    conversation.confirm(held[1].id);
    conversation.confirm(held[0].id);
    world.pass(Duration::from_secs(100));
    assert_eq!(ends(&world, 0).len(), 0);
    world.ends[1].conversation.confirm(first.id);
    world.ends[1].conversation.confirm(first.id);
    world.run(LONG, |world| ends(world, 0).len() == 3);
}

#[test]
fn a_cut_line_costs_time_and_nothing_else() {
    let mut world = World::new(14, Weather { disk_ms: 2, ..Weather::default() });
    let mut taken = 0_u64;
    for number in 0..100_u64 {
        world.push(0, number.to_le_bytes().to_vec()).expect("room");
    }
    let mut steps = 0;
    world.run(LONG, |world| {
        steps += 1;
        match steps % 40 {
            20 => world.cut(steps / 40 % 2),
            30 => world.reconnect(steps / 40 % 2),
            _ => {}
        }
        while let Some(incoming) = world.take(1) {
            assert_eq!(incoming.bytes, taken.to_le_bytes());
            taken += 1;
        }
        taken == 100 && pending(world, 0) == 0
    });
    assert_eq!(ends(&world, 0).len(), 100);
}

#[test]
fn what_expired_unsent_is_not_kept_for_ever() {
    let mut world = World::new(14, Weather::default());
    world.ends[1].online = false;
    let (moment, limits) = (world.moment(), OutboxLimits::default());
    let conversation = &mut world.ends[0].conversation;
    let expires_s = Some(moment.unix_s());
    conversation.push_message(b"too late".to_vec(), expires_s, limits, moment).expect("room");
    world.store(0);
    world.ends[0].conversation.expire(moment);
    world.store(0);
    assert!(matches!(ends(&world, 0)[&0], Outcome::Expired { .. }));
    // Nothing of it was ever sent; the peer hears all the same that it will not come, and passes it.
    let room = OutboxLimits { messages: 0, bytes: 0 };
    let is_empty = |world: &mut World| {
        let moment = world.moment();
        let conversation = &mut world.ends[0].conversation;
        conversation.push_message(Vec::new(), None, room, moment).is_ok()
    };
    assert!(!is_empty(&mut world));
    world.reconnect(1);
    world.run(LONG, is_empty);
}

#[test]
fn a_device_set_back_loses_nothing_that_it_is_given_afterwards() {
    // As many messages as were forgotten, and more: their numbers reach beyond what the peer has seen.
    for fresh in [1_u8, 3, 10] {
        for confirms in [true, false] {
            let mut world = World::new(15 + u64::from(fresh), Weather::default());
            let mut taken = Vec::new();
            let mut held = Vec::new();
            world.push(0, vec![0]).expect("room");
            world.run(LONG, |world| {
                taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
                pending(world, 0) == 0 && next_number(world, 0) == 1
            });
            let backup: Logs = world.ends[0].logs.clone();
            for number in 1..4_u8 {
                world.push(0, vec![number]).expect("room");
            }
            world.run(LONG, |world| {
                while let Some(incoming) = world.ends[1].conversation.hand_out() {
                    taken.push(incoming.bytes[0]);
                    if confirms {
                        world.ends[1].conversation.confirm(incoming.id);
                    } else {
                        held.push(incoming.id);
                    }
                }
                taken.len() == 4
            });
            world.ends[0].logs = backup;
            world.restart(0);
            for number in 0..fresh {
                world.push(0, vec![100 + number]).expect("room");
            }
            world.run(LONG, |world| {
                taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
                pending(world, 0) == 0 && next_number(world, 0) == 1 + u64::from(fresh)
            });
            let expect: Vec<u8> = (0..4).chain((0..fresh).map(|number| 100 + number)).collect();
            assert_eq!(taken, expect, "{fresh} fresh, confirmed: {confirms}");
        }
    }
}

#[test]
fn a_device_set_back_that_dies_before_it_hears_of_it_loses_nothing() {
    // As many messages as were forgotten, and fewer and more, over one death and several.
    for (fresh, deaths) in [(1_u8, 1), (3, 1), (3, 3), (10, 2)] {
        let mut world = World::new(30 + u64::from(fresh), Weather::default());
        let mut taken = Vec::new();
        world.push(0, vec![0]).expect("room");
        world.run(LONG, |world| {
            taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
            pending(world, 0) == 0 && next_number(world, 0) == 1
        });
        let backup: Logs = world.ends[0].logs.clone();
        for number in 1..4_u8 {
            world.push(0, vec![number]).expect("room");
        }
        world.run(LONG, |world| {
            taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
            pending(world, 0) == 0 && next_number(world, 0) == 4
        });
        world.ends[0].logs = backup;
        world.restart(0);
        for number in 0..fresh {
            world.push(0, vec![100 + number]).expect("room");
        }
        for _ in 0..deaths {
            // They are on disk, and it has not heard of its peer.
            world.store(0);
            world.restart(0);
        }
        world.run(LONG, |world| {
            taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
            pending(world, 0) == 0 && next_number(world, 0) == 1 + u64::from(fresh)
        });
        let expect: Vec<u8> = (0..4).chain((0..fresh).map(|number| 100 + number)).collect();
        assert_eq!(taken, expect, "{fresh} fresh, {deaths} deaths");
        let peer = world.ends[1].identity.device_id();
        let log = world.ends[0].logs.peer(&peer).and_then(|logs| logs.outgoing.as_ref());
        assert_eq!(log.expect("it sent").unsent, None, "nothing waits any more");
    }
}

#[test]
fn what_was_given_before_the_peer_was_heard_is_sent_once_the_disk_knows_that_it_may() {
    let mut world = World::new(31, Weather::default());
    let mut taken = Vec::new();
    let take = |world: &mut World, taken: &mut Vec<u8>| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
    };
    world.push(0, vec![0]).expect("room");
    world.run(LONG, |world| {
        take(world, &mut taken);
        pending(world, 0) == 0 && next_number(world, 0) == 1
    });
    world.restart(0);
    world.push(0, vec![1]).expect("room");
    world.store(0);
    let peer = world.ends[1].identity.device_id();
    let unsent = |world: &World| {
        let log = world.ends[0].logs.peer(&peer).and_then(|logs| logs.outgoing.as_ref());
        log.and_then(|log| log.unsent)
    };
    assert_eq!(unsent(&world), Some(1));
    world.run(LONG, |world| {
        let waits = unsent(world).is_some();
        let is_sent = world.ends[0].conversation.pending().any(|of| of.first_sent_s.is_some());
        assert!(!(waits && is_sent), "it is sent before the disk knows that it may be");
        take(world, &mut taken);
        pending(world, 0) == 0 && next_number(world, 0) == 2
    });
    assert_eq!((taken, unsent(&world)), (vec![0, 1], None));
}

#[test]
fn what_an_earlier_run_took_is_acknowledged_once_the_disk_knows() {
    let mut world = World::new(16, Weather::default());
    world.push(0, b"taken".to_vec()).expect("room");
    world.store(0);
    // The receiver's disk does not get to hear of the log.
    world.weather.disk_ms = 1_000_000;
    let mut id = None;
    world.run(LONG, |world| {
        id = world.ends[1].conversation.hand_out().map(|incoming| incoming.id);
        id.is_some()
    });
    // The application takes it, and dies before it can say so.
    world.restart(1);
    world.weather.disk_ms = 5_000;
    world.ends[1].conversation.confirm_up_to(id.expect("handed out"));
    let peer = world.ends[0].identity.device_id();
    world.run(LONG, |world| {
        let log = world.ends[1].logs.peer(&peer).and_then(|logs| logs.incoming.as_ref());
        let is_known = log.is_some_and(|log| log.next == 1);
        let has_ended = world.ends[0].conversation.pending().next().is_none();
        assert!(is_known || !has_ended, "acknowledged before it is stored");
        has_ended
    });
}

#[test]
fn an_end_that_is_not_on_disk_is_told_to_nobody() {
    let mut world = World::new(17, Weather::default());
    world.push(0, b"refused".to_vec()).expect("room");
    world.run(LONG, |world| {
        if let Some(incoming) = world.ends[1].conversation.hand_out() {
            world.ends[1].conversation.refuse(incoming.id, 7);
            world.weather.disk_ms = 60_000;
        }
        world.ends[0].conversation.pending().count() == 0 && next_number(world, 0) == 1
    });
    // The connection ends before the rejection is stored, and then the process does.
    for at in [0, 1] {
        world.cut(at);
        world.reconnect(at);
    }
    let later = world.now + Duration::from_secs(2);
    world.run(LONG, |world| world.now >= later);
    world.weather.disk_ms = 0;
    if pending(&world, 0) == 1 {
        world.restart(0);
    }
    world.run(LONG, |world| !ends(world, 0).is_empty());
    assert_eq!(ends(&world, 0)[&0], Outcome::Rejected { reason: 7 });
}

fn ups(world: &World, at: usize) -> usize {
    world.ends[at].events.iter().filter(|event| matches!(event, Event::SessionUp)).count()
}

#[test]
fn what_the_relay_held_back_from_an_earlier_session_means_nothing() {
    let mut world = World::new(32, Weather::default());
    world.push(0, vec![0]).expect("room");
    let mut taken = Vec::new();
    world.run(LONG, |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
        pending(world, 0) == 0 && next_number(world, 0) == 1
    });
    let backup: Logs = world.ends[0].logs.clone();
    // The next message is on its way, and stays there.
    (world.recorded, world.mute[0]) = (Some(Default::default()), true);
    world.push(0, vec![1]).expect("room");
    world.pass(Duration::from_millis(500));
    let [_, held_back] = world.recorded.take().expect("recorded");
    assert!(!held_back.is_empty());
    // Its sender is set back, and gives another message the same number.
    world.ends[0].logs = backup;
    world.restart(0);
    world.mute[0] = false;
    world.push(0, vec![50]).expect("room");
    world.run(LONG, |world| ups(world, 1) == 2);
    let moment = world.moment();
    for mut body in held_back {
        let World { ends, dice, .. } = &mut world;
        let (identity, conversation) = (&ends[1].identity, &mut ends[1].conversation);
        conversation.handle_body(&mut body, identity, moment, true, dice);
    }
    world.run(LONG, |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
        pending(world, 0) == 0 && next_number(world, 0) == 2
    });
    assert_eq!(taken, [0, 50]);
}

#[test]
fn who_only_asks_notices_that_the_peer_does_not_know_the_session() {
    let mut world = World::new(33, Weather::default());
    let mut taken = Vec::new();
    world.push(0, vec![0]).expect("room");
    world.run(LONG, |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
        pending(world, 0) == 0 && next_number(world, 0) == 1
    });
    world.restart(0);
    world.push(0, vec![1]).expect("room");
    world.run(LONG, |world| ups(world, 0) == 2);
    // Its last handshake message never arrives, and the message waits for an answer that never comes.
    world.mute[0] = true;
    world.pass(Duration::from_secs(15));
    assert_eq!(ups(&world, 1), 1);
    world.mute[0] = false;
    world.run(Duration::from_secs(200), |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
        pending(world, 0) == 0 && next_number(world, 0) == 2
    });
    assert_eq!(taken, [0, 1]);
}

#[test]
fn what_was_refused_and_passed_is_not_lost_when_the_log_is_opened_anew() {
    let mut world = World::new(34, Weather::default());
    world.push(0, vec![0]).expect("room");
    world.push(0, vec![1]).expect("room");
    let mut held = Vec::new();
    world.run(LONG, |world| {
        held.extend(world.ends[1].conversation.hand_out().map(|incoming| incoming.id));
        held.len() == 2
    });
    world.ends[1].conversation.refuse(held[1], 7);
    world.run(LONG, |world| ends(world, 0).len() == 1);
    // The receiver has heard of the gap when the first is refused; its sender dies when that has ended.
    world.pass(Duration::from_secs(5));
    world.ends[1].conversation.refuse(held[0], 7);
    world.mute[0] = true;
    world.run(LONG, |world| ends(world, 0).len() == 2);
    world.restart(0);
    world.mute[0] = false;
    world.push(0, vec![2]).expect("room");
    let mut taken = Vec::new();
    world.run(LONG, |world| {
        taken.extend(world.take(1).map(|incoming| incoming.bytes[0]));
        pending(world, 0) == 0 && next_number(world, 0) == 3
    });
    assert_eq!(taken, [2]);
    let is_lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(!world.ends[1].events.iter().any(is_lost), "the application knows of both");
}
