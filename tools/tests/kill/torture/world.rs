//! A relay, two devices that chat, and two that send and receive files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, ensure};
use hushwire_wire::id::DeviceId;
use tempfile::TempDir;

use super::courier::Courier;
use super::driver::now;
use super::people;
use super::process::{Heard, Post};
use super::random::Random;
use super::relay::Relay;
use super::strikes::Victim;
use super::talker::Talker;

/// The keystores' directories.
const HOMES: [&str; 4] = ["alice", "bob", "sender", "receiver"];

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) place: Option<TempDir>,
    pub(crate) relay: Relay,
    pub(crate) alice: Talker,
    pub(crate) bob: Talker,
    pub(crate) courier: Courier,
    /// Of all but the relay.
    pub(crate) posts: [(Victim, Post); 4],
    pub(crate) heard: Receiver<Heard>,
    /// Files that were in the keystores at the beginning.
    files: BTreeSet<PathBuf>,
}

impl World {
    pub(crate) fn make(hush: &Path, random: &mut Random) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("hushwire-kill-").tempdir()?;
        let relay = Relay::start_first(hush, place.path().join("relay"))?;
        let [alice, bob, _, receiver] = enrol(&relay, place.path())?;
        let (now, path) = (now(), place.path());
        let mut talker = |ours, peer| {
            Talker::new(hush, path, ours, peer, Random::new(random.below(u64::MAX)), now)
        };
        let (alice, bob) = (talker("alice", ("bob", bob)), talker("bob", ("alice", alice)));
        let courier = Courier::new(hush, path, receiver, Random::new(random.below(u64::MAX)))?;
        let (tell, heard) = channel();
        let victims = [Victim::Alice, Victim::Bob, Victim::Sender, Victim::Receiver];
        let posts = victims.map(|victim| (victim, Post::new(victim, tell.clone(), now)));
        let files = files(path)?;
        Ok(Self { place: Some(place), relay, alice, bob, courier, posts, heard, files })
    }

    pub(crate) fn post(&mut self, victim: Victim) -> Option<&mut Post> {
        self.posts.iter_mut().find(|(of, _)| *of == victim).map(|(_, post)| post)
    }

    /// No file is in a keystore that was not there at the beginning, but a note of each finished file.
    pub(crate) fn check_keystores(&self) -> Result<()> {
        let place = self.place.as_ref().context("it was kept")?.path();
        let mut more = files(place)?;
        more.retain(|path| !self.files.contains(path));
        let notes = place.join("receiver/transfers/finished-").display().to_string();
        let before = more.len() as u64;
        more.retain(|path| !path.display().to_string().starts_with(&notes));
        ensure!(more.is_empty(), "left behind in keystores: {more:?}");
        let files = self.courier.delivered();
        ensure!(before == files, "{before} notes of {files} finished files");
        Ok(())
    }
}

/// Four devices in accounts of their own, paired two by two.
fn enrol(relay: &Relay, place: &Path) -> Result<[DeviceId; 4]> {
    let relay = relay.process().context("the relay runs")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for home in HOMES {
            clients.push(people::enrol(relay, &place.join(home)).await);
        }
        people::pair(&clients[0], &clients[1]).await;
        people::pair(&clients[2], &clients[3]).await;
        let devices = [0, 1, 2, 3].map(|at: usize| clients[at].device());
        for client in clients {
            client.close().await;
        }
        Ok(devices)
    })
}

fn files(place: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<_> = HOMES.map(|home| place.join(home)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}
