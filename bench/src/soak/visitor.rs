//! A device that comes, is welcomed, says something, hears something and leaves, in steps that never wait.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hushwire_uring::sockets;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::control::{Control, Transport, disclose};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::{EXPORTER_LABEL, HELLO_CLASS_MAX};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustls::ClientConnection;

use crate::load::{Identity, hello, tls::TlsConnector};

/// Cells that each of two visitors sends to the other.
pub(super) const CELLS: u64 = 4;

/// Bytes of one read: its key share is about as long, and its certificate and signature are behind it.
const READ_PIECE_BYTES: u64 = 1_200;

/// How a visitor leaves that was welcomed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// With close_notify and FIN, and hears the relay's.
    Notify,
    /// With FIN alone.
    Fin,
    /// With RST.
    Reset,
    /// With FIN in the middle of a record.
    HalfRecord,
    /// With RST in the middle of a record.
    HalfRecordReset,
}

/// How far a visitor has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// TLS, and then CHALLENGE.
    Arriving,
    /// HELLO was said.
    Greeting,
    Present,
    /// It has said that it leaves, and waits for the relay to do so.
    Leaving,
    Gone,
}

/// A connection of one device.
#[derive(Debug)]
pub(super) struct Visitor {
    socket: TcpStream,
    tls: ClientConnection,
    peer: DeviceId,
    stage: Stage,
    /// What came of a cell that is not whole.
    heard: Vec<u8>,
    /// The counter of the next cell that comes.
    expected: u64,
    /// Cells of the other that have come.
    arrived: u64,
}

/// A connection that is on its way: nothing waits for it.
pub(super) fn connecting(address: SocketAddr) -> Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error).context("connecting failed"),
    }
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Lets the end of a socket be a reset.
pub(super) fn reset(socket: &TcpStream) -> Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Whether nothing was ready, in place of an error.
fn blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl Visitor {
    /// Begins to connect.
    pub(super) fn new(tls: &TlsConnector, peer: DeviceId) -> Result<Self> {
        Ok(Self {
            socket: connecting(tls.address())?,
            tls: tls.begin()?,
            peer,
            stage: Stage::Arriving,
            heard: Vec::new(),
            expected: 0,
            arrived: 0,
        })
    }

    pub(super) fn is_present(&self) -> bool {
        self.stage == Stage::Present
    }

    /// Whether the relay has said goodbye, too.
    pub(super) fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// How far it has come, for whoever wonders why it is still here.
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether it has all that the other sends.
    pub(super) fn has_all(&self) -> bool {
        self.is_present() && self.arrived == CELLS
    }

    /// Sends and reads what can be sent and read now. `body` is what cells are to carry.
    pub(super) fn step(&mut self, identity: &Identity, body: &[u8]) -> Result<()> {
        self.flush()?;
        // A piece at a time, so that the relay's answer to ClientHello is worked off in several steps.
        let mut piece = (&self.socket).take(READ_PIECE_BYTES);
        match blocked(self.tls.read_tls(&mut piece)) {
            Ok(None) => return Ok(()),
            // Whichever way the relay ends what we have ended.
            Ok(Some(0)) | Err(_) if self.stage == Stage::Leaving => {
                self.stage = Stage::Gone;
                return Ok(());
            }
            Ok(Some(0)) => bail!("the relay closed the connection of a visitor"),
            Ok(Some(_)) => {}
            Err(error) => return Err(error).context("reading failed"),
        }
        let state = self.tls.process_new_packets()?;
        let from = self.heard.len();
        self.heard.resize(from + state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.heard[from..])?;
        while let Some((header, cell)) = self.next_cell()? {
            self.take(&header, &cell, identity, body)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            if blocked(self.tls.write_tls(&mut self.socket)).context("sending failed")?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes a whole cell out of what was heard.
    fn next_cell(&mut self) -> Result<Option<(Header, Vec<u8>)>> {
        let Some(header) = self.heard.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Header::decode(header)?;
        let bytes = header.class.cell_len();
        ensure!(header.class <= HELLO_CLASS_MAX, "a visitor was sent a cell of {bytes} bytes");
        if self.heard.len() < bytes {
            return Ok(None);
        }
        let (came, due) = (header.counter, self.expected);
        ensure!(came == due, "cell {came} came to a visitor where {due} was due");
        self.expected += 1;
        Ok(Some((header, self.heard.drain(..bytes).collect())))
    }

    fn take(
        &mut self,
        header: &Header,
        cell: &[u8],
        identity: &Identity,
        body: &[u8],
    ) -> Result<()> {
        let content = &cell[HEADER_LEN..];
        match (self.stage, header.kind) {
            (_, Kind::Cover) | (Stage::Leaving | Stage::Gone, _) => {}
            (Stage::Arriving, Kind::Control) => {
                let binding =
                    self.tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?;
                let hello = hello(identity, None, disclose(content)?, Transport::Tls, &binding)?;
                self.tls.writer().write_all(&hello)?;
                self.stage = Stage::Greeting;
            }
            (Stage::Greeting, Kind::Control) => match Control::decode(disclose(content)?)? {
                Control::Welcome(_) => self.stage = Stage::Present,
                other @ (Control::Error { .. }
                | Control::Challenge { .. }
                | Control::Hello(_)
                | Control::Request { .. }
                | Control::Done { .. }
                | Control::Paired { .. }
                | Control::Undeliverable { .. }
                | Control::Pong { .. }
                | Control::Goaway { .. }) => bail!("the relay answered HELLO with {other:?}"),
            },
            (Stage::Present, Kind::Unicast) => {
                ensure!(header.peer == self.peer, "a cell came from a device that did not send it");
                ensure!(content == body, "a cell's body was changed on its way");
                self.arrived += 1;
            }
            (Stage::Present, Kind::Control) => {
                bail!("the relay said {:?} to a visitor", Control::decode(disclose(content)?)?)
            }
            (stage, kind) => bail!("a cell of kind {kind:?} came to a visitor that is {stage:?}"),
        }
        Ok(())
    }

    fn cell(&self, counter: u64, body: &[u8]) -> Vec<u8> {
        [&Header::unicast(Class::C0, 0, counter, self.peer).encode(), body].concat()
    }

    /// Says everything that it has to say to the other.
    pub(super) fn speak(&mut self, body: &[u8]) -> Result<()> {
        // HELLO had counter 0.
        for counter in 1..=CELLS {
            let cell = self.cell(counter, body);
            self.tls.writer().write_all(&cell)?;
        }
        self.flush()
    }

    /// Leaves. It is gone at once, or remains until the relay has said goodbye as well.
    pub(super) fn leave(mut self: Box<Self>, how: Leave, body: &[u8]) -> Result<Option<Box<Self>>> {
        if matches!(how, Leave::Reset | Leave::HalfRecordReset) {
            reset(&self.socket)?;
        }
        match how {
            Leave::Fin | Leave::Reset => Ok(None),
            Leave::HalfRecord | Leave::HalfRecordReset => {
                let cell = self.cell(CELLS + 1, body);
                let mut record = Vec::new();
                self.tls.writer().write_all(&cell)?;
                self.tls.write_tls(&mut record)?;
                sockets::send(self.socket.as_fd(), &record[..record.len() / 2])?;
                Ok(None)
            }
            Leave::Notify => {
                self.tls.send_close_notify();
                self.flush()?;
                sockets::shutdown_write(self.socket.as_fd())?;
                self.stage = Stage::Leaving;
                Ok(Some(self))
            }
        }
    }
}
