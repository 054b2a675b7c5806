//! What several commands take.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::baseline::Runtimes;
use crate::contender::Lineup;
use crate::limits::ROUNDS_MAX;
use crate::load::{Timing, Transport};
use crate::peers;

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Processor of the servers.
    #[arg(long, default_value_t = 0)]
    pub(crate) server_cpu: usize,
    /// Processor of the generator.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_cpu: usize,
    /// A `hushwired` to measure instead of the relay in this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay_binary: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Processors of all processes, comma-separated.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    pub(crate) cpus: Vec<usize>,
    /// A `hushwired` to measure instead of the relay in this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay_binary: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often and how long each side of a comparison is measured in turns.
#[derive(Debug, Args)]
pub(crate) struct SliceArgs {
    /// Rounds: how often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
}

impl SliceArgs {
    pub(crate) fn rounds(&self) -> usize {
        usize::from(self.rounds)
    }

    pub(crate) fn timing(&self) -> Result<Timing> {
        timing(self.warm_up, self.seconds)
    }
}

/// Whom the relay and the floor are held against.
#[derive(Debug, Args)]
pub(crate) struct OthersArgs {
    /// With `quic` also the relay by QUIC, and the forwarder that one would write with quinn.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// Also the floor's forwarder on other runtimes: `all`, or some of tokio, monoio and tokio-uring.
    #[arg(long, value_name = "RUNTIMES")]
    baselines: Option<Runtimes>,
    /// Also these servers: nats, mosquitto, redis, iroh-relay, comma-separated, or all. What is not
    /// installed is left out.
    #[arg(long, value_parser = peers::parse)]
    peers: Option<peers::Peers>,
    /// Where `cargo install --root` put iroh-relay, if not on the path.
    #[arg(long, value_name = "DIRECTORY")]
    peers_root: Option<PathBuf>,
}

impl OthersArgs {
    pub(crate) fn lineup(&self, cpu: usize, with_relay: bool) -> Lineup {
        let peers = self.peers.as_ref();
        Lineup {
            cpu,
            with_relay,
            with_quic: self.transport == Transport::Quic,
            baselines: self.baselines.clone().map(|chosen| chosen.0).unwrap_or_default(),
            peers: peers.map(|it| it.installed(self.peers_root.as_deref())).unwrap_or_default(),
        }
    }
}

/// So many seconds, of which those of the warm-up are not counted.
///
/// # Errors
/// As [`seconds`].
pub(crate) fn timing(warm_up: f64, measured: f64) -> Result<Timing> {
    Ok(Timing { warm_up: seconds(warm_up)?, measured: seconds(measured)? })
}

/// A time of 0 to 1 000 seconds.
pub(crate) fn seconds(seconds: f64) -> Result<Duration> {
    ensure!((0.0..=1_000.0).contains(&seconds), "choose 0 to 1000 seconds");
    Ok(Duration::from_secs_f64(seconds))
}
