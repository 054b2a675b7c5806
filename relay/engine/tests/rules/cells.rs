//! Cells of a welcomed device: counters, rates, permission, the flow cache.

use hushwire_engine::store::DeviceRow;
use hushwire_engine::{ConnId, Engine, Time, Verdict, Why};
use hushwire_wire::cell::{Class, Header, HeaderError, Kind};
use hushwire_wire::control::{Control, ErrorCode, Request, Undelivered};
use hushwire_wire::id::{AccountId, ChannelId, DeviceId};

use crate::desk::{Desk, Fate};

#[test]
fn devices_of_one_account_and_granted_ones_reach_each_other_on_any_shard() {
    for shard in [0, 1] {
        let mut desk = Desk::new(2);
        let mut sender = desk.join(0, 1, 1);
        let sibling = desk.join(shard, 2, 1);
        let friend = desk.device_on(shard, 3);
        let account = AccountId::new([2; 16]);
        let grants = vec![sender.device];
        desk.rows.insert(friend, DeviceRow { account, hidden: false, grants });
        let friend = desk.connect(friend);
        for _ in 0..3 {
            assert_eq!(desk.send(&mut sender, sibling.device), Fate::Sealed(sibling.at));
            assert_eq!(desk.send(&mut sender, friend.device), Fate::Sealed(friend.at));
            assert_eq!(desk.send(&mut sender, friend.device), Fate::Sealed(friend.at));
        }
        let own = sender.device;
        assert_eq!(desk.send(&mut sender, own), Fate::Sealed(sender.at), "to itself");
        assert_eq!(desk.reports(&sender), []);
        let counters = desk.engines[0].counters();
        assert_eq!(counters.cells_crossed_out, if shard == 1 { 9 } else { 0 });
    }
}

#[test]
fn a_grant_does_not_work_backwards() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let mut other = desk.join(0, 2, 2);
    desk.request(&mut other, Request::Grant { device: sender.device });
    assert_eq!(desk.send(&mut sender, other.device), Fate::Sealed(other.at));
    assert_eq!(desk.send(&mut other, sender.device), Fate::Dropped);
}

#[test]
fn taking_a_grant_back_stops_a_running_flow() {
    for shard in [0, 1] {
        let mut desk = Desk::new(2);
        let mut sender = desk.join(0, 1, 1);
        let mut other = desk.join(shard, 2, 2);
        desk.request(&mut other, Request::Grant { device: sender.device });
        for _ in 0..3 {
            assert_eq!(desk.send(&mut sender, other.device), Fate::Sealed(other.at));
        }
        desk.request(&mut other, Request::Ungrant { device: sender.device });
        assert_eq!(desk.send(&mut sender, other.device), Fate::Dropped);
        desk.request(&mut other, Request::Grant { device: sender.device });
        assert_eq!(desk.send(&mut sender, other.device), Fate::Sealed(other.at));
    }
}

#[test]
fn a_running_flow_follows_its_peer_to_a_new_connection_and_never_to_a_stranger() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = desk.join(0, 2, 1);
    assert_eq!(desk.send(&mut sender, peer.device), Fate::Sealed(peer.at));
    desk.die(peer.at);
    let stranger = desk.join(0, 3, 3);
    assert_eq!(stranger.at.conn.index(), peer.at.conn.index(), "the index is used again");
    assert_eq!(desk.send(&mut sender, peer.device), Fate::Dropped);
    let again = desk.connect(peer.device);
    assert_eq!(desk.send(&mut sender, peer.device), Fate::Sealed(again.at));
}

#[test]
fn a_stale_connection_is_refused_everywhere() {
    let mut desk = Desk::new(1);
    let old = desk.join(0, 1, 1);
    desk.die(old.at);
    let new = desk.join(0, 2, 1);
    assert_eq!(new.at.conn.index(), old.at.conn.index());
    let before = desk.engines[0].audit();
    let (engine, now) = (&mut desk.engines[0], desk.now);
    let header = Header::unicast(Class::C0, 0, 1, new.device);
    assert_eq!(engine.handle_cell(old.at.conn, &header, now), Verdict::Drop);
    engine.handle_malformed_cell(old.at.conn, HeaderError::Address, now);
    engine.handle_malformed_stream(old.at.conn, "not a cell", now);
    engine.handle_control(
        old.at.conn,
        Control::Done { id: hushwire_wire::control::RequestId(1) },
        now,
    );
    engine.handle_sealed(old.at.conn, 7);
    assert!(!engine.handle_drained(old.at.conn, 7));
    engine.refuse(old.at.conn, ErrorCode::Busy, "", now);
    engine.handle_closed(old.at.conn, now);
    assert_eq!(engine.device_of(old.at.conn), None);
    desk.run(None);
    assert!(desk.closes.is_empty());
    assert_eq!(desk.engines[0].audit(), before);
    assert_eq!(desk.engines[0].counters().cells_stale, 1);
}

