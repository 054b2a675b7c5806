//! A man in the middle of a pairing: with a link it has not seen, with one it has, and with one it has exchanged.

use std::time::Duration;

use hushwire::client::PairingOptions;
use hushwire::identity::Identity;
use hushwire::pairing::{Join, Link, Offer, PairError, Paired, Sas, Terms, Unconfirmed};
use hushwire::suite::random::OsRandom;
use hushwire::{Client, Error};
use hushwire_wire::cell::HEADER_LEN;
use hushwire_wire::code::{PairCode, Secret};
use hushwire_wire::control::{Control, Request};
use hushwire_wire::id::DeviceId;
use tokio::sync::mpsc;

use crate::people::{Homes, in_time};
use crate::relay::HostileRelay;

const NOW_NS: u64 = 1_900_000_000_000_000_000;

pub(crate) fn options(ttl_s: u64) -> PairingOptions {
    PairingOptions { ttl: Duration::from_secs(ttl_s), ..PairingOptions::default() }
}

/// The relay's own device, and what is sent to it.
pub(crate) struct Mallory {
    pub(crate) identity: Identity,
    letters: mpsc::UnboundedReceiver<(DeviceId, Vec<u8>)>,
}

impl Mallory {
    /// Every routed cell goes to Mallory from now on, whomever it was for.
    pub(crate) async fn moves_in(relay: &HostileRelay) -> Self {
        let (sender, letters) = mpsc::unbounded_channel();
        relay
            .rules(move |cell| {
                let _gone = sender.send((cell.from, cell.cell[HEADER_LEN..].to_vec()));
                Vec::new()
            })
            .await;
        Self { identity: Identity::generate(&mut OsRandom), letters }
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.identity.device_id()
    }

    pub(crate) async fn letter_from(&mut self, device: DeviceId) -> Vec<u8> {
        in_time(async {
            loop {
                let (from, body) = self.letters.recv().await.expect("the relay runs");
                if from == device {
                    return body;
                }
            }
        })
        .await
    }

    /// Joins a link that was made by `device`, from `name`; what the two would have to compare.
    async fn joins(&mut self, relay: &HostileRelay, code: &PairCode, name: DeviceId) -> Sas {
        self.meets(relay, code, name).await.sas()
    }

    /// Pairs with `client`, as a friend does whose device the test plays itself.
    pub(crate) async fn befriends(
        &mut self,
        relay: &HostileRelay,
        client: &Client,
        name: &str,
    ) -> Paired {
        let offer = client.offer_pairing::<Link>(options(60)).await.expect("offered");
        let code = PairCode::from_text(&offer.link()).expect("a code");
        let (tag, device) = (*Join::tag(&code).as_bytes(), self.device());
        relay.say(client.device(), &Control::Paired { id: None, tag, device });
        let (offered, met) =
            in_time(async { tokio::join!(offer.wait(), self.meets(relay, &code, device)) }).await;
        let offered = offered.expect("met");
        assert_eq!(offered.sas(), met.sas());
        offered.confirm(name).await.expect("stored");
        met.confirm()
    }

    async fn meets(
        &mut self,
        relay: &HostileRelay,
        code: &PairCode,
        name: DeviceId,
    ) -> Unconfirmed<Link> {
        let terms = Terms::default();
        let (state, hs1) = Join::start::<Link>(code, &self.identity, &terms, NOW_NS, &mut OsRandom)
            .expect("not its own");
        relay.forge(name, code.device, 0, &hs1);
        let mut hs2 = self.letter_from(code.device).await;
        let (unconfirmed, hs3) =
            state.on_hs2(&self.identity, &mut hs2, &mut OsRandom).expect("a good HS2");
        relay.forge(name, code.device, 0, &hs3);
        unconfirmed
    }

