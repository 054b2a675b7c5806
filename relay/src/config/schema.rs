//! Every key, once: its type, default, range and explanation. The struct, the reader, `hushwired
//! check` and the commented default file are all made from this table.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use hushwire_wire::limits;
use toml::de::DeValue;

use super::Config;
use super::setting::{
    HostPort, LogFormat, LogLevel, LoopbackAddr, Number, Region, Setting, SocketPath, within,
};

/// One key of the file.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Lines of explanation.
    pub(super) doc: &'static [&'static str],
    pub(super) range: fn() -> Option<(String, String)>,
    pub(super) set: fn(&mut Config, &DeValue<'_>) -> Result<(), String>,
    pub(super) show: fn(&Config) -> Option<String>,
    /// Shown in the default file where there is no default.
    pub(super) example: Option<&'static str>,
}

/// One section of the file.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) keys: &'static [Key],
}

macro_rules! last {
    ($last:expr) => {
        Some($last)
    };
    () => {
        None
    };
}

macro_rules! range {
    ($type:ty, $range:expr) => {{
        let range: std::ops::RangeInclusive<$type> = $range;
        Some((range.start().grouped(), range.end().grouped()))
    }};
    ($type:ty) => {
        None
    };
}

macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        [$section:ident] $struct:ident {
            $(
                $(#[doc = $what:literal])+
                $name:ident: $type:ty = $default:expr $(, in $range:expr)? $(, like $example:literal)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $struct {
                $($(#[doc = $what])+ pub $name: $type,)+
            }

            impl Default for $struct {
                fn default() -> Self {
                    Self { $($name: $default,)+ }
                }
            }
        )+

        /// Every section, in the order of the default file.
        pub(super) const SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                doc: &[$($doc),+],
                keys: &[$(
                    Key {
                        name: stringify!($name),
                        doc: &[$($what),+],
                        range: || range!($type $(, $range)?),
                        set: |config, value| {
                            let value = <$type as Setting>::read(value)?;
                            $(within(&value, &$range)?;)?
                            config.$section.$name = value;
                            Ok(())
                        },
                        show: |config| config.$section.$name.show(),
                        example: last!($($example)?),
                    },
                )+],
            },
        )+];
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

const fn local(a: [u8; 4], port: u16) -> SocketAddr {
    let [a, b, c, d] = a;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

sections! {
    /// Where devices connect.
    [listen] Listen {
        /// IP address and port, TCP and UDP. `[::]` takes IPv4 and IPv6.
        address: SocketAddr = local([0, 0, 0, 0], limits::PORT_DEFAULT);
    }

    /// The relay itself.
    [relay] Relay {
        /// The `host:port` put into invites and into the self-signed certificate. Invites cannot be
        /// made without it.
        public_address: Option<HostPort> = None, like "\"relay.example.org:4433\"";
        /// Where the store and the self-signed identity are kept. Mode 0700, owned by the relay's user.
        data_dir: PathBuf = PathBuf::from("/var/lib/hushwire");
        /// A name for the place, told to devices when they connect.
        region: Region = Region::default();
        /// Threads that carry traffic, each with a core of its own. 0: one for each core.
        shards: usize = 0, in 0..=256;
    }

    /// The identity shown to devices. Without a certificate a self-signed one is made at first start
    /// and kept in data_dir; invites carry its pin.
    [tls] Tls {
        /// PEM file with the chain of certificates, the relay's own first.
        certificate: Option<PathBuf> = None, like "\"/etc/hushwire/certificate.pem\"";
        /// PEM file with its private key; nobody but the relay's user may read it.
        key: Option<PathBuf> = None, like "\"/etc/hushwire/key.pem\"";
    }

    /// Accounts, devices, grants and invites.
    [store] StoreSettings {
        /// Size of the map at first, in bytes. It grows by itself.
        map_bytes_start: usize = 16 * MIB, in MIB..=1_024 * GIB;
        /// Size the map may grow to, in bytes. Address space, not memory.
        map_bytes_max: usize = 4 * GIB, in MIB..=1_024 * GIB;
    }

    /// Every queue and pool has a number. Those "of a shard" count once for each shard; the memory
    /// they can take together is printed at start.
    [limits] LimitSettings {
        /// Full handshakes a second from one source address (an IPv6 /64 counts as one).
        handshakes_per_s: u32 = limits::HANDSHAKES_PER_S, in 1..=100_000;
        /// Handshakes a shard works on at once; beyond, it stops accepting.
        handshakes_in_progress_max: usize = 256, in 1..=65_536;
        /// Connections of a shard that have not been welcomed.
        unauthenticated_connections_max: usize = limits::UNAUTHENTICATED_CONNECTIONS_MAX, in 1..=1_048_576;
        /// Life of a connection that is not welcomed, in milliseconds.
        unauthenticated_ms_max: u64 = limits::UNAUTHENTICATED_MS_MAX, in 500..=60_000;
        /// Connections of TCP of a shard. 0: as many as the system's limit of open files allows
        /// (`LimitNOFILE=` of the service), at most 32_768.
        connections_max: usize = 0, in 0..=4_194_304;
        /// Connections of QUIC of a shard, beside those of TCP. 0: no QUIC.
        quic_connections_max: usize = 4_096, in 0..=4_194_304;
        /// Bytes that connections of QUIC of a shard may have on their way in both directions, beside the 32 KiB that each
        /// has. A connection takes 480 KiB of it while there is some.
        quic_window_pool_bytes: usize = 256 * MIB, in MIB..=256 * GIB;
        /// A connection that says nothing for so long is closed, in milliseconds. Devices send a
        /// keep-alive every 25 seconds.
        idle_ms: u64 = limits::IDLE_MS, in limits::KEEP_ALIVE_MS * 2 + 1..=3_600_000;
        /// Cells a second from one device.
        cells_per_s: u32 = limits::CELLS_PER_S, in 1..=10_000_000;
        /// Bytes a second from one device.
        bytes_per_s: u64 = limits::BYTES_PER_S, in 32_768..=1_099_511_627_776;
        /// Seconds for which a device may save up both rates.
        burst_s: u32 = limits::BURST_S, in 1..=60;
        /// Bytes that may wait for one device.
        egress_bytes_max: usize = limits::EGRESS_BYTES_MAX, in 512 * KIB..=GIB;
        /// Bytes that may wait for all devices of a shard together, sealed ones included.
        egress_pool_bytes: usize = 64 * MIB, in MIB..=256 * GIB;
        /// Output that a shard holds back to send it in fewer calls, in bytes.
        output_held_bytes_max: usize = 256 * KIB, in 64 * KIB..=16 * MIB;
        /// Bytes of incomplete records of a shard.
        carry_pool_bytes: usize = 16 * MIB, in MIB..=64 * GIB;
        /// Bytes of cells that may wait between two shards, in each direction, and at most one cell for each
        /// 2_048 of them; further ones are answered busy.
        mesh_bytes_max: usize = 16 * MIB, in MIB..=256 * MIB;
        /// Pairings an account may join in a minute.
        pair_joins_per_minute: u32 = limits::PAIR_JOINS_PER_MINUTE, in 1..=1_000;
        /// Operations of one account in a minute.
        operations_per_minute: u32 = limits::OPERATIONS_PER_MINUTE, in 1..=100_000;
        /// Devices of one account; revoked ones do not count.
        devices_per_account: usize = limits::DEVICES_PER_ACCOUNT, in 1..=1_024;
        /// Grants given by all devices of one account together.
        grants_per_account: usize = limits::GRANTS_PER_ACCOUNT, in 1..=limits::GRANTS_PER_ACCOUNT;
    }

    /// For operators: `/livez`, `/readyz` and `/metrics`, and the socket that hushctl talks to.
    [control] Control {
        /// IP address and port; only an address of this machine that others cannot reach.
        listen: LoopbackAddr = LOOPBACK_DEFAULT;
        /// Path of the admin socket. Whoever can open it administers the relay.
        admin_socket: SocketPath = socket_default();
    }

    /// Logs. Identifiers appear at debug and below only, content never.
    [log] Log {
        /// error, warn, info, debug or trace.
        level: LogLevel = LogLevel::Info;
        /// auto (the journal if stderr leads there, else text), journald, stderr or json.
        format: LogFormat = LogFormat::Auto;
        /// Directory where each connection of QUIC writes what it does (qlog), the first 1_000 of a run. Sizes, times and
        /// losses, no content and no addresses; it slows the relay down.
        qlog_dir: Option<PathBuf> = None, like "\"/var/log/hushwire/qlog\"";
    }
}

const LOOPBACK_DEFAULT: LoopbackAddr = match LoopbackAddr::new(local([127, 0, 0, 1], 9433)) {
    Some(address) => address,
    None => panic!("127.0.0.1 is a loopback address"),
};

fn socket_default() -> SocketPath {
    let path = PathBuf::from("/run/hushwire/admin.sock");
    SocketPath::new(path).expect("the default is short")
}
