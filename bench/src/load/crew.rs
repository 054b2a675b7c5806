//! Devices that are connected, by either transport.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::device::{Connector, Identity};
use super::fleet::{Enrolling, Fleet};
use super::quic::{Devices, Lanes, QuicConnector};
use super::run::{Drive, Outcome, Timing, run};
use super::sockets::Sockets;
use super::{CellDevice, Shape};
use crate::interrupt::Interrupt;

/// What is below the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Transport {
    /// TLS over TCP: a socket for every device.
    #[default]
    Tls,
    /// QUIC: a few UDP sockets for all devices.
    Quic,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
        })
    }
}

/// A way to a server.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    Tls(Connector),
    Quic(QuicConnector),
}

/// Devices that have been welcomed, in the order in which they are pairs.
#[derive(Debug)]
pub(crate) enum Crew {
    Tls(Vec<CellDevice>),
    Quic(Vec<Devices>),
}

impl Access {
    /// To the server at `address`.
    pub(crate) fn new(transport: Transport, address: SocketAddr) -> Result<Self> {
        Ok(match transport {
            Transport::Tls => Self::Tls(Connector::new(address)?),
            Transport::Quic => Self::Quic(QuicConnector::new(address)?),
        })
    }

    /// Connects the first `count` devices of a fleet.
    pub(crate) fn crew(&self, fleet: &Fleet, count: usize, stop: &AtomicBool) -> Result<Crew> {
        self.crew_of(fleet, &(0..count).collect::<Vec<_>>(), stop)
    }

    /// Connects the devices of these numbers, which are an even number of them: in this order, the first two are a pair,
    /// and so on.
    pub(crate) fn crew_of(
        &self,
        fleet: &Fleet,
        order: &[usize],
        stop: &AtomicBool,
    ) -> Result<Crew> {
        Ok(match self {
            Self::Tls(connector) => Crew::Tls(fleet.connect_as(order, connector, stop)?),
            Self::Quic(connector) => Crew::Quic(fleet.connect_by_quic(order, connector, stop)?),
        })
    }
}

/// What a thread that enrols has of its own.
#[derive(Debug)]
pub(crate) enum EnrollingThread {
    Tls,
    Quic(Box<Devices>),
}

impl Enrolling for Access {
    type Thread = EnrollingThread;

    fn thread(&self) -> Result<EnrollingThread> {
        Ok(match self {
            Self::Tls(_) => EnrollingThread::Tls,
            Self::Quic(_) => EnrollingThread::Quic(Box::new(Devices::new()?)),
        })
    }

    fn enrol(&self, thread: &mut EnrollingThread, identity: &Identity, token: &[u8]) -> Result<()> {
        match (self, thread) {
            (Self::Tls(connector), EnrollingThread::Tls) => {
                connector.connect(identity, Some(token)).map(drop)
            }
            (Self::Quic(connector), EnrollingThread::Quic(hub)) => {
                hub.enrol(connector, identity, token)
            }
            (Self::Tls(_) | Self::Quic(_), _) => bail!("a thread of the other transport"),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if let Self::Quic(hubs) = self {
            // Whoever does not know yet finds out by itself.
            let _ = Devices::close(hubs);
        }
    }
}

impl Crew {
    /// How many are connected and have heard nothing since their welcome.
    pub(crate) fn connected(&self) -> usize {
        match self {
            Self::Tls(devices) => devices.iter().filter(|it| it.device.is_connected()).count(),
            Self::Quic(hubs) => hubs.iter().map(Devices::connected).sum(),
        }
    }

    /// Lets time pass, without a run.
    pub(crate) fn stay(&mut self, time: Duration, interrupt: &Interrupt) -> Result<()> {
        match self {
            Self::Tls(_) => interrupt.pass(time),
            Self::Quic(hubs) => Devices::stay(hubs, time, interrupt),
        }
    }

    /// Has everyone say that it is there, with a cover cell, as endpoints do. They cannot be used for a run then.
    pub(crate) fn keep_alive(&mut self) -> Result<()> {
        match self {
            Self::Tls(devices) => {
                let mut output = Vec::new();
                devices.iter_mut().try_for_each(|it| it.device.keep_alive(&mut output))
            }
            Self::Quic(hubs) => hubs.iter_mut().try_for_each(Devices::keep_alive),
        }
    }

    /// One run over all of them, after which they cannot be used for another one.
    pub(crate) fn run(
        &mut self,
        shape: Shape,
        drive: Drive,
        timing: Timing,
        server: u32,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        match self {
            Self::Tls(devices) => {
                run(Sockets::new(devices), shape, drive, timing, server, interrupt)
            }
            Self::Quic(hubs) => {
                let lanes = Lanes::new(hubs, shape.one_write_per_cell);
                run(lanes, shape, drive, timing, server, interrupt)
            }
        }
    }
}
