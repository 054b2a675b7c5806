//! One large file from device to device, against `openssl s_client` and `s_server` piping the same file.

mod command;
mod openssl;
mod report;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{Context as Hash, SHA256};
use aws_lc_rs::rand;
use serde_json::json;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::ends::{Durability, Each, Ends};
use crate::interrupt::Interrupt;
use crate::limits::PIECE_BYTES;
use crate::load::Transport;

pub(crate) use command::{TransferArgs, run};

use openssl::Openssl;

/// Streams yield to messages for a second behind the last, and a message has opened the session.
const AFTER_MESSAGES: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Debug, Clone)]
struct Plan {
    bytes: u64,
    transport: Transport,
    /// Times that either is measured.
    rounds: usize,
    /// Processors of everything.
    cpus: Vec<usize>,
    /// Where the file lies and where it arrives; a temporary directory where absent.
    directory: Option<PathBuf>,
    /// Without OpenSSL: for a look at ourselves alone.
    alone: bool,
}

/// How the endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As a file: hashed by both ends, resumable, forced to the receiver's disk.
    File,
    /// As the bytes of a stream, which is what OpenSSL does.
    Stream,
}

/// One transfer over the relay.
struct Transfer {
    way: Way,
    elapsed_ns: u64,
    cpu_ns: Each<u64>,
}

/// One transfer by OpenSSL, which has no relay in between.
struct Piped {
    elapsed_ns: u64,
    client_cpu_ns: u64,
    server_cpu_ns: u64,
    client_peak_bytes: u64,
    server_peak_bytes: u64,
}

/// All rounds.
#[derive(Default)]
struct Outcome {
    transfers: Vec<Transfer>,
    piped: Vec<Piped>,
    peak_bytes: Option<Each<u64>>,
}

struct Files {
    directory: TempDir,
    sha256: [u8; 32],
}

/// Measures and prints.
fn measure(
    plan: &Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let files = Files::make(plan, interrupt)?;
    let openssl =
        if plan.alone { None } else { Some(Openssl::prepare(files.directory.path(), &plan.cpus)?) };
    let mut ends =
        Ends::start(&plan.cpus, (Durability::Disk, plan.transport), relay_binary, interrupt)?;
    interrupt.pass(AFTER_MESSAGES)?;
    let mut outcome = Outcome::default();
    let mut turns = vec![None, Some(Way::File), Some(Way::Stream)];
    for round in 1..=plan.rounds {
        for &turn in &turns {
            if let Some(way) = turn {
                let transfer = transfer(&mut ends, way, &files)?;
                files.check(interrupt).context("what crossed the relay")?;
                say(plan, round, way.name(), transfer.elapsed_ns);
                outcome.transfers.push(transfer);
            } else if let Some(openssl) = &openssl {
                let piped = openssl.pipe(&files.source(), &files.target(), interrupt)?;
                files.check(interrupt).context("what openssl piped")?;
                say(plan, round, "openssl", piped.elapsed_ns);
                outcome.piped.push(piped);
            }
        }
        // Whoever was first is last next time.
        turns.reverse();
    }
    outcome.peak_bytes = Some(ends.resident_peak_bytes()?);
    if as_json {
        report::print_json(plan, &outcome);
    } else {
        report::print_table(plan, &outcome);
    }
    Ok(())
}

fn say(plan: &Plan, round: usize, name: &str, elapsed_ns: u64) {
    let mib_per_s = report::mib_per_s(plan.bytes, elapsed_ns);
    eprintln!("round {round} of {}: {name:<8} {mib_per_s:>7.0} MiB/s", plan.rounds);
}

fn transfer(ends: &mut Ends<'_>, way: Way, files: &Files) -> Result<Transfer> {
    let (send, receive) = match way {
        Way::File => ("send file", "receive file"),
        Way::Stream => ("send", "receive"),
    };
    let before = ends.cpu_ns()?;
    let clock = Clock::start();
    ends.receiver.begin(&json!({ "ask": receive, "file": files.target() }))?;
    ends.sender.begin(&json!({ "ask": send, "file": files.source() }))?;
    ends.sender.answer()?;
    ends.receiver.answer()?;
    let elapsed_ns = clock.now_ns();
    let cpu_ns = ends.cpu_ns()?.zip(before).map(|(after, before)| after - before);
    Ok(Transfer { way, elapsed_ns, cpu_ns })
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stream => "stream",
        }
    }
}

impl Files {
    /// Writes the file that is sent: random bytes, which nothing can shorten.
    fn make(plan: &Plan, interrupt: &Interrupt) -> Result<Self> {
        const PREFIX: &str = "hush-bench-";
        let directory = match &plan.directory {
            Some(directory) => TempDir::with_prefix_in(PREFIX, directory)
                .with_context(|| format!("{} cannot be written to", directory.display()))?,
            None => TempDir::with_prefix(PREFIX)?,
        };
        let mut files = Self { directory, sha256: [0; 32] };
        let mut file = File::create(files.source())?;
        let mut hash = Hash::new(&SHA256);
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = plan.bytes;
        while left > 0 {
            interrupt.check()?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            if rand::fill(&mut piece[..count]).is_err() {
                bail!("the random source does not answer");
            }
            hash.update(&piece[..count]);
            file.write_all(&piece[..count]).context("there is no room for the file")?;
            left -= count as u64;
        }
        // What is still to be written would slow whoever comes first.
        file.sync_all()?;
        files.sha256.copy_from_slice(hash.finish().as_ref());
        Ok(files)
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join("sent.bin")
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("received.bin")
    }

    /// Compares what arrived with what was sent, and removes it.
    fn check(&self, interrupt: &Interrupt) -> Result<()> {
        let mut file = File::open(self.target())?;
        let mut hash = Hash::new(&SHA256);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            interrupt.check()?;
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
        }
        ensure!(hash.finish().as_ref() == self.sha256, "is not the file that was sent");
        Ok(fs::remove_file(self.target())?)
    }
}
