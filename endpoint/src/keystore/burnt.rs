//! Spoken codes that were tried, so that a process that starts again does not give anybody a second guess.

use std::path::Path;

use super::disk::Disk;
use super::record::{BurntRecord, encode};
use super::{Keystore, KeystoreError};
use crate::pairing::spoken::{Burnt, CodeMark, SpokenCode};
use crate::suite::limits::{SPOKEN_BURNT_MAX, SPOKEN_BURNT_S};

pub(super) const CODES: &str = "codes.json";

pub(super) fn load(disk: &Disk) -> Result<Vec<(CodeMark, u64)>, KeystoreError> {
    Ok(super::load(disk, Path::new(CODES), BurntRecord::into_codes)?.unwrap_or_default())
}

impl Keystore {
    /// Writes down that a spoken code is about to be tried, whatever comes of it; on disk when this returns. `None`
    /// where it was tried on this device in the last 24 hours. `now_s` is the unix time.
    ///
    /// # Errors
    /// [`KeystoreError::Invalid`] where 48 codes were tried in that time; see [`KeystoreError`].
    pub fn burn(&mut self, code: &SpokenCode, now_s: u64) -> Result<Option<Burnt>, KeystoreError> {
        if self.is_burnt(code, now_s) {
            return Ok(None);
        }
        let mut codes = self.burnt.clone();
        codes.retain(|(_, until_s)| *until_s > now_s);
        if codes.len() >= SPOKEN_BURNT_MAX {
            return Err(KeystoreError::Invalid(
                "48 spoken codes were tried on this device within a day; pair by link, or tomorrow",
            ));
        }
        let mark = code.mark();
        codes.push((mark, now_s.saturating_add(SPOKEN_BURNT_S)));
        self.disk.write(Path::new(CODES), &encode(&BurntRecord::new(&codes)))?;
        self.burnt = codes;
        Ok(Some(Burnt::new(mark)))
    }

    /// Whether a spoken code was tried on this device in the last 24 hours. `now_s` is the unix time.
    #[must_use]
    pub fn is_burnt(&self, code: &SpokenCode, now_s: u64) -> bool {
        let mark = code.mark();
        self.burnt.iter().any(|(burnt, until_s)| *burnt == mark && *until_s > now_s)
    }
}
