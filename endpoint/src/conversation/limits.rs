//! Every number of a conversation, unit last. Both ends must agree on the two windows: `limit − window` in a WINDOW
//! frame is what has been consumed, and it is the only acknowledgement that streams have.

use hushwire_wire::cell::Class;

/// Bytes of a stream that may be sent beyond what its reader has consumed.
pub const STREAM_WINDOW_BYTES: u64 = 1 << 20;
/// Bytes of data cells that may be sent beyond what has arrived.
pub const SESSION_WINDOW_BYTES: u64 = 1 << 20;
/// Data cells in flight to one peer: below a quarter of the relay's 1 MiB queue, which is what one sender may fill.
pub const FLIGHT_BYTES_MAX: usize = 7 * Class::C7.cell_len();
/// In flight at the beginning.
pub const FLIGHT_BYTES_START: usize = 4 * Class::C7.cell_len();
/// In flight however often the relay says `busy`.
pub const FLIGHT_BYTES_MIN: usize = Class::C6.cell_len();
/// Beyond the flight, for small messages: a stream that fills it does not hold them up.
pub const MESSAGES_RESERVE_BYTES: usize = Class::C6.cell_len();
/// Messages that wait and fit a cell of this class go before streams, in a cell of their own.
pub const MESSAGES_FIRST_CLASS_MAX: Class = Class::C4;
/// Messages are about for so long behind each of them.
pub const MESSAGES_ABOUT_MS: u64 = 1_000;
/// What streams to a peer may have in flight while messages to it or from it are about.
pub const SHARE_BYTES_MIN: usize = Class::C7.cell_len();
/// The same while only messages to or from other peers are about.
pub const SHARE_OF_OTHERS_BYTES_MIN: usize = CREDIT_STEP_BYTES as usize;
/// The largest class of cells with a stream in them while messages are about.
pub const SHARE_CLASS: Class = Class::C6;
/// The shortest round trip is remembered for one to two times as long.
pub const SHORTEST_AGE_MS: u64 = 30_000;
/// Bytes of data cells that arrived after which the sender is told at once.
pub const CREDIT_STEP_BYTES: u64 = 2 * Class::C7.cell_len() as u64;
/// The same while messages are about: streams then have less in flight.
pub const CREDIT_STEP_BYTES_MIN: u64 = SHARE_BYTES_MIN as u64;
/// Bytes of a stream that were consumed after which its writer is told at once.
pub const STREAM_STEP_BYTES: u64 = STREAM_WINDOW_BYTES / 4;

/// The longest message; larger content is a stream.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Messages sent beyond what the peer has taken.
pub const MESSAGES_AHEAD_MAX: usize = 1_024;
/// Bytes of messages sent beyond what the peer has taken; one message may be larger.
pub const MESSAGES_AHEAD_BYTES_MAX: usize = 1 << 20;
/// Messages kept for one peer until it has taken them.
pub const OUTBOX_MESSAGES_MAX: usize = 4_096;
/// Bytes kept for one peer until it has taken them; one message may be larger.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;
/// Bytes of a peer's messages that are put together or wait to be taken.
pub const INBOX_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 2 * MESSAGES_AHEAD_BYTES_MAX;
/// Messages taken after which the sender is told at once.
pub const ACK_STEP_MESSAGES: u64 = 128;
/// No honest log reaches this sequence number, and sums with it do not overflow.
pub const SEQUENCE_MAX: u64 = 1 << 62;
/// Pieces of a message that may lie apart while it is put together.
pub const PIECES_MAX: usize = 1_024;
/// Logs that a peer begins in one session: an honest one begins its first, and another where it was set back.
pub const LOGS_PER_SESSION_MAX: u32 = 4;
/// Runs of messages that will never come and are remembered.
pub const GAPS_MAX: usize = MESSAGES_AHEAD_MAX;

