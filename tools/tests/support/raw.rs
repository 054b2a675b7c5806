//! A device that says exactly what a test tells it to, by TLS or by QUIC: cells by hand.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hushwire::identity::{Identity, hello_proof};
use hushwire::suite::random::OsRandom;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, LaneCounters, set_counter};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{
    Control, CoverMode, Hello, Request, RequestId, Transport, Welcome, disclose, enclose,
    replace_proof,
};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::EXPORTER_LABEL;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::quic::{self, Quic};

/// How long a test waits for the relay.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a relay.
pub struct Raw {
    wire: Wire,
    pub counters: LaneCounters,
    pub received: LaneCounters,
}

/// TLS over TCP, as rustls has it.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What carries a connection.
#[expect(clippy::large_enum_variant, reason = "tests have few of them")]
enum Wire {
    Tls(Tls),
    Quic(Quic),
}

/// A raw device that is welcome.
pub struct Device {
    pub raw: Raw,
    pub identity: Identity,
    pub id: DeviceId,
    pub welcome: Welcome,
}

/// A connection up to the end of its TLS handshake.
pub fn connect_with(address: &str, alpn: &[&[u8]]) -> io::Result<Raw> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
    let config = tls_config(&alpn);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut tcp = tcp;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    let tls = StreamOwned::new(connection, tcp);
    Ok(Raw::over(Wire::Tls(tls)))
}

/// TLS 1.3 that believes everybody.
pub fn tls_config(alpn: &[Vec<u8>]) -> ClientConfig {
    tls_config_with(alpn, &[])
}

