//! The link without sockets: cells made by hand on the relay's side.

use std::time::{Duration, Instant};

use hushwire::identity::Identity;
use hushwire::link::{
    Answer, AwaitChallenge, AwaitWelcome, CellId, Goaway, HelloSettings, Input, Link, LinkError,
    Opening, Origin, Undeliverable,
};
use hushwire::suite::random::OsRandom;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, HeaderError, LaneCounters, set_counter};
use hushwire_wire::control::{
    self, Control, CoverMode, ErrorCode, GoawayReason, HopLimits, Request, RequestId, Transport,
    Undelivered, Welcome,
};
use hushwire_wire::id::{DeviceId, RelayId};

const RELAY: RelayId = RelayId::new([1; 32]);
const PEER: DeviceId = DeviceId::new([2; 32]);

/// The relay's side of a hop: numbers its cells and checks the device's.
struct Side {
    identity: Identity,
    outbound: LaneCounters,
    inbound: LaneCounters,
    now: Instant,
}

impl Side {
    fn new() -> Self {
        Self {
            identity: Identity::from_secret(&[3; 32]),
            outbound: LaneCounters::default(),
            inbound: LaneCounters::default(),
            #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
            now: Instant::now(),
        }
    }

    fn says(&mut self, control: &Control) -> Vec<u8> {
        let mut cell = control::enclose(&control.encode()).expect("small");
        set_counter(&mut cell, self.outbound.take(0));
        cell
    }

    /// Checks whole cells of the device one by one.
    fn hears(&mut self, mut cells: &[u8]) -> Vec<Header> {
        let mut headers = Vec::new();
        while let Some(head) = cells.first_chunk::<HEADER_LEN>() {
            let header = Header::decode(head).expect("a header");
            assert!(self.inbound.accept(header.lane, header.counter), "{header:?}");
            cells = &cells[header.class.cell_len()..];
            headers.push(header);
        }
        headers
    }

    fn challenge(&mut self, relay: RelayId, versions: Vec<u8>) -> Vec<u8> {
        self.says(&Control::Challenge { nonce: [4; 32], relay, versions })
    }

    fn awaiting(&mut self) -> AwaitWelcome {
        let challenge = self.challenge(RELAY, vec![1]);
        match begin().on_cell(&challenge, &self.identity) {
            Ok(Opening::Next((awaiting, hello))) => {
                assert_eq!(self.hears(&hello).len(), 1);
                awaiting
            }
            other => panic!("a HELLO was due: {other:?}"),
        }
    }

    fn link(&mut self) -> Link {
        let awaiting = self.awaiting();
        let welcome = self.says(&welcome());
        match awaiting.on_cell(&welcome, self.now) {
            Ok(Opening::Next(link)) => link,
            other => panic!("a link was due: {other:?}"),
        }
    }
}

fn begin() -> AwaitChallenge {
    let settings =
        HelloSettings { token: None, name: None, cover: CoverMode::Off, software: "test".into() };
    AwaitChallenge::new(RELAY, settings, Transport::Tls, [5; 32])
}

fn welcome() -> Control {
    Control::Welcome(Welcome {
        shard: 0,
        shards: 1,
        region: String::new(),
        cover: CoverMode::Off,
        limits: HopLimits {
            cells_per_s: 1_000,
            bytes_per_s: 1 << 30,
            egress_bytes: 1 << 20,
            idle_ms: 60_000,
        },
        replaced: false,
        pins: Vec::new(),
        quic_ids: Vec::new(),
    })
}

fn error(code: ErrorCode) -> Control {
    Control::Error { id: None, code, sentence: "because".into(), wait_ms: Some(7) }
}

#[test]
fn hello_is_signed_for_the_expected_relay_only() {
    let check = |first: fn(&mut Side) -> Vec<u8>, expect: LinkError| {
        let mut side = Side::new();
        let cell = first(&mut side);
        match begin().on_cell(&cell, &side.identity) {
            Err(error) => assert_eq!(error, expect),
            other => panic!("{other:?}"),
        }
    };
    let other = RelayId::new([9; 32]);
    check(
        |side| side.challenge(RelayId::new([9; 32]), vec![1]),
        LinkError::WrongRelay { expected: RELAY, found: other },
    );
    check(|side| side.challenge(RELAY, vec![2, 3]), LinkError::Version(vec![2, 3]));
    check(
        |side| side.says(&welcome()),
        LinkError::Malformed("another control cell came before CHALLENGE"),
    );
    check(
        |side| side.says(&error(ErrorCode::Busy)),
        LinkError::Refused {
            code: ErrorCode::Busy,
            sentence: "because".into(),
            wait: Some(Duration::from_millis(7)),
        },
    );
    check(
        |side| {
            side.outbound.take(0);
            side.challenge(RELAY, vec![1])
        },
        LinkError::Counter { lane: 0, found: 1 },
    );
    check(
        |_| {
            let mut cell = vec![0; 256];
            cell[0] = 9;
            cell
        },
        LinkError::Header(HeaderError::Kind(9)),
    );
    check(|_| vec![0; 10], LinkError::Malformed("a cell is cut short"));
    check(
        |side| {
            let mut cell = vec![0; Class::C0.cell_len()];
            let header = Header::unicast(Class::C0, 0, side.outbound.take(0), PEER);
            cell[..HEADER_LEN].copy_from_slice(&header.encode());
            cell
        },
        LinkError::Malformed("a routed cell came before WELCOME"),
    );
}

