//! A paired peer that breaks the rules inside the encryption: the session closes, and nothing else suffers.

use std::time::Instant;

use hushwire::conversation::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
use hushwire::conversation::{Conversation, Event, Moment, OutboxLimits, PeerKeys};
use hushwire::identity::Identity;
use hushwire::journal::{MessageId, PeerLogs};
use hushwire::suite::frame_types::{Data, Frame, FrameWriter, Frames, Stream};
use hushwire::suite::frames::{ConnectionSalt, Session};
use hushwire::suite::handshake::{Initiator, Setup};
use hushwire::suite::keys::{PairKey, Psk};
use hushwire::suite::random::OsRandom;
use hushwire::suite::seal::OuterSeal;
use hushwire::suite::{Minimum, Suite};
use hushwire_wire::cell::{Class, HEADER_LEN};

/// A conversation and, at its other end, somebody with the right keys who seals whatever a test wants.
struct Fixture {
    ours: Identity,
    peer: Identity,
    conversation: Conversation,
    session: Session,
    moment: Moment,
}

impl Fixture {
    fn new() -> Self {
        let (ours, peer) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
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

        let setup = Setup {
            peer: our_id,
            psk: Psk::Session(key.clone()),
            minimum: Minimum::Hybrid,
            class_max: Class::C7,
        };
        let suite = Suite::HybridAes;
        let (state, hs1) =
            Initiator::start(setup, suite, &peer, 1_000, 0, &mut OsRandom).expect("hybrid");
        let there = OuterSeal::paired(&key, &peer_id, &our_id);
        let back = OuterSeal::paired(&key, &our_id, &peer_id);
        let seal = |content: &[u8]| {
            let mut body = vec![0; Class::C3.body_len()];
            there.seal(content, &mut body, &mut OsRandom).expect("fits");
            body
        };
        conversation.handle_body(&mut seal(&hs1), &ours, moment, true, &mut OsRandom);
        let mut cell = Vec::new();
        conversation.poll_cell(moment, &mut OsRandom, &mut cell).expect("HS2");
        let hs2 = back.open(&mut cell[HEADER_LEN..]).expect("sealed");
        let (established, hs3) = state.on_hs2(&peer, hs2).expect("a good HS2");
        conversation.handle_body(&mut seal(&hs3), &ours, moment, true, &mut OsRandom);
        assert!(conversation.is_up());
        let keys = established.session_keys();
        let session = Session::new(&keys, salt, moment.unix_ns, &mut OsRandom);
        Self { ours, peer, conversation, session, moment }
    }

    fn sends_bytes(&mut self, frames: &[u8]) {
        let class = Class::for_body(frames.len() + 32).expect("fits a cell");
        let mut body = vec![0; class.body_len()];
        self.session.sender.seal(frames, &mut body).expect("fits");
        self.gets(&mut body);
    }

    fn gets(&mut self, body: &mut [u8]) {
        let (ours, moment) = (&self.ours, self.moment);
        self.conversation.handle_body(body, ours, moment, true, &mut OsRandom);
    }

    fn sends(&mut self, frame: &Frame<'_>) {
        let mut bytes = vec![0; frame.encoded_len()];
        FrameWriter::new(&mut bytes).push(frame).expect("its own length");
        self.sends_bytes(&bytes);
    }

    /// Gives a message to be sent, which is then on disk.
    fn pushes(&mut self, bytes: Vec<u8>) -> (u64, MessageId) {
        let (limits, moment) = (OutboxLimits::default(), self.moment);
        let pushed = self.conversation.push_message(bytes, None, limits, moment).expect("room");
        self.stores();
        pushed
    }

    fn stores(&mut self) {
        while self.conversation.poll_entry().is_some() {
            self.conversation.handle_stored(self.moment, &mut OsRandom);
        }
    }

    /// The next message, confirmed.
    fn takes(&mut self) -> Option<Vec<u8>> {
        let incoming = self.conversation.hand_out()?;
        self.conversation.confirm(incoming.id);
        self.stores();
        Some(incoming.bytes)
    }

    /// The reason of the CLOSE that the conversation now sends, if it does.
    fn closes(&mut self) -> Option<u16> {
        let mut reason = None;
        let mut cell = Vec::new();
        while self.conversation.poll_cell(self.moment, &mut OsRandom, &mut cell).is_some() {
            if let Ok(frames) = self.session.receiver.open(&mut cell[HEADER_LEN..]) {
                for frame in Frames::new(frames) {
                    if let Ok(Frame::Close { reason: found }) = frame {
                        reason = Some(found);
                    }
                }
            }
            cell.clear();
        }
        reason
    }
}

