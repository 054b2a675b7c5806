//! The file of the admin socket, and who may speak through it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Only the owner may connect.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Clients that wait to be accepted.
const BACKLOG: i32 = 16;

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error(
        "another relay listens on {}: stop that one, or give this one its own [control] admin_socket",
        .path.display()
    )]
    Live {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error(
        "{} is not a socket: move it away, or choose another [control] admin_socket",
        .path.display()
    )]
    NotSocket {
        /// What is there.
        path: PathBuf,
    },
    /// Longer than the system allows.
    #[error(
        "{} is too long for a socket (107 bytes at most): choose a shorter [control] admin_socket",
        .path.display()
    )]
    TooLong {
        /// As configured.
        path: PathBuf,
    },
    /// No such directory.
    #[error(
        "the directory of {} does not exist: create it (RuntimeDirectory= in the systemd unit), or \
         choose another [control] admin_socket",
        .path.display()
    )]
    NoDirectory {
        /// As configured.
        path: PathBuf,
    },
    /// Not allowed.
    #[error(
        "{} may not be created: let this user write to its directory, or choose another [control] \
         admin_socket",
        .path.display()
    )]
    Denied {
        /// As configured.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{} could not be created ({source}): check the system log", .path.display())]
    System {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SocketError {
    fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NAMETOOLONG | Errno::INVAL => Self::TooLong { path },
            Errno::NOENT | Errno::NOTDIR => Self::NoDirectory { path },
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied { path },
            _ => Self::System { path, source: errno.into() },
        }
    }
}

/// The listening socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    file: (u64, u64),
}

impl AdminSocket {
    /// Listens on `path`. The socket file of a relay that died is replaced.
    ///
    /// # Errors
    /// [`SocketError`]; nothing was changed then.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let socket = match listen(path) {
            Err(Errno::ADDRINUSE) => {
                remove_dead(path)?;
                listen(path)
            }
            other => other,
        };
        let listener = socket.map_err(|errno| SocketError::new(path, errno))?;
        let file = identity(path)
            .map_err(|source| SocketError::System { path: path.to_owned(), source })?;
        Ok(Self { listener: listener.into(), path: path.to_owned(), file })
    }

    /// The socket, for the runtime.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "the admin socket stays behind");
        }
    }
}

fn listen(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before bind(2), which gives the file the mode of the socket: it is never open to others.
    rustix::fs::fchmod(&socket, MODE)?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Removes the socket file of a relay that is no more.
fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let owned = || path.to_owned();
    let system = |source| SocketError::System { path: owned(), source };
    let metadata = std::fs::symlink_metadata(path).map_err(system)?;
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotSocket { path: owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!("the admin socket of a relay that died is replaced");
            std::fs::remove_file(path).map_err(system)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(SocketError::Denied { path: owned() })
        }
        Ok(_) | Err(_) => Err(SocketError::Live { path: owned() }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether a user may administrate a relay that runs as `own`.
pub(super) const fn may_speak(user: u32, own: u32) -> bool {
    user == own || user == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_is_private_and_goes_with_the_socket() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).expect("free");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn the_socket_of_the_dead_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("free"));
        assert!(path.exists(), "std leaves the file behind, as a killed relay does");
        let first = AdminSocket::bind(&path).expect("stale");
        let error = AdminSocket::bind(&path).expect_err("live");
        assert!(matches!(error, SocketError::Live { .. }), "{error}");

        std::fs::remove_file(&path).expect("there");
        let second = AdminSocket::bind(&path).expect("the name is free");
        drop(first);
        assert!(path.exists(), "a file of somebody else is not removed");
        drop(second);
    }

    #[test]
    fn what_cannot_be_a_socket_says_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "precious").expect("room");
        let check = |path: &Path, words: &str| {
            let sentence = AdminSocket::bind(path).expect_err("impossible").to_string();
            assert!(sentence.contains(words), "{sentence}");
            assert!(sentence.contains("[control] admin_socket"), "{sentence}");
        };
        check(&file, "is not a socket");
        check(directory.path(), "is not a socket");
        check(&directory.path().join("missing/admin.sock"), "does not exist");
        check(&file.join("admin.sock"), "does not exist");
        check(&directory.path().join("x".repeat(200)), "too long");
        assert_eq!(std::fs::read(&file).expect("still there"), b"precious");
    }

    #[test]
    fn only_the_owner_and_root_may_speak() {
        let check = |user, own, expect| assert_eq!(may_speak(user, own), expect, "{user} {own}");
        check(1000, 1000, true);
        check(0, 1000, true);
        check(1001, 1000, false);
        check(1000, 0, false);
        check(0, 0, true);
    }
}
