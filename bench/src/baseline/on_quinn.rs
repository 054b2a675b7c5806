//! quinn on tokio: the forwarder that one would write with it, for cells on lanes.
//!
//! A task for every connection and one for every lane of it. A lane's task reads what has come, cuts cells from it, and
//! writes those that follow each other to one recipient in one piece. Sockets, packets and timers are quinn's own
//! business; certificate, suites, windows and padding are the relay's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use hushwire_wire::cell::{Class, readdress, set_counter};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::LANES;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, TokioRuntime, VarInt,
};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Mutex;
use tokio::task::spawn_local;

use crate::forwarder::lane::{cell_len, each_cell, named, whole_run};
use crate::forwarder::opening;
use crate::limits::UDP_BUFFER_BYTES;
use crate::quic::server_config;
use crate::report;

/// Pieces of a lane that are taken at once.
const PIECES: usize = 64;

/// Everyone who has said a name.
type Devices = Rc<RefCell<HashMap<DeviceId, Rc<Recipient>>>>;

/// The way to a device.
struct Recipient {
    lanes: Vec<Mutex<LaneOut>>,
}

struct LaneOut {
    stream: SendStream,
    /// The counter of the next cell.
    next: u64,
}

/// The connection is to be closed.
struct Over;

/// Forwards until the process is ended.
pub(super) fn serve(address: SocketAddr) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let socket = UdpSocket::bind(address)?;
        set_socket_recv_buffer_size(&socket, UDP_BUFFER_BYTES as usize)?;
        set_socket_send_buffer_size(&socket, UDP_BUFFER_BYTES as usize)?;
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(server_config()?),
            socket,
            Arc::new(TokioRuntime),
        )?;
        report::print_address(endpoint.local_addr()?);
        let devices = Devices::default();
        while let Some(incoming) = endpoint.accept().await {
            spawn_local(attend(incoming, Rc::clone(&devices)));
        }
        Ok(())
    })
}

/// One connection, until it ends.
async fn attend(incoming: Incoming, devices: Devices) {
    let Ok(connection) = incoming.await else { return };
    // Why it is over is nobody's business.
    let _ = listen(&connection, &devices).await;
    connection.close(VarInt::from_u32(0), &[]);
}

async fn listen(connection: &Connection, devices: &Devices) -> Result<(), Over> {
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let stream = connection.open_uni().await.map_err(|_| Over)?;
        lanes.push(Mutex::new(LaneOut { stream, next: 0 }));
    }
    let this = Rc::new(Recipient { lanes });
    this.send(0, opening::challenge().ok_or(Over)?).await?;
    let mut first = connection.accept_uni().await.map_err(|_| Over)?;
    let device = hello(&mut first).await?;
    devices.borrow_mut().insert(device, Rc::clone(&this));
    this.send(0, opening::welcome().ok_or(Over)?).await?;
    spawn_local(forward(first, 0, device, Rc::clone(devices)));
    // A lane has the number of its stream.
    while let Ok(stream) = connection.accept_uni().await {
        let lane = stream.id().index() as usize;
        spawn_local(forward(stream, lane, device, Rc::clone(devices)));
    }
    let mut devices = devices.borrow_mut();
    if devices.get(&device).is_some_and(|it| Rc::ptr_eq(it, &this)) {
        devices.remove(&device);
    }
    Ok(())
}

/// The first cell, which is believed.
async fn hello(stream: &mut RecvStream) -> Result<DeviceId, Over> {
    let mut cell = vec![0; Class::C0.cell_len()];
    stream.read_exact(&mut cell).await.map_err(|_| Over)?;
    let length = cell_len(&cell).ok_or(Over)?;
    cell.resize(length, 0);
    stream.read_exact(&mut cell[Class::C0.cell_len()..]).await.map_err(|_| Over)?;
    named(&cell).ok_or(Over)
}

/// One lane, until it ends.
async fn forward(mut stream: RecvStream, lane: usize, sender: DeviceId, devices: Devices) {
    let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
    // From the first byte of a cell on.
    let mut cells = Vec::new();
    while let Ok(Some(count)) = stream.read_chunks(&mut pieces).await {
        for piece in &mut pieces[..count] {
            cells.extend_from_slice(&std::mem::take(piece));
        }
        while let Some(run) = whole_run(&cells) {
            let rest = cells.split_off(run.bytes);
            let mut run_of_cells = std::mem::replace(&mut cells, rest);
            let Some(peer) = run.peer else { continue };
            let recipient = devices.borrow().get(&peer).cloned();
            let Some(recipient) = recipient else { continue };
            each_cell(&mut run_of_cells, |cell| readdress(cell, &sender));
            if recipient.send(lane, run_of_cells).await.is_err() {
                break;
            }
        }
    }
}

impl Recipient {
    /// Sends whole cells on a lane, once there is credit.
    async fn send(&self, lane: usize, mut cells: Vec<u8>) -> Result<(), Over> {
        let mut lane = self.lanes.get(lane).ok_or(Over)?.lock().await;
        let LaneOut { stream, next } = &mut *lane;
        each_cell(&mut cells, |cell| {
            set_counter(cell, *next);
            *next += 1;
        });
        stream.write_chunk(Bytes::from(cells)).await.map_err(|_| Over)
    }
}
