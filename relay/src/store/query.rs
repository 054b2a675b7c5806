//! What can be asked of the store, and what it answers. Both are closed.

use hushwire_wire::id::{AccountId, DeviceId};

use super::{Name, StoreError};

/// Days since 1970-01-01 UTC: the finest time kept about a device.
pub type Day = u32;

/// A question or a change. Reads go to the reader threads, changes to the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The row of a device: asked at HELLO, after the proof was verified. → `Row`, `Unknown`.
    Device {
        /// Whose row.
        device: DeviceId,
    },
    /// What a sender hears about a recipient without a connection. → `Offline`, `Refused`.
    Reach {
        /// The sending device.
        sender: DeviceId,
        /// Its account.
        sender_account: AccountId,
        /// The device it names.
        recipient: DeviceId,
    },
    /// One page of all devices in the order of their IDs, for operators. → `Devices`.
    Devices {
        /// Start behind this one; `None` starts at the beginning.
        after: Option<DeviceId>,
        /// Rows wanted; at most [`DEVICES_PAGE_MAX`](super::DEVICES_PAGE_MAX) are given.
        limit: usize,
    },
    /// Counts and sizes. → `Stats`.
    Stats,
    /// A device joins the account of an invite. The same device may repeat it. → `Row`, `Refused`.
    Redeem {
        /// SHA-256 of the invite's secret.
        secret_hash: [u8; 32],
        /// The joining device.
        device: DeviceId,
        /// Its name for people.
        name: Name,
        /// Seconds since 1970-01-01 UTC.
        now_unix_s: u64,
    },
    /// A device is added to an account that exists. → `Done`, `Refused`.
    Register {
        /// The account.
        account: AccountId,
        /// The new device.
        device: DeviceId,
        /// Its name for people.
        name: Name,
    },
    /// A device gets another name. → `Done`, `Refused`.
    Rename {
        /// The account that asks.
        account: AccountId,
        /// One of its devices.
        device: DeviceId,
        /// The new name.
        name: Name,
    },
    /// A device is shut out for good and its grants are deleted. → `Done`, `Refused`.
    Revoke {
        /// The account that asks; `None` is an operator, who may revoke any device.
        account: Option<AccountId>,
        /// The device.
        device: DeviceId,
    },
    /// `sender` may send to `recipient`. → `Done`, `Refused`.
    Grant {
        /// The device that asks and will receive.
        recipient: DeviceId,
        /// The device that may send; it need not be known here.
        sender: DeviceId,
    },
    /// Takes a grant back; there need not be one. → `Done`.
    Ungrant {
        /// The device that asks.
        recipient: DeviceId,
        /// The device that may send no longer.
        sender: DeviceId,
    },
    /// Senders hear nothing instead of `offline`. → `Done`, `Refused`.
    PresenceHide {
        /// The device that asks.
        device: DeviceId,
        /// Whether to hide.
        hidden: bool,
    },
    /// WebSocket connections of this device are refused. → `Done`, `Refused`.
    MarkNative {
        /// The device.
        device: DeviceId,
        /// Whether only native transports are allowed.
        native_only: bool,
    },
    /// A single-use invite. → `Done`, `Refused`.
    InviteCreate {
        /// SHA-256 of the secret; the secret itself is never stored.
        secret_hash: [u8; 32],
        /// Seconds since 1970-01-01 UTC after which it is void.
        expires_unix_s: u64,
        /// Join this account; `None` makes a new one.
        account: Option<AccountId>,
        /// The ID of the new account, drawn by the caller.
        new_account: AccountId,
        /// Seconds since 1970-01-01 UTC: expired invites are removed to make room.
        now_unix_s: u64,
    },
    /// On which day devices were last seen, in batches of at most
    /// [`SEEN_BATCH_MAX`](super::SEEN_BATCH_MAX); unknown devices are passed over. → `Done`, `Refused`.
    SeenDays(Vec<(DeviceId, Day)>),
}

