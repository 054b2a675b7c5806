//! Both handshakes step by step: the endpoints' HS1 to HS3, and the relay's side of TLS with the proof of a HELLO.

mod settings;

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use hushwire::identity::{Identity, hello_proof};
use hushwire::suite::Suite;
use hushwire_bench::paths::channel::Pair;
use hushwire_relay::measuring::Greeting;
use hushwire_relay::transport::{
    Established, Handshake, Progress, ServerTls, ServerTlsOptions, limits::RECORD_PLAIN_BYTES_MAX,
};
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, CoverMode, Hello, Transport, replace_proof};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::{ALPN, VERSION};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const SUITES: [(&str, Suite); 2] =
    [("hybrid", Suite::HybridAes), ("classical", Suite::ClassicalAes)];
const CHALLENGE: [u8; Class::C0.cell_len()] = [7; Class::C0.cell_len()];

fn main() {
    let mut criterion = settings::criterion().sample_size(20);
    for (name, suite) in SUITES {
        endpoint(&mut criterion, name, suite);
    }
    relay(&mut criterion);
    hello(&mut criterion);
    criterion.final_summary();
}

fn endpoint(criterion: &mut Criterion, name: &str, suite: Suite) {
    let pair = std::cell::RefCell::new(Pair::new(suite));
    let hs1 = || pair.borrow_mut().hs1();
    let hs2 = || {
        let (initiator, hs1) = hs1();
        let (responder, hs2) = pair.borrow_mut().hs2(&hs1);
        (initiator, responder, hs2)
    };
    let hs3 = || {
        let (initiator, responder, hs2) = hs2();
        let (_, hs3) = pair.borrow().hs3(initiator, &hs2);
        (responder, hs3)
    };
    let mut group = criterion.benchmark_group(format!("handshake/endpoint/{name}"));
    group.throughput(Throughput::Elements(1));
    group.bench_function("hs1", |b| b.iter(hs1));
    let (_, first) = hs1();
    group.bench_function("hs2", |b| b.iter(|| pair.borrow_mut().hs2(&first)));
    group.bench_function("hs3", |b| {
        let step =
            |(initiator, _, message): (_, _, Vec<u8>)| pair.borrow().hs3(initiator, &message);
        b.iter_batched(hs2, step, BatchSize::PerIteration);
    });
    group.bench_function("end", |b| {
        let step = |(responder, message): (_, Vec<u8>)| Pair::end(responder, &message);
        b.iter_batched(hs3, step, BatchSize::PerIteration);
    });
    group.finish();
}

/// The relay's side alone: the client's is done outside of the time that is measured.
fn relay(criterion: &mut Criterion) {
    let (server, config) = both();
    let mut group = criterion.benchmark_group("handshake/relay");
    group.throughput(Throughput::Elements(1));
    group.bench_function("first flight", |b| {
        let step = |(_, bytes): (_, Vec<u8>)| first_flight(&server, &bytes);
        b.iter_batched(|| client(&config), step, BatchSize::PerIteration);
    });
    group.bench_function("finished", |b| {
        let until = || {
            let (mut client, bytes) = client(&config);
            let (handshake, flight) = first_flight(&server, &bytes);
            client.read_tls(&mut flight.as_slice()).expect("bytes in memory");
            client.process_new_packets().expect("the relay's flight");
            (handshake, pull(&mut client))
        };
        let step = |(handshake, bytes): (_, Vec<u8>)| finished(handshake, &bytes);
        b.iter_batched(until, step, BatchSize::PerIteration);
    });
    group.finish();
}

/// The proof in a HELLO, before anything is looked up.
fn hello(criterion: &mut Criterion) {
    let (identity, binding) = (Identity::from_secret(&[1; 32]), [2; 32]);
    let greeting = Greeting::new(RelayId::new([3; 32]), binding).expect("random bytes");
    let hello = Hello {
        version: VERSION,
        device: identity.device_id(),
        proof: [0; 64],
        token: None,
        name: None,
        cover: CoverMode::Off,
        software: "hushwire 0.1.0".into(),
    };
    let mut content = Control::Hello(hello.clone()).encode();
    let challenge = greeting.challenge();
    let proof = hello_proof(&identity, challenge, &content, Transport::Tls, &binding);
    replace_proof(&mut content, &proof).expect("a HELLO has a proof");
    let hello = Hello { proof, ..hello };
    assert!(greeting.is_proved(&content, hello.clone()), "the proof fits");
    let mut group = criterion.benchmark_group("handshake/relay");
    group.throughput(Throughput::Elements(1));
    group.bench_function("proof of a hello", |b| {
        b.iter(|| greeting.is_proved(&content, hello.clone()));
    });
    group.finish();
}

/// A relay with a certificate for `localhost`, and a client that trusts it and resumes nothing.
fn both() -> (Arc<ServerTls>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = ServerTls::new(vec![certificate.clone()], key, &ServerTlsOptions::default());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let crypto = Arc::new(provider::default_provider());
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    (server.expect("a usable identity"), Arc::new(config))
}

/// A client, and its first bytes.
fn client(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let bytes = pull(&mut client);
    (client, bytes)
}

fn pull(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("bytes in memory");
    }
    bytes
}

/// From ClientHello to the end of the relay's flight, CHALLENGE included.
fn first_flight(server: &ServerTls, bytes: &[u8]) -> (Handshake, Vec<u8>) {
    let mut handshake = server.handshake().expect("a server");
    let mut output = Vec::with_capacity(RECORD_PLAIN_BYTES_MAX);
    match handshake.advance(bytes, &mut output) {
        Ok(Progress::Flight { .. }) => handshake.send(&CHALLENGE, &mut output).expect("a record"),
        other => panic!("a whole ClientHello is answered, and not with {other:?}"),
    }
    (handshake, output)
}

/// From the client's Finished to record keys and exporter.
fn finished(mut handshake: Handshake, bytes: &[u8]) -> Box<Established> {
    let mut output = Vec::with_capacity(RECORD_PLAIN_BYTES_MAX);
    match handshake.advance(bytes, &mut output) {
        Ok(Progress::Done { established, .. }) => established,
        other => panic!("a client's Finished ends the handshake, and not with {other:?}"),
    }
}
