//! Devices on one hub, and the opening of the protocol: a handshake, CHALLENGE, HELLO, WELCOME.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use hushwire_wire::control::{Control, Transport, Welcome, disclose};
use hushwire_wire::limits::EXPORTER_LABEL;
use quinn_proto::ConnectionId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connector::QuicConnector;
use super::line::{Device, Line};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{CONNECT_STEP_MAX, SETTLED, SETTLING_MAX};
use crate::load::Identity;
use crate::load::device::hello;
use crate::load::dialect::{News, Seat};
use crate::quic::Hub;

/// The host that is asked for; nobody looks at the certificate.
const HOST: &str = "localhost";

/// How often devices that wait look at their timers.
const LOOK: Duration = Duration::from_millis(10);

/// Devices on one hub, in the order of their places.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(super) hub: Hub<Device>,
}

/// A device that is to connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer<'a> {
    pub(crate) seat: Seat<'a>,
    /// What enrols it.
    pub(crate) token: Option<&'a [u8]>,
    /// The first ID of its connection, where the server gave it one.
    pub(crate) first_id: Option<[u8; 8]>,
}

impl Devices {
    /// None, so far.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { hub: Hub::client()? })
    }

    /// Connects a device, as the last one of this hub.
    pub(crate) fn introduce(
        &mut self,
        connector: &QuicConnector,
        newcomer: Newcomer<'_>,
    ) -> Result<Welcome> {
        let Newcomer { seat, token, first_id } = newcomer;
        let mut config = connector.config();
        if let Some(id) = first_id {
            config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
        }
        let device = Device::new(seat.number, seat.peer.device);
        let place = self.hub.connect(config, connector.address(), HOST, device)?;
        let what = || format!("connecting to {} by QUIC failed", connector.address());
        let challenge = self.said(place).with_context(what)?;
        let line = self.line(place)?;
        let mut binding = [0; 32];
        line.connection
            .crypto_session()
            .export_keying_material(&mut binding, EXPORTER_LABEL, &[])
            .map_err(|_| anyhow!("no exporter"))?;
        let hello = hello(seat.identity, token, &challenge, Transport::Quic, &binding)?;
        line.write_on(0, hello)?;
        self.hub.stir(place);
        let welcome = self.said(place).context("no WELCOME came")?;
        match Control::decode(&welcome) {
            Ok(Control::Welcome(welcome)) => Ok(welcome),
            Ok(Control::Error { code, sentence, .. }) => {
                bail!("the server refused the device ({code}): {sentence}")
            }
            other => bail!("the server answered HELLO with {other:?}"),
        }
    }

    /// Connects a device that `token` enrols, and ends its connection.
    pub(crate) fn enrol(
        &mut self,
        connector: &QuicConnector,
        identity: &Identity,
        token: &[u8],
    ) -> Result<()> {
        let seat = Seat { number: 0, identity, peer: identity };
        self.introduce(connector, Newcomer { seat, token: Some(token), first_id: None })?;
        // The only one that there is.
        self.hub.end(0)
    }

    fn line(&mut self, place: usize) -> Result<&mut Line> {
        self.hub.wire_mut(place).context("a connection has ended")
    }

    /// The content of the next control cell, behind the handshake.
    fn said(&mut self, place: usize) -> Result<Vec<u8>> {
        let clock = self.hub.clock;
        let end_ns = clock.now_ns() + CONNECT_STEP_MAX.as_nanos() as u64;
        loop {
            let device = &mut self.line(place)?.port;
            if device.connected && !device.control.is_empty() {
                let body = device.control.remove(0);
                return Ok(disclose(&body)?.to_vec());
            }
            if let Some(lost) = &device.lost {
                bail!("a connection ended: {lost}");
            }
            let left_ns = end_ns.saturating_sub(clock.now_ns());
            if left_ns == 0 {
                bail!("nothing came for {CONNECT_STEP_MAX:?}");
            }
            self.turn(Duration::from_nanos(left_ns))?;
        }
    }

    /// By itself, without a run: sends what may leave, waits at most so long for something to arrive, and hears it. No
    /// message may arrive.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<()> {
        let hub = &mut self.hub;
        hub.leave(hub.clock)?;
        let wait = hub.idle_for(hub.clock).map_or(wait, |idle| idle.min(wait));
        if !wait.is_zero() {
            let timeout = Timespec::try_from(wait).context("too long a wait")?;
            let socket = hub.socket();
            let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
            match poll(&mut sockets, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        hub.receive(hub.clock, |_| {})?;
        let mut news = News::default();
        while let Some(place) = hub.next_heard() {
            if let Some(line) = hub.wire_mut(place) {
                line.listen()?;
                line.read(None, &mut news)?;
            }
        }
        Ok(())
    }

    /// Answers what the other ends want answered, until so much time has passed.
    pub(crate) fn stay(all: &mut [Self], time: Duration, interrupt: &Interrupt) -> Result<()> {
        let clock = Clock::start();
        while clock.now_ns() < time.as_nanos() as u64 {
            interrupt.check()?;
            all.iter_mut().try_for_each(|devices| devices.turn(Duration::ZERO))?;
            let mut sockets: Vec<_> = all
                .iter()
                .map(|Self { hub }| PollFd::from_borrowed_fd(hub.socket(), PollFlags::IN))
                .collect();
            let timeout = Timespec::try_from(LOOK).context("too long a wait")?;
            match poll(&mut sockets, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Has each device send a cover cell.
    pub(crate) fn keep_alive(&mut self) -> Result<()> {
        for place in 0..self.hub.places() {
            self.line(place)?.keep_alive()?;
            self.hub.stir(place);
        }
        self.hub.leave(self.hub.clock)
    }

    /// How many are connected and have heard nothing that they do not know.
    pub(crate) fn connected(&self) -> usize {
        let lines = (0..self.hub.places()).filter_map(|place| self.hub.wire(place));
        lines.filter(|line| line.is_quiet()).count()
    }

    /// Closes all connections, and has the other ends know it: what is on its way comes first, as a datagram that finds a
    /// full socket is lost, and what arrives for a connection that is closed is answered so.
    pub(crate) fn close(all: &mut [Self]) -> Result<()> {
        Self::settle(all)?;
        for Self { hub } in &mut *all {
            (0..hub.places()).for_each(|place| hub.close(place));
            hub.leave(hub.clock)?;
        }
        Self::settle(all)
    }

    /// Lets everything arrive that is on its way, whatever it is, until nothing has come for a while.
    fn settle(all: &mut [Self]) -> Result<()> {
        let clock = Clock::start();
        let mut quiet_since_ns = 0;
        while clock.now_ns() < SETTLING_MAX.as_nanos() as u64
            && clock.now_ns() - quiet_since_ns < SETTLED.as_nanos() as u64
        {
            for Self { hub } in &mut *all {
                hub.receive(hub.clock, |_| quiet_since_ns = clock.now_ns())?;
                while let Some(place) = hub.next_heard() {
                    if let Some(line) = hub.wire_mut(place) {
                        line.discard()?;
                    }
                }
                hub.leave(hub.clock)?;
            }
        }
        Ok(())
    }

    /// How many were introduced.
    pub(crate) fn len(&self) -> usize {
        self.hub.places()
    }
}
