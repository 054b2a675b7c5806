//! What crosses from one shard to another. A closed vocabulary; the queues belong to the I/O layer.

use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Request, RequestId, Undelivered};
use hushwire_wire::id::{AccountId, DeviceId};

use crate::id::{ConnId, ShardId};
use crate::time::Time;

/// Which cell of which connection: where a report about it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The sender's home.
    pub shard: ShardId,
    /// Its connection there.
    pub conn: ConnId,
    /// The cell's lane.
    pub lane: u8,
    /// The cell's counter on that lane.
    pub counter: u64,
    /// When it was heard; a refusal's time is measured from here.
    pub heard: Time,
}

/// What the recipient's home must know of a cell that comes from another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sends; the new `peer` of the cell.
    pub sender: DeviceId,
    /// The sender's account.
    pub sender_account: AccountId,
    /// To whom.
    pub recipient: DeviceId,
    /// Its size.
    pub class: Class,
    /// Whether it may wake the recipient.
    pub urgent: bool,
    /// Where a report goes.
    pub origin: Origin,
}

/// Who asked, and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The asker's home.
    pub shard: ShardId,
    /// Its connection there.
    pub conn: ConnId,
    /// Who it is.
    pub device: DeviceId,
    /// Its account.
    pub account: AccountId,
    /// The request's number.
    pub id: RequestId,
}

/// A message between shards. They are the mesh's control class: they are never dropped, and arrive in
/// order between two shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMessage {
    /// To a sender's home: its cell was not delivered.
    Undeliverable {
        /// Which cell.
        origin: Origin,
        /// Why.
        reason: Undelivered,
    },
    /// To the home of the asker's account, which counts its operations.
    Request {
        /// Who asks.
        asker: Asker,
        /// What.
        request: Request,
    },
    /// To the home of a pairing's tag.
    Rendezvous {
        /// Who opens or joins.
        asker: Asker,
        /// The rendezvous.
        tag: [u8; 16],
        /// The life of a new one in seconds; `None` joins.
        open_ttl_s: Option<u32>,
    },
    /// To the homes of two devices that have met: `device` may be sent cells by `other` until `until`.
    Paired {
        /// The device that lives on the receiving shard.
        device: DeviceId,
        /// Whom it has met.
        other: DeviceId,
        /// The rendezvous.
        tag: [u8; 16],
        /// When the permit ends.
        until: Time,
        /// The joiner's request, on its way back to the joiner.
        joiner: Option<Asker>,
    },
    /// To the asker's home: the answer to its request.
    Answer {
        /// Who asked.
        asker: Asker,
        /// What it gets.
        control: Control,
        /// What its home must remember of it.
        effect: Option<Effect>,
    },
    /// To a device's home: it was revoked.
    Revoked {
        /// The device.
        device: DeviceId,
    },
}

/// What a request that was carried out changes in the rows of a device's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The asker granted this sender.
    Granted(DeviceId),
    /// The asker took this sender's grant back.
    Ungranted(DeviceId),
    /// The asker hid (or showed) its presence.
    Hidden(bool),
}
