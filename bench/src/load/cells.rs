//! The relay's own dialect: a message is a cell, and a cell one record, or two where it has 32 KiB.

use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use hushwire_relay::transport::limits::RECORD_PLAIN_BYTES_MAX;
use hushwire_relay::transport::record_len;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{Control, Undelivered, disclose};
use hushwire_wire::id::DeviceId;

use super::dialect::{Dialect, Message, News, Seat, Speaker};
use super::records::{APPLICATION_DATA, control};
use super::{Connector, Device};
use crate::limits::{OPEN_ALWAYS_BYTES_MAX, OPEN_ONE_IN};

impl Dialect for Connector {
    type Device = CellDevice;

    fn introduce(&self, seat: Seat<'_>) -> Result<CellDevice> {
        let device = self.connect(seat.identity, None)?;
        let Seat { number, peer, .. } = seat;
        Ok(CellDevice { device, number, peer: peer.device, second_half: None })
    }
}

/// A device of a pair.
#[derive(Debug)]
pub(crate) struct CellDevice {
    pub(crate) device: Device,
    /// Its place in the fleet.
    number: usize,
    /// The other one.
    peer: DeviceId,
    /// Of which cell its next record is the second half.
    second_half: Option<Class>,
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
        let mut written = None;
        // HELLO had counter 0, so that the cells have their numbers.
        for counter in numbers {
            let class = message.class_of(self.number, counter);
            let cell = &mut message.bytes[..class.cell_len()];
            if written.replace(class) != Some(class) {
                let header = Header::unicast(class, 0, counter, self.peer).encode();
                cell[..HEADER_LEN].copy_from_slice(&header);
            }
            set_counter(cell, counter);
            self.device.sealing.seal(cell, output)?;
        }
        Ok(())
    }

    #[inline]
    fn record(&mut self, record: &mut [u8], message: &Message, news: &mut News) -> Result<()> {
        let device = &mut self.device;
        if let Some(class) = self.second_half.take() {
            device.opening.skip();
            news.arrive(class.cell_len());
            return Ok(());
        }
        let skips = |class: &Class| {
            class.cell_len() > OPEN_ALWAYS_BYTES_MAX && !device.expected.is_multiple_of(OPEN_ONE_IN)
        };
        if let Some(class) = begun_by(record.len(), message).filter(skips) {
            device.opening.skip();
            device.expected += 1;
            if class.cell_len() > RECORD_PLAIN_BYTES_MAX {
                self.second_half = Some(class);
            } else {
                news.arrive(class.cell_len());
            }
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

/// The size of the message that a record of so many bytes begins, if that says it: a record of 16 KiB may be the
/// whole of one size or half of the next.
#[inline]
fn begun_by(record_bytes: usize, message: &Message) -> Option<Class> {
    let begins =
        |class: &Class| record_bytes == record_len(class.cell_len().min(RECORD_PLAIN_BYTES_MAX));
    let Some(mix) = &message.mix else { return Some(message.class).filter(begins) };
    let mut classes = mix.weights().map(|(class, _)| class).filter(begins);
    classes.next().filter(|_| classes.next().is_none())
}

/// Takes a cell whose counter is right. Returns its size if its second half is still to come.
fn opened_cell(
    header: &Header,
    cell: &[u8],
    peer: DeviceId,
    message: &Message,
    news: &mut News,
) -> Result<Option<Class>> {
    match header.kind {
        Kind::Cover => Ok(None),
        Kind::Unicast if header.peer != peer => {
            bail!("a cell arrived from a device that did not send it")
        }
        Kind::Unicast if !message.has(header.class) => {
            bail!("a cell of {:?} arrived that nobody sent", header.class)
        }
        Kind::Unicast if header.class.cell_len() > RECORD_PLAIN_BYTES_MAX => Ok(Some(header.class)),
        Kind::Unicast if message.bytes.get(HEADER_LEN..cell.len()) != cell.get(HEADER_LEN..) => {
            bail!("a cell's body was changed on its way")
        }
        Kind::Unicast => {
            news.arrive(cell.len());
            Ok(None)
        }
        Kind::Broadcast => bail!("a broadcast arrived that nobody sent"),
        Kind::Control => {
            news.refused.push(undelivered(&cell[HEADER_LEN..])?.counter);
            Ok(None)
        }
    }
}

/// A cell that was not delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) lane: u8,
    pub(crate) counter: u64,
    pub(crate) reason: Undelivered,
}

/// The cell of which this body of a control cell says that it was not delivered. Nothing else may come to a device that is
/// welcome.
pub(crate) fn undelivered(body: &[u8]) -> Result<Returned> {
    match Control::decode(disclose(body)?)? {
        Control::Undeliverable { lane, counter, reason } => Ok(Returned { lane, counter, reason }),
        other @ (Control::Challenge { .. }
        | Control::Hello(_)
        | Control::Welcome(_)
        | Control::Error { .. }
        | Control::Request { .. }
        | Control::Done { .. }
        | Control::Paired { .. }
        | Control::Pong { .. }
        | Control::Goaway { .. }) => bail!("the server said {other:?}"),
    }
}
