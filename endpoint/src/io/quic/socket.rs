//! A UDP socket: many datagrams in one system call, ECN, no fragments.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;

use crate::io::limits::{
    DATAGRAM_BUFFER_BYTES, DATAGRAM_BUFFERS, DATAGRAMS_MAX, RECEIVES_MAX, SOCKET_RECEIVE_BYTES,
};

/// Bound to every address of this machine and connected to none, so that the system sends from whatever address leads
/// to the relay at the time.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<u8>,
}

/// Where a datagram came from, and how.
pub(super) struct Arrival {
    pub(super) from: SocketAddr,
    pub(super) to: Option<std::net::IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
}

impl Socket {
    /// A socket of the family of `remote`.
    pub(super) fn bind(remote: SocketAddr) -> io::Result<Self> {
        let any = match remote {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let udp = std::net::UdpSocket::bind(any)?;
        let state = UdpSocketState::new((&udp).into())?;
        // As much as the system allows: what finds no room there is lost.
        let _less = state.set_recv_buffer_size((&udp).into(), SOCKET_RECEIVE_BYTES);
        let udp = UdpSocket::from_std(udp)?;
        Ok(Self { udp, state, buffers: vec![0; DATAGRAM_BUFFERS * DATAGRAM_BUFFER_BYTES] })
    }

    /// Whether [`Socket::receive`] and [`Socket::send`] fail where the network says that nobody is there (ICMP), which
    /// anybody can forge: good for a decision what to try next, not to end a connection that works. Where the system
    /// has no such thing, nobody is told.
    #[cfg(target_os = "linux")]
    pub(super) fn hear_refusals(&self, hear: bool) {
        use nix::sys::socket::{setsockopt, sockopt};
        let set = match self.udp.local_addr() {
            Ok(SocketAddr::V6(_)) => setsockopt(&self.udp, sockopt::Ipv6RecvErr, &hear),
            Ok(SocketAddr::V4(_)) | Err(_) => setsockopt(&self.udp, sockopt::Ipv4RecvErr, &hear),
        };
        if let Err(error) = set {
            tracing::debug!(%error, "the system does not say whether a UDP port is closed");
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) const fn hear_refusals(&self, _hear: bool) {}

    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    pub(super) fn datagrams_max(&self) -> usize {
        self.state.max_gso_segments().min(DATAGRAMS_MAX)
    }

    /// Hands out what has arrived; whether there may be more.
    pub(super) fn receive(&mut self, mut take: impl FnMut(Arrival, &[u8])) -> io::Result<bool> {
        let Self { udp, state, buffers } = self;
        let mut metas = [RecvMeta::default(); DATAGRAM_BUFFERS];
        let mut rest = buffers.chunks_exact_mut(DATAGRAM_BUFFER_BYTES).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; DATAGRAM_BUFFERS] =
            std::array::from_fn(|_| rest.next().expect("as many as there are"));
        for _ in 0..RECEIVES_MAX {
            let mut attempt = |interest| {
                let once = || state.recv((&*udp).into(), &mut slices, &mut metas);
                match udp.try_io(interest, once) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    result => result.map(Some),
                }
            };
            // tokio looks at one interest at a time.
            let received = match attempt(Interest::READABLE)? {
                None => attempt(Interest::ERROR)?,
                some => some,
            };
            let Some(count) = received else { return Ok(false) };
            for (meta, bytes) in metas[..count].iter().zip(&slices) {
                for datagram in bytes[..meta.len].chunks(meta.stride.max(1)) {
                    let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
                    take(Arrival { from: meta.addr, to: meta.dst_ip, ecn }, datagram);
                }
            }
        }
        Ok(true)
    }

    /// Sends one datagram, or several of one size.
    pub(super) fn send(&self, transmit: &Transmit, bytes: &[u8]) -> io::Result<()> {
        self.udp.try_io(Interest::WRITABLE, || self.send_at_once(transmit, bytes))
    }

    /// As [`Socket::send`], and does not ask the runtime, which may be gone.
    pub(super) fn send_at_once(&self, transmit: &Transmit, bytes: &[u8]) -> io::Result<()> {
        let ecn = transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8));
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn,
            contents: &bytes[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.state.try_send((&self.udp).into(), &transmit)
    }

    /// Waits until there is something to receive, or, with `write`, room to send. Cancellation-safe.
    pub(super) async fn ready(&self, write: bool) -> io::Result<Ready> {
        let read = Interest::READABLE | Interest::ERROR;
        self.udp.ready(if write { read | Interest::WRITABLE } else { read }).await
    }
}
