//! Pairing by a spoken code over the relay.

use std::time::Duration;

use hushwire_wire::control::{ErrorCode, Request};
use hushwire_wire::limits::PAIR_TTL_S_MAX;
use tokio::time::Instant;

use super::partner::{Meeting, Partner};
use super::{PATIENCE, PairingOptions, PendingPair};
use crate::client::Client;
use crate::client::clock::moment;
use crate::client::limits::{NAMEPLATES_TRIED_MAX, PAIRING_TRIES_MAX};
use crate::error::Error;
use crate::link::Answer;
use crate::pairing::spoken::{
    self, AwaitS2, AwaitS4, Burnt, NotConfirmed, S1, S2, SpokenCode, SpokenJoin,
};
use crate::pairing::{PairError, Spoken, Terms};
use crate::suite::random::OsRandom;

/// A spoken code that was made and waits for another device. Dropped, it is void.
#[derive(Debug)]
pub struct SpokenOffer {
    client: Client,
    offer: spoken::SpokenOffer,
    meeting: Meeting,
    ends: Instant,
}

impl SpokenOffer {
    /// What one person tells the other: `7-crossover-clockwork`. Good for one try.
    #[must_use]
    pub fn code(&self) -> String {
        self.offer.code().to_text()
    }

    /// How long it is still good for.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Waits until another device has proved that it knows the code.
    ///
    /// # Errors
    /// [`Error::PairingExpired`] where none came in time; [`Error::CodeDestroyed`] where the one that came did not
    /// know it: make a new one.
    pub async fn wait(mut self) -> Result<PendingPair<Spoken>, Error> {
        let (client, ends) = (&self.client, self.ends);
        let mut partner = self.meeting.partner(ends).await?;
        let s1 = loop {
            let body = partner.body(ends).await.ok_or(Error::PairingExpired)?;
            if let Ok(s1) = S1::parse(&body) {
                break s1;
            }
        };
        let burnt = client.burn(self.offer.code())?;
        let (mut state, s2) = self.offer.answer(s1, &burnt, &mut OsRandom);
        partner.say(&s2, 1);
        let (offer, s4) = loop {
            let body = partner.body(ends).await.ok_or(Error::PairingExpired)?;
            if state.is_repeated(&body) {
                partner.say(&s2, 1);
                continue;
            }
            match state.on_s3(&body, &mut OsRandom) {
                Ok(confirmed) => break confirmed,
                Err(NotConfirmed::Dropped(refused)) => state = *refused.state,
                Err(NotConfirmed::Destroyed) => {
                    let error = client.counted(Error::CodeDestroyed);
                    partner.say(&spoken::farewell(&mut OsRandom), 0);
                    // The application may end now; an answer says that the farewell has left. Without one the other end
                    // waits a little.
                    let _answered = client.relay_clock().await;
                    return Err(error);
                }
            }
        };
        partner.say(&s4, 1);
        let unconfirmed = client.answer_handshake(offer, &mut partner, ends).await?;
        Ok(PendingPair::new(client.clone(), unconfirmed, partner))
    }
}

