//! From a configuration to running threads, one step after another: what cannot be done is found before
//! anything runs, and a failed step takes back those before it.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hushwire_engine::{Config as EngineConfig, Engine, ShardId};
use hushwire_uring::sockets;
use hushwire_uring::udp::{Steering, UdpGroup};
use hushwire_uring::{DormantRing, RingOptions, Wake, affinity, probe, raise_nofile};
use hushwire_wire::limits::QUIC_IDS_MAX;
use rustix::process::{Resource, getrlimit};

use super::listening::{Listening, dialable, listen_http, listen_on_both};
use super::shards::{self, Seed};
use super::{Relay, StartError};
use crate::config::Config;
use crate::control::operator::{About, Operator, ShardEnd, random};
use crate::control::phase::{Phase, PhaseCell};
use crate::control::socket::AdminSocket;
use crate::control::{self, ControlParts};
use crate::identity::Identity;
use crate::limits::{self, Bill, BillLine, Limits, Payer};
use crate::mesh::Mesh;
use crate::mesh::doorbell::Doorbell;
use crate::metrics::ShardMetrics;
use crate::shard::inbox::Postbox;
use crate::shard::{QuicParts, ShardParts};
use crate::store::{Meta, Store, StoreOptions};
use crate::transport::quic::{QuicOptions, QuicServer};
use crate::transport::{ServerTls, ServerTlsOptions};

/// Starts everything.
pub(super) fn start(config: &Config) -> Result<Relay, StartError> {
    let cpus = affinity::available_cpus().map_err(resource("listing the processors"))?;
    let shards = shards_of(config, &cpus);
    let limits = limits_of(config, shards);
    if config.limits.connections_max == 0 && limits.connections_max < limits::CONNECTIONS_DEFAULT {
        tracing::warn!(
            connections_max = limits.connections_max,
            "the limit of open files leaves each shard so few connections: raise LimitNOFILE= of the \
             service (or `ulimit -Hn`), or set [limits] connections_max"
        );
    }
    let bill = limits.memory_bill(shards);
    show(&bill, &limits, shards);

    let capabilities = probe()?;
    let files = raise_nofile(limits.files(shards))?;
    tracing::info!(kernel = %capabilities.release, files, "the system has what a relay needs");

    let clock = Clock::read()?;
    let store = open_store(config)?;
    let meta = store.meta();
    let public = config.relay.public_address.as_ref();
    let data_dir = &config.relay.data_dir;
    let identity = Identity::load_or_make(&config.tls, data_dir, public, clock.unix_s())?;
    let tls = ServerTls::from_certified(identity.certified_key(), &ServerTlsOptions::default())?;

    let Listening { sockets, address, datagrams } = listen_on_both(config, shards, &meta, &limits)?;
    let quic =
        datagrams.map(|sockets| quic_parts(config, sockets, &meta, &tls, &limits)).transpose()?;
    let http = listen_http(config)?;
    let admin = AdminSocket::bind(config.control.admin_socket.as_path())?;

    let public = public.map(ToString::to_string);
    let about = About {
        relay: meta.relay_id,
        pin: *identity.pin().as_bytes(),
        listen: address,
        public_address: public.or_else(|| dialable(address)),
        control: http.local_addr().map_err(resource("asking a socket for its address"))?,
        memory_bill_bytes: bill.total_bytes(Payer::Relay) as u64,
    };
    let makings =
        Makings { config, meta: &meta, limits: &limits, clock: &clock, tls: &tls, store: &store };
    let (seeds, ends) = makings.seeds(sockets, quic, &cpus)?;
    let threads = shards::start(seeds, &ends)?;
    let admin_socket = admin.path().to_owned();
    let phase = PhaseCell::new();
    let operator = Arc::new(Operator { about, phase, shards: ends, store, started: clock.epoch });
    let parts = ControlParts { operator: Arc::clone(&operator), http, admin, shards: threads };
    let control = control::spawn(parts).map_err(resource("starting the control thread"))?;
    operator.phase.raise(Phase::Running);
    tracing::info!(
        %address,
        relay_id = %meta.relay_id,
        pin = %identity.pin(),
        control = %operator.about.control,
        admin_socket = %admin_socket.display(),
        "the relay serves"
    );
    Ok(Relay { operator, admin_socket, control: Some(control) })
}

/// What the shards are made from.
struct Makings<'a> {
    config: &'a Config,
    meta: &'a Meta,
    limits: &'a Limits,
    clock: &'a Clock,
    tls: &'a Arc<ServerTls>,
    store: &'a Store,
}

