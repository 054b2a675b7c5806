//! The hostile relay: who is there, what passes, and what becomes of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, readdress};
use hushwire_wire::control::{self, Control, Request, RequestId, Undelivered};
use hushwire_wire::id::DeviceId;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::connection::{Greeting, Out, cell, serve};

/// A routed cell as the relay sees it.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    /// Number among all routed cells since the rules began.
    pub(crate) number: u64,
    pub(crate) from: DeviceId,
    pub(crate) to: DeviceId,
    /// Header and body; the header is the sender's.
    pub(crate) cell: Vec<u8>,
}

/// What becomes of a cell. Nothing at all means that it vanishes without a word.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// As it should be.
    Deliver,
    /// Later than what comes behind it.
    Late(Duration),
    /// With a bit of this byte of the body changed; counted from the end where it is short.
    Changed(usize),
    /// As if from somebody else.
    From(DeviceId),
    /// To somebody else.
    To(DeviceId),
    /// As if from somebody else, and to somebody else.
    Renamed { from: DeviceId, to: DeviceId },
    /// Its sender hears that it was not delivered.
    Deny(Undelivered),
    /// Both ends lose their connections.
    Cut,
}

pub(crate) type Rules = Box<dyn FnMut(&Passing) -> Vec<Fate> + Send>;

/// What is answered to a request; `None` for what an honest relay would.
pub(crate) type Answers = Box<dyn FnMut(DeviceId, RequestId, &Request) -> Option<Vec<Told>> + Send>;

/// A control message and who gets it.
pub(crate) type Told = (DeviceId, Control);

pub(crate) enum Command {
    Arrived { device: DeviceId, number: u64, sender: mpsc::UnboundedSender<Out> },
    Gone { device: DeviceId, number: u64 },
    Cell { device: DeviceId, header: Header, cell: Vec<u8> },
    Pass(Passing, Fate),
    Rules(Rules, oneshot::Sender<()>),
    Answers(Answers, oneshot::Sender<()>),
    Send { to: DeviceId, out: Out },
    Recorded(oneshot::Sender<Vec<Passing>>),
}

