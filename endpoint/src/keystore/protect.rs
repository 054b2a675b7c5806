//! Setting, changing and removing the passphrase, so that a crash at any step leaves a keystore that opens.

use std::path::{Path, PathBuf};

use super::backup::Origin;
use super::disk::Disk;
use super::error::KeystoreError;
use super::passphrase::{Cost, NoMemory, Passphrase};
use super::record::is_record;
use super::sealing::{LockedVault, Opened, Seal, Stage, Vault, VaultError, Wrap};
use super::unpaired::UNPAIRED;
use super::{Keystore, PASSPHRASE, PEERS, SUFFIX};
use crate::identity::Identity;

/// How a keystore is protected besides its permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// By nothing else.
    Permissions,
    /// By a passphrase.
    Passphrase,
    /// A change of the passphrase was interrupted and could not be finished yet, so some files may still be in the
    /// form before. Every opening and every change tries to finish it.
    Unfinished,
}

impl Keystore {
    /// Makes a keystore with a passphrase: no secret is ever on the disk without it. Otherwise as
    /// [`Keystore::create`]; takes the time and memory that `cost` says.
    ///
    /// # Errors
    /// As for [`Keystore::create`], and [`KeystoreError::NoMemory`].
    pub fn create_with(
        path: &Path,
        identity: Identity,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<Self, KeystoreError> {
        Self::create_on(Disk::system(path), identity, Some((passphrase, cost)), Origin::New)
    }

    /// Opens the keystore at `path`, which has a passphrase. Takes the time and memory that its [`Cost`] says, 64 MiB
    /// by default. A change of the passphrase that was interrupted is finished.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassphrase`]; [`KeystoreError::NoPassphrase`] where it has none, since whoever gives one
    /// does not expect that; see [`KeystoreError`].
    pub fn open_with(path: &Path, passphrase: &Passphrase) -> Result<Self, KeystoreError> {
        Self::open_on(Disk::system(path), Some(passphrase))
    }

    /// Whether there is a passphrase.
    #[must_use]
    pub fn protection(&self) -> Protection {
        protection_of(self.vault.as_ref())
    }

    /// Sets the passphrase, or changes it. Every file is sealed under a new key: an old copy of `passphrase.json` and the
    /// passphrase before open nothing of what is on the disk from now on. The identity stays what it was, so whoever got
    /// at it before has it; and blocks of plain files may stay on the disk until something else is written there.
    ///
    /// # Errors
    /// Where this fails, [`Keystore::protection`] says [`Protection::Unfinished`] if it had begun: then the new
    /// passphrase opens the keystore, else what opened it before. See [`KeystoreError`].
    pub fn set_passphrase(
        &mut self,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<(), KeystoreError> {
        self.settle()?;
        let stage = if self.vault.is_some() { Stage::Changing } else { Stage::Setting };
        let wrap = new_wrap(&self.disk, passphrase, cost)?;
        let vault = Vault::new(wrap, stage, self.vault.as_ref());
        self.disk.write_raw(Path::new(PASSPHRASE), &vault.to_file(stage))?;
        self.enter(vault);
        self.settle()
    }

    /// Removes the passphrase: every file is plain again.
    ///
    /// # Errors
    /// [`KeystoreError::NoPassphrase`] where there is none. Where it fails for another reason, the keystore opens with
    /// the passphrase, and the next opening goes on with the removal if it had begun. See [`KeystoreError`].
    pub fn remove_passphrase(&mut self) -> Result<(), KeystoreError> {
        self.settle()?;
        let none = || KeystoreError::NoPassphrase { path: self.disk.root().into() };
        let removing = self.vault.as_ref().ok_or_else(none)?.to_file(Stage::Removing);
        self.disk.write_raw(Path::new(PASSPHRASE), &removing)?;
        if let Some(vault) = self.vault.take() {
            self.enter(vault.at(Stage::Removing));
        }
        self.settle()
    }

    fn enter(&mut self, vault: Vault) {
        self.disk.set_seal(Seal::of(&vault));
        self.vault = Some(vault);
    }

    /// Finishes what was begun: carries the files over one by one, then says that it is done.
    pub(super) fn settle(&mut self) -> Result<(), KeystoreError> {
        let Some(stage) = self.vault.as_ref().map(Vault::stage) else { return Ok(()) };
        if stage == Stage::Sealed {
            return Ok(());
        }
        carry_over(&self.disk)?;
        let file = Path::new(PASSPHRASE);
        match (stage, self.vault.take()) {
            (Stage::Removing, vault) => {
                if self.disk.exists(file)
                    && let Err(error) = self.disk.remove(file)
                {
                    self.vault = vault;
                    return Err(error);
                }
                self.disk.set_seal(Seal::PLAIN);
            }
            (Stage::Sealed | Stage::Setting | Stage::Changing, Some(vault)) => {
                let written = self.disk.write_raw(file, &vault.to_file(Stage::Sealed));
                if let Err(error) = written {
                    self.vault = Some(vault);
                    return Err(error);
                }
                self.enter(vault.at(Stage::Sealed));
            }
            (Stage::Sealed | Stage::Setting | Stage::Changing, None) => {}
        }
        Ok(())
    }
}

pub(super) fn protection_of(vault: Option<&Vault>) -> Protection {
    match vault.map(Vault::stage) {
        None => Protection::Permissions,
        Some(Stage::Sealed) => Protection::Passphrase,
        Some(Stage::Setting | Stage::Changing | Stage::Removing) => Protection::Unfinished,
    }
}

/// Takes the passphrase's key out of its file and lets the disk use it.
pub(super) fn unlock(
    disk: &mut Disk,
    passphrase: Option<&Passphrase>,
) -> Result<Option<Vault>, KeystoreError> {
    let path = || PathBuf::from(disk.root());
    let file = path().join(PASSPHRASE);
    let Some(bytes) = disk.read_raw(Path::new(PASSPHRASE))? else {
        return match passphrase {
            Some(_) => Err(KeystoreError::NoPassphrase { path: path() }),
            None => Ok(None),
        };
    };
    let failed = |error| match error {
        VaultError::Record(error) => error.at(&file),
        VaultError::Absurd => KeystoreError::AbsurdCost { path: file.clone() },
        VaultError::NoMemory => KeystoreError::NoMemory { path: path() },
        VaultError::WrongPassphrase => KeystoreError::WrongPassphrase { path: path() },
    };
    // Nobody is asked for the passphrase of a file that is damaged.
    let locked = LockedVault::from_file(&bytes).map_err(failed)?;
    let needed = || KeystoreError::PassphraseNeeded { path: path() };
    let vault = locked.unlock(passphrase.ok_or_else(needed)?).map_err(failed)?;
    disk.set_seal(Seal::of(&vault));
    Ok(Some(vault))
}

/// The passphrase's key of a keystore that is being made.
pub(super) fn lock_new(
    disk: &mut Disk,
    passphrase: Option<(&Passphrase, Cost)>,
) -> Result<Option<Vault>, KeystoreError> {
    let file = Path::new(PASSPHRASE);
    let Some((passphrase, cost)) = passphrase else {
        // Left by a making that was interrupted.
        if disk.exists(file) {
            disk.remove(file)?;
        }
        return Ok(None);
    };
    let vault = Vault::new(new_wrap(disk, passphrase, cost)?, Stage::Sealed, None);
    disk.write_raw(file, &vault.to_file(Stage::Sealed))?;
    disk.set_seal(Seal::of(&vault));
    Ok(Some(vault))
}

fn new_wrap(disk: &Disk, passphrase: &Passphrase, cost: Cost) -> Result<Wrap, KeystoreError> {
    let no_memory = |NoMemory| KeystoreError::NoMemory { path: disk.root().into() };
    Wrap::new(passphrase, cost).map_err(no_memory)
}

/// Writes every file of ours that is in the form before in the form of now. What is no record of ours is left alone.
fn carry_over(disk: &Disk) -> Result<(), KeystoreError> {
    for folder in ["", PEERS, UNPAIRED] {
        if !disk.exists(Path::new(folder)) {
            continue;
        }
        for name in disk.names(Path::new(folder))? {
            if name.starts_with('.') || !name.ends_with(SUFFIX) || name == PASSPHRASE {
                continue;
            }
            let name = Path::new(folder).join(name);
            match disk.read_sealed(&name) {
                Ok(Some(Opened::Left(bytes))) if is_record(&bytes) => disk.write(&name, &bytes)?,
                Ok(Some(Opened::Left(_) | Opened::Current(_)) | None)
                | Err(KeystoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
