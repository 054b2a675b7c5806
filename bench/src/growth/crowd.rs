//! Devices that are connected and say nothing but that they are.

use std::ops::Range;

use anyhow::{Result, ensure};
use hushwire_wire::limits::KEEP_ALIVE_MS;

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{CROWD_SETTLES, CROWD_SLAB_DEVICES};
use crate::load::{Access, Crew, Fleet};

/// All of them.
#[derive(Debug)]
pub(super) struct Crowd {
    slabs: Vec<Slab>,
    clock: Clock,
}

/// Some that connected together and are kept alive together.
#[derive(Debug)]
struct Slab {
    crew: Crew,
    devices: usize,
    /// When the first of them was last heard, at the latest.
    heard_ns: u64,
}

impl Crowd {
    /// Connects the devices of this range of a fleet.
    pub(super) fn gather(
        fleet: &Fleet,
        range: Range<usize>,
        access: &Access,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut crowd = Self { slabs: Vec::new(), clock: Clock::start() };
        for start in range.clone().step_by(CROWD_SLAB_DEVICES) {
            let order: Vec<_> = (start..range.end.min(start + CROWD_SLAB_DEVICES)).collect();
            let heard_ns = crowd.clock.now_ns();
            let mut crew = access.crew_of(fleet, &order, interrupt.flag())?;
            crew.stay(CROWD_SETTLES, interrupt)?;
            crowd.slabs.push(Slab { crew, devices: order.len(), heard_ns });
            crowd.keep_alive(interrupt)?;
        }
        Ok(crowd)
    }

    /// Has everyone say something whose turn has come: a cover cell, as endpoints do.
    pub(super) fn keep_alive(&mut self, interrupt: &Interrupt) -> Result<()> {
        for slab in &mut self.slabs {
            let now_ns = self.clock.now_ns();
            if now_ns - slab.heard_ns < KEEP_ALIVE_MS * 1_000_000 {
                continue;
            }
            slab.heard_ns = now_ns;
            slab.crew.keep_alive()?;
            slab.crew.stay(CROWD_SETTLES, interrupt)?;
        }
        Ok(())
    }

    /// Fails if the relay has closed a connection of somebody, or said something to one.
    pub(super) fn check(&self) -> Result<()> {
        let of = |slab: &Slab| slab.devices - slab.crew.connected();
        let lost: usize = self.slabs.iter().map(of).sum();
        ensure!(lost == 0, "{lost} of the devices that say nothing are not connected any more");
        Ok(())
    }
}
