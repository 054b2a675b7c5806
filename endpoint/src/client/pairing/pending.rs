//! Two devices that have met, before a person has said that this is right.

use hushwire_wire::id::DeviceId;

use super::partner::Partner;
use super::{PAIRING_TRIES_MAX, SOON};
use crate::client::Client;
use crate::error::Error;
use crate::keystore::Peer;
use crate::pairing::{Carrier, Fingerprint, Medium, Paired, Qr, Sas, Unconfirmed};

/// Both devices have met; a person decides whether it counts. After a link or a QR code, people compare what both
/// devices show; after a spoken code, knowing the code was enough.
#[derive(Debug)]
pub struct PendingPair<M: Medium> {
    client: Client,
    unconfirmed: Unconfirmed<M>,
    partner: Partner,
}

/// Which way a pairing lets cells go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Mutual,
    OneWay,
}

impl<M: Medium> PendingPair<M> {
    pub(super) fn new(client: Client, unconfirmed: Unconfirmed<M>, partner: Partner) -> Self {
        tracing::debug!(peer = ?unconfirmed.peer(), "a pairing waits to be confirmed");
        Self { client, unconfirmed, partner }
    }

    /// The other device.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.unconfirmed.peer()
    }

    /// The other device's ID as people compare it, with what `hush id` says there.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.unconfirmed.peer())
    }

    /// What this device calls the other already, where the two were paired before.
    #[must_use]
    pub fn known_as(&self) -> Option<String> {
        let state = self.client.shared.state.lock();
        state.keystore.peer(&self.peer()).map(|peer| Peer::name(peer).to_owned())
    }

    /// Whether the other device may be stored under this name: what [`PendingPair::confirm`] would say.
    ///
    /// # Errors
    /// [`Error::Keystore`] where it may not, for example because another peer has the name.
    pub fn check_name(&self, name: &str) -> Result<(), Error> {
        Ok(self.client.shared.state.lock().keystore.check_name(name, &self.peer())?)
    }

    /// The user says that this is the right device (after a link: that both devices show the same digits): stores the
    /// peer under `name`, unique here and at most 64 bytes, and lets it send to this device. Of a peer that was known
    /// before, sessions, streams and what waited for it are over.
    ///
    /// Where the relay cannot be told now, the wish that the peer may send is kept, and the relay is told with the next
    /// connection; [`PeerInfo::grant`](crate::client::PeerInfo) says which.
    ///
    /// # Errors
    /// [`Error::Keystore`] where it was not stored; [`Error::Refused`] where it was, but the relay does not let it
    /// send.
    pub async fn confirm(self, name: &str) -> Result<DeviceId, Error> {
        self.finish(name, Direction::Mutual, Unconfirmed::confirm).await
    }

    /// As [`PendingPair::confirm`], but the peer may not send to this device until [`Client::grant`] lets it. It takes
    /// two that may send to have a session, so until then nothing goes from here to there either, unless both
    /// belong to one account.
    ///
    /// # Errors
    /// As for [`PendingPair::confirm`].
    pub async fn confirm_one_way(self, name: &str) -> Result<DeviceId, Error> {
        self.finish(name, Direction::OneWay, Unconfirmed::confirm).await
    }

    async fn finish(
        mut self,
        name: &str,
        direction: Direction,
        trust: impl FnOnce(Unconfirmed<M>) -> Paired,
    ) -> Result<DeviceId, Error> {
        self.settle().await;
        let Self { client, unconfirmed, .. } = self;
        let paired = trust(unconfirmed);
        let peer = paired.peer();
        {
            let mut state = client.shared.state.lock();
            let now_s = Client::now_s();
            match direction {
                Direction::Mutual => state.keystore.add_peer(&paired, name, now_s)?,
                Direction::OneWay => state.keystore.add_peer_one_way(&paired, name, now_s)?,
            };
            state.add_peer(peer);
            // It may be a device of the account.
            state.account_changed = true;
        }
        tracing::info!("paired with a device");
        tracing::debug!(?peer, ?direction, "paired with this device");
        client.shared.wake();
        client.shared.account.notify_waiters();
        client.fulfil(peer).await.or_else(kept)?;
        Ok(peer)
    }

    /// HS3 has no answer within the pairing; what the relay reports back by now is sent again.
    async fn settle(&mut self) {
        for _ in 1..PAIRING_TRIES_MAX {
            if !self.partner.was_undeliverable() || !self.partner.say_again() {
                return;
            }
            tokio::time::sleep(SOON).await;
        }
    }
}

/// The relay could not be told now. The keystore keeps the wish.
pub(in crate::client) fn kept(error: Error) -> Result<(), Error> {
    if error.is_retryable() { Ok(()) } else { Err(error) }
}

impl<C: Carrier> PendingPair<C> {
    /// Six digits, the same on both devices unless somebody is in between.
    #[must_use]
    pub const fn sas(&self) -> Sas {
        self.unconfirmed.sas()
    }

    /// The user says that the digits differ. The code is void, and the failure is counted in the keystore.
    ///
    /// # Errors
    /// [`Error::Keystore`] where it was not counted.
    pub fn reject(self) -> Result<(), Error> {
        let Self { client, unconfirmed, .. } = self;
        let _peer = unconfirmed.reject();
        tracing::warn!("a pairing was refused: the two devices showed different digits");
        client.shared.state.lock().keystore.count_failed_confirmation()?;
        Ok(())
    }
}

impl PendingPair<Qr> {
    /// Trusts what the camera read: nobody but the two devices has seen the code. Otherwise as
    /// [`PendingPair::confirm`].
    ///
    /// # Errors
    /// As for [`PendingPair::confirm`].
    pub async fn trust_camera(self, name: &str) -> Result<DeviceId, Error> {
        self.finish(name, Direction::Mutual, Unconfirmed::trust_camera).await
    }

    /// Both of [`PendingPair::trust_camera`] and [`PendingPair::confirm_one_way`].
    ///
    /// # Errors
    /// As for [`PendingPair::confirm`].
    pub async fn trust_camera_one_way(self, name: &str) -> Result<DeviceId, Error> {
        self.finish(name, Direction::OneWay, Unconfirmed::trust_camera).await
    }
}
