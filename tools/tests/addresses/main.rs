//! Devices that change their address while a file is under way: a real change, of a real interface, in a network
//! namespace of their own, over a path that loses and delays.
//!
//! It takes the right to make namespaces (CAP_SYS_ADMIN and CAP_NET_ADMIN) and `ip` of iproute2; without, the test says so
//! and does nothing.

#[path = "../support/mod.rs"]
mod support;

mod namespace;
mod path;

use std::fs;
use std::io::Write as _;
use std::path::Path as FilePath;
use std::time::Duration;

use hushwire::client::{Client, FileOptions, Options, Transport, Transports};
use hushwire::identity::Identity;
use hushwire::keystore::Keystore;
use hushwire::suite::random::{OsRandom, Random as _};
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::code::Invite;

use namespace::Network;
use path::{Path, Weather};
use support::people;

const MIB: usize = 1024 * 1024;

/// What a transfer has to survive.
struct Trial {
    bytes: usize,
    changes: usize,
    weather: Weather,
    patience: Duration,
}

/// `HUSHWIRE_ADDRESSES=256,10` tries 256 MiB with ten changes, which takes twenty minutes.
#[test]
fn a_file_arrives_although_addresses_change_and_datagrams_are_lost() {
    let (mib, changes) = asked_for().map_or((4, 3), |asked| {
        let (mib, changes) = asked.split_once(',').expect("MEBIBYTES,CHANGES");
        (mib.parse().expect("mebibytes"), changes.parse().expect("changes"))
    });
    survive(Trial {
        bytes: mib * MIB,
        changes,
        weather: Weather { lost_per_thousand: 20, delay: Duration::from_millis(20), seed: 5 },
        // Two per cent lost leave some 200 KiB a second.
        patience: Duration::from_secs(60) + Duration::from_secs(15) * mib as u32,
    });
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
fn asked_for() -> Option<String> {
    std::env::var("HUSHWIRE_ADDRESSES").ok()
}

fn survive(trial: Trial) {
    let Some(mut network) = Network::make() else {
        eprintln!("skipped: this system lets nobody make network namespaces");
        return;
    };
    // The relay, and the path to it, stand on one side, both devices on the other.
    let (relay, path) = network.at_the_relay(|address| {
        let path = Path::open((address, 0).into(), trial.weather);
        let public = format!("{:?}", path.address().to_string());
        let options = support::options().set("relay", "public_address", public);
        let relay = RelayProcess::start(&options).expect("the relay starts");
        path.lead_to(relay.address().parse().expect("an address"));
        (relay, path)
    });
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("sent");
    write_random(&file, trial.bytes);
    let Trial { bytes, changes, patience, .. } = trial;

    let report = network.at_the_devices(|address| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sender = enrol(&relay, &place.path().join("a")).await;
            let receiver = enrol(&relay, &place.path().join("b")).await;
            people::pair(&sender, &receiver).await;
            for client in [&sender, &receiver] {
                let info = client.relay_info().expect("it is connected");
                assert_eq!(info.transport, Transport::Quic);
            }
            let before = relay.status().expect("a status").totals;
            let begun = support::now();
            let sending = async {
                let options = FileOptions::default();
                let mut transfer =
                    sender.send_file(receiver.device(), &file, options).await.expect("it begins");
                transfer.finished().await.expect("it arrives")
            };
            let receiving = async {
                let transfer = receiver.accept_transfer().await.expect("a transfer");
                let mut states = transfer.progress();
                let watching = async {
                    let mut changed = 0;
                    while states.changed().await.is_ok() {
                        let done = states.borrow_and_update().bytes as usize;
                        if changed < changes && done > bytes / (changes + 1) * (changed + 1) {
                            changed += 1;
                            address.change();
                        }
                    }
                    changed
                };
                let saving = transfer.save_in(place.path());
                let (saved, changed) = tokio::join!(saving, watching);
                (saved.expect("it is saved"), changed)
            };
            let both = async { tokio::join!(sending, receiving) };
            let (sent, (received, changed)) =
                tokio::time::timeout(patience, both).await.expect("in time");
            let seconds = begun.elapsed().as_secs_f64();
            assert_eq!(sent, received.content, "SHA-256 and length");
            assert_eq!(changed, changes, "each address was used");
            let after = relay.status().expect("a status").totals;
            assert_eq!(
                after["admitted"], before["admitted"],
                "nobody had to introduce itself again"
            );
            assert_eq!((after["closed_idle"], after["bugs"]), (0, 0));
            sender.close().await;
            receiver.close().await;
            format!("{bytes} bytes in {seconds:.1} s, {changed} changes of address, SHA-256 equal")
        })
    });
    let lost = path.lost();
    assert!(lost > 0, "the weather was bad");
    eprintln!("{report}; {lost} datagrams lost");
}

async fn enrol(relay: &RelayProcess, path: &FilePath) -> Client {
    let keystore = Keystore::create(path, Identity::generate(&mut OsRandom)).expect("a keystore");
    let invite = relay.invite().expect("an invite");
    let invite = Invite::from_text(&invite).expect("an invite");
    let options = Options { transports: Transports::OnlyQuic, ..Options::default() };
    Client::enroll(keystore, &invite, options).await.expect("it is enrolled")
}

fn write_random(path: &FilePath, bytes: usize) {
    let mut file = fs::File::create(path).expect("a file");
    let mut part = vec![0; MIB];
    for _ in 0..bytes / MIB {
        OsRandom.fill(&mut part);
        file.write_all(&part).expect("room");
    }
}