#[test]
fn a_relay_of_another_version_is_told_of_with_who_must_upgrade() {
    let check = |versions: &[u8], expect: &str| {
        let sentence = LinkError::Version(versions.to_vec()).to_string();
        assert_eq!(sentence, expect);
    };
    let ours = "this software 1";
    check(&[2], &format!("the relay speaks protocol version 2, {ours}: upgrade this software"));
    check(
        &[2, 3],
        &format!("the relay speaks protocol versions 2, 3, {ours}: upgrade this software"),
    );
    let operator = "the relay must be upgraded, ask its operator";
    check(&[0], &format!("the relay speaks protocol version 0, {ours}: {operator}"));
    check(&[], "the relay speaks no version of the protocol: ask its operator");
}

#[test]
fn a_farewell_for_weeks_is_one_for_minutes() {
    let mut side = Side::new();
    let mut link = side.link();
    let reason = GoawayReason::Draining;
    let cell = side.says(&Control::Goaway { reason, reconnect_after_ms: u32::MAX });
    let reconnect_after = Duration::from_secs(300);
    let expect = Input::Goaway(Goaway { reason, reconnect_after });
    assert_eq!(link.handle_cell(&cell, side.now), Ok(expect));
}

#[test]
fn cover_before_welcome_is_counted_and_nothing_else() {
    let mut side = Side::new();
    let awaiting = side.awaiting();
    let mut cover = vec![0; Class::C1.cell_len()];
    let header = Header::cover(Class::C1, 0, side.outbound.take(0));
    cover[..HEADER_LEN].copy_from_slice(&header.encode());
    let Ok(Opening::Same(awaiting)) = awaiting.on_cell(&cover, side.now) else {
        panic!("cover changes nothing")
    };
    let refused = side.says(&error(ErrorCode::Unauthenticated));
    assert!(matches!(
        awaiting.on_cell(&refused, side.now),
        Err(LinkError::Refused { code: ErrorCode::Unauthenticated, .. })
    ));
}

#[test]
fn requests_are_answered_by_number_or_time_out() {
    let mut side = Side::new();
    let mut link = side.link();
    let ask = |link: &mut Link| link.request(Request::Ping, side.now).expect("room");
    let ids: Vec<RequestId> = (0..64).map(|_| ask(&mut link)).collect();
    assert_eq!(link.request(Request::Ping, side.now), None, "64 are open");
    let mut out = Vec::new();
    while link.poll_cell(side.now, &mut OsRandom, &mut out) {}
    assert_eq!(side.hears(&out).len(), 64);

    let answers = [
        (Control::Pong { id: ids[3], unix_ms: 9 }, Some((ids[3], Answer::Clock { unix_ms: 9 }))),
        (Control::Done { id: ids[1] }, Some((ids[1], Answer::Done))),
        (Control::Done { id: ids[1] }, None),
        (Control::Done { id: RequestId(999) }, None),
        (
            Control::Paired { id: Some(ids[2]), tag: [0; 16], device: PEER },
            Some((ids[2], Answer::Met { device: PEER })),
        ),
        (
            Control::Error {
                id: Some(ids[4]),
                code: ErrorCode::Conflict,
                sentence: "taken".into(),
                wait_ms: None,
            },
            Some((
                ids[4],
                Answer::Refused { code: ErrorCode::Conflict, sentence: "taken".into(), wait: None },
            )),
        ),
    ];
    for (control, expect) in answers {
        let cell = side.says(&control);
        let input = link.handle_cell(&cell, side.now).expect("understood");
        let expect = expect.map_or(Input::Nothing, |(id, answer)| Input::Answer { id, answer });
        assert_eq!(input, expect, "{control:?}");
    }
    let late = side.now + Duration::from_secs(10);
    let mut expired = 0;
    while let Some(id) = link.handle_timeout(late).expect("not silent yet") {
        assert!(ids.contains(&id));
        expired += 1;
    }
    assert_eq!(expired, 60);
}

