//! Handshakes that a paired device sends in bad faith, too often, or in another version; and what a relay makes of
//! recorded ones.

use std::time::{Duration, Instant};

use hushwire::conversation::limits::HANDSHAKES_ANSWERED_BURST;
use hushwire::conversation::{Conversation, Event, Moment, OutboxLimits, PeerKeys};
use hushwire::identity::Identity;
use hushwire::journal::PeerLogs;
use hushwire::suite::frame_types::{Frame, FrameWriter, Frames};
use hushwire::suite::frames::{ConnectionSalt, Session};
use hushwire::suite::handshake::{
    AwaitHs2, HandshakeError, Incompatible, Initiator, Responder, Setup,
};
use hushwire::suite::keys::{PairKey, Psk};
use hushwire::suite::random::OsRandom;
use hushwire::suite::seal::OuterSeal;
use hushwire::suite::{Minimum, Suite};
use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::Undelivered;

/// A conversation and, at its other end, somebody with the right keys who says whatever a test wants.
struct Fixture {
    ours: Identity,
    peer: Identity,
    key: PairKey,
    conversation: Conversation,
    moment: Moment,
    events: Vec<Event>,
}

impl Fixture {
    /// `smaller` says whether the conversation has the smaller device ID, whose handshake goes on where two cross.
    fn new(smaller: bool) -> Self {
        let (one, other) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let in_order = one.device_id() < other.device_id();
        let (ours, peer) = if in_order == smaller { (one, other) } else { (other, one) };
        let key = PairKey::new([3; 32]);
        let keys = PeerKeys {
            pair_key: key.clone(),
            minimum: Minimum::Hybrid,
            last_sent_ns: 0,
            last_seen_ns: 0,
        };
        let salt = ConnectionSalt::draw(&mut OsRandom);
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let moment = Moment { now: Instant::now(), unix_ns: 1_000 };
        let (our_id, peer_id) = (ours.device_id(), peer.device_id());
        let mut conversation =
            Conversation::new(our_id, peer_id, keys, PeerLogs::default(), salt, &mut OsRandom);
        conversation.handle_connected(salt, moment);
        Self { ours, peer, key, conversation, moment, events: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.moment.now += time;
        self.moment.unix_ns += time.as_nanos() as u64;
        let (ours, moment) = (&self.ours, self.moment);
        self.conversation.handle_timeout(ours, moment, true, &mut OsRandom);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.conversation.poll_event() {
            self.events.push(event);
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            peer: self.ours.device_id(),
            psk: Psk::Session(self.key.clone()),
            minimum: Minimum::Any,
            class_max: Class::C7,
        }
    }

    /// An HS1 of the peer with this time.
    fn hs1(&self, suite: Suite, time_ns: u64) -> (AwaitHs2, Vec<u8>) {
        Initiator::start(self.setup(), suite, &self.peer, time_ns, 0, &mut OsRandom)
            .expect("any suite will do")
    }

    /// A handshake content from the peer under the outer seal, as a body.
    fn sealed(&self, content: &[u8]) -> Vec<u8> {
        let mut body = vec![0; Class::C3.body_len()];
        OuterSeal::paired(&self.key, &self.peer.device_id(), &self.ours.device_id())
            .seal(content, &mut body, &mut OsRandom)
            .expect("fits");
        body
    }

    fn gets(&mut self, mut body: Vec<u8>) {
        let (ours, moment) = (&self.ours, self.moment);
        self.conversation.handle_body(&mut body, ours, moment, true, &mut OsRandom);
        self.collect();
    }

    fn says(&mut self, content: &[u8]) {
        self.gets(self.sealed(content));
    }

    /// Gives a message, which is on disk at once.
    fn pushes(&mut self, bytes: &[u8]) {
        let (moment, limits) = (self.moment, OutboxLimits::default());
        self.conversation.push_message(bytes.to_vec(), None, limits, moment).expect("room");
        self.stores();
    }

    fn stores(&mut self) {
        while self.conversation.poll_entry().is_some() {
            self.conversation.handle_stored(self.moment, &mut OsRandom);
        }
        self.collect();
    }

    /// Bodies that the conversation sends now.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        let mut cell = Vec::new();
        while self.conversation.poll_cell(self.moment, &mut OsRandom, &mut cell).is_some() {
            bodies.push(cell.split_off(HEADER_LEN));
            cell.clear();
        }
        self.collect();
        bodies
    }

