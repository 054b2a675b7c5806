//! The identity of an account: which devices it has, in a log that they sign and chain (annex A.7), and how a device goes
//! on under a new key (annex A.8). Without I/O.
//!
//! No relay can slip a device in: every entry is signed by a device that is a member at that point, stands on the hash
//! of the one before, and is verified from the first one on by everybody. A relay can keep entries back; what comes of
//! that is two honest branches, and every device joins them alike. What only a dishonest *device* can make is an alarm,
//! see [`Merge::Forked`].
//!
//! ```
//! use hushwire::account::{AccountLog, Merge, Proof};
//! use hushwire::identity::Identity;
//!
//! # fn main() -> Result<(), hushwire::account::LogError> {
//! let (laptop, phone) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
//! let mut at_laptop = AccountLog::begin(&laptop, "laptop", 1_000)?;
//! // Over the secure channel of a pairing: the laptop names the log, the phone signs that it joins it.
//! let proof = Proof::sign(&phone, &at_laptop.id());
//! at_laptop.add(&laptop, (phone.device_id(), proof), "phone", 2_000)?;
//! let mut at_phone = AccountLog::join(&at_laptop.entries_from(0), &phone.device_id())?;
//! assert_eq!(at_phone.fingerprint(), at_laptop.fingerprint());
//!
//! // Both change it at once, without hearing of each other. Then they hear.
//! let third = Identity::from_secret(&[3; 32]);
//! let proof = Proof::sign(&third, &at_laptop.id());
//! at_laptop.add(&laptop, (third.device_id(), proof), "server", 3_000)?;
//! at_phone.remove(&phone, phone.device_id(), 3_000)?;
//! at_phone.extend(&phone, &at_laptop.entries_from(0), 4_000)?;
//! at_laptop.extend(&laptop, &at_phone.entries_from(0), 4_000)?;
//! at_phone.extend(&phone, &at_laptop.entries_from(0), 5_000)?;
//! assert_eq!(at_phone.head(), at_laptop.head());
//! assert_eq!(at_laptop.members().count(), 2);
//! # Ok(())
//! # }
//! ```

pub mod limits;

mod chain;
mod codec;
mod entry;
mod error;
mod exchange;
mod file;
mod fork;
mod log;
mod members;
mod merge;
mod own;
mod rotation;
mod statement;

pub use entry::{AccountLogId, Entry, EntryHash, Operation, Proof};
pub use error::LogError;
pub use exchange::{MESSAGE_BYTES_MAX, Message};
pub use fork::Fork;
pub use log::{AccountLog, Head, Keep, Merge};
pub use members::Member;
pub use rotation::{Phase, Repinned, Rotation, RotationError};
pub use statement::{STATEMENT_LEN, Statement, StatementError};

/// Any bytes as entries and as a file: what is understood is written again in the same bytes.
pub(crate) fn inspect(data: &[u8]) {
    if let Ok(entries) = chain::read_entries(data, limits::ENTRIES_MAX) {
        assert_eq!(chain::write_entries(&entries), data, "an entry has one encoding");
    }
    if let Ok(log) = AccountLog::decode(data) {
        assert_eq!(log.encode(), data, "a log has one encoding");
        let again = log::read_chain(&log.entries_from(0)).expect("a log reads its own entries");
        assert_eq!(again.next(), log.chain.next(), "and comes to the same head");
    }
}
