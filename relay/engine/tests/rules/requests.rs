//! What a device asks of its relay.

use hushwire_engine::store::Denial;
use hushwire_engine::{Command, EngineLimits, StoreAnswer, StoreQuestion, Why};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{
    Control, ControlError, ErrorCode, GoawayReason, Request, RequestId, Undelivered,
};

use crate::desk::{Desk, Fate, UNIX_MS};

#[test]
fn operations_ask_the_store_and_echo_their_number() {
    for shard in [0, 1] {
        let mut desk = Desk::new(2);
        let mut peer = desk.join(shard, 1, 1);
        let device = desk.device_on(0, 9);
        let table = [
            Request::Register { device, name: "new".into(), proof: [5; 64] },
            Request::Rename { device, name: "newer".into() },
            Request::Grant { device },
            Request::Ungrant { device },
            Request::Presence { hidden: true },
            Request::Revoke { device },
        ];
        for (n, request) in table.into_iter().enumerate() {
            desk.questions.clear();
            let said = desk.request(&mut peer, request.clone());
            assert_eq!(said, [Control::Done { id: RequestId(n as u32 + 1) }], "{request:?}");
            let names_it = match (&request, &desk.questions[..]) {
                (
                    Request::Register { .. },
                    [StoreQuestion::Register { name, asker, proof, .. }],
                ) => name == "new" && *asker == peer.device && **proof == [5; 64],
                (Request::Rename { .. }, [StoreQuestion::Rename { name, .. }]) => name == "newer",
                (Request::Grant { .. }, [StoreQuestion::Grant { recipient, sender, .. }])
                | (Request::Ungrant { .. }, [StoreQuestion::Ungrant { recipient, sender, .. }]) => {
                    *recipient == peer.device && *sender == device
                }
                (Request::Presence { .. }, [StoreQuestion::Presence { hidden, .. }]) => *hidden,
                (Request::Revoke { .. }, [StoreQuestion::Revoke { device: gone, .. }]) => {
                    *gone == device
                }
                _ => false,
            };
            assert!(names_it, "{request:?} asked {:?}", desk.questions);
        }
    }
}

#[test]
fn what_the_store_does_not_do_is_an_error_with_the_number() {
    let check = |answer: StoreAnswer, expect: ErrorCode| {
        let mut desk = Desk::new(1);
        let mut peer = desk.join(0, 1, 1);
        let device = desk.device_on(0, 9);
        desk.next_answers.push_back(answer);
        let said = desk.request(&mut peer, Request::Grant { device });
        let [Control::Error { id: Some(RequestId(1)), code, .. }] = said[..] else {
            panic!("{said:?}")
        };
        assert_eq!(code, expect);
        let mut stranger = desk.join(0, 9, 2);
        assert_eq!(desk.send(&mut stranger, peer.device), Fate::Dropped, "nothing was granted");
    };
    let sentence = "no such device".into();
    check(
        StoreAnswer::Failed { code: ErrorCode::UnknownDevice, sentence },
        ErrorCode::UnknownDevice,
    );
    check(StoreAnswer::Unavailable, ErrorCode::Busy);
}

#[test]
fn a_ping_is_answered_with_the_relays_clock() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    let unix_ms = UNIX_MS + desk.now.as_millis();
    let id = RequestId(1);
    assert_eq!(desk.request(&mut peer, Request::Ping), [Control::Pong { id, unix_ms }]);
    desk.engines[0].set_unix_ms_at_zero(5);
    let (id, unix_ms) = (RequestId(2), 5 + desk.now.as_millis());
    assert_eq!(desk.request(&mut peer, Request::Ping), [Control::Pong { id, unix_ms }]);
}

#[test]
fn an_account_has_sixty_four_operations_a_minute_on_all_shards_together() {
    let mut desk = Desk::new(2);
    let mut devices = [desk.join(0, 1, 1), desk.join(1, 2, 1)];
    let device = desk.device_on(0, 9);
    for n in 0..64 {
        let said = desk.request(&mut devices[n % 2], Request::Ungrant { device });
        assert!(matches!(said[..], [Control::Done { .. }]), "{n}: {said:?}");
    }
    for peer in &mut devices {
        let said = desk.request(peer, Request::Ungrant { device });
        let [Control::Error { code: ErrorCode::RateLimited, sentence, wait_ms, .. }] = &said[..]
        else {
            panic!("{said:?}")
        };
        assert!(sentence.contains("64 operations") && wait_ms.is_some());
    }
    desk.advance(59_000);
    let mut other = desk.join(0, 5, 5);
    let said = desk.request(&mut other, Request::Ungrant { device });
    assert!(matches!(said[..], [Control::Done { .. }]), "another account is free");
}

#[test]
fn a_revoked_device_is_told_and_closed() {
    let mut desk = Desk::new(2);
    let mut owner = desk.join(0, 1, 1);
    let lost = desk.join(1, 2, 1);
    desk.hear(lost.at);
    desk.request(&mut owner, Request::Revoke { device: lost.device });
    let goaway = Control::Goaway { reason: GoawayReason::Revoked, reconnect_after_ms: 0 };
    assert_eq!(desk.hear(lost.at), [goaway]);
    assert_eq!(desk.closes, [(lost.at, true, Why::Revoked)]);
    desk.send(&mut owner, lost.device);
    desk.advance(500);
    assert_eq!(desk.reports(&owner), [(0, 2, Undelivered::Refused)]);
}