    /// Answers whoever joins `offer`, as `name`.
    async fn answers(
        &mut self,
        relay: &HostileRelay,
        offer: Offer<Link>,
        joiner: DeviceId,
        name: DeviceId,
    ) -> Sas {
        let mut hs1 = self.letter_from(joiner).await;
        let (mut state, hs2) =
            offer.on_hs1(&self.identity, joiner, &mut hs1, &mut OsRandom).expect("a good HS1");
        relay.forge(name, joiner, 0, &hs2);
        loop {
            let mut body = self.letter_from(joiner).await;
            match state.on_hs3(&mut body) {
                Ok(unconfirmed) => return unconfirmed.sas(),
                Err(refused) => state = *refused.state,
            }
        }
    }
}

/// Who is told whom they have met, whatever they asked for.
pub(crate) async fn introduces(
    relay: &HostileRelay,
    opener: DeviceId,
    to_opener: DeviceId,
    to_joiner: DeviceId,
) {
    relay
        .answers(move |from, id, request| {
            let Request::PairJoin { tag } = request else { return None };
            let tag = *tag;
            Some(vec![
                (from, Control::Paired { id: Some(id), tag, device: to_joiner }),
                (opener, Control::Paired { id: None, tag, device: to_opener }),
            ])
        })
        .await;
}

pub(crate) async fn two(relay: &HostileRelay, homes: &Homes) -> (Client, Client) {
    (homes.client("alice", relay).await, homes.client("bob", relay).await)
}

#[tokio::test]
async fn with_a_link_it_has_not_seen_nobody_pairs() {
    // The joiner is sent to somebody else outright.
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_pairing::<Link>(options(2)).await.expect("offered");
    let link = offer.link();
    introduces(&relay, alice.device(), mallory.device(), mallory.device()).await;
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link)) }).await;
    let error = joined.expect_err("not the device of the link");
    assert!(matches!(error, Error::OtherDevice { found, .. } if found == mallory.device()));
    assert!(matches!(offered, Err(Error::PairingExpired)));
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[tokio::test]
async fn with_a_link_it_has_not_seen_it_can_answer_neither() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_pairing::<Link>(options(14)).await.expect("offered");
    let link = offer.link();
    // It knows everything about the link but the secret, and guesses one.
    let seen = PairCode::from_text(&link).expect("a code");
    let guess = PairCode { secret: Secret::new([7; 16]), ..seen.clone() };
    introduces(&relay, alice.device(), mallory.device(), alice.device()).await;
    let (alice_id, bob_id) = (alice.device(), bob.device());
    let attack = async {
        let terms = Terms::default();
        let (_, forged) =
            Join::start::<Link>(&guess, &mallory.identity, &terms, NOW_NS, &mut OsRandom)
                .expect("not its own");
        let hs1 = mallory.letter_from(bob_id).await;
        for _ in 0..3 {
            relay.forge(mallory.device(), alice_id, 0, &forged);
            // Bob's own words, under Mallory's name and under Alice's.
            relay.forge(mallory.device(), alice_id, 0, &hs1);
            relay.forge(alice_id, bob_id, 0, &forged);
            relay.forge(alice_id, bob_id, 0, &hs1);
        }
    };
    let (offered, joined, ()) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link), attack) })
            .await;
    assert!(matches!(offered, Err(Error::PairingExpired)), "{offered:?}");
    assert!(matches!(joined, Err(Error::PairingExpired)), "{joined:?}");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[tokio::test]
