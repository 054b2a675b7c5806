//! A run over hubs.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hushwire_uring::{Completion, Ring};

use super::line::Line;
use super::opening::Devices;
use crate::clock::Clock;
use crate::load::carrier::{Carrier, Heard};
use crate::load::dialect::{Message, News};
use crate::quic::Arrival;

/// Devices on hubs, as many on each, but fewer on the last.
#[derive(Debug)]
pub(crate) struct Lanes<'a> {
    hubs: &'a mut [Devices],
    /// Devices of one hub.
    each: usize,
    /// What is sent together leaves at once, by itself.
    apart: bool,
    /// The hub whose devices are heard.
    hearing: usize,
    /// Devices that are not full any more.
    room: Vec<usize>,
}

impl<'a> Lanes<'a> {
    /// Of devices that are fresh from their welcome.
    pub(crate) fn new(hubs: &'a mut [Devices], apart: bool) -> Self {
        let each = hubs.first().map_or(1, Devices::len).max(1);
        Self { hubs, each, apart, hearing: 0, room: Vec::new() }
    }

    fn line(&self, index: usize) -> Option<&Line> {
        self.hubs[index / self.each].hub.wire(index % self.each)
    }

    fn hear(
        &mut self,
        number: usize,
        place: usize,
        message: &Message,
        news: &mut News,
    ) -> Result<Heard> {
        let index = number * self.each + place;
        let hub = &mut self.hubs[number].hub;
        let at_ns = hub.received_ns;
        let line = hub.wire_mut(place).context("a connection is gone")?;
        line.listen()?;
        line.read(Some(message), news)?;
        line.port.undelivered(news)?;
        if let Some(lost) = &line.port.lost {
            bail!("a connection ended in the middle of a run: {lost}");
        }
        if line.port.has_room() {
            self.room.push(index);
        }
        Ok(Heard::Read { index, at_ns })
    }
}

impl Carrier for Lanes<'_> {
    fn devices(&self) -> usize {
        self.hubs.iter().map(Devices::len).sum()
    }

    fn listen(&mut self, ring: &mut Ring) -> Result<()> {
        let mut hubs = self.hubs.iter_mut().zip(0..);
        hubs.try_for_each(|(Devices { hub }, number)| hub.listen(ring, number))
    }

    fn complete(&mut self, completion: Completion, ring: &mut Ring) -> Result<()> {
        let arrival = Arrival::try_from(completion)?;
        self.hubs[arrival.number as usize].hub.told(arrival, ring)
    }

    fn begin(&mut self, clock: Clock) -> Result<()> {
        self.hearing = 0;
        for Devices { hub } in self.hubs.iter_mut().filter(|devices| devices.hub.readable) {
            hub.receive(clock, |_| {})?;
        }
        Ok(())
    }

    fn next(&mut self, _: Clock, message: &Message, news: &mut News) -> Result<Option<Heard>> {
        if let Some(index) = self.room.pop() {
            return Ok(Some(Heard::Room { index }));
        }
        while let Some(devices) = self.hubs.get_mut(self.hearing) {
            match devices.hub.next_heard() {
                Some(place) => return self.hear(self.hearing, place, message, news).map(Some),
                None => self.hearing += 1,
            }
        }
        Ok(None)
    }

    fn is_full(&self, index: usize) -> bool {
        self.line(index).is_some_and(|line| line.port.is_full())
    }

    fn owes(&self, _: usize) -> bool {
        false
    }

    fn seal(&mut self, index: usize, message: &mut Message, numbers: Range<u64>) -> Result<()> {
        let hub = &mut self.hubs[index / self.each].hub;
        hub.wire_mut(index % self.each).context("a connection is gone")?.write(message, numbers)
    }

    /// It leaves with all else that the turn has made for this device.
    fn send(&mut self, index: usize, clock: Clock, _: &mut Ring) -> Result<()> {
        let (hub, place) = (&mut self.hubs[index / self.each].hub, index % self.each);
        if self.apart {
            return hub.transmit(place, clock.instant());
        }
        hub.stir(place);
        Ok(())
    }

    fn leave(&mut self, clock: Clock) -> Result<()> {
        self.hubs.iter_mut().try_for_each(|devices| devices.hub.leave(clock))
    }

    fn idle_for(&self, clock: Clock) -> Option<Duration> {
        self.hubs.iter().filter_map(|devices| devices.hub.idle_for(clock)).min()
    }
}
