//! Pinned vectors: made by the real code from randomness that is written down beside them, and compared on every run.
//! `HUSHWIRE_BLESS=1` writes them anew; a change is a change of the protocol.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::{NOW_NS, Replay, alice, bob, code, pair_key, setup};
use hushwire::keystore::Keystore;
use hushwire::pairing::spoken::{S1, S2, SpokenJoin, SpokenOffer};
use hushwire::pairing::{Join, Link, Offer, Terms};
use hushwire::suite::Suite;
use hushwire::suite::frames::{ConnectionSalt, Session};
use hushwire::suite::handshake::{Established, Initiator, Responder};
use hushwire::suite::keys::{CodeKeys, PairKey, Psk};
use hushwire::suite::random::Random;
use hushwire::suite::seal::OuterSeal;
use hushwire_wire::cell::Class;
use hushwire_wire::code::{RelayAddress, Secret, Trust};
use hushwire_wire::id::{ChannelId, RelayId};

/// Lines of `name = hexadecimal`.
#[derive(Default)]
struct Vectors(String);

impl Vectors {
    fn title(&mut self, title: &str) {
        writeln!(self.0, "# {title}").expect("memory");
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        write!(self.0, "{name} = ").expect("memory");
        for byte in bytes {
            write!(self.0, "{byte:02x}").expect("memory");
        }
        self.0.push('\n');
    }

    fn check(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
        if std::env::var_os("HUSHWIRE_BLESS").is_some() {
            fs::write(&path, &self.0).expect("a vector file");
        }
        let pinned = fs::read_to_string(&path).expect("the pinned vectors");
        for (pinned, made) in pinned.lines().zip(self.0.lines()) {
            assert_eq!(pinned, made, "{name}");
        }
        assert_eq!(pinned.len(), self.0.len(), "{name}");
    }
}

#[test]
fn code_keys() {
    let mut vectors = Vectors::default();
    vectors.title("annex A.2: what a code's secret derives");
    for secret in [[0; 16], std::array::from_fn(|at| at as u8)] {
        let keys = CodeKeys::derive(&Secret::new(secret));
        vectors.add("secret", &secret);
        vectors.add("psk", keys.psk());
        vectors.add("tag", keys.tag().as_bytes());
    }
    vectors.check("code.hex");
}

#[test]
fn outer_seal() {
    let (a, b) = (alice().device_id(), bob().device_id());
    let key = PairKey::new([0x5e; 32]);
    let channel = ChannelId::new([0xc4; 16]);
    let secret = Secret::new([0xc0; 16]);
    let mut vectors = Vectors::default();
    vectors.title("annex A.1: the outer seal of every use; sender, recipient, pair key, code secret and channel");
    vectors.add("sender", a.as_bytes());
    vectors.add("recipient", b.as_bytes());
    vectors.add("pair_key", key.as_bytes());
    vectors.add("code_secret", secret.as_bytes());
    vectors.add("channel", channel.as_bytes());
    vectors.add("exported", &[0xe9; 32]);
    for (name, seal, class) in [
        ("paired", OuterSeal::paired(&key, &a, &b), Class::C3),
        ("pairing", OuterSeal::pairing(&CodeKeys::derive(&secret)), Class::C3),
        ("push", OuterSeal::push(&key, &a, &b), Class::C0),
        ("group", OuterSeal::group(&[0xe9; 32], &channel, &a), Class::C1),
    ] {
        let mut body = vec![0; class.body_len()];
        let mut random = Replay::new("seal");
        seal.seal(b"content", &mut body, &mut random).expect("fits");
        vectors.add(&format!("{name}.salt"), &random.drawn);
        vectors.add(&format!("{name}.content"), b"content");
        vectors.add(&format!("{name}.body"), &body);
        assert_eq!(seal.open(&mut body), Ok(&b"content"[..]));
    }
    vectors.check("seal.hex");
}

/// Runs one handshake, writing everything down.
fn handshake(vectors: &mut Vectors, suite: Suite, psk: &Psk) -> (Established, Established) {
    let mut initiator_random = Replay::new("initiator");
    let (initiator, hs1) = Initiator::start(
        setup(&bob(), psk.clone()),
        suite,
        &alice(),
        NOW_NS,
        0,
        &mut initiator_random,
    )
    .expect("HS1");
    let mut responder_random = Replay::new("responder");
    let (responder, hs2) =
        Responder::on_hs1(&setup(&alice(), psk.clone()), &bob(), &hs1, 0, &mut responder_random)
            .expect("HS2");
    let (alices, hs3) = initiator.on_hs2(&alice(), &hs2).expect("HS3");
    let bobs = responder.on_hs3(&hs3).expect("the end");
    vectors.add("initiator_random", &initiator_random.drawn);
    vectors.add("responder_random", &responder_random.drawn);
    vectors.add("time_ns", &NOW_NS.to_le_bytes());
    vectors.add("hs1", &hs1);
    vectors.add("hs2", &hs2);
    vectors.add("hs3", &hs3);
    vectors.add("exporter", alices.session_keys().exporter());
    (alices, bobs)
}

