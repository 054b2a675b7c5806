//! The command line, typed once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hushwire::account::Keep;
use hushwire_tools::completions::Shell;

use crate::chat::Chat;
use crate::pipe::Pipe;
use crate::status::Status;
use crate::trace::Trace;

/// Messages and files between your devices, through a relay that cannot read them.
///
/// First time on a device: `hush init`, then `hush enroll INVITE` with the invite your relay's operator
/// gave you, then `hush pair` on one device and `hush pair CODE` on the other.
///
/// To see all of it work on this machine, without any of that: `hush demo`.
#[derive(Debug, Parser)]
#[command(name = "hush", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// Directory of this device's keys [default: ~/.local/share/hush].
    #[arg(long, global = true, value_name = "DIR", env = "HUSH_KEYSTORE")]
    pub(crate) keystore: Option<PathBuf>,
    /// Read the keystore's passphrase from FILE instead of asking for it.
    ///
    /// Nobody else may be able to read FILE; `/dev/fd/N` is an open descriptor. `hush init` and `hush restore` make a
    /// keystore with this passphrase. A keystore that has none is refused.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Print JSON, one object a line, instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all of it: a relay, two devices, a file and messages, on this machine.
    Demo(Demo),
    /// Make this device's identity. Does nothing where there is one.
    Init,
    /// Enrol this device at a relay, with an invite that works once.
    Enroll {
        /// The invite, `hushwire:invite:…`; `-` reads it from standard input, out of sight of `ps`.
        invite: String,
        /// What the relay's operator will call this device.
        #[arg(long)]
        name: Option<String>,
    },
    /// Print this device's ID.
    Id,
    /// Pair with another device: without CODE make a code and wait, with CODE follow it.
    ///
    /// A link: both devices then show six digits. They must be the same: compare them before you say yes, because a
    /// link that was sent over a network may have been read on its way.
    ///
    /// A spoken code (--spoken), 7-apple-river: one person says it, the other types it. Good for one try, nothing to
    /// compare.
    Pair(Pair),
    /// List the devices that this one is paired with: fingerprints, how and when they were verified, who may send.
    Peers,
    /// Let a peer send to this device, which was paired with --one-way.
    Grant {
        /// The peer: its name, its ID, or the first characters of its ID.
        peer: String,
    },
    /// Let a peer send to this device no longer. It stays paired.
    Ungrant {
        /// The peer: its name, its ID, or the first characters of its ID.
        peer: String,
    },
    /// List the devices of this one's account, or change them.
    ///
    /// An account has several devices of one person or service, each added by one that is in it and visible to all. Begin
    /// it on one device; then say `add` on it and `join` on a device that it is paired with, at the same time.
    Devices {
        #[command(subcommand)]
        action: Option<Devices>,
    },
    /// Replace this device's key by a new one, and tell its peers.
    ///
    /// Stops while there are peers that could not be told: say it again when they are there, or leave them behind.
    Rotate(Rotate),
    /// Remove a peer: its key here, and its right to send to this device. Works without the relay too.
    Unpair {
        /// The peer: its name, its ID, or the first characters of its ID.
        peer: String,
    },
    /// Send a file, or standard input, to a peer.
    ///
    /// Ends when the peer has taken everything. A receiver must be running there: `hush receive`.
    Send(Send),
    /// Receive files and messages from all peers.
    Receive(Receive),
    /// Write to a peer, a line a message, and read what comes.
    ///
    /// A line is kept on disk until the peer has it. What is not delivered when the program ends goes on with the next
    /// command that connects.
    Chat(Chat),
    /// Carry standard input to a peer's standard output, and back.
    ///
    /// One side says `hush pipe --listen PEER`, the other `hush pipe PEER`. It ends when both inputs have ended.
    Pipe(Pipe),
    /// Say what this device knows of itself, its relay and its peers, and from where.
    ///
    /// Connects, unless another `hush` is at work; what waits in the outbox then is sent. A peer counts as reachable
    /// where it answered during this command.
    Status(Status),
    /// Tell what became of messages that were sent: of all, of those to a peer, or the whole story of one.
    ///
    /// Reads the journal, also while another `hush` is at work. What only that process knows (whether a message that has
    /// not ended was sent, or is at the peer already) it does not tell. Times are UTC.
    Trace(Trace),
    /// Set, change or remove the passphrase of this device's keys.
    ///
    /// Without one, whoever gets at the files of the keystore is this device.
    Passphrase(ChangePassphrase),
    /// Show the 24 words that this device can be restored from, and ask for them back.
    ///
    /// A backup counts once all 24 came back right. Whoever has the words is this device.
    Backup(Backup),
    /// Make this device's keystore from its 24 words.
    Restore(Restore),
    /// Print a script that completes these commands in a shell.
    ///
    /// Bash: hush completions bash > ~/.local/share/bash-completion/completions/hush
    Completions {
        /// Which.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What to send; 64 MiB of generated bytes where absent.
    pub(crate) file: Option<PathBuf>,
    /// Shards of the relay.
    #[arg(long, default_value_t = 1)]
    pub(crate) shards: usize,
    /// Messages to measure the latency with.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) messages: usize,
    /// Reach the relay by TLS over TCP; QUIC where absent.
    #[arg(long)]
    pub(crate) tls: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// The link the other device shows, or the code its user says (7-apple-river, in any case, with spaces or
    /// hyphens); `-` reads it from standard input.
    #[arg(num_args = 0.., value_name = "CODE")]
    pub(crate) code: Vec<String>,
    /// Make a code that can be said, good for one try.
    #[arg(long, conflicts_with_all = ["code", "qr", "scanned"])]
    pub(crate) spoken: bool,
    /// Write the QR code into this file too, FILE.png or FILE.svg; it is removed when the pairing ends.
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    pub(crate) qr: Option<PathBuf>,
    /// A camera reads the code off the other device's screen, and nobody compares digits: only where nobody else can have
    /// seen it. Say it on both devices.
    #[arg(long)]
    pub(crate) scanned: bool,
    /// Do not let the other device send to this one, until `hush grant` does.
    #[arg(long)]
    pub(crate) one_way: bool,
    /// What to call the other device here; where absent its name so far, or the beginning of its ID.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Confirm the six digits of a link without asking: only where the link cannot have been read by others.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// Begin the account of which this device is the first.
    Begin {
        /// What the account calls this device.
        name: String,
    },
    /// Add a peer to the account; over there: `hush devices join`.
    Add {
        /// The peer: its name, its ID, or the first characters of its ID.
        peer: String,
        /// What the account calls it; where absent, what it is called here.
        #[arg(long)]
        name: Option<String>,
    },
    /// Join the account of a peer, on which somebody says `hush devices add`.
    Join {
        /// The peer: its name, its ID, or the first characters of its ID.
        peer: String,
    },
    /// Remove a device from the account, for good; this one too.
    Remove {
        /// The device: its name in the account, its ID, or the first characters of its ID.
        device: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Bring the lists of all devices that are there together now. Otherwise it is done whenever a session comes up.
    Sync,
    /// Decide which of two histories that contradict each other holds; `hush devices` shows both.
    Settle {
        /// The one that this device had first, or the one that came later.
        keep: Branch,
    },
}

/// One of two histories of an account.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Branch {
    First,
    Later,
}

