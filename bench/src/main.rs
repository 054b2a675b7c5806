//! Measures what forwarding costs: a load generator, a floor to stand on, and comparisons.

mod admin;
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
mod latency;
mod limits;
mod load;
mod peers;
mod pinned;
mod plot;
mod points;
mod procfs;
mod progress;
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
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use hushwire_uring::affinity::pin_current_thread;
use hushwire_uring::sockets::SocketBuffers;

use baseline::{Runtime, Runtimes};
use contender::Lineup;
use forwarder::FlushPolicy;
use interrupt::Interrupt;
use limits::{
    MESSAGE_BYTES_MAX, PACE_MAX, PAIRS_MAX, RATE_MAX, ROUND_TRIPS_MAX, ROUNDS_MAX, SENDERS_MAX,
    STOPPED_MAX, TRANSFER_BYTES_MAX,
};
use load::{Connector, Drive, Fleet, Mix, Shape, Timing};

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
    Load(LoadArgs),
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
    Compare(CompareArgs),
    /// Measures latency in an open loop: messages at a rate, each timed from when it was due, whatever has become of those
    /// before (which corrects for coordinated omission).
    ///
    /// Floor, relay, and whoever else is named, in turns. The rate is half of what the slower of floor and relay takes in a closed loop; a
    /// peer that takes less gets half of its own. The bars, with --fifo: p99 of the relay at most 1.5 times the floor's,
    /// p99.9 at most twice, and both below every peer's.
    ///
    /// Example: hush-bench latency --fifo --peers all --out latency
    Latency(LatencyArgs),
    /// Measures the memory of idle devices: after a connect storm, at rest, and after rounds of
    /// disconnecting and connecting all.
    ///
    /// The bar is 2560 bytes resident for each idle device, and no growth from the rounds.
    Idle(IdleArgs),
    /// Measures what a recipient that stops reading costs all others: alternately it reads, and is
    /// stopped with SIGSTOP.
    ///
    /// The bars: the throughput of other pairs on the same shard changes by less than 10 %, the queue of
    /// the stopped recipient stays within its bound, and whoever sends to it hears `busy`.
    StoppedReader(StoppedReaderArgs),
    /// Sends a large file from device to device through a relay, against `openssl s_client` and `s_server` piping
    /// the same file.
    ///
    /// The relay and the two devices are three processes on the same processors; OpenSSL's two are on the same ones.
    /// What arrived is compared with what was sent, of both. The bar: half of OpenSSL's throughput, though three
    /// times as much is encrypted on the way.
    Transfer(TransferArgs),
    /// Sends small messages to a peer and back, one at a time, against a bare TCP echo between the same two processes.
    ///
    /// With --with-transfer also beside a stream to the same peer that takes all it can get. The bar: that makes
    /// their p99 at most twice as long.
    RoundTrip(RoundTripArgs),
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

#[derive(Debug, Args)]
struct LoadArgs {
    /// Address of the server.
    #[arg(long)]
    connect: SocketAddr,
    /// Process ID of the server, whose processor time is counted.
    #[arg(long)]
    pid: u32,
    /// Admin socket of a relay, to enrol the devices; the floor needs none.
    #[arg(long)]
    admin: Option<PathBuf>,
    /// Pairs of devices.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Instead of one size, several, and how often each is drawn: 256:70,4096:25,32768:5. The draw is the same in every
    /// run.
    #[arg(long, conflicts_with = "bytes")]
    mix: Option<Mix>,
    /// Cells of a pair that are on their way at any time.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Instead of keeping a window full, send so many cells a second of all pairs together, and count the latency from
    /// when each was due.
    #[arg(long, conflicts_with = "one_write_per_cell", value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: Option<u64>,
    /// Write every cell by itself, where otherwise all that the window allows go together.
    #[arg(long)]
    one_write_per_cell: bool,
    /// Let the second device of each pair send as well.
    #[arg(long)]
    both_ways: bool,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Processor of the generator.
    #[arg(long)]
    cpu: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Rounds: how often every point is measured on every server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// One short round.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "warm_up"])]
    quick: bool,
    /// Only these points, 1 to 6, comma-separated.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=6))]
    points: Vec<u8>,
    /// Without the relay: only the floor, and the baselines and peers that are named.
    #[arg(long)]
    floor_only: bool,
    #[command(flatten)]
    others: OthersArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Args)]
