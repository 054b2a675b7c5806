//! The whole path once, on this machine: a relay in a process of its own, two devices, a file, messages;
//! and what the relay saw beside what the devices saw.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use hushwire::client::{Client, FileOptions, Options, PairingOptions, Transport, Transports};
use hushwire::identity::Identity;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire::suite::random::{OsRandom, Random as _};
use hushwire::transfer::Transferred;
use hushwire_relay::control::admin::Status;
use hushwire_tools::relay_process::{Options as RelayOptions, RelayProcess};
use hushwire_wire::code::Invite;
use hushwire_wire::id::DeviceId;
use serde_json::{Value, json};

use crate::arguments::Demo;
use crate::commands::{PATIENCE, hex};
use crate::terminal::{note, progress, show};

/// The argument that turns this program into the daemon.
pub(crate) const DAEMON: &str = "daemon";
/// What is sent where no file is named.
const GENERATED_BYTES: u64 = 64 * 1024 * 1024;
/// Size of each message.
const MESSAGE_BYTES: usize = 100;

/// What came of it.
struct Outcome {
    file: Transferred,
    equal: bool,
    seconds: f64,
    latency: Histogram<u64>,
    before: Status,
    after: Status,
}

pub(crate) async fn run(demo: &Demo, json: bool) -> Result<()> {
    let place = tempfile::Builder::new().prefix("hush-demo-").tempdir()?;
    let file = match &demo.file {
        Some(file) => file.clone(),
        None => generate(place.path())?,
    };
    let mut options = RelayOptions::new(std::env::current_exe()?).shards(demo.shards);
    options.prefix = vec![DAEMON.to_owned()];
    let relay = RelayProcess::start(&options)?;
    note(json, &format!("relay    process {}, at {}", relay.id(), relay.address()));

    // Not what gets through first, but what was asked for: the figures are about it.
    let transports = if demo.tls { Transports::OnlyTls } else { Transports::OnlyQuic };
    let a = device(&relay, &place.path().join("a"), transports).await?;
    let b = device(&relay, &place.path().join("b"), transports).await?;
    let sas = pair(&a, &b).await?;
    note(
        json,
        &format!("device a {}\ndevice b {}\npaired   both show {sas}", a.device(), b.device()),
    );

    let outcome = exchange(&relay, &a, &b, &file, place.path(), demo.messages, json).await?;
    let devices = (a.device(), b.device());
    let transport = a.relay_info().context("the connection was lost")?.transport;
    a.close().await;
    b.close().await;
    relay.stop()?;
    report(&outcome, devices, transport, json)?;
    if outcome.equal {
        Ok(())
    } else {
        bail!("the file that arrived is not the file that was sent")
    }
}

/// Bytes that no compression and no luck can shorten.
fn generate(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("generated.bin");
    let mut file = std::fs::File::create(&path)?;
    let mut part = vec![0; 1024 * 1024];
    for _ in 0..GENERATED_BYTES / part.len() as u64 {
        OsRandom.fill(&mut part);
        file.write_all(&part)?;
    }
    Ok(path)
}

async fn device(relay: &RelayProcess, path: &Path, transports: Transports) -> Result<Client> {
    let keystore = Keystore::create(path, Identity::generate(&mut OsRandom))?;
    let invite = Invite::from_text(&relay.invite()?)?;
    Ok(Client::enroll(keystore, &invite, Options { transports, ..Options::default() }).await?)
}

/// Pairs the two as their users would, but for the eyes that compare the digits.
async fn pair(a: &Client, b: &Client) -> Result<String> {
    let offer = a.offer_pairing::<Link>(PairingOptions::default()).await?;
    let link = offer.link();
    let (offered, joined) = tokio::join!(offer.wait(), b.join_pairing::<Link>(&link));
    let (offered, joined) = (offered?, joined?);
    let (sas, other) = (offered.sas().to_string(), joined.sas().to_string());
    if sas != other {
        bail!("the two devices show different digits, {sas} and {other}");
    }
    let (named_b, named_a) = tokio::join!(offered.confirm("b"), joined.confirm("a"));
    named_b?;
    named_a?;
    Ok(sas)
}

