//! Cells cut from a lane as its bytes come, and checked where they lie.

use anyhow::{Result, bail, ensure};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::id::DeviceId;

use crate::limits::{OPEN_ALWAYS_BYTES_MAX, OPEN_ONE_IN};
use crate::load::dialect::{Message, News};

/// One lane of what a server sends.
#[derive(Debug)]
pub(super) struct LaneReader {
    lane: u32,
    /// The counter of the next cell.
    expected: u64,
    header: [u8; HEADER_LEN],
    /// Bytes of the cell at hand that have come.
    at: usize,
    cell: Cell,
    /// The body of a control cell.
    body: Vec<u8>,
}

/// What is done with the body of the cell at hand.
#[derive(Debug, Clone, Copy)]
enum Cell {
    /// Held against what was sent.
    Compared(Class),
    /// Passed over.
    Passed(Class),
    /// Kept.
    Control(Class),
    /// Of no meaning.
    Cover(Class),
}

impl Cell {
    const fn len(self) -> usize {
        let (Self::Compared(class)
        | Self::Passed(class)
        | Self::Control(class)
        | Self::Cover(class)) = self;
        class.cell_len()
    }
}

/// What a cell is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) peer: DeviceId,
    pub(super) message: &'a Message,
}

impl LaneReader {
    pub(super) const fn new(lane: u32) -> Self {
        Self {
            lane,
            expected: 0,
            header: [0; HEADER_LEN],
            at: 0,
            cell: Cell::Cover(Class::C0),
            body: Vec::new(),
        }
    }

    /// Takes the next bytes. Messages that are whole go to `news`, the bodies of control cells to `control`. Before there
    /// is anything `sent`, no message may arrive.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        sent: Option<Sent<'_>>,
        news: &mut News,
        control: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if let Some(missing) = HEADER_LEN.checked_sub(self.at).filter(|&missing| missing > 0) {
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header[self.at..self.at + part.len()].copy_from_slice(part);
                self.at += part.len();
                bytes = rest;
                if self.at == HEADER_LEN {
                    self.begin(sent)?;
                }
                continue;
            }
            let (part, rest) = bytes.split_at((self.cell.len() - self.at).min(bytes.len()));
            match (self.cell, sent) {
                (Cell::Compared(_), Some(Sent { message, .. })) => {
                    let same = message.bytes.get(self.at..self.at + part.len()) == Some(part);
                    ensure!(same, "a cell's body was changed on its way");
                }
                (Cell::Control(_), _) => self.body.extend_from_slice(part),
                (Cell::Compared(_) | Cell::Passed(_) | Cell::Cover(_), _) => {}
            }
            self.at += part.len();
            bytes = rest;
            if self.at == self.cell.len() {
                self.end(news, control);
            }
        }
        Ok(())
    }

    /// The header is there.
    fn begin(&mut self, sent: Option<Sent<'_>>) -> Result<()> {
        let header = Header::decode(&self.header)?;
        ensure!(header.lane == self.lane, "a cell came on another lane than its own");
        let (came, due) = (header.counter, self.expected);
        ensure!(came == due, "cell {came} came where {due} was due");
        self.expected += 1;
        let class = header.class;
        self.cell = match (header.kind, sent) {
            (Kind::Cover, _) => Cell::Cover(class),
            (Kind::Control, _) => Cell::Control(class),
            (Kind::Unicast, Some(Sent { peer, message })) => {
                ensure!(header.peer == peer, "a cell arrived from a device that did not send it");
                ensure!(message.has(class), "a cell of {class:?} arrived that nobody sent");
                let opened =
                    class.cell_len() <= OPEN_ALWAYS_BYTES_MAX || came.is_multiple_of(OPEN_ONE_IN);
                if opened { Cell::Compared(class) } else { Cell::Passed(class) }
            }
            (Kind::Unicast, None) => bail!("a cell arrived before anybody sent one"),
            (Kind::Broadcast, _) => bail!("a broadcast arrived that nobody sent"),
        };
        Ok(())
    }

    /// The cell is whole.
    fn end(&mut self, news: &mut News, control: &mut Vec<Vec<u8>>) {
        self.at = 0;
        match self.cell {
            Cell::Compared(class) | Cell::Passed(class) => news.arrive(class.cell_len()),
            Cell::Control(_) => control.push(std::mem::take(&mut self.body)),
            Cell::Cover(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use hushwire_wire::control::{Control, RequestId, enclose};

    use super::*;

    const PEER: DeviceId = DeviceId::new([7; 32]);

    fn cell(message: &Message, lane: u32, counter: u64) -> Vec<u8> {
        let mut cell = message.bytes.clone();
        let header = Header::unicast(message.class, lane, counter, PEER).encode();
        cell[..HEADER_LEN].copy_from_slice(&header);
        cell
    }

    fn read(lane: u32, bytes: &[u8], piece: usize) -> Result<(News, Vec<Vec<u8>>)> {
        let message = Message::random(Class::C1, None)?;
        let bytes: Vec<u8> = if bytes.is_empty() {
            (0..3).flat_map(|counter| cell(&message, lane, counter)).collect()
        } else {
            bytes.to_vec()
        };
        let (mut reader, mut news, mut control) =
            (LaneReader::new(lane), News::default(), Vec::new());
        let sent = Some(Sent { peer: PEER, message: &message });
        for piece in bytes.chunks(piece) {
            reader.take(piece, sent, &mut news, &mut control)?;
        }
        Ok((news, control))
    }

    #[test]
    fn cells_are_cut_wherever_the_bytes_are() {
        for piece in [1, 63, 64, 65, 511, 512, 513, 1_452, 4_096] {
            let (news, control) = read(3, &[], piece).unwrap();
            assert_eq!((news.arrived, news.bytes), (3, 3 * 512), "{piece}");
            assert!(control.is_empty());
        }
    }

    #[test]
    fn a_control_cell_is_handed_on_and_a_broken_one_refused() {
        let pong = enclose(&Control::Pong { id: RequestId(1), unix_ms: 2 }.encode()).unwrap();
        let (news, control) = read(0, &pong, 100).unwrap();
        assert_eq!((news.arrived, control.len()), (0, 1));
        assert_eq!(control[0], pong[HEADER_LEN..]);
        let message = Message::random(Class::C1, None).unwrap();
        for (lane, bytes, sentence) in [
            (0, cell(&message, 1, 0), "another lane"),
            (1, cell(&message, 1, 1), "cell 1 came where 0 was due"),
            (1, cell(&message, 1, 0), "body was changed"),
        ] {
            let error = read(lane, &bytes, 1_000).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
}