/// The same with these key exchanges only; with all where none is named.
pub fn tls_config_with(alpn: &[Vec<u8>], groups: &[&'static dyn SupportedKxGroup]) -> ClientConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !groups.is_empty() {
        provider.kx_groups = groups.to_vec();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 exists")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn.to_vec();
    config
}

/// A connection of QUIC up to the end of its handshake.
pub fn connect_quic(relay: &RelayProcess, options: quic::Options) -> io::Result<Raw> {
    connect_quic_at(relay.address().parse().expect("an address"), options)
}

/// The same where something stands between.
pub fn connect_quic_at(address: SocketAddr, options: quic::Options) -> io::Result<Raw> {
    Quic::connect(address, options).map(|quic| Raw::over(Wire::Quic(quic)))
}

/// A connection up to the end of its handshake, by either transport.
pub fn connect_by(relay: &RelayProcess, transport: Transport) -> Raw {
    match transport {
        Transport::Quic => connect_quic(relay, quic::Options::default()),
        Transport::Tls | Transport::WebSocket => connect_with(relay.address(), &[b"hushwire/1"]),
    }
    .expect("the relay takes a connection")
}

/// A connection up to the end of its TLS handshake, as a device makes it.
pub fn connect(relay: &RelayProcess) -> Raw {
    connect_with(relay.address(), &[b"hushwire/1"]).expect("the relay takes a TLS connection")
}

impl Raw {
    fn over(wire: Wire) -> Self {
        Self { wire, counters: LaneCounters::default(), received: LaneCounters::default() }
    }

    /// TLS, for what is TLS's alone.
    pub fn tls(&mut self) -> &mut Tls {
        match &mut self.wire {
            Wire::Tls(tls) => tls,
            Wire::Quic(_) => panic!("this connection is QUIC's"),
        }
    }

    /// QUIC, for what is QUIC's alone.
    pub fn quic(&mut self) -> &mut Quic {
        match &mut self.wire {
            Wire::Quic(quic) => quic,
            Wire::Tls(_) => panic!("this connection is TLS's"),
        }
    }

    pub fn transport(&self) -> Transport {
        match &self.wire {
            Wire::Tls(_) => Transport::Tls,
            Wire::Quic(_) => Transport::Quic,
        }
    }

    /// Sends these bytes as one record (two for a cell of the largest class), or on lane 0.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_bytes_on(0, bytes)
    }

    /// The same on another lane, where lanes are streams.
    pub fn send_bytes_on(&mut self, lane: u32, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Tls(tls) => {
                tls.write_all(bytes)?;
                tls.flush()
            }
            Wire::Quic(quic) => quic.send(lane.into(), bytes),
        }
    }

    /// Sends a cell with the counter that is due on its lane.
    pub fn send(&mut self, header: Header, body: &[u8]) -> io::Result<()> {
        let cell = self.cell(header, body);
        self.send_bytes_on(header.lane, &cell)
    }

    /// A cell with the counter that is due on its lane.
    fn cell(&mut self, header: Header, body: &[u8]) -> Vec<u8> {
        let mut cell = vec![0; header.class.cell_len()];
        cell[..HEADER_LEN].copy_from_slice(&header.encode());
        cell[HEADER_LEN..HEADER_LEN + body.len()].copy_from_slice(body);
        set_counter(&mut cell, self.counters.take(header.lane as usize));
        cell
    }

    /// Puts a cell behind others that [`send_now`](Self::send_now) sends together, by TLS.
    pub fn send_later(&mut self, header: Header, body: &[u8]) {
        let cell = self.cell(header, body);
        let connection = &mut self.tls().conn;
        connection.set_buffer_limit(None);
        connection.writer().write_all(&cell).expect("there is no limit");
    }

    /// Sends what has been put behind each other.
    pub fn send_now(&mut self) -> io::Result<()> {
        self.tls().flush()
    }

    /// Sends a control message.
    pub fn say(&mut self, message: &Control) -> io::Result<()> {
        self.say_content(&message.encode())
    }

    /// Sends any content in a control cell.
    pub fn say_content(&mut self, content: &[u8]) -> io::Result<()> {
        let mut cell = enclose(content).expect("a message fits a cell");
        set_counter(&mut cell, self.counters.take(0));
        self.send_bytes(&cell)
    }

    /// The next cell; an error of kind `UnexpectedEof` when the relay has closed.
    pub fn receive(&mut self) -> io::Result<(Header, Vec<u8>)> {
        let decode = |cell: &[u8]| {
            Header::decode(cell.first_chunk().expect("64 bytes"))
                .expect("the relay sends well-formed headers")
        };
        let (header, mut cell) = match &mut self.wire {
            Wire::Tls(tls) => {
                let mut cell = vec![0; HEADER_LEN];
                tls.read_exact(&mut cell)?;
                let header = decode(&cell);
                cell.resize(header.class.cell_len(), 0);
                tls.read_exact(&mut cell[HEADER_LEN..])?;
                (header, cell)
            }
            Wire::Quic(quic) => {
                let cell = quic.receive()?;
                (decode(&cell), cell)
            }
        };
        assert!(self.received.accept(header.lane, header.counter), "counters from the relay");
        Ok((header, cell.split_off(HEADER_LEN)))
    }

    /// The next control message and its content.
    pub fn hear(&mut self) -> io::Result<(Control, Vec<u8>)> {
        loop {
            let (header, body) = self.receive()?;
            if header.kind == hushwire_wire::cell::Kind::Control {
                let content = disclose(&body).expect("a control body").to_vec();
                let message = Control::decode(&content).expect("a message of the relay");
                return Ok((message, content));
            }
        }
    }

    /// A HELLO that fits the next CHALLENGE, before `change` spoils it.
    pub fn hello(
        &mut self,
        identity: &Identity,
        token: Option<Vec<u8>>,
        change: impl FnOnce(&mut Hello),
    ) -> Vec<u8> {
        self.hello_and_challenge(identity, token, change).0
    }

    /// The same, and the content of the CHALLENGE.
    pub fn hello_and_challenge(
        &mut self,
        identity: &Identity,
        token: Option<Vec<u8>>,
        change: impl FnOnce(&mut Hello),
    ) -> (Vec<u8>, Vec<u8>) {
        let (message, challenge) = self.hear().expect("a challenge");
        assert!(matches!(message, Control::Challenge { .. }), "{message:?}");
        let mut hello = Hello {
            version: 1,
            device: identity.device_id(),
            proof: [0; 64],
            token,
            name: None,
            cover: CoverMode::Off,
            software: "test".into(),
        };
        change(&mut hello);
        let mut content = Control::Hello(hello).encode();
        let proof = hello_proof(identity, &challenge, &content, self.transport(), &self.binding());
        replace_proof(&mut content, &proof).expect("a HELLO has a proof");
        (content, challenge)
    }

    /// The exporter that a proof is bound to.
    pub fn binding(&self) -> [u8; 32] {
        match &self.wire {
            Wire::Tls(tls) => {
                let exporter = tls.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(b""));
                exporter.expect("an exporter")
            }
            Wire::Quic(quic) => quic.binding(),
        }
    }

    /// Leaves, and says so.
    pub fn close(&mut self) {
        match &mut self.wire {
            Wire::Tls(tls) => {
                tls.conn.send_close_notify();
                // The relay may have closed before.
                let _gone = tls.flush();
            }
            Wire::Quic(quic) => quic.close(),
        }
    }

    /// Reads until the relay closes; the sentences of the errors it sent on the way.
    pub fn last_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            match self.hear() {
                Ok((Control::Error { code, sentence, .. }, _)) => {
                    words.push(format!("{code}: {sentence}"));
                }
                Ok(_) => {}
                Err(error) => {
                    assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the relay did not close");
                    return words;
                }
            }
        }
    }
}

