//! The servers that are compared: what each is to the others, and how it is spoken with.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result};

use crate::baseline::Runtime;
use crate::interrupt::Interrupt;
use crate::load::dialect::Dialect;
use crate::load::{
    self, Access, Drive, Fleet, Outcome, QuicConnector, Shape, Sockets, Timing, Transport,
};
use crate::peers::{IrohRelay, Mqtt, Nats, Peer, Redis};
use crate::relay_child::Home;
use crate::server::Server;

/// A kind of server, which there is one of in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Relay,
    /// The least that forwarding by QUIC can cost.
    FloorQuic,
    /// The same relay, reached by QUIC.
    RelayQuic,
    /// The same, by devices that neither fill their datagrams up nor have it done for them, as nobody else does.
    RelayQuicBare,
    /// quinn's forwarder, which the relay by QUIC is held against.
    Quinn,
    Baseline(Runtime),
    Peer(Peer),
}

/// What the relay is held against it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The least that forwarding can cost.
    Floor,
    /// What is measured.
    Relay,
    /// What is measured by QUIC, and what that is held against.
    Quic,
    /// The floor on another runtime: the best of them counts.
    Baseline,
    /// What people use today: the best of them counts.
    Peer,
}

impl Kind {
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::Floor => Group::Floor,
            Self::Relay => Group::Relay,
            Self::FloorQuic | Self::RelayQuic | Self::RelayQuicBare | Self::Quinn => Group::Quic,
            Self::Baseline(_) => Group::Baseline,
            Self::Peer(_) => Group::Peer,
        }
    }

    /// As a person reads it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Relay => "relay",
            Self::FloorQuic => "floor-quic",
            Self::RelayQuic => "relay-quic",
            Self::RelayQuicBare => "relay-quic-bare",
            Self::Quinn => "quinn",
            Self::Baseline(runtime) => runtime.name(),
            Self::Peer(peer) => peer.name(),
        }
    }

    /// As a program reads it.
    pub(crate) fn key(self) -> String {
        self.name().replace('-', "_")
    }
}

/// Who takes part.
#[derive(Debug, Clone)]
pub(crate) struct Lineup {
    /// Processor of the servers. The generator has another.
    pub(crate) cpu: usize,
    pub(crate) with_relay: bool,
    /// With the relay also by QUIC, and quinn's forwarder.
    pub(crate) with_quic: bool,
    /// With the floor on these runtimes as well.
    pub(crate) baselines: Vec<Runtime>,
    /// With these as well, and their programs.
    pub(crate) peers: Vec<(Peer, PathBuf)>,
}

