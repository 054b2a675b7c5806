//! Identities, clients, and a handshake in memory with the client's bytes cut at will.

use std::io::{Read, Write};
use std::sync::Arc;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use hushwire_relay::transport::{
    CarryPool, Cursor, Established, Event, Fault, Handshake, Inbound, Opened, Opener, Progress,
    Sealer, ServerTls, ServerTlsOptions, limits, unframe,
};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::id::DeviceId;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore, SupportedCipherSuite,
};

pub(crate) const SUITES: [SupportedCipherSuite; 3] = [
    provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
    provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
    provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];
pub(crate) const CHALLENGE: [u8; 256] = [7; 256];

/// A self-signed certificate for `localhost` and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    pub(crate) fn server(&self, options: &ServerTlsOptions) -> Arc<ServerTls> {
        ServerTls::new(vec![self.certificate.clone()], self.key.clone_key(), options).unwrap()
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn client(&self, suite: SupportedCipherSuite, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut crypto = provider::default_provider();
        crypto.cipher_suites = vec![suite];
        self.client_with(crypto, alpn)
    }

    pub(crate) fn client_with(&self, crypto: CryptoProvider, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.enable_secret_extraction = true;
        Arc::new(config)
    }
}

/// A server with default options and a client of `suite` that knows it.
pub(crate) fn both(suite: SupportedCipherSuite) -> (Arc<ServerTls>, Arc<ClientConfig>) {
    let identity = Identity::new();
    (identity.server(&ServerTlsOptions::default()), identity.client(suite, &[b"hushwire/1"]))
}

pub(crate) fn new_client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// All that `client` has to send.
pub(crate) fn pull(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives `bytes` to `client` and returns the plaintext it reads.
pub(crate) fn push(
    client: &mut ClientConnection,
    mut bytes: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        if client.read_tls(&mut bytes).unwrap() == 0 {
            break;
        }
        client.process_new_packets()?;
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = client.reader().read(&mut part) {
            plain.extend_from_slice(&part[..read]);
        }
    }
    Ok(plain)
}

/// Where the client's bytes are cut on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire {
    Whole,
    CutAt(usize),
    Pieces(usize),
}

impl Wire {
    fn cut(self, sent_before: usize, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::CutAt(at) => {
                let (front, back) = bytes.split_at(at.saturating_sub(sent_before).min(bytes.len()));
                vec![front, back]
            }
            Self::Pieces(length) => bytes.chunks(length).collect(),
        }
    }
}

/// Both ends of a connection after its handshake.
pub(crate) struct Link {
    pub(crate) client: ClientConnection,
    pub(crate) server: Box<Established>,
    /// What the client sent behind its Finished.
    pub(crate) behind: Vec<u8>,
    /// What the client read in the handshake.
    pub(crate) read: Vec<u8>,
    /// How many bytes the client has sent.
    pub(crate) sent: usize,
}

/// A handshake in which the relay sends CHALLENGE in its first flight and the client `hello` behind its
/// Finished.
pub(crate) fn connect(
    server: &ServerTls,
    config: &Arc<ClientConfig>,
    hello: &[u8],
    wire: Wire,
) -> Link {
    let mut handshake = server.handshake().unwrap();
    let mut client = new_client(config);
    client.writer().write_all(hello).unwrap();
    let (mut read, mut behind, mut sent, mut done) = (Vec::new(), Vec::new(), 0, None);
    for _ in 0..8 {
        let bytes = pull(&mut client);
        let mut output = Vec::new();
        for piece in wire.cut(sent, &bytes) {
            if done.is_some() {
                behind.extend_from_slice(piece);
            } else if let Some((established, rest)) =
                step(&mut handshake, piece, &mut output, &CHALLENGE).unwrap()
            {
                done = Some(established);
                behind.extend_from_slice(rest);
            }
        }
        sent += bytes.len();
        read.extend(push(&mut client, &output).unwrap());
        if !client.is_handshaking()
            && !client.wants_write()
            && let Some(server) = done.take()
        {
            return Link { client, server, behind, read, sent };
        }
    }
    panic!("the handshake did not end");
}

/// The connection, and what stood behind the client's Finished.
pub(crate) type Behind<'a> = (Box<Established>, &'a [u8]);

/// Gives `input` to `handshake` and answers its first flight with `challenge`.
pub(crate) fn step<'a>(
    handshake: &mut Handshake,
    mut input: &'a [u8],
    output: &mut Vec<u8>,
    challenge: &[u8],
) -> Result<Option<Behind<'a>>, Fault> {
    loop {
        match handshake.advance(input, output)? {
            Progress::More { consumed } => {
                assert_eq!(consumed, input.len());
                return Ok(None);
            }
            Progress::Flight { consumed } => {
                handshake.send(challenge, output)?;
                input = &input[consumed..];
            }
            Progress::Done { consumed, established } => {
                return Ok(Some((established, &input[consumed..])));
            }
        }
    }
}

