//! What can be wrong with a log, or with what somebody wants of it.

use hushwire_wire::id::DeviceId;

/// Why a log was not read, extended or changed. The log is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Bytes that are no entry, or one written in another way than the one there is.
    #[error("the device list of the account is damaged: its entries cannot be read")]
    Malformed,
    /// A newer version wrote it.
    #[error("the device list of the account has an entry of version {0}, known is 1; upgrade")]
    Version(u8),
    /// A signature was not made by the device it names.
    #[error(
        "the device list of the account has an entry whose signature does not verify: it was forged or damaged"
    )]
    Unsigned,
    /// An entry does not stand on the one before.
    #[error(
        "the device list of the account breaks off at entry {0}: what was given does not stand on it"
    )]
    Broken(u32),
    /// Entries from here on are needed first.
    #[error("entries of the account's device list are missing from {0} on")]
    Missing(u32),
    /// The log of another account.
    #[error("this is the device list of another account")]
    OtherLog,
    /// An entry of a device that was no member at that point.
    #[error(
        "device {0} is not a device of the account at that point, so it cannot change its list"
    )]
    NotMember(DeviceId),
    /// A device that is a member cannot be added.
    #[error("device {0} is in the account already")]
    Present(DeviceId),
    /// A device that was removed or has a new key never comes back.
    #[error(
        "device {0} was removed or replaced its key; it cannot come back: make a new identity on it"
    )]
    Ended(DeviceId),
    /// The account would have no devices.
    #[error("the last device of an account cannot be removed")]
    Last,
    /// Too many devices.
    #[error("the account has 64 devices; remove one first")]
    DevicesFull,
    /// Too many entries.
    #[error("the account's device list has 1 024 entries and takes no more; begin a new account")]
    EntriesFull,
    /// A name that cannot be shown.
    #[error("a device's name has at most 64 bytes and no control or direction characters")]
    Name,
    /// Two branches contradict each other.
    #[error(
        "the account's device list has two branches that contradict each other; look at both, and decide which one holds"
    )]
    Forked,
    /// There is nothing to decide.
    #[error("the account's device list has one branch only: there is nothing to decide")]
    NotForked,
    /// This device cannot decide about itself.
    #[error("this very device signed both branches; decide on another device of the account")]
    OwnFork,
}