impl Lineup {
    /// Starts everyone, in the order of a table; the relay knows the whole fleet.
    pub(crate) fn start(
        &self,
        relay_binary: Option<&Path>,
        devices: usize,
        fleet: &Fleet,
        interrupt: &Interrupt,
    ) -> Result<Vec<Contender>> {
        let cpu = self.cpu;
        let mut contenders = vec![Contender::floor(cpu)?];
        if self.with_relay {
            let relay = Contender::relay(cpu, relay_binary, devices, fleet, interrupt)?;
            let by_quic = self.with_quic.then(|| relay.by_quic()).transpose()?;
            contenders.push(relay);
            contenders.extend(by_quic.into_iter().flatten());
        }
        if self.with_quic {
            contenders.push(Contender::floor_quic(cpu)?);
            contenders.push(Contender::quinn(cpu)?);
        }
        for &runtime in &self.baselines {
            contenders.push(Contender::baseline(runtime, cpu)?);
        }
        for (peer, program) in &self.peers {
            contenders.push(Contender::peer(*peer, program, cpu, interrupt)?);
        }
        Ok(contenders)
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Contender {
    kind: Kind,
    /// The relay is one for both of its transports.
    server: Rc<Server>,
    language: Language,
}

/// What is spoken with it.
#[derive(Debug)]
enum Language {
    Cells(Access),
    Nats(Nats),
    Mqtt(Mqtt),
    Redis(Redis),
    IrohRelay(IrohRelay),
}

impl Contender {
    /// Starts the floor on processor `cpu`.
    fn floor(cpu: usize) -> Result<Self> {
        Self::of_cells(Kind::Floor, Server::floor(Transport::Tls, cpu)?)
    }

    /// Starts a relay on processor `cpu`, `binary` or the one in this program, and enrols the fleet.
    fn relay(
        cpu: usize,
        binary: Option<&Path>,
        devices: usize,
        fleet: &Fleet,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let server = Server::relay(&[cpu], binary, Home::new(devices)?, interrupt)?;
        let admin = server.admin_socket().context("a relay without an admin socket")?;
        eprintln!("enrolling {devices} devices");
        fleet.enrol(&Access::new(Transport::Tls, server.address())?, &admin, interrupt.flag())?;
        Self::of_cells(Kind::Relay, server)
    }

    /// Starts the floor's forwarder on another runtime, on processor `cpu`.
    fn baseline(runtime: Runtime, cpu: usize) -> Result<Self> {
        Self::of_cells(Kind::Baseline(runtime), Server::baseline(runtime, cpu)?)
    }

    /// The same relay, by QUIC: as endpoints do, and without fills.
    fn by_quic(&self) -> Result<[Self; 2]> {
        let connector = QuicConnector::new(self.server.address())?;
        let bare = connector.clone().without_fills();
        Ok([(Kind::RelayQuic, connector), (Kind::RelayQuicBare, bare)].map(|(kind, connector)| {
            let language = Language::Cells(Access::Quic(connector));
            Self { kind, server: Rc::clone(&self.server), language }
        }))
    }

    /// Starts the floor by QUIC on processor `cpu`.
    fn floor_quic(cpu: usize) -> Result<Self> {
        let server = Server::floor(Transport::Quic, cpu)?;
        Self::of_cells_by(Transport::Quic, Kind::FloorQuic, server)
    }

    /// Starts quinn's forwarder on processor `cpu`.
    fn quinn(cpu: usize) -> Result<Self> {
        let server = Server::baseline(Runtime::Quinn, cpu)?;
        Self::of_cells_by(Transport::Quic, Kind::Quinn, server)
    }

    /// A server that speaks cells over TLS.
    fn of_cells(kind: Kind, server: Server) -> Result<Self> {
        Self::of_cells_by(Transport::Tls, kind, server)
    }

    fn of_cells_by(transport: Transport, kind: Kind, server: Server) -> Result<Self> {
        let language = Language::Cells(Access::new(transport, server.address())?);
        Ok(Self { kind, server: Rc::new(server), language })
    }

    /// Starts a peer on processor `cpu`.
    fn peer(peer: Peer, program: &Path, cpu: usize, interrupt: &Interrupt) -> Result<Self> {
        let server = peer.start(program, cpu, interrupt)?;
        let address = server.address();
        let language = match peer {
            Peer::Nats => Language::Nats(Nats::new(address)?),
            Peer::Mosquitto => Language::Mqtt(Mqtt::new(address)?),
            Peer::Redis => Language::Redis(Redis::new(address)?),
            Peer::IrohRelay => Language::IrohRelay(IrohRelay::new(address)?),
        };
        Ok(Self { kind: Kind::Peer(peer), server: Rc::new(server), language })
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Has the kernel's scheduler prefer it to whatever else wants the processor.
    pub(crate) fn under_fifo(&self) -> Result<()> {
        self.server.under_fifo()
    }

    /// One run on new connections.
    pub(crate) fn measure(
        &self,
        fleet: &Fleet,
        shape: Shape,
        drive: Drive,
        timing: Timing,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        match &self.language {
            Language::Cells(it) => {
                let mut crew = it.crew(fleet, shape.devices(), interrupt.flag())?;
                crew.run(shape, drive, timing, self.server.pid(), interrupt)
            }
            Language::Nats(it) => self.run(it, fleet, shape, drive, timing, interrupt),
            Language::Mqtt(it) => self.run(it, fleet, shape, drive, timing, interrupt),
            Language::Redis(it) => self.run(it, fleet, shape, drive, timing, interrupt),
            Language::IrohRelay(it) => self.run(it, fleet, shape, drive, timing, interrupt),
        }
    }

    /// The same for every language, made once for each, so that a run knows only its own.
    fn run<D: Dialect>(
        &self,
        dialect: &D,
        fleet: &Fleet,
        shape: Shape,
        drive: Drive,
        timing: Timing,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        let mut devices = fleet.connect(shape.devices(), dialect, interrupt.flag())?;
        load::run(Sockets::new(&mut devices), shape, drive, timing, self.server.pid(), interrupt)
    }
}
