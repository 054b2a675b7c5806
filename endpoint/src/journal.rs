//! What messages must not lose over a crash: every message until its end, how each one ended, and how far the
//! application is in what came from each peer.
//!
//! An [`Entry`] is one fact. [`Logs`] is what all facts up to now amount to; it is bounded, because a fact that a later
//! one has overtaken is dropped. A [`Journal`] is the file that keeps entries, encrypted; what its bytes mean is
//! written at the top of `record.rs` and `codec.rs`.

mod codec;
mod compaction;
mod entry;
mod error;
mod file;
mod index;
pub mod limits;
mod logs;
mod medium;
mod reading;
mod record;
#[cfg(test)]
mod tests;

pub use entry::{Entry, MessageId, MessageIdError, Outcome};
pub use error::{JournalError, NewerPart};
pub use file::{Durability, Journal};
pub use logs::{ENDED_KEPT_MAX, EndedSend, Held, IncomingLog, Logs, OutgoingLog, PeerLogs};

/// Any bytes as a file under a key of sevens, for fuzzing.
pub(crate) fn inspect_file(data: &[u8]) {
    let key = crate::suite::keys::StorageKey::new([7; 32]);
    let Ok((logs, end)) = file::read_bytes(data, &key) else { return };
    let whole = usize::try_from(end).ok().and_then(|end| data.get(..end));
    let again = file::read_bytes(whole.expect("it was read to there"), &key);
    let (same, also_end) = again.expect("what was read is read again without its torn tail");
    assert!(same == logs && also_end == end, "a torn tail says nothing");
}

/// Any bytes as entries, for fuzzing.
pub(crate) fn inspect_entries(data: &[u8]) {
    use codec::Encode;
    let (mut rest, mut again) = (data, Vec::new());
    while let Ok(stored) = codec::decode(&mut rest) {
        let before = again.len();
        stored.write(&mut again);
        assert_eq!(
            again.len() - before,
            stored.encoded_len(),
            "a length is that of what is written"
        );
    }
    assert_eq!(again, data[..data.len() - rest.len()], "an entry has one encoding");
}
