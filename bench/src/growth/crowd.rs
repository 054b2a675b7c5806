//! Devices that are connected and say nothing but that they are.

use std::ops::Range;
use std::os::fd::AsFd as _;

use anyhow::{Result, ensure};
use hushwire_uring::sockets;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::limits::KEEP_ALIVE_MS;

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::CROWD_SLAB_DEVICES;
use crate::load::{CellDevice, Connector, Device, Fleet};

/// All of them.
#[derive(Debug)]
pub(super) struct Crowd {
    slabs: Vec<Slab>,
    clock: Clock,
}

/// Some that connected together and are kept alive together.
#[derive(Debug)]
struct Slab {
    devices: Vec<CellDevice>,
    /// When the first of them was last heard, at the latest.
    heard_ns: u64,
}

impl Crowd {
    /// Connects the devices of this range of a fleet.
    pub(super) fn gather(
        fleet: &Fleet,
        range: Range<usize>,
        connector: &Connector,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut crowd = Self { slabs: Vec::new(), clock: Clock::start() };
        for start in range.clone().step_by(CROWD_SLAB_DEVICES) {
            let end = range.end.min(start + CROWD_SLAB_DEVICES);
            let heard_ns = crowd.clock.now_ns();
            let devices = fleet.connect_some(start..end, connector, interrupt.flag())?;
            crowd.slabs.push(Slab { devices, heard_ns });
            crowd.keep_alive()?;
        }
        Ok(crowd)
    }

    /// Has everyone say something whose turn has come: a cover cell, as endpoints do.
    pub(super) fn keep_alive(&mut self) -> Result<()> {
        let mut output = Vec::new();
        for slab in &mut self.slabs {
            let now_ns = self.clock.now_ns();
            if now_ns - slab.heard_ns < KEEP_ALIVE_MS * 1_000_000 {
                continue;
            }
            slab.heard_ns = now_ns;
            for CellDevice { device, .. } in &mut slab.devices {
                keep_alive(device, &mut output)?;
            }
        }
        Ok(())
    }

    /// Fails if the relay has closed a connection of somebody, or said something to one.
    pub(super) fn check(&self) -> Result<()> {
        let all = self.slabs.iter().flat_map(|slab| &slab.devices);
        let lost = all.filter(|it| !it.device.is_connected()).count();
        ensure!(lost == 0, "{lost} of the devices that say nothing are not connected any more");
        Ok(())
    }
}

fn keep_alive(device: &mut Device, output: &mut Vec<u8>) -> Result<()> {
    let mut cell = [0; Class::C0.cell_len()];
    cell[..HEADER_LEN].copy_from_slice(&Header::cover(Class::C0, 0, device.counter).encode());
    device.counter += 1;
    output.clear();
    device.sealing.seal(&cell, output)?;
    let sent = sockets::send(device.socket.as_fd(), output)?;
    ensure!(sent == output.len(), "the relay does not read what keeps a connection alive");
    Ok(())
}