    /// Contents under the outer seal among what the conversation sends now.
    fn answers(&mut self) -> Vec<Vec<u8>> {
        let seal = OuterSeal::paired(&self.key, &self.ours.device_id(), &self.peer.device_id());
        let open = |mut body: Vec<u8>| seal.open(&mut body).ok().map(<[u8]>::to_vec);
        self.sent().into_iter().filter_map(open).collect()
    }

    /// A whole handshake that the peer begins.
    fn session(&mut self) -> Session {
        let (state, hs1) = self.hs1(Suite::HybridAes, self.moment.unix_ns);
        self.says(&hs1);
        let hs2 = self.answers().pop().expect("HS2");
        let (established, hs3) = state.on_hs2(&self.peer, &hs2).expect("a good HS2");
        self.says(&hs3);
        assert!(self.conversation.is_up());
        let salt = ConnectionSalt::draw(&mut OsRandom);
        Session::new(&established.session_keys(), salt, 0, &mut OsRandom)
    }

    fn sends(&mut self, session: &mut Session, frame: &Frame<'_>) {
        let mut bytes = vec![0; frame.encoded_len()];
        FrameWriter::new(&mut bytes).push(frame).expect("its own length");
        self.sends_bytes(session, &bytes);
    }

    fn sends_bytes(&mut self, session: &mut Session, frames: &[u8]) {
        let class = Class::for_body(frames.len() + 32).expect("fits a cell");
        let mut body = vec![0; class.body_len()];
        session.sender.seal(frames, &mut body).expect("fits");
        self.gets(body);
    }

    fn incompatible(&self) -> Vec<Incompatible> {
        let why = |event: &Event| {
            if let Event::PeerIncompatible { why } = event { Some(*why) } else { None }
        };
        self.events.iter().filter_map(why).collect()
    }

    fn answered(&self) -> usize {
        let is = |event: &&Event| matches!(event, Event::HandshakeAnswered { .. });
        self.events.iter().filter(is).count()
    }
}

/// HS1 as a later version might have it: only its first two bytes are known.
fn hs1_of_version(version: u8, mut hs1: Vec<u8>) -> Vec<u8> {
    hs1[1] = version;
    hs1
}

const GREETING: Frame<'static> =
    Frame::Open { slot: 1, conversation: [0; 16], incarnation: 5, first_held: 0, next: 0 };

#[test]
fn hostile_handshakes_leave_a_live_session_alone() {
    for smaller in [false, true] {
        let mut fixture = Fixture::new(smaller);
        let mut session = fixture.session();
        let _greeting = fixture.sent();
        let before = fixture.answered();
        let mut states = Vec::new();
        for number in 0..1_000 {
            let (state, hs1) = fixture.hs1(Suite::HybridAes, 2_000 + number);
            states.push(state);
            fixture.says(&hs1);
            let answers = fixture.answers();
            assert!(answers.len() <= 1, "never more than was asked");
        }
        let answered = fixture.answered() - before;
        assert!(answered <= HANDSHAKES_ANSWERED_BURST as usize, "{answered} answered at once");
        assert!(answered >= 1);
        // HS3 that no HS2 came before, of all kinds.
        for content in [vec![3; 184], vec![3, 1, 2, 0], vec![2; 1_304], vec![], vec![255; 1_932]] {
            fixture.says(&content);
        }
        assert!(fixture.conversation.is_up());
        assert!(!fixture.events.iter().any(|event| matches!(event, Event::SessionLost)));

        // The session goes on in both directions.
        fixture.sends(&mut session, &GREETING);
        fixture.pushes(b"still");
        let mut arrived = false;
        for mut body in fixture.sent() {
            let Ok(frames) = session.receiver.open(&mut body) else { continue };
            arrived |= Frames::new(frames).any(|frame| matches!(frame, Ok(Frame::Data(_))));
        }
        assert!(arrived);

        // A second later the peer is answered again, and what it began in good faith ends well.
        fixture.pass(Duration::from_secs(11));
        let ups = |fixture: &Fixture| {
            fixture.events.iter().filter(|event| matches!(event, Event::SessionUp)).count()
        };
        assert_eq!(ups(&fixture), 1);
        fixture.moment.unix_ns += 1_000_000;
        let _fresh = fixture.session();
        assert_eq!(ups(&fixture), 2);
    }
}

