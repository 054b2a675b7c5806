//! Where this device's keystore is, and what opens it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hushwire::identity::{Identity, Words};
use hushwire::keystore::{
    BackupFile, Cost, Keystore, KeystoreError, Look, Passphrase, Peer, Protection,
};
use hushwire::suite::random::OsRandom;
use hushwire_wire::id::DeviceId;

use crate::secret::{Terminal, passphrase_file};
use crate::terminal::note;

/// How often a person may mistype a passphrase.
const TRIES: usize = 3;
const NO_TERMINAL: &str = "there is no terminal to ask for the passphrase; name a file that holds it with --passphrase-file";

/// The keystore's directory, whether or not it is there yet.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// What holds the passphrase; where absent, a person is asked.
    passphrase_file: Option<PathBuf>,
}

impl Home {
    pub(crate) fn new(chosen: Option<PathBuf>, passphrase_file: Option<PathBuf>) -> Result<Self> {
        let path = match chosen {
            Some(path) => path,
            None => std::env::home_dir()
                .context("there is no home directory: name a place for the keys with --keystore")?
                .join(".local/share/hush"),
        };
        Ok(Self { path, passphrase_file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an identity.
    pub(crate) fn exists(&self) -> bool {
        self.path.join("identity.json").exists()
    }

    /// Opens the keystore, asking for its passphrase where it has one.
    pub(crate) fn open(&self) -> Result<Keystore> {
        let keystore = self.with_passphrase(|passphrase| match passphrase {
            Some(passphrase) => Keystore::open_with(&self.path, passphrase),
            None => Keystore::open(&self.path),
        })?;
        if keystore.protection() == Protection::Unfinished {
            note(
                false,
                "a change of the passphrase could not be finished: see that the disk takes changes, then open it again",
            );
        }
        Ok(keystore)
    }

    /// Looks at the keystore, which another process may have open.
    pub(crate) fn look(&self) -> Result<Look> {
        self.with_passphrase(|passphrase| Keystore::look(&self.path, passphrase))
    }

    fn with_passphrase<T>(
        &self,
        open: impl Fn(Option<&Passphrase>) -> Result<T, KeystoreError>,
    ) -> Result<T> {
        if !self.exists() {
            return Err(KeystoreError::Missing { path: self.path.clone() }.into());
        }
        match &self.passphrase_file {
            // A file is expected to be needed: a keystore without a passphrase may have been put in the place of ours.
            Some(file) => Ok(open(Some(&passphrase_file(file)?))?),
            None => match open(None) {
                Err(KeystoreError::PassphraseNeeded { .. }) => self.ask(open),
                opened => Ok(opened?),
            },
        }
    }

    fn ask<T>(&self, open: impl Fn(Option<&Passphrase>) -> Result<T, KeystoreError>) -> Result<T> {
        let Ok(mut terminal) = Terminal::open(NO_TERMINAL) else {
            let needed = KeystoreError::PassphraseNeeded { path: self.path.clone() };
            return Err(anyhow::Error::new(needed).context(NO_TERMINAL));
        };
        let prompt = format!("Passphrase of {}: ", self.path.display());
        let mut tries = 1;
        loop {
            match open(Some(&terminal.passphrase(&prompt)?)) {
                Err(KeystoreError::WrongPassphrase { .. }) if tries < TRIES => {
                    terminal.print("That is not it.\n")?;
                    tries += 1;
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// Opens the keystore, making it first where there is none: with a passphrase where a file holds one.
    pub(crate) fn open_or_create(&self) -> Result<Keystore> {
        if self.exists() {
            return self.open();
        }
        self.make_parent()?;
        let identity = Identity::generate(&mut OsRandom);
        Ok(match self.new_passphrase()? {
            Some(new) => Keystore::create_with(&self.path, identity, &new, Cost::default())?,
            None => Keystore::create(&self.path, identity)?,
        })
    }

    /// Makes a keystore from its words.
    pub(crate) fn restore(
        &self,
        words: &Words,
        file: Option<BackupFile>,
        now_s: u64,
    ) -> Result<Keystore> {
        self.make_parent()?;
        let new = self.new_passphrase()?;
        let lock = new.as_ref().map(|new| (new, Cost::default()));
        Ok(Keystore::restore(&self.path, words, file, lock, now_s)?)
    }

    fn new_passphrase(&self) -> Result<Option<Passphrase>> {
        self.passphrase_file.as_deref().map(passphrase_file).transpose()
    }

    fn make_parent(&self) -> Result<()> {
        let Some(parent) = self.path.parent() else { return Ok(()) };
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
    }
}

/// The peer that `text` means: a name, an ID, or the beginning of exactly one ID.
pub(crate) fn peer(keystore: &Keystore, text: &str) -> Result<DeviceId> {
    peer_among(keystore.peers(), text)
}

/// The same among these peers.
pub(crate) fn peer_among<'a>(
    peers: impl Iterator<Item = &'a Peer>,
    text: &str,
) -> Result<DeviceId> {
    let mut found = Vec::new();
    for peer in peers {
        if peer.name() == text {
            return Ok(peer.device());
        }
        if !text.is_empty() && peer.device().to_text().starts_with(text) {
            found.push(peer.device());
        }
    }
    match found.as_slice() {
        [device] => Ok(*device),
        [] => bail!("no peer is called {text:?}: `hush peers` lists them, `hush pair` adds one"),
        _ => bail!("several peers' IDs begin with {text:?}: give more characters"),
    }
}