/// Streams open at once, each way.
pub const STREAMS_MAX: usize = 64;
/// Streams that have ended and are remembered, to answer what comes late.
pub const STREAMS_ENDED_MAX: usize = 128;
/// A RESET is told so often if nobody answers it.
pub const RESETS_MAX: u32 = 16;
/// Padding behind one message or stream: Padmé's share of a very long one is cut here.
pub const PADDING_BYTES_MAX: u64 = 64 << 20;

/// An acknowledgement waits so long, drawn between the two, for a cell to ride in.
pub const ACK_DELAY_MS: (u64, u64) = (20, 60);
/// Data cells of which nothing is heard for so long are taken for lost; doubles up to the second.
pub const STALL_MS: (u64, u64) = (1_000, 30_000);
/// What arrived by the count but is not acknowledged is asked about so often; doubles up to the second.
pub const ASK_MS: (u64, u64) = (3_000, 60_000);
/// Waits in a row, two minutes in all, with not one frame from the peer, after which a new session is tried. A peer that
/// was started anew says so itself, at once; one that is merely stopped is offline by then.
pub const STALLS_MAX: u32 = 8;
/// Questions in a row, a minute and a half in all, with not one frame from the peer, after which a new session is tried:
/// where only questions are sent, no data cell shows that the peer has forgotten the session.
pub const ASKS_UNHEARD_MAX: u32 = 5;
/// Pause after `busy` with nothing in flight; doubles up to the second.
pub const BUSY_MS: (u64, u64) = (5, 1_000);
/// A handshake message is sent again after this.
pub const HANDSHAKE_RESEND_MS: u64 = 1_500;
/// A conversation that may not begin a handshake yet, because so many others are pending, tries again after this.
pub const HANDSHAKE_TURN_MS: u64 = 500;
/// Cells of handshakes that are remembered, to know what UNDELIVERABLE speaks of.
pub const HANDSHAKE_CELLS_MAX: usize = 8;
/// Fresh HS1 of one peer that are answered at once, and then one in each such time: each costs three public-key
/// operations and a write to the keystore.
pub const HANDSHAKES_ANSWERED_BURST: u32 = 4;
/// See [`HANDSHAKES_ANSWERED_BURST`].
pub const HANDSHAKE_ANSWER_MS: u64 = 1_000;
/// A peer of another version is answered at most once in this time.
pub const VERSIONS_MS: u64 = 2_000;
/// The application is told of a peer of another version at most once in this time.
pub const INCOMPATIBLE_MS: u64 = 30_000;
/// A session that a CLOSE ended counts as a failure unless it has lasted so long.
pub const SESSION_LASTED_MS: u64 = 60_000;
/// Frames of a session that were answered with nothing but garbage: at most one new handshake in this time.
pub const STRANGER_MS: u64 = 2_000;

const _: () = assert!(HANDSHAKE_ANSWER_MS < HANDSHAKE_RESEND_MS, "a resent HS1 is answered");
const _: () =
    assert!(FLIGHT_BYTES_START <= FLIGHT_BYTES_MAX && FLIGHT_BYTES_MIN <= FLIGHT_BYTES_START);
const _: () = assert!(
    FLIGHT_BYTES_MAX + MESSAGES_RESERVE_BYTES < 256 * 1024,
    "the relay's share of one sender"
);
const _: () = assert!(
    SHARE_BYTES_MIN as u64 >= CREDIT_STEP_BYTES_MIN
        && SHARE_OF_OTHERS_BYTES_MIN as u64 >= CREDIT_STEP_BYTES
        && SHARE_BYTES_MIN >= 2 * SHARE_CLASS.cell_len(),
    "credit comes before the share is full"
);
const _: () = assert!(FLIGHT_BYTES_MAX as u64 <= SESSION_WINDOW_BYTES);
const _: () = assert!(
    CREDIT_STEP_BYTES * 3 <= FLIGHT_BYTES_MAX as u64,
    "credit comes before the flight is full"
);