fn identities(vectors: &mut Vectors) {
    vectors.add("initiator_secret", &[0xa1; 32]);
    vectors.add("initiator", alice().device_id().as_bytes());
    vectors.add("responder_secret", &[0xb0; 32]);
    vectors.add("responder", bob().device_id().as_bytes());
}

/// The session of a pair key, and the first cells of both directions in it.
fn session(suite: Suite, name: &str) {
    let mut vectors = Vectors::default();
    vectors.title("annex A.3 under a pair key; random bytes in the order they are used:");
    vectors.title("initiator: X25519 secret, ML-KEM seed d, z; responder: X25519 secret, ML-KEM m");
    identities(&mut vectors);
    vectors.add("pair_key", &[0x5e; 32]);
    let (alices, bobs) = handshake(&mut vectors, suite, &pair_key());
    vectors.title("annex A.4: the first cells of both directions, class 0 and 1, salt first");
    let mut random = Replay::new("salt");
    let mut make = |established: &Established| {
        let salt = ConnectionSalt::draw(&mut random);
        Session::new(&established.session_keys(), salt, NOW_NS, &mut Replay::new("age"))
    };
    let (mut alices, mut bobs) = (make(&alices), make(&bobs));
    vectors.add("initiator_salt", &random.drawn[..4]);
    vectors.add("responder_salt", &random.drawn[4..]);
    for class in [Class::C0, Class::C1] {
        let mut body = vec![0; class.body_len()];
        alices.sender.seal(b"\x1a\0\x01\0", &mut body).expect("fits");
        vectors.add("from_initiator", &body);
        assert!(bobs.receiver.open(&mut body).is_ok());
        bobs.sender.seal(b"\x1a\0\x02\0", &mut body).expect("fits");
        vectors.add("from_responder", &body);
        assert!(alices.receiver.open(&mut body).is_ok());
    }
    vectors.check(name);
}

#[test]
fn session_of_suite_1() {
    session(Suite::HybridChaCha, "session-1.hex");
}

#[test]
fn session_of_suite_2() {
    session(Suite::HybridAes, "session-2.hex");
}

#[test]
fn session_of_suite_3() {
    session(Suite::ClassicalAes, "session-3.hex");
}

#[test]
fn handshakes_of_a_pairing() {
    for suite in Suite::ALL {
        let mut vectors = Vectors::default();
        vectors.title("annex A.3 under a code PSK; random bytes in the order they are used:");
        vectors.title("initiator: X25519 secret, ML-KEM seed d, z, r_B; responder: X25519 secret, ML-KEM m, r_A");
        identities(&mut vectors);
        vectors.add("code_secret", &[0xc0; 16]);
        handshake(&mut vectors, suite, &code());
        vectors.check(&format!("pairing-{}.hex", suite as u16));
    }
}

/// From the code to pair key and SAS, bodies as they cross the relay.
#[test]
fn whole_pairing() {
    let mut vectors = Vectors::default();
    vectors.title("a pairing as the relay sees it; code and sas are ASCII; random bytes: the handshake's, then the salt of the seal");
    identities(&mut vectors);
    let relay = RelayAddress::new(Trust::Pin([7; 32]), RelayId::new([8; 32]), "r:4433");
    let relay = relay.expect("an address");
    let mut random = Replay::new("offer");
    let offer: Offer<Link> = Offer::new(&bob(), relay, Terms::default(), &mut random);
    vectors.add("code_secret", &random.drawn);
    vectors.add("code", offer.code().to_text().as_bytes());
    vectors.add("tag", offer.tag().as_bytes());
    let mut random = Recorded::new("join", &mut vectors);
    let started =
        Join::start::<Link>(offer.code(), &alice(), &Terms::default(), NOW_NS, &mut random.replay);
    let (joining, mut hs1) = started.expect("HS1");
    random.write("joiner_random_1");
    vectors.add("hs1_body", &hs1);
    let mut random = Recorded::new("answer", &mut vectors);
    let answered = offer.on_hs1(&bob(), alice().device_id(), &mut hs1, &mut random.replay);
    let (offering, mut hs2) = answered.expect("HS2");
    random.write("offerer_random");
    vectors.add("hs2_body", &hs2);
    let mut random = Recorded::new("reveal", &mut vectors);
    let (joined, mut hs3) = joining.on_hs2(&alice(), &mut hs2, &mut random.replay).expect("HS3");
    random.write("joiner_random_2");
    vectors.add("hs3_body", &hs3);
    let offered = offering.on_hs3(&mut hs3).expect("the end");
    assert_eq!(joined.sas(), offered.sas());
    vectors.add("sas", format!("{:06}", joined.sas().number()).as_bytes());
    vectors.add("pair_key", joined.confirm().pair_key().as_bytes());
    vectors.check("pairing.hex");
}

