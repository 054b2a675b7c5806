//! Questions to the store and its answers. The engine never waits: a question leaves as a command under
//! a ticket, the answer comes back as an input.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use hushwire_wire::control::{ErrorCode, Transport};
use hushwire_wire::id::{AccountId, DeviceId};

/// What an engine asks the store. Each is answered once, by [`Engine::handle_store`].
///
/// [`Engine::handle_store`]: crate::Engine::handle_store
#[derive(Clone, PartialEq, Eq)]
pub enum StoreQuestion {
    /// May this device connect? Answered with `Admitted` or `Denied`.
    Admit {
        /// Who has proved its identity.
        device: DeviceId,
        /// By which transport: a device may be marked native-only.
        transport: Transport,
    },
    /// Enrols a device with an invite's secret, then as `Admit`. Asked again by the same device it gives
    /// the same answer.
    Redeem {
        /// Who has proved its identity.
        device: DeviceId,
        /// By which transport.
        transport: Transport,
        /// The invite's secret; the store keeps its hash only.
        secret: [u8; 16],
        /// Its name for people.
        name: String,
    },
    /// May this sender reach this device, which is not connected? Answered with `Reach`.
    Reach {
        /// Who sends.
        sender: DeviceId,
        /// The sender's account.
        sender_account: AccountId,
        /// To whom.
        recipient: DeviceId,
    },
    /// Adds a device to an account. This and the following are answered with `Done` or `Failed`.
    Register {
        /// The asker's account.
        account: AccountId,
        /// The new device.
        device: DeviceId,
        /// Its name for people.
        name: String,
        /// Who asks.
        asker: DeviceId,
        /// The new device's signature; whoever knows the relay's ID verifies it before anything is looked up.
        proof: Box<[u8; 64]>,
    },
    /// Names a device of the account.
    Rename {
        /// The asker's account.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// Its new name.
        name: String,
    },
    /// Ends a device of the account for good.
    Revoke {
        /// The asker's account.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// Lets `sender` send to `recipient`.
    Grant {
        /// The recipient's account.
        account: AccountId,
        /// The asker.
        recipient: DeviceId,
        /// Who may send.
        sender: DeviceId,
    },
    /// Takes a grant back. Done also where there was none.
    Ungrant {
        /// The recipient's account.
        account: AccountId,
        /// The asker.
        recipient: DeviceId,
        /// Who may send no longer.
        sender: DeviceId,
    },
    /// Hides or shows a device's presence.
    Presence {
        /// The asker's account.
        account: AccountId,
        /// The asker.
        device: DeviceId,
        /// Whether senders hear nothing instead of `offline`.
        hidden: bool,
    },
}

impl core::fmt::Debug for StoreQuestion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Admit { device, .. } => write!(f, "Admit({device:?})"),
            Self::Redeem { device, .. } => write!(f, "Redeem({device:?})"),
            Self::Reach { sender, recipient, .. } => write!(f, "Reach({sender:?}, {recipient:?})"),
            Self::Register { device, .. } => write!(f, "Register({device:?})"),
            Self::Rename { device, .. } => write!(f, "Rename({device:?})"),
            Self::Revoke { device, .. } => write!(f, "Revoke({device:?})"),
            Self::Grant { recipient, sender, .. } => write!(f, "Grant({recipient:?}, {sender:?})"),
            Self::Ungrant { recipient, sender, .. } => {
                write!(f, "Ungrant({recipient:?}, {sender:?})")
            }
            Self::Presence { device, hidden, .. } => write!(f, "Presence({device:?}, {hidden})"),
        }
    }
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// The device may connect.
    Admitted(DeviceRow),
    /// The device may not.
    Denied(Denial),
    /// How an absent device answers a sender.
    Reach(Reach),
    /// The operation was carried out.
    Done,
    /// The operation was not carried out; the asker gets this.
    Failed {
        /// For a program.
        code: ErrorCode,
        /// For a person.
        sentence: String,
    },
    /// The store cannot answer now (full, failing or overloaded): the asker is told to try again.
    Unavailable,
}

/// What a device's home shard holds while it is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its owner.
    pub account: AccountId,
    /// Whether senders hear nothing instead of `offline`.
    pub hidden: bool,
    /// Who may send to it besides its own account, at most `GRANTS_PER_ACCOUNT`.
    pub grants: Vec<DeviceId>,
}

/// Why a device may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// Nobody has enrolled it.
    Unknown,
    /// It was revoked.
    Revoked,
    /// It may not use this transport.
    NativeOnly,
    /// There is no such invite, or another device has used it.
    Invite,
    /// The invite is past its time.
    InviteExpired,
    /// The account has as many devices as it may.
    AccountFull,
}

/// How an absent device answers a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Unknown, revoked or ungranted.
    Refused,
    /// The sender may send, but nobody is there.
    Offline {
        /// Whether an urgent cell may wake it.
        push: bool,
        /// Whether the sender is to hear nothing.
        hidden: bool,
    },
}
