//! Pairings in progress: who has joined which rendezvous, and the cells to and from devices that are being paired.

use std::collections::{HashMap, VecDeque};

use hushwire_wire::id::DeviceId;
use tokio::sync::{mpsc, oneshot};

use crate::client::limits::{PAIRING_QUEUE_MAX, PAIRINGS_MAX};

/// What concerns a pairing in progress.
#[derive(Debug)]
pub(in crate::client) enum PairingInput {
    Body(Vec<u8>),
    Undeliverable,
}

/// A device that has joined a rendezvous of this one, and its cells from the first on: the relay may send that right
/// behind the news.
#[derive(Debug)]
pub(in crate::client) struct Met {
    pub(in crate::client) device: DeviceId,
    pub(in crate::client) inputs: mpsc::Receiver<PairingInput>,
}

/// Of each there are at most [`PAIRINGS_MAX`].
#[derive(Debug, Default)]
pub(in crate::client) struct Meetings {
    /// Tags, and who waits there until somebody has joined.
    rendezvous: HashMap<[u8; 16], Option<oneshot::Sender<Met>>>,
    /// Whoever pairs with a device has the other end, and lets go of it when done.
    partners: HashMap<DeviceId, mpsc::Sender<PairingInput>>,
    /// Bodies on their way out.
    out: VecDeque<(DeviceId, Vec<u8>)>,
}

impl Meetings {
    /// Waits at a rendezvous. `None` where there are too many.
    pub(in crate::client) fn open(&mut self, tag: [u8; 16]) -> Option<oneshot::Receiver<Met>> {
        if self.rendezvous.len() >= PAIRINGS_MAX {
            return None;
        }
        let (sender, met) = oneshot::channel();
        self.rendezvous.insert(tag, Some(sender));
        Some(met)
    }

    pub(in crate::client) fn is_open(&self, tag: &[u8; 16]) -> bool {
        self.rendezvous.contains_key(tag)
    }

    pub(in crate::client) fn close(&mut self, tag: &[u8; 16]) {
        self.rendezvous.remove(tag);
    }

    /// From now on the cells of `device` are kept for whoever has the result. An earlier pairing with the same device
    /// gets none any more: people have begun again. `None` where there are too many.
    pub(in crate::client) fn begin(
        &mut self,
        device: DeviceId,
    ) -> Option<mpsc::Receiver<PairingInput>> {
        self.partners.retain(|_, partner| !partner.is_closed());
        if self.partners.len() >= PAIRINGS_MAX && !self.partners.contains_key(&device) {
            return None;
        }
        let (sender, inputs) = mpsc::channel(PAIRING_QUEUE_MAX);
        self.partners.insert(device, sender);
        Some(inputs)
    }

    /// Somebody has joined a rendezvous. Only the first counts.
    pub(super) fn joined(&mut self, tag: &[u8; 16], device: DeviceId) {
        let Some(waiting) = self.rendezvous.get_mut(tag).and_then(Option::take) else { return };
        if let Some(inputs) = self.begin(device) {
            let _gone = waiting.send(Met { device, inputs });
        }
    }

    /// Nobody who waits, or too slow: a pairing copes with lost cells.
    pub(super) fn hear(&self, device: &DeviceId, input: impl FnOnce() -> PairingInput) {
        if let Some(partner) = self.partners.get(device)
            && let Ok(place) = partner.try_reserve()
        {
            place.send(input());
        }
    }

    /// Sends a body. It is lost where too many wait.
    pub(in crate::client) fn say(&mut self, device: DeviceId, body: Vec<u8>) {
        if self.out.len() < PAIRING_QUEUE_MAX {
            self.out.push_back((device, body));
        }
    }

    pub(super) fn next_out(&mut self) -> Option<(DeviceId, Vec<u8>)> {
        self.out.pop_front()
    }

    pub(super) fn disconnected(&mut self) {
        self.out.clear();
    }

    /// Everybody who waits hears nothing any more.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}