#[test]
fn what_the_relay_says_by_itself() {
    let mut side = Side::new();
    let mut link = side.link();
    let mut cell = vec![0; Class::C0.cell_len()];
    link.stamp(&mut cell, 5, PEER, Origin::Conversation(CellId(70)), side.now);
    link.stamp(&mut cell, 5, PEER, Origin::Pairing, side.now);
    assert_eq!(side.inbound.take(5), 0);
    let undeliverable = |counter, reason| Control::Undeliverable { lane: 5, counter, reason };
    let lost = |origin, reason| Input::Undeliverable(Undeliverable { peer: PEER, origin, reason });
    let conversation = Origin::Conversation(CellId(70));
    let table = [
        (undeliverable(1, Undelivered::Offline), lost(Origin::Pairing, Undelivered::Offline)),
        (undeliverable(0, Undelivered::Busy), lost(conversation, Undelivered::Busy)),
        (undeliverable(0, Undelivered::Busy), Input::Nothing),
        (undeliverable(77, Undelivered::Busy), Input::Nothing),
        (
            Control::Goaway { reason: GoawayReason::Draining, reconnect_after_ms: 1_500 },
            Input::Goaway(Goaway {
                reason: GoawayReason::Draining,
                reconnect_after: Duration::from_millis(1_500),
            }),
        ),
        (
            Control::Paired { id: None, tag: [6; 16], device: PEER },
            Input::Joined { tag: [6; 16], device: PEER },
        ),
        (error(ErrorCode::Unsupported), Input::Nothing),
    ];
    for (control, expect) in table {
        let cell = side.says(&control);
        assert_eq!(link.handle_cell(&cell, side.now), Ok(expect), "{control:?}");
    }
    let mut body = vec![0; Class::C0.cell_len()];
    let header = Header::unicast(Class::C0, 3, side.outbound.take(3), PEER);
    body[..HEADER_LEN].copy_from_slice(&header.encode());
    assert_eq!(link.handle_cell(&body, side.now), Ok(Input::Body { peer: PEER }));
    let again = link.handle_cell(&body, side.now);
    assert_eq!(again, Err(LinkError::Counter { lane: 3, found: 0 }));
}

#[test]
fn a_control_cell_out_of_place_ends_the_link() {
    for control in [
        welcome(),
        Control::Challenge { nonce: [0; 32], relay: RELAY, versions: vec![1] },
        Control::Request { id: RequestId(1), request: Request::Ping },
        error(ErrorCode::Malformed),
    ] {
        let mut side = Side::new();
        let mut link = side.link();
        let cell = side.says(&control);
        assert!(link.handle_cell(&cell, side.now).is_err(), "{control:?}");
    }
    let mut side = Side::new();
    let mut link = side.link();
    let mut cell = side.says(&Control::Done { id: RequestId(1) });
    let last = cell.len() - 1;
    cell[last] = 1;
    assert!(matches!(link.handle_cell(&cell, side.now), Err(LinkError::Control(_))));
}

#[test]
fn silence_is_kept_alive_and_a_dead_relay_noticed() {
    let mut side = Side::new();
    let mut link = side.link();
    let start = side.now;
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut out = Vec::new();
    assert!(!link.poll_cell(after(24), &mut OsRandom, &mut out));
    assert!(link.next_timeout() <= after(25));
    assert!(link.poll_cell(after(25), &mut OsRandom, &mut out));
    assert!(!link.poll_cell(after(25), &mut OsRandom, &mut out));
    let headers = side.hears(&out);
    assert_eq!(headers[0].kind, hushwire_wire::cell::Kind::Cover);
    assert!(out[HEADER_LEN..].iter().any(|&byte| byte != 0), "a random body");

    assert_eq!(link.handle_timeout(after(44)), Ok(None));
    assert_eq!(link.handle_timeout(after(45)), Ok(None));
    out.clear();
    assert!(link.poll_cell(after(45), &mut OsRandom, &mut out));
    assert_eq!(side.hears(&out)[0].kind, hushwire_wire::cell::Kind::Control);
    assert_eq!(link.handle_timeout(after(54)), Ok(None));
    assert_eq!(link.handle_timeout(after(55)), Err(LinkError::Silent));
}

#[test]
fn an_answered_probe_is_nobodys_answer() {
    let mut side = Side::new();
    let mut link = side.link();
    let later = side.now + Duration::from_secs(45);
    assert_eq!(link.handle_timeout(later), Ok(None));
    let pong = side.says(&Control::Pong { id: RequestId(1), unix_ms: 1 });
    assert_eq!(link.handle_cell(&pong, later), Ok(Input::Nothing));
    assert_eq!(link.handle_timeout(later + Duration::from_secs(44)), Ok(None));
}

#[test]
fn rates_are_kept_and_a_reprimand_is_heeded() {
    let mut side = Side::new();
    let mut link = side.link();
    let mut cell = vec![0; Class::C0.cell_len()];
    let mut sent = 0;
    while link.ready_at(side.now).is_none() {
        link.stamp(&mut cell, 0, PEER, Origin::Pairing, side.now);
        sent += 1;
    }
    assert!((999..=1_001).contains(&sent), "a second's worth: {sent}");
    let later = side.now + Duration::from_secs(2);
    assert_eq!(link.ready_at(later), None);
    let reprimand = side.says(&Control::Error {
        id: None,
        code: ErrorCode::RateLimited,
        sentence: "too fast".into(),
        wait_ms: Some(5_000),
    });
    assert_eq!(link.handle_cell(&reprimand, later), Ok(Input::Nothing));
    assert_eq!(link.ready_at(later), Some(later + Duration::from_secs(5)));
}
