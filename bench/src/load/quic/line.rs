//! One connection of a device: cells to its lanes, and cells from them.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::filler::Filler;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::LANES;
use quinn_proto::{
    ConnectionError, Dir, Event, ReadError, Side, StreamEvent, StreamId, WriteError,
};
use std::ops::Range;

use super::cells::{LaneReader, Sent};
use crate::load::cells::undelivered;
use crate::load::dialect::{Message, News};
use crate::quic::{Port, Wire};

/// A device and its connection.
pub(crate) type Line = Wire<Device>;

/// What is kept of a connection. A device has one lane for what it sends, and hears all.
pub(crate) struct Device {
    /// Its place in the fleet.
    number: usize,
    /// The other device of its pair.
    peer: DeviceId,
    /// What it sends its messages on.
    lane: u32,
    /// How far a message's number is ahead of its counter: HELLO was the first cell of lane 0.
    ahead: u64,
    /// Lanes that have something to read, a bit each.
    readable: u8,
    readers: [LaneReader; LANES as usize],
    /// Streams that are open.
    opened: u64,
    /// Cells that the stream has not taken.
    waiting: Bytes,
    /// The lane that they are for.
    waiting_on: u32,
    /// Cover cells that it has sent, on lane 0.
    covers: u64,
    /// Bodies of control cells that nobody has looked at.
    pub(super) control: Vec<Vec<u8>>,
    /// The handshake is over.
    pub(super) connected: bool,
    /// Why the connection has ended.
    pub(super) lost: Option<ConnectionError>,
    /// It was full, and nobody knows yet that it is not any more.
    has_room: bool,
    filler: Filler,
}

impl Port for Device {
    /// Nobody connects to a device.
    fn accepted() -> Option<Self> {
        None
    }

