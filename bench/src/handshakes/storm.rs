//! Devices that connect, are welcomed, and go, over and over.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use rustls::{HandshakeKind, NamedGroup};

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::DEVICES_PER_THREAD;
use crate::load::{Connector, Fleet, Identity, Timing};
use crate::procfs;

/// How often a measurement looks whether a device has failed.
const LOOK: Duration = Duration::from_millis(100);

/// What a handshake is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// With the server's certificate and its signature.
    Full,
    /// With a ticket in their place, and a key exchange all the same.
    Resumed,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }

    /// Fails if a handshake was of another kind than is measured.
    fn check(self, kind: Option<HandshakeKind>, group: Option<NamedGroup>) -> Result<()> {
        let wanted = match self {
            Self::Full => HandshakeKind::Full,
            Self::Resumed => HandshakeKind::Resumed,
        };
        ensure!(
            kind == Some(wanted),
            "a handshake was {kind:?} where {wanted:?} ones are measured: the server must give \
             tickets, take them again, and agree to the first key share"
        );
        ensure!(
            group == Some(NamedGroup::X25519MLKEM768),
            "the keys were exchanged with {group:?} where X25519MLKEM768 is measured"
        );
        Ok(())
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Handshakes that ended with a welcome.
    pub(super) handshakes: u64,
    /// Time counted, nanoseconds.
    pub(super) elapsed_ns: u64,
    /// Processor time of the server meanwhile, nanoseconds.
    pub(super) server_cpu_ns: u64,
    /// Processor time of the generator meanwhile, nanoseconds.
    pub(super) load_cpu_ns: u64,
}

impl Outcome {
    /// Processor time of the server for one handshake, microseconds.
    pub(super) fn cpu_us_each(&self) -> f64 {
        self.server_cpu_ns as f64 / 1_000.0 / self.handshakes as f64
    }

    /// What a processor does in a second that does nothing else.
    pub(super) fn of_one_core_per_s(&self) -> f64 {
        1e6 / self.cpu_us_each()
    }

    /// What the generator had in a second.
    pub(super) fn reached_per_s(&self) -> f64 {
        self.handshakes as f64 * 1e9 / self.elapsed_ns as f64
    }

    pub(super) fn server_busy(&self) -> f64 {
        self.server_cpu_ns as f64 / self.elapsed_ns as f64
    }

    pub(super) fn load_busy(&self) -> f64 {
        self.load_cpu_ns as f64 / self.elapsed_ns as f64
    }
}

/// One device and what it remembers of one server.
struct Client<'a> {
    identity: &'a Identity,
    /// Made anew for a full handshake, so that the two ways differ in the ticket alone.
    blank: &'a Connector,
    remembering: Connector,
}

/// The devices, each with a ticket of one server.
pub(super) struct Storm<'a> {
    clients: Vec<Client<'a>>,
    /// Process ID of the server.
    server: u32,
}

impl<'a> Storm<'a> {
    /// Connects every device once, so that each has a ticket.
    pub(super) fn new(
        fleet: &'a Fleet,
        connector: &'a Connector,
        server: u32,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut clients = Vec::new();
        for identity in fleet.identities() {
            interrupt.check()?;
            let client =
                Client { identity, blank: connector, remembering: connector.with_memory() };
            client.come_and_go(&client.remembering, Way::Full)?;
            clients.push(client);
        }
        Ok(Self { clients, server })
    }

    /// Has devices come and go in threads until the time is over.
    pub(super) fn run(&self, way: Way, timing: Timing, interrupt: &Interrupt) -> Result<Outcome> {
        let (welcomed, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let (welcomed, over) = (&welcomed, &over);
        thread::scope(|scope| {
            let storm = |clients: &[Client<'_>]| -> Result<()> {
                for client in clients.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    if let Err(error) = client.connect(way) {
                        over.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                    welcomed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            let threads: Vec<_> = self
                .clients
                .chunks(DEVICES_PER_THREAD)
                .map(|clients| scope.spawn(move || storm(clients)))
                .collect();
            let counted = self.count(welcomed, over, timing, interrupt);
            over.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))?;
            }
            counted
        })
    }

    fn count(
        &self,
        welcomed: &AtomicU64,
        over: &AtomicBool,
        timing: Timing,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        let clock = Clock::start();
        let now = || -> Result<Outcome> {
            Ok(Outcome {
                handshakes: welcomed.load(Ordering::Relaxed),
                elapsed_ns: clock.now_ns(),
                server_cpu_ns: procfs::cpu_ns(self.server)?,
                load_cpu_ns: procfs::cpu_ns(std::process::id())?,
            })
        };
        let pass_until = |end: Duration| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                let left = end.saturating_sub(Duration::from_nanos(clock.now_ns()));
                if left.is_zero() {
                    break;
                }
                interrupt.pass(left.min(LOOK))?;
            }
            Ok(())
        };
        pass_until(timing.warm_up)?;
        let begun = now()?;
        pass_until(timing.warm_up + timing.measured)?;
        let ended = now()?;
        if over.load(Ordering::Relaxed) {
            bail!("a device failed");
        }
        let handshakes = ended.handshakes - begun.handshakes;
        ensure!(
            handshakes > 0,
            "no handshake ended in the time that is counted: choose more seconds"
        );
        Ok(Outcome {
            handshakes,
            elapsed_ns: ended.elapsed_ns - begun.elapsed_ns,
            server_cpu_ns: ended.server_cpu_ns - begun.server_cpu_ns,
            load_cpu_ns: ended.load_cpu_ns - begun.load_cpu_ns,
        })
    }
}

impl Client<'_> {
    fn connect(&self, way: Way) -> Result<()> {
        match way {
            Way::Full => self.come_and_go(&self.blank.with_memory(), way),
            Way::Resumed => self.come_and_go(&self.remembering, way),
        }
    }

    /// Connects, is welcomed, and resets the connection.
    fn come_and_go(&self, connector: &Connector, way: Way) -> Result<()> {
        let (session, _) = connector.open(self.identity, None)?;
        let (kind, group) = session.kind();
        way.check(kind, group)?;
        session.reset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_of_another_kind_fails_a_measurement() {
        let check = |way: Way, kind, group, sentence: &str| {
            let said = way.check(kind, group).err().map(|error| error.to_string());
            let said = said.unwrap_or_default();
            assert!(said.contains(sentence) && said.is_empty() == sentence.is_empty(), "{said}");
        };
        let (full, resumed) = (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed));
        let retried = Some(HandshakeKind::FullWithHelloRetryRequest);
        let hybrid = Some(NamedGroup::X25519MLKEM768);
        check(Way::Full, full, hybrid, "");
        check(Way::Resumed, resumed, hybrid, "");
        check(Way::Full, resumed, hybrid, "where Full ones are measured");
        check(Way::Full, retried, hybrid, "where Full ones are measured");
        check(Way::Resumed, full, hybrid, "where Resumed ones are measured");
        check(Way::Resumed, None, hybrid, "was None");
        check(Way::Full, full, Some(NamedGroup::X25519), "exchanged with Some(X25519)");
    }

    #[test]
    fn a_rate_of_one_core_comes_from_its_time() {
        let outcome = Outcome {
            handshakes: 500,
            elapsed_ns: 1_000_000_000,
            server_cpu_ns: 250_000_000,
            load_cpu_ns: 1_000_000_000,
        };
        let found = [outcome.cpu_us_each(), outcome.of_one_core_per_s(), outcome.reached_per_s()];
        assert_eq!(found, [500.0, 2_000.0, 500.0]);
        assert_eq!((outcome.server_busy(), outcome.load_busy()), (0.25, 1.0));
    }
}
