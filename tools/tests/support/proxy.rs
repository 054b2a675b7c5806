//! Somebody on the path: forwards TCP connections and keeps what crossed, in the order it came.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToRelay,
    ToDevice,
}

/// Bytes that arrived at once; none where that way ended.
#[derive(Debug)]
struct Piece {
    connection: usize,
    way: Way,
    bytes: Vec<u8>,
}

/// A TLS record as everybody on the path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub way: Way,
    /// 20 change_cipher_spec, 21 alert, 22 handshake, 23 application data (RFC 8446 §5.1).
    pub kind: u8,
    /// Header included.
    pub length: usize,
}

/// One connection, as far as it has been seen.
#[derive(Debug, Default)]
pub struct Recording {
    /// In the order in which they had arrived whole.
    pub records: Vec<Record>,
    /// Both ways have ended.
    pub is_over: bool,
    ends: usize,
    parts: [Vec<u8>; 2],
}

impl Recording {
    fn add(&mut self, way: Way, bytes: &[u8]) {
        if bytes.is_empty() {
            self.ends += 1;
            self.is_over = self.ends == 2;
        }
        let part = &mut self.parts[way as usize];
        part.extend_from_slice(bytes);
        while let Some(&[kind, _, _, high, low]) = part.first_chunk::<5>() {
            let length = 5 + usize::from(u16::from_be_bytes([high, low]));
            if part.len() < length {
                return;
            }
            self.records.push(Record { way, kind, length });
            part.drain(..length);
        }
    }

    /// The bytes of a record that never became whole.
    pub fn rest(&self, way: Way) -> &[u8] {
        &self.parts[way as usize]
    }
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    pieces: Receiver<Piece>,
    sender: Sender<Piece>,
    seen: BTreeMap<usize, Recording>,
}

impl Proxy {
    /// Takes a port; connections wait until [`Proxy::forward`].
    pub fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (sender, pieces) = channel();
        Self { listener, pieces, sender, seen: BTreeMap::new() }
    }

    /// `host:port` for devices.
    pub fn address(&self) -> String {
        self.listener.local_addr().expect("a bound socket").to_string()
    }

    /// Forwards every connection to `relay` from now on, until the test's process ends.
    pub fn forward(&self, relay: &str) {
        let listener = self.listener.try_clone().expect("a descriptor");
        let (sender, relay) = (self.sender.clone(), relay.to_owned());
        std::thread::spawn(move || {
            for (connection, device) in listener.incoming().enumerate() {
                let Ok(device) = device else { return };
                // Without a relay the device sees its connection end.
                let Ok(relay) = TcpStream::connect(&relay) else { continue };
                for way in [Way::ToRelay, Way::ToDevice] {
                    let ends = (device.try_clone(), relay.try_clone());
                    let (Ok(device), Ok(relay)) = ends else { return };
                    let (from, to) = match way {
                        Way::ToRelay => (device, relay),
                        Way::ToDevice => (relay, device),
                    };
                    let sender = sender.clone();
                    std::thread::spawn(move || pump(connection, way, from, to, &sender));
                }
            }
        });
    }

    /// Everything seen so far, by the number of the connection.
    pub fn recordings(&mut self) -> &BTreeMap<usize, Recording> {
        while let Ok(piece) = self.pieces.try_recv() {
            self.seen.entry(piece.connection).or_default().add(piece.way, &piece.bytes);
        }
        &self.seen
    }
}

/// What crosses is noted before it is passed on, so causes stand before their effects.
fn pump(
    connection: usize,
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    pieces: &Sender<Piece>,
) {
    let mut part = vec![0; 64 * 1024];
    loop {
        // A reset is an end as well.
        let read = from.read(&mut part).unwrap_or_default();
        let piece = Piece { connection, way, bytes: part[..read].to_vec() };
        if pieces.send(piece).is_err() {
            return;
        }
        if read == 0 {
            // It may have gone already.
            let _gone = to.shutdown(Shutdown::Write);
            return;
        }
        // A reader that has gone does not change what the writer shows of itself.
        let _gone = to.write_all(&part[..read]);
    }
}
