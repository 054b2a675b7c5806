//! The devices of this one's account, and new keys for old.

use std::collections::BTreeSet;
use std::time::Duration;

use hushwire_wire::control::ErrorCode;
use hushwire_wire::id::DeviceId;

use super::Client;
use super::clock::moment;
use super::limits::GREET_AGAIN_MS;
use super::steward::{ask_account, greet, members, replace_log, tell_statement};
use crate::account::{AccountLog, Keep, LogError, Member, Message, Phase, RotationError};
use crate::error::Error;
use crate::identity::{Identity, register_proof};
use crate::suite::random::OsRandom;

/// How far [`Client::rotate`] has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// These peers have not been told: call it again when they are there, or leave them behind.
    Waiting {
        /// Names of peers.
        unheard: Vec<String>,
    },
    /// The keystore is that of the new device, and the client is closed: open and connect anew, which revokes the old
    /// key at the relay.
    Done {
        /// This device from now on.
        device: DeviceId,
        /// Names of peers that were left behind: pair with them anew.
        left_behind: Vec<String>,
    },
}

impl Client {
    /// The log of the account, as it is at present; `None` where this device belongs to none. It shows the devices
    /// ([`AccountLog::members`]), who added them, and a contradiction that people must decide.
    #[must_use]
    pub fn account(&self) -> Option<AccountLog> {
        self.shared.state.lock().keystore.account_log().cloned()
    }

    /// The devices of the account, whether paired with this one or not; empty where there is no account.
    #[must_use]
    pub fn devices(&self) -> Vec<Member> {
        let log = self.account();
        log.map(|log| log.members().cloned().collect()).unwrap_or_default()
    }

    /// Begins the account of which this device, called `name`, is the first.
    ///
    /// # Errors
    /// [`LogError::Present`] where it belongs to one; [`LogError::Name`]; [`Error::Keystore`].
    pub fn begin_account(&self, name: &str) -> Result<(), Error> {
        let log = {
            let state = self.shared.state.lock();
            if state.keystore.account_log().is_some() {
                return Err(LogError::Present(state.ours).into());
            }
            AccountLog::begin(state.keystore.identity(), name, now_ms())?
        };
        if replace_log(&self.shared, None, log, None)? {
            Ok(())
        } else {
            Err(LogError::Present(self.device()).into())
        }
    }

    /// Adds a peer, which calls [`Client::join_account`] at the same time, to the account. Waits for a session with it.
    ///
    /// # Errors
    /// [`Error::NoAccount`]; [`Error::NotPaired`]; [`Error::NotJoining`]; [`Error::Account`].
    pub async fn add_device(&self, peer: DeviceId, name: &str) -> Result<(), Error> {
        let log = self.account().ok_or(Error::NoAccount)?;
        if log.member(&peer).is_none() {
            let invitation = Message::Invite { log: log.id() };
            let answer = ask_account(&self.shared, peer, &invitation).await?;
            let Message::Consent(proof) = answer else {
                return Err(Error::NotJoining(peer));
            };
            self.change(|log, identity| log.add(identity, (peer, proof), name, now_ms()))?;
        }
        let log = self.account().ok_or(Error::NoAccount)?;
        let welcome = Message::Welcome(log.entries_from(0));
        match ask_account(&self.shared, peer, &welcome).await? {
            Message::Taken => Ok(()),
            Message::Nothing
            | Message::Head { .. }
            | Message::Entries(_)
            | Message::Invite { .. }
            | Message::Welcome(_)
            | Message::Same
            | Message::Want { .. }
            | Message::Consent(_) => Err(Error::NotJoining(peer)),
        }
    }