    fn filler(&mut self) -> Option<(&mut Filler, bool)> {
        Some((&mut self.filler, self.waiting.is_empty()))
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Device {
    /// The pairs take the lanes in turns, and both devices of a pair the same.
    pub(super) fn new(number: usize, peer: DeviceId) -> Self {
        let lane = (number as u64 / 2 % u64::from(LANES)) as u32;
        Self {
            number,
            peer,
            lane,
            ahead: u64::from(lane != 0),
            readable: 0,
            readers: std::array::from_fn(|lane| LaneReader::new(lane as u32)),
            opened: 0,
            waiting: Bytes::new(),
            waiting_on: 0,
            covers: 0,
            control: Vec::new(),
            connected: false,
            lost: None,
            has_room: false,
            filler: Filler::default(),
        }
    }

    fn note_readable(&mut self, stream: StreamId) -> Result<()> {
        let lane = u32::try_from(stream.index()).ok().filter(|&lane| lane < LANES);
        self.readable |= 1 << lane.context("the server opened a stream that is no lane")?;
        Ok(())
    }

    /// Understands control cells as a run does: only what became of messages may come.
    pub(super) fn undelivered(&mut self, news: &mut News) -> Result<()> {
        for body in self.control.drain(..) {
            news.refused.push(undelivered(&body)?.counter + self.ahead);
        }
        Ok(())
    }

    /// Whether something has to leave before it takes a message.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it was full before and is not any more; says so once.
    pub(super) fn has_room(&mut self) -> bool {
        std::mem::take(&mut self.has_room)
    }
}

impl Line {
    /// Takes note of what quinn has to tell.
    pub(super) fn listen(&mut self) -> Result<()> {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.port.connected = true,
                Event::ConnectionLost { reason } => self.port.lost = Some(reason),
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(stream) = self.connection.streams().accept(dir) {
                        self.port.note_readable(stream)?;
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.port.note_readable(id)?,
                Event::Stream(StreamEvent::Writable { .. } | StreamEvent::Available { .. }) => {
                    self.hand_over()?;
                }
                Event::Stream(StreamEvent::Stopped { .. }) => bail!("the server stopped a lane"),
                Event::DatagramReceived => while self.connection.datagrams().recv().is_some() {},
                Event::Stream(StreamEvent::Finished { .. })
                | Event::HandshakeDataReady
                | Event::DatagramsUnblocked => {}
            }
        }
        Ok(())
    }

    /// Reads all lanes.
    pub(super) fn read(&mut self, message: Option<&Message>, news: &mut News) -> Result<()> {
        let sent = message.map(|message| Sent { peer: self.port.peer, message });
        while self.port.readable != 0 {
            let lane = self.port.readable.trailing_zeros();
            self.port.readable &= self.port.readable - 1;
            let stream = StreamId::new(Side::Server, Dir::Uni, u64::from(lane));
            let mut stream = self.connection.recv_stream(stream);
            let mut chunks = stream.read(true).context("a lane cannot be read")?;
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => {
                        let reader = &mut self.port.readers[lane as usize];
                        reader.take(&chunk.bytes, sent, news, &mut self.port.control)?;
                    }
                    Err(ReadError::Blocked) => break,
                    Ok(None) | Err(ReadError::Reset(_)) => bail!("the server ended a lane"),
                }
            }
            // The credit leaves with the next packets.
            let _credit = chunks.finalize();
        }
        Ok(())
    }

    /// Reads all lanes, and looks at nothing.
    pub(super) fn discard(&mut self) -> Result<()> {
        self.listen()?;
        while self.port.readable != 0 {
            let lane = self.port.readable.trailing_zeros();
            self.port.readable &= self.port.readable - 1;
            let stream = StreamId::new(Side::Server, Dir::Uni, u64::from(lane));
            let mut stream = self.connection.recv_stream(stream);
            let Ok(mut chunks) = stream.read(false) else { continue };
            while let Ok(Some(_)) = chunks.next(usize::MAX) {}
            let _credit = chunks.finalize();
        }
        Ok(())
    }

    /// Cells of these numbers, for the lane of the device.
    pub(super) fn write(&mut self, message: &mut Message, numbers: Range<u64>) -> Result<()> {
        let mut cells =
            Vec::with_capacity((numbers.end - numbers.start) as usize * message.class.cell_len());
        for number in numbers {
            let class = message.class_of(self.port.number, number);
            let counter = number - self.port.ahead;
            let header = Header::unicast(class, self.port.lane, counter, self.port.peer).encode();
            let start = cells.len();
            cells.extend_from_slice(&message.bytes[..class.cell_len()]);
            cells[start..start + HEADER_LEN].copy_from_slice(&header);
        }
        self.write_on(self.port.lane, cells)
    }

    /// A cover cell, as endpoints send when they have nothing to say, of a device that sends no messages.
    pub(super) fn keep_alive(&mut self) -> Result<()> {
        let mut cell = vec![0; Class::C0.cell_len()];
        self.port.covers += 1;
        let header = Header::cover(Class::C0, 0, self.port.covers).encode();
        cell[..HEADER_LEN].copy_from_slice(&header);
        self.write_on(0, cell)
    }

    /// Whether the server has neither ended the connection nor said anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.port.lost.is_none() && self.port.control.is_empty() && !self.connection.is_closed()
    }

    /// Whole cells for a lane. Nothing may wait.
    pub(super) fn write_on(&mut self, lane: u32, cells: Vec<u8>) -> Result<()> {
        debug_assert!(self.port.waiting.is_empty(), "what is full takes nothing");
        (self.port.waiting, self.port.waiting_on) = (Bytes::from(cells), lane);
        self.hand_over()?;
        self.port.has_room = false;
        Ok(())
    }

    /// Gives the stream what waits, as far as there is credit.
    fn hand_over(&mut self) -> Result<()> {
        if self.port.waiting.is_empty() {
            return Ok(());
        }
        let lane = u64::from(self.port.waiting_on);
        while self.port.opened <= lane {
            if self.connection.streams().open(Dir::Uni).is_none() {
                return Ok(());
            }
            self.port.opened += 1;
        }
        let mut stream = self.connection.send_stream(StreamId::new(Side::Client, Dir::Uni, lane));
        while !self.port.waiting.is_empty() {
            match stream.write_chunks(std::slice::from_mut(&mut self.port.waiting)) {
                Ok(written) => self.port.filler.wrote(lane as usize, written.bytes),
                Err(WriteError::Blocked) => return Ok(()),
                Err(error) => return Err(error).context("a lane cannot be written to"),
            }
        }
        self.port.has_room = true;
        Ok(())
    }
}