/// Ends with its value.
pub(crate) struct HostileRelay {
    pub(crate) address: SocketAddr,
    pub(crate) pin: [u8; 32],
    hub: mpsc::UnboundedSender<Command>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for HostileRelay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl HostileRelay {
    /// Honest until told otherwise.
    pub(crate) async fn start() -> Self {
        Self::greeting(|_| Greeting::default()).await
    }

    /// One that greets its connections, counted from 0, in its own way.
    pub(crate) async fn greeting(greet: impl Fn(u64) -> Greeting + Send + 'static) -> Self {
        let (config, pin) = server();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (hub, commands) = mpsc::unbounded_channel();
        let to_hub = hub.clone();
        let accepting = tokio::spawn(async move {
            for number in 0.. {
                let Ok((tcp, _)) = listener.accept().await else { return };
                tokio::spawn(serve(tcp, config.clone(), greet(number), number, to_hub.clone()));
            }
        });
        let ruling = tokio::spawn(Hub::new(hub.clone()).run(commands));
        Self { address, pin, hub, tasks: [accepting, ruling] }
    }

    /// What becomes of routed cells from now on.
    pub(crate) async fn rules(&self, rules: impl FnMut(&Passing) -> Vec<Fate> + Send + 'static) {
        let (done, taken) = oneshot::channel();
        let _runs = self.hub.send(Command::Rules(Box::new(rules), done));
        taken.await.expect("the relay runs");
    }

    /// Becomes honest.
    pub(crate) async fn repents(&self) {
        self.rules(|_| vec![Fate::Deliver]).await;
    }

    pub(crate) async fn answers(
        &self,
        answers: impl FnMut(DeviceId, RequestId, &Request) -> Option<Vec<Told>> + Send + 'static,
    ) {
        let (done, taken) = oneshot::channel();
        let _runs = self.hub.send(Command::Answers(Box::new(answers), done));
        taken.await.expect("the relay runs");
    }

    pub(crate) fn say(&self, to: DeviceId, control: &Control) {
        self.send(to, Out::Cell(cell(control)));
    }

    pub(crate) fn send(&self, to: DeviceId, out: Out) {
        let _runs = self.hub.send(Command::Send { to, out });
    }

    /// Sends a routed cell again, as it was, whoever is connected now.
    pub(crate) fn replay(&self, passing: &Passing) {
        let _runs = self.hub.send(Command::Pass(passing.clone(), Fate::Deliver));
    }

    /// A body of the relay's own making.
    pub(crate) fn forge(&self, from: DeviceId, to: DeviceId, lane: u32, body: &[u8]) {
        let class = Class::for_body(body.len()).expect("a body of some class");
        let mut cell = Header::unicast(class, lane, 0, to).encode().to_vec();
        cell.extend_from_slice(body);
        cell.resize(class.cell_len(), 0);
        self.replay(&Passing { number: 0, from, to, cell });
    }

    /// Every routed cell that was ever sent, oldest first.
    pub(crate) async fn recorded(&self) -> Vec<Passing> {
        let (sender, receiver) = oneshot::channel();
        let _runs = self.hub.send(Command::Recorded(sender));
        receiver.await.expect("the relay runs")
    }
}

fn server() -> (Arc<ServerConfig>, [u8; 32]) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["relay.example".into()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let pin = Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .expect("a key that fits");
    config.alpn_protocols = vec![b"hushwire/1".to_vec()];
    (Arc::new(config), pin)
}

struct Hub {
    itself: mpsc::UnboundedSender<Command>,
    present: HashMap<DeviceId, (u64, mpsc::UnboundedSender<Out>)>,
    rendezvous: HashMap<[u8; 16], DeviceId>,
    rules: Rules,
    answers: Answers,
    passed: u64,
    recorded: Vec<Passing>,
}

impl Hub {
    fn new(itself: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            itself,
            present: HashMap::new(),
            rendezvous: HashMap::new(),
            rules: Box::new(|_| vec![Fate::Deliver]),
            answers: Box::new(|_, _, _| None),
            passed: 0,
            recorded: Vec::new(),
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Arrived { device, number, sender } => {
                    self.present.insert(device, (number, sender));
                }
                Command::Gone { device, number } => {
                    if self.present.get(&device).is_some_and(|(present, _)| *present == number) {
                        self.present.remove(&device);
                    }
                }
                Command::Cell { device, header, cell } => self.on_cell(device, &header, cell),
                Command::Pass(passing, fate) => self.become_of(passing, fate),
                Command::Rules(rules, done) => {
                    (self.rules, self.passed) = (rules, 0);
                    let _gone = done.send(());
                }
                Command::Answers(answers, done) => {
                    self.answers = answers;
                    let _gone = done.send(());
                }
                Command::Send { to, out } => self.send(to, out),
                Command::Recorded(sender) => {
                    let _gone = sender.send(self.recorded.clone());
                }
            }
        }
    }

    fn send(&self, to: DeviceId, out: Out) {
        if let Some((_, sender)) = self.present.get(&to) {
            let _gone = sender.send(out);
        }
    }

    fn on_cell(&mut self, from: DeviceId, header: &Header, cell: Vec<u8>) {
        match header.kind {
            Kind::Cover | Kind::Broadcast => {}
            Kind::Unicast => {
                let passing = Passing { number: self.passed, from, to: header.peer, cell };
                self.passed += 1;
                self.recorded.push(passing.clone());
                for fate in (self.rules)(&passing) {
                    self.become_of(passing.clone(), fate);
                }
            }
            Kind::Control => {
                let content = control::disclose(&cell[HEADER_LEN..]).expect("the client's own");
                if let Ok(Control::Request { id, request }) = Control::decode(content) {
                    self.on_request(from, id, &request);
                }
            }
        }
    }

    fn become_of(&mut self, mut passing: Passing, fate: Fate) {
        match fate {
            Fate::Deliver => {
                if self.present.contains_key(&passing.to) {
                    readdress(&mut passing.cell, &passing.from);
                    self.send(passing.to, Out::Cell(passing.cell));
                } else {
                    self.become_of(passing, Fate::Deny(Undelivered::Offline));
                }
            }
            Fate::Late(wait) => {
                let hub = self.itself.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    let _runs = hub.send(Command::Pass(passing, Fate::Deliver));
                });
            }
            Fate::Changed(byte) => {
                let body = passing.cell.len() - HEADER_LEN;
                passing.cell[HEADER_LEN + byte % body] ^= 0x10;
                self.become_of(passing, Fate::Deliver);
            }
            Fate::From(from) => self.become_of(Passing { from, ..passing }, Fate::Deliver),
            Fate::To(to) => self.become_of(Passing { to, ..passing }, Fate::Deliver),
            Fate::Renamed { from, to } => {
                self.become_of(Passing { from, to, ..passing }, Fate::Deliver);
            }
            Fate::Deny(reason) => {
                let head = passing.cell.first_chunk::<HEADER_LEN>().expect("a whole cell");
                let header = Header::decode(head).expect("the client's own");
                let (lane, counter) = (header.lane as u8, header.counter);
                let denied = Control::Undeliverable { lane, counter, reason };
                self.send(passing.from, Out::Cell(cell(&denied)));
            }
            Fate::Cut => {
                self.send(passing.from, Out::Cut);
                self.send(passing.to, Out::Cut);
            }
        }
    }

    fn on_request(&mut self, from: DeviceId, id: RequestId, request: &Request) {
        let told = (self.answers)(from, id, request);
        let told = told.unwrap_or_else(|| self.honest(from, id, request));
        for (to, control) in told {
            self.send(to, Out::Cell(cell(&control)));
        }
    }

    fn honest(&mut self, from: DeviceId, id: RequestId, request: &Request) -> Vec<Told> {
        match request {
            Request::Ping => vec![(from, Control::Pong { id, unix_ms: 1 })],
            Request::PairOpen { tag, .. } => {
                self.rendezvous.insert(*tag, from);
                vec![(from, Control::Done { id })]
            }
            Request::PairJoin { tag } => match self.rendezvous.remove(tag) {
                Some(device) => vec![
                    (device, Control::Paired { id: None, tag: *tag, device: from }),
                    (from, Control::Paired { id: Some(id), tag: *tag, device }),
                ],
                None => Vec::new(),
            },
            Request::Register { .. }
            | Request::Rename { .. }
            | Request::Revoke { .. }
            | Request::Grant { .. }
            | Request::Ungrant { .. }
            | Request::Presence { .. } => vec![(from, Control::Done { id })],
        }
    }
}