#[test]
fn counters_are_per_lane_and_anything_else_closes() {
    let check = |lane: u32, counter: u64, expect: Verdict| {
        let mut desk = Desk::new(1);
        let peer = desk.join(0, 1, 1);
        desk.hear(peer.at);
        let verdict = desk.cell(peer.at, &Header::cover(Class::C0, lane, counter));
        desk.run(None);
        assert_eq!(verdict, expect, "lane {lane}, counter {counter}");
        if expect != Verdict::Drop {
            let said = desk.hear(peer.at);
            assert!(matches!(said[..], [Control::Error { code: ErrorCode::Malformed, .. }]));
            assert_eq!(desk.closes, [(peer.at, true, Why::Malformed)]);
            assert_eq!(desk.engines[0].counters().closed_malformed, 1);
        }
    };
    let malformed = Verdict::Close(Why::Malformed);
    check(0, 1, Verdict::Drop);
    check(0, 0, malformed);
    check(0, 2, malformed);
    check(1, 0, Verdict::Drop);
    check(7, 0, Verdict::Drop);
    check(7, 1, malformed);
    check(3, u64::MAX, malformed);
}

#[test]
fn what_is_no_cell_closes_with_its_reason() {
    let check = |expect: &str, spoil: &dyn Fn(&mut Engine, ConnId, Time)| {
        let mut desk = Desk::new(1);
        let peer = desk.join(0, 1, 1);
        desk.hear(peer.at);
        let now = desk.now;
        spoil(&mut desk.engines[0], peer.at.conn, now);
        desk.run(None);
        let said = desk.hear(peer.at);
        let [Control::Error { code: ErrorCode::Malformed, sentence, .. }] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert!(sentence.contains(expect), "{sentence}");
        let counters = desk.engines[0].counters();
        assert_eq!((counters.closed_malformed, counters.denied), (1, 0), "{expect}");
    };
    check("class 9", &|engine, conn, now| {
        engine.handle_malformed_cell(conn, HeaderError::Class(9), now);
    });
    check("half a cell", &|engine, conn, now| {
        engine.handle_malformed_stream(conn, "half a cell", now);
    });
}

#[test]
fn a_device_over_its_rate_hears_busy_for_each_cell_and_once_a_second_which_limit() {
    let check = |class: Class, burst: u64, limit: &str| {
        let mut desk = Desk::new(1);
        let mut sender = desk.join(0, 1, 1);
        let peer = desk.join(0, 2, 1);
        for _ in 0..burst {
            assert_ne!(desk.send_class(&mut sender, peer.device, class), Fate::Dropped);
        }
        desk.hear(sender.at);
        for _ in 0..3 {
            assert_eq!(desk.send_class(&mut sender, peer.device, class), Fate::Dropped);
        }
        let said = desk.hear(sender.at);
        let busy = |control: &&Control| {
            matches!(control, Control::Undeliverable { reason: Undelivered::Busy, .. })
        };
        assert_eq!(said.iter().filter(busy).count(), 3, "{said:?}");
        let limit_told = |control: &Control| {
            if let Control::Error { code: ErrorCode::RateLimited, sentence, wait_ms, .. } = control
            {
                Some((sentence.clone(), wait_ms.expect("a wait")))
            } else {
                None
            }
        };
        let told: Vec<_> = said.iter().filter_map(limit_told).collect();
        let [(sentence, wait_ms)] = told.as_slice() else { panic!("{said:?}") };
        assert!(sentence.contains(limit), "{sentence}");
        desk.advance(u64::from(*wait_ms));
        assert_ne!(desk.send_class(&mut sender, peer.device, class), Fate::Dropped);
        assert!(desk.closes.is_empty(), "a rate is no reason to close");
    };
    check(Class::C0, 4_000, "2000 cells");
    check(Class::C7, 1_024, "16777216 bytes");
}

#[test]
fn cover_is_counted_and_discarded() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    for n in 0..5 {
        let counter = desk.next_counter(&peer, 0);
        let fate = desk.send_header(&mut peer, &Header::cover(Class::ALL[n], 0, counter));
        assert_eq!(fate, Fate::Dropped);
    }
    assert_eq!(desk.engines[0].counters().covers_in, 5);
}

#[test]
fn a_broadcast_is_unsupported_and_goes_on() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    desk.hear(peer.at);
    let counter = desk.next_counter(&peer, 0);
    let header = Header {
        kind: Kind::Broadcast,
        peer: DeviceId::ZERO,
        channel: ChannelId::new([1; 16]),
        ..Header::unicast(Class::C0, 0, counter, peer.device)
    };
    assert_eq!(desk.send_header(&mut peer, &header), Fate::Dropped);
    let said = desk.hear(peer.at);
    assert!(matches!(said[..], [Control::Error { code: ErrorCode::Unsupported, .. }]), "{said:?}");
    assert!(desk.closes.is_empty());
}

#[test]
fn a_full_inbox_of_another_shard_is_busy() {
    let mut desk = Desk::new(2);
    let sender = desk.join(0, 1, 1);
    let peer = desk.join(1, 2, 1);
    let verdict = desk.cell(sender.at, &Header::unicast(Class::C0, 5, 0, peer.device));
    let Verdict::Port { to, envelope } = verdict else { panic!("{verdict:?}") };
    assert_eq!(
        (to, envelope.sender, envelope.recipient),
        (peer.at.shard, sender.device, peer.device)
    );
    let now = desk.now;
    desk.engines[0].handle_port_full(&envelope, now);
    desk.run(None);
    assert_eq!(desk.reports(&sender), [(5, 0, Undelivered::Busy)]);
}
