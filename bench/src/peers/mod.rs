//! The servers that people use today for what the relay does: each is started with its best settings on
//! one processor, and spoken with in its own protocol.

mod framed;
mod iroh_relay;
mod mqtt;
mod nats;
mod redis;
mod text;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::START_MAX;
use crate::procfs;
use crate::server::{Pipes, Server, spawn};

pub(crate) use iroh_relay::IrohRelay;
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// How often a start looks whether somebody listens.
const LOOK: Duration = Duration::from_millis(20);

/// Where programs are that a person's `PATH` need not contain.
const ADMINISTRATORS_PATH: [&str; 2] = ["/usr/local/sbin", "/usr/sbin"];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// nats-server
    Nats,
    /// mosquitto, MQTT 3.1.1 at QoS 0
    Mosquitto,
    /// redis-server, publish and subscribe
    Redis,
    /// iroh-relay
    IrohRelay,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Nats, Self::Mosquitto, Self::Redis, Self::IrohRelay];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::Redis => "redis",
            Self::IrohRelay => "iroh-relay",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Mosquitto => "mosquitto",
            Self::Redis => "redis-server",
            Self::IrohRelay => "iroh-relay",
        }
    }

    /// Its program, if it is installed: in `bin` below `root`, or where programs are.
    pub(crate) fn find(self, root: Option<&Path>) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        root.map(|root| root.join("bin"))
            .into_iter()
            .chain(env::split_paths(&path))
            .chain(ADMINISTRATORS_PATH.map(PathBuf::from))
            .map(|directory| directory.join(self.program()))
            .find(|program| program.is_file())
    }

    /// Starts it on processor `cpu`, and waits until it listens.
    pub(crate) fn start(self, program: &Path, cpu: usize, interrupt: &Interrupt) -> Result<Server> {
        let home = TempDir::with_prefix("hush-bench-")?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let [certificate, key, settings] =
            ["certificate.pem", "key.pem", "settings"].map(|name| home.path().join(name));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        // None of them says which port it took, if it is to take a free one.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (text, option) = match self {
            Self::Nats => (nats::configuration(port, &certificate, &key), Some("--config")),
            Self::Mosquitto => (mqtt::configuration(port, &certificate, &key), Some("-c")),
            Self::Redis => (redis::configuration(port, &certificate, &key, home.path()), None),
            Self::IrohRelay => (iroh_relay::configuration(port, &certificate, &key), Some("-c")),
        };
        fs::write(&settings, text)?;
        let arguments: Vec<OsString> =
            option.map(OsString::from).into_iter().chain([settings.into()]).collect();
        let log = home.path().join("log");
        let pipes = Pipes { errors: fs::File::create(&log)?.into(), ..Pipes::none() };
        let child = spawn(&[cpu], program, &arguments, pipes, &[])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Server::peer(child, address, home);
        let clock = Clock::start();
        while !procfs::listens(port)? {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = server.has_ended()? {
                bail!("{} did not start ({status}): {}", self.program(), said());
            }
            ensure!(
                clock.now_ns() < START_MAX.as_nanos() as u64,
                "{} did not start: {}",
                self.program(),
                said()
            );
            interrupt.pass(LOOK)?;
        }
        Ok(server)
    }
}

/// Several of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peers(Vec<Peer>);

impl Peers {
    /// Those that are installed, with their programs, each once; a sentence for each of the others.
    pub(crate) fn installed(&self, root: Option<&Path>) -> Vec<(Peer, PathBuf)> {
        let wanted = Peer::ALL.into_iter().filter(|peer| self.0.contains(peer));
        wanted
            .filter_map(|peer| {
                let found = peer.find(root);
                if found.is_none() {
                    let program = peer.program();
                    eprintln!("{program} is not installed: left out. bench/peers.sh installs it");
                }
                Some((peer, found?))
            })
            .collect()
    }
}

/// What `--peers` says: names between commas, or `all`.
pub(crate) fn parse(names: &str) -> Result<Peers> {
    if names == "all" {
        return Ok(Peers(Peer::ALL.to_vec()));
    }
    let of = |name: &str| {
        let found = Peer::ALL.into_iter().find(|peer| peer.name() == name);
        found.with_context(|| unknown(name))
    };
    Ok(Peers(names.split(',').map(of).collect::<Result<_>>()?))
}

fn unknown(name: &str) -> String {
    let names = Peer::ALL.map(Peer::name).join(", ");
    format!("'{name}' is no peer: choose of {names}, or all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        #[track_caller]
        fn check(text: &str, expect: Option<&[Peer]>) {
            assert_eq!(parse(text).ok().map(|peers| peers.0).as_deref(), expect, "{text}");
        }
        check("all", Some(&Peer::ALL));
        check("redis", Some(&[Peer::Redis]));
        check("iroh-relay,nats", Some(&[Peer::IrohRelay, Peer::Nats]));
        check("", None);
        check("nats,", None);
        check("kafka", None);
        check("all,nats", None);
    }

    #[test]
    fn a_program_is_found_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("bin").join("iroh-relay");
        fs::create_dir(root.path().join("bin")).unwrap();
        assert_ne!(Peer::IrohRelay.find(Some(root.path())), Some(program.clone()));
        fs::write(&program, "").unwrap();
        assert_eq!(Peer::IrohRelay.find(Some(root.path())), Some(program));
    }
}