struct LatencyArgs {
    /// Pairs of devices.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Size of a message: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Messages a second of all pairs together. Default: --share of what the servers take.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: Option<u64>,
    /// Which part of what a server takes in a closed loop with a window of 1.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Rounds: how often every server is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Run the servers under SCHED_FIFO, which takes other work on the machine out of the figures. Needs root and chrt.
    #[arg(long)]
    fifo: bool,
    /// Write the distributions of all (.hgrm) and a plot (latency.svg) into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    #[command(flatten)]
    others: OthersArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Whom the relay and the floor are held against.
#[derive(Debug, Args)]
struct OthersArgs {
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
    fn lineup(&self, cpu: usize, with_relay: bool) -> Lineup {
        let peers = self.peers.as_ref();
        Lineup {
            cpu,
            with_relay,
            baselines: self.baselines.clone().map(|chosen| chosen.0).unwrap_or_default(),
            peers: peers.map(|it| it.installed(self.peers_root.as_deref())).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Args)]
struct IdleArgs {
    /// Devices, an even number.
    #[arg(long, default_value_t = 4_000)]
    connections: usize,
    /// Seconds of rest before the second look. The relay puts idle keys away after 10.
    #[arg(long, default_value_t = 15.0)]
    rest: f64,
    /// Rounds of disconnecting and connecting all.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=ROUNDS_MAX))]
    rounds: u16,
    /// Measure the floor instead of the relay.
    #[arg(long)]
    floor: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Args)]
struct StoppedReaderArgs {
    /// Rounds, each with one measurement in either state.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Other pairs of devices.
    #[arg(long, default_value_t = 64)]
    pairs: usize,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Cells of a pair that are on their way at any time.
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// Senders to the recipient that is stopped. One may fill a quarter of its queue.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=SENDERS_MAX))]
    senders: u16,
    /// Cells a second of each of them, whether the recipient reads or not.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=PACE_MAX))]
    pace: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Args)]