#[test]
fn replays_use_up_no_answers() {
    let mut fixture = Fixture::new(false);
    let (_, old) = fixture.hs1(Suite::HybridAes, 500);
    let recorded = fixture.sealed(&old);
    let _session = fixture.session();
    let _greeting = fixture.sent();
    let before = fixture.answered();
    for _ in 0..500 {
        fixture.gets(recorded.clone());
    }
    assert_eq!(fixture.answered(), before);
    assert!(fixture.answers().is_empty() && !fixture.conversation.is_shaking());
    fixture.moment.unix_ns += 1;
    let _fresh = fixture.session();
}

#[test]
fn a_peer_that_answered_and_was_started_anew_is_begun_with_anew() {
    let mut fixture = Fixture::new(true);
    fixture.pushes(b"are you there?");
    fixture.pass(Duration::ZERO);
    let first = fixture.answers().pop().expect("HS1");
    let answer = |fixture: &Fixture, hs1: &[u8], last_seen_ns| {
        Responder::on_hs1(&fixture.setup(), &fixture.peer, hs1, last_seen_ns, &mut OsRandom)
    };
    // The peer writes down that it answered, and dies with the answer; what it is now has a message for us as well.
    let (died, _lost) = answer(&fixture, &first, 0).expect("a good HS1");
    let last_seen_ns = died.time_ns();
    let (_state, hs1) = fixture.hs1(Suite::HybridAes, 5_000);
    fixture.says(&hs1);
    let again = fixture.answers().pop().expect("HS1");
    assert_eq!(again, first, "it may only have been lost");
    assert!(matches!(answer(&fixture, &again, last_seen_ns), Err(HandshakeError::Replayed { .. })));
    fixture.says(&hs1);
    assert_eq!(fixture.answers().pop().expect("HS1"), first, "or be on its way");
    // When the peer says it again.
    fixture.pass(Duration::from_millis(1_500));
    fixture.answers();
    fixture.says(&hs1);
    let anew = fixture.answers().pop().expect("HS1");
    // However often, no more come of it.
    for _ in 0..40 {
        fixture.says(&hs1);
        assert!(fixture.answers().iter().all(|content| *content == anew));
    }
    let (state, hs2) = answer(&fixture, &anew, last_seen_ns).expect("a later HS1");
    fixture.says(&hs2);
    let hs3 = fixture.answers().pop().expect("HS3");
    assert!(state.on_hs3(&hs3).is_ok());
    assert!(fixture.conversation.is_up());
}

