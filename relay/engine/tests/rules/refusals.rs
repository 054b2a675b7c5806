//! A refusal says nothing by its content, its time or its number.

use hushwire_engine::StoreAnswer;
use hushwire_engine::store::Reach;
use hushwire_wire::control::{Control, Undelivered};
use hushwire_wire::id::DeviceId;

use crate::desk::{Desk, Peer};

/// When the refusal of a cell sent at `at` (milliseconds) is heard.
fn heard_at(desk: &mut Desk, sender: &mut Peer, to: DeviceId, at: u64) -> u64 {
    desk.advance(at - desk.now.as_millis());
    desk.send(sender, to);
    for _ in 0..1_000 {
        if let [(_, _, reason)] = desk.reports(sender)[..] {
            assert_eq!(reason, Undelivered::Refused);
            return desk.now.as_millis();
        }
        desk.advance(1);
    }
    panic!("no refusal");
}

#[test]
fn unknown_offline_and_ungranted_devices_refuse_at_the_same_tick() {
    for shard in [0, 1] {
        let check = |sent: u64, heard: u64| {
            let mut desk = Desk::new(2);
            let mut sender = desk.join(0, 1, 1);
            let present = desk.join(shard, 2, 2);
            let offline = desk.device_on(shard, 3);
            desk.enrol(offline, 2);
            let unknown = desk.device_on(shard, 4);
            for (n, to) in [present.device, offline, unknown].into_iter().enumerate() {
                let after = 10_000 * (n as u64 + 1);
                let at = heard_at(&mut desk, &mut sender, to, after + sent);
                assert_eq!(at, after + heard, "sent at {sent}, recipient {n}");
            }
        };
        check(1, 250);
        check(100, 250);
        check(199, 250);
        check(200, 500);
        check(249, 500);
        check(250, 500);
    }
}

#[test]
fn a_look_into_the_store_does_not_show() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let unknown = desk.device_on(0, 4);
    desk.store_waits = true;
    desk.advance(10_190 - desk.now.as_millis());
    desk.send(&mut sender, unknown);
    desk.advance(49);
    desk.answer_store();
    desk.advance(10);
    assert_eq!(desk.reports(&sender), []);
    desk.advance(1);
    assert_eq!(desk.reports(&sender), [(0, 1, Undelivered::Refused)]);
}

/// What a stranger hears of a burst to one device and to many unknown ones while the store takes its time.
fn heard_of_burst(present: bool) -> Vec<(u8, u64, Undelivered)> {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let victim = desk.device_on(0, 2);
    desk.enrol(victim, 2);
    if present {
        desk.connect(victim);
    }
    let unknown: Vec<DeviceId> = (3..23).map(|number| desk.device_on(0, number)).collect();
    desk.store_waits = true;
    for _ in 0..40 {
        desk.send(&mut sender, victim);
    }
    for device in unknown {
        desk.send(&mut sender, device);
    }
    desk.send(&mut sender, victim);
    let mut heard = desk.reports(&sender);
    desk.answer_store();
    desk.advance(1_000);
    heard.extend(desk.reports(&sender));
    heard
}

#[test]
fn a_burst_does_not_show_who_is_connected() {
    let absent = heard_of_burst(false);
    assert!(absent.iter().any(|report| report.2 == Undelivered::Busy), "a burst is long enough");
    assert_eq!(heard_of_burst(true), absent);
}

#[test]
fn ten_refusals_a_minute_then_silence_also_after_reconnecting() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let stranger = desk.join(0, 2, 2);
    for _ in 0..7 {
        desk.send(&mut sender, stranger.device);
    }
    desk.advance(1_000);
    assert_eq!(desk.reports(&sender).len(), 7);
    desk.die(sender.at);
    let mut sender = desk.connect(sender.device);
    for _ in 0..7 {
        desk.send(&mut sender, stranger.device);
    }
    desk.advance(1_000);
    assert_eq!(desk.reports(&sender).len(), 3);
    assert_eq!(desk.engines[0].counters().refusals_silenced, 4);
    keep_alive(&mut desk, &mut sender, 58_500);
    desk.send(&mut sender, stranger.device);
    desk.advance(500);
    assert_eq!(desk.reports(&sender).len(), 1, "a minute after the first");
    let offline = desk.device_on(0, 3);
    desk.next_answers.push_back(StoreAnswer::Reach(Reach::Offline { push: false, hidden: false }));
    desk.send(&mut sender, offline);
    assert_eq!(desk.reports(&sender).len(), 1, "other reasons are not limited");
}

#[test]
fn a_refusal_waits_for_a_connection_that_is_gone_in_vain() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let stranger = desk.join(0, 2, 2);
    desk.send(&mut sender, stranger.device);
    desk.die(sender.at);
    let other = desk.join(0, 3, 3);
    desk.hear(other.at);
    assert_eq!(other.at.conn.index(), sender.at.conn.index());
    desk.advance(1_000);
    assert_eq!(desk.hear(other.at), Vec::<Control>::new());
    assert_eq!(desk.engines[0].counters().reports_lost, 1);
}

fn keep_alive(desk: &mut Desk, peer: &mut Peer, millis: u64) {
    let mut left = millis;
    while left > 0 {
        let step = left.min(25_000);
        desk.advance(step);
        let counter = desk.next_counter(peer, 0);
        desk.send_header(
            peer,
            &hushwire_wire::cell::Header::cover(hushwire_wire::cell::Class::C0, 0, counter),
        );
        left -= step;
    }
}
