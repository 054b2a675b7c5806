//! A man in the middle of a pairing by a spoken code, who has one guess at each end.

use hushwire::pairing::Terms;
use hushwire::pairing::spoken::{AwaitS3, Burnt, S1, S2, SpokenCode, SpokenJoin, SpokenOffer};
use hushwire::suite::random::OsRandom;
use hushwire::{Client, Error};
use hushwire_wire::control::Control;
use hushwire_wire::id::DeviceId;

use crate::pairing::{Mallory, introduces, options, two};
use crate::people::{Homes, end, in_time};
use crate::relay::HostileRelay;

/// An offer of the relay's own under the nameplate of `code`, with words it has guessed.
fn guess_of(code: &SpokenCode) -> SpokenOffer {
    loop {
        let offer = SpokenOffer::new(0, Terms::default(), &mut OsRandom);
        if offer.tag().as_bytes() == code.tag().as_bytes() && offer.code() != code {
            return offer;
        }
    }
}

/// What the relay writes down for itself.
fn burnt(homes: &Homes, name: &str, relay: &HostileRelay, code: &SpokenCode) -> Burnt {
    homes.keystore(name, relay).burn(code, 1_000).expect("stored").expect("never tried")
}

fn read(code: &str) -> SpokenCode {
    SpokenCode::from_text(code).expect("a code")
}

/// Answers the S1 of `joiner` as if from `device`.
async fn answers(
    mallory: &mut Mallory,
    relay: &HostileRelay,
    homes: &Homes,
    guess: SpokenOffer,
    [joiner, device]: [DeviceId; 2],
) -> AwaitS3 {
    let s1 = S1::parse(&mallory.letter_from(joiner).await).expect("S1");
    let burnt = burnt(homes, "mallory offers", relay, guess.code());
    let (state, s2) = guess.answer(s1, &burnt, &mut OsRandom);
    relay.forge(device, joiner, 0, &s2);
    state
}

/// Joins under the nameplate of `guess` at `offerer`, as `device`: up to S3.
async fn joins(
    mallory: &mut Mallory,
    relay: &HostileRelay,
    homes: &Homes,
    guess: &SpokenCode,
    [offerer, device]: [DeviceId; 2],
) {
    let (state, s1) = SpokenJoin::start(guess.clone(), &mut OsRandom);
    let tag = *guess.tag().as_bytes();
    relay.say(offerer, &Control::Paired { id: None, tag, device });
    relay.forge(device, offerer, 0, &s1);
    let s2 = loop {
        if let Ok(s2) = S2::parse(&mallory.letter_from(offerer).await) {
            break s2;
        }
    };
    let burnt = burnt(homes, "mallory joins", relay, guess);
    let (_, s3) = state.answer(s2, &burnt, &mut OsRandom);
    relay.forge(device, offerer, 0, &s3);
}

/// The code is void for this device, now and once it has started again.
async fn has_counted_one(homes: &Homes, name: &str, client: Client, code: &str) {
    assert!(client.peers().is_empty());
    let again = client.join_spoken(code).await;
    assert!(matches!(again, Err(Error::CodeUsed)), "{again:?}");
    end(client).await;
    let keystore = homes.open(name);
    assert_eq!(keystore.failed_confirmations(), 1);
    assert!(keystore.is_burnt(&read(code), 0));
    drop(keystore);
    let restarted = homes.again(name).await;
    let again = restarted.join_spoken(code).await;
    assert!(matches!(again, Err(Error::CodeUsed)), "{again:?}");
}

#[tokio::test]
async fn in_the_middle_it_guesses_wrong_at_both_ends() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_spoken(options(60)).await.expect("offered");
    let code = offer.code();
    let (alice_id, bob_id, name) = (alice.device(), bob.device(), mallory.device());
    // Each is told that the other is Mallory, who runs one exchange with either.
    introduces(&relay, alice_id, name, name).await;
    let guess = guess_of(&read(&code));
    let guessed = guess.code().clone();
    let attack = async {
        let state = answers(&mut mallory, &relay, &homes, guess, [bob_id, name]).await;
        let s3 = mallory.letter_from(bob_id).await;
        assert!(state.on_s3(&s3, &mut OsRandom).is_err(), "one in a million of these is no bug");
        // What it can say to Bob is not what the code says.
        let mut s4 = s3.clone();
        s4[0] = 0x54;
        relay.forge(name, bob_id, 0, &s4);
        joins(&mut mallory, &relay, &homes, &guessed, [alice_id, name]).await;
    };
    let (offered, joined, ()) =
        in_time(async { tokio::join!(offer.wait(), bob.join_spoken(&code), attack) }).await;
    assert!(matches!(offered, Err(Error::CodeDestroyed)), "{offered:?}");
    assert!(matches!(joined, Err(Error::CodeDestroyed)), "{joined:?}");
    has_counted_one(&homes, "alice", alice, &code).await;
    has_counted_one(&homes, "bob", bob, &code).await;
}

#[tokio::test]
async fn its_guess_counts_as_well_where_it_says_nothing_more() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let offer = alice.offer_spoken(options(60)).await.expect("offered");
    let code = offer.code();
    let (alice_id, bob_id) = (alice.device(), bob.device());
    // Under Alice's own name.
    introduces(&relay, alice_id, mallory.device(), alice_id).await;
    let guess = guess_of(&read(&code));
    let attack = async {
        let _state = answers(&mut mallory, &relay, &homes, guess, [bob_id, alice_id]).await;
        // S3 says whether it was right.
        let _s3 = mallory.letter_from(bob_id).await;
    };
    let (joined, ()) = in_time(async { tokio::join!(bob.join_spoken(&code), attack) }).await;
    assert!(matches!(joined, Err(Error::CodeSpent)), "{joined:?}");
    has_counted_one(&homes, "bob", bob, &code).await;
}

/// What the two say passes unchanged, but as if from others: SPAKE2 agrees, and the handshake behind it does not.
#[tokio::test]
async fn it_cannot_put_another_name_to_what_they_say() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = two(&relay, &homes).await;
    let name = Mallory::moves_in(&relay).await.device();
    let offer = alice.offer_spoken(options(12)).await.expect("offered");
    let code = offer.code();
    let (alice_id, bob_id) = (alice.device(), bob.device());
    introduces(&relay, alice_id, name, name).await;
    relay
        .rules(move |cell| {
            let to = if cell.from == alice_id { bob_id } else { alice_id };
            vec![crate::relay::Fate::Renamed { from: name, to }]
        })
        .await;
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_spoken(&code)) }).await;
    assert!(matches!(offered, Err(Error::PairingExpired)), "{offered:?}");
    assert!(matches!(joined, Err(Error::PairingExpired)), "{joined:?}");
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
    assert!(matches!(bob.join_spoken(&code).await, Err(Error::CodeUsed)));
}
