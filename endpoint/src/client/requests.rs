//! What a client asks of its relay.

use hushwire_wire::control::Request;
use hushwire_wire::id::DeviceId;

use super::Client;
use super::clock::moment;
use crate::error::Error;
use crate::link::Answer;

impl Client {
    /// Forgets a peer: its pin, the pair key, the session, and, at the relay, its right to send to this device. What
    /// waits for it fails with [`Error::Unpaired`].
    ///
    /// # Errors
    /// [`Error::NotPaired`]; where the relay did not take the grant back, why: the peer is forgotten all the same, and
    /// [`Client::ungrant`] does the rest.
    pub async fn unpair(&self, peer: DeviceId) -> Result<(), Error> {
        {
            let mut state = self.shared.state.lock();
            if state.keystore.peer(&peer).is_none() {
                return Err(Error::NotPaired(peer));
            }
            state.keystore.remove_peer(&peer)?;
            state.forget_peer(peer);
        }
        self.shared.wake();
        self.ungrant(peer).await
    }

    /// Lets a device send to this one; part of every pairing.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::NoAnswer`], or the relay's refusal.
    pub async fn grant(&self, device: DeviceId) -> Result<(), Error> {
        self.request(Request::Grant { device }).await.map(drop)
    }

    /// Takes back what [`Client::grant`] gave.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn ungrant(&self, device: DeviceId) -> Result<(), Error> {
        self.request(Request::Ungrant { device }).await.map(drop)
    }

    /// Gives this device another name at the relay, at most 64 bytes.
    ///
    /// # Errors
    /// As for [`Client::grant`].
    pub async fn rename(&self, name: &str) -> Result<(), Error> {
        let request = Request::Rename { device: self.device(), name: name.into() };
        self.request(request).await.map(drop)
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
        let answer = {
            let mut state = self.shared.state.lock();
            if let Some(ending) = &state.ended {
                return Err(ending.error());
            }
            state.request(request).ok_or(Error::Disconnected)?
        };
        self.shared.work.notify_one();
        match answer.await {
            Ok(Answer::Refused { code, sentence, wait }) => {
                Err(Error::Refused { code, sentence, wait })
            }
            Ok(Answer::None) | Err(_) => Err(Error::NoAnswer),
            Ok(answer) => Ok(answer),
        }
    }

    /// Unix seconds, for the keystore.
    pub(super) fn now_s() -> u64 {
        moment().unix_ns / 1_000_000_000
    }
}
