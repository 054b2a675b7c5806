//! An account's log as one of its devices keeps it.

use std::fmt;

use hushwire_wire::id::DeviceId;

use super::chain::{Chain, read_entries, write_entries};
use super::entry::{AccountLogId, Entry, EntryHash, Operation, Proof, is_name};
use super::error::LogError;
use super::fork::Fork;
use super::limits::ENTRIES_MAX;
use super::members::Member;
use super::merge::{Choice, choose};
use super::own::Own;
use super::statement::Statement;
use crate::identity::Identity;
use crate::suite::kdf::sha256;

/// How far a log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries, 1 to 1 024.
    pub length: u32,
    /// Hash of the last one.
    pub hash: EntryHash,
}

/// What became of entries that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// All of it was known.
    Known,
    /// The log goes on with new entries.
    Extended {
        /// The first new one.
        from: u32,
    },
    /// Their branch holds. What this device had signed on the other one it has signed again behind it, where that
    /// still makes sense.
    Replaced {
        /// The first entry that is another one now.
        at: u32,
    },
    /// Our branch holds: give it to them.
    Kept {
        /// The first entry that differs.
        at: u32,
    },
    /// Nobody but a person can say which branch holds. The log takes nothing more until [`AccountLog::settle`].
    Forked {
        /// The first entry that differs.
        at: u32,
        /// One device that signed both branches, or two that removed each other.
        by: Vec<DeviceId>,
    },
}

/// Which branch a person decides for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one this device had first.
    Ours,
    /// The other one.
    Theirs,
}

/// The devices of an account and how each came to be one: a chain of entries, each signed by a member and standing on
/// the hash of the one before. Without I/O; [`AccountLog::encode`] is what belongs on the disk after every change, and
/// before anything of it is sent.
#[derive(Clone)]
pub struct AccountLog {
    pub(super) chain: Chain,
    pub(super) own: Own,
    /// The other branch, as a whole chain, while nobody has decided.
    pub(super) other: Option<Box<Chain>>,
    pub(super) refused: Vec<DeviceId>,
}

impl AccountLog {
    /// Begins the log of a new account, whose first device holds `identity`. `now_ms` is the unix time.
    ///
    /// # Errors
    /// [`LogError::Name`].
    pub fn begin(identity: &Identity, name: &str, now_ms: u64) -> Result<Self, LogError> {
        need_name(name)?;
        let operation = Operation::Genesis { name: name.to_owned() };
        let genesis = Entry::sign(identity, [0; 32], (0, [0; 32]), operation, now_ms);
        Ok(Self::of(Chain::new(genesis)?))
    }

    /// Takes up the log that an older device of the account has given to this one, `device`, over a secure channel:
    /// whose genesis is right nobody else can say.
    ///
    /// # Errors
    /// [`LogError::NotMember`] where `device` is not in it; see [`LogError`].
    pub fn join(bytes: &[u8], device: &DeviceId) -> Result<Self, LogError> {
        let log = Self::of(read_chain(bytes)?);
        if log.chain.members().has(device) { Ok(log) } else { Err(LogError::NotMember(*device)) }
    }

    pub(super) fn of(chain: Chain) -> Self {
        Self { chain, own: Own::default(), other: None, refused: Vec::new() }
    }

    /// Adds a device, which has signed `proof` for this log.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was.
    pub fn add(
        &mut self,
        identity: &Identity,
        (device, proof): (DeviceId, Proof),
        name: &str,
        now_ms: u64,
    ) -> Result<(), LogError> {
        need_name(name)?;
        let name = name.to_owned();
        self.sign(identity, Operation::Add { device, name, proof }, now_ms)
    }

    /// Ends a device's membership for good; this one's too.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was.
    pub fn remove(
        &mut self,
        identity: &Identity,
        device: DeviceId,
        now_ms: u64,
    ) -> Result<(), LogError> {
        self.sign(identity, Operation::Remove { device }, now_ms)
    }

    /// Goes on under a new key, which is `identity` and of which `statement` speaks.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was.
    pub fn rotate(
        &mut self,
        identity: &Identity,
        statement: Statement,
        now_ms: u64,
    ) -> Result<(), LogError> {
        self.sign(identity, Operation::Rotate(statement), now_ms)
    }

    fn sign(
        &mut self,
        identity: &Identity,
        operation: Operation,
        now_ms: u64,
    ) -> Result<(), LogError> {
        if self.other.is_some() {
            return Err(LogError::Forked);
        }
        self.own.sign(&mut self.chain, identity, &operation, now_ms)
    }

    /// Which log this is.
    #[must_use]
    pub const fn id(&self) -> AccountLogId {
        self.chain.id()
    }

    /// How far it goes.
    #[must_use]
    pub fn head(&self) -> Head {
        let (length, hash) = self.chain.next();
        Head { length, hash }
    }

