//! The opening and the farewells, by either transport: who breaks the rules of one is told so, and everybody hears why
//! a connection ends.

use std::time::Duration;

use hushwire::identity::Identity;
use hushwire::suite::random::OsRandom;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{Control, GoawayReason, Request, RequestId, Transport};
use hushwire_wire::id::DeviceId;

use crate::support::quic::Options;
use crate::support::raw::{Device, Raw, connect_by};
use crate::support::{self, by_either_transport, eventually, relay, total};
use crate::{connect_with, pair};

by_either_transport!(
    who_does_not_introduce_itself_well_is_refused,
    a_second_introduction_is_malformed,
    a_newer_connection_displaces_an_older_one,
    a_relay_that_stops_says_so,
    silence_ends_with_a_word,
);

/// The least that the relay takes, in milliseconds.
const IDLE_MS_MIN: u64 = 50_001;

/// What somebody says first.
type First = fn(&mut Raw, &Identity) -> std::io::Result<()>;

const TOO_LARGE: &str = "a HELLO in a cell that is too large";

const FIRSTS: [(&str, &str, First); 7] = [
    ("another version", "unsupported", |raw, identity| {
        let hello = raw.hello(identity, None, |hello| hello.version = 2);
        raw.say_content(&hello)
    }),
    ("a cell", "malformed", |raw, _| {
        raw.send(Header::unicast(Class::C0, 0, 0, DeviceId::new([9; 32])), b"to whom?")
    }),
    ("a cover cell", "malformed", |raw, _| {
        let cover =
            Header { kind: hushwire_wire::cell::Kind::Cover, ..Header::control(Class::C0, 0) };
        raw.send(cover, &[])
    }),
    ("a request", "malformed", |raw, _| {
        raw.say(&Control::Request { id: RequestId(1), request: Request::Ping })
    }),
    ("an operation that there is not", "malformed", |raw, _| {
        raw.say_content(b"\x82\xa2op\xa8teleport\xa2id\x07")
    }),
    ("a HELLO with another number", "malformed", |raw, identity| {
        let hello = raw.hello(identity, None, |_| {});
        raw.counters.take(0);
        raw.say_content(&hello)
    }),
    (TOO_LARGE, "malformed", |raw, identity| {
        let hello = raw.hello(identity, None, |_| {});
        let mut cell = vec![0; Class::C4.cell_len()];
        cell[..HEADER_LEN].copy_from_slice(&Header::control(Class::C4, 0).encode());
        cell[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&(hello.len() as u32).to_le_bytes());
        cell[HEADER_LEN + 4..HEADER_LEN + 4 + hello.len()].copy_from_slice(&hello);
        raw.send_bytes(&cell)
    }),
];

fn who_does_not_introduce_itself_well_is_refused(transport: Transport) {
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    let identity = Device::enrol_by(&relay, transport).identity;
    for (what, code, say) in FIRSTS {
        let mut raw = connect_by(&relay, transport);
        say(&mut raw, &identity).expect(what);
        let words = raw.last_words();
        if transport == Transport::Tls && what == TOO_LARGE {
            // TLS ends where the header of the record names a length that no cell may have.
            assert_eq!(words, [""; 0], "{what}");
            continue;
        }
        assert!(words.len() == 1 && words[0].starts_with(code), "{what}: {words:?}");
    }
    crate::exchange(&mut a, &mut b, &[Class::C0]);
    // None of it was the identity's fault.
    let mut device = Device::connect_by(&relay, identity, transport);
    assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
    assert_eq!(total(&relay, "bugs"), 0);
}

fn a_second_introduction_is_malformed(transport: Transport) {
    let relay = relay();
    let identity = Device::enrol_by(&relay, transport).identity;
    for waits in [true, false] {
        let mut raw = connect_by(&relay, transport);
        let hello = raw.hello(&identity, None, |_| {});
        raw.say_content(&hello).expect("the relay reads");
        if waits {
            assert!(matches!(raw.hear().expect("an answer").0, Control::Welcome(_)));
        }
        raw.say_content(&hello).expect("the relay reads");
        let words = raw.last_words();
        assert!(words.len() == 1 && words[0].starts_with("malformed"), "{words:?}");
    }
    assert_eq!(total(&relay, "bugs"), 0);
}

fn a_newer_connection_displaces_an_older_one(transport: Transport) {
    for shards in [1, 2] {
        let relay = crate::relay_of(shards);
        // From either transport to the other as well.
        for other in [Transport::Tls, Transport::Quic] {
            let mut old = Device::enrol_by(&relay, other);
            assert!(!old.welcome.replaced);
            let identity = std::mem::replace(&mut old.identity, Identity::generate(&mut OsRandom));
            let mut new = Device::connect_by(&relay, identity, transport);
            assert!(new.welcome.replaced);
            let goodbye = old.raw.hear().expect("a word").0;
            let is_it = matches!(goodbye, Control::Goaway { reason: GoawayReason::Superseded, .. });
            assert!(is_it, "{goodbye:?}");
            assert_eq!(old.raw.last_words(), [""; 0], "and it closes");
            assert!(matches!(new.ask(1, Request::Ping), Control::Pong { .. }));
            new.raw.close();
        }
        eventually("both have gone", || total(&relay, "connections") == 0);
        assert_eq!(total(&relay, "bugs"), 0);
    }
}

fn a_relay_that_stops_says_so(transport: Transport) {
    const DEVICES: usize = 8;
    let relay = crate::relay_of(2);
    let mut devices: Vec<Device> =
        (0..DEVICES).map(|_| Device::enrol_by(&relay, transport)).collect();
    std::thread::scope(|scope| {
        for device in &mut devices {
            scope.spawn(|| {
                let goodbye = device.raw.hear().expect("a word").0;
                let is_it =
                    matches!(goodbye, Control::Goaway { reason: GoawayReason::Draining, .. });
                assert!(is_it, "{goodbye:?}");
                device.raw.last_words();
            });
        }
        let status = relay.stop().expect("it stops by itself");
        assert!(status.success(), "{status}");
    });
}

/// A device that sends no cell, whether or not its transport gives a sign of life.
fn silence_ends_with_a_word(transport: Transport) {
    const PATIENCE: Duration = Duration::from_secs(80);
    let options = support::options().set("limits", "idle_ms", IDLE_MS_MIN);
    let relay = RelayProcess::start(&options).expect("it starts");
    let mut devices = vec![Device::enrol_by(&relay, transport)];
    if transport == Transport::Quic {
        devices.clear();
        for sign_of_life in [None, Some(Duration::from_secs(10))] {
            let identity = Device::enrol_by(&relay, transport).identity;
            let mut options = Options::default();
            // The relay is to end it, and not the device itself.
            options.transport.keep_alive_interval(sign_of_life).max_idle_timeout(None);
            devices.push(connect_with(&relay, identity, options));
        }
    }
    std::thread::scope(|scope| {
        for device in devices {
            let Device { mut raw, .. } = device;
            scope.spawn(move || {
                match transport {
                    Transport::Quic => {
                        raw.quic().has_cell(PATIENCE);
                    }
                    Transport::Tls | Transport::WebSocket => {
                        raw.tls().sock.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    }
                }
                let goodbye = raw.hear().expect("a word").0;
                let is_it = matches!(goodbye, Control::Goaway { reason: GoawayReason::Idle, .. });
                assert!(is_it, "{goodbye:?}");
                raw.last_words();
            });
        }
    });
    eventually("they have gone", || total(&relay, "connections") == 0);
}
