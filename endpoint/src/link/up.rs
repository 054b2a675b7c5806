//! The link after WELCOME.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, LaneCounters, set_counter};
use hushwire_wire::control::{
    self, Control, ErrorCode, GoawayReason, Request, RequestId, Transport, Undelivered, Welcome,
};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::KEEP_ALIVE_MS;

use super::limits::{PROBE_MS, RECONNECT_MS_MAX};
use super::pace::Pace;
use super::requests::Requests;
use super::sent::SentCells;
use super::{Answer, LinkError, Origin, decode, receive, refusal};
use crate::suite::random::{Random, draw};

/// The relay says farewell; it closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// Why.
    pub reason: GoawayReason,
    /// When to come back, at most 5 minutes later; not at all by itself where the reason is `superseded` or `revoked`.
    pub reconnect_after: Duration,
}

/// A cell of ours was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// To whom it went.
    pub peer: DeviceId,
    /// Who sent it.
    pub origin: Origin,
    /// Why.
    pub reason: Undelivered,
}

/// What a cell from the relay means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing to do: cover, a broadcast (channels come later), or a word of a later version.
    Nothing,
    /// A body from `peer` stands behind the cell's header.
    Body {
        /// The sender, as the relay says.
        peer: DeviceId,
    },
    /// A request was answered.
    Answer {
        /// The request.
        id: RequestId,
        /// What became of it.
        answer: Answer,
    },
    /// Somebody joined the rendezvous that this device opened.
    Joined {
        /// The rendezvous.
        tag: [u8; 16],
        /// Who.
        device: DeviceId,
    },
    /// A cell of ours was not delivered.
    Undeliverable(Undeliverable),
    /// The connection will end.
    Goaway(Goaway),
}

/// A welcomed connection. Cells are stamped in the order they are written to the connection.
#[derive(Debug)]
pub struct Link {
    welcome: Welcome,
    transport: Transport,
    inbound: LaneCounters,
    outbound: LaneCounters,
    sent: SentCells,
    requests: Requests,
    /// Control cells to be sent, counters not yet set. Bounded by the number of requests.
    waiting: VecDeque<Vec<u8>>,
    pace: Pace,
    keep_alive_at: Instant,
    probe_at: Instant,
    probe: Option<RequestId>,
}

impl Link {
    pub(super) fn new(
        welcome: Welcome,
        transport: Transport,
        inbound: LaneCounters,
        outbound: LaneCounters,
        now: Instant,
    ) -> Self {
        Self {
            pace: Pace::new(&welcome.limits, now),
            welcome,
            transport,
            inbound,
            outbound,
            sent: SentCells::new(1),
            requests: Requests::default(),
            waiting: VecDeque::new(),
            keep_alive_at: now + Duration::from_millis(KEEP_ALIVE_MS),
            probe_at: now + Duration::from_millis(PROBE_MS),
            probe: None,
        }
    }

    /// What the relay granted.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// By what the device reached the relay.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Takes a whole cell from the relay.
    ///
    /// # Errors
    /// See [`LinkError`]: the connection must end.
    pub fn handle_cell(&mut self, cell: &[u8], now: Instant) -> Result<Input, LinkError> {
        let header = receive(cell, &mut self.inbound)?;
        self.probe_at = now + Duration::from_millis(PROBE_MS);
        match header.kind {
            Kind::Unicast => Ok(Input::Body { peer: header.peer }),
            Kind::Cover | Kind::Broadcast => Ok(Input::Nothing),
            Kind::Control => match decode(cell)? {
                Some((control, _)) => self.handle_control(control, now),
                None => Ok(Input::Nothing),
            },
        }
    }

    fn handle_control(&mut self, control: Control, now: Instant) -> Result<Input, LinkError> {
        Ok(match control {
            Control::Done { id } => self.answered(id, Answer::Done),
            Control::Pong { id, unix_ms } => self.answered(id, Answer::Clock { unix_ms }),
            Control::Paired { id: Some(id), device, .. } => {
                self.answered(id, Answer::Met { device })
            }
            Control::Paired { id: None, tag, device } => Input::Joined { tag, device },
            Control::Error { id: Some(id), code, sentence, wait_ms } => {
                let wait = wait_ms.map(|wait_ms| Duration::from_millis(u64::from(wait_ms)));
                self.answered(id, Answer::Refused { code, sentence, wait })
            }
            Control::Error { id: None, code, sentence, wait_ms } => match code {
                ErrorCode::RateLimited | ErrorCode::Busy => {
                    let wait = Duration::from_millis(u64::from(wait_ms.unwrap_or(1_000)));
                    self.pace.hold(wait, now);
                    Input::Nothing
                }
                ErrorCode::Unsupported => Input::Nothing,
                ErrorCode::Malformed
                | ErrorCode::Unauthenticated
                | ErrorCode::Forbidden
                | ErrorCode::UnknownDevice
                | ErrorCode::TooLarge
                | ErrorCode::Expired
                | ErrorCode::Conflict
                | ErrorCode::Draining => return Err(refusal(code, sentence, wait_ms)),
            },
            Control::Undeliverable { lane, counter, reason } => {
                match self.sent.take(usize::from(lane), counter) {
                    Some((peer, origin)) => {
                        Input::Undeliverable(Undeliverable { peer, origin, reason })
                    }
                    None => Input::Nothing,
                }
            }
            Control::Goaway { reason, reconnect_after_ms } => {
                let wait_ms = u64::from(reconnect_after_ms).min(RECONNECT_MS_MAX);
                let reconnect_after = Duration::from_millis(wait_ms);
                Input::Goaway(Goaway { reason, reconnect_after })
            }
            Control::Challenge { .. }
            | Control::Hello(_)
            | Control::Welcome(_)
            | Control::Request { .. } => {
                return Err(LinkError::Malformed("a control cell came that has no place here"));
            }
        })
    }