struct TransferArgs {
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
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct RoundTripArgs {
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
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// Processors of all processes, comma-separated.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    cpus: Vec<usize>,
    /// A `hushwired` to measure instead of the relay in this program.
    #[arg(long, value_name = "PATH")]
    relay_binary: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MachineArgs {
    /// Processor of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Processor of the generator.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// A `hushwired` to measure instead of the relay in this program.
    #[arg(long, value_name = "PATH")]
    relay_binary: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Floor {
            listen,
            recipients_max,
            held_bytes_max,
            send_buffer: send,
            receive_buffer: receive,
            unsent_low_water,
        } => serve_floor(
            listen,
            FlushPolicy { recipients_max, held_bytes_max },
            SocketBuffers { send, receive, unsent_low_water },
        ),
        Command::Baseline { on, listen } => baseline::serve(on, listen),
        Command::Load(arguments) => load(&arguments),
        Command::Compare(arguments) => run_compare(&arguments),
        Command::Latency(arguments) => run_latency(&arguments),
        Command::Idle(arguments) => run_idle(&arguments),
        Command::StoppedReader(arguments) => run_stopped_reader(&arguments),
        Command::Transfer(arguments) => run_transfer(&arguments),
        Command::RoundTrip(arguments) => run_round_trip(&arguments),
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

fn serve_floor(listen: SocketAddr, policy: FlushPolicy, buffers: SocketBuffers) -> Result<()> {
    let floor = floor::Floor::new(listen, policy, buffers)?;
    report::print_address(floor.address());
    floor.run()
}

fn load(arguments: &LoadArgs) -> Result<()> {
    let shape = Shape::new(arguments.pairs, arguments.bytes, arguments.window)?;
    let shape = Shape {
        one_write_per_cell: arguments.one_write_per_cell,
        both_ways: arguments.both_ways,
        ..arguments.mix.map_or(shape, |mix| shape.mixed(mix))
    };
    let timing =
        Timing { warm_up: seconds(arguments.warm_up)?, measured: seconds(arguments.seconds)? };
    let interrupt = Interrupt::watch()?;
    if let Some(cpu) = arguments.cpu {
        pin_current_thread(cpu)?;
    }
    hushwire_uring::raise_nofile(shape.devices() as u64 + 64)?;
    let connector = Connector::new(arguments.connect)?;
    let fleet = Fleet::generate(shape.devices())?;
    if let Some(admin) = &arguments.admin {
        fleet.enrol(&connector, admin, interrupt.flag())?;
    }
    let mut devices = fleet.connect(shape.devices(), &connector, interrupt.flag())?;
    let drive = arguments.rate.map_or(Drive::Window, Drive::Rate);
    let outcome = load::run(&mut devices, shape, drive, timing, arguments.pid, &interrupt)?;
    report::print_outcome(shape, &outcome, arguments.json);
    Ok(())
}

fn run_compare(arguments: &CompareArgs) -> Result<()> {
    let (rounds, timing) = if arguments.quick {
        compare::QUICK
    } else {
        let warm_up = seconds(arguments.warm_up)?;
        let measured = seconds(arguments.seconds)?;
        (usize::from(arguments.rounds), Timing { warm_up, measured })
    };
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = compare::Plan {
        rounds,
        timing,
        points: arguments.points.iter().map(|&point| usize::from(point)).collect(),
        lineup: arguments.others.lineup(machine.server_cpu, !arguments.floor_only),
    };
    compare::compare(&plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}

fn run_latency(arguments: &LatencyArgs) -> Result<()> {
    let warm_up = seconds(arguments.warm_up)?;
    let measured = seconds(arguments.seconds)?;
    ensure!((0.01..=1.0).contains(&arguments.share), "choose a share of 0.01 to 1");
    let shape = Shape::new(arguments.pairs, arguments.bytes, 1)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = latency::Plan {
        rounds: usize::from(arguments.rounds),
        timing: Timing { warm_up, measured },
        shape,
        rate: arguments.rate,
        share: arguments.share,
        lineup: arguments.others.lineup(machine.server_cpu, true),
        fifo: arguments.fifo,
        directory: arguments.out.clone(),
    };
    latency::measure(&plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}

fn run_idle(arguments: &IdleArgs) -> Result<()> {
    let connections = arguments.connections;
    ensure!(
        connections.is_multiple_of(2) && (2..=2 * PAIRS_MAX).contains(&connections),
        "choose an even number of connections, 2 to {}",
        2 * PAIRS_MAX
    );
    let rest = seconds(arguments.rest)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = idle::Plan {
        connections,
        rest,
        rounds: usize::from(arguments.rounds),
        server_cpu: machine.server_cpu,
        floor: arguments.floor,
    };
    idle::idle(plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}

fn run_stopped_reader(arguments: &StoppedReaderArgs) -> Result<()> {
    let warm_up = seconds(arguments.warm_up)?;
    let measured = seconds(arguments.seconds)?;
    ensure!(
        warm_up + measured <= STOPPED_MAX,
        "choose at most {STOPPED_MAX:?} with the warm-up: a stopped device says nothing, and is idle later"
    );
    let shape = Shape::new(arguments.pairs, arguments.bytes, arguments.window)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = stopped_reader::Plan {
        rounds: usize::from(arguments.rounds),
        timing: Timing { warm_up, measured },
        shape,
        senders: usize::from(arguments.senders),
        pace: arguments.pace,
        server_cpu: machine.server_cpu,
        load_cpu: machine.load_cpu,
    };
    stopped_reader::measure(plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}

fn run_transfer(arguments: &TransferArgs) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let place = &arguments.place;
    let plan = transfer::Plan {
        bytes: arguments.bytes,
        rounds: usize::from(arguments.rounds),
        cpus: place.cpus.clone(),
        directory: arguments.directory.clone(),
        alone: arguments.alone,
    };
    transfer::measure(&plan, place.relay_binary.as_deref(), place.json, &interrupt)
}

fn run_round_trip(arguments: &RoundTripArgs) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let place = &arguments.place;
    let plan = round_trip::Plan {
        messages: arguments.messages,
        bytes: arguments.bytes as usize,
        rounds: usize::from(arguments.rounds),
        with_transfer: arguments.with_transfer,
        durability: arguments.durability,
        cpus: place.cpus.clone(),
    };
    round_trip::measure(&plan, place.relay_binary.as_deref(), place.json, &interrupt)
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

/// A time of 0 to 1 000 seconds.
fn seconds(seconds: f64) -> Result<Duration> {
    ensure!((0.0..=1_000.0).contains(&seconds), "choose 0 to 1000 seconds");
    Ok(Duration::from_secs_f64(seconds))
}
