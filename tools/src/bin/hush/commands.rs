//! What each command does, but for the demo.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use hushwire::client::{Client, Event, FileOptions, IncomingTransfer, Message, Options, Transfer};
use hushwire::keystore::Keystore;
use hushwire::pairing::Fingerprint;
use hushwire::transfer::{Phase, Progress, Saved};
use hushwire_wire::code::Invite;
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use indicatif::{MultiProgress, ProgressBar};
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::arguments::{Receive, Send};
use crate::home::{self, Home};
use crate::terminal::{
    Unwelcome, complain, note, progress, remark, show, shown_text, text_or_input,
};

/// Refusals of a peer before sending to it is given up; the client waits longer after each.
const REFUSALS_MAX: u32 = 3;

pub(crate) fn options(name: Option<String>) -> Options {
    Options {
        software: concat!("hush/", env!("CARGO_PKG_VERSION")).into(),
        name,
        ..Options::default()
    }
}

/// Connects with the keys of a keystore that is open.
pub(crate) async fn connect(keystore: Keystore) -> Result<Client> {
    Ok(Client::connect(keystore, options(None)).await?)
}

pub(crate) fn init(home: &Home, json: bool) -> Result<()> {
    let made = !home.exists();
    let device = home.open_or_create()?.identity().device_id();
    let path = home.path().display().to_string();
    let text = match made {
        true => format!(
            "{device}\n\nThis is the device's ID; its key is in {path}, keep it to yourself.\nNext: hush enroll INVITE"
        ),
        false => {
            format!("{device}\n\nThere was an identity in {path} already; nothing was changed.")
        }
    };
    show(json, &text, &json!({ "device": device.to_text(), "keystore": path, "made": made }))
}

pub(crate) fn id(home: &Home, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let device = keystore.identity().device_id();
    let relay = keystore.relay().map(|relay| relay.address.clone());
    let fingerprint = Fingerprint::of(device).to_string();
    let value = json!({ "device": device.to_text(), "fingerprint": fingerprint, "relay": relay });
    show(json, &device.to_text(), &value)?;
    note(json, &format!("to compare with `hush peers` over there: {fingerprint}"));
    Ok(())
}

pub(crate) async fn enroll(
    home: &Home,
    invite: &str,
    name: Option<String>,
    json: bool,
) -> Result<()> {
    let invite = Invite::from_text(&text_or_input(invite)?)?;
    let keystore = home.open_or_create()?;
    let client = Client::enroll(keystore, &invite, options(name)).await?;
    let device = client.device().to_text();
    let relay = invite.relay.address();
    client.close().await;
    let text = format!("enrolled at {relay} as {device}\nNext: hush pair");
    show(json, &text, &json!({ "device": device, "relay": relay }))
}

pub(crate) async fn send(home: &Home, send: &Send, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let peer = home::peer(&keystore, &send.peer)?;
    if let Some(message) = &send.message {
        let client = connect(keystore).await?;
        let receipt = while_welcome(&client, peer, json, async {
            Ok(client.send(peer, message.as_bytes()).await?)
        });
        let number = receipt.await?.number;
        client.close().await;
        return show(json, "delivered", &json!({ "peer": peer.to_text(), "number": number }));
    }
    let path = send.file.as_deref().unwrap_or(Path::new("-"));
    let content = Content::open(path).await?;
    let client = connect(keystore).await?;
    let name = content.name(path);
    let mut transfer = content.begin(&client, peer, &name).await?;
    let mut states = transfer.progress();
    let bar = progress(json, &name, states.borrow_and_update().size);
    let sent = while_welcome(&client, peer, json, async {
        tokio::select! {
            biased;
            sent = transfer.finished() => Ok(sent?),
            () = follow(states, &bar, &name, json) => bail!("the transfer has stopped"),
        }
    });
    let sent = sent.await;
    bar.finish_and_clear();
    let sent = sent?;
    client.close().await;
    let sha256 = hex(&sent.sha256);
    let text = format!("{name}: {} bytes delivered, SHA-256 {sha256}", sent.bytes);
    let value =
        json!({ "peer": peer.to_text(), "name": name, "bytes": sent.bytes, "sha256": sha256 });
    show(json, &text, &value)
}

/// Shows how far a transfer is, and says why it pauses; as long as it is watched.
async fn follow(mut states: watch::Receiver<Progress>, bar: &ProgressBar, what: &str, json: bool) {
    let mut paused = false;
    loop {
        let state = states.borrow_and_update().clone();
        bar.set_position(state.bytes);
        match state.phase {
            Phase::Paused(why) if !paused => {
                paused = true;
                let value = json!({ "name": what, "paused": why });
                bar.suspend(|| remark(json, &format!("{what}: paused, {why}"), &value));
            }
            Phase::Running | Phase::Done if paused => {
                paused = false;
                let value = json!({ "name": what, "resumed": true });
                bar.suspend(|| remark(json, &format!("{what}: goes on"), &value));
            }
            Phase::Paused(_) | Phase::Running | Phase::Done | Phase::Waiting | _ => {}
        }
        if states.changed().await.is_err() {
            // The transfer has ended, and says how itself.
            return std::future::pending().await;
        }
    }
}

/// Waits for `sending`, however long the peer is away, but not where the relay says again and again that
/// the peer does not take anything from this device. Only the relay says so, and a pairing that is about
/// to be confirmed looks the same; so it ends this attempt and nothing else.
pub(crate) async fn while_welcome<T>(
    client: &Client,
    peer: DeviceId,
    json: bool,
    sending: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut events = client.events();
    let unwelcome = async {
        let (mut refusals, mut told) = (0, false);
        while let Some(event) = events.next().await {
            let Event::PeerAway { peer: away, reason } = event else { continue };
            if away != peer {
                continue;
            }
            if reason == Undelivered::Refused {
                refusals += 1;
            } else if !told {
                told = true;
                note(json, "the peer is away; waiting until it is back, Ctrl-C gives up");
            }
            if refusals == REFUSALS_MAX {
                return;
            }
        }
        // The client has ended, and says why itself.
        std::future::pending().await
    };
    tokio::select! {
        sent = sending => sent,
        () = unwelcome => Err(Unwelcome(short(peer)).into()),
    }
}

