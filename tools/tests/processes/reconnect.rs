//! The relay dies in the middle of everything and comes back: nobody who uses it does anything about it.

use std::path::Path;

use hushwire::client::{Client, Event};
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::id::DeviceId;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::support;
use crate::support::free_port;
use crate::support::people::{enrol, in_time, pair, random};

const MESSAGES: u32 = 2_000;
/// Messages that are taken before the relay dies; far more are on their way by then, or wait for room.
const FIRST_MESSAGES: u32 = 200;
const FILE_BYTES: usize = 24 * 1024 * 1024;
/// What has arrived of the file when the relay dies.
const FIRST_PART_BYTES: usize = 4 * 1024 * 1024;

fn start(data_dir: &Path, port: u16) -> RelayProcess {
    let mut options = support::options().set("listen", "address", format!("\"127.0.0.1:{port}\""));
    options.data_dir = Some(data_dir.to_owned());
    RelayProcess::start(&options).expect("the relay starts")
}

/// A message of its own size, which begins with its number.
fn message(number: u32) -> Vec<u8> {
    let mut bytes = vec![number as u8; 4 + number as usize * 37 % 5_000];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

async fn send_messages(from: &Client, to: DeviceId) {
    let mut deliveries = Vec::new();
    for number in 0..MESSAGES {
        deliveries.push(from.enqueue(to, message(number)).await.expect("room"));
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.expect("it is delivered").number, number as u64);
    }
}

async fn receive_messages(client: &Client, mut killed: watch::Receiver<bool>) {
    for number in 0..MESSAGES {
        if number == FIRST_MESSAGES {
            killed.wait_for(|&killed| killed).await.expect("the relay is killed");
        }
        let received = client.receive().await.expect("it arrives").bytes;
        assert!(received == message(number), "once and in order, at {number}");
    }
}

#[tokio::test]
async fn a_killed_relay_costs_nothing_but_time() {
    let place = tempfile::tempdir().expect("a directory");
    let (data_dir, port) = (place.path().join("data"), free_port());
    let relay = start(&data_dir, port);
    let a = enrol(&relay, &place.path().join("a")).await;
    let b = enrol(&relay, &place.path().join("b")).await;
    pair(&a, &b).await;
    let (mut events_a, mut events_b) = (a.events(), b.events());

    let content = random(FILE_BYTES);
    let (to_a, to_b) = (a.device(), b.device());
    let sending = async {
        let mut stream = a.open_stream(to_b).await.expect("a stream");
        stream.write_all(&content).await.expect("it is written");
        stream.shutdown().await.expect("it is read to its end");
    };
    let mut relay = Some(relay);
    let (killed, killing) = watch::channel(false);
    let receiving = async {
        let mut stream = b.accept_stream().await.expect("a stream");
        let mut received = vec![0; FIRST_PART_BYTES];
        stream.read_exact(&mut received).await.expect("the first part");
        let directory = relay.take().expect("it still runs").kill().expect("it is killed");
        drop(directory);
        killed.send_replace(true);
        let data_dir = data_dir.clone();
        let again = tokio::task::spawn_blocking(move || start(&data_dir, port));
        relay = Some(again.await.expect("it starts again"));
        stream.read_to_end(&mut received).await.expect("the rest");
        received
    };
    let ((), received, (), (), (), ()) = in_time(async {
        tokio::join!(
            sending,
            receiving,
            send_messages(&a, to_b),
            send_messages(&b, to_a),
            receive_messages(&a, killing.clone()),
            receive_messages(&b, killing.clone()),
        )
    })
    .await;
    assert_eq!(Sha256::digest(&received), Sha256::digest(&content));

    for events in [&mut events_a, &mut events_b] {
        let mut lost = 0;
        in_time(async {
            loop {
                #[expect(clippy::wildcard_enum_match_arm, reason = "more may happen with versions")]
                match events.next().await.expect("the client is there") {
                    Event::Disconnected { next_try, .. } => {
                        assert!(next_try.is_some(), "it goes on by itself");
                        lost += 1;
                    }
                    Event::Connected { .. } if lost > 0 => return,
                    Event::Missed { .. }
                    | Event::KeystoreFailed { .. }
                    | Event::StorageFailed { .. }
                    | Event::SetBack { .. }
                    | Event::MessagesLost { .. } => panic!("unexpected"),
                    _ => {}
                }
            }
        })
        .await;
    }
    // Nothing comes twice: the next message is the next one.
    support::people::tell(&a, &b, b"afterwards").await;
    support::people::tell(&b, &a, b"afterwards").await;
    assert_eq!(relay.expect("it runs").status().expect("a status").totals["bugs"], 0);
}
