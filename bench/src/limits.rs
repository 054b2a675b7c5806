//! Every number that bounds something here, unit last.

use std::time::Duration;

use hushwire_relay::transport::limits::CARRY_CLASS_BYTES;
use hushwire_wire::limits::{IDLE_MS, KEEP_ALIVE_MS};

/// Bytes of one receive of the load generator.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// Receives from one connection before the others have their turn.
pub(crate) const READS_PER_TURN: usize = 4;

/// Credit that a device by QUIC gives on all lanes together, bytes: on each it gives as much as the relay does.
pub(crate) const QUIC_RECEIVE_BYTES: u32 = 1024 * 1024;
/// Bytes that such a device sends before any are acknowledged.
pub(crate) const QUIC_SEND_BYTES: u64 = 1024 * 1024;
/// Both buffers of a UDP socket of the generator, bytes, as set: those of the relay's.
pub(crate) const UDP_BUFFER_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of UDP that IPv4 takes, and so of all datagrams that the kernel is to cut from one send.
pub(crate) const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

/// Bytes of one recipient at which the floor sends without waiting for the batch to end.
pub(crate) const FLUSH_BYTES: usize = 64 * 1024;
/// Bytes of all recipients at which the floor sends everything: about a second-level cache.
pub(crate) const HELD_BYTES_MAX: usize = 256 * 1024;
/// Recipients with output at which the floor sends everything.
pub(crate) const HELD_RECIPIENTS_MAX: usize = 64;
/// Bytes of a buffer the floor seals into: the cell that reaches `FLUSH_BYTES` still fits.
pub(crate) const OUTPUT_BUFFER_BYTES: usize = FLUSH_BYTES + 33 * 1024;
/// Output buffers that the floor keeps for the next batch.
pub(crate) const OUTPUT_BUFFERS_KEPT_MAX: usize = 1_024;
/// Bytes that may wait behind a short send of the floor before it closes the connection.
pub(crate) const BEHIND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections of the floor and of a baseline. More are closed as they come.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;
/// Bytes that reads of the floor and of a baseline may have cut off: a large cell of every device of a run.
pub(crate) const CARRIED_BYTES_MAX: usize = 2 * PAIRS_MAX * CARRY_CLASS_BYTES[3];
/// Operations that a baseline's ring takes between two submissions. Four times as many make tokio-uring a third dearer
/// at 2 000 connections, and monoio no cheaper anywhere.
pub(crate) const BASELINE_RING_ENTRIES: u32 = 1_024;

