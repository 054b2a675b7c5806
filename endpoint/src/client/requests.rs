//! What a client asks of its relay.

use hushwire_wire::control::Request;
use hushwire_wire::id::DeviceId;

use super::clock::moment;
use super::pairing::kept;
use super::{Client, Shared};
use crate::error::Error;
use crate::keystore::Grant;
use crate::link::Answer;

impl Client {
    /// Forgets a peer: its pin, the pair key, the session, and, at the relay, its right to send to this device. What
    /// waits for it fails with [`Error::Unpaired`]. Where the relay cannot be told now, it is told with the next
    /// connection, even of another process; until then it still forwards the device's cells, which this device drops.
    ///
    /// # Errors
    /// [`Error::NotPaired`]; [`Error::Keystore`]; [`Error::Refused`] where the peer is forgotten, but the relay does
    /// not take back its right to send.
    pub async fn unpair(&self, peer: DeviceId) -> Result<(), Error> {
        {
            let mut state = self.shared.state.lock();
            if state.keystore.peer(&peer).is_none() {
                return Err(Error::NotPaired(peer));
            }
            state.keystore.remove_peer(&peer)?;
            state.forget_peer(peer);
        }
        tracing::info!("a peer is forgotten");
        tracing::debug!(?peer, "this peer is forgotten");
        self.shared.wake();
        self.fulfil(peer).await.or_else(kept)
    }

    /// Lets a device send to this one; part of every mutual pairing. For a peer, the wish is kept: the relay is asked
    /// again at every connection until it has answered.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::NoAnswer`], or the relay's refusal.
    pub async fn grant(&self, device: DeviceId) -> Result<(), Error> {
        self.set_grant(device, Grant::Wanted, Request::Grant { device }).await
    }

    /// Takes back what [`Client::grant`] gave. For a peer, the wish is kept in the same way.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn ungrant(&self, device: DeviceId) -> Result<(), Error> {
        self.set_grant(device, Grant::Withdrawn, Request::Ungrant { device }).await
    }

    async fn set_grant(
        &self,
        device: DeviceId,
        grant: Grant,
        request: Request,
    ) -> Result<(), Error> {
        let is_peer = {
            let mut state = self.shared.state.lock();
            let is_peer = state.keystore.peer(&device).is_some();
            if is_peer {
                state.keystore.set_grant(&device, grant)?;
            }
            is_peer
        };
        if is_peer { self.fulfil(device).await } else { self.request(request).await.map(drop) }
    }

    /// Tells the relay what the keystore wants for `device`, and waits for its answer.
    pub(super) async fn fulfil(&self, device: DeviceId) -> Result<(), Error> {
        let answer = {
            let mut state = self.shared.state.lock();
            if let Some(ending) = &state.ended {
                return Err(ending.error());
            }
            state.wish(device)?
        };
        let Some(answer) = answer else { return Ok(()) };
        self.shared.work.notify_one();
        match answer.await {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Refused { code, sentence, wait }) => {
                Err(Error::Refused { code, sentence, wait })
            }
            Ok(Answer::None | Answer::Met { .. } | Answer::Clock { .. }) | Err(_) => {
                Err(Error::NoAnswer)
            }
        }
    }

    /// Gives this device another name at the relay, at most 64 bytes.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn rename(&self, name: &str) -> Result<(), Error> {
        let request = Request::Rename { device: self.device(), name: name.into() };
        self.request(request).await.map(drop)
    }

    /// Enrols another device in this one's account without an invite. `proof` is what that device has signed
    /// ([`crate::identity::register_proof`]); `name` has at most 64 bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] where the proof does not hold, the device is enrolled elsewhere or was revoked, or the account
    /// is full; else as for [`Client::grant`].
    pub async fn register(
        &self,
        device: DeviceId,
        proof: [u8; 64],
        name: &str,
    ) -> Result<(), Error> {
        self.request(Request::Register { device, name: name.into(), proof }).await.map(drop)
    }

    /// Ends a device of this one's account at the relay, for good.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn revoke(&self, device: DeviceId) -> Result<(), Error> {
        self.request(Request::Revoke { device }).await.map(drop)
    }

    /// The relay's clock, milliseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn relay_clock(&self) -> Result<u64, Error> {
        match self.request(Request::Ping).await? {
            Answer::Clock { unix_ms } => Ok(unix_ms),
            Answer::Done | Answer::Met { .. } | Answer::Refused { .. } | Answer::None => {
                Err(Error::NoAnswer)
            }
        }
    }

    pub(super) async fn request(&self, request: Request) -> Result<Answer, Error> {
        self.shared.request(request).await
    }

    /// Unix seconds, for the keystore.
    pub(super) fn now_s() -> u64 {
        moment().unix_ns / 1_000_000_000
    }
}

impl Shared {
    pub(super) async fn request(&self, request: Request) -> Result<Answer, Error> {
        let answer = {
            let mut state = self.state.lock();
            if let Some(ending) = &state.ended {
                return Err(ending.error());
            }
            state.request(request).ok_or(Error::Disconnected)?
        };
        self.work.notify_one();
        match answer.await {
            Ok(Answer::Refused { code, sentence, wait }) => {
                Err(Error::Refused { code, sentence, wait })
            }
            Ok(Answer::None) | Err(_) => Err(Error::NoAnswer),
            Ok(answer) => Ok(answer),
        }
    }
}