fn open(slot: u16) -> Frame<'static> {
    Frame::Open { slot, conversation: [0; 16], incarnation: 5, first_held: 0, next: 9 }
}

fn data(sequence: u64, offset: u32, total: u32, bytes: &[u8]) -> Frame<'_> {
    Frame::Data(Data { slot: 1, sequence, offset, total, expiry_s: None, bytes })
}

fn piece(stream: u32, offset: u64, fin: bool, bytes: &[u8]) -> Frame<'_> {
    Frame::Stream(Stream { stream, offset, fin, bytes })
}

#[test]
fn a_broken_rule_closes_the_session_with_its_reason() {
    const MALFORMED: u16 = 1;
    const UNSUPPORTED: u16 = 2;
    let check = |what: &str, expect: Option<u16>, act: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.closes(), None);
        act(&mut fixture);
        assert_eq!(fixture.closes(), expect, "{what}");
        assert_eq!(fixture.conversation.is_up(), expect.is_none(), "{what}");
    };
    check("good frames", None, &|peer| {
        peer.sends(&open(1));
        peer.sends(&data(0, 0, 3, b"abc"));
        peer.sends(&piece(2, 0, true, b"abc"));
    });
    check("an unknown type", Some(UNSUPPORTED), &|peer| peer.sends_bytes(&[0x7f, 1, 2]));
    check("a frame cut short", Some(MALFORMED), &|peer| peer.sends_bytes(&[0x13, 0, 1]));
    check("a slot that is cover", Some(MALFORMED), &|peer| peer.sends(&open(0)));
    check("another conversation", Some(MALFORMED), &|peer| {
        peer.sends(&Frame::Open {
            slot: 1,
            conversation: [1; 16],
            incarnation: 5,
            first_held: 0,
            next: 0,
        });
    });
    check("a log without end", Some(MALFORMED), &|peer| {
        let end = u64::MAX;
        peer.sends(&Frame::Open {
            slot: 1,
            conversation: [0; 16],
            incarnation: 5,
            first_held: end,
            next: end,
        });
    });
    check("a gap without end", Some(MALFORMED), &|peer| {
        peer.sends(&open(1));
        peer.sends(&Frame::Gap { slot: 1, from: 1, to: u64::MAX });
    });
    check("a message larger than the limit", Some(MALFORMED), &|peer| {
        peer.sends(&open(1));
        peer.sends(&data(0, 0, (16 << 20) + 1, b"abc"));
    });
    check("a message that changes its length", Some(MALFORMED), &|peer| {
        peer.sends(&open(1));
        peer.sends(&data(0, 0, 9, b"abc"));
        peer.sends(&data(0, 3, 8, b"abc"));
    });
    check("a stream that is ours", Some(MALFORMED), &|peer| peer.sends(&piece(1, 0, false, b"x")));
    check("stream 0", Some(MALFORMED), &|peer| peer.sends(&piece(0, 0, false, b"x")));
    check("a stream number far ahead", Some(MALFORMED), &|peer| {
        peer.sends(&piece(2 + 4 * STREAMS_MAX as u32 + 8, 0, false, b"x"));
    });
    check("bytes beyond the window", Some(MALFORMED), &|peer| {
        peer.sends(&piece(2, STREAM_WINDOW_BYTES, false, b"x"));
    });
    check("bytes behind the end", Some(MALFORMED), &|peer| {
        peer.sends(&piece(2, 0, true, b"abc"));
        peer.sends(&piece(2, 3, false, b"d"));
    });
    check("an end before what came", Some(MALFORMED), &|peer| {
        peer.sends(&piece(2, 0, false, b"abcdef"));
        peer.sends(&piece(2, 0, true, b"abc"));
    });
    check("logs without end", Some(MALFORMED), &|peer| {
        for incarnation in 0..9 {
            peer.sends(&Frame::Open {
                slot: 1,
                conversation: [0; 16],
                incarnation,
                first_held: 0,
                next: 0,
            });
        }
    });
    check("more gaps than are remembered", None, &|peer| {
        peer.sends(&open(1));
        for gap in 1..3_000 {
            peer.sends(&Frame::Gap { slot: 1, from: gap * 10, to: gap * 10 + 1 });
        }
    });
}