#[test]
fn a_peer_that_lost_its_session_is_not_renewed_with_inside_of_it() {
    let mut fixture = Fixture::new(true);
    let _lost = fixture.session();
    fixture.pass(Duration::from_secs(61 * 60));
    assert!(!fixture.sent().is_empty(), "the renewal goes inside");
    let (_state, hs1) = fixture.hs1(Suite::HybridAes, fixture.moment.unix_ns);
    fixture.says(&hs1);
    let outside = fixture.answers().pop().expect("HS1");
    let answered = Responder::on_hs1(&fixture.setup(), &fixture.peer, &outside, 0, &mut OsRandom);
    let (state, hs2) = answered.expect("a good HS1");
    fixture.says(&hs2);
    let hs3 = fixture.answers().pop().expect("HS3");
    assert!(state.on_hs3(&hs3).is_ok());
    // And if nobody answers, it is over in its time, and the peer's is answered.
    let mut fixture = Fixture::new(true);
    let _lost = fixture.session();
    fixture.pass(Duration::from_secs(61 * 60));
    fixture.sent();
    let mut answers = Vec::new();
    for _ in 0..14 {
        let (_state, hs1) = fixture.hs1(Suite::HybridAes, fixture.moment.unix_ns);
        fixture.says(&hs1);
        answers.extend(fixture.answers());
        fixture.pass(Duration::from_secs(1));
    }
    assert!(answers.iter().any(|content| content.first() == Some(&2)), "HS2");
}

#[test]
fn a_relay_that_denies_an_answer_does_not_end_the_handshake() {
    let mut fixture = Fixture::new(false);
    let (state, hs1) = fixture.hs1(Suite::HybridAes, 2_000);
    fixture.says(&hs1);
    let mut cell = Vec::new();
    let sent = fixture
        .conversation
        .poll_cell(fixture.moment, &mut OsRandom, &mut cell)
        .expect("HS2 is sent");
    for reason in [Undelivered::Offline, Undelivered::Refused] {
        let moment = fixture.moment;
        fixture.conversation.handle_undeliverable(sent.id, reason, moment, &mut OsRandom);
    }
    // The initiator has not heard anything and asks again, with the very same message.
    fixture.pass(Duration::from_millis(1_500));
    fixture.says(&hs1);
    let hs2 = fixture.answers().pop().expect("HS2 again");
    let (_, hs3) = state.on_hs2(&fixture.peer, &hs2).expect("a good HS2");
    fixture.says(&hs3);
    assert!(fixture.conversation.is_up());
}

#[test]
fn a_peer_of_another_version_is_answered_and_told_of() {
    let check = |what: &str, expect: Incompatible, hs1: &dyn Fn(&Fixture) -> Vec<u8>| {
        let mut fixture = Fixture::new(false);
        let hs1 = hs1(&fixture);
        fixture.says(&hs1);
        let answers = fixture.answers();
        // VERSIONS: 1 to 1, suites 1 and 2.
        assert_eq!(answers.len(), 1, "{what}");
        assert_eq!(answers[0][..8], [4, 1, 1, 0, 0b110, 0, 0, 0], "{what}");
        assert_eq!(answers[0].len(), 40, "{what}");
        assert_eq!(fixture.incompatible(), [expect], "{what}");
        assert!(!fixture.conversation.is_shaking());

        // Neither the peer nor the user hears of it over and over.
        for _ in 0..100 {
            fixture.says(&hs1);
        }
        assert!(fixture.answers().is_empty() && fixture.incompatible().len() == 1, "{what}");
        fixture.pass(Duration::from_secs(2));
        fixture.says(&hs1);
        assert_eq!(fixture.answers().len(), 1, "{what}");
        assert_eq!(fixture.incompatible().len(), 1, "{what}");
        fixture.pass(Duration::from_secs(30));
        fixture.says(&hs1);
        assert_eq!(fixture.incompatible().len(), 2, "{what}");

        // Once upgraded it is welcome.
        let _session = fixture.session();
    };
    let good = |fixture: &Fixture| fixture.hs1(Suite::HybridAes, 1_000).1;
    check("a later version", Incompatible::PeerNewer(2), &|fixture| {
        hs1_of_version(2, good(fixture))
    });
    check("of another length", Incompatible::PeerNewer(200), &|_| vec![1, 200, 77]);
    check("an earlier version", Incompatible::PeerOlder(0), &|fixture| {
        hs1_of_version(0, good(fixture))
    });
    check("an unknown suite", Incompatible::UnknownSuite(9), &|fixture| {
        let mut hs1 = good(fixture);
        hs1[2] = 9;
        hs1
    });
    check("a suite this pair is past", Incompatible::WeakSuite(Suite::ClassicalAes), &|fixture| {
        fixture.hs1(Suite::ClassicalAes, 1_000).1
    });
}

