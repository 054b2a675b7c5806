//! The floor by QUIC: the least that forwarding can cost where quinn-proto is below it.
//!
//! One thread, one ring, one socket, the relay's pauses, and nothing but the path of a cell: it is cut from its lane, its sender and counter are
//! rewritten, and its recipient's lane takes it. What this keeps of a connection, and spends on it, is quinn-proto's but for
//! a few words; the relay's share is what the relay has more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use hushwire_engine::Time;
use hushwire_relay::pausing::Pausing;
use hushwire_uring::{DormantRing, Ring, RingOptions};
use hushwire_wire::cell::{LaneCounters, lane_of, readdress, set_counter};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::LANES;
use quinn_proto::{Connection, Dir, Event, Side, StreamEvent, StreamId, WriteError};

use crate::forwarder::lane::{each_cell, named, whole_run};
use crate::forwarder::{Over, opening};
use crate::quic::{Arrival, Hub, Port, Wire, server_config};

/// The server. It ends with its process.
pub(crate) struct QuicFloor {
    hub: Hub<Guest>,
    /// Where everyone is who has said a name.
    devices: HashMap<DeviceId, usize>,
    ring: Ring,
    pausing: Pausing,
    /// Cells of the connection at hand, and for whom.
    runs: Vec<(DeviceId, Vec<u8>)>,
}

/// What is kept of a connection.
#[derive(Debug, Default)]
struct Guest {
    /// Who it is, once it has said so.
    device: Option<DeviceId>,
    /// Lanes that have something to read, a bit each.
    readable: u8,
    counters: LaneCounters,
    /// The beginning of a cell on each lane, where one was cut; none of a device that is idle.
    cut: Vec<(u64, Vec<u8>)>,
    /// What the lanes have not taken.
    waiting: Vec<(u64, Bytes)>,
}

impl Port for Guest {
    fn accepted() -> Option<Self> {
        Some(Self::default())
    }
}

impl QuicFloor {
    /// A floor that is reached at `address`.
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            hub: Hub::server(address, server_config()?)?,
            devices: HashMap::new(),
            ring: DormantRing::new(RingOptions::default())?.enable()?,
            pausing: Pausing::new(),
            runs: Vec::new(),
        })
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> SocketAddr {
        self.hub.address
    }

    /// Forwards until the process is ended.
    pub(crate) fn run(mut self) -> Result<()> {
        let clock = self.hub.clock;
        self.hub.listen(&mut self.ring, 0)?;
        let mut completions = Vec::new();
        loop {
            self.hub.leave(clock)?;
            self.rest()?;
            self.pausing.begin(Time::from_nanos(clock.now_ns()));
            self.ring.drain(&mut completions);
            for completion in completions.drain(..) {
                self.hub.told(Arrival::try_from(completion)?, &mut self.ring)?;
            }
            if self.hub.readable {
                self.hub.receive(clock, |bytes| self.pausing.received(bytes))?;
            }
            while let Some(place) = self.hub.next_heard() {
                if self.hear(place).is_err() {
                    self.hub.close(place);
                }
            }
        }
    }

    /// Waits for something to do.
    fn rest(&mut self) -> std::io::Result<()> {
        let clock = self.hub.clock;
        let idle = self.hub.idle_for(clock);
        let pause = self.pausing.end(Time::from_nanos(clock.now_ns()));
        match pause.filter(|_| idle != Some(Duration::ZERO)) {
            Some(pause) => self.ring.pause(pause),
            None => self.ring.wait(idle).map(drop),
        }
    }

    /// Takes what a connection has to tell, and passes its cells on.
    fn hear(&mut self, place: usize) -> Result<(), Over> {
        let Some(wire) = self.hub.wire_mut(place) else { return Ok(()) };
        if !wire.listen()? {
            if let Some(device) = wire.port.device.take()
                && self.devices.get(&device) == Some(&place)
            {
                self.devices.remove(&device);
            }
            return Ok(());
        }
        let known = wire.port.device;
        // Where the last connection broke a rule, its cells may still be here.
        self.runs.clear();
        wire.read(&mut self.runs)?;
        if let Some(device) = wire.port.device.filter(|_| known.is_none()) {
            self.devices.insert(device, place);
        }
        let Some(sender) = wire.port.device else { return Ok(()) };
        let mut runs = std::mem::take(&mut self.runs);
        for (peer, mut cells) in runs.drain(..) {
            // To nobody: it does not even say so.
            let Some(&to) = self.devices.get(&peer) else { continue };
            let Some(recipient) = self.hub.wire_mut(to) else { continue };
            let mut count = 0;
            each_cell(&mut cells, |cell| {
                count += 1;
                readdress(cell, &sender);
            });
            self.pausing.routed(place, count, cells.len());
            // A recipient that is ending is heard by itself.
            let _ = recipient.send(cells);
            self.hub.stir(to);
        }
        self.runs = runs;
        Ok(())
    }
}

