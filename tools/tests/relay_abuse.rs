//! Devices that behave badly by their timing rather than by their bytes: they close, flood, stop reading
//! and push ahead where it hurts. The relay goes on, for everybody else, and keeps nothing of theirs.

mod support;

use std::io::Write as _;
use std::net::{Shutdown, TcpStream, UdpSocket};

use hushwire::identity::Identity;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{Control, Request, RequestId, Transport, Undelivered};
use support::raw::{Device, Raw, connect_by, pair, pair_by};
use support::{by_either_transport, eventually, relay, total};

by_either_transport!(whatever_a_connection_does_the_others_and_the_files_stay);

const ROUNDS: usize = 24;
/// What a KeyUpdate takes on the wire, padded to the smallest cell; a PONG as well.
const UPDATE_BYTES: u64 = 256 + 22;

fn files(relay: &RelayProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", relay.id())).expect("the process runs").count()
}

#[test]
fn key_updates_asked_for_by_a_device_that_does_not_read_cost_one() {
    const ASKED: u64 = 30;
    let relay = relay();
    let (mut sender, mut stuck) = pair(&relay);
    // Until the pipe and the sender's share of the queue are full.
    let mut taken = 0;
    loop {
        sender.send(stuck.id, Class::C7, b"more");
        sender.raw.say(&ping(1)).expect("the relay reads");
        let busy = |answer: Control| {
            matches!(answer, Control::Undeliverable { reason: Undelivered::Busy, .. })
        };
        if busy(sender.raw.hear().expect("an answer").0) {
            sender.raw.hear().expect("the pong");
            break;
        }
        taken += 1;
    }
    let sealed = total(&relay, "bytes_out");
    for _ in 0..ASKED {
        let read = total(&relay, "bytes_in");
        stuck.raw.tls().conn.refresh_traffic_keys().expect("TLS 1.3");
        stuck.raw.tls().flush().expect("the relay reads");
        eventually("it is read", || total(&relay, "bytes_in") > read);
    }
    // Its answer comes in a later turn than the last of them.
    assert!(matches!(sender.ask(2, Request::Ping), Control::Pong { .. }));
    let sealed = total(&relay, "bytes_out") - sealed;
    assert!(sealed <= 2 * UPDATE_BYTES, "the pong and {} more bytes", sealed - UPDATE_BYTES);
    // And what was sealed before and after opens.
    for _ in 0..taken {
        assert!(stuck.raw.receive().expect("a cell").1.starts_with(b"more"));
    }
    assert_eq!(total(&relay, "bugs"), 0);
}

fn ping(id: u32) -> Control {
    Control::Request { id: RequestId(id), request: Request::Ping }
}

/// Asks for new keys of both directions.
fn renew_keys(raw: &mut Raw) -> std::io::Result<()> {
    match raw.transport() {
        Transport::Quic => {
            raw.quic().connection.force_key_update();
            Ok(())
        }
        Transport::Tls | Transport::WebSocket => {
            raw.tls().conn.refresh_traffic_keys().map_err(std::io::Error::other)?;
            raw.tls().flush()
        }
    }
}

/// What is no packet, and no record.
fn send_garbage(raw: &mut Raw, relay: &RelayProcess, bytes: &[u8]) -> std::io::Result<()> {
    match raw.transport() {
        Transport::Quic => raw.quic().socket.send_to(bytes, relay.address()).map(drop),
        Transport::Tls | Transport::WebSocket => raw.tls().sock.write_all(bytes),
    }
}

