//! Two paired devices and the relay between them: three processes on the same processors, as agents use them. The
//! devices are the endpoint library itself, on one thread each.

mod device;
mod end;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::admin::Admin;
use crate::interrupt::Interrupt;
use crate::load::Transport;
use crate::procfs;
use crate::relay_child::Home;
use crate::server::Server;

pub(crate) use device::serve;
pub(crate) use end::End;

/// The relay and two devices that know each other and have a session. All end with this value.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    // These two end before the relay does.
    pub(crate) sender: End<'a>,
    pub(crate) receiver: End<'a>,
    pub(crate) relay: Server,
}

/// What a message survives in both devices before it goes on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// The end of the machine: it is on the disk. The endpoint's default.
    Disk,
    /// The end of the process: it is with the operating system.
    Process,
}

impl Durability {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Process => "process",
        }
    }

    /// What ends.
    pub(crate) const fn survived(self) -> &'static str {
        match self {
            Self::Disk => "machine",
            Self::Process => "process, not of the machine",
        }
    }
}

/// Something of each of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Each<T> {
    pub(crate) sender: T,
    pub(crate) relay: T,
    pub(crate) receiver: T,
}

impl<T> Each<T> {
    pub(crate) fn zip<U>(self, other: Each<U>) -> Each<(T, U)> {
        Each {
            sender: (self.sender, other.sender),
            relay: (self.relay, other.relay),
            receiver: (self.receiver, other.receiver),
        }
    }

    pub(crate) fn map<U>(self, with: impl Fn(T) -> U) -> Each<U> {
        Each { sender: with(self.sender), relay: with(self.relay), receiver: with(self.receiver) }
    }
}

impl<'a> Ends<'a> {
    /// Starts the three on processors `cpus` and pairs the devices; `how` says what their messages survive and how they reach
    /// the relay.
    pub(crate) fn start(
        cpus: &[usize],
        how: (Durability, Transport),
        relay_binary: Option<&Path>,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let relay = Server::relay(cpus, relay_binary, Home::new(2)?, interrupt)?;
        let socket = relay.admin_socket().context("a relay without an admin socket")?;
        let mut admin = Admin::open(&socket)?;
        let mut start = |name| End::start(name, cpus, &admin.invite(None)?, how, interrupt);
        let (mut sender, mut receiver) = (start("the sender")?, start("the receiver")?);
        let offer = receiver.ask(&json!({ "ask": "offer" }))?;
        let link = offer["link"].as_str().context("an offer without a link")?;
        sender.ask(&json!({ "ask": "join", "link": link }))?;
        receiver.answer()?;
        let mut ends = Self { sender, receiver, relay };
        // The first message makes the session; handshakes are not what is measured.
        ends.receiver.ask(&json!({ "ask": "answer" }))?;
        ends.sender.ask(&json!({ "ask": "ping", "messages": 1, "bytes": 1 }))?;
        ends.receiver.ask(&json!({ "ask": "answer no more" }))?;
        Ok(ends)
    }

    fn pids(&self) -> Each<u32> {
        let (sender, receiver) = (self.sender.pid(), self.receiver.pid());
        Each { sender, relay: self.relay.pid(), receiver }
    }

    /// Processor time so far, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<Each<u64>> {
        let Each { sender, relay, receiver } = self.pids().map(procfs::cpu_ns);
        Ok(Each { sender: sender?, relay: relay?, receiver: receiver? })
    }

    /// The most memory that was ever resident, bytes.
    pub(crate) fn resident_peak_bytes(&self) -> Result<Each<u64>> {
        let Each { sender, relay, receiver } = self.pids().map(procfs::resident_peak_bytes);
        Ok(Each { sender: sender?, relay: relay?, receiver: receiver? })
    }
}
