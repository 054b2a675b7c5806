//! What can be wrong with a keystore, each with what to do about it.

use std::io;
use std::path::PathBuf;

use hushwire_wire::id::DeviceId;

/// Why a keystore was not opened or changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// There is no keystore.
    #[error("there is no keystore at {}; make one with 'hush init'", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a keystore already, and making another would destroy it.
    #[error("there is a keystore at {} already; choose another place", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The permissions keep the owner out.
    #[error("{} cannot be read or written; run: chmod {} {}", path.display(), fix(*directory), path.display())]
    Denied {
        /// What.
        path: PathBuf,
        /// Whether it is a directory.
        directory: bool,
    },
    /// The permissions let others in.
    #[error(
        "{} is open to other users (mode {mode:03o}), so its keys may be known to them; run: chmod {} {}",
        path.display(), fix(*directory), path.display()
    )]
    Exposed {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a directory.
        directory: bool,
    },
    /// Another user owns it and could change it at any time.
    #[error("{} belongs to user {owner}, but this is user {user}; run as that user, or: chown {user} {}", path.display(), path.display())]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The contents are not what was written.
    #[error("{} is damaged; restore it from a backup, or remove it and set it up again", path.display())]
    Corrupt {
        /// What.
        path: PathBuf,
    },
    /// A newer version of this software wrote it.
    #[error("{} was written by a newer version of this software (format {version}); upgrade", path.display())]
    Newer {
        /// What.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// It has a passphrase.
    #[error("the keystore at {} has a passphrase; open it with that", path.display())]
    PassphraseNeeded {
        /// Where.
        path: PathBuf,
    },
    /// It has no passphrase, so whoever expected one may have been given another keystore.
    #[error("the keystore at {} has no passphrase; set one, or open it without", path.display())]
    NoPassphrase {
        /// Where.
        path: PathBuf,
    },
    /// Another passphrase than the one it was sealed with.
    #[error("this is not the passphrase of the keystore at {}; nothing was changed, try again", path.display())]
    WrongPassphrase {
        /// Where.
        path: PathBuf,
    },
    /// The file asks for more memory or time than any version writes.
    #[error(
        "{} asks for memory or time out of all bounds, so somebody has changed it; restore it from a backup", path.display()
    )]
    AbsurdCost {
        /// What.
        path: PathBuf,
    },
    /// The memory that one try of the passphrase takes is not there.
    #[error("there is not enough memory to try the passphrase of the keystore at {}; free some and try again", path.display())]
    NoMemory {
        /// Where.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the keystore at {} is in use by another process; stop that one first", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// The file system does not take changes.
    #[error("{} is on a read-only file system; remount it writable or move the keystore", path.display())]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// No room is left.
    #[error("there is no room left to write {}; free some space and try again", path.display())]
    Full {
        /// What was to be written.
        path: PathBuf,
    },
    /// The operating system says why.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The caller gave something that cannot be stored.
    #[error("{0}")]
    Invalid(&'static str),
    /// Another device has this name here.
    #[error(
        "another device is called {name:?} here: choose another name, or remove that one first if this one replaces it \
         (hush unpair {name:?})"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        device: DeviceId,
    },
    /// No such peer.
    #[error("device {0} is not a peer of this one; pair with it first")]
    UnknownPeer(DeviceId),
}

const fn fix(directory: bool) -> &'static str {
    if directory { "700" } else { "600" }
}