    /// Joins the account of a peer, which calls [`Client::add_device`]; waits until it has. Dropped, it no longer joins.
    ///
    /// # Errors
    /// [`LogError::Present`] where this device belongs to an account; [`Error::NotPaired`], or why the client ended.
    pub async fn join_account(&self, peer: DeviceId) -> Result<(), Error> {
        let _joining = {
            let mut state = self.shared.state.lock();
            if state.keystore.account_log().is_some() {
                return Err(LogError::Present(state.ours).into());
            }
            let _there = state.conversation(peer)?;
            state.joining = Some((peer, None));
            Joining(self)
        };
        loop {
            let (changed, ended) =
                (self.shared.account.notified(), self.shared.messages.notified());
            tokio::pin!(changed, ended);
            changed.as_mut().enable();
            ended.as_mut().enable();
            {
                let state = self.shared.state.lock();
                if state.keystore.account_log().is_some() {
                    return Ok(());
                }
                if let Some(ending) = &state.ended {
                    return Err(ending.error());
                }
            }
            tokio::select! {
                () = changed => {}
                () = ended => {}
            }
        }
    }

    /// Removes a device from the account for good; this one's too. The others hear of it as soon as there is a session
    /// with them. Its pairings remain: end them with [`Client::unpair`], and its enrolment with [`Client::revoke`].
    ///
    /// # Errors
    /// [`Error::NoAccount`]; [`Error::Account`].
    pub fn remove_device(&self, device: DeviceId) -> Result<(), Error> {
        self.change(|log, identity| log.remove(identity, device, now_ms()))
    }

