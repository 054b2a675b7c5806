//! TCP sockets: listening, and the system calls of a connection.
//!
//! Nothing here blocks, whatever the mode of the descriptor, and nothing raises SIGPIPE.
#![expect(unsafe_code, reason = "rustix has no TCP_NOTSENT_LOWAT")]

use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::limits;

/// Who else may listen on the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortSharing {
    /// Nobody.
    #[default]
    Exclusive,
    /// The first listener of a group (SO_REUSEPORT): the port must be free, also of groups of
    /// other processes, which SO_REUSEPORT alone would join unnoticed.
    First,
    /// A further listener of this process's group, on the address that the first one got.
    Join,
}

/// How to listen. The options of the listener are inherited by its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Who else may listen on the port; nobody by default.
    pub reuse_port: PortSharing,
    /// Connections that wait to be accepted; [`limits::LISTEN_BACKLOG`] by default.
    pub backlog: u32,
    /// Sends small segments at once (TCP_NODELAY); on by default.
    pub no_delay: bool,
    /// An IPv6 listener takes no IPv4 connections; off by default.
    pub ipv6_only: bool,
    /// The kernel's buffers; as the machine has them by default.
    pub buffers: SocketBuffers,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            reuse_port: PortSharing::default(),
            backlog: limits::LISTEN_BACKLOG,
            no_delay: true,
            ipv6_only: false,
            buffers: SocketBuffers::default(),
        }
    }
}

/// Sizes of a socket's buffers in the kernel, bytes; `None` leaves one as it is. The kernel
/// doubles the first two (for its own bookkeeping) and bounds them by `net.core.wmem_max` and
/// `rmem_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketBuffers {
    /// Sent but not acknowledged, and not yet sent (SO_SNDBUF).
    pub send: Option<u32>,
    /// Received but not read (SO_RCVBUF).
    pub receive: Option<u32>,
    /// Not yet sent, above which the socket is not writable (TCP_NOTSENT_LOWAT).
    pub unsent_low_water: Option<u32>,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it listens; the port is the actual one also where 0 was asked for.
    pub address: SocketAddr,
}

/// What a socket carries. TCP and UDP have their own ports each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// EADDRINUSE.
    #[error(
        "{transport} {address} is in use by another process: stop it, or configure another port"
    )]
    InUse {
        /// Whose port it is.
        transport: Transport,
        /// As asked for.
        address: SocketAddr,
    },
    /// EACCES.
    #[error(
        "{address} may not be used: grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in the \
         systemd unit), or configure a port from 1024 on"
    )]
    Forbidden {
        /// As asked for.
        address: SocketAddr,
    },
    /// EADDRNOTAVAIL.
    #[error("{address} is not an address of this machine: configure one that `ip address` lists")]
    NotLocal {
        /// As asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error(
        "listening on {transport} {address} failed ({source}): check limits and the system log"
    )]
    Failed {
        /// What it was to carry.
        transport: Transport,
        /// As asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ListenError {
    pub(crate) fn new(transport: Transport, address: SocketAddr, errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => Self::InUse { transport, address },
            Errno::ACCESS => Self::Forbidden { address },
            Errno::ADDRNOTAVAIL => Self::NotLocal { address },
            _ => Self::Failed { transport, address, source: errno.into() },
        }
    }
}

/// What a receive found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one, at the start of the buffer.
    Bytes(usize),
    /// Nothing now; a poll will tell of more.
    Empty,
    /// The end of the peer's stream.
    End,
}

