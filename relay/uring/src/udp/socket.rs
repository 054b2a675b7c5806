//! Sending and receiving.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};
use rustix::io::Errno;

use super::Inbox;
use crate::limits;

/// A UDP socket, not connected to anybody. Nothing here blocks. Poll its descriptor for what is
/// there and for room; rule 4 of the crate holds.
#[derive(Debug)]
pub struct UdpSocket {
    socket: OwnedFd,
    /// Behind a cell only since a send can damage it; see [`UdpSocket::send`].
    state: RefCell<UdpSocketState>,
}

/// Datagrams to send: one, or several of one length to one receiver.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom.
    pub to: SocketAddr,
    /// From which of our addresses; the kernel chooses by default. An answer comes from where the
    /// question went to ([`Datagram::to`](super::Datagram::to)), or the other end does not know it.
    /// From an address that is not ours they are dropped, or leave from one that the kernel
    /// chooses.
    pub from: Option<IpAddr>,
    /// Their congestion mark (ECN, two bits).
    pub ecn: Option<u8>,
    /// What they carry, one after another.
    pub contents: &'a [u8],
    /// The length of each, of which the last may have less; `None` for a single one. No more than
    /// [`UdpSocket::segments_max`] of them.
    pub segment: Option<usize>,
}

impl UdpSocket {
    pub(super) fn new(socket: OwnedFd, state: UdpSocketState) -> Self {
        Self { socket, state: RefCell::new(state) }
    }

    /// Receives what is there, as much as `inbox` holds, without waiting. `false` means that
    /// nothing was there. With `true` there may be more, and it may also be that the network only
    /// told of a datagram that did not arrive (ICMP); then `inbox` is empty.
    ///
    /// # Errors
    ///
    /// The socket's own, which no peer can cause.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<bool> {
        let state = self.state.borrow();
        let received =
            inbox.fill(|buffers, metas| state.recv((&self.socket).into(), buffers, metas));
        match received.map_err(errno_of) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(of_network) if is_of_network(of_network) => Ok(true),
            Err(other) => Err(other.into()),
        }
    }

    /// Sends without waiting. `false` means that the kernel has no room now: poll for
    /// [`Interest::Write`](crate::Interest::Write) and send again. `true` means that the kernel
    /// took the datagrams, or that they are dropped, all together, as UDP may: nobody is there, the
    /// path is too narrow, a firewall forbids it, the port is 0, or the device turns out not to
    /// take several in one go, which [`UdpSocket::segments_max`] then knows.
    ///
    /// # Errors
    ///
    /// The socket's own, which no peer can cause.
    ///
    /// # Panics
    ///
    /// If the segments are empty or more than [`limits::SEGMENTS_MAX`].
    pub fn send(&self, datagrams: &Outgoing<'_>) -> io::Result<bool> {
        let segment = datagrams.segment.unwrap_or(datagrams.contents.len());
        let most = segment.saturating_mul(limits::SEGMENTS_MAX);
        assert!(datagrams.contents.len() <= most, "empty segments, or too many");
        if datagrams.to.port() == 0 {
            // Nobody has that port, but a forged sender can say so. The kernel's EINVAL would cost
            // us what is said below.
            return Ok(true);
        }
        let mut transmit = Transmit {
            destination: datagrams.to,
            ecn: datagrams.ecn.and_then(EcnCodepoint::from_bits),
            contents: datagrams.contents,
            segment_size: datagrams.segment,
            src_ip: datagrams.from,
        };
        let mut sent = self.try_send(&transmit);
        if sent == Err(Errno::INVAL) && datagrams.from.is_some() {
            // At EINVAL quinn-udp does without GSO and ECN for good, as the kernel could lack them.
            // An address that is not ours can give the same, and a peer can bring that about: by a
            // multicast, whose answer would come from the multicast address. So start afresh
            // without it, and see whether it was that.
            transmit.src_ip = None;
            self.state.replace(UdpSocketState::new((&self.socket).into())?);
            sent = self.try_send(&transmit);
        }
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(lost) if is_of_network(lost) || is_of_datagram(lost) => Ok(true),
            Err(other) => Err(other.into()),
        }
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> Result<(), Errno> {
        self.state.borrow().try_send((&self.socket).into(), transmit).map_err(errno_of)
    }

    /// How many datagrams one send can hold (GSO): 1, or [`limits::SEGMENTS_MAX`]. Becomes 1 once a
    /// device has refused more.
    pub fn segments_max(&self) -> usize {
        self.state.borrow().max_gso_segments()
    }

    /// The kernel cannot be kept from cutting large datagrams, so their size tells nothing about
    /// the path: do not probe it.
    pub fn may_fragment(&self) -> bool {
        self.state.borrow().may_fragment()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Without the receiver.
impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("ecn", &self.ecn)
            .field("length", &self.contents.len())
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

fn errno_of(error: io::Error) -> Errno {
    // Every error of a system call has a number.
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// What a router or another host reports (ICMP), or our own routes do: of one datagram, not of the
/// socket.
fn is_of_network(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NONET
            | Errno::MSGSIZE
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::ACCESS
    )
}

/// Why the kernel sends one datagram and not another: a firewall, an address that is no longer
/// ours, no memory at the moment, a device without GSO.
fn is_of_datagram(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PERM | Errno::ADDRNOTAVAIL | Errno::INVAL | Errno::NOBUFS | Errno::NOMEM | Errno::IO
    )
}
