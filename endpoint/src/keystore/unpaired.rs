//! Devices that were removed while the relay could not be told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;

use super::disk::Disk;
use super::record::{UnpairedRecord, encode};
use super::{Keystore, KeystoreError, PEERS_MAX, SUFFIX};

pub(super) const UNPAIRED: &str = "unpaired";

pub(super) fn load(disk: &Disk) -> Result<BTreeSet<DeviceId>, KeystoreError> {
    let mut unpaired = BTreeSet::new();
    // Made when it is first needed.
    if !disk.exists(Path::new(UNPAIRED)) {
        return Ok(unpaired);
    }
    disk.check_directory(Path::new(UNPAIRED))?;
    disk.remove_temporaries(Path::new(UNPAIRED))?;
    for name in disk.names(Path::new(UNPAIRED))? {
        let Some(device) = name.strip_suffix(SUFFIX).and_then(|text| text.parse().ok()) else {
            continue;
        };
        if unpaired.len() >= PEERS_MAX {
            return Err(KeystoreError::Invalid("the keystore holds more than 1 024 removed peers"));
        }
        let path = Path::new(UNPAIRED).join(&name);
        let found = super::load(disk, &path, |record: UnpairedRecord| {
            record.into_device().filter(|found| *found == device)
        })?;
        unpaired.extend(found);
    }
    Ok(unpaired)
}

impl Keystore {
    /// Devices that are peers no more, whose right to send the relay has still to take back.
    pub fn unpaired(&self) -> impl Iterator<Item = DeviceId> {
        self.unpaired.iter().copied()
    }

    /// The relay has taken it back.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn forget_unpaired(&mut self, device: &DeviceId) -> Result<(), KeystoreError> {
        if self.unpaired.contains(device) {
            self.disk.remove(&path(device))?;
            self.unpaired.remove(device);
        }
        Ok(())
    }

    /// Whether one more can be remembered.
    pub(super) fn check_unpaired(&self) -> Result<(), KeystoreError> {
        if self.unpaired.len() < PEERS_MAX {
            return Ok(());
        }
        Err(KeystoreError::Invalid(
            "1 024 removed peers wait for the relay to be told; connect to it first",
        ))
    }

    pub(super) fn remember_unpaired(&mut self, device: &DeviceId) -> Result<(), KeystoreError> {
        if self.unpaired.contains(device) {
            return Ok(());
        }
        self.check_unpaired()?;
        self.disk.make_directory(Path::new(UNPAIRED))?;
        self.disk.write(&path(device), &encode(&UnpairedRecord::new(device)))?;
        self.unpaired.insert(*device);
        Ok(())
    }
}

fn path(device: &DeviceId) -> PathBuf {
    Path::new(UNPAIRED).join(device.to_text() + SUFFIX)
}
