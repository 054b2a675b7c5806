//! What the rest of this crate sees of a connection: cells in, cells out, by whatever way they go.

use hushwire_wire::control::Transport;

use super::IoError;
use super::quic::QuicStream;
use super::tls::TlsStream;
use crate::link::LinkError;

/// A connection that carries cells, over TLS or QUIC.
#[derive(Debug)]
pub struct CellStream(Way);

#[derive(Debug)]
enum Way {
    Tls(Box<TlsStream>),
    Quic(Box<QuicStream>),
}

/// What [`CellStream::fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There may be cells, and more in the socket.
    Some,
    /// The socket is empty.
    Drained,
    /// The relay has closed its side; cells may be left.
    Ended,
}

impl From<TlsStream> for CellStream {
    fn from(stream: TlsStream) -> Self {
        Self(Way::Tls(Box::new(stream)))
    }
}

impl From<Box<QuicStream>> for CellStream {
    fn from(stream: Box<QuicStream>) -> Self {
        Self(Way::Quic(stream))
    }
}

impl CellStream {
    /// The TLS exporter of this connection (RFC 8446 §7.5), to which a device binds its proof.
    #[must_use]
    pub fn binding(&self) -> [u8; 32] {
        match &self.0 {
            Way::Tls(tls) => tls.binding(),
            Way::Quic(quic) => quic.binding(),
        }
    }

    /// The way the cells go, as the proof of a device names it.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match &self.0 {
            Way::Tls(_) => Transport::Tls,
            Way::Quic(_) => Transport::Quic,
        }
    }

    /// Whether the connection was resumed from a ticket.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match &self.0 {
            Way::Tls(tls) => tls.is_resumed(),
            Way::Quic(quic) => quic.is_resumed(),
        }
    }

    /// Whether so many records were exchanged that the connection should be replaced. Never over QUIC, which renews its
    /// keys by itself and shows nobody that it does (RFC 9001 §6).
    #[must_use]
    pub fn is_worn(&self) -> bool {
        match &self.0 {
            Way::Tls(tls) => tls.is_worn(),
            Way::Quic(_) => false,
        }
    }

    /// Waits until there is something to read, or, with `write`, perhaps room to write. Over QUIC this also sends what
    /// is due meanwhile: acknowledgements, and what was lost. Cancellation-safe.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn ready(&mut self, write: bool) -> Result<(), IoError> {
        match &mut self.0 {
            Way::Tls(tls) => tls.ready(write).await,
            Way::Quic(quic) => quic.ready(write).await,
        }
    }

    /// Reads what the socket has, up to some 256 KiB.
    ///
    /// # Errors
    /// Where the connection is gone, or TLS or QUIC fails.
    pub fn fill(&mut self) -> Result<Filled, IoError> {
        match &mut self.0 {
            Way::Tls(tls) => tls.fill(),
            Way::Quic(quic) => quic.fill(),
        }
    }

    /// The next whole cell that was read, to be opened in place. The cells of a lane come in their order; over TLS, all
    /// do.
    ///
    /// # Errors
    /// Where what came cannot be a cell, or is not where it belongs.
    pub fn next_cell(&mut self) -> Result<Option<&mut [u8]>, LinkError> {
        match &mut self.0 {
            Way::Tls(tls) => tls.next_cell(),
            Way::Quic(quic) => quic.next_cell(),
        }
    }

    /// Takes whole cells, to be sent by [`CellStream::flush`]. Nothing here bounds how much: see
    /// [`CellStream::unsent`].
    ///
    /// # Errors
    /// Where TLS fails.
    ///
    /// # Panics
    /// If `cells` are not whole cells: our own fault.
    pub fn push(&mut self, cells: &[u8]) -> Result<(), IoError> {
        match &mut self.0 {
            Way::Tls(tls) => tls.push(cells),
            Way::Quic(quic) => {
                quic.push(cells);
                Ok(())
            }
        }
    }

    /// Roughly how many bytes wait for the socket, or for the relay's credit.
    #[must_use]
    pub const fn unsent(&self) -> usize {
        match &self.0 {
            Way::Tls(tls) => tls.unsent(),
            Way::Quic(quic) => quic.unsent(),
        }
    }

    /// Writes what the way takes; `true` when nothing is left.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub fn flush(&mut self) -> Result<bool, IoError> {
        match &mut self.0 {
            Way::Tls(tls) => tls.flush(),
            Way::Quic(quic) => quic.flush(),
        }
    }

    /// Whether everything that was pushed will arrive even if the connection is dropped now, as far as this end can
    /// know: over TLS the system has it, over QUIC the relay has acknowledged it.
    #[must_use]
    pub fn is_settled(&mut self) -> bool {
        match &mut self.0 {
            Way::Tls(tls) => tls.unsent() == 0,
            Way::Quic(quic) => quic.is_settled(),
        }
    }

    /// Goes on from a new socket, as a device does that knows of another network. Over TLS this does nothing.
    ///
    /// # Errors
    /// What the system says; the connection is as it was.
    pub fn rebind(&mut self) -> Result<(), std::io::Error> {
        match &mut self.0 {
            Way::Tls(_) => Ok(()),
            Way::Quic(quic) => quic.rebind(),
        }
    }
}
