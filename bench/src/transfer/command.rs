//! What to transfer, from the command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{Plan, measure};
use crate::arguments::PlaceArgs;
use crate::interrupt::Interrupt;
use crate::limits::{ROUNDS_MAX, TRANSFER_BYTES_MAX};
use crate::load::Transport;

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Size of the file, such as 1GiB or 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = size)]
    bytes: u64,
    /// Rounds: how often either is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Directory of the file and of what arrives; one in memory leaves the disk out. Default: temporary files.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Without OpenSSL.
    #[arg(long)]
    alone: bool,
    /// How both devices reach the relay.
    #[arg(long, value_enum, default_value_t = Transport::Quic)]
    transport: Transport,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(arguments: &TransferArgs) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let place = &arguments.place;
    let plan = Plan {
        bytes: arguments.bytes,
        transport: arguments.transport,
        rounds: usize::from(arguments.rounds),
        cpus: place.cpus.clone(),
        directory: arguments.directory.clone(),
        alone: arguments.alone,
    };
    measure(&plan, place.relay_binary.as_deref(), place.json, &interrupt)
}

/// A number of bytes with an optional KiB, MiB or GiB behind it.
fn size(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => bail!("write a size as 1GiB, 64MiB, 100KiB or a number of bytes"),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes
        .filter(|bytes| (1..=TRANSFER_BYTES_MAX).contains(bytes))
        .with_context(|| format!("choose 1 byte to {} GiB", TRANSFER_BYTES_MAX >> 30))
}
