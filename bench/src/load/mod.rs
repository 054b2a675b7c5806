//! The load generator: pairs of devices that keep messages in flight, and what came of them.

pub(crate) mod carrier;
mod cells;
pub(crate) mod command;
mod crew;
mod device;
pub(crate) mod dialect;
mod fleet;
mod mix;
mod pace;
mod quic;
pub(crate) mod records;
mod run;
mod sockets;
pub(crate) mod tls;

pub(crate) use cells::{CellDevice, undelivered};
pub(crate) use crew::{Access, Crew, Transport};
pub(crate) use device::{Connector, Device, Identity, hello};
pub(crate) use fleet::Fleet;
pub(crate) use mix::Mix;
pub(crate) use quic::{Fan, QuicConnector, RECIPIENTS};
pub(crate) use run::{Beside, Drive, Fairness, Outcome, Run, Timing, run};
pub(crate) use sockets::Sockets;

use anyhow::{Context as _, Result, ensure};
use hushwire_wire::cell::Class;

use crate::limits::{PAIRS_MAX, WINDOW_MAX};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Pairs; the first device of each sends, the second receives.
    pub(crate) pairs: usize,
    /// The size of every cell, or of the largest of a mix.
    pub(crate) class: Class,
    /// Sizes that are drawn, where not all cells have the same.
    pub(crate) mix: Option<Mix>,
    /// Cells of a pair on their way at any time.
    pub(crate) window: usize,
    /// Every cell in a write of its own, where otherwise all that may be sent at once go together.
    pub(crate) one_write_per_cell: bool,
    /// The second device of each pair sends as well, with a window of its own.
    pub(crate) both_ways: bool,
}

impl Shape {
    /// Checks what a person asked for.
    pub(crate) fn new(pairs: usize, bytes: usize, window: usize) -> Result<Self> {
        ensure!((1..=PAIRS_MAX).contains(&pairs), "choose 1 to {PAIRS_MAX} pairs");
        ensure!((1..=WINDOW_MAX).contains(&window), "choose a window of 1 to {WINDOW_MAX} cells");
        let class = Class::ALL
            .into_iter()
            .find(|class| class.cell_len() == bytes)
            .context("a cell has 256, 512, 1024, 2048, 4096, 8192, 16384 or 32768 bytes")?;
        Ok(Self { pairs, class, mix: None, window, one_write_per_cell: false, both_ways: false })
    }

    /// The same with sizes of a mix.
    pub(crate) fn mixed(self, mix: Mix) -> Self {
        Self { class: mix.largest(), mix: Some(mix), ..self }
    }

    /// How many devices it takes.
    pub(crate) const fn devices(&self) -> usize {
        2 * self.pairs
    }
}
