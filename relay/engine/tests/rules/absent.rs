//! Destinations that are not connected.

use hushwire_engine::store::Reach;
use hushwire_engine::{StoreAnswer, StoreQuestion};
use hushwire_wire::control::{Request, Undelivered};

use crate::desk::{Desk, Fate};

#[test]
fn an_absent_device_is_asked_for_once_in_five_seconds() {
    for shard in [0, 1] {
        let mut desk = Desk::new(2);
        let mut sender = desk.join(0, 1, 1);
        let absent = desk.device_on(shard, 2);
        desk.enrol(absent, 1);
        desk.questions.clear();
        for counter in 1..4 {
            assert_eq!(desk.send(&mut sender, absent), Fate::Dropped);
            assert_eq!(desk.reports(&sender), [(0, counter, Undelivered::Offline)]);
        }
        assert_eq!(desk.questions.len(), 1);
        assert!(matches!(desk.questions[0], StoreQuestion::Reach { .. }));
        desk.advance(5_001);
        desk.send(&mut sender, absent);
        assert_eq!(desk.questions.len(), 2);
    }
}

#[test]
fn cells_join_the_question_and_all_are_answered() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let absent = desk.device_on(0, 2);
    desk.enrol(absent, 1);
    desk.store_waits = true;
    desk.questions.clear();
    for _ in 0..40 {
        desk.send(&mut sender, absent);
    }
    assert_eq!(desk.questions.len(), 1);
    let busy = desk.reports(&sender);
    assert_eq!(busy.len(), 8, "beyond 32 cells the answer is busy");
    assert!(busy.iter().all(|report| report.2 == Undelivered::Busy));
    desk.answer_store();
    let offline = desk.reports(&sender);
    assert_eq!(offline.len(), 32);
    assert!(offline.iter().all(|report| report.2 == Undelivered::Offline));
    let mut counters: Vec<u64> = busy.iter().chain(&offline).map(|report| report.1).collect();
    counters.sort_unstable();
    assert!(counters.into_iter().eq(1..=40), "each cell is reported once");
}

#[test]
fn a_store_that_cannot_answer_means_busy_and_is_asked_again() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let absent = desk.device_on(0, 2);
    desk.enrol(absent, 1);
    desk.next_answers.push_back(StoreAnswer::Unavailable);
    desk.send(&mut sender, absent);
    assert_eq!(desk.reports(&sender), [(0, 1, Undelivered::Busy)]);
    desk.send(&mut sender, absent);
    assert_eq!(desk.reports(&sender), [(0, 2, Undelivered::Offline)]);
}

#[test]
fn a_connection_or_a_grant_clears_what_was_known() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let other = desk.device_on(0, 2);
    desk.enrol(other, 2);
    desk.send(&mut sender, other);
    desk.advance(500);
    assert_eq!(desk.reports(&sender), [(0, 1, Undelivered::Refused)]);
    let mut connected = desk.connect(other);
    desk.request(&mut connected, Request::Grant { device: sender.device });
    desk.die(connected.at);
    desk.send(&mut sender, other);
    assert_eq!(desk.reports(&sender), [(0, 2, Undelivered::Offline)]);
}

#[test]
fn a_device_that_hides_its_presence_is_silent_when_absent() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let mut other = desk.join(0, 2, 1);
    desk.request(&mut other, Request::Presence { hidden: true });
    assert_eq!(desk.send(&mut sender, other.device), Fate::Sealed(other.at));
    desk.die(other.at);
    desk.send(&mut sender, other.device);
    desk.advance(1_000);
    assert_eq!(desk.reports(&sender), []);
    assert_eq!(desk.engines[0].counters().hidden_silenced, 1);
    let mut other = desk.connect(other.device);
    desk.request(&mut other, Request::Presence { hidden: false });
    desk.die(other.at);
    desk.send(&mut sender, other.device);
    assert_eq!(desk.reports(&sender), [(0, 3, Undelivered::Offline)]);
}

#[test]
fn one_sender_cannot_use_up_the_questions() {
    let mut desk = Desk::new(1);
    let mut flooder = desk.join(0, 1, 1);
    let mut sender = desk.join(0, 2, 1);
    desk.store_waits = true;
    let wanted = desk.device_on(0, 200);
    for number in 10..40 {
        let absent = desk.device_on(0, number);
        desk.send(&mut flooder, absent);
    }
    assert_eq!(desk.reports(&flooder).len(), 14, "sixteen questions, then busy");
    desk.send(&mut sender, wanted);
    assert_eq!(desk.reports(&sender), []);
    let offline = StoreAnswer::Reach(Reach::Offline { push: true, hidden: false });
    desk.next_answers.extend(vec![offline; 17]);
    desk.answer_store();
    assert_eq!(desk.reports(&sender), [(0, 1, Undelivered::Offline)]);
    assert_eq!(desk.reports(&flooder).len(), 16);
}
