//! The relay's own dialect: a message is a cell, and a cell one record, or two where it has 32 KiB.

use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use hushwire_relay::transport::limits::RECORD_PLAIN_BYTES_MAX;
use hushwire_relay::transport::record_len;
use hushwire_wire::cell::{HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{Control, disclose};
use hushwire_wire::id::DeviceId;

use super::dialect::{Dialect, Message, News, Seat, Speaker};
use super::records::{APPLICATION_DATA, control};
use super::{Connector, Device};
use crate::limits::{OPEN_ALWAYS_BYTES_MAX, OPEN_ONE_IN};

impl Dialect for Connector {
    type Device = CellDevice;

    fn introduce(&self, seat: Seat<'_>) -> Result<CellDevice> {
        let device = self.connect(seat.identity, None)?;
        Ok(CellDevice { device, peer: seat.peer.device, second_half: false })
    }
}

/// A device of a pair.
#[derive(Debug)]
pub(crate) struct CellDevice {
    pub(crate) device: Device,
    /// The other one.
    peer: DeviceId,
    /// Whether its next record is the second half of a cell.
    second_half: bool,
}

impl Speaker for CellDevice {
    fn socket(&self) -> BorrowedFd<'_> {
        self.device.socket.as_fd()
    }

    fn seal(
        &mut self,
        message: &mut Message,
        numbers: Range<u64>,
        output: &mut Vec<u8>,
    ) -> Result<()> {
        let cell = &mut message.bytes[..];
        let header = Header::unicast(message.class, 0, numbers.start, self.peer).encode();
        cell[..HEADER_LEN].copy_from_slice(&header);
        // HELLO had counter 0, so that the cells have their numbers.
        for counter in numbers {
            set_counter(cell, counter);
            self.device.sealing.seal(cell, output)?;
        }
        Ok(())
    }

    #[inline]
    fn record(&mut self, record: &mut [u8], message: &Message, news: &mut News) -> Result<()> {
        let bytes = message.class.cell_len();
        let usual = record.len() == record_len(bytes.min(RECORD_PLAIN_BYTES_MAX));
        let device = &mut self.device;
        if self.second_half {
            device.opening.skip();
            self.second_half = false;
            news.arrived += 1;
            return Ok(());
        }
        let opened = bytes <= OPEN_ALWAYS_BYTES_MAX || device.expected.is_multiple_of(OPEN_ONE_IN);
        if usual && !opened {
            device.opening.skip();
            device.expected += 1;
            self.second_half = bytes > RECORD_PLAIN_BYTES_MAX;
            news.arrived += usize::from(!self.second_half);
            return Ok(());
        }
        match device.opening.open(record)? {
            (APPLICATION_DATA, cell) => {
                let header = cell.first_chunk::<HEADER_LEN>().context("a cell without a header")?;
                let header = Header::decode(header)?;
                if header.lane != 0 || header.counter != device.expected {
                    bail!("cell {} came where {} was due", header.counter, device.expected);
                }
                device.expected += 1;
                self.second_half = opened_cell(&header, cell, self.peer, message, news)?;
                Ok(())
            }
            (kind, content) => control(kind, content),
        }
    }
}

/// Takes a cell whose counter is right. Returns whether its second half is still to come.
fn opened_cell(
    header: &Header,
    cell: &[u8],
    peer: DeviceId,
    message: &Message,
    news: &mut News,
) -> Result<bool> {
    match header.kind {
        Kind::Cover => Ok(false),
        Kind::Unicast if header.peer != peer => {
            bail!("a cell arrived from a device that did not send it")
        }
        Kind::Unicast if header.class != message.class => {
            bail!("a cell of {:?} arrived that nobody sent", header.class)
        }
        Kind::Unicast if header.class.cell_len() > RECORD_PLAIN_BYTES_MAX => Ok(true),
        Kind::Unicast if cell[HEADER_LEN..] != message.bytes[HEADER_LEN..] => {
            bail!("a cell's body was changed on its way")
        }
        Kind::Unicast => {
            news.arrived += 1;
            Ok(false)
        }
        Kind::Broadcast => bail!("a broadcast arrived that nobody sent"),
        Kind::Control => match Control::decode(disclose(&cell[HEADER_LEN..])?)? {
            Control::Undeliverable { counter, .. } => {
                news.refused.push(counter);
                Ok(false)
            }
            other @ (Control::Challenge { .. }
            | Control::Hello(_)
            | Control::Welcome(_)
            | Control::Error { .. }
            | Control::Request { .. }
            | Control::Done { .. }
            | Control::Paired { .. }
            | Control::Pong { .. }
            | Control::Goaway { .. }) => bail!("the server said {other:?}"),
        },
    }
}
