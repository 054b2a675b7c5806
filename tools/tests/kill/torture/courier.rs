//! Files: an application that gives one after the other to `hush send`, again and again until it says that the file was
//! delivered, and what must be in the directory of `hush receive` then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use hushwire_wire::id::DeviceId;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::random::Random;

/// Sizes of files, in bytes.
const FILE_BYTES: (u64, u64) = (1, 12 << 20);

#[derive(Debug)]
pub(crate) struct Courier {
    hush: PathBuf,
    sender: PathBuf,
    receiver: PathBuf,
    outbox: PathBuf,
    inbox: PathBuf,
    to: DeviceId,
    random: Random,
    /// What was delivered: names and hashes.
    delivered: BTreeMap<String, [u8; 32]>,
    /// What is on its way.
    current: Option<(PathBuf, String, [u8; 32])>,
    /// The process has said that it was delivered.
    is_told: bool,
    pub(crate) bytes: u64,
    /// Starts of `hush send` beyond one for each file.
    pub(crate) resumed: u64,
}

impl Courier {
    pub(crate) fn new(hush: &Path, place: &Path, to: DeviceId, random: Random) -> Result<Self> {
        let (outbox, inbox) = (place.join("outbox"), place.join("inbox"));
        fs::create_dir(&outbox)?;
        fs::create_dir(&inbox)?;
        Ok(Self {
            hush: hush.to_owned(),
            sender: place.join("sender"),
            receiver: place.join("receiver"),
            outbox,
            inbox,
            to,
            random,
            delivered: BTreeMap::new(),
            current: None,
            is_told: false,
            bytes: 0,
            resumed: 0,
        })
    }

    fn hush(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.hush);
        command.arg("--json").arg("--keystore").arg(home);
        command
    }

    /// What sends the file that is on its way, or the next one.
    pub(crate) fn send(&mut self) -> Result<Command> {
        if self.current.is_none() {
            let (least, most) = FILE_BYTES;
            let length = least + self.random.below(most - least);
            let bytes = self.random.bytes(usize::try_from(length)?);
            let name = format!("file {}.bin", self.delivered.len());
            let path = self.outbox.join(&name);
            fs::write(&path, &bytes)?;
            self.bytes += length;
            self.current = Some((path, name, Sha256::digest(&bytes).into()));
        } else {
            self.resumed += 1;
        }
        let (path, ..) = self.current.as_ref().context("a file was made")?;
        let mut command = self.hush(&self.sender);
        command.args(["send", &self.to.to_text()]).arg(path);
        Ok(command)
    }

    pub(crate) fn receive(&self) -> Command {
        let mut command = self.hush(&self.receiver);
        command.args(["receive", "--output"]).arg(&self.inbox);
        command
    }

    /// `hush send` prints a line.
    pub(crate) fn on_sent(&mut self, line: &str) -> Result<()> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
        let (_, name, sha256) = self.current.as_ref().context("nothing was to be sent")?;
        ensure!(value["name"] == *name && value["sha256"] == hex(sha256), "sent is {line:?}");
        ensure!(!self.is_told, "{name} was delivered twice");
        self.is_told = true;
        Ok(())
    }

    /// `hush send` is gone: the next file, if this one was delivered. Killed after it has said so, it was.
    pub(crate) fn take_stock(&mut self, by_itself: bool) -> Result<()> {
        ensure!(!by_itself || self.is_told, "it ended well without a word");
        if self.is_told
            && let Some((path, name, sha256)) = self.current.take()
        {
            fs::remove_file(path)?;
            self.check(&name, &sha256)?;
            self.delivered.insert(name, sha256);
            self.is_told = false;
        }
        Ok(())
    }

    fn check(&self, name: &str, sha256: &[u8; 32]) -> Result<()> {
        let path = self.inbox.join(name);
        let bytes = fs::read(&path).with_context(|| format!("{name} was delivered"))?;
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        ensure!(found == *sha256, "{name} is not what was sent");
        Ok(())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.len() as u64
    }

    /// Everything is over: each file is there once, whole, and nothing beside.
    pub(crate) fn check_end(&self) -> Result<()> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&self.inbox)? {
            found.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let must: BTreeSet<_> = self.delivered.keys().cloned().collect();
        let more: Vec<_> = found.difference(&must).collect();
        ensure!(more.is_empty(), "among {} received files there is {more:?}", must.len());
        for (name, sha256) in &self.delivered {
            self.check(name, sha256)?;
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