impl Makings<'_> {
    /// What each shard starts with, one for each listener, and what others hold of it.
    fn seeds(
        &self,
        listeners: Vec<sockets::Listener>,
        quic: Option<Vec<QuicParts>>,
        cpus: &[usize],
    ) -> Result<(Vec<Seed>, Vec<ShardEnd>), StartError> {
        let shards = listeners.len();
        let quic_ids = if quic.is_some() { QUIC_IDS_MAX } else { 0 };
        let doorbells = (0..shards)
            .map(|_| Wake::new().map(|wake| Arc::new(Doorbell::new(wake))))
            .collect::<Result<Vec<_>, _>>()
            .map_err(resource("making an eventfd"))?;
        let meshes = Mesh::all(&doorbells, self.limits.mesh_bytes_max);
        let mut quic = quic.into_iter().flatten();
        let mut seeds = Vec::with_capacity(shards);
        let mut ends = Vec::with_capacity(shards);
        for (number, ((listener, doorbell), mesh)) in
            listeners.into_iter().zip(doorbells).zip(meshes).enumerate()
        {
            let ring = DormantRing::new(RingOptions {
                entries: limits::RING_ENTRIES,
                completions: limits::RING_COMPLETIONS,
            })?;
            let metrics = Arc::<ShardMetrics>::default();
            let (postbox, inbox) = Postbox::new(Arc::clone(&doorbell));
            let client = self.store.client(Arc::new(postbox.clone()));
            ends.push(ShardEnd { postbox, metrics: Arc::clone(&metrics) });
            let engine = self.engine(number as u16, shards as u16, quic_ids)?;
            let (relay, epoch) = (self.meta.relay_id, self.clock.epoch);
            let (tls, limits) = (Arc::clone(self.tls), self.limits.shard());
            let quic = quic.next();
            let parts = move || ShardParts {
                engine: Engine::new(engine),
                relay,
                ring,
                listener: listener.socket,
                tls,
                store: client,
                mesh,
                inbox,
                doorbell,
                metrics,
                limits,
                quic,
                epoch,
            };
            let cpu = if shards <= cpus.len() { cpus.get(number).copied() } else { None };
            seeds.push(Seed { cpu, parts: Box::new(parts) });
        }
        Ok((seeds, ends))
    }

    fn engine(&self, shard: u16, shards: u16, quic_ids: usize) -> Result<EngineConfig, StartError> {
        Ok(EngineConfig {
            shard: ShardId(shard),
            shards,
            home_key: self.meta.home_key,
            table_key: random().map_err(StartError::System)?,
            relay: self.meta.relay_id,
            region: self.config.relay.region.as_str().to_owned(),
            quic_ids,
            limits: self.limits.engine(),
            seed: u64::from_le_bytes(random().map_err(StartError::System)?),
            unix_ms_at_zero: self.clock.unix_ms,
        })
    }
}

/// How many shards a configuration means on this machine.
///
/// # Errors
/// The system does not say which processors there are.
pub(super) fn shards(config: &Config) -> Result<usize, StartError> {
    let cpus = affinity::available_cpus().map_err(resource("listing the processors"))?;
    Ok(shards_of(config, &cpus))
}

fn shards_of(config: &Config, cpus: &[usize]) -> usize {
    // What the schema allows as a number of shards is also the most that "one for each core" may mean.
    const SHARDS_MAX: usize = 256;
    match config.relay.shards {
        0 => cpus.len().clamp(1, SHARDS_MAX),
        shards => shards.min(SHARDS_MAX),
    }
}

/// The numbers of one shard on this machine.
pub(super) fn limits_of(config: &Config, shards: usize) -> Limits {
    Limits::new(config, shards, getrlimit(Resource::Nofile).maximum)
}

/// The totals are for everybody, the lines for those who ask.
fn show(bill: &Bill, limits: &Limits, shards: usize) {
    for line in bill.lines() {
        let BillLine { what, payer, count, size_bytes } = line;
        tracing::debug!(
            what,
            ?payer,
            count,
            size_bytes,
            bytes = line.bytes(),
            "on the memory bill"
        );
    }
    tracing::info!(
        shards,
        connections_max = limits.connections_max,
        relay_bytes = bill.total_bytes(Payer::Relay),
        kernel_bytes = bill.total_bytes(Payer::Kernel),
        "the most memory this configuration can take; `hushwired check` shows for what"
    );
}

/// The clocks at the start, from which all later times are counted.
struct Clock {
    epoch: Instant,
    unix_ms: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where all shards get their zero")]
    fn read() -> Result<Self, StartError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| {
            StartError::System(super::OperatorError::System("clock set after 1970"))
        })?;
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { epoch: Instant::now(), unix_ms })
    }

    const fn unix_s(&self) -> u64 {
        self.unix_ms / 1_000
    }
}

#[cfg_attr(not(test), expect(clippy::needless_update, reason = "tests have one more option"))]
fn open_store(config: &Config) -> Result<Store, StartError> {
    let options = StoreOptions {
        map_bytes_start: config.store.map_bytes_start,
        map_bytes_max: config.store.map_bytes_max,
        devices_per_account: config.limits.devices_per_account,
        grants_per_account: config.limits.grants_per_account,
        ..StoreOptions::default()
    };
    // The store's source of randomness has no way to fail, so a failure is looked at afterwards.
    let mut entropy = Ok(());
    let opened = Store::open(&config.relay.data_dir, options, |bytes| {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            entropy = Err(StartError::System(super::OperatorError::System("random numbers")));
        }
    });
    entropy.and(opened.map_err(StartError::from))
}

/// What each shard's QUIC is built from.
fn quic_parts(
    config: &Config,
    group: UdpGroup,
    meta: &Meta,
    tls: &ServerTls,
    limits: &Limits,
) -> Result<Vec<QuicParts>, StartError> {
    let steering = Steering::new(meta.steering, group.sockets.len());
    let options = QuicOptions {
        secret: &meta.home_key,
        steering,
        idle_ms: limits.idle_ms,
        qlog_dir: config.log.qlog_dir.as_deref(),
    };
    let server = QuicServer::new(tls, &options)
        .map_err(|error| StartError::Resource { what: "QUIC", source: io::Error::other(error) })?;
    let parts = group.sockets.into_iter().enumerate().map(|(shard, bound)| QuicParts {
        server: Arc::clone(&server),
        shard: shard as u16,
        socket: bound.socket,
    });
    Ok(parts.collect())
}

pub(super) fn resource(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Resource { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_processors_unless_told() {
        let check = |configured, cpus: usize, expect| {
            let mut config = Config::default();
            config.relay.shards = configured;
            let cpus: Vec<usize> = (0..cpus).collect();
            assert_eq!(shards_of(&config, &cpus), expect, "{configured}");
        };
        check(0, 4, 4);
        check(0, 0, 1);
        check(0, 1_000, 256);
        check(1, 4, 1);
        check(8, 4, 8);
    }
}