#[test]
fn acknowledgements_of_what_was_never_sent_mean_nothing() {
    let mut fixture = Fixture::new();
    let _greeting = fixture.closes();
    for frame in [
        Frame::Ack(hushwire::suite::frame_types::Ack {
            slot: 1,
            next: u64::MAX,
            ranges: Default::default(),
        }),
        Frame::State { slot: 1, incarnation: 0, next_expected: u64::MAX },
        Frame::Window { stream: 0, limit: u64::MAX },
        Frame::Window { stream: 1, limit: u64::MAX },
        Frame::Window { stream: 999, limit: u64::MAX },
        Frame::Reject { slot: 1, sequence: u64::MAX, reason: 9 },
        Frame::Reset { reason: 9, stream: 1 },
        Frame::Reset { reason: 9, stream: u32::MAX },
        Frame::Gap { slot: 9, from: 0, to: u64::MAX },
    ] {
        fixture.sends(&frame);
        assert_eq!(fixture.closes(), None, "{frame:?}");
    }
    assert!(fixture.conversation.is_up());
    let (number, _) = fixture.pushes(b"still here".to_vec());
    let mut cell = Vec::new();
    fixture.conversation.poll_cell(fixture.moment, &mut OsRandom, &mut cell).expect("a cell");
    let frames = fixture.session.receiver.open(&mut cell[HEADER_LEN..]).expect("opens");
    let sent = Frames::new(frames).any(|frame| matches!(frame, Ok(Frame::Data(_))));
    assert!(sent && number == 0);
    for _ in 0..100 {
        fixture.pushes(vec![0; 30_000]);
        fixture.sends(&Frame::Window { stream: 0, limit: u64::MAX });
        let _sent = fixture.closes();
    }
    assert!(fixture.conversation.is_up());
}

#[test]
fn cells_that_are_not_the_peers_change_nothing() {
    let mut fixture = Fixture::new();
    let _greeting = fixture.closes();
    fixture.sends(&open(1));
    let mut body = vec![0; Class::C0.body_len()];
    let mut frame = vec![0; 27];
    FrameWriter::new(&mut frame).push(&data(0, 0, 3, b"abc")).expect("fits");
    fixture.session.sender.seal(&frame, &mut body).expect("fits");
    let good = body.clone();
    for at in [0, 5, 12, 40, 191] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        fixture.gets(&mut changed);
        assert!(!fixture.conversation.has_message(), "byte {at}");
    }
    fixture.gets(&mut vec![7; Class::C3.body_len()]);
    fixture.gets(&mut [1, 2, 3]);
    fixture.gets(&mut []);
    fixture.gets(&mut good.clone());
    assert!(fixture.conversation.has_message());
    assert_eq!(fixture.takes().as_deref(), Some(&b"abc"[..]));
    fixture.gets(&mut good.clone());
    assert!(!fixture.conversation.has_message(), "a replay");
    assert!(fixture.conversation.is_up());
    assert_ne!(fixture.ours.device_id(), fixture.peer.device_id());
}

#[test]
fn gaps_are_reported_and_reading_goes_on() {
    let mut fixture = Fixture::new();
    let _greeting = fixture.closes();
    fixture.sends(&open(1));
    fixture.sends(&data(2, 0, 1, b"c"));
    fixture.sends(&Frame::Gap { slot: 1, from: 0, to: 2 });
    let mut lost = 0;
    while let Some(event) = fixture.conversation.poll_event() {
        if let Event::Lost { count } = event {
            lost += count;
        }
    }
    assert_eq!(lost, 2);
    assert_eq!(fixture.takes().as_deref(), Some(&b"c"[..]));
}

#[test]
fn more_streams_than_allowed_are_reset_one_by_one() {
    let mut fixture = Fixture::new();
    let _greeting = fixture.closes();
    for stream in 0..STREAMS_MAX as u32 + 3 {
        fixture.sends(&piece(2 + 2 * stream, 0, false, b"x"));
    }
    let mut cell = Vec::new();
    let mut resets = 0;
    while fixture.conversation.poll_cell(fixture.moment, &mut OsRandom, &mut cell).is_some() {
        let frames = fixture.session.receiver.open(&mut cell[HEADER_LEN..]).expect("opens");
        resets += Frames::new(frames)
            .filter(|frame| matches!(frame, Ok(Frame::Reset { reason: 3, .. })))
            .count();
        cell.clear();
    }
    assert_eq!(resets, 3);
    assert!(fixture.conversation.is_up());
}