#[test]
fn a_row_that_changes_while_it_is_read_is_read_again() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    let mut sender = desk.join(0, 2, 2);
    desk.request(&mut peer, Request::Grant { device: sender.device });
    let stale = desk.rows[&peer.device].clone();
    desk.store_waits = true;
    desk.request(&mut peer, Request::Ungrant { device: sender.device });
    let at = desk.introduce(peer.device, None);
    desk.next_answers.push_back(StoreAnswer::Done);
    desk.next_answers.push_back(StoreAnswer::Admitted(stale));
    desk.rows.get_mut(&peer.device).expect("enrolled").grants.clear();
    desk.answer_store();
    assert!(matches!(desk.hear(at)[..], [Control::Welcome(_)]));
    assert_eq!(desk.send(&mut sender, peer.device), Fate::Dropped, "the old row was not used");
}

#[test]
fn a_row_that_was_read_before_its_device_was_revoked_admits_nobody() {
    let mut desk = Desk::new(2);
    let device = desk.device_on(1, 2);
    desk.enrol(device, 1);
    desk.store_waits = true;
    let at = desk.introduce(device, None);
    let stale = desk.rows.remove(&device).expect("enrolled");
    desk.denials.insert(device, Denial::Revoked);
    // The operator's order reaches every shard, and overtakes the row.
    let now = desk.now;
    for engine in &mut desk.engines {
        engine.revoke(&device, now);
    }
    desk.run(None);
    desk.next_answers.push_back(StoreAnswer::Admitted(stale));
    desk.answer_store();
    let said = desk.hear(at);
    assert!(matches!(said[..], [Control::Error { code: ErrorCode::Unauthenticated, .. }]));
    assert_eq!(desk.closes, [(at, true, Why::Unauthenticated)]);
    assert_eq!(desk.engines[1].counters().admitted, 0);
}

#[test]
fn a_grant_that_cannot_be_held_ends_the_connection_until_there_is_room() {
    let limits = EngineLimits { connections_max: 16, grants_max: 2, ..EngineLimits::default() };
    let mut desk = Desk::with_limits(1, limits);
    let mut first = desk.join(0, 1, 1);
    let mut second = desk.join(0, 2, 2);
    let senders = [3, 4, 5].map(|number| desk.device_on(0, number));
    desk.request(&mut first, Request::Grant { device: senders[0] });
    desk.request(&mut second, Request::Grant { device: senders[1] });
    assert_eq!(desk.engines[0].audit().grants_shard, 2);
    let said = desk.request(&mut second, Request::Grant { device: senders[2] });
    assert!(matches!(said[..], [Control::Error { code: ErrorCode::Busy, wait_ms: Some(_), .. }]));
    assert_eq!(desk.closes, [(second.at, true, Why::Busy)]);
    let at = desk.introduce(second.device, None);
    let said = desk.hear(at);
    assert!(matches!(said[..], [Control::Error { code: ErrorCode::Busy, wait_ms: Some(_), .. }]));
    first = desk.connect(first.device);
    assert_eq!(desk.engines[0].audit().grants_shard, 1, "its own earlier row made room");
    desk.request(&mut first, Request::Ungrant { device: senders[0] });
    desk.connect(second.device);
    assert_eq!(desk.engines[0].audit().grants_shard, 2);
}

#[test]
fn an_unknown_operation_is_answered_and_nonsense_closes() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    desk.hear(peer.at);
    let now = desk.now;
    let id = Some(RequestId(7));
    let unknown = ControlError::Unsupported { id, operation: "teleport".into() };
    desk.engines[0].handle_malformed_control(peer.at.conn, unknown, now);
    desk.run(None);
    let said = desk.hear(peer.at);
    let [Control::Error { id: heard, code: ErrorCode::Unsupported, sentence, .. }] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!(*heard, id);
    assert!(sentence.contains("teleport"));
    assert!(desk.closes.is_empty());
    desk.engines[0].handle_malformed_control(peer.at.conn, ControlError::Field("tag"), now);
    desk.run(None);
    assert_eq!(desk.closes, [(peer.at, true, Why::Malformed)]);
}

#[test]
fn a_device_that_speaks_like_a_relay_is_closed() {
    let id = RequestId(1);
    let goaway = Control::Goaway { reason: GoawayReason::Idle, reconnect_after_ms: 0 };
    for control in [Control::Done { id }, goaway, Control::Pong { id, unix_ms: 0 }] {
        let mut desk = Desk::new(1);
        let peer = desk.join(0, 1, 1);
        let now = desk.now;
        desk.cell(peer.at, &Header::control(Class::C0, 1));
        desk.engines[0].handle_control(peer.at.conn, control, now);
        desk.run(None);
        assert_eq!(desk.closes, [(peer.at, true, Why::Malformed)]);
    }
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_dropped() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    desk.store_waits = true;
    desk.request(&mut peer, Request::Presence { hidden: true });
    desk.die(peer.at);
    let other = desk.join_waiting(0, 2, 2);
    desk.answer_store();
    let said = desk.hear(other);
    assert!(matches!(said[..], [Control::Welcome(_)]), "{said:?}");
    assert!(!matches!(desk.engines[0].poll_command(), Some(Command::Send { .. })));
}
