//! Measures what forwarding costs: a load generator, a floor to stand on, and comparisons.

mod admin;
mod arguments;
mod baseline;
mod clock;
mod compare;
mod contender;
mod ends;
mod floor;
mod forwarder;
mod growth;
mod handshakes;
mod hgrm;
mod idle;
mod interrupt;
mod lanes;
mod latency;
mod limits;
mod load;
mod peers;
mod pinned;
mod plot;
mod points;
mod procfs;
mod progress;
mod quic;
mod relay_child;
mod report;
mod round_trip;
mod server;
mod shards;
mod soak;
mod statistics;
mod stopped_reader;
mod transfer;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hushwire_uring::sockets::SocketBuffers;

use baseline::Runtime;
use forwarder::FlushPolicy;
use load::Transport;

// The allocator of `hushwired`, so that the floor does not differ in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what it costs the relay to forward cells.
///
/// Everything runs on this machine: the server on one processor, the generator on another. The measure
/// is processor time of the server for one delivered cell, kernel included.
#[derive(Debug, Parser)]
#[command(name = "hush-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves as the floor: the least that forwarding can cost on the relay's ring and records.
    ///
    /// It believes every device and forwards everything, so it listens on loopback unless told otherwise.
    /// Prints one line of JSON with its address, then serves until it is ended.
    Floor {
        /// Address and port; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// What is below the cells. By QUIC nothing else can be chosen.
        #[arg(long, value_enum, default_value_t)]
        transport: Transport,
        /// Recipients with output at which everything is sent before the batch is done.
        #[arg(long, default_value_t = limits::HELD_RECIPIENTS_MAX)]
        recipients_max: usize,
        /// Bytes of output, of all recipients, at which everything is sent.
        #[arg(long, default_value_t = limits::HELD_BYTES_MAX)]
        held_bytes_max: usize,
        /// Bytes of a socket's send buffer (SO_SNDBUF); the kernel's own choice if not given.
        #[arg(long)]
        send_buffer: Option<u32>,
        /// Bytes of a socket's receive buffer (SO_RCVBUF).
        #[arg(long)]
        receive_buffer: Option<u32>,
        /// Bytes not yet sent above which a socket is not writable (TCP_NOTSENT_LOWAT).
        #[arg(long)]
        unsent_low_water: Option<u32>,
    },
    /// Serves like the floor, on an async runtime in place of the relay's ring.
    ///
    /// It is the forwarder that one would write on that runtime, with the relay's records, one thread and a task
    /// for every connection. Prints one line of JSON with its address, then serves until it is ended.
    Baseline {
        /// The runtime.
        #[arg(long, value_enum)]
        on: Runtime,
        /// Address and port; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Loads one server that is already running and prints what it cost.
    ///
    /// A closed loop: each pair keeps a window of cells on their way from its first device to its second,
    /// and every arrival lets one more be sent.
    ///
    /// Example: hush-bench load --connect 127.0.0.1:4433 --pid $(pidof hushwired) --admin /run/hushwire/admin.sock
    Load(load::command::LoadArgs),
    /// Compares the relay with the floor, and with the servers that people use today, at six points and
    /// prints a table.
    ///
    /// Starts all, each in a process of its own, and measures them in turns, round after round, so that
    /// a noisy moment of the machine meets everyone. What counts are the ratios in the last columns: the
    /// relay may cost 1.25 floors, and half of the best peer (0.6 of it at a window of 1). Differences
    /// under 10 % are noise. The least and greatest ratio of a single round stand beside it.
    ///
    /// Takes about five minutes, with all peers fifteen; --quick takes one or three and is for seeing
    /// that it works.
    Compare(compare::CompareArgs),
    /// Measures latency in an open loop: messages at a rate, each timed from when it was due, whatever has become of those
    /// before (which corrects for coordinated omission).
    ///
    /// Floor, relay, and whoever else is named, in turns. The rate is half of what the slower of floor and relay takes in a closed loop; a
    /// peer that takes less gets half of its own. The bars, with --fifo: p99 of the relay at most 1.5 times the floor's,
    /// p99.9 at most twice, and both below every peer's.
    ///
    /// Example: hush-bench latency --fifo --peers all --out latency
    Latency(latency::LatencyArgs),
    /// Measures the memory of idle devices: after a connect storm, at rest, and after rounds of
    /// disconnecting and connecting all.
    ///
    /// The bar is 2560 bytes resident for each idle device, and no growth from the rounds.
    Idle(idle::IdleArgs),
    /// Measures what a recipient that stops reading costs all others: alternately it reads, and is
    /// stopped with SIGSTOP.
    ///
    /// The bars: the throughput of other pairs on the same shard changes by less than 10 %, the queue of
    /// the stopped recipient stays within its bound, and whoever sends to it hears `busy`.
    StoppedReader(stopped_reader::StoppedReaderArgs),
    /// Measures what one blocked lane of a connection by QUIC costs the other seven: alternately its recipient reads, and
    /// does not.
    ///
    /// The bars: throughput and p99 of the others get worse by less than 10 %.
    Lanes(lanes::LanesArgs),
    /// Sends a large file from device to device through a relay, against `openssl s_client` and `s_server` piping
    /// the same file.
    ///
    /// The relay and the two devices are three processes on the same processors; OpenSSL's two are on the same ones.
    /// What arrived is compared with what was sent, of both. The bar: half of OpenSSL's throughput, though three
    /// times as much is encrypted on the way.
    Transfer(transfer::TransferArgs),
    /// Sends small messages to a peer and back, one at a time, against a bare TCP echo between the same two processes.
    ///
    /// With --with-transfer also beside a stream to the same peer that takes all it can get. The bar: that makes
    /// their p99 at most twice as long.
    RoundTrip(round_trip::RoundTripArgs),
    /// Measures what a connect costs, full and resumed, against a bare rustls server with the same certificate and
    /// groups that verifies one signature and exchanges one cell each way.
    ///
    /// The measure is the server's processor time for one handshake, as the generator may well be the slower one. The
    /// bar: one core of the relay makes 0.80 of the full handshakes that one of the bare server makes.
    Handshakes(handshakes::HandshakesArgs),
    /// Serves handshakes and nothing else. For internal use.
    #[command(hide = true)]
    Greeter(handshakes::GreeterArgs),
    /// Measures what a cell costs when many devices are connected, against when only those are that talk.
    ///
    /// The bar: with 20000 connected, a cell costs at most 1.3 times what it costs with 200, the same 100 pairs active.
    Growth(growth::GrowthArgs),
    /// Measures what it costs that a cell crosses from shard to shard: pairs whose devices live on the same shard, on
    /// different ones, as it happens, and on a relay with one shard.
    ///
    /// The measure is processor time of the relay for one delivered cell: the generator shares the processors with it,
    /// so that throughput is also the generator's.
    Shards(shards::ShardsArgs),
    /// Soaks the relay: pairs at a steady rate for half an hour while other devices come and go, and whether
    /// anything has grown.
    ///
    /// The bars: own memory, descriptors and error counters of the relay do not grow, and the p99.9 of the last five
    /// minutes is at most 1.5 times that of the first.
    ///
    /// Example: hush-bench soak --fifo --out soak
    Soak(soak::SoakArgs),
    /// Is a device. For internal use.
    #[command(hide = true)]
    Device,
    /// Is the recipient that is stopped. For internal use.
    #[command(hide = true)]
    Reader {
        #[arg(long)]
        connect: SocketAddr,
    },
    /// Serves as the relay. For internal use.
    #[command(hide = true, disable_help_flag = true)]
    Relay {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Becomes another program on these processors, in a session of its own. For internal use.
    #[command(hide = true)]
    Pinned {
        #[arg(long, value_delimiter = ',', required = true)]
        cpu: Vec<usize>,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Floor {
            listen,
            transport,
            recipients_max,
            held_bytes_max,
            send_buffer: send,
            receive_buffer: receive,
            unsent_low_water,
        } => serve_floor(
            listen,
            transport,
            FlushPolicy { recipients_max, held_bytes_max },
            SocketBuffers { send, receive, unsent_low_water },
        ),
        Command::Baseline { on, listen } => baseline::serve(on, listen),
        Command::Load(arguments) => load::command::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Latency(arguments) => latency::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
        Command::StoppedReader(arguments) => stopped_reader::run(&arguments),
        Command::Lanes(arguments) => lanes::run(&arguments),
        Command::Transfer(arguments) => transfer::run(&arguments),
        Command::RoundTrip(arguments) => round_trip::run(&arguments),
        Command::Handshakes(arguments) => handshakes::run(&arguments),
        Command::Greeter(arguments) => handshakes::serve(&arguments),
        Command::Growth(arguments) => growth::run(&arguments),
        Command::Shards(arguments) => shards::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Device => ends::serve(),
        Command::Reader { connect } => stopped_reader::serve(connect),
        Command::Relay { arguments } => {
            let name = OsString::from("hushwired");
            return hushwire_relay::daemon::main(std::iter::once(name).chain(arguments));
        }
        Command::Pinned { cpu, program } => {
            pinned::become_program(&cpu, &program[0], &program[1..]).map(|never| match never {})
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hush-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve_floor(
    listen: SocketAddr,
    transport: Transport,
    policy: FlushPolicy,
    buffers: SocketBuffers,
) -> Result<()> {
    match transport {
        Transport::Tls => {
            let floor = floor::Floor::new(listen, policy, buffers)?;
            report::print_address(floor.address());
            floor.run()
        }
        Transport::Quic => {
            let floor = floor::QuicFloor::new(listen)?;
            report::print_address(floor.address());
            floor.run()
        }
    }
}