impl Device {
    /// Enrols a new device with an invite of `relay`.
    pub fn enrol(relay: &RelayProcess) -> Self {
        Self::redeem(relay, &relay.invite().expect("an invite"), Identity::generate(&mut OsRandom))
    }

    /// The same by either transport.
    pub fn enrol_by(relay: &RelayProcess, transport: Transport) -> Self {
        let invite = relay.invite().expect("an invite");
        let token = Invite::from_text(&invite).expect("an invite").secret.as_bytes().to_vec();
        let identity = Identity::generate(&mut OsRandom);
        let raw = connect_by(relay, transport);
        Self::introduce_over(raw, identity, Some(token)).expect("the invite is good")
    }

    /// Enrols `identity` with this invite.
    pub fn redeem(relay: &RelayProcess, invite: &str, identity: Identity) -> Self {
        let invite = Invite::from_text(invite).expect("an invite");
        let token = Some(invite.secret.as_bytes().to_vec());
        Self::introduce(relay, identity, token).expect("the invite is good")
    }

    /// Connects a device that is enrolled.
    pub fn connect(relay: &RelayProcess, identity: Identity) -> Self {
        Self::introduce(relay, identity, None).expect("the device is enrolled")
    }

    /// Connects a device that is enrolled, by either transport.
    pub fn connect_by(relay: &RelayProcess, identity: Identity, transport: Transport) -> Self {
        let raw = connect_by(relay, transport);
        Self::introduce_over(raw, identity, None).expect("the device is enrolled")
    }

    /// Connects, or says what the relay said.
    pub fn introduce(
        relay: &RelayProcess,
        identity: Identity,
        token: Option<Vec<u8>>,
    ) -> Result<Self, Box<Control>> {
        Self::introduce_over(connect(relay), identity, token)
    }

    /// Introduces a device over a connection that has just been made.
    pub fn introduce_over(
        mut raw: Raw,
        identity: Identity,
        token: Option<Vec<u8>>,
    ) -> Result<Self, Box<Control>> {
        let hello = raw.hello(&identity, token, |_| {});
        raw.say_content(&hello).expect("the relay reads");
        let answer = raw.hear().expect("the relay answers").0;
        let Control::Welcome(welcome) = answer else { return Err(Box::new(answer)) };
        Ok(Self { raw, id: identity.device_id(), identity, welcome })
    }

    /// Asks the relay and waits for the answer.
    pub fn ask(&mut self, id: u32, request: Request) -> Control {
        self.raw.say(&Control::Request { id: RequestId(id), request }).expect("the relay reads");
        self.raw.hear().expect("the relay answers").0
    }

    /// Sends a body to another device on lane 0.
    pub fn send(&mut self, to: DeviceId, class: Class, body: &[u8]) {
        self.raw.send(Header::unicast(class, 0, 0, to), body).expect("the relay reads");
    }
}

/// Two devices that may send to each other.
pub fn pair(relay: &RelayProcess) -> (Device, Device) {
    pair_by(relay, Transport::Tls, Transport::Tls)
}

/// The same by either transport.
pub fn pair_by(relay: &RelayProcess, a: Transport, b: Transport) -> (Device, Device) {
    let (mut a, mut b) = (Device::enrol_by(relay, a), Device::enrol_by(relay, b));
    let (to_a, to_b) = (a.id, b.id);
    assert!(matches!(a.ask(1, Request::Grant { device: to_b }), Control::Done { .. }));
    assert!(matches!(b.ask(1, Request::Grant { device: to_a }), Control::Done { .. }));
    (a, b)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
