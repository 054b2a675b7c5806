//! The sockets that a relay listens on: TCP and UDP on one port for all shards, and HTTP for its operator.

use std::net::{SocketAddr, TcpListener};

use hushwire_uring::sockets::{self, ListenError, ListenOptions, SocketBuffers};
use hushwire_uring::udp::{self, Steering, UdpGroup, UdpOptions};

use super::StartError;
use super::start::resource;
use crate::config::Config;
use crate::limits::{self, Limits};
use crate::store::Meta;

/// HTTP connections that wait to be accepted.
const CONTROL_BACKLOG: u32 = 64;
/// Ports of TCP that are tried for one whose twin of UDP is free too, where any port will do.
const PORTS_TRIED_MAX: usize = 32;

/// The sockets of all shards.
pub(super) struct Listening {
    pub(super) sockets: Vec<sockets::Listener>,
    /// The actual one.
    pub(super) address: SocketAddr,
    /// `None` where no QUIC is wanted.
    pub(super) datagrams: Option<UdpGroup>,
}

/// Listens by TCP and, unless no QUIC is wanted, on the same port of UDP.
pub(super) fn listen_on_both(
    config: &Config,
    shards: usize,
    meta: &Meta,
    limits: &Limits,
) -> Result<Listening, StartError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let sockets = listen_tcp(config, shards)?;
        let address = sockets.first().map_or(config.listen.address, |it| it.address);
        if limits.quic_connections_max == 0 {
            return Ok(Listening { sockets, address, datagrams: None });
        }
        match listen_udp(address, &Steering::new(meta.steering, shards)) {
            Ok(group) => return Ok(Listening { sockets, address, datagrams: Some(group) }),
            Err(ListenError::InUse { .. })
                if config.listen.address.port() == 0 && tries < PORTS_TRIED_MAX => {}
            Err(error) => return Err(StartError::Listen(error)),
        }
    }
}

fn listen_tcp(config: &Config, shards: usize) -> Result<Vec<sockets::Listener>, StartError> {
    let buffers = SocketBuffers {
        send: Some(limits::SEND_BUFFER_BYTES as u32),
        receive: Some(limits::RECEIVE_BUFFER_BYTES as u32),
        unsent_low_water: Some(limits::NOT_SENT_BYTES as u32),
    };
    let options = ListenOptions { buffers, ..ListenOptions::default() };
    sockets::listen_shared(config.listen.address, shards, &options).map_err(StartError::Listen)
}

fn listen_udp(address: SocketAddr, steering: &Steering) -> Result<UdpGroup, ListenError> {
    let options = UdpOptions {
        receive_buffer: Some(limits::UDP_RECEIVE_BUFFER_BYTES as u32),
        send_buffer: Some(limits::UDP_SEND_BUFFER_BYTES as u32),
        ..UdpOptions::default()
    };
    let group = udp::bind_shared(address, steering, &options)?;
    if !group.steered {
        tracing::warn!(
            "the kernel lets no filter steer QUIC: datagrams for other shards cross the mesh, which costs more"
        );
    }
    Ok(group)
}

/// Listens for the operator's HTTP.
pub(super) fn listen_http(config: &Config) -> Result<TcpListener, StartError> {
    let options = ListenOptions { backlog: CONTROL_BACKLOG, ..ListenOptions::default() };
    let listener =
        sockets::listen(config.control.listen.get(), &options).map_err(StartError::Control)?;
    let listener = TcpListener::from(listener.socket);
    listener.set_nonblocking(true).map_err(resource("setting up a socket"))?;
    Ok(listener)
}

/// What devices can dial without being told otherwise: the address itself, unless it means all of them.
pub(super) fn dialable(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_all_cannot_be_dialled() {
        let check = |address: &str, expect: Option<&str>| {
            let found = dialable(address.parse().expect("an address"));
            assert_eq!(found.as_deref(), expect, "{address}");
        };
        check("127.0.0.1:4433", Some("127.0.0.1:4433"));
        check("[::1]:4433", Some("[::1]:4433"));
        check("0.0.0.0:4433", None);
        check("[::]:4433", None);
    }
}