impl From<Branch> for Keep {
    fn from(branch: Branch) -> Self {
        match branch {
            Branch::First => Self::Ours,
            Branch::Later => Self::Theirs,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Go on though there are peers that could not be told: they have to be paired anew.
    #[arg(long)]
    pub(crate) leave_behind: bool,
    /// How long to wait for peers, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) wait: u64,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Call it off; possible as long as the relay has not registered the new key.
    #[arg(long, conflicts_with_all = ["leave_behind", "wait", "yes"])]
    pub(crate) cancel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The peer: its name, its ID, or the first characters of its ID.
    pub(crate) peer: String,
    /// A file, or `-` for standard input.
    #[arg(required_unless_present = "message")]
    pub(crate) file: Option<PathBuf>,
    /// Send this text as a message instead of a file.
    #[arg(long, short, conflicts_with = "file")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Where files are put. Existing files are never overwritten.
    #[arg(long, short, default_value = ".")]
    pub(crate) output: PathBuf,
    /// Stop after so many files and messages.
    #[arg(long)]
    pub(crate) count: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangePassphrase {
    /// Read the new passphrase from FILE instead of asking for it.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Keep the keys without a passphrase from now on.
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Print the words wherever standard output goes, and ask for nothing.
    #[arg(long, conflicts_with_all = ["rehearse", "to"])]
    pub(crate) show: bool,
    /// Ask for the words without showing them first; `-` reads them from standard input.
    #[arg(long, value_name = "-", num_args = 0..=1, default_missing_value = "", value_parser = ["", "-"], hide_possible_values = true)]
    pub(crate) rehearse: Option<String>,
    /// Write relay and peers to a new FILE, which only the 24 words open.
    #[arg(long, value_name = "FILE", conflicts_with = "rehearse")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// `-` reads the words from standard input; without it they are asked for.
    #[arg(value_name = "-")]
    pub(crate) words: Option<String>,
    /// Bring back relay and peers from a file that `hush backup --to` made.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}
