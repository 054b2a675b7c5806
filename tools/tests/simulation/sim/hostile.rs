//! A relay that does what it wants with the cells in its hands, for a while. It keeps the counters of each hop, so
//! that its connections live on; it knows no key.

use std::collections::VecDeque;

use hushwire_wire::cell::{HEADER_LEN, Header, Kind, readdress};
use hushwire_wire::control::{self, Control, Undelivered};

use super::plan::{Fault, Hostility, MILLI};
use super::relay::LinkId;
use super::world::{Event, World};

/// Cells it remembers.
const RECORDED_MAX: usize = 64;

/// What it remembers: for whom a cell was, and the cell.
#[derive(Default)]
pub(crate) struct Recorded(VecDeque<(usize, Vec<u8>)>);

impl World {
    fn hostility(&self) -> Option<Hostility> {
        self.plan.hostility.filter(|_| self.is_acting())
    }

    /// A cell is about to leave by a link: what a hostile relay makes of it.
    pub(crate) fn pass(&mut self, link: LinkId, mut cell: Vec<u8>) {
        let head = cell.first_chunk::<HEADER_LEN>().expect("a cell has a header");
        let is_body = Header::decode(head).is_ok_and(|header| header.kind == Kind::Unicast);
        if is_body && self.plan.fault == Fault::DeafRelay && self.now > self.plan.acting_nanos / 2 {
            return;
        }
        let Some(hostility) = self.hostility().filter(|_| is_body) else {
            return self.wire_down(link, cell);
        };
        let device = self.links[link].device;
        self.recorded.0.push_back((device, cell.clone()));
        if self.recorded.0.len() > RECORDED_MAX {
            let at = self.evil.below(RECORDED_MAX as u64) as usize;
            self.recorded.0.remove(at);
        }
        if self.evil.chance(hostility.replays) {
            let at = self.evil.below(self.recorded.0.len() as u64) as usize;
            let (to, cell) = self.recorded.0[at].clone();
            // To whomever it was for, or to somebody else.
            let to = if self.evil.chance(80) { to } else { device };
            self.later(to, cell, hostility);
        }
        if self.evil.chance(hostility.repeats) {
            self.later(device, cell.clone(), hostility);
        }
        if self.evil.chance(hostility.drops) {
            return;
        }
        if self.evil.chance(hostility.changes) {
            let bit = self.evil.below(8);
            let at = HEADER_LEN as u64 + self.evil.below((cell.len() - HEADER_LEN) as u64);
            cell[at as usize] ^= 1 << bit;
        }
        if self.evil.chance(hostility.swaps) {
            let other = self.evil.below(self.devices.len() as u64) as usize;
            readdress(&mut cell, &self.devices[other].id);
        }
        if self.evil.chance(hostility.delays) {
            self.later(device, cell, hostility);
        } else {
            self.wire_down(link, cell);
        }
    }

    fn later(&mut self, device: usize, cell: Vec<u8>, hostility: Hostility) {
        let at = self.now + self.evil.below(hostility.delay_nanos);
        self.schedule(at, Event::Late(device, cell));
    }

    /// A delayed cell leaves by whatever connection its recipient has now.
    pub(crate) fn late(&mut self, device: usize, cell: Vec<u8>) {
        if let Some(link) = self.link_of(device) {
            self.wire_down(link, cell);
        }
    }

    /// Says of a cell that is on its way that it was not delivered.
    pub(crate) fn lie(&mut self, link: LinkId, header: &Header) {
        let Some(hostility) = self.hostility() else { return };
        if !self.evil.chance(hostility.lies) {
            return;
        }
        let reason = *self.evil.pick(&[
            Undelivered::Offline,
            Undelivered::Offline,
            Undelivered::Busy,
            Undelivered::Busy,
            Undelivered::Refused,
            Undelivered::TooLarge,
        ]);
        let lane = header.lane as u8;
        let control = Control::Undeliverable { lane, counter: header.counter, reason };
        let cell = control::enclose(&control.encode()).expect("a report fits a cell");
        let at = self.now + self.evil.below(200 * MILLI);
        self.schedule(at, Event::Lie(link, cell));
    }

    /// Whether a report is swallowed.
    pub(crate) fn hides_report(&mut self) -> bool {
        self.hostility().is_some_and(|hostility| self.evil.chance(hostility.hides))
    }
}