/// Pairs of devices in one run: their connections stay below the floor's maximum.
pub(crate) const PAIRS_MAX: usize = 8_192;
/// Cells in flight on one pair.
pub(crate) const WINDOW_MAX: usize = 4_096;
/// Weight of one size in a mix.
pub(crate) const MIX_WEIGHT_MAX: u32 = 1_000_000;
/// Messages of one sender of an open loop that are due and not sent: beyond them the rate is too high.
pub(crate) const BACKLOG_MAX: usize = 16_384;
/// Messages of all senders of an open loop in a second.
pub(crate) const RATE_MAX: u64 = 10_000_000;
/// Bytes of messages that one write of an open loop takes, where several are late.
pub(crate) const LATE_BYTES_MAX: usize = 64 * 1024;
/// Cells up to this size are all opened on arrival.
pub(crate) const OPEN_ALWAYS_BYTES_MAX: usize = 1_024;
/// Of larger cells one in so many is opened.
pub(crate) const OPEN_ONE_IN: u64 = 64;
/// Threads that connect devices at the same time.
pub(crate) const CONNECT_THREADS: usize = 8;
/// How long one step of a connect may take.
pub(crate) const CONNECT_STEP_MAX: Duration = Duration::from_secs(20);
/// How long connections of QUIC that are to be closed may have something on its way.
pub(crate) const SETTLING_MAX: Duration = Duration::from_secs(10);
/// How long nothing comes where nothing is on its way.
pub(crate) const SETTLED: Duration = Duration::from_millis(100);
/// Tickets that one connector remembers.
pub(crate) const TICKETS_KEPT_MAX: usize = 8;
/// Connections of a server of handshakes alone. More are closed as they come.
pub(crate) const GREETED_MAX: usize = 4_096;
/// Handshakes that the generator has under way, each in a thread of its own.
pub(crate) const HANDSHAKES_AT_ONCE_MAX: i64 = 64;
/// Devices that take turns in one of these threads, so that a server has long seen the end of a device's last
/// connection when its next one comes.
pub(crate) const DEVICES_PER_THREAD: usize = 8;
/// Bytes of anything that a peer may say while a device introduces itself.
pub(crate) const INTRODUCTION_BYTES_MAX: usize = 64 * 1024;
/// Longest message of a peer, bytes: what is sent has at most 32 KiB.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Longest line of a redis-server that announces something, bytes.
pub(crate) const PEER_LINE_BYTES_MAX: usize = 4 * 1024;
/// Bytes that a device may owe its peer before it sends them.
pub(crate) const OWED_BYTES_MAX: usize = 64 * 1024;
/// Without a single arrival for so long, a run fails.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long a server may take to start.
pub(crate) const START_MAX: Duration = Duration::from_secs(20);
/// The largest latency that the histogram tells apart, nanoseconds.
pub(crate) const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Devices that are connected, most of which say nothing, unless open files are too few.
pub(crate) const CONNECTED_DEFAULT: usize = 20_000;
/// The most of them: they share one source address, whose 28 000 ports also have to do for pairs that connect anew.
pub(crate) const CONNECTED_MAX: usize = 24_000;
/// Of them, devices that connect and are kept alive together.
pub(crate) const CROWD_SLAB_DEVICES: usize = 2_000;
/// How long these then have for what the server wants to have answered: the first acknowledgements, and the search for
/// the path's MTU.
pub(crate) const CROWD_SETTLES: Duration = Duration::from_millis(300);
/// Connections of a relay beside those that are meant.
pub(crate) const RECONNECTING_SPARE: usize = 16;
/// Open files beside connections, of a relay and of the generator.
pub(crate) const FILES_SPARE: usize = 128;
/// How long one measurement beside devices that say nothing may take.
pub(crate) const GROWTH_SLICE_MAX: Duration = Duration::from_secs(20);
/// Rounds of one measurement.
pub(crate) const ROUNDS_MAX: i64 = 1_000;
/// Senders to a reader that stops.
pub(crate) const SENDERS_MAX: i64 = 32;
/// Cells a second of each of them.
pub(crate) const PACE_MAX: i64 = 10_000;
/// How long a reader is stopped for one measurement, without the time in which its queue fills.
pub(crate) const STOPPED_MAX: Duration = Duration::from_secs(20);
/// Bytes on their way on one lane of a device that has eight.
pub(crate) const LANE_QUEUE_BYTES_MAX: usize = 32 * 1024;
/// Cells that become due on its paced lane while the generator is kept from sending them; more are left out.
pub(crate) const LANE_CATCH_UP_MAX: usize = 16;
/// How long a queue may take to fill, or to empty.
pub(crate) const QUEUE_MAX: Duration = Duration::from_secs(20);
/// Longest line of the reader's process and to it, bytes.
pub(crate) const READER_LINE_BYTES_MAX: usize = 4 * 1024;
/// Longest line of a device's process and to it, bytes.
pub(crate) const END_LINE_BYTES_MAX: usize = 64 * 1024;
/// How long a device may take for anything it is asked, a transfer included.
pub(crate) const END_ANSWER_MAX: Duration = Duration::from_secs(900);
/// Bytes of one transfer.
pub(crate) const TRANSFER_BYTES_MAX: u64 = 64 << 30;
/// Bytes that a device reads from a file or a stream at once.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// Round trips of one measurement.
pub(crate) const ROUND_TRIPS_MAX: u64 = 1_000_000;
/// Bytes of a message that goes there and back.
pub(crate) const MESSAGE_BYTES_MAX: i64 = 1 << 20;
/// Length of a soak without its warm-up, minutes.
pub(crate) const SOAK_MINUTES_MAX: f64 = 24.0 * 60.0;
/// Samples of a soak.
pub(crate) const SAMPLES_MAX: usize = 20_000;
/// Devices that come and go in a second of a soak.
pub(crate) const CHURN_MAX: u64 = 500;
/// Pairs of them, at least: one that has left does not come again while the relay may not have noticed.
pub(crate) const CHURN_PAIRS_MIN: usize = 16;
/// How long one visit may take.
pub(crate) const VISIT_MAX: Duration = Duration::from_secs(10);
/// Devices of one account of a relay that is measured: the most that a relay can be told.
pub(crate) const DEVICES_PER_ACCOUNT_MAX: usize = 1_024;
/// Pairs on a relay of two shards: enough devices for them on either belong to one account.
pub(crate) const SHARD_PAIRS_MAX: usize = 320;
/// Longest line on the admin socket, bytes.
pub(crate) const ADMIN_LINE_BYTES_MAX: usize = 256 * 1024;
/// How often a relay is asked that has too many clients on its admin socket, and the time between.
pub(crate) const ADMIN_TRIES_MAX: usize = 100;
/// See above.
pub(crate) const ADMIN_TRY_AGAIN: Duration = Duration::from_millis(20);

const _: () = assert!(2 * PAIRS_MAX <= CONNECTIONS_MAX);
const _: () = assert!(CROWD_SLAB_DEVICES.is_multiple_of(2), "pairs are not torn apart");
const _: () = assert!(
    KEEP_ALIVE_MS as u128 + GROWTH_SLICE_MAX.as_millis() + CONNECT_STEP_MAX.as_millis() / 2
        < IDLE_MS as u128,
    "a device that was not due before a measurement is due behind it, and not yet idle"
);
const _: () = assert!(FLUSH_BYTES <= HELD_BYTES_MAX);
const _: () = assert!(
    STOPPED_MAX.as_millis() + QUEUE_MAX.as_millis() < IDLE_MS as u128,
    "a stopped reader is silent, and not yet idle"
);
