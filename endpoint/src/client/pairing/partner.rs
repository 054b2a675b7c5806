//! The cells to and from one device of a pairing, and the place where it is awaited.

use std::sync::Arc;

use hushwire_wire::id::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{RESEND, SOON};
use crate::client::Shared;
use crate::client::state::{Met, PairingInput};
use crate::error::Error;

/// A rendezvous of this device. It is closed on drop.
#[derive(Debug)]
pub(super) struct Meeting {
    shared: Arc<Shared>,
    tag: [u8; 16],
    met: oneshot::Receiver<Met>,
}

impl Meeting {
    /// For a tag that [`Meetings::open`](crate::client::state::Meetings::open) has taken.
    pub(super) const fn new(
        shared: Arc<Shared>,
        tag: [u8; 16],
        met: oneshot::Receiver<Met>,
    ) -> Self {
        Self { shared, tag, met }
    }

    /// The device that has joined.
    pub(super) async fn partner(&mut self, ends: Instant) -> Result<Partner, Error> {
        let met = tokio::time::timeout_at(ends, &mut self.met).await;
        let Met { device, inputs } = met.ok().and_then(Result::ok).ok_or(Error::PairingExpired)?;
        Ok(Partner { shared: self.shared.clone(), device, inputs, said: None })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        self.shared.state.lock().meetings.close(&self.tag);
    }
}

/// What was said last, and is said again where it was not delivered or no answer comes.
#[derive(Debug)]
struct Said {
    body: Vec<u8>,
    again: u32,
    at: Instant,
}

/// The cells to and from one device of a pairing.
#[derive(Debug)]
pub(super) struct Partner {
    shared: Arc<Shared>,
    device: DeviceId,
    inputs: mpsc::Receiver<PairingInput>,
    said: Option<Said>,
}

impl Partner {
    pub(super) fn new(shared: &Arc<Shared>, device: DeviceId) -> Result<Self, Error> {
        let mut state = shared.state.lock();
        if let Some(ending) = &state.ended {
            return Err(ending.error());
        }
        let inputs = state.meetings.begin(device).ok_or(Error::Disconnected)?;
        drop(state);
        Ok(Self { shared: shared.clone(), device, inputs, said: None })
    }

    pub(super) const fn device(&self) -> DeviceId {
        self.device
    }

    /// Sends `body`, and again up to `again` times until [`Partner::answered`].
    pub(super) fn say(&mut self, body: &[u8], again: u32) {
        self.send(body.to_vec());
        self.said = Some(Said { body: body.to_vec(), again, at: Instant::now() + RESEND });
    }

    /// The other end has said something that shows that it has what this end said.
    pub(super) fn answered(&mut self) {
        self.said = None;
    }

    /// The next body, whoever it is from: what does not belong here delays nothing. `None` once the time is over.
    pub(super) async fn body(&mut self, end: Instant) -> Option<Vec<u8>> {
        loop {
            let again = self.said.as_ref().filter(|said| said.again > 0).map(|said| said.at);
            tokio::select! {
                input = self.inputs.recv() => match input? {
                    PairingInput::Body(body) => return Some(body),
                    PairingInput::Undeliverable => {
                        if let Some(said) = &mut self.said {
                            said.at = Instant::now() + SOON;
                        }
                    }
                },
                () = tokio::time::sleep_until(again.unwrap_or(end)), if again.is_some() => {
                    if let Some(said) = &mut self.said {
                        said.again -= 1;
                        said.at = Instant::now() + RESEND;
                    }
                    self.say_again();
                }
                () = tokio::time::sleep_until(end) => return None,
            }
        }
    }

    /// Whether the relay has said by now that a cell to the other device was not delivered.
    pub(super) fn was_undeliverable(&mut self) -> bool {
        while let Ok(input) = self.inputs.try_recv() {
            if matches!(input, PairingInput::Undeliverable) {
                return true;
            }
        }
        false
    }

    /// False where there is nothing to be said.
    pub(super) fn say_again(&self) -> bool {
        let Some(said) = &self.said else { return false };
        self.send(said.body.clone());
        true
    }

    fn send(&self, body: Vec<u8>) {
        self.shared.state.lock().meetings.say(self.device, body);
        self.shared.work.notify_one();
    }
}
