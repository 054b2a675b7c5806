//! A device that stops reading: its queue stays within its bound, its senders hear `busy`, and nobody else
//! notices.

mod support;

use std::process::Command;

use hushwire::identity::Identity;
use hushwire::suite::random::OsRandom;
use hushwire_tools::admin;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, Kind};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{Control, Request, Transport, Undelivered};
use hushwire_wire::id::DeviceId;
use rustix::process::{Pid, Signal, kill_process};
use support::people::{connect, enrol, in_time, pair};
use support::program::Program;
use support::raw::{self, Device};
use support::{account, eventually, memory, total};

/// Senders: one may hold a quarter of the queue only.
const SENDERS: usize = 5;
/// Cells sent in a row before the sender listens.
const BATCH: u32 = 16;
/// What the kernels of both ends may hold is far less than this.
const CELLS_BEFORE_BUSY_MAX: u32 = 4_096;
/// Cells that each sender sends to the full queue.
const CELLS_BEYOND: u32 = 640;
const EGRESS_BYTES_MAX: u64 = 1024 * 1024;
/// Bound on how much the relay's resident memory may grow, in bytes.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

/// Sends a batch and counts how many cells of all so far were reported as `busy`.
fn flood(device: &mut Device, to: DeviceId, ping: u32) -> u32 {
    for _ in 0..BATCH {
        device.send(to, Class::C7, b"more than anybody reads");
    }
    let request = Request::Ping;
    let id = hushwire_wire::control::RequestId(ping);
    device.raw.say(&Control::Request { id, request }).expect("the relay reads");
    let mut busy = 0;
    loop {
        let message = device.raw.hear().expect("the relay answers").0;
        if matches!(message, Control::Pong { .. }) {
            return busy;
        }
        let is_busy = matches!(message, Control::Undeliverable { reason: Undelivered::Busy, .. });
        assert!(is_busy, "neither `busy` nor the answer: {message:?}");
        busy += 1;
    }
}

/// Every cell of another pair arrives, in order.
fn exchange(a: &mut Device, b: &mut Device) {
    for round in 0..50_u32 {
        for (class, number) in [Class::C0, Class::C4, Class::C7].into_iter().zip(round * 3..) {
            a.send(b.id, class, &number.to_le_bytes());
            b.send(a.id, class, &number.to_le_bytes());
        }
        for device in [&mut *a, &mut *b] {
            for number in round * 3..round * 3 + 3 {
                let (header, body) = device.raw.receive().expect("a cell");
                assert_eq!((header.kind, &body[..4]), (Kind::Unicast, &number.to_le_bytes()[..]));
            }
        }
    }
}

#[tokio::test]
async fn a_stopped_reader_fills_its_own_queue_only() {
    a_stopped_reader_is_sent_to_by(Transport::Tls).await;
}

#[tokio::test]
async fn whose_senders_come_by_quic() {
    a_stopped_reader_is_sent_to_by(Transport::Quic).await;
}

async fn a_stopped_reader_is_sent_to_by(transport: Transport) {
    let homes = tempfile::tempdir().expect("a directory");
    let (home, home_b) = (homes.path().join("reader"), homes.path().join("b"));
    let options = support::options().set("limits", "egress_bytes_max", EGRESS_BYTES_MAX);
    let relay = RelayProcess::start(&options).expect("the relay starts");
    let reader = enrol(&relay, &home).await;
    let b = enrol(&relay, &home_b).await;
    pair(&reader, &b).await;
    let id = reader.device();
    reader.close().await;
    b.close().await;

    let account = account(&relay, &id.to_text());
    let mut senders: Vec<Device> = (0..SENDERS)
        .map(|_| {
            let invite = admin::invite(relay.socket(), Some(account.clone())).expect("an invite");
            let invite = Invite::from_text(&invite).expect("an invite");
            let token = Some(invite.secret.as_bytes().to_vec());
            let raw = raw::connect_by(&relay, transport);
            let identity = Identity::generate(&mut OsRandom);
            Device::introduce_over(raw, identity, token).expect("the invite is good")
        })
        .collect();
    let (mut one, mut other) = raw::pair_by(&relay, transport, transport);
    exchange(&mut one, &mut other);

    let mut child = Program::start(
        Command::new(support::hush())
            .args(["receive", "--count", "1", "--output"])
            .arg(homes.path())
            .arg("--keystore")
            .arg(&home),
    );
    assert!(child.error_line().starts_with("receiving"));
    let pid = Pid::from_raw(child.id() as i32).expect("a process ID");
    kill_process(pid, Signal::STOP).expect("it is stopped");

    let before = memory(relay.id(), "VmRSS:");
    let mut sent = 0;
    while flood(&mut senders[0], id, sent) == 0 {
        sent += BATCH;
        assert!(sent < CELLS_BEFORE_BUSY_MAX, "nobody ever said `busy`");
    }
    assert!(total(&relay, "egress_pool_bytes") <= EGRESS_BYTES_MAX / 4 + 64 * 1024);

    // All of them together fill it, and hear `busy` for what does not fit.
    let mut busy = 0;
    for round in 0..CELLS_BEYOND / BATCH {
        for sender in &mut senders {
            busy += flood(sender, id, CELLS_BEFORE_BUSY_MAX + round);
        }
        if round % 10 == 0 {
            exchange(&mut one, &mut other);
        }
    }
    let all = SENDERS as u32 * CELLS_BEYOND;
    assert!(busy > all * 9 / 10 && busy <= all + BATCH, "{busy} of {all}");
    let high = total(&relay, "egress_pool_bytes_high");
    assert!(high <= EGRESS_BYTES_MAX, "{high}");
    assert!(high > EGRESS_BYTES_MAX / 2, "five senders fill more than one does: {high}");
    let after = memory(relay.id(), "VmRSS:");
    assert!(after.saturating_sub(before) < GROWTH_MAX, "from {before} to {after}");
    exchange(&mut one, &mut other);

    // It reads on, and what it is told arrives.
    kill_process(pid, Signal::CONT).expect("it goes on");
    eventually("the queue drains", || total(&relay, "egress_pool_bytes") == 0);
    assert_eq!(flood(&mut senders[0], id, 0), 0, "there is room again");
    let b = connect(&home_b).await;
    in_time(b.send(id, b"are you there")).await.expect("it is delivered");
    let ended = child.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("are you there"), "{ended:?}");
    let totals = relay.status().expect("a status").totals;
    assert_eq!((totals["bugs"], totals["closed_backlog"]), (0, 0));
}