    /// The devices of the account, by ID.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.chain.members().iter()
    }

    /// The device of the account with this ID.
    #[must_use]
    pub fn member(&self, device: &DeviceId) -> Option<&Member> {
        self.chain.members().get(device)
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.chain.entries()
    }

    /// Whether `head` is a point that this log has passed, or stands at: who says it needs our entries from there on.
    #[must_use]
    pub fn has(&self, head: &Head) -> bool {
        let last = head.length.checked_sub(1).and_then(|last| usize::try_from(last).ok());
        last.and_then(|last| self.chain.hashes().get(last)) == Some(&head.hash)
    }

    /// The bytes of all entries from `index` on, for [`AccountLog::extend`] or, from 0, [`AccountLog::join`].
    #[must_use]
    pub fn entries_from(&self, index: u32) -> Vec<u8> {
        let entries = self.chain.entries();
        let from = usize::try_from(index).unwrap_or(usize::MAX).min(entries.len());
        write_entries(&entries[from..])
    }

    /// What people compare on two devices: equal on both where, and only where, both hold the same log up to the same
    /// entry. 100 bits, as five groups of four characters.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = sha256(&[b"hushwire/1 account fingerprint", &self.id().0, &self.head().hash]);
        let text = DeviceId::new(hash).to_text();
        [&text[..4], &text[4..8], &text[8..12], &text[12..16], &text[16..20]].join(" ")
    }

    /// What this device has signed on a branch that lost, and cannot sign again yet.
    #[must_use]
    pub fn waiting(&self) -> &[Operation] {
        self.own.waiting()
    }

    /// The contradiction that a person must decide, if there is one.
    #[must_use]
    pub fn fork(&self) -> Option<Fork<'_>> {
        self.other.as_ref().map(|other| Fork::between(&self.chain, other))
    }

    /// Takes in entries from another device of the account, from any index on that this log has, and signs again what
    /// of `identity` was lost with a branch.
    ///
    /// # Errors
    /// [`LogError::Missing`] where earlier entries are needed; else the fault of whoever gave them. The log is as it
    /// was.
    pub fn extend(
        &mut self,
        identity: &Identity,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<Merge, LogError> {
        let entries = read_entries(bytes, ENTRIES_MAX)?;
        let Some((at, fresh)) = self.behind_common(entries)? else { return Ok(Merge::Known) };
        let mut theirs = self.chain.cut(at);
        for entry in fresh {
            theirs.push(entry)?;
        }
        let merge = self.merge(identity, at, theirs);
        if !matches!(merge, Merge::Forked { .. }) {
            self.own.resume(&mut self.chain, identity, now_ms);
        }
        Ok(merge)
    }

    /// The entries that are not ours, and where they begin.
    fn behind_common(&self, entries: Vec<Entry>) -> Result<Option<(usize, Vec<Entry>)>, LogError> {
        let Some(first) = entries.first() else { return Ok(None) };
        let hashes = self.chain.hashes();
        let length = u32::try_from(hashes.len()).expect("a log has at most 1 024 entries");
        let start = usize::try_from(first.index()).unwrap_or(usize::MAX);
        if start > hashes.len() {
            return Err(LogError::Missing(length));
        }
        if start == 0 && first.hash() != hashes[0] {
            return Err(LogError::OtherLog);
        }
        if start > 0 && first.before != hashes[start - 1] {
            return Err(LogError::Missing(0));
        }
        let known = entries.iter().zip(&hashes[start..]).take_while(|(e, hash)| e.hash() == **hash);
        let known = known.count();
        let fresh = entries.into_iter().skip(known).collect::<Vec<_>>();
        Ok((!fresh.is_empty()).then_some((start + known, fresh)))
    }

    /// `theirs` is verified; it is ours up to `at`, and has an entry there that we do not have.
    fn merge(&mut self, identity: &Identity, at: usize, theirs: Chain) -> Merge {
        let index = u32::try_from(at).expect("a log has at most 1 024 entries");
        let ours = &self.chain.entries()[at..];
        let choice = if ours.is_empty() {
            Choice::Theirs
        } else if self.refused.contains(&theirs.entries()[at].authority()) {
            Choice::Ours
        } else {
            choose(ours, &theirs.entries()[at..])
        };
        match choice {
            Choice::Ours => Merge::Kept { at: index },
            Choice::Theirs => {
                // While a person is to decide, only what decides it is taken.
                if self.other.as_deref().is_some_and(|other| contradicts(&theirs, other)) {
                    return self.forked();
                }
                self.other = None;
                let extends = ours.is_empty();
                self.replace(identity, at, theirs);
                if extends {
                    Merge::Extended { from: index }
                } else {
                    Merge::Replaced { at: index }
                }
            }
            Choice::Contradiction => {
                self.other.get_or_insert_with(|| Box::new(theirs));
                self.forked()
            }
        }
    }

    fn forked(&self) -> Merge {
        let fork = self.fork().expect("there is another branch");
        Merge::Forked { at: fork.at, by: fork.by }
    }

    /// Takes `theirs`, and remembers what of ours was lost with our entries from `at` on.
    pub(super) fn replace(&mut self, identity: &Identity, at: usize, theirs: Chain) {
        self.own.lose(identity.device_id(), &self.chain.entries()[at..]);
        self.chain = theirs;
    }
}

/// Whether nobody but a person can choose between two chains of one log.
fn contradicts(one: &Chain, other: &Chain) -> bool {
    let at = common(one, other);
    let (one, other) = (&one.entries()[at..], &other.entries()[at..]);
    !one.is_empty() && !other.is_empty() && choose(one, other) == Choice::Contradiction
}

/// How many entries two chains of one log share.
pub(super) fn common(one: &Chain, other: &Chain) -> usize {
    one.hashes().iter().zip(other.hashes()).take_while(|(a, b)| a == b).count()
}

/// A whole chain, from the genesis on.
pub(super) fn read_chain(bytes: &[u8]) -> Result<Chain, LogError> {
    let mut entries = read_entries(bytes, ENTRIES_MAX)?.into_iter();
    let mut chain = Chain::new(entries.next().ok_or(LogError::Missing(0))?)?;
    for entry in entries {
        chain.push(entry)?;
    }
    Ok(chain)
}

fn need_name(name: &str) -> Result<(), LogError> {
    if is_name(name) { Ok(()) } else { Err(LogError::Name) }
}

impl fmt::Debug for AccountLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forked = if self.other.is_some() { ", forked" } else { "" };
        write!(f, "AccountLog({:?}, {} entries{forked})", self.id(), self.chain.entries().len())
    }
}
