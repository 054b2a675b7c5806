//! What a pairing ends in, before and after people have looked at it.

use std::fmt;
use std::marker::PhantomData;

use hushwire_wire::id::DeviceId;

use super::{Carrier, Medium, Qr};
use crate::suite::Suite;
use crate::suite::handshake::Established;
use crate::suite::keys::PairKey;

/// The short authentication string: six digits, equal on both screens unless somebody sits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sas(u32);

impl Sas {
    /// The number, below 1 000 000.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Sas {
    /// As people read it: `012 345`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// How a peer's key came to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// People compared the SAS.
    Sas,
    /// A camera read the code from the other device's screen.
    Camera,
    /// Both devices proved that they know a spoken code.
    Spoken,
}

/// The handshake has ended; nobody has compared the SAS yet, so nothing may be stored.
pub struct Unconfirmed<C: Medium> {
    peer: DeviceId,
    pair_key: PairKey,
    sas: Sas,
    suite: Suite,
    carrier: PhantomData<C>,
}

/// People said that the SAS differ: somebody sits in between, or they compared carelessly. The code is gone; count
/// it with
/// [`Keystore::count_failed_confirmation`](crate::keystore::Keystore::count_failed_confirmation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the confirmation codes differ: do not use this link again, and pair in person if you can")]
pub struct Rejected {
    /// The device that was not trusted.
    pub peer: DeviceId,
}

/// A peer that may be stored.
pub struct Paired {
    peer: DeviceId,
    pair_key: PairKey,
    sas: Sas,
    suite: Suite,
    verified: Verified,
}

impl<C: Medium> Unconfirmed<C> {
    pub(super) fn new(established: &Established) -> Self {
        Self {
            peer: established.peer(),
            pair_key: established.pair_key(),
            sas: Sas(established.sas()),
            suite: established.suite(),
            carrier: PhantomData,
        }
    }

    /// The peer: it holds this identity's key and knew the code.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The suite used.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The user wants this peer. After a link that means: the other device shows the same digits, and both users must
    /// say so. After a spoken code there is nothing to compare.
    #[must_use]
    pub fn confirm(self) -> Paired {
        self.verified(C::CONFIRMED)
    }

    fn verified(self, verified: Verified) -> Paired {
        let Self { peer, pair_key, sas, suite, .. } = self;
        Paired { peer, pair_key, sas, suite, verified }
    }
}

impl<C: Carrier> Unconfirmed<C> {
    /// What people compare.
    #[must_use]
    pub const fn sas(&self) -> Sas {
        self.sas
    }

    /// The user says that the other device shows other digits.
    #[must_use]
    pub fn reject(self) -> Rejected {
        Rejected { peer: self.peer }
    }
}

impl Unconfirmed<Qr> {
    /// Trusts the camera: nobody but the two devices has seen the code.
    #[must_use]
    pub fn trust_camera(self) -> Paired {
        self.verified(Verified::Camera)
    }
}

impl Paired {
    /// The peer.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The key both share now.
    #[must_use]
    pub const fn pair_key(&self) -> &PairKey {
        &self.pair_key
    }

    /// What was compared.
    #[must_use]
    pub const fn sas(&self) -> Sas {
        self.sas
    }

    /// The suite used.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Why the peer is trusted.
    #[must_use]
    pub const fn verified(&self) -> Verified {
        self.verified
    }
}

impl<C: Medium> fmt::Debug for Unconfirmed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unconfirmed({:?}, {:?}, ..)", self.peer, self.suite)
    }
}

impl fmt::Debug for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paired({:?}, {:?}, {:?}, ..)", self.peer, self.suite, self.verified)
    }
}