    /// Brings the logs of all devices of the account together that are paired with this one and there; otherwise it is
    /// done whenever a session comes up. Returns those that did not answer within `patience`.
    pub async fn sync_devices(&self, patience: Duration) -> Vec<Member> {
        let mut open: BTreeSet<_> = members(&self.shared).into_iter().collect();
        let mut greeting = tokio::task::JoinSet::new();
        for peer in open.iter().copied() {
            let shared = self.shared.clone();
            greeting.spawn(async move {
                // A session that the peer begins anew meanwhile takes the question with it.
                while greet(&shared, peer).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(GREET_AGAIN_MS)).await;
                }
                peer
            });
        }
        let greeted = async {
            while let Some(greeted) = greeting.join_next().await {
                if let Ok(peer) = greeted {
                    open.remove(&peer);
                }
            }
        };
        // Whoever is not there is listed.
        let _late = tokio::time::timeout(patience, greeted).await;
        self.devices().into_iter().filter(|member| open.contains(&member.device)).collect()
    }

    /// Decides which branch of a forked log holds, see [`AccountLog::settle`].
    ///
    /// # Errors
    /// [`Error::NoAccount`]; [`Error::Account`].
    pub fn settle_account(&self, keep: Keep) -> Result<(), Error> {
        self.change(|log, identity| log.settle(identity, keep, now_ms()))
    }

    fn change(
        &self,
        mut change: impl FnMut(&mut AccountLog, &Identity) -> Result<(), LogError>,
    ) -> Result<(), Error> {
        loop {
            let (before, log) = {
                let state = self.shared.state.lock();
                let before = state.keystore.account_log().cloned().ok_or(Error::NoAccount)?;
                let mut log = before.clone();
                change(&mut log, state.keystore.identity())?;
                (before, log)
            };
            if replace_log(&self.shared, Some(&before), log, None)? {
                return Ok(());
            }
        }
    }

    /// Replaces this device's key, or goes on with that: registers a new one at the relay, tells each peer in its
    /// session, waiting `patience` for all of them together, and becomes the new device. Every step survives a crash.
    /// Messages that wait for peers go on once the new device is connected; whoever waits for their ends here hears
    /// [`Error::Closed`].
    ///
    /// Peers that were not told have to be paired anew afterwards. Without `leave_behind` it stops before that.
    ///
    /// # Errors
    /// [`Error::Rotation`], or why the relay did not register the new key.
    pub async fn rotate(&self, patience: Duration, leave_behind: bool) -> Result<Rotated, Error> {
        let phase = {
            let mut state = self.shared.state.lock();
            if state.keystore.rotation().is_none() {
                let new = Identity::generate(&mut OsRandom);
                state.keystore.begin_rotation(new, moment().unix_ns)?;
            }
            state.keystore.rotation().map(crate::account::Rotation::phase)
        };
        if phase == Some(Phase::Switched) {
            return Err(RotationError::UnderWay.into());
        }
        if phase == Some(Phase::Prepared) {
            self.register_new().await?;
        }
        // Whoever could not be told in time is listed.
        let _late = tokio::time::timeout(patience, self.tell_all()).await;
        let unheard: Vec<_> = {
            let state = self.shared.state.lock();
            state.keystore.rotation_unheard().map(|peer| peer.name().to_owned()).collect()
        };
        if !unheard.is_empty() && !leave_behind {
            return Ok(Rotated::Waiting { unheard });
        }
        self.shared.state.lock().keeps_keystore = true;
        self.clone().close().await;
        let mut state = self.shared.state.lock();
        let switched = state.keystore.switch_rotation();
        state.keystore.release();
        switched?;
        Ok(Rotated::Done { device: state.keystore.identity().device_id(), left_behind: unheard })
    }

    /// The peer that this ID is or was one of, where it has replaced its key since ([`super::Event::PeerRotated`]). Calls
    /// about messages that were given or received earlier take both IDs.
    #[must_use]
    pub fn goes_on_as(&self, peer: DeviceId) -> Option<DeviceId> {
        self.shared.state.lock().keystore.goes_on_as(&peer)
    }

    /// Calls off a rotation whose new key the relay has not confirmed yet; peers have not heard of it either.
    ///
    /// # Errors
    /// [`RotationError::NotThere`] where there is none, or where the relay has: then [`Client::rotate`] goes on. Why the
    /// relay cannot be asked to forget the new key, which it may know.
    pub async fn cancel_rotation(&self) -> Result<(), Error> {
        let new = {
            let state = self.shared.state.lock();
            let rotation = state.keystore.rotation();
            let prepared = rotation.filter(|rotation| rotation.phase() == Phase::Prepared);
            prepared.ok_or(RotationError::NotThere)?.new_identity().device_id()
        };
        // Its answer may have been lost: nobody shall find a device there that nobody has the key of.
        match self.revoke(new).await {
            Ok(()) | Err(Error::Refused { code: ErrorCode::UnknownDevice, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(self.shared.state.lock().keystore.cancel_rotation()?)
    }

    /// Whether this device's key is being replaced: [`Client::rotate`] goes on with it, or, once it has switched, the
    /// client itself, which tells [`super::Event::RotationFinished`].
    #[must_use]
    pub fn is_rotating(&self) -> bool {
        self.shared.state.lock().keystore.rotation().is_some()
    }

    async fn register_new(&self) -> Result<(), Error> {
        let (device, proof, name) = {
            let state = self.shared.state.lock();
            let relay = state.keystore.relay().ok_or(Error::NotEnrolled)?;
            let rotation = state.keystore.rotation().ok_or(RotationError::NotThere)?;
            let new = rotation.new_identity();
            (new.device_id(), register_proof(new, &relay.relay, &state.ours), relay.account.clone())
        };
        self.register(device, proof, &name).await?;
        Ok(self.shared.state.lock().keystore.rotation_registered()?)
    }

    async fn tell_all(&self) {
        let (statement, unheard) = {
            let state = self.shared.state.lock();
            let Some(rotation) = state.keystore.rotation() else { return };
            let unheard: Vec<_> =
                state.keystore.rotation_unheard().map(crate::keystore::Peer::device).collect();
            (*rotation.statement(), unheard)
        };
        let mut telling = tokio::task::JoinSet::new();
        for peer in unheard {
            let shared = self.shared.clone();
            telling.spawn(async move {
                if let Ok(true) = tell_statement(&shared, peer, &statement).await {
                    let mut state = shared.state.lock();
                    if let Err(error) = state.keystore.rotation_acknowledged(&peer) {
                        state.tell(super::Event::KeystoreFailed { why: error.to_string() });
                    }
                }
            });
        }
        while telling.join_next().await.is_some() {}
    }
}

/// While it lives, this device may be added to an account.
struct Joining<'a>(&'a Client);

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.0.shared.state.lock().joining = None;
    }
}

fn now_ms() -> u64 {
    moment().unix_ns / 1_000_000
}
