//! Seals records straight to where they are sent from, or where they stand (RFC 8446 §5.2, §4.6.3, §6).

use std::fmt;

use super::fault::{Alert, Fault};
use super::keys::TrafficKeys;
use super::limits::{
    RECORD_HEADER_BYTES, RECORD_PLAIN_BYTES_MAX, RECORD_TAG_BYTES, RECORDS_SEALED_DUE,
    RECORDS_SEALED_MAX,
};
use super::record::{
    ALERT, APPLICATION_DATA, HANDSHAKE, KEY_UPDATE, LEGACY_VERSION, record_len, sealed_len,
};

/// Type, three bytes of length, and a request that says that no answer is wanted.
const KEY_UPDATE_NOT_REQUESTED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// Seals what the client is sent.
pub struct Sealer {
    keys: TrafficKeys,
    /// One bit: however often the client asks before the answer is sealed, it gets one.
    update_requested: bool,
}

impl Sealer {
    pub(super) fn new(keys: TrafficKeys) -> Self {
        Self { keys, update_requested: false }
    }

    /// Seals `plain` into the front of `out` and returns [`sealed_len`]`(plain.len())`, the bytes written.
    /// A record takes at most 16 384 bytes, so a 32 KiB cell becomes two. Each byte is read once and
    /// written once.
    ///
    /// # Errors
    /// [`Fault::Internal`] if `out` is too short or [`RECORDS_SEALED_MAX`] is reached, which needs an owner
    /// that ignores [`update_due`](Self::update_due).
    #[inline]
    pub fn seal_into(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
        let mut written = 0;
        for content in plain.chunks(RECORD_PLAIN_BYTES_MAX) {
            let end = written + record_len(content.len());
            let record = out.get_mut(written..end).ok_or_else(too_short)?;
            let (header, body) = self.begin_record(record)?;
            self.keys.seal(header, content, &[APPLICATION_DATA], body)?;
            written = end;
        }
        Ok(written)
    }

    /// Seals a cell again in the full records that it was opened in, those of [`Event::Framed`]: what it leaves there is what [`seal_into`](Self::seal_into) would have written.
    ///
    /// # Errors
    /// [`Fault::Internal`] if `records` is too short or [`RECORDS_SEALED_MAX`] is reached.
    ///
    /// [`Event::Framed`]: super::Event::Framed
    pub fn seal_in_place(&mut self, records: &mut [u8]) -> Result<(), Fault> {
        for record in records.chunks_mut(record_len(RECORD_PLAIN_BYTES_MAX)) {
            let (header, body) = self.begin_record(record)?;
            let end = body.len().checked_sub(1 + RECORD_TAG_BYTES).ok_or_else(too_short)?;
            body[end] = APPLICATION_DATA;
            self.keys.seal_in_place(header, body)?;
        }
        Ok(())
    }

