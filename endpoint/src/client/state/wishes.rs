//! Who may send to this device, as the user wants it and the keystore remembers: the relay is told until it has
//! answered, over as many connections as that takes. One request at a time, for an account has 64 a minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hushwire_wire::control::{Request, RequestId};
use hushwire_wire::id::DeviceId;
use tokio::sync::oneshot;

use super::State;
use crate::client::event::Event;
use crate::client::limits::{WISH_RETRY_MS, WISHES_WAITING_MAX};
use crate::conversation::Moment;
use crate::error::Error;
use crate::keystore::Grant;
use crate::link::Answer;

/// What the relay has to be told on this connection.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Devices to be looked up in the keystore, each once.
    devices: VecDeque<DeviceId>,
    asked: Option<Asked>,
    /// The relay wants no request before this.
    not_before: Option<Instant>,
    /// Who wants to hear of an answer.
    waiting: Vec<(DeviceId, oneshot::Sender<Answer>)>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: RequestId,
    device: DeviceId,
    grant: bool,
}

impl Wishes {
    fn push(&mut self, device: DeviceId) {
        if !self.devices.contains(&device) {
            self.devices.push_back(device);
        }
    }

    fn answer(&mut self, device: DeviceId, answer: &Answer) {
        for (_, waiting) in self.waiting.extract_if(.., |(of, _)| *of == device) {
            let _gone = waiting.send(answer.clone());
        }
    }

    /// Whether an answer is due.
    pub(super) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// When there will be something to ask.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let due = self.asked.is_none() && !self.devices.is_empty();
        due.then(|| self.not_before.unwrap_or(now))
    }
}

impl State {
    /// A new connection: everything that the relay has not confirmed is asked for.
    pub(super) fn wishes_connected(&mut self) {
        let pending = self.keystore.peers().filter_map(|peer| match peer.grant() {
            Grant::Wanted | Grant::Withdrawn => Some(peer.device()),
            Grant::Given | Grant::None => None,
        });
        let devices = pending.chain(self.keystore.unpaired()).collect();
        self.wishes.devices = devices;
    }

    /// Whoever waits hears that there is no answer; the keystore keeps the wish.
    pub(super) fn wishes_disconnected(&mut self) {
        self.wishes = Wishes::default();
    }

    /// Tells the relay what the keystore wants for this device; the answer comes through what is returned.
    pub(in crate::client) fn wish(
        &mut self,
        device: DeviceId,
    ) -> Result<Option<oneshot::Receiver<Answer>>, Error> {
        if self.wish_of(device).is_none() {
            return Ok(None);
        }
        if self.link.is_none() || self.wishes.waiting.len() >= WISHES_WAITING_MAX {
            return Err(Error::Disconnected);
        }
        let (sender, receiver) = oneshot::channel();
        self.wishes.push(device);
        self.wishes.waiting.push((device, sender));
        Ok(Some(receiver))
    }

    /// The relay has something to be told of a device, now or with the next connection.
    pub(super) fn wish_anew(&mut self, device: DeviceId) {
        if self.link.is_some() {
            self.wishes.push(device);
        }
    }

    /// Whether the relay is to grant (`true`) or to take back; `None` where it knows.
    fn wish_of(&self, device: DeviceId) -> Option<bool> {
        match self.keystore.peer(&device).map(crate::keystore::Peer::grant) {
            Some(Grant::Wanted) => Some(true),
            Some(Grant::Withdrawn) => Some(false),
            Some(Grant::Given | Grant::None) => None,
            None => self.keystore.unpaired().any(|unpaired| unpaired == device).then_some(false),
        }
    }

    pub(super) fn turn_wishes(&mut self, moment: Moment) {
        if self.wishes.next_at(moment.now).is_none_or(|at| at > moment.now) {
            return;
        }
        self.wishes.not_before = None;
        while let Some(device) = self.wishes.devices.pop_front() {
            let Some(grant) = self.wish_of(device) else {
                self.wishes.answer(device, &Answer::Done);
                continue;
            };
            let request =
                if grant { Request::Grant { device } } else { Request::Ungrant { device } };
            match self.link.as_mut().and_then(|link| link.request(request, moment.now)) {
                Some(id) => self.wishes.asked = Some(Asked { id, device, grant }),
                None => self.postpone(device, None, moment),
            }
            return;
        }
    }

    /// The relay has answered, or has not in time. Whether the answer was to a wish.
    pub(super) fn wish_answered(&mut self, id: RequestId, answer: &Answer, moment: Moment) -> bool {
        let Some(asked) = self.wishes.asked.take_if(|asked| asked.id == id) else { return false };
        let device = asked.device;
        match answer {
            Answer::Done => {
                // The user may have changed their mind meanwhile.
                if self.wish_of(device) == Some(asked.grant) {
                    let stored = self.fulfilled(device, asked.grant);
                    self.check_stored(stored);
                    self.tell(Event::Granted { peer: device, may_send: asked.grant });
                } else if self.wish_of(device).is_some() {
                    self.wishes.push(device);
                }
                self.wishes.answer(device, answer);
            }
            Answer::Refused { code, wait, .. } => {
                if crate::error::code_is_retryable(*code) {
                    self.postpone(device, *wait, moment);
                }
                // Otherwise with the next connection: somebody has to do something about it first.
                self.wishes.answer(device, answer);
            }
            Answer::None | Answer::Met { .. } | Answer::Clock { .. } => {
                self.postpone(device, None, moment);
                self.wishes.answer(device, answer);
            }
        }
        true
    }

    fn fulfilled(
        &mut self,
        device: DeviceId,
        granted: bool,
    ) -> Result<(), crate::keystore::KeystoreError> {
        if self.keystore.peer(&device).is_none() {
            return self.keystore.forget_unpaired(&device);
        }
        let grant = if granted { Grant::Given } else { Grant::None };
        self.keystore.set_grant(&device, grant)
    }

    fn postpone(&mut self, device: DeviceId, wait: Option<Duration>, moment: Moment) {
        let wait = wait.unwrap_or(Duration::from_millis(WISH_RETRY_MS));
        self.wishes.not_before = Some(moment.now + wait);
        self.wishes.push(device);
    }
}