#[test]
fn who_must_upgrade_stands_in_the_sentence() {
    let check = |why: Incompatible, this: bool| {
        let sentence = why.to_string();
        let advice = if this { "upgrade this device" } else { "upgrade the peer" };
        assert!(sentence.ends_with(advice), "{sentence}");
    };
    check(Incompatible::PeerNewer(2), true);
    check(Incompatible::PeerOlder(0), false);
    check(Incompatible::UnknownSuite(7), true);
    check(Incompatible::WeakSuite(Suite::ClassicalAes), false);
    check(Incompatible::SuiteRefused(Suite::HybridAes), false);
    check(Incompatible::UnknownFrame(0x44), true);
    check(Incompatible::FrameRefused, false);
}

#[test]
fn recorded_messages_of_a_version_the_peer_has_left_say_nothing_while_a_session_is_up() {
    let mut fixture = Fixture::new(false);
    let newer = hs1_of_version(2, fixture.hs1(Suite::HybridAes, 900).1);
    let recorded = fixture.sealed(&newer);
    let mut session = fixture.session();
    fixture.gets(recorded);
    assert!(fixture.incompatible().is_empty());
    fixture.sends(&mut session, &GREETING);
    assert!(fixture.conversation.is_up());
}

/// What a peer that speaks versions `lowest` to `highest` answers to an HS1: SHA-256 as the peer would do it.
fn versions(lowest: u8, highest: u8, suites: u32, hs1: &[u8]) -> Vec<u8> {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as SHA256;
    let mut content = vec![4, lowest, highest, 0];
    content.extend_from_slice(&suites.to_le_bytes());
    let hash = SHA256.tls13().expect("of TLS 1.3").common.hash_provider;
    content.extend_from_slice(hash.hash(&[b"hushwire/1 handshake", hs1].concat()).as_ref());
    content
}

#[test]
fn our_own_handshake_ends_where_the_peer_speaks_no_common_version() {
    let begin = |fixture: &mut Fixture| {
        fixture.pushes(b"hello?");
        fixture.pass(Duration::ZERO);
        fixture.answers().pop().expect("HS1")
    };
    let check = |answer: fn(&[u8]) -> Vec<u8>, expect: Option<Incompatible>| {
        let mut fixture = Fixture::new(true);
        let hs1 = begin(&mut fixture);
        fixture.says(&answer(&hs1));
        assert_eq!(fixture.incompatible(), expect.into_iter().collect::<Vec<_>>());
        assert_eq!(fixture.conversation.is_shaking(), expect.is_none());
        // It is tried again, for the peer may have been upgraded meanwhile.
        let again = (0..40).find_map(|_| {
            fixture.pass(Duration::from_secs(1));
            fixture.answers().into_iter().find(|content| content.first() == Some(&1))
        });
        let hs1 = &again.expect("HS1 again");
        let (state, hs2) =
            Responder::on_hs1(&fixture.setup(), &fixture.peer, hs1, 0, &mut OsRandom)
                .expect("a good HS1");
        fixture.says(&hs2);
        let hs3 = fixture.answers().pop().expect("HS3");
        state.on_hs3(&hs3).expect("a good HS3");
        assert!(fixture.conversation.is_up());
    };
    check(|hs1| versions(2, 3, 6, hs1), Some(Incompatible::PeerNewer(2)));
    check(|hs1| versions(0, 0, 6, hs1), Some(Incompatible::PeerOlder(0)));
    check(|hs1| versions(1, 1, 2, hs1), Some(Incompatible::SuiteRefused(Suite::HybridAes)));
    check(|hs1| versions(1, 1, 6, hs1), None);
    check(|hs1| versions(2, 3, 6, &hs1[1..]), None);
    check(|hs1| versions(3, 2, 6, hs1), None);
    check(|hs1| versions(2, 3, 6, hs1)[..39].to_vec(), None);
    check(|_| vec![4], None);
}