/// One connection that misbehaves in its own way. `member` is enrolled, `other` lets it send.
fn misbehave(
    relay: &RelayProcess,
    transport: Transport,
    way: usize,
    member: &Identity,
    other: &Device,
) {
    let cell = |class: Class, counter: u64| {
        let mut header = Header::unicast(class, 0, 0, other.id);
        header.counter = counter;
        let mut cell = vec![0; class.cell_len()];
        cell[..HEADER_LEN].copy_from_slice(&header.encode());
        cell
    };
    let begin = |mut raw: Raw| -> std::io::Result<()> {
        let hello = raw.hello(member, None, |_| {});
        if way == 8 {
            (0..10).try_for_each(|_| renew_keys(&mut raw))?;
        }
        raw.say_content(&hello)?;
        match way {
            // Gone before the welcome, without a word or with one.
            2 => return Ok(()),
            3 if transport == Transport::Tls => return raw.tls().sock.shutdown(Shutdown::Write),
            3 => {}
            // Ahead of the welcome: cells, another introduction, garbage, a record cut short.
            4 => (1..20).try_for_each(|counter| raw.send_bytes(&cell(Class::C0, counter)))?,
            5 => raw.say_content(&hello)?,
            6 => send_garbage(&mut raw, relay, &[0xff; 100])?,
            7 => {
                send_garbage(&mut raw, relay, &[23, 3, 3, 1, 22, 9, 9, 9])?;
                raw.hear().map(drop)?;
                send_garbage(&mut raw, relay, &[9; 300])?;
            }
            // Key updates around the introduction.
            8 => {
                renew_keys(&mut raw)?;
                raw.hear().map(drop)?;
                raw.say(&ping(1))?;
                raw.hear().map(drop)?;
            }
            // Welcome, then a flood that nobody reads the answers of, also to itself.
            9 | 10 => {
                raw.hear()?;
                for number in 0..100 {
                    let to = if way == 9 { other.id } else { member.device_id() };
                    raw.send(Header::unicast(Class::C7, 0, 0, to), b"flood")?;
                    raw.say(&ping(number))?;
                }
            }
            // Half of the largest cell, and gone.
            _ => {
                raw.hear()?;
                raw.send_bytes(&cell(Class::C7, 1)[..16_384])?;
                raw.close();
            }
        }
        if transport == Transport::Quic {
            // Whoever goes without a word is missed after a minute only.
            raw.close();
        }
        Ok(())
    };
    // What fails is the misbehaviour's own business: the relay may have closed before.
    let outcome = match (way, transport) {
        (0, Transport::Quic) => UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(&[0xc0; 1_200], relay.address()).map(drop)),
        (0, _) => TcpStream::connect(relay.address())
            .and_then(|mut tcp| tcp.write_all(&[22, 3, 1, 2, 0, 1])),
        (1, _) => {
            drop(connect_by(relay, transport));
            Ok(())
        }
        _ => begin(connect_by(relay, transport)),
    };
    drop(outcome);
}

fn whatever_a_connection_does_the_others_and_the_files_stay(transport: Transport) {
    const WAYS: usize = 12;
    // Too few for all that come, were one of them kept.
    let options = support::options().shards(2).set("limits", "quic_connections_max", 40);
    let relay = RelayProcess::start(&options).expect("it starts");
    let (mut a, mut b) = pair_by(&relay, transport, transport);
    let members: Vec<Identity> = (0..4)
        .map(|_| {
            let mut member = Device::enrol_by(&relay, transport);
            let granted = b.ask(9, Request::Grant { device: member.id });
            assert!(matches!(granted, Control::Done { .. }), "{granted:?}");
            member.raw.close();
            member.identity
        })
        .collect();
    eventually("the members have gone", || total(&relay, "connections") == 2);
    let before = files(&relay);
    std::thread::scope(|scope| {
        let (relay, b) = (&relay, &b);
        for (number, member) in members.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    misbehave(relay, transport, (round * 5 + number) % WAYS, member, b);
                }
            });
        }
    });
    // Whoever left without a word is displaced.
    let left = members.into_iter().map(|member| {
        let Device { mut raw, identity, .. } = Device::connect_by(&relay, member, transport);
        raw.close();
        identity
    });
    let members: Vec<Identity> = left.collect();
    eventually("they have gone", || total(&relay, "connections") == 2);
    eventually("their sockets are closed", || files(&relay) <= before);
    assert_eq!(total(&relay, "unauthenticated"), 0);
    assert_eq!(total(&relay, "bugs"), 0, "{}", relay.log().unwrap_or_default());
    let to = b.id;
    a.send(to, Class::C1, b"undisturbed");
    while !b.raw.receive().expect("a cell").1.starts_with(b"undisturbed") {}
    // An identity that was misused is as good as ever.
    for member in members {
        let mut member = Device::connect_by(&relay, member, transport);
        assert!(matches!(member.ask(1, Request::Ping), Control::Pong { .. }));
    }
}