async fn with_a_link_it_has_exchanged_both_people_see_other_digits() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_pairing::<Link>(options(60)).await.expect("offered");
    // The link went over a channel that the relay reads and writes: Bob gets another one.
    let seen = PairCode::from_text(&offer.link()).expect("a code");
    let own =
        Offer::<Link>::new(&mallory.identity, seen.relay.clone(), Terms::default(), &mut OsRandom);
    let exchanged = own.code().to_text();
    let (name, bob_id) = (mallory.device(), bob.device());
    introduces(&relay, alice.device(), name, name).await;
    let attack = async {
        let at_bob = mallory.answers(&relay, own, bob_id, name).await;
        // Alice's rendezvous has another tag than the one that Bob has joined.
        let tag = *Join::tag(&seen).as_bytes();
        relay.say(alice.device(), &Control::Paired { id: None, tag, device: name });
        let at_alice = mallory.joins(&relay, &seen, name).await;
        (at_alice, at_bob)
    };
    let (offered, joined, (with_alice, with_bob)) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&exchanged), attack) })
            .await;
    let (offered, joined) = (offered.expect("met Mallory"), joined.expect("met Mallory"));
    // Both handshakes are sound, each with Mallory; only people can see that they are two.
    assert_eq!((offered.sas(), joined.sas()), (with_alice, with_bob));
    assert_ne!(offered.sas(), joined.sas(), "one in a million of these is no bug");
    offered.reject().expect("counted");
    joined.reject().expect("counted");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[tokio::test]
async fn with_a_link_it_has_seen_it_cannot_be_the_device_that_the_link_names() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_pairing::<Link>(options(60)).await.expect("offered");
    let link = offer.link();
    let seen = PairCode::from_text(&link).expect("a code");
    let (alice_id, bob_id, name) = (alice.device(), bob.device(), mallory.device());
    introduces(&relay, alice_id, name, alice_id).await;
    let attack = async {
        // To Alice it joins under its own name, and Alice's screen shows digits that nobody else's does. What Bob
        // says to Alice goes nowhere, and what Alice answers to Mallory is no answer to Bob.
        let _hs1 = mallory.letter_from(bob_id).await;
        let terms = Terms::default();
        let (state, hs1) =
            Join::start::<Link>(&seen, &mallory.identity, &terms, NOW_NS, &mut OsRandom)
                .expect("not its own");
        relay.forge(name, alice_id, 0, &hs1);
        let hs2 = mallory.letter_from(alice_id).await;
        relay.forge(alice_id, bob_id, 0, &hs2);
        let (unconfirmed, hs3) =
            state.on_hs2(&mallory.identity, &mut hs2.clone(), &mut OsRandom).expect("a good HS2");
        relay.forge(name, alice_id, 0, &hs3);
        unconfirmed.sas()
    };
    let (offered, joined, digits) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link), attack) })
            .await;
    assert_eq!(offered.expect("met Mallory").sas(), digits);
    assert!(matches!(joined, Err(Error::PairingExpired)), "{joined:?}");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
}

#[tokio::test]
async fn an_offer_shows_its_digits_three_times_and_no_more() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let alice = homes.client("alice", &relay).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_pairing::<Link>(options(60)).await.expect("offered");
    let seen = PairCode::from_text(&offer.link()).expect("a code");
    let (alice_id, name) = (alice.device(), mallory.device());
    let tag = *Join::tag(&seen).as_bytes();
    relay.say(alice_id, &Control::Paired { id: None, tag, device: name });
    let attack = async {
        let mut digits = Vec::new();
        for attempt in 0..4 {
            let terms = Terms::default();
            let (state, hs1) =
                Join::start::<Link>(&seen, &mallory.identity, &terms, NOW_NS, &mut OsRandom)
                    .expect("not its own");
            relay.forge(name, alice_id, 0, &hs1);
            if attempt < 3 {
                // HS2 shows what the digits would be. They do not suit: HS3 is never sent.
                let mut hs2 = mallory.letter_from(alice_id).await;
                let (unconfirmed, _) =
                    state.on_hs2(&mallory.identity, &mut hs2, &mut OsRandom).expect("a good HS2");
                digits.push(unconfirmed.sas());
            }
        }
        digits
    };
    let (offered, digits) = in_time(async { tokio::join!(offer.wait(), attack) }).await;
    assert_eq!(digits.len(), 3);
    assert!(matches!(offered, Err(Error::Pair(PairError::Exhausted))), "{offered:?}");
    assert!(alice.peers().is_empty());
}