/// Opens one listening socket.
///
/// # Errors
///
/// [`ListenError`].
pub fn listen(address: SocketAddr, options: &ListenOptions) -> Result<Listener, ListenError> {
    let open = || {
        // Port 0 needs no look: the kernel chooses one that nobody has, groups included.
        if options.reuse_port == PortSharing::First && address.port() != 0 {
            drop(bound(address, false, options.ipv6_only)?);
        }
        let shared = options.reuse_port != PortSharing::Exclusive;
        let socket = bound(address, shared, options.ipv6_only)?;
        sockopt::set_tcp_nodelay(&socket, options.no_delay)?;
        apply_buffers(socket.as_fd(), &options.buffers)?;
        net::listen(&socket, i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let actual = SocketAddr::try_from(net::getsockname(&socket)?)?;
        Ok(Listener { socket, address: actual })
    };
    open().map_err(|errno| ListenError::new(Transport::Tcp, address, errno))
}

/// Opens `count` listening sockets of one address, one for each shard, among which the kernel
/// spreads connections. `options.reuse_port` is not looked at.
///
/// # Errors
///
/// [`ListenError`]; nothing listens then.
pub fn listen_shared(
    address: SocketAddr,
    count: usize,
    options: &ListenOptions,
) -> Result<Vec<Listener>, ListenError> {
    let mut listeners: Vec<Listener> = Vec::with_capacity(count);
    for _ in 0..count {
        let (address, reuse_port) = match listeners.first() {
            None => (address, PortSharing::First),
            Some(first) => (first.address, PortSharing::Join),
        };
        listeners.push(listen(address, &ListenOptions { reuse_port, ..*options })?);
    }
    Ok(listeners)
}

fn bound(address: SocketAddr, shared: bool, ipv6_only: bool) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of the last run that are in TIME_WAIT do not keep the next one from starting.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, ipv6_only)?;
    }
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// Receives into `buffer`, which must not be empty, without waiting.
///
/// # Errors
///
/// The connection's, such as `ConnectionReset`; it is over then.
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    debug_assert!(!buffer.is_empty(), "an empty buffer receives an end that is none");
    loop {
        return match net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => Ok(Received::Bytes(count)),
            Err(Errno::AGAIN) => Ok(Received::Empty),
            Err(Errno::INTR) => continue,
            Err(other) => Err(other.into()),
        };
    }
}

/// Sends what the kernel has room for, without waiting, and returns how many bytes that was;
/// fewer than were given (also none) means that there was no more room.
///
/// # Errors
///
/// The connection's, such as `BrokenPipe`; it is over then.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_with(socket, bytes, SendFlags::empty())
}

/// As [`send`], but what does not fill a segment of TCP waits for what is sent next, up to 200 ms, or for
/// [`push`] (MSG_MORE).
///
/// # Errors
///
/// As [`send`].
pub fn send_more(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_with(socket, bytes, SendFlags::MORE)
}

/// Lets go what [`send_more`] has held back.
///
/// # Errors
///
/// None that a TCP socket has.
pub fn push(socket: BorrowedFd<'_>) -> io::Result<()> {
    // To switch it on again is what sends at once what waits (tcp(7)).
    set_no_delay(socket, true)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
    loop {
        return match net::send(socket, bytes, flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Ok(0),
            Err(Errno::INTR) => continue,
            Err(other) => Err(other.into()),
        };
    }
}

/// Ends our stream: the peer reads to the end and then sees it. The first step of closing.
/// A connection that is not connected any more is already past that.
///
/// # Errors
///
/// None that a TCP socket has otherwise.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    match net::shutdown(socket, net::Shutdown::Write) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Sets the sizes of a socket's buffers.
///
/// # Errors
///
/// None that a TCP socket has.
pub fn set_buffers(socket: BorrowedFd<'_>, buffers: &SocketBuffers) -> io::Result<()> {
    Ok(apply_buffers(socket, buffers)?)
}

/// Sends small segments at once (TCP_NODELAY), or waits for the acknowledgement of the last one.
///
/// # Errors
///
/// None that a TCP socket has.
pub fn set_no_delay(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, on)?)
}

/// Who is at the other end.
///
/// # Errors
///
/// `NotConnected` if the connection is over; `InvalidInput` if the socket is not of TCP or UDP.
pub fn peer_addr(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let peer = net::getpeername(socket)?.ok_or(io::ErrorKind::InvalidInput)?;
    SocketAddr::try_from(peer).map_err(|_| io::ErrorKind::InvalidInput.into())
}

pub(crate) fn apply_buffers(socket: BorrowedFd<'_>, buffers: &SocketBuffers) -> Result<(), Errno> {
    if let Some(bytes) = buffers.send {
        sockopt::set_socket_send_buffer_size(socket, bytes as usize)?;
    }
    if let Some(bytes) = buffers.receive {
        sockopt::set_socket_recv_buffer_size(socket, bytes as usize)?;
    }
    if let Some(bytes) = buffers.unsent_low_water {
        set_unsent_low_water(socket, bytes)?;
    }
    Ok(())
}

fn set_unsent_low_water(socket: BorrowedFd<'_>, bytes: u32) -> Result<(), Errno> {
    // SAFETY: the option's value is one 32-bit integer, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
