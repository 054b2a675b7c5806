//! Is a device: does what each line of its input asks for, with the endpoint library as an agent would use it, and
//! answers with one line. Ends with its input.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use hushwire::client::{Client, FileOptions, Options, PairingOptions, Transports};
use hushwire::identity::Identity;
use hushwire::journal::Durability;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use hushwire_wire::code::Invite;
use hushwire_wire::id::DeviceId;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::limits::{LATENCY_NS_MAX, PIECE_BYTES};

/// Serves until the input ends.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let home = tempfile::TempDir::with_prefix("hush-bench-device-")?;
        let question = next(&mut lines).await?.context("no invite")?;
        let invite = Invite::from_text(text(&question, "invite")?)
            .map_err(|error| anyhow!("an invite: {error}"))?;
        let keystore =
            Keystore::create(&home.path().join("keystore"), Identity::generate(&mut OsRandom))?;
        let durability = match text(&question, "durability")? {
            "disk" => Durability::Disk,
            "process" => Durability::Process,
            other => bail!("a durability of {other:?}"),
        };
        let transports = match text(&question, "transport")? {
            "tls" => Transports::OnlyTls,
            "quic" => Transports::OnlyQuic,
            other => bail!("a transport of {other:?}"),
        };
        let options = Options { durability, transports, ..Options::default() };
        let client = Client::enroll(keystore, &invite, options).await?;
        println!("{}", json!({ "device": client.device().to_text() }));
        let mut device =
            Device { client, peer: None, answering: None, flooding: None, drained: Arc::default() };
        while let Some(question) = next(&mut lines).await? {
            let answer = device.answer(&question).await;
            let answer = answer.unwrap_or_else(|error| json!({ "failed": format!("{error:#}") }));
            println!("{answer}");
        }
        Ok(())
    })
}

async fn next(lines: &mut Lines<BufReader<Stdin>>) -> Result<Option<Value>> {
    let line = lines.next_line().await?;
    Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
}

fn text<'a>(question: &'a Value, name: &str) -> Result<&'a str> {
    question[name].as_str().with_context(|| format!("a question without {name}"))
}

fn number(question: &Value, name: &str) -> Result<u64> {
    question[name].as_u64().with_context(|| format!("a question without {name}"))
}

struct Device {
    client: Client,
    peer: Option<DeviceId>,
    /// Sends every message back.
    answering: Option<JoinHandle<Result<()>>>,
    /// Writes or reads a stream without end.
    flooding: Option<JoinHandle<Result<()>>>,
    /// Bytes that were read of such streams.
    drained: Arc<AtomicU64>,
}

impl Device {
    async fn answer(&mut self, question: &Value) -> Result<Value> {
        match text(question, "ask")? {
            "offer" => self.offer().await,
            "join" => self.join(text(question, "link")?).await,
            "send" => self.send(text(question, "file")?.as_ref()).await,
            "receive" => self.receive(text(question, "file")?.as_ref()).await,
            "send file" => self.send_file(text(question, "file")?.as_ref()).await,
            "receive file" => {
                let saved = self.client.accept_transfer().await?;
                saved.save_as(text(question, "file")?).await?;
                Ok(json!({}))
            }
            "ping" => self.ping(number(question, "messages")?, bytes(question)?).await,
            "answer" => {
                self.answering = Some(tokio::spawn(answer(self.client.clone())));
                Ok(json!({}))
            }
            "answer no more" => stop(&mut self.answering).await,
            "flood" => {
                let stream = self.client.open_stream(self.peer()?).await?;
                self.flooding = Some(tokio::spawn(flood(stream)));
                Ok(json!({}))
            }
            "drain" => {
                self.flooding =
                    Some(tokio::spawn(drain(self.client.clone(), Arc::clone(&self.drained))));
                Ok(json!({}))
            }
            "drained" => Ok(json!({ "bytes": self.drained.load(Ordering::Relaxed) })),
            "stop" => stop(&mut self.flooding).await,
            "tcp echo" => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                tokio::spawn(tcp_echo(listener, bytes(question)?));
                Ok(json!({ "listen": address.to_string() }))
            }
            "tcp ping" => {
                let address: SocketAddr = text(question, "address")?.parse()?;
                tcp_ping(address, number(question, "messages")?, bytes(question)?).await
            }
            other => bail!("a question about {other:?}"),
        }
    }

    fn peer(&self) -> Result<DeviceId> {
        self.peer.context("no peer yet")
    }

    async fn offer(&mut self) -> Result<Value> {
        let offer = self.client.offer_pairing::<Link>(PairingOptions::default()).await?;
        println!("{}", json!({ "link": offer.link() }));
        self.peer = Some(offer.wait().await?.confirm("peer").await?);
        Ok(json!({}))
    }

    async fn join(&mut self, link: &str) -> Result<Value> {
        let pending = self.client.join_pairing::<Link>(link).await?;
        self.peer = Some(pending.confirm("peer").await?);
        Ok(json!({}))
    }

    /// Returns when the peer has the whole file under its name on its disk.
    async fn send_file(&self, path: &Path) -> Result<Value> {
        let peer = self.peer()?;
        let mut transfer = self.client.send_file(peer, path, FileOptions::default()).await?;
        transfer.finished().await?;
        Ok(json!({}))
    }

    /// As a stream: returns when the peer's application has read everything.
    async fn send(&self, path: &Path) -> Result<Value> {
        let mut file = File::open(path).await?;
        let mut stream = self.client.open_stream(self.peer()?).await?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut total = 0;
        loop {
            let count = file.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            stream.write_all(&piece[..count]).await?;
            total += count;
        }
        stream.shutdown().await?;
        Ok(json!({ "bytes": total }))
    }

    async fn receive(&self, path: &Path) -> Result<Value> {
        let mut stream = self.client.accept_stream().await?;
        let mut file = File::create(path).await?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut total = 0;
        loop {
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            file.write_all(&piece[..count]).await?;
            total += count;
        }
        file.flush().await?;
        Ok(json!({ "bytes": total }))
    }

    /// Messages to the peer and back, one at a time.
    async fn ping(&self, messages: u64, bytes: usize) -> Result<Value> {
        let peer = self.peer()?;
        let mut times = histogram()?;
        let mut last = None;
        let clock = Clock::start();
        for round in 0..messages {
            let message = numbered(round, bytes);
            let begun = clock.now_ns();
            last = Some(self.client.enqueue(peer, message.clone()).await?);
            let back = self.client.receive().await?;
            times.saturating_record(clock.now_ns() - begun);
            ensure!(back.bytes == message, "message {round} came back as another one");
        }
        if let Some(last) = last {
            last.await?;
        }
        Ok(quantiles(&times))
    }
}