    /// Like [`seal_into`](Self::seal_into), appending to `out`.
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        append(out, sealed_len(plain.len()), |tail| self.seal_into(plain, tail))
    }

    /// Asks for a KeyUpdate: the client wants one.
    pub fn request_update(&mut self) {
        self.update_requested = true;
    }

    /// Whether [`key_update_into`](Self::key_update_into) should be called before the next record: the
    /// client asked for it, or 2^23 records have gone under one key.
    #[inline]
    #[must_use]
    pub fn update_due(&self) -> bool {
        self.update_requested || self.keys.sequence >= RECORDS_SEALED_DUE
    }

    /// Seals a KeyUpdate that wants no answer into the front of `out` and steps to the next keys. Returns
    /// [`record_len`]`(padded_to)`, the bytes written: padding makes the record look like that of a cell of
    /// `padded_to` bytes (5 to 16 384).
    ///
    /// # Errors
    /// [`Fault::Internal`] if `padded_to` is out of range or `out` too short.
    pub fn key_update_into(&mut self, padded_to: usize, out: &mut [u8]) -> Result<usize, Fault> {
        let written = self.control_into(HANDSHAKE, &KEY_UPDATE_NOT_REQUESTED, padded_to, out)?;
        self.keys.update()?;
        self.update_requested = false;
        Ok(written)
    }

    /// Like [`key_update_into`](Self::key_update_into), appending to `out`.
    ///
    /// # Errors
    /// As there.
    pub fn key_update(&mut self, padded_to: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        append(out, record_len(padded_to), |tail| self.key_update_into(padded_to, tail))
    }

    /// Seals `alert` into the front of `out`, padded like a KeyUpdate (2 to 16 384), and returns the bytes
    /// written. Nothing may be sealed behind it.
    ///
    /// # Errors
    /// [`Fault::Internal`] if `padded_to` is out of range or `out` too short.
    pub fn alert_into(
        &mut self,
        alert: Alert,
        padded_to: usize,
        out: &mut [u8],
    ) -> Result<usize, Fault> {
        self.control_into(ALERT, &alert.to_wire(), padded_to, out)
    }

    /// Like [`alert_into`](Self::alert_into), appending to `out`.
    ///
    /// # Errors
    /// As there.
    pub fn alert(
        &mut self,
        alert: Alert,
        padded_to: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        append(out, record_len(padded_to), |tail| self.alert_into(alert, padded_to, tail))
    }

    fn control_into(
        &mut self,
        kind: u8,
        content: &[u8],
        padded_to: usize,
        out: &mut [u8],
    ) -> Result<usize, Fault> {
        if !(content.len()..=RECORD_PLAIN_BYTES_MAX).contains(&padded_to) {
            return Err(Fault::Internal("a control record padded out of range"));
        }
        let written = record_len(padded_to);
        let record = out.get_mut(..written).ok_or_else(too_short)?;
        let (header, body) = self.begin_record(record)?;
        body[..content.len()].copy_from_slice(content);
        body[content.len()] = kind;
        body[content.len() + 1..].fill(0);
        self.keys.seal_in_place(header, body)?;
        Ok(written)
    }

    /// Writes the header of a record that fills `record` and returns it with the space behind it.
    #[inline]
    fn begin_record<'a>(
        &self,
        record: &'a mut [u8],
    ) -> Result<([u8; RECORD_HEADER_BYTES], &'a mut [u8]), Fault> {
        if self.keys.sequence >= RECORDS_SEALED_MAX {
            return Err(Fault::Internal("too many records sealed under one key"));
        }
        let (front, body) =
            record.split_first_chunk_mut::<RECORD_HEADER_BYTES>().ok_or_else(too_short)?;
        // At most 16 384 + 17, so the length fits.
        let [high, low] = (body.len() as u16).to_be_bytes();
        *front = [APPLICATION_DATA, LEGACY_VERSION[0], LEGACY_VERSION[1], high, low];
        Ok((*front, body))
    }

    /// Forgets the AEAD context (640 bytes of heap) of an idle connection; the next record rebuilds it.
    pub fn compact(&mut self) {
        self.keys.compact();
    }

    /// Whether the AEAD context is absent.
    #[must_use]
    pub fn is_compact(&self) -> bool {
        self.keys.is_compact()
    }

    pub(super) fn keys(&self) -> &TrafficKeys {
        &self.keys
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("sequence", &self.keys.sequence)
            .field("update_requested", &self.update_requested)
            .finish_non_exhaustive()
    }
}

fn too_short() -> Fault {
    Fault::Internal("no room for a record")
}

fn append(
    out: &mut Vec<u8>,
    len: usize,
    seal: impl FnOnce(&mut [u8]) -> Result<usize, Fault>,
) -> Result<(), Fault> {
    let start = out.len();
    out.resize(start + len, 0);
    let sealed = seal(&mut out[start..]);
    if sealed.is_err() {
        out.truncate(start);
    }
    sealed.map(|_| ())
}
