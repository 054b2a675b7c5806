//! From the first byte to WELCOME: one struct a state, consumed by the cell it waits for.

use hushwire_wire::cell::{LaneCounters, set_counter};
use hushwire_wire::control::{self, Control, CoverMode, Hello, Transport};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::{HELLO_CLASS_MAX, VERSION};
use std::time::Instant;

use super::{Link, LinkError, receive_control, refusal};
use crate::identity::{Identity, hello_proof};

/// What a device says of itself in HELLO.
#[derive(Clone, Debug)]
pub struct HelloSettings {
    /// What admits a device that is not enrolled yet: the 16-byte secret of an invite.
    pub token: Option<Vec<u8>>,
    /// A name for people, taken on enrolment; at most 64 bytes.
    pub name: Option<String>,
    /// Cover asked for.
    pub cover: CoverMode,
    /// Software and version, at most 32 bytes.
    pub software: String,
}

/// CHALLENGE is due.
#[derive(Debug)]
pub struct AwaitChallenge {
    relay: RelayId,
    settings: HelloSettings,
    transport: Transport,
    binding: [u8; 32],
    inbound: LaneCounters,
}

/// HELLO has been sent; WELCOME is due.
#[derive(Debug)]
pub struct AwaitWelcome {
    transport: Transport,
    inbound: LaneCounters,
    outbound: LaneCounters,
}

/// What a cell made of a state: the next one, or the same after a cell that means nothing.
#[derive(Debug)]
pub enum Opening<Next, Same> {
    /// The awaited cell came.
    Next(Next),
    /// Cover, or an operation of a later version.
    Same(Same),
}

impl AwaitChallenge {
    /// Waits for the relay `relay` to speak first. `transport` and `binding`, the
    /// TLS exporter of the connection, are those of the connection on which the HELLO will go.
    #[must_use]
    pub fn new(
        relay: RelayId,
        settings: HelloSettings,
        transport: Transport,
        binding: [u8; 32],
    ) -> Self {
        Self { relay, settings, transport, binding, inbound: LaneCounters::default() }
    }

    /// Takes a cell. CHALLENGE is answered with a HELLO, which is returned as a whole cell.
    ///
    /// # Errors
    /// See [`LinkError`]; nothing is signed for a relay other than the expected one.
    pub fn on_cell(
        mut self,
        cell: &[u8],
        identity: &Identity,
    ) -> Result<Opening<(AwaitWelcome, Vec<u8>), Self>, LinkError> {
        match receive_control(cell, &mut self.inbound)? {
            None => Ok(Opening::Same(self)),
            Some((Control::Challenge { relay, versions, .. }, content)) => {
                if relay != self.relay {
                    return Err(LinkError::WrongRelay { expected: self.relay, found: relay });
                }
                if !versions.contains(&VERSION) {
                    return Err(LinkError::Version(versions));
                }
                let hello = self.hello(content, identity)?;
                let mut outbound = LaneCounters::default();
                outbound.take(0);
                let Self { transport, inbound, .. } = self;
                Ok(Opening::Next((AwaitWelcome { transport, inbound, outbound }, hello)))
            }
            Some((Control::Error { code, sentence, wait_ms, .. }, _)) => {
                Err(refusal(code, sentence, wait_ms))
            }
            Some(_) => Err(LinkError::Malformed("another control cell came before CHALLENGE")),
        }
    }

    fn hello(&self, challenge: &[u8], identity: &Identity) -> Result<Vec<u8>, LinkError> {
        let HelloSettings { token, name, cover, software } = self.settings.clone();
        let hello = Hello {
            version: VERSION,
            device: identity.device_id(),
            proof: [0; 64],
            token,
            name,
            cover,
            software,
        };
        let mut content = Control::Hello(hello).encode();
        let proof = hello_proof(identity, challenge, &content, self.transport, &self.binding);
        control::replace_proof(&mut content, &proof).expect("the HELLO was made with a proof");
        control::enclose(&content)
            .filter(|cell| cell.len() <= HELLO_CLASS_MAX.cell_len())
            .map(|mut cell| {
                set_counter(&mut cell, 0);
                cell
            })
            .ok_or(LinkError::Malformed("this device's HELLO is too large: shorten its token"))
    }
}

impl AwaitWelcome {
    /// Takes a cell; WELCOME opens the link.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn on_cell(mut self, cell: &[u8], now: Instant) -> Result<Opening<Link, Self>, LinkError> {
        match receive_control(cell, &mut self.inbound)? {
            None => Ok(Opening::Same(self)),
            Some((Control::Welcome(welcome), _)) => {
                let Self { transport, inbound, outbound } = self;
                Ok(Opening::Next(Link::new(welcome, transport, inbound, outbound, now)))
            }
            Some((Control::Error { code, sentence, wait_ms, .. }, _)) => {
                Err(refusal(code, sentence, wait_ms))
            }
            Some((Control::Goaway { reason, reconnect_after_ms }, _)) => {
                let sentence = format!("the relay closed the connection: {reason}");
                let code = hushwire_wire::control::ErrorCode::Draining;
                Err(refusal(code, sentence, Some(reconnect_after_ms)))
            }
            Some(_) => Err(LinkError::Malformed("another control cell came before WELCOME")),
        }
    }
}
