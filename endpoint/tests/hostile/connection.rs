//! One TLS connection of the hostile relay, from CHALLENGE to its end.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use hushwire::link::cell_len;
use hushwire_wire::cell::{HEADER_LEN, Header, LaneCounters, lane_of, set_counter};
use hushwire_wire::control::{
    self, Control, CoverMode, ErrorCode, Hello, HopLimits, Transport, Welcome,
};
use hushwire_wire::id::{DeviceId, RelayId};
use hushwire_wire::limits::EXPORTER_LABEL;
use rustls::{ServerConfig, ServerConnection};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::relay::Command;

/// Which relay it claims to be.
pub(crate) const RELAY: RelayId = RelayId::new([8; 32]);

/// How a connection is greeted.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    /// In place of CHALLENGE, in the order given.
    pub(crate) first: Vec<Vec<u8>>,
    /// In place of WELCOME.
    pub(crate) second: Vec<Vec<u8>>,
}

impl Default for Greeting {
    fn default() -> Self {
        let (relay, versions) = (RELAY, vec![1]);
        Self {
            first: vec![cell(&Control::Challenge { nonce: [1; 32], relay, versions })],
            second: vec![cell(&Control::Welcome(welcome()))],
        }
    }
}

/// What an honest relay would say.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        shard: 0,
        shards: 1,
        region: String::new(),
        cover: CoverMode::Off,
        limits: HopLimits {
            cells_per_s: 2_000,
            bytes_per_s: 1 << 24,
            egress_bytes: 1 << 20,
            idle_ms: 60_000,
        },
        replaced: false,
        pins: Vec::new(),
        quic_ids: Vec::new(),
    }
}

/// A control cell, its counter not yet set.
pub(crate) fn cell(control: &Control) -> Vec<u8> {
    control::enclose(&control.encode()).expect("small")
}

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Out {
    /// Sends a cell with the next counter of its lane.
    Cell(Vec<u8>),
    /// Sends these bytes as they are.
    Raw(Vec<u8>),
    /// Ends without a word.
    Cut,
}

struct Tls {
    tcp: TcpStream,
    tls: ServerConnection,
    plain: Vec<u8>,
    counters: LaneCounters,
}

impl Tls {
    /// The next whole cell. Cancellation-safe.
    async fn next_cell(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(&head) = self.plain.first_chunk::<2>() {
                let length = cell_len(head).ok()?;
                if self.plain.len() >= length {
                    return Some(self.plain.drain(..length).collect());
                }
            }
            self.write().await?;
            self.tcp.readable().await.ok()?;
            let mut wire = vec![0; 65_536];
            match self.tcp.try_read(&mut wire) {
                Ok(0) => return None,
                Ok(count) => self.decrypt(&wire[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    fn decrypt(&mut self, mut wire: &[u8]) -> Option<()> {
        while !wire.is_empty() {
            self.tls.read_tls(&mut wire).ok()?;
            self.tls.process_new_packets().ok()?;
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = self.tls.reader().read(&mut buffer) {
                self.plain.extend_from_slice(&buffer[..count]);
            }
        }
        Some(())
    }

    async fn say(&mut self, mut cell: Vec<u8>) -> Option<()> {
        let counter = self.counters.take(lane_of(&cell));
        set_counter(&mut cell, counter);
        self.raw(&cell).await
    }

    async fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.tls.writer().write_all(bytes).ok()?;
        self.write().await
    }

    async fn write(&mut self) -> Option<()> {
        while self.tls.wants_write() {
            let mut wire = Vec::new();
            self.tls.write_tls(&mut wire).ok()?;
            let mut at = 0;
            while at < wire.len() {
                self.tcp.writable().await.ok()?;
                match self.tcp.try_write(&wire[at..]) {
                    Ok(count) => at += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return None,
                }
            }
        }
        Some(())
    }

    /// Says CHALLENGE and hears HELLO, whose proof is verified as by any relay.
    async fn greet(&mut self, greeting: Greeting) -> Option<DeviceId> {
        let challenge = greeting.first.last().cloned()?;
        for cell in greeting.first {
            self.say(cell).await?;
        }
        let hello = self.next_cell().await?;
        let device = self.verify(&challenge, &hello);
        if device.is_none() {
            let sentence = "the proof does not verify".into();
            let code = ErrorCode::Unauthenticated;
            self.say(cell(&Control::Error { id: None, code, sentence, wait_ms: None })).await?;
        }
        for cell in greeting.second {
            self.say(cell).await?;
        }
        device
    }

    fn verify(&self, challenge: &[u8], hello: &[u8]) -> Option<DeviceId> {
        let challenge = control::disclose(&challenge[HEADER_LEN..]).ok()?;
        let mut content = control::disclose(&hello[HEADER_LEN..]).ok()?.to_vec();
        let Ok(Control::Hello(Hello { device, .. })) = Control::decode(&content) else {
            return None;
        };
        let proof = control::replace_proof(&mut content, &[0; 64])?;
        let transcript = Sha256::new().chain_update(challenge).chain_update(&content).finalize();
        let binding = self.tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()?;
        let message = control::proof_message(&transcript.into(), Transport::Tls, &binding);
        let key = VerifyingKey::from_bytes(device.as_bytes()).ok()?;
        key.verify_strict(&message, &Signature::from_bytes(&proof)).ok()?;
        Some(device)
    }
}

/// Serves a connection until either side ends it.
pub(crate) async fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    greeting: Greeting,
    number: u64,
    hub: mpsc::UnboundedSender<Command>,
) {
    let tls = ServerConnection::new(config).expect("a configuration");
    let mut tls = Tls { tcp, tls, plain: Vec::new(), counters: LaneCounters::default() };
    let Some(device) = tls.greet(greeting).await else {
        // Whoever was refused ends it himself.
        while tls.next_cell().await.is_some() {}
        return;
    };
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    let _ended = hub.send(Command::Arrived { device, number, sender });
    loop {
        let done = tokio::select! {
            cell = tls.next_cell() => match cell {
                Some(cell) => {
                    let head = cell.first_chunk::<HEADER_LEN>().expect("a whole cell");
                    let header = Header::decode(head).expect("the client's own");
                    hub.send(Command::Cell { device, header, cell }).ok()
                }
                None => None,
            },
            out = outgoing.recv() => match out {
                Some(Out::Cell(cell)) => tls.say(cell).await,
                Some(Out::Raw(bytes)) => tls.raw(&bytes).await,
                Some(Out::Cut) | None => None,
            },
        };
        if done.is_none() {
            let _ended = hub.send(Command::Gone { device, number });
            return;
        }
    }
}