#[test]
fn a_conversation_that_may_not_begin_yet_tries_again_and_not_all_the_time() {
    let mut fixture = Fixture::new(true);
    fixture.pushes(b"hello?");
    for _ in 0..3 {
        let (ours, moment) = (&fixture.ours, fixture.moment);
        fixture.conversation.handle_timeout(ours, moment, false, &mut OsRandom);
        assert!(fixture.sent().is_empty());
        let next = fixture.conversation.next_timeout(moment).expect("it wants a session");
        assert!(next > moment.now);
        fixture.moment.now = next;
    }
    fixture.pass(Duration::ZERO);
    assert_eq!(fixture.answers().pop().expect("HS1").first(), Some(&1));
}

#[test]
fn a_recorded_objection_stops_no_later_handshake() {
    let mut fixture = Fixture::new(true);
    fixture.pushes(b"hello?");
    fixture.pass(Duration::ZERO);
    let first = fixture.answers().pop().expect("HS1");
    let recorded = fixture.sealed(&versions(2, 2, 6, &first));
    fixture.gets(recorded.clone());
    assert_eq!(fixture.incompatible().len(), 1);
    fixture.pass(Duration::from_secs(31));
    let second = fixture.answers().pop().expect("HS1");
    assert_ne!(first, second);
    fixture.gets(recorded);
    assert!(fixture.conversation.is_shaking(), "it answered another message");
    assert_eq!(fixture.incompatible().len(), 1);
}

#[test]
fn frames_that_one_side_does_not_know_are_told_of() {
    let mut fixture = Fixture::new(false);
    let mut session = fixture.session();
    fixture.sends_bytes(&mut session, &[0x44, 1, 2]);
    assert_eq!(fixture.incompatible(), [Incompatible::UnknownFrame(0x44)]);

    let mut fixture = Fixture::new(false);
    let mut session = fixture.session();
    fixture.sends(&mut session, &Frame::Close { reason: 2 });
    assert_eq!(fixture.incompatible(), [Incompatible::FrameRefused]);
    assert!(!fixture.conversation.is_up());

    let mut fixture = Fixture::new(false);
    let mut session = fixture.session();
    fixture.sends(&mut session, &Frame::Close { reason: 1 });
    assert!(fixture.incompatible().is_empty());
}

#[test]
fn sessions_that_end_at_once_are_begun_ever_more_slowly() {
    let mut fixture = Fixture::new(true);
    fixture.pushes(b"of another age");
    let start = fixture.moment.now;
    let mut begun = 0;
    while fixture.moment.now - start < Duration::from_secs(600) {
        fixture.pass(Duration::from_millis(100));
        let Some(hs1) = fixture.answers().pop() else { continue };
        if hs1.first() != Some(&1) {
            continue;
        }
        begun += 1;
        let (state, hs2) =
            Responder::on_hs1(&fixture.setup(), &fixture.peer, &hs1, 0, &mut OsRandom)
                .expect("a good HS1");
        fixture.says(&hs2);
        let hs3 = fixture.answers().into_iter().find(|content| content.first() == Some(&3));
        let established = state.on_hs3(&hs3.expect("HS3")).expect("a good HS3");
        let salt = ConnectionSalt::draw(&mut OsRandom);
        let mut session = Session::new(&established.session_keys(), salt, 0, &mut OsRandom);
        fixture.sends(&mut session, &Frame::Close { reason: 2 });
    }
    assert!((10..120).contains(&begun), "{begun} sessions in ten minutes");
}
