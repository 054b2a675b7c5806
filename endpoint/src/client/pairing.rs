//! Pairing over the relay: the two state machines of [`crate::pairing`] with a rendezvous, time and patience.

mod partner;
mod pending;
mod spoken;

use std::time::Duration;

use hushwire_wire::code::{CodeError, PairCode, RelayAddress, Trust};
use hushwire_wire::control::Request;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::PAIR_TTL_S_MAX;
use tokio::time::Instant;

use super::Client;
use super::clock::moment;
use super::limits::{PAIRING_RESEND_MS, PAIRING_TRIES_MAX};
use crate::error::Error;
use crate::keystore::{Relay, RelayTrust};
use crate::link::Answer;
use crate::pairing::{
    AwaitAnswer, AwaitReveal, Carrier, Join, Medium, Offer, PairError, Terms, Unconfirmed,
};
use crate::suite::handshake::Refused;
use crate::suite::limits::HANDSHAKE_MS_MAX;
use crate::suite::random::OsRandom;
use partner::{Meeting, Partner};
pub use pending::PendingPair;
pub(super) use pending::kept;
pub use spoken::SpokenOffer;

const RESEND: Duration = Duration::from_millis(PAIRING_RESEND_MS);
const PATIENCE: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);
/// A cell that was not delivered is sent again after this.
const SOON: Duration = Duration::from_millis(300);

/// How to offer a pairing.
#[derive(Clone, Copy, Debug)]
pub struct PairingOptions {
    /// How long the code is good for, at most 300 s. Default: 300 s.
    pub ttl: Duration,
    /// What this device accepts. Default: hybrid suites.
    pub terms: Terms,
}

impl Default for PairingOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(u64::from(PAIR_TTL_S_MAX)), terms: Terms::default() }
    }
}

/// A code that was made and waits for another device. Dropped, it is void.
#[derive(Debug)]
pub struct PairingOffer<C: Carrier> {
    client: Client,
    offer: Box<Offer<C>>,
    meeting: Meeting,
    ends: Instant,
}

impl<C: Carrier> PairingOffer<C> {
    /// The code, as a link or for a QR code.
    #[must_use]
    pub fn link(&self) -> String {
        self.offer.code().to_text()
    }

    /// How long it is still good for.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Waits until another device has used the code.
    ///
    /// # Errors
    /// [`Error::PairingExpired`] where none did in time; [`Error::Pair`] where the code was tried too often.
    pub async fn wait(mut self) -> Result<PendingPair<C>, Error> {
        let mut partner = self.meeting.partner(self.ends).await?;
        let client = self.client;
        let unconfirmed = client.answer_handshake(*self.offer, &mut partner, self.ends).await?;
        Ok(PendingPair::new(client, unconfirmed, partner))
    }
}

impl Client {
    /// Makes a pairing code and opens a rendezvous for it at the relay. The carrier says how the code travels:
    /// [`crate::pairing::Link`] for a text, which people must confirm, [`crate::pairing::Qr`] for a picture read by a camera.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::NoAnswer`], or the relay's refusal.
    pub async fn offer_pairing<C: Carrier>(
        &self,
        options: PairingOptions,
    ) -> Result<PairingOffer<C>, Error> {
        let (offer, tag, met) = {
            let mut state = self.shared.state.lock();
            let relay = state.keystore.relay().ok_or(Error::NotEnrolled)?;
            let relay = address(relay)?;
            let identity = state.keystore.identity();
            let offer = Offer::<C>::new(identity, relay, options.terms, &mut OsRandom);
            let tag = *offer.tag().as_bytes();
            let met = state.meetings.open(tag).ok_or(Error::Disconnected)?;
            (Box::new(offer), tag, met)
        };
        let meeting = Meeting::new(self.shared.clone(), tag, met);
        let ttl_s =
            u32::try_from(options.ttl.as_secs()).unwrap_or(u32::MAX).clamp(1, PAIR_TTL_S_MAX);
        self.request(Request::PairOpen { tag, ttl_s }).await?;
        let ends = Instant::now() + Duration::from_secs(u64::from(ttl_s));
        Ok(PairingOffer { client: self.clone(), offer, meeting, ends })
    }