async fn stop(task: &mut Option<JoinHandle<Result<()>>>) -> Result<Value> {
    let task = task.take().context("nothing is under way")?;
    if task.is_finished() {
        task.await??;
        bail!("it ended by itself");
    }
    task.abort();
    match task.await {
        Ok(ended) => ended?,
        Err(error) => ensure!(error.is_cancelled(), "{error}"),
    }
    Ok(json!({}))
}

fn bytes(question: &Value) -> Result<usize> {
    Ok(usize::try_from(number(question, "bytes")?)?)
}

fn numbered(round: u64, bytes: usize) -> Vec<u8> {
    let mut message = vec![b'.'; bytes];
    let number = round.to_le_bytes();
    let length = number.len().min(bytes);
    message[..length].copy_from_slice(&number[..length]);
    message
}

async fn answer(client: Client) -> Result<()> {
    loop {
        let message = client.receive().await?;
        client.enqueue(message.peer, message.bytes).await?;
    }
}

async fn flood(mut stream: hushwire::client::StreamWriter) -> Result<()> {
    let piece = vec![7; PIECE_BYTES];
    loop {
        stream.write_all(&piece).await?;
    }
}

/// Reads one stream until its writer has had enough.
async fn drain(client: Client, drained: Arc<AtomicU64>) -> Result<()> {
    let mut stream = client.accept_stream().await?;
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        drained.fetch_add(count as u64, Ordering::Relaxed);
    }
    // What comes next is to end this task.
    std::future::pending().await
}

async fn tcp_echo(listener: TcpListener, bytes: usize) -> Result<()> {
    let mut message = vec![0; bytes];
    loop {
        let (mut socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        while socket.read_exact(&mut message).await.is_ok() {
            socket.write_all(&message).await?;
        }
    }
}

/// The same over a bare TCP connection between the same two processes.
async fn tcp_ping(address: SocketAddr, messages: u64, bytes: usize) -> Result<Value> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut times = histogram()?;
    let mut back = vec![0; bytes];
    let clock = Clock::start();
    for round in 0..messages {
        let message = numbered(round, bytes);
        let begun = clock.now_ns();
        socket.write_all(&message).await?;
        socket.read_exact(&mut back).await?;
        times.saturating_record(clock.now_ns() - begun);
        ensure!(back == message, "message {round} came back as another one");
    }
    Ok(quantiles(&times))
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(100, LATENCY_NS_MAX, 3)?)
}

fn quantiles(times: &Histogram<u64>) -> Value {
    let at = |quantile| times.value_at_quantile(quantile);
    json!({
        "count": times.len(),
        "p50_ns": at(0.5),
        "p99_ns": at(0.99),
        "p999_ns": at(0.999),
        "max_ns": times.max(),
    })
}
