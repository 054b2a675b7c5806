//! Why the relay does not start, or ended: a sentence and an exit code (sysexits.h).

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use hushwire_uring::sockets::ListenError;
use hushwire_uring::{NofileError, ProbeError, SetupError};

use crate::config::Problem;
use crate::control::operator::OperatorError;
use crate::control::socket::SocketError;
use crate::control::supervision::RelayError;
use crate::identity::IdentityError;
use crate::logging::LoggingError;
use crate::store::StoreError;
use crate::transport::ServerTlsError;

/// Why a relay did not start. Each says what to do; nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel lacks something.
    #[error(transparent)]
    Kernel(#[from] ProbeError),
    /// Not enough descriptors.
    #[error(transparent)]
    Descriptors(#[from] NofileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identity shown to devices.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What TLS makes of the identity.
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    /// Where devices connect.
    #[error("[listen] address: {0}")]
    Listen(#[source] ListenError),
    /// Where health and metrics are.
    #[error("[control] listen: {0}")]
    Control(#[source] ListenError),
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// A ring.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// A shard did not come up.
    #[error(transparent)]
    Shard(RelayError),
    /// Random numbers or the clock.
    #[error(transparent)]
    System(OperatorError),
    /// Anything else of the system.
    #[error("{what} failed ({source}): check the limits of the service and the system log")]
    Resource {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why `hushwired` ended without success.
#[derive(Debug)]
pub enum Failure {
    /// The command line; clap has said it.
    Usage,
    /// The configuration file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration has problems.
    Config(Vec<Problem>),
    /// There is nowhere to log to.
    Logging(LoggingError),
    /// The relay did not start.
    Start(Box<StartError>),
    /// The relay ended by a fault.
    Ended(RelayError),
    /// Standard output is closed or full.
    Output(io::Error),
}

const UNAVAILABLE: u8 = 69;
const SOFTWARE: u8 = 70;
const CANNOT_CREATE: u8 = 73;
const IN_USE: u8 = 75;
const NOT_PERMITTED: u8 = 77;
const CONFIGURATION: u8 = 78;

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        Self::Ended(error)
    }
}

impl Failure {
    /// Says it on stderr: one sentence, or one a problem of the configuration.
    pub(super) fn report(&self) {
        match self {
            Self::Usage => {}
            Self::Unreadable { path, source } => {
                eprintln!("hushwired: {} cannot be read: {source}", path.display());
            }
            Self::Config(problems) => {
                for problem in problems {
                    eprintln!("{problem}");
                }
            }
            Self::Logging(error) => eprintln!("hushwired: {error}"),
            Self::Start(error) => eprintln!("hushwired: {error}"),
            Self::Ended(error) => eprintln!("hushwired: {error}"),
            Self::Output(error) => eprintln!("hushwired: standard output failed: {error}"),
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Unreadable { source, .. } if is_denial(source) => NOT_PERMITTED,
            Self::Unreadable { .. } | Self::Config(_) | Self::Logging(_) => CONFIGURATION,
            Self::Start(error) => error.code(),
            Self::Ended(_) => SOFTWARE,
            Self::Output(_) => 74,
        }
    }
}

impl StartError {
    fn code(&self) -> u8 {
        match self {
            Self::Kernel(_)
            | Self::Descriptors(_)
            | Self::Ring(_)
            | Self::System(_)
            | Self::Resource { .. } => UNAVAILABLE,
            Self::Store(error) => store_code(error),
            Self::Identity(error) => identity_code(error),
            Self::Tls(_) => CONFIGURATION,
            Self::Listen(error) | Self::Control(error) => listen_code(error),
            Self::Admin(error) => match error {
                SocketError::Live { .. } => IN_USE,
                SocketError::Denied { .. } => NOT_PERMITTED,
                SocketError::TooLong { .. } => CONFIGURATION,
                SocketError::NotSocket { .. }
                | SocketError::NoDirectory { .. }
                | SocketError::System { .. } => CANNOT_CREATE,
            },
            Self::Shard(_) => SOFTWARE,
        }
    }
}

fn listen_code(error: &ListenError) -> u8 {
    match error {
        ListenError::InUse { .. } => IN_USE,
        ListenError::Forbidden { .. } => NOT_PERMITTED,
        ListenError::NotLocal { .. } => CONFIGURATION,
        ListenError::Failed { .. } => UNAVAILABLE,
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::InUse { .. } => IN_USE,
        StoreError::Owner { .. } | StoreError::Mode { .. } | StoreError::Denied { .. } => {
            NOT_PERMITTED
        }
        StoreError::Kind { .. } | StoreError::ReadOnly { .. } | StoreError::DiskFull { .. } => {
            CANNOT_CREATE
        }
        StoreError::Options(_) => CONFIGURATION,
        StoreError::Foreign { .. }
        | StoreError::Corrupt { .. }
        | StoreError::CorruptValue { .. }
        | StoreError::Newer { .. }
        | StoreError::MapFull { .. }
        | StoreError::Fatal { .. }
        | StoreError::System { .. }
        | StoreError::Closed => UNAVAILABLE,
    }
}

fn identity_code(error: &IdentityError) -> u8 {
    match error {
        IdentityError::KeyOpen { .. }
        | IdentityError::KeyOwner { .. }
        | IdentityError::DirectoryOpen { .. } => NOT_PERMITTED,
        IdentityError::File { source, .. } if is_denial(source) => NOT_PERMITTED,
        IdentityError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            CONFIGURATION
        }
        IdentityError::File { .. } => CANNOT_CREATE,
        IdentityError::KeyMissing { .. }
        | IdentityError::Content { .. }
        | IdentityError::Mismatch { .. } => CONFIGURATION,
        IdentityError::Make(_) => SOFTWARE,
    }
}

fn is_denial(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