/// The client's side as bare keys, to make records that no TLS library makes.
pub(crate) struct RawClient {
    key: LessSafeKey,
    iv: [u8; 12],
    pub(crate) sequence: u64,
}

impl RawClient {
    /// The server's side and the raw client's of a new connection.
    pub(crate) fn connect(suite: SupportedCipherSuite) -> (Box<Established>, Self) {
        let (server, config) = both(suite);
        let link = connect(&server, &config, b"", Wire::Whole);
        let (sequence, secrets) = link.client.dangerous_extract_secrets().unwrap().tx;
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => panic!("an unknown suite"),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
        (link.server, Self { key, iv: iv.as_ref().try_into().unwrap(), sequence })
    }

    /// A record with the inner plaintext `content ‖ kind ‖ padding zeros`.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = content.to_vec();
        inner.push(kind);
        inner.resize(inner.len() + padding, 0);
        self.seal_inner(&inner)
    }

    /// A record with exactly this inner plaintext.
    pub(crate) fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
        let header = [23, 3, 3, high, low];
        let mut nonce = self.iv;
        for (byte, mask) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= mask;
        }
        self.sequence += 1;
        let mut body = inner.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                &mut body,
            )
            .unwrap();
        [&header[..], &body].concat()
    }

    /// The records of a cell.
    pub(crate) fn cell(&mut self, cell: &[u8]) -> Vec<u8> {
        cell.chunks(16_384).flat_map(|content| self.seal(23, content, 0)).collect()
    }
}

/// The receiving loop of a shard over bytes that arrive in pieces.
pub(crate) struct Reader {
    pub(crate) inbound: Inbound,
    pub(crate) pool: CarryPool,
    scratch: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(opener: Opener, class_max: Class) -> Self {
        Self {
            inbound: Inbound::new(opener, class_max),
            pool: CarryPool::default(),
            // What is carried, and any piece behind it.
            scratch: vec![0; 2 * limits::SCRATCH_BYTES],
        }
    }

    /// The cells that become whole with `piece`, and the other events.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<Event>), Fault> {
        let mut cursor = self.inbound.begin(&mut self.scratch, &mut self.pool);
        let end = cursor.end();
        self.scratch[end..end + piece.len()].copy_from_slice(piece);
        cursor.received(piece.len());
        self.run(cursor)
    }

    fn run(&mut self, mut cursor: Cursor) -> Result<(Vec<Vec<u8>>, Vec<Event>), Fault> {
        let (mut cells, mut events) = (Vec::new(), Vec::new());
        loop {
            match self.inbound.next(&mut self.scratch, &mut cursor, 0)? {
                Event::Cell(range) => cells.push(self.scratch[range].to_vec()),
                Event::Framed(records) => {
                    let cell = unframe(&mut self.scratch, records);
                    cells.push(self.scratch[cell].to_vec());
                }
                Event::NeedMore => break,
                event @ Event::Closed => {
                    events.push(event);
                    return Ok((cells, events));
                }
                event @ Event::AnswerKeyUpdate => events.push(event),
            }
        }
        self.inbound.end(&self.scratch, &cursor, &mut self.pool, 0).unwrap();
        Ok((cells, events))
    }
}

/// A cell with a recognisable body.
pub(crate) fn cell(class: Class, seed: u8) -> Vec<u8> {
    let header = Header::unicast(class, 0, 0, DeviceId::new([seed; 32])).encode();
    let body = (0..class.body_len()).map(|at| (at as u8).wrapping_mul(31) ^ seed);
    header.into_iter().chain(body).collect()
}

/// Opens all whole records of `bytes`; their data together, and what was left over.
pub(crate) fn open_all(opener: &mut Opener, mut bytes: Vec<u8>) -> Result<(Vec<u8>, usize), Fault> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        match opener.open(&mut bytes[at..], 0)? {
            Opened::Data { consumed, plain } => {
                data.extend_from_slice(&bytes[at + plain.start..at + plain.end]);
                at += consumed;
            }
            Opened::KeyUpdate { consumed, .. } | Opened::Ignored { consumed } => at += consumed,
            Opened::Incomplete { .. } | Opened::Closed { .. } => {
                return Ok((data, bytes.len() - at));
            }
        }
    }
}

/// Seals `plain` and gives it to `client`, which must read it.
pub(crate) fn deliver(sealer: &mut Sealer, client: &mut ClientConnection, plain: &[u8]) {
    let mut records = Vec::new();
    sealer.seal(plain, &mut records).unwrap();
    assert_eq!(push(client, &records).unwrap(), plain);
}
