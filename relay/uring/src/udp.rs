//! UDP sockets for QUIC: one for each shard, and the kernel sorts the datagrams.
//!
//! [`bind_shared`] opens a group of sockets on one address and gives the kernel a filter
//! ([`Steering`]) that finds the shard of every datagram by its connection ID, so that no thread
//! has to pass packets to another. [`UdpSocket`] sends and receives with what QUIC needs beside the
//! bytes: several datagrams in one system call (GSO, GRO), congestion marks (ECN, RFC 3168), the
//! local address of each datagram, and no fragments (RFC 9000, section 14). Options and system
//! calls are those of `quinn-udp`.
//!
//! # What still comes to the wrong shard
//!
//! The filter is exact for single datagrams. Two cases go past it, so a shard drops or hands on
//! what [`Steering::shard_of_datagram`] does not give to it:
//!
//! - A network card's driver may join datagrams before the filter looks (GRO): those of one sender
//!   that come in one go and are of one length. It then sees the first one's ID only. A sender that
//!   has two connections on one socket can cause this.
//! - What is sent to a broadcast or multicast address comes to every socket of the group.

mod filter;
mod inbox;
mod socket;
mod steering;

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use quinn_udp::UdpSocketState;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::sockets::{ListenError, SocketBuffers, Transport, apply_buffers};

pub use inbox::{Datagram, Inbox};
pub use socket::{Outgoing, UdpSocket};
pub use steering::Steering;

/// How to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UdpOptions {
    /// Bytes received but not read, of each socket (SO_RCVBUF); as the machine has it by default.
    /// The kernel doubles it and bounds it by `net.core.rmem_max`. What does not fit is lost.
    pub receive_buffer: Option<u32>,
    /// Bytes not yet sent, of each socket (SO_SNDBUF); likewise, with `wmem_max`.
    pub send_buffer: Option<u32>,
    /// An IPv6 socket takes no IPv4 datagrams; off by default. Where it does take them, their
    /// addresses are IPv4-mapped (`::ffff:192.0.2.1`), and are sent back to as such.
    pub ipv6_only: bool,
}

/// A bound socket.
#[derive(Debug)]
pub struct BoundUdp {
    /// The socket.
    pub socket: UdpSocket,
    /// Where it receives; the port is the actual one also where 0 was asked for.
    pub address: SocketAddr,
}

/// The sockets of one address. They belong together: when one is closed, the kernel numbers the
/// others anew and the filter is wrong about them.
#[derive(Debug)]
pub struct UdpGroup {
    /// One for each shard, in their order.
    pub sockets: Vec<BoundUdp>,
    /// The kernel took the filter. Otherwise it spreads datagrams by the addresses of their
    /// senders, and the shards have to hand them on. With port 0 it can then also be the port of
    /// another group of the same user.
    pub steered: bool,
}

/// Binds one socket for each shard of `steering` to `address`. As with
/// [`listen_shared`](crate::sockets::listen_shared), nobody else may have the port.
///
/// No datagram is misplaced while this runs: what arrives before the group is complete is dropped,
/// as it would have been just before.
///
/// # Errors
///
/// [`ListenError`]; nothing is bound then.
pub fn bind_shared(
    address: SocketAddr,
    steering: &Steering,
    options: &UdpOptions,
) -> Result<UdpGroup, ListenError> {
    bind_group(address, steering, options)
        .map_err(|errno| ListenError::new(Transport::Udp, address, errno))
}

/// Binds a socket of its own to `address`, whose port nobody else may have. There is no filter: it receives all.
///
/// # Errors
///
/// [`ListenError`]; nothing is bound then.
pub fn bind(address: SocketAddr, options: &UdpOptions) -> Result<BoundUdp, ListenError> {
    open(address, options)
        .and_then(|socket| bind_socket(socket, address))
        .map_err(|errno| ListenError::new(Transport::Udp, address, errno))
}

fn bind_group(
    address: SocketAddr,
    steering: &Steering,
    options: &UdpOptions,
) -> Result<UdpGroup, Errno> {
    if address.port() != 0 {
        // SO_REUSEPORT alone would join another process's group unnoticed.
        net::bind(open(address, options)?, &address)?;
    }
    let first = open_shared(address, options)?;
    // Before it is bound: the filter is then there from the first datagram on. The kernel also
    // takes a socket that has one for the first of its group and lets it join no other, which
    // with port 0 it would.
    let steered = filter::steer(first.as_fd(), &steering.program()).is_ok();
    let mut group = vec![bind_socket(first, address)?];
    for _ in 1..steering.shards() {
        let address = group[0].address;
        group.push(bind_socket(open_shared(address, options)?, address)?);
    }
    for bound in &group {
        filter::admit(bound.socket.as_fd())?;
    }
    Ok(UdpGroup { sockets: group, steered })
}

/// A socket that may share its port, and that drops all it receives until [`filter::admit`].
fn open_shared(address: SocketAddr, options: &UdpOptions) -> Result<OwnedFd, Errno> {
    let socket = open(address, options)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    filter::refuse(socket.as_fd())?;
    Ok(socket)
}

fn open(address: SocketAddr, options: &UdpOptions) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, options.ipv6_only)?;
    }
    let buffers = SocketBuffers {
        send: options.send_buffer,
        receive: options.receive_buffer,
        unsent_low_water: None,
    };
    apply_buffers(socket.as_fd(), &buffers)?;
    Ok(socket)
}

fn bind_socket(socket: OwnedFd, address: SocketAddr) -> Result<BoundUdp, Errno> {
    // Its options come first: a datagram without its marks and addresses is not to be had.
    let state = UdpSocketState::new((&socket).into())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
    net::bind(&socket, &address)?;
    let address = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok(BoundUdp { socket: UdpSocket::new(socket, state), address })
}
