//! The cells to and from one device of a pairing.

use std::sync::Arc;

use hushwire_wire::id::DeviceId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{RESEND, SOON};
use crate::client::Shared;
use crate::client::limits::{PAIRING_QUEUE_MAX, PAIRINGS_MAX};
use crate::client::state::PairingInput;
use crate::error::Error;

/// A place in the client's state that is given back on drop.
#[derive(Debug)]
pub(super) enum Route {
    Rendezvous([u8; 16]),
    Partner(DeviceId),
}

#[derive(Debug)]
pub(super) struct Registered {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Route,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        match &self.route {
            Route::Rendezvous(tag) => {
                state.rendezvous.remove(tag);
            }
            Route::Partner(device) => {
                state.partners.remove(device);
            }
        }
    }
}

/// The cells to and from one device of a pairing.
#[derive(Debug)]
pub(super) struct Partner {
    device: DeviceId,
    pub(super) inputs: mpsc::Receiver<PairingInput>,
    registered: Registered,
}

impl Partner {
    pub(super) fn new(shared: &Arc<Shared>, device: DeviceId) -> Result<Self, Error> {
        let (sender, inputs) = mpsc::channel(PAIRING_QUEUE_MAX);
        let mut state = shared.state.lock();
        if let Some(ending) = &state.ended {
            return Err(ending.error());
        }
        if state.partners.len() >= PAIRINGS_MAX {
            return Err(Error::Disconnected);
        }
        state.partners.insert(device, sender);
        drop(state);
        let registered = Registered { shared: shared.clone(), route: Route::Partner(device) };
        Ok(Self { device, inputs, registered })
    }

    pub(super) const fn device(&self) -> DeviceId {
        self.device
    }

    pub(super) fn send(&self, body: &[u8]) {
        let shared = &self.registered.shared;
        shared.state.lock().send_pairing(self.device, body.to_vec());
        shared.work.notify_one();
    }

    /// The next body, `last` being sent again where it was not delivered or, with `again`, where no answer comes.
    /// `None` once the time is over.
    pub(super) async fn body(
        &mut self,
        last: &[u8],
        mut again: u32,
        end: Instant,
    ) -> Option<Vec<u8>> {
        let mut resend_at = Instant::now() + RESEND;
        loop {
            tokio::select! {
                input = self.inputs.recv() => match input? {
                    PairingInput::Body(body) => return Some(body),
                    PairingInput::Undeliverable => resend_at = Instant::now() + SOON,
                },
                () = tokio::time::sleep_until(resend_at), if again > 0 && !last.is_empty() => {
                    again -= 1;
                    resend_at = Instant::now() + RESEND;
                    self.send(last);
                }
                () = tokio::time::sleep_until(end) => return None,
            }
        }
    }
}
