//! Cells over TLS: one cell is one record, two for the 32 KiB cell. rustls is driven by hand, so that many records
//! leave in one system call and nothing leaves that is not a cell.
//!
//! After the handshake this end sends no TLS message of its own: no close_notify, no KeyUpdate. Both have sizes that
//! an observer would recognise. The end of a connection is a FIN; what was lost with it the conversations notice.

use std::io::{self, BufRead, IoSlice, Write};

use hushwire_wire::limits::{ALPN, EXPORTER_LABEL};
use rustls::ClientConnection;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::connector::tls_error;
use super::limits::{READ_BYTES_MAX, RECORD_BYTES_MAX, RECORDS_MAX};
use super::{Filled, IoError};
use crate::link::{LinkError, cell_len};

/// A connection over TLS.
#[derive(Debug)]
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: ClientConnection,
    binding: [u8; 32],
    /// What was read from the socket and not yet given to rustls: `wire[wire_at..wire_end]`.
    wire: Vec<u8>,
    wire_at: usize,
    wire_end: usize,
    /// Plaintext: whole cells and at most one begun, from `plain_at` on.
    plain: Vec<u8>,
    plain_at: usize,
    unsent: usize,
    records: u64,
    ended: bool,
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    pub(super) async fn handshake(
        tcp: TcpStream,
        mut tls: ClientConnection,
    ) -> Result<Self, IoError> {
        tls.set_buffer_limit(None);
        let wire = vec![0; READ_BYTES_MAX];
        let mut stream = Self {
            tcp,
            tls,
            binding: [0; 32],
            wire,
            wire_at: 0,
            wire_end: 0,
            plain: Vec::new(),
            plain_at: 0,
            unsent: 0,
            records: 0,
            ended: false,
        };
        loop {
            stream.flush()?;
            if !stream.tls.is_handshaking() && !stream.tls.wants_write() {
                break;
            }
            let interest =
                if stream.tls.wants_write() { Interest::WRITABLE } else { Interest::READABLE };
            stream.tcp.ready(interest).await.map_err(IoError::Lost)?;
            if stream.tls.is_handshaking() && stream.fill()? == Filled::Ended {
                return Err(IoError::Closed);
            }
        }
        if stream.tls.alpn_protocol() != Some(ALPN) {
            return Err(IoError::WrongService);
        }
        stream.binding = stream
            .tls
            .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
            .map_err(IoError::Tls)?;
        Ok(stream)
    }

    pub(super) const fn binding(&self) -> [u8; 32] {
        self.binding
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub(super) const fn is_worn(&self) -> bool {
        self.records >= RECORDS_MAX
    }

    pub(super) async fn ready(&self, write: bool) -> Result<(), IoError> {
        if self.wire_at < self.wire_end {
            return Ok(());
        }
        let interest =
            if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.tcp.ready(interest).await.map(drop).map_err(IoError::Lost)
    }

    pub(super) fn fill(&mut self) -> Result<Filled, IoError> {
        if self.ended {
            return Ok(Filled::Ended);
        }
        let mut filled = Filled::Some;
        if self.wire_at == self.wire_end {
            match self.tcp.try_read(&mut self.wire) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(Filled::Ended);
                }
                Ok(read) => {
                    (self.wire_at, self.wire_end) = (0, read);
                    if read < READ_BYTES_MAX {
                        filled = Filled::Drained;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Filled::Drained);
                }
                Err(error) => return Err(IoError::Lost(error)),
            }
        }
        self.decrypt()?;
        Ok(filled)
    }

    fn decrypt(&mut self) -> Result<(), IoError> {
        self.plain.drain(..self.plain_at);
        self.plain_at = 0;
        while self.wire_at < self.wire_end {
            let mut rest = &self.wire[self.wire_at..self.wire_end];
            let read = self.tls.read_tls(&mut rest).map_err(IoError::Lost)?;
            self.wire_at += read;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says why is worth the attempt only before WELCOME.
                    if self.tls.is_handshaking() {
                        let _lost_anyway = self.tls.write_tls(&mut Socket(&self.tcp));
                    }
                    return Err(tls_error(error));
                }
            };
            if state.plaintext_bytes_to_read() > 0 {
                self.take_plaintext()?;
            }
            if state.peer_has_closed() {
                self.ended = true;
                break;
            }
        }
        Ok(())
    }

    fn take_plaintext(&mut self) -> Result<(), IoError> {
        let mut reader = self.tls.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(record) => {
                    let length = record.len();
                    self.plain.extend_from_slice(record);
                    self.records += 1;
                    reader.consume(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(IoError::Lost(error)),
            }
        }
    }

    pub(super) fn next_cell(&mut self) -> Result<Option<&mut [u8]>, LinkError> {
        let Some(&first) = self.plain[self.plain_at..].first_chunk::<2>() else { return Ok(None) };
        let end = self.plain_at + cell_len(first)?;
        let cell = self.plain.get_mut(self.plain_at..end);
        if cell.is_some() {
            self.plain_at = end;
        }
        Ok(cell)
    }

    pub(super) fn push(&mut self, mut cells: &[u8]) -> Result<(), IoError> {
        while let Some(&first) = cells.first_chunk::<2>() {
            let (cell, rest) = cells.split_at(cell_len(first).expect("our own cell"));
            let written = self.tls.writer().write(cell).map_err(IoError::Lost)?;
            assert_eq!(written, cell.len(), "there is no limit to what rustls holds");
            self.unsent += cell.len();
            self.records += cell.len().div_ceil(RECORD_BYTES_MAX) as u64;
            cells = rest;
        }
        Ok(())
    }

    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    pub(super) fn flush(&mut self) -> Result<bool, IoError> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(&self.tcp)) {
                Ok(written) => self.unsent = self.unsent.saturating_sub(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(IoError::Lost(error)),
            }
        }
        self.unsent = 0;
        Ok(true)
    }
}
