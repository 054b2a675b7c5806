//! Two shards, many devices: every message arrives, whichever shards its ends live on.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use hushwire::identity::Identity;
use hushwire::suite::random::{OsRandom, Random as _};
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, Header, Kind};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{Control, Request, RequestId, Transport, disclose};
use support::by_either_transport;
use support::raw::{Device, Raw, connect_by};

by_either_transport!(
    every_message_between_random_pairs_arrives,
    nothing_comes_before_welcome,
    bursts_for_several_arrive_in_order,
);

const DEVICES: usize = 200;
const ROUNDS: usize = 30;

/// Knuth's MMIX generator: the pairs are the same in every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn every_message_between_random_pairs_arrives(transport: Transport) {
    let relay = RelayProcess::start(&support::options().shards(2)).expect("it starts");
    let mut devices: Vec<Device> =
        (0..DEVICES).map(|_| Device::enrol_by(&relay, transport)).collect();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    let mut random = Lcg(7);
    let pairs: Vec<(usize, usize)> =
        (0..DEVICES).map(|from| (from, (from + 1 + random.below(DEVICES - 1)) % DEVICES)).collect();
    for &(from, to) in &pairs {
        let answer = devices[to].ask(from as u32, Request::Grant { device: ids[from] });
        assert!(matches!(answer, Control::Done { .. }), "{answer:?}");
    }

    let classes = [Class::C0, Class::C3, Class::C6, Class::C7];
    for round in 0..ROUNDS {
        let mut expected: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
        for &(from, to) in &pairs {
            let text = format!("round {round} from {from}");
            let class = classes[random.below(classes.len())];
            devices[from].send(ids[to], class, text.as_bytes());
            expected.entry(to).or_default().push((from, text));
        }
        for (to, mut messages) in expected {
            while !messages.is_empty() {
                let (header, body) = devices[to].raw.receive().expect("a cell");
                let found = messages.iter().position(|(from, text)| {
                    ids[*from] == header.peer && body.starts_with(text.as_bytes())
                });
                messages.swap_remove(found.expect("a message of this round, from whom it says"));
            }
        }
    }

    let status = relay.status().expect("a status");
    let total = |name: &str| status.totals[name];
    let routed = (DEVICES * ROUNDS) as u64;
    assert_eq!(total("cells_out"), routed, "{:?}", status.totals);
    assert!(total("handed_over") > DEVICES as u64 / 4, "{:?}", status.totals);
    assert_eq!(total("handed_over"), total("taken_over"));
    assert!(total("cells_crossed_out") > routed / 4, "{:?}", status.totals);
    assert_eq!(total("cells_crossed_out"), total("cells_crossed_in"));
    assert_eq!(total("bugs"), 0);
}

/// Introduces the device with this secret; its connection and the shard it lives on.
fn introduce(
    relay: &RelayProcess,
    transport: Transport,
    secret: &[u8; 32],
    is_new: bool,
) -> (Raw, u16) {
    let identity = Identity::from_secret(secret);
    let invite = || Invite::from_text(&relay.invite().expect("an invite")).expect("an invite");
    let token = is_new.then(|| invite().secret.as_bytes().to_vec());
    let mut raw = connect_by(relay, transport);
    let hello = raw.hello(&identity, token, |_| {});
    raw.say_content(&hello).expect("the relay reads");
    let (header, body) = raw.receive().expect("the relay answers");
    assert_eq!(header.kind, Kind::Control, "the first word is the relay's");
    let first = Control::decode(disclose(&body).expect("a control body"));
    let Ok(Control::Welcome(welcome)) = first else { panic!("not WELCOME, but {first:?}") };
    (raw, welcome.shard)
}

