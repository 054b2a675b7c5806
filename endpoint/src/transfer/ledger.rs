//! What transfers must not forget over a restart: the IDs of those that were begun here, and which of the peers' were
//! finished. One small file each; kept for seven days, and no more than a named number.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::limits::{BEGUN_MAX, FINISHED_MAX, REMEMBERED_S_MAX};
use super::{TransferId, Transferred, part, state_file};
use crate::suite::random::{Random, draw};

const BEGUN: &str = "begun-";
const FINISHED: &str = "finished-";
/// The most names the directory is listed for.
const NAMES_MAX: usize = 1 << 20;

/// What makes a file the same one when it is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(crate) peer: DeviceId,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) modified_ns: i128,
}

#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    version: u8,
    id: String,
    peer: String,
    /// SHA-256 of the path: names of files are nobody's business here.
    path: String,
    size: u64,
    modified_ns: String,
    at_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Finished {
    version: u8,
    id: String,
    peer: String,
    size: u64,
    sha256: String,
    at_s: u64,
    /// What lies beside the file until this note is written, and longer where a crash comes first. `None` where its
    /// path is no text.
    #[serde(default)]
    sidecar: Option<PathBuf>,
}

const VERSION: u8 = 1;

/// The files, and what they say.
#[derive(Debug)]
pub(crate) struct Ledger {
    root: PathBuf,
    begun: BTreeMap<TransferId, Begun>,
    finished: BTreeMap<(String, TransferId), Finished>,
}

impl Ledger {
    /// Reads what is there. A file that says nothing, or is too old, is removed: its transfer begins anew.
    pub(crate) fn open(root: &Path, now_s: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut ledger =
            Self { root: root.into(), begun: BTreeMap::new(), finished: BTreeMap::new() };
        for entry in fs::read_dir(root)?.take(NAMES_MAX) {
            let path = entry?.path();
            let known = ledger.load(&path, now_s)?;
            if !known {
                state_file::remove(&path)?;
            }
        }
        Ok(ledger)
    }

    fn load(&mut self, path: &Path, now_s: u64) -> io::Result<bool> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (begun, finished) = (name.starts_with(BEGUN), name.starts_with(FINISHED));
        if name.ends_with(state_file::TEMPORARY) || !(begun || finished) {
            return Ok(false);
        }
        let Some(bytes) = state_file::read(path)? else { return Ok(false) };
        if begun && let Ok(record) = serde_json::from_slice::<Begun>(&bytes) {
            let id = TransferId::from_text(&record.id);
            if let Some(id) = id.filter(|_| is_fresh(record.version, record.at_s, now_s)) {
                self.begun.insert(id, record);
                return Ok(true);
            }
        } else if finished && let Ok(record) = serde_json::from_slice::<Finished>(&bytes) {
            if let Some(sidecar) = &record.sidecar {
                part::forget(sidecar);
            }
            let id = TransferId::from_text(&record.id);
            if let Some(id) = id.filter(|_| is_fresh(record.version, record.at_s, now_s)) {
                self.finished.insert((record.peer.clone(), id), record);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begun_path(&self, id: TransferId) -> PathBuf {
        begun_path(&self.root, id)
    }

    fn finished_path(&self, peer: &str, id: TransferId) -> PathBuf {
        let key = [peer.as_bytes(), &id.0].concat();
        self.root.join(format!("{FINISHED}{}", super::hex(&super::sha256(&key)[..16])))
    }

    /// The ID under which a file is sent: the one it had before, unless `taken`, or a new one.
    pub(crate) fn begin(
        &mut self,
        source: &SourceFile,
        taken: impl Fn(TransferId) -> bool,
        now_s: u64,
        random: &mut dyn Random,
    ) -> io::Result<TransferId> {
        let peer = source.peer.to_text();
        let path = super::hex(&super::sha256(source.path.as_os_str().as_bytes()));
        let modified_ns = source.modified_ns.to_string();
        let before = self.begun.iter().find(|(id, begun)| {
            begun.peer == peer
                && begun.path == path
                && begun.size == source.size
                && begun.modified_ns == modified_ns
                && is_fresh(begun.version, begun.at_s, now_s)
                && !taken(**id)
        });
        if let Some((id, _)) = before {
            return Ok(*id);
        }
        let id = TransferId(draw(random));
        let begun = Begun {
            version: VERSION,
            id: id.to_text(),
            peer,
            path,
            size: source.size,
            modified_ns,
            at_s: now_s,
        };
        if self.begun.len() >= BEGUN_MAX {
            let oldest = self.begun.iter().min_by_key(|(_, begun)| begun.at_s).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.end(oldest)?;
            }
        }
        state_file::write(&self.begun_path(id), &encode(&begun)?)?;
        self.begun.insert(id, begun);
        Ok(id)
    }

    /// A transfer that was begun here is over.
    pub(crate) fn end(&mut self, id: TransferId) -> io::Result<()> {
        if self.begun.remove(&id).is_some() {
            state_file::remove(&self.begun_path(id))?;
        }
        Ok(())
    }

    /// As [`Ledger::end`], on disk only, and without waiting for whoever uses the ledger: for the end of a process.
    pub(crate) fn forget_begun(root: &Path, id: TransferId) {
        // One that stays is asked for the same file only, and answered with DONE.
        let _stays = fs::remove_file(begun_path(root, id));
    }

    /// A peer's transfer is finished. Its sidecar is not needed any more; should a crash keep it, it is removed when
    /// this is read again.
    pub(crate) fn finish(
        &mut self,
        peer: DeviceId,
        id: TransferId,
        what: &Transferred,
        sidecar: &Path,
        now_s: u64,
    ) -> io::Result<()> {
        let peer = peer.to_text();
        let of_peer = || self.finished.iter().filter(|((of, _), _)| *of == peer);
        if of_peer().count() >= FINISHED_MAX {
            let oldest = of_peer().min_by_key(|(_, finished)| finished.at_s);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                state_file::remove(&self.finished_path(&key.0, key.1))?;
                self.finished.remove(&key);
            }
        }
        let finished = Finished {
            version: VERSION,
            id: id.to_text(),
            peer: peer.clone(),
            size: what.bytes,
            sha256: super::hex(&what.sha256),
            at_s: now_s,
            // From wherever this device is started next.
            sidecar: std::path::absolute(sidecar).ok().filter(|path| path.to_str().is_some()),
        };
        state_file::write(&self.finished_path(&peer, id), &encode(&finished)?)?;
        self.finished.insert((peer, id), finished);
        Ok(())
    }

