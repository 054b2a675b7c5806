//! What to send back and forth, from the command line.

use anyhow::Result;
use clap::Args;

use super::{Plan, measure};
use crate::arguments::PlaceArgs;
use crate::ends;
use crate::interrupt::Interrupt;
use crate::limits::{MESSAGE_BYTES_MAX, ROUND_TRIPS_MAX, ROUNDS_MAX};
use crate::load::Transport;

#[derive(Debug, Args)]
pub(crate) struct RoundTripArgs {
    /// Round trips of one measurement.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=ROUND_TRIPS_MAX))]
    messages: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MESSAGE_BYTES_MAX))]
    bytes: u32,
    /// Rounds: how often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Also beside a stream to the same peer.
    #[arg(long)]
    with_transfer: bool,
    /// What a message survives in both devices before it goes on its way.
    #[arg(long, value_enum, default_value_t = ends::Durability::Disk)]
    durability: ends::Durability,
    /// How both devices reach the relay.
    #[arg(long, value_enum, default_value_t = Transport::Quic)]
    transport: Transport,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(arguments: &RoundTripArgs) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let place = &arguments.place;
    let plan = Plan {
        messages: arguments.messages,
        bytes: arguments.bytes as usize,
        rounds: usize::from(arguments.rounds),
        with_transfer: arguments.with_transfer,
        durability: arguments.durability,
        transport: arguments.transport,
        cpus: place.cpus.clone(),
    };
    measure(&plan, place.relay_binary.as_deref(), place.json, &interrupt)
}
