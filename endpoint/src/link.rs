//! The connection to the relay as a state machine (`PROTOCOL.md` §3 and §4): cells in, cells out, no socket and no
//! clock. What a routed cell carries is the [`conversation`](crate::conversation)'s concern.
//!
//! ```text
//! AwaitChallenge ── CHALLENGE / HELLO ──▶ AwaitWelcome ── WELCOME ──▶ Link
//! ```

pub mod limits;

mod backoff;
mod opening;
mod pace;
mod requests;
mod sent;
mod up;

use std::time::Duration;

use hushwire_wire::cell::{Class, HEADER_LEN, Header, HeaderError, Kind, LaneCounters};
use hushwire_wire::control::{self, Control, ControlError, ErrorCode};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::VERSION;

pub use backoff::Backoff;
pub use opening::{AwaitChallenge, AwaitWelcome, HelloSettings, Opening};
pub use requests::Answer;
pub use sent::{CellId, Origin};
pub(crate) use up::cover_class;
pub use up::{Goaway, Input, Link, Undeliverable};

/// Why a connection to the relay ended or never began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The relay broke the protocol.
    #[error("the relay broke the protocol: {0}")]
    Malformed(&'static str),
    /// A cell's header is none.
    #[error("the relay broke the protocol: {0}")]
    Header(HeaderError),
    /// A control cell was not understood.
    #[error("the relay broke the protocol: {0}")]
    Control(ControlError),
    /// A cell came twice, or one is missing.
    #[error("the relay broke the protocol: a cell on lane {lane} has the wrong number {found}")]
    Counter {
        /// The lane.
        lane: u32,
        /// The number found.
        found: u64,
    },
    /// Another relay than the invite names. Nothing was signed.
    #[error("this is relay {found}, not {expected}: check the address, or enrol again")]
    WrongRelay {
        /// The installation expected.
        expected: RelayId,
        /// The one that answered.
        found: RelayId,
    },
    /// The relay speaks no version that this software speaks.
    #[error("{}", versions(.0))]
    Version(Vec<u8>),
    /// The relay did not admit this device, or ended the connection with an error.
    #[error("{sentence}")]
    Refused {
        /// For a program.
        code: ErrorCode,
        /// The relay's sentence for a person.
        sentence: String,
        /// When it may work.
        wait: Option<Duration>,
    },
    /// Nothing was heard for the idle time, not even an answer to PING.
    #[error("the relay has fallen silent")]
    Silent,
}

/// Says who must upgrade.
fn versions(relays: &[u8]) -> String {
    let list = relays.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let plural = if relays.len() == 1 { "" } else { "s" };
    let advice = if relays.is_empty() {
        return "the relay speaks no version of the protocol: ask its operator".into();
    } else if relays.iter().all(|version| *version > VERSION) {
        "upgrade this software"
    } else {
        "the relay must be upgraded, ask its operator"
    };
    format!("the relay speaks protocol version{plural} {list}, this software {VERSION}: {advice}")
}

/// Parses a cell and checks its counter; what every state does first.
fn receive(cell: &[u8], counters: &mut LaneCounters) -> Result<Header, LinkError> {
    let head =
        cell.first_chunk::<HEADER_LEN>().ok_or(LinkError::Malformed("a cell is cut short"))?;
    let header = Header::decode(head).map_err(LinkError::Header)?;
    if header.class.cell_len() != cell.len() {
        return Err(LinkError::Malformed("a cell's length is not its class's"));
    }
    if !counters.accept(header.lane, header.counter) {
        return Err(LinkError::Counter { lane: header.lane, found: header.counter });
    }
    Ok(header)
}

/// What a control cell says; `None` for an operation that this version does not know.
fn decode(cell: &[u8]) -> Result<Option<(Control, &[u8])>, LinkError> {
    let content = control::disclose(&cell[HEADER_LEN..]).map_err(LinkError::Control)?;
    match Control::decode(content) {
        Ok(control) => Ok(Some((control, content))),
        Err(ControlError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(LinkError::Control(error)),
    }
}

/// Before WELCOME: a control cell, or cover, which is `None`.
fn receive_control<'a>(
    cell: &'a [u8],
    counters: &mut LaneCounters,
) -> Result<Option<(Control, &'a [u8])>, LinkError> {
    match receive(cell, counters)?.kind {
        Kind::Cover => Ok(None),
        Kind::Control => decode(cell),
        Kind::Unicast | Kind::Broadcast => {
            Err(LinkError::Malformed("a routed cell came before WELCOME"))
        }
    }
}

fn refusal(code: ErrorCode, sentence: String, wait_ms: Option<u32>) -> LinkError {
    let wait = wait_ms.map(|wait_ms| Duration::from_millis(u64::from(wait_ms)));
    LinkError::Refused { code, sentence, wait }
}

/// Where the class of a cell that arrives stands, and so its length; what a reader of a byte stream needs.
///
/// # Errors
/// [`LinkError::Header`] where the class is above 7.
pub fn cell_len(first_bytes: [u8; 2]) -> Result<usize, LinkError> {
    Class::from_wire(first_bytes[1])
        .map(Class::cell_len)
        .ok_or(LinkError::Header(HeaderError::Class(first_bytes[1])))
}