async fn exchange(
    relay: &RelayProcess,
    a: &Client,
    b: &Client,
    file: &Path,
    place: &Path,
    messages: usize,
    json: bool,
) -> Result<Outcome> {
    // A first message opens the session; what follows is not about handshakes.
    let hello = async { tokio::join!(a.send(b.device(), "hello"), b.receive()) };
    let (sent, received) = tokio::time::timeout(PATIENCE, hello)
        .await
        .context("the devices did not reach each other")?;
    sent?;
    received?;
    let before = relay.status()?;

    let size =
        std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    let bar = progress(json, "file, a to b", Some(size));
    let begun = now();
    let sending = async {
        let mut transfer = a.send_file(b.device(), file, FileOptions::default()).await?;
        transfer.finished().await
    };
    let receiving = async {
        let transfer = b.accept_transfer().await?;
        let mut states = transfer.progress();
        let watching = async {
            while states.changed().await.is_ok() {
                bar.set_position(states.borrow_and_update().bytes);
            }
            std::future::pending().await
        };
        tokio::select! {
            saved = transfer.save_in(place) => saved,
            never = watching => never,
        }
    };
    let (sent, received) = tokio::try_join!(sending, receiving)?;
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let latency = measure(a, b, messages).await?;
    let after = relay.status()?;
    let equal = sent == received.content;
    Ok(Outcome { file: sent, equal, seconds, latency, before, after })
}

/// From one application to the other, one message at a time, in nanoseconds.
async fn measure(a: &Client, b: &Client, messages: usize) -> Result<Histogram<u64>> {
    let mut latency = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
    // An acknowledgement waits for company, so nothing here waits for an acknowledgement.
    let mut deliveries = Vec::with_capacity(messages);
    for number in 0..messages {
        let mut message = vec![b'.'; MESSAGE_BYTES];
        let text = format!("message {number} ");
        message[..text.len()].copy_from_slice(text.as_bytes());
        let begun = now();
        let delivery = a.enqueue(b.device(), message.clone()).await?;
        let received = b.receive().await?;
        latency.record(begun.elapsed().as_nanos() as u64)?;
        if received.bytes != message {
            bail!("message {number} arrived as something else");
        }
        deliveries.push(delivery);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(latency)
}

fn report(
    outcome: &Outcome,
    devices: (DeviceId, DeviceId),
    transport: Transport,
    json: bool,
) -> Result<()> {
    let Outcome { file, equal, seconds, latency, before, after } = outcome;
    let mib_per_s = file.bytes as f64 / seconds / 1_048_576.0;
    let at = |quantile: f64| latency.value_at_quantile(quantile) / 1_000;
    let total = |name: &str| {
        let value = |status: &Status| status.totals.get(name).copied().unwrap_or_default();
        value(after) - value(before)
    };
    let value: Value = json!({
        "bytes": file.bytes,
        "sha256": hex(&file.sha256),
        "sha256_equal": equal,
        "transport": transport.to_string(),
        "mib_per_s": (mib_per_s * 10.0).round() / 10.0,
        "messages": latency.len(),
        "latency_us": { "p50": at(0.5), "p99": at(0.99), "p999": at(0.999) },
        "relay": {
            "cells_in": total("cells_in"),
            "cells_out": total("cells_out"),
            "cells_crossed": total("cells_crossed_out"),
            "handed_over": after.totals.get("handed_over"),
            "bytes_in": total("bytes_in"),
            "bytes_out": total("bytes_out"),
            "resident_bytes": after.resident_bytes_max,
        },
    });
    let short = |device: DeviceId| device.to_text().chars().take(8).collect::<String>();
    let text = format!(
        "file     {bytes} bytes in {seconds:.2} s, {mib_per_s:.1} MiB/s over {transport}; SHA-256 {sha}\n\
         hashes   {verdict}\n\
         messages {count} of {MESSAGE_BYTES} bytes, one at a time: p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs\n\
         memory   the relay's resident memory was {resident:.1} MiB at most\n\
         \n\
         what the relay saw                            what the devices saw\n\
         {cells_in:>9} cells in, {cells_out:>9} cells out          {bytes} bytes of a file\n\
         sizes 256, 512 … 32 768, nothing between      {count} messages of {MESSAGE_BYTES} bytes\n\
         {a} … sends to {b} …            who they are and what they say\n\
         bodies like random bytes                      SHA-256 {sha_short}… on both sides",
        bytes = file.bytes,
        sha = hex(&file.sha256),
        sha_short = &hex(&file.sha256)[..16],
        verdict = if *equal { "equal" } else { "DIFFERENT" },
        count = latency.len(),
        p50 = at(0.5),
        p99 = at(0.99),
        p999 = at(0.999),
        resident = after.resident_bytes_max as f64 / 1_048_576.0,
        cells_in = total("cells_in"),
        cells_out = total("cells_out"),
        a = short(devices.0),
        b = short(devices.1),
    );
    show(json, &text, &value)
}

#[expect(clippy::disallowed_methods, reason = "the demo measures time")]
fn now() -> Instant {
    Instant::now()
}