impl Client {
    /// Makes a spoken code and opens a rendezvous for it at the relay.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::NoAnswer`], or the relay's refusal.
    pub async fn offer_spoken(&self, options: PairingOptions) -> Result<SpokenOffer, Error> {
        let ttl_s =
            u32::try_from(options.ttl.as_secs()).unwrap_or(u32::MAX).clamp(1, PAIR_TTL_S_MAX);
        for conflicts in 0.. {
            let Some((offer, meeting)) = self.draw_code(conflicts, options.terms)? else {
                continue;
            };
            let tag = *offer.tag().as_bytes();
            match self.request(Request::PairOpen { tag, ttl_s }).await {
                Ok(_) => {
                    let ends = Instant::now() + Duration::from_secs(u64::from(ttl_s));
                    let client = self.clone();
                    return Ok(SpokenOffer { client, offer, meeting, ends });
                }
                // Somebody else uses the nameplate at present.
                Err(Error::Refused { code: ErrorCode::Conflict, .. })
                    if conflicts + 1 < NAMEPLATES_TRIED_MAX => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last conflict is an error")
    }

    /// A code that was not used here before, registered; `None` where this device offers its nameplate already.
    fn draw_code(
        &self,
        conflicts: u32,
        terms: Terms,
    ) -> Result<Option<(spoken::SpokenOffer, Meeting)>, Error> {
        let offer = spoken::SpokenOffer::new(conflicts, terms, &mut OsRandom);
        let tag = *offer.tag().as_bytes();
        let mut state = self.shared.state.lock();
        if state.keystore.relay().is_none() {
            return Err(Error::NotEnrolled);
        }
        let is_burnt = state.keystore.is_burnt(offer.code(), Self::now_s());
        if is_burnt || state.meetings.is_open(&tag) {
            return Ok(None);
        }
        let met = state.meetings.open(tag).ok_or(Error::Disconnected)?;
        drop(state);
        Ok(Some((offer, Meeting::new(self.shared.clone(), tag, met))))
    }

    /// Uses a code that the other person has said. Case does not matter, nor what stands between the words.
    ///
    /// # Errors
    /// [`Error::Spoken`] where the text is no code; [`Error::CodeUsed`] where it was tried here before;
    /// [`Error::CodeDestroyed`] where the other device does not know it; [`Error::CodeSpent`] where it does not say;
    /// [`Error::Refused`] where the relay knows no such offer (any more); [`Error::PairingExpired`] where the other
    /// device is silent.
    pub async fn join_spoken(&self, code: &str) -> Result<PendingPair<Spoken>, Error> {
        let code = SpokenCode::from_text(code)?;
        let tag = *code.tag().as_bytes();
        {
            let state = self.shared.state.lock();
            if state.keystore.relay().is_none() {
                return Err(Error::NotEnrolled);
            }
            if state.meetings.is_open(&tag) {
                return Err(PairError::OwnCode.into());
            }
            if state.keystore.is_burnt(&code, Self::now_s()) {
                return Err(Error::CodeUsed);
            }
        }
        let (state, s1) = SpokenJoin::start(code, &mut OsRandom);
        let Answer::Met { device } = self.request(Request::PairJoin { tag }).await? else {
            return Err(Error::NoAnswer);
        };
        let mut partner = Partner::new(&self.shared, device)?;
        let end = Instant::now() + PATIENCE;
        let agreed = self.agree(state, &s1, &mut partner, end).await?;
        let (state, hs1) = {
            let shared = self.shared.state.lock();
            let (identity, terms) = (shared.keystore.identity(), Terms::default());
            agreed.start(device, identity, &terms, moment().unix_ns, &mut OsRandom)?
        };
        partner.say(&hs1, PAIRING_TRIES_MAX - 1);
        self.end_handshake(state, partner, end).await
    }

    /// From S1 to S4.
    async fn agree(
        &self,
        state: AwaitS2,
        s1: &[u8],
        partner: &mut Partner,
        end: Instant,
    ) -> Result<spoken::Agreed, Error> {
        partner.say(s1, PAIRING_TRIES_MAX - 1);
        let s2 = loop {
            let body = partner.body(end).await;
            if let Ok(s2) = S2::parse(&body.ok_or(Error::PairingExpired)?) {
                break s2;
            }
        };
        let burnt = self.burn(state.code())?;
        let (mut state, s3): (AwaitS4, _) = state.answer(s2, &burnt, &mut OsRandom);
        partner.say(&s3, 1);
        loop {
            let Some(body) = partner.body(end).await else {
                return Err(self.counted(Error::CodeSpent));
            };
            if state.is_repeated(&body) {
                partner.say(&s3, 1);
                continue;
            }
            match state.on_s4(&body) {
                Ok(agreed) => return Ok(agreed),
                Err(NotConfirmed::Dropped(refused)) => state = *refused.state,
                Err(NotConfirmed::Destroyed) => return Err(self.counted(Error::CodeDestroyed)),
            }
        }
    }

    /// Before anything that depends on the code leaves this device.
    fn burn(&self, code: &SpokenCode) -> Result<Burnt, Error> {
        let mut state = self.shared.state.lock();
        state.keystore.burn(code, Self::now_s())?.ok_or(Error::CodeUsed)
    }

    /// The other end did not know the code, or does not say so: counts it.
    fn counted(&self, error: Error) -> Error {
        tracing::warn!("a spoken code was used up and nobody has proved to know it");
        match self.shared.state.lock().keystore.count_failed_confirmation() {
            Ok(_) => error,
            Err(error) => error.into(),
        }
    }
}