    /// Uses a code that another device has made: its link, or what a camera read.
    ///
    /// # Errors
    /// [`Error::Code`] where the text is no code; [`Error::OtherRelay`] where it is for another relay;
    /// [`Error::Refused`] where it was used or has expired; [`Error::PairingExpired`] where the other device is
    /// silent; [`Error::Pair`].
    pub async fn join_pairing<C: Carrier>(&self, link: &str) -> Result<PendingPair<C>, Error> {
        let code = PairCode::from_text(link)?;
        {
            let state = self.shared.state.lock();
            let relay = state.keystore.relay().ok_or(Error::NotEnrolled)?;
            if relay.relay != code.relay.relay() {
                return Err(Error::OtherRelay(code.relay.address().into()));
            }
        }
        let (state, hs1) = self.begin::<C>(&code)?;
        let mut partner = Partner::new(&self.shared, code.device)?;
        let tag = *Join::tag(&code).as_bytes();
        match self.request(Request::PairJoin { tag }).await? {
            Answer::Met { device } if device == code.device => {}
            Answer::Met { device: found } => {
                return Err(Error::OtherDevice { expected: code.device, found });
            }
            Answer::Done | Answer::Clock { .. } | Answer::Refused { .. } | Answer::None => {
                return Err(Error::NoAnswer);
            }
        }
        partner.say(&hs1, PAIRING_TRIES_MAX - 1);
        let end = Instant::now() + PATIENCE;
        self.end_handshake(state, partner, end).await
    }

    /// The joining end, once HS1 is on its way.
    async fn end_handshake<M: Medium>(
        &self,
        mut state: AwaitAnswer<M>,
        mut partner: Partner,
        end: Instant,
    ) -> Result<PendingPair<M>, Error> {
        loop {
            let mut body = partner.body(end).await.ok_or(Error::PairingExpired)?;
            let answered = {
                let shared = self.shared.state.lock();
                state.on_hs2(shared.keystore.identity(), &mut body, &mut OsRandom)
            };
            match answered {
                Ok((unconfirmed, hs3)) => {
                    partner.say(&hs3, 0);
                    return Ok(PendingPair::new(self.clone(), unconfirmed, partner));
                }
                Err(Refused { state: same, .. }) => state = *same,
            }
        }
    }

    /// The offering end: answers HS1 until HS3 has come.
    async fn answer_handshake<M: Medium>(
        &self,
        mut offer: Offer<M>,
        partner: &mut Partner,
        ends: Instant,
    ) -> Result<Unconfirmed<M>, Error> {
        let mut body = partner.body(ends).await.ok_or(Error::PairingExpired)?;
        loop {
            let (mut state, hs2) = match self.answer(offer, partner.device(), &mut body) {
                Ok(answered) => answered,
                Err(Refused { error: error @ PairError::Exhausted, .. }) => {
                    return Err(error.into());
                }
                Err(Refused { state, .. }) => {
                    offer = *state;
                    body = partner.body(ends).await.ok_or(Error::PairingExpired)?;
                    continue;
                }
            };
            partner.say(&hs2, 1);
            loop {
                body = partner.body(ends).await.ok_or(Error::PairingExpired)?;
                match state.on_hs3(&mut body.clone()) {
                    Ok(unconfirmed) => {
                        partner.answered();
                        return Ok(unconfirmed);
                    }
                    Err(Refused { state: same, error }) if error.began_again() => {
                        offer = AwaitReveal::restart(*same);
                        break;
                    }
                    Err(Refused { state: same, .. }) => state = *same,
                }
            }
        }
    }

    fn begin<C: Carrier>(&self, code: &PairCode) -> Result<(AwaitAnswer<C>, Vec<u8>), Error> {
        let state = self.shared.state.lock();
        let (identity, terms) = (state.keystore.identity(), Terms::default());
        Ok(Join::start::<C>(code, identity, &terms, moment().unix_ns, &mut OsRandom)?)
    }

    #[expect(
        clippy::type_complexity,
        reason = "the state machine's own result, with its state on both sides"
    )]
    fn answer<M: Medium>(
        &self,
        offer: Offer<M>,
        device: DeviceId,
        body: &mut [u8],
    ) -> Result<(AwaitReveal<M>, Vec<u8>), Refused<Offer<M>, PairError>> {
        let state = self.shared.state.lock();
        offer.on_hs1(state.keystore.identity(), device, body, &mut OsRandom)
    }
}

/// What a code says of the relay: its first pin, for a code has room for one.
fn address(relay: &Relay) -> Result<RelayAddress, CodeError> {
    let trust = match &relay.trust {
        RelayTrust::Pins(pins) => pins.first().map_or(Trust::PublicCa, |pin| Trust::Pin(*pin)),
        RelayTrust::PublicCa => Trust::PublicCa,
    };
    RelayAddress::new(trust, relay.relay, &relay.address)
}
