//! A client that shares no line with Hushwire, against a relay of its own: aioquic, by a script written from `PROTOCOL.md`.
//!
//! ```text
//! python3 -m venv /tmp/aioquic && /tmp/aioquic/bin/pip install 'aioquic==1.*'
//! cargo build --release -p hushwire-tools
//! cargo run --release -p hushwire-tools --example aioquic -- /tmp/aioquic/bin/python
//! ```

mod support;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser;
use hushwire_tools::relay_process::{Options, RelayProcess};

/// Has a device by aioquic enrol, exchange cells and break the rules of lanes, on one shard and on four.
#[derive(Debug, Parser)]
struct Arguments {
    /// A Python that has aioquic.
    python: PathBuf,
    /// The program `hush`; beside this one's directory where absent.
    #[arg(long)]
    hush: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let Arguments { python, hush } = Arguments::parse();
    let hush = hush.map_or_else(support::hush_beside, Ok)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/aioquic_hello.py");
    for shards in [1, 4] {
        let mut options = Options::new(&hush).shards(shards);
        options.prefix = vec!["daemon".to_owned()];
        let relay = RelayProcess::start(&options)?;
        let (host, port) = relay.address().rsplit_once(':').context("an address")?;
        let invite = relay.invite()?;
        let ended = Command::new(&python).arg(script).args([host, port, &invite]).status();
        let ended = ended.with_context(|| format!("cannot run {}", python.display()))?;
        let bugs = relay.status()?.totals.get("bugs").copied();
        println!("{shards} shards: aioquic ended with {ended}, the relay counts {bugs:?} bugs");
        if !ended.success() || bugs != Some(0) {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