    /// An answer to a request that nobody waits for any more means nothing.
    fn answered(&mut self, id: RequestId, answer: Answer) -> Input {
        let open = self.requests.close(id);
        if self.probe == Some(id) {
            self.probe = None;
            return Input::Nothing;
        }
        if open { Input::Answer { id, answer } } else { Input::Nothing }
    }

    /// Asks the relay for something; the answer is an [`Input::Answer`] or an expiry. `None` where 64 requests are
    /// open already.
    pub fn request(&mut self, request: Request, now: Instant) -> Option<RequestId> {
        let id = self.requests.open(now)?;
        let content = Control::Request { id, request }.encode();
        let cell = control::enclose(&content).expect("a request is small");
        self.waiting.push_back(cell);
        Some(id)
    }

    /// When the next routed cell may be made, if not now: the relay's rates are kept here.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.pace.ready_at(now)
    }

    /// Writes the header of a routed cell, whose length chooses the class. The cell must be the next one written to
    /// the connection.
    pub fn stamp(
        &mut self,
        cell: &mut [u8],
        lane: u32,
        peer: DeviceId,
        origin: Origin,
        now: Instant,
    ) {
        let class =
            Class::for_body(cell.len() - HEADER_LEN).expect("a cell has one of eight sizes");
        let counter = self.outbound.take(lane as usize);
        let header = Header::unicast(class, lane, counter, peer);
        cell[..HEADER_LEN].copy_from_slice(&header.encode());
        self.sent.push(lane as usize, Some((peer, origin)));
        self.charged(class, now);
    }

    /// Appends the next control or keep-alive cell that is due. Returns whether there was one.
    pub fn poll_cell(&mut self, now: Instant, random: &mut dyn Random, out: &mut Vec<u8>) -> bool {
        if let Some(mut cell) = self.waiting.pop_front() {
            set_counter(&mut cell, self.outbound.take(0));
            out.extend_from_slice(&cell);
        } else if now >= self.keep_alive_at {
            let class = cover_class(draw(random));
            let header = Header::cover(class, 0, self.outbound.take(0));
            out.extend_from_slice(&header.encode());
            let body = out.len();
            out.resize(body + class.body_len(), 0);
            random.fill(&mut out[body..]);
        } else {
            return false;
        }
        self.sent.push(0, None);
        self.charged(Class::C0, now);
        true
    }

    fn charged(&mut self, class: Class, now: Instant) {
        self.pace.charge(class, now);
        self.keep_alive_at = now + Duration::from_millis(KEEP_ALIVE_MS);
    }

    /// Does what is due at `now`; returns a request whose time is over, to be called again until it returns `None`.
    ///
    /// # Errors
    /// [`LinkError::Silent`] where not even PING is answered.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<RequestId>, LinkError> {
        if let Some(id) = self.requests.expired(now) {
            if self.probe == Some(id) {
                return Err(LinkError::Silent);
            }
            return Ok(Some(id));
        }
        if now >= self.probe_at && self.probe.is_none() {
            self.probe = self.request(Request::Ping, now);
            self.probe_at = now + Duration::from_millis(PROBE_MS);
        }
        Ok(None)
    }

    /// When [`Link::handle_timeout`] and [`Link::poll_cell`] next have something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        let at = self.keep_alive_at.min(self.probe_at);
        self.requests.next_deadline().map_or(at, |deadline| deadline.min(at))
    }
}

/// Draws a class by the fixed weights of cover (`PROTOCOL.md` §3.2).
pub(crate) fn cover_class(random: [u8; 1]) -> Class {
    /// In 256ths: .25 .25 .20 .12 .08 .05 .03 .02.
    const WEIGHTS: [u8; 8] = [64, 64, 51, 31, 20, 13, 8, 5];
    let mut left = random[0];
    for (class, weight) in Class::ALL.into_iter().zip(WEIGHTS) {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return class,
        }
    }
    Class::C7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cover_classes_follow_the_weights() {
        let mut counts = [0; 8];
        for byte in 0..=255 {
            counts[cover_class([byte]) as usize] += 1;
        }
        assert_eq!(counts, [64, 64, 51, 31, 20, 13, 8, 5]);
    }
}