/// A turn of a shard may find a device's admission and cells for it from another shard at once.
fn nothing_comes_before_welcome(transport: Transport) {
    const CONNECTIONS: usize = 100;
    const BURST: usize = 64;
    let relay = RelayProcess::start(&support::options().shards(2)).expect("it starts");
    let mut secrets = std::iter::repeat_with(|| {
        let mut secret = [0; 32];
        OsRandom.fill(&mut secret);
        secret
    });
    let secret = secrets.next().expect("a secret");
    let to = Identity::from_secret(&secret).device_id();
    let (mut recipient, home) = introduce(&relay, transport, &secret, true);
    let (mut sender, from) = secrets
        .find_map(|secret| {
            let (raw, shard) = introduce(&relay, transport, &secret, true);
            (shard != home).then(|| (raw, Identity::from_secret(&secret).device_id()))
        })
        .expect("devices live on both shards");
    let grant = Request::Grant { device: from };
    recipient.say(&Control::Request { id: RequestId(1), request: grant }).expect("it reads");
    assert!(matches!(recipient.hear().expect("an answer").0, Control::Done { .. }));
    drop(recipient);

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ping = Control::Request { id: RequestId(2), request: Request::Ping };
            while !over.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    sender.send(Header::unicast(Class::C0, 0, 0, to), b"more").expect("it reads");
                }
                sender.say(&ping).expect("it reads");
                while !matches!(sender.hear().expect("an answer").0, Control::Pong { .. }) {}
            }
        });
        let connecting = std::panic::catch_unwind(|| {
            for _ in 0..CONNECTIONS {
                let (mut recipient, _) = introduce(&relay, transport, &secret, false);
                assert_eq!(recipient.receive().expect("a cell").0.peer, from);
            }
        });
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = connecting {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(relay.status().expect("a status").totals["bugs"], 0);
}

/// What a device sends together, the relay may send on from where it received it: for one recipient, by TLS, as long as nothing
/// waits for it. Here recipients, sizes and transports change in the middle.
fn bursts_for_several_arrive_in_order(transport: Transport) {
    const BURSTS: usize = 120;
    let relay = RelayProcess::start(&support::options()).expect("it starts");
    let mut sender = Device::enrol_by(&relay, Transport::Tls);
    let mut recipients: Vec<Device> = [Transport::Tls, transport, Transport::Tls]
        .map(|transport| Device::enrol_by(&relay, transport))
        .into();
    for recipient in &mut recipients {
        let granted = recipient.ask(1, Request::Grant { device: sender.id });
        assert!(matches!(granted, Control::Done { .. }), "{granted:?}");
    }
    let ids: Vec<_> = recipients.iter().map(|recipient| recipient.id).collect();
    let (mut random, mut number) = (Lcg(11), 0_u32);
    for burst in 0..BURSTS {
        // Sometimes all for one, mostly not; never more than its queue holds.
        let mut to = random.below(ids.len());
        let changes = [1, 3, 1_000][random.below(3)];
        let mut left = 200_000_usize;
        let mut expected: Vec<Vec<(Class, u32)>> = vec![Vec::new(); ids.len()];
        loop {
            let class = Class::ALL[[7, 7, 6, 4, random.below(8)][random.below(5)]];
            let Some(behind) = left.checked_sub(class.cell_len()) else { break };
            left = behind;
            let header = Header::unicast(class, 0, 0, ids[to]);
            sender.raw.send_later(header, &number.to_le_bytes());
            expected[to].push((class, number));
            number += 1;
            if random.below(changes) == 0 {
                to = random.below(ids.len());
            }
        }
        sender.raw.send_now().expect("the relay reads");
        for (recipient, expected) in recipients.iter_mut().zip(expected) {
            for (class, number) in expected {
                let (header, body) = recipient.raw.receive().expect("a cell");
                assert_eq!((header.peer, header.class), (sender.id, class), "burst {burst}");
                assert_eq!(body[..4], number.to_le_bytes(), "burst {burst}");
                assert!(body[4..].iter().all(|&byte| byte == 0), "burst {burst}");
            }
        }
    }
    let totals = relay.status().expect("a status").totals;
    assert_eq!((totals["cells_out"], totals["bugs"]), (u64::from(number), 0), "{totals:?}");
}