impl Wire<Guest> {
    /// Takes note of events. Whether the connection lives.
    fn listen(&mut self) -> Result<bool, Over> {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => {
                    while self.connection.streams().open(Dir::Uni).is_some() {}
                    self.send(opening::challenge().ok_or(Over)?)?;
                }
                Event::ConnectionLost { .. } => return Ok(false),
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(stream) = self.connection.streams().accept(dir) {
                        self.port.readable |= bit(stream)?;
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.port.readable |= bit(id)?,
                Event::Stream(StreamEvent::Writable { .. }) => self.hand_over()?,
                Event::Stream(
                    StreamEvent::Available { .. }
                    | StreamEvent::Stopped { .. }
                    | StreamEvent::Finished { .. },
                )
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        Ok(true)
    }

    /// Reads all lanes: whole cells to `runs`. The first cell is a HELLO, which is believed and answered.
    fn read(&mut self, runs: &mut Vec<(DeviceId, Vec<u8>)>) -> Result<(), Over> {
        while self.port.readable != 0 {
            let lane = u64::from(self.port.readable.trailing_zeros());
            self.port.readable &= self.port.readable - 1;
            let cut = self.port.cut.iter().position(|&(of, _)| of == lane);
            let mut cells = cut.map_or_else(Vec::new, |at| self.port.cut.swap_remove(at).1);
            let mut stream =
                self.connection.recv_stream(StreamId::new(Side::Client, Dir::Uni, lane));
            let mut chunks = stream.read(true).map_err(|_| Over)?;
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                cells.extend_from_slice(&chunk.bytes);
            }
            // The credit leaves with the next packets.
            let _credit = chunks.finalize();
            while let Some(run) = whole_run(&cells) {
                let rest = cells.split_off(run.bytes);
                let whole = std::mem::replace(&mut cells, rest);
                match run.peer {
                    Some(peer) => runs.push((peer, whole)),
                    None if self.port.device.is_none() => {
                        self.port.device = Some(named(&whole).ok_or(Over)?);
                        self.send(opening::welcome().ok_or(Over)?)?;
                    }
                    None => {}
                }
            }
            if !cells.is_empty() {
                self.port.cut.push((lane, cells));
            }
        }
        Ok(())
    }

    /// Sends whole cells on their lane.
    fn send(&mut self, mut cells: Vec<u8>) -> Result<(), Over> {
        let lane = lane_of(&cells);
        let counters = &mut self.port.counters;
        each_cell(&mut cells, |cell| set_counter(cell, counters.take(lane)));
        let (lane, mut cells) = (lane as u64, Bytes::from(cells));
        if !self.port.waiting.iter().any(|&(waiting, _)| waiting == lane) {
            write(&mut self.connection, lane, &mut cells)?;
        }
        if !cells.is_empty() {
            self.port.waiting.push((lane, cells));
        }
        Ok(())
    }

    /// Gives the lanes what waits, as far as there is credit.
    fn hand_over(&mut self) -> Result<(), Over> {
        let mut blocked = 0_u8;
        for (lane, cells) in &mut self.port.waiting {
            if blocked & 1 << *lane == 0 {
                write(&mut self.connection, *lane, cells)?;
                blocked |= u8::from(!cells.is_empty()) << *lane;
            }
        }
        self.port.waiting.retain(|(_, cells)| !cells.is_empty());
        Ok(())
    }
}

/// Gives a lane as much of `cells` as it takes.
fn write(connection: &mut Connection, lane: u64, cells: &mut Bytes) -> Result<(), Over> {
    while !cells.is_empty() {
        let mut stream = connection.send_stream(StreamId::new(Side::Server, Dir::Uni, lane));
        match stream.write_chunks(std::slice::from_mut(cells)) {
            Ok(_) => {}
            Err(WriteError::Blocked) => return Ok(()),
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(Over),
        }
    }
    Ok(())
}

/// The bit of a lane that a device has opened.
fn bit(stream: StreamId) -> Result<u8, Over> {
    let lane = u32::try_from(stream.index()).ok().filter(|&lane| lane < LANES).ok_or(Over)?;
    Ok(1 << lane)
}