/// S1 to S4, the key that follows, and the seal under it.
#[test]
fn spoken_code() {
    let mut vectors = Vectors::default();
    vectors.title("annex A.2, spoken code; code is ASCII; random bytes: the nameplate and the words of the code; a scalar");
    vectors.title("of 64 bytes (little-endian, modulo the group order) and the rest of the body; S3 and S4: the rest of the body");
    let mut random = Recorded::new("spoken offer", &mut vectors);
    let offer = SpokenOffer::new(0, Terms::default(), &mut random.replay);
    random.write("code_random");
    let code = offer.code().clone();
    vectors.add("code", code.to_text().as_bytes());
    vectors.add("tag", code.tag().as_bytes());
    let place = tempfile::tempdir().expect("a directory");
    let burn = |name: &str| {
        let path = place.path().join(name);
        let mut keystore = Keystore::create(&path, alice()).expect("a keystore");
        keystore.burn(&code, 0).expect("stored").expect("never tried")
    };
    let mut random = Recorded::new("spoken join", &mut vectors);
    let (joining, s1) = SpokenJoin::start(code.clone(), &mut random.replay);
    random.write("joiner_random_1");
    vectors.add("s1_body", &s1);
    let mut random = Recorded::new("spoken answer", &mut vectors);
    let s1 = S1::parse(&s1).expect("S1");
    let (offering, s2) = offer.answer(s1, &burn("offerer"), &mut random.replay);
    random.write("offerer_random_1");
    vectors.add("s2_body", &s2);
    let mut random = Recorded::new("spoken confirm", &mut vectors);
    let s2 = S2::parse(&s2).expect("S2");
    let (joining, s3) = joining.answer(s2, &burn("joiner"), &mut random.replay);
    random.write("joiner_random_2");
    vectors.add("s3_body", &s3);
    let mut random = Recorded::new("s4", &mut vectors);
    let (offer, s4) = offering.on_s3(&s3, &mut random.replay).expect("the same code");
    random.write("offerer_random_2");
    vectors.add("s4_body", &s4);
    let agreed = joining.on_s4(&s4).expect("the same code");
    vectors.title("from here on annex A.3 under the agreed PSK, the joiner being the initiator; random bytes as in pairing.hex");
    identities(&mut vectors);
    let mut random = Recorded::new("join", &mut vectors);
    let started =
        agreed.start(bob().device_id(), &alice(), &Terms::default(), NOW_NS, &mut random.replay);
    let (joining, mut hs1) = started.expect("HS1");
    random.write("joiner_random_3");
    vectors.add("hs1_body", &hs1);
    let mut random = Recorded::new("answer", &mut vectors);
    let answered = offer.on_hs1(&bob(), alice().device_id(), &mut hs1, &mut random.replay);
    let (offering, mut hs2) = answered.expect("HS2");
    random.write("offerer_random_3");
    vectors.add("hs2_body", &hs2);
    let mut random = Recorded::new("reveal", &mut vectors);
    let (joined, mut hs3) = joining.on_hs2(&alice(), &mut hs2, &mut random.replay).expect("HS3");
    random.write("joiner_random_4");
    vectors.add("hs3_body", &hs3);
    let offered = offering.on_hs3(&mut hs3).expect("the end").confirm();
    assert_eq!(joined.confirm().pair_key(), offered.pair_key());
    vectors.add("pair_key", offered.pair_key().as_bytes());
    vectors.check("spoken.hex");
}

struct Recorded<'v> {
    replay: Replay,
    vectors: &'v mut Vectors,
}

impl<'v> Recorded<'v> {
    fn new(seed: &'static str, vectors: &'v mut Vectors) -> Self {
        Self { replay: Replay::new(seed), vectors }
    }

    fn write(self, name: &str) {
        self.vectors.add(name, &self.replay.drawn);
    }
}

#[test]
fn replayed_randomness_is_pinned_too() {
    let mut bytes = [0; 40];
    Replay::new("pinned").fill(&mut bytes);
    let mut again = [0; 40];
    let mut replay = Replay::new("pinned");
    replay.fill(&mut again[..1]);
    replay.fill(&mut again[1..]);
    assert_eq!(bytes, again);
}