impl Query {
    /// Whether the writer has to do it.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Device { .. } | Self::Reach { .. } | Self::Devices { .. } | Self::Stats => false,
            Self::Redeem { .. }
            | Self::Register { .. }
            | Self::Rename { .. }
            | Self::Revoke { .. }
            | Self::Grant { .. }
            | Self::Ungrant { .. }
            | Self::PresenceHide { .. }
            | Self::MarkNative { .. }
            | Self::InviteCreate { .. }
            | Self::SeenDays(_) => true,
        }
    }

    /// Whether it makes the store larger: refused first when room runs out.
    pub(super) fn adds(&self) -> bool {
        matches!(
            self,
            Self::Redeem { .. }
                | Self::Register { .. }
                | Self::Grant { .. }
                | Self::InviteCreate { .. }
        )
    }
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The device is known, possibly as revoked.
    Row(Box<Row>),
    /// No such device.
    Unknown,
    /// Allowed, but nothing can be stored for it: the recipient may be woken.
    Offline {
        /// A push token is stored.
        push: bool,
        /// The recipient hides its presence: the sender hears nothing.
        hidden: bool,
    },
    /// Done and on disk.
    Done,
    /// The request cannot be granted; the store is fine.
    Refused(Refusal),
    /// One page of devices.
    Devices {
        /// In the order of their IDs. Damaged rows are left out and counted.
        page: Vec<DeviceEntry>,
        /// Ask again after this one; `None` at the end.
        next: Option<DeviceId>,
    },
    /// Counts and sizes.
    Stats(Stats),
    /// The store could not do it; nothing has changed.
    Failed(StoreError),
}

/// What a shard holds about a connected device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its account.
    pub account: AccountId,
    /// Its name for people.
    pub name: Name,
    /// Whether it may connect.
    pub status: Status,
    /// WebSocket is refused.
    pub native_only: bool,
    /// Senders hear nothing when it is offline.
    pub presence_hidden: bool,
    /// Devices outside the account that may send to it, in the order of their IDs; at most
    /// `grants_per_account` of them.
    pub grants: Vec<DeviceId>,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Active,
    /// Never again.
    Revoked,
}

/// A device in an operator's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The device.
    pub device: DeviceId,
    /// Its account.
    pub account: AccountId,
    /// Its name for people.
    pub name: Name,
    /// Whether it may connect.
    pub status: Status,
    /// WebSocket is refused.
    pub native_only: bool,
    /// Senders hear nothing when it is offline.
    pub presence_hidden: bool,
    /// The last day it was connected; 0 is never.
    pub seen_day: Day,
}

/// Counts and sizes of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Devices, revoked ones included.
    pub devices: u64,
    /// Accounts.
    pub accounts: u64,
    /// Grants.
    pub grants: u64,
    /// Invites, used and expired ones included until they are removed.
    pub invites: u64,
    /// Bytes of pages in use (free pages inside the file are not counted).
    pub map_bytes_used: u64,
    /// Bytes of the map now.
    pub map_bytes_total: u64,
    /// Bytes it may grow to.
    pub map_bytes_max: u64,
}

/// Why a request was not granted. The asker's doing, not a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unknown, ungranted or revoked: one answer, so that nobody can probe for devices.
    #[error("this device may not be written to")]
    NotAllowed,
    /// Another device has used the invite.
    #[error("the invite has been used: ask for a new one")]
    InviteUsed,
    /// Too late.
    #[error("the invite has expired: ask for a new one")]
    InviteExpired,
    /// Never made here, or removed after it expired.
    #[error("the invite is not known to this relay: check the link, or ask for a new one")]
    InviteUnknown,
    /// `devices_per_account` is reached.
    #[error("the account has as many devices as it may have: revoke one first")]
    AccountFull,
    /// It joined with another invite.
    #[error("this device is already enrolled")]
    AlreadyEnrolled,
    /// The key was shut out for good.
    #[error("this device was revoked: make a new identity with `hush init`")]
    Revoked,
    /// Not in the asker's account.
    #[error("no such device in this account")]
    UnknownDevice,
    /// No such account.
    #[error("no such account")]
    UnknownAccount,
    /// The device is another account's.
    #[error("the device belongs to another account")]
    OtherAccount,
    /// `grants_per_account` is reached.
    #[error("the account has given as many grants as it may give: take one back first")]
    GrantsFull,
    /// Too many invites are open.
    #[error("too many invites are open: wait until some are used or expire")]
    InvitesFull,
    /// The same secret twice.
    #[error("an invite with this secret exists: draw another secret")]
    InviteExists,
    /// A batch over its bound.
    #[error("too many entries in one request")]
    TooMany,
}