    /// Whether a peer's transfer was finished, and what it was.
    pub(crate) fn finished(&self, peer: DeviceId, id: TransferId) -> Option<Transferred> {
        let finished = self.finished.get(&(peer.to_text(), id))?;
        let sha256 = super::unhex(&finished.sha256)?;
        Some(Transferred { bytes: finished.size, sha256 })
    }
}

fn begun_path(root: &Path, id: TransferId) -> PathBuf {
    root.join(format!("{BEGUN}{}", id.to_text()))
}

fn is_fresh(version: u8, at_s: u64, now_s: u64) -> bool {
    // A clock that was set back makes nothing old.
    version == VERSION && now_s.saturating_sub(at_s) <= REMEMBERED_S_MAX
}

fn encode(record: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::random::OsRandom;

    const PEER: [u8; 32] = [5; 32];

    fn source(name: &str) -> SourceFile {
        SourceFile { peer: DeviceId::new(PEER), path: name.into(), size: 3, modified_ns: 4 }
    }

    #[test]
    fn ids_survive_a_restart_and_expire() {
        let place = tempfile::tempdir().expect("a directory");
        let root = place.path().join("transfers");
        let mut ledger = Ledger::open(&root, 100).expect("new");
        let begin = |ledger: &mut Ledger, source: SourceFile, now_s| {
            ledger.begin(&source, |_| false, now_s, &mut OsRandom).expect("stored")
        };
        let id = begin(&mut ledger, source("a"), 100);
        assert_eq!(begin(&mut ledger, source("a"), 101), id);
        assert_ne!(begin(&mut ledger, source("b"), 100), id);
        assert_ne!(begin(&mut ledger, SourceFile { size: 4, ..source("a") }, 100), id);
        assert_ne!(begin(&mut ledger, SourceFile { modified_ns: 5, ..source("a") }, 100), id);
        let what = Transferred { bytes: 3, sha256: [8; 32] };
        let sidecar = place.path().join("sidecar");
        fs::write(&sidecar, b"left by a crash").expect("written");
        ledger.finish(DeviceId::new(PEER), id, &what, &sidecar, 100).expect("stored");
        assert!(sidecar.exists());

        let mut again = Ledger::open(&root, 200).expect("there");
        assert_eq!(begin(&mut again, source("a"), 200), id);
        assert_eq!(again.finished(DeviceId::new(PEER), id), Some(what));
        assert_eq!(again.finished(DeviceId::new([6; 32]), id), None);
        assert!(!sidecar.exists(), "the note is on disk: nobody needs it any more");
        again.end(id).expect("removed");
        assert_ne!(begin(&mut again, source("a"), 200), id);

        let late = Ledger::open(&root, 300 + REMEMBERED_S_MAX).expect("there");
        assert!(late.begun.is_empty() && late.finished.is_empty());
        assert_eq!(fs::read_dir(&root).expect("a directory").count(), 0);
    }

    #[test]
    fn files_that_say_nothing_are_removed() {
        let place = tempfile::tempdir().expect("a directory");
        for (name, bytes) in [
            ("begun-x", &b"{"[..]),
            ("begun-y", br#"{"version":9}"#),
            ("finished-z", b""),
            ("finished-w.tmp", b"half"),
            ("else", &[0; 20_000]),
        ] {
            fs::write(place.path().join(name), bytes).expect("written");
        }
        Ledger::open(place.path(), 1).expect("it opens all the same");
        assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let place = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(place.path(), 1).expect("new");
        let what = Transferred { bytes: 0, sha256: [0; 32] };
        for number in 0..FINISHED_MAX as u64 + 20 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let sidecar = Path::new("none");
            ledger
                .finish(DeviceId::new(PEER), TransferId(id), &what, sidecar, number)
                .expect("stored");
        }
        assert_eq!(ledger.finished.len(), FINISHED_MAX);
        assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), FINISHED_MAX);
    }
}
