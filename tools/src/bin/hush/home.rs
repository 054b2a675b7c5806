//! Where this device's keystore is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hushwire::identity::Identity;
use hushwire::keystore::{Keystore, KeystoreError, Peer};
use hushwire::suite::random::OsRandom;
use hushwire_wire::id::DeviceId;

/// The keystore's directory, whether or not it is there yet.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
}

impl Home {
    pub(crate) fn new(chosen: Option<PathBuf>) -> Result<Self> {
        let path = match chosen {
            Some(path) => path,
            None => std::env::home_dir()
                .context("there is no home directory: name a place for the keys with --keystore")?
                .join(".local/share/hush"),
        };
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an identity.
    pub(crate) fn exists(&self) -> bool {
        self.path.join("identity.json").exists()
    }

    /// Opens the keystore.
    pub(crate) fn open(&self) -> Result<Keystore> {
        if !self.exists() {
            return Err(KeystoreError::Missing { path: self.path.clone() }.into());
        }
        Ok(Keystore::open(&self.path)?)
    }

    /// Opens the keystore, making it first where there is none.
    pub(crate) fn open_or_create(&self) -> Result<Keystore> {
        if self.exists() {
            return Ok(Keystore::open(&self.path)?);
        }
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        Ok(Keystore::create(&self.path, Identity::generate(&mut OsRandom))?)
    }
}

/// The peer that `text` means: a name, an ID, or the beginning of exactly one ID.
pub(crate) fn peer(keystore: &Keystore, text: &str) -> Result<DeviceId> {
    if let Some(peer) = keystore.peer_named(text) {
        return Ok(peer.device());
    }
    let found: Vec<DeviceId> = keystore
        .peers()
        .map(Peer::device)
        .filter(|device| !text.is_empty() && device.to_text().starts_with(text))
        .collect();
    match found.as_slice() {
        [device] => Ok(*device),
        [] => bail!("no peer is called {text:?}: `hush peers` lists them, `hush pair` adds one"),
        _ => bail!("several peers' IDs begin with {text:?}: give more characters"),
    }
}