/// What is to be sent.
enum Content {
    /// Can be read again, and so goes on after a break on either side.
    File(PathBuf),
    Input(Box<dyn AsyncRead + std::marker::Send + Unpin>),
}

impl Content {
    async fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Input(Box::new(tokio::io::stdin())));
        }
        let unread = || format!("cannot read {}", path.display());
        let metadata = tokio::fs::metadata(path).await.with_context(unread)?;
        if metadata.is_dir() {
            bail!("{} is a directory: send it as `tar c DIR | hush send PEER -`", path.display());
        }
        if metadata.is_file() {
            return Ok(Self::File(path.to_owned()));
        }
        Ok(Self::Input(Box::new(File::open(path).await.with_context(unread)?)))
    }

    fn name(&self, path: &Path) -> String {
        match self {
            Self::Input(_) if path == Path::new("-") => "stdin".into(),
            Self::Input(_) | Self::File(_) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }

    async fn begin(self, client: &Client, peer: DeviceId, name: &str) -> Result<Transfer> {
        Ok(match self {
            Self::Input(input) => client.send_reader(peer, input, name)?,
            Self::File(path) => {
                let options = FileOptions { name: Some(name.to_owned()) };
                let begun = client.send_file(peer, &path, options).await;
                begun.with_context(|| format!("cannot send {}", path.display()))?
            }
        })
    }
}

pub(crate) async fn receive(home: &Home, receive: &Receive, json: bool) -> Result<()> {
    if !receive.output.is_dir() {
        bail!("{} is no directory: name one with --output", receive.output.display());
    }
    let client = connect(home.open()?).await?;
    note(json, "receiving; Ctrl-C ends it");
    // Around the transfers too: a peer that begins one and says nothing more must not outlast a Ctrl-C.
    tokio::select! {
        outcome = receive_all(&client, receive, json) => outcome?,
        _ = tokio::signal::ctrl_c() => {}
    }
    client.close().await;
    Ok(())
}

/// Messages and files as they come, several files at once.
async fn receive_all(client: &Client, receive: &Receive, json: bool) -> Result<()> {
    let bars = MultiProgress::new();
    let (mut received, mut saving) = (0, JoinSet::new());
    while receive.count.is_none_or(|count| received < count) {
        let more = receive.count.is_none_or(|count| received + saving.len() < count);
        tokio::select! {
            message = client.receive(), if more => {
                let message = message?;
                bars.suspend(|| show_message(&message, json))?;
                received += 1;
            }
            transfer = client.accept_transfer(), if more => {
                let (transfer, output) = (transfer?, receive.output.clone());
                let bar = bars.add(progress(json, &transfer.name(), transfer.size()));
                saving.spawn(async move {
                    let peer = transfer.peer();
                    let saved = save(transfer, &output, &bar, json).await;
                    bar.finish_and_clear();
                    (peer, saved)
                });
            }
            stream = client.accept_stream() => {
                let error = anyhow!("the peer sent a stream that is no file");
                bars.suspend(|| broken(stream?.peer(), error, json))?;
            }
            Some(saved) = saving.join_next() => {
                let (peer, saved) = saved?;
                match saved {
                    Ok(saved) => {
                        bars.suspend(|| show_saved(peer, &saved, json))?;
                        received += 1;
                    }
                    // One broken transfer is no reason to miss the next.
                    Err(error) => bars.suspend(|| broken(peer, error, json))?,
                }
            }
        }
    }
    Ok(())
}

fn broken(peer: DeviceId, error: anyhow::Error, json: bool) -> Result<()> {
    let value = json!({ "from": peer.to_text(), "error": format!("{error:#}") });
    complain(&error.context(format!("from {}", short(peer))), &value, json);
    Ok(())
}

fn show_message(message: &Message, json: bool) -> Result<()> {
    let shown = String::from_utf8_lossy(&message.bytes);
    let value = json!({ "from": message.peer.to_text(), "message": shown });
    show(json, &format!("{}: {}", short(message.peer), shown_text(&shown)), &value)
}

async fn save(
    transfer: IncomingTransfer,
    output: &Path,
    bar: &ProgressBar,
    json: bool,
) -> Result<Saved> {
    let (states, name) = (transfer.progress(), transfer.name());
    tokio::select! {
        biased;
        saved = transfer.save_in(output) => Ok(saved?),
        () = follow(states, bar, &name, json) => bail!("the transfer has stopped"),
    }
}

fn show_saved(peer: DeviceId, saved: &Saved, json: bool) -> Result<()> {
    let Saved { path, content, .. } = saved;
    let (path, sha256) = (path.display().to_string(), hex(&content.sha256));
    let text = format!("{}: {path}, {} bytes, SHA-256 {sha256}", short(peer), content.bytes);
    let value =
        json!({ "from": peer.to_text(), "file": path, "bytes": content.bytes, "sha256": sha256 });
    show(json, &text, &value)
}

/// Time since 1970.
#[expect(clippy::disallowed_methods, reason = "a command reads the clock for what it tells")]
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Unix seconds.
pub(crate) fn now_s() -> u64 {
    now().as_secs()
}

/// Enough of an ID to tell one's own peers apart.
pub(crate) fn short(device: DeviceId) -> String {
    device.to_text().chars().take(8).collect()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long a demo or a test waits for a peer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
