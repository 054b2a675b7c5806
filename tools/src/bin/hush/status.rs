//! `hush status`: what this device knows, and from where; never more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use hushwire::Error;
use hushwire::client::{Client, Event, RelayInfo, SendState};
use hushwire::journal::{MessageId, Outcome, PeerLogs};
use hushwire::keystore::{Keystore, KeystoreError, Look, Peer, Protection, Relay, RelayTrust};
use hushwire::pairing::Fingerprint;
use hushwire_tools::days::moment;
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use hushwire_wire::text;
use serde_json::{Value, json};

use crate::commands::{connect, now};
use crate::home::Home;
use crate::pairing::{grant_word, history, word};
use crate::terminal::{Late, show};

/// Time for a connection.
const CONNECT_S_MAX: u64 = 20;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Say what is on the disk, and connect to nothing.
    #[arg(long)]
    offline: bool,
    /// Stay connected so long, to see which peers answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, conflicts_with = "offline")]
    wait: u64,
}

/// What is known of the connection.
enum Connection {
    /// It was not asked for, or there is no relay to connect to.
    NotTried,
    /// Another process has the keystore open.
    Unknown,
    Failed(Error),
    Late,
    Up(Up),
}

struct Up {
    after: Duration,
    info: Option<RelayInfo>,
    /// How far the relay's clock is ahead of ours, and half of the time in which that was asked, in ms.
    clock: Result<(i128, u128), Error>,
    heard: BTreeMap<DeviceId, Heard>,
}

/// What was heard of a peer during this command.
#[derive(Clone, Copy, Default)]
struct Heard {
    session: bool,
    acknowledged: bool,
    relay_says: Option<Undelivered>,
}

/// Whether another process has the keystore open.
enum AtWork {
    /// This one had it open.
    Nobody,
    /// None was seen, which is less.
    NoneSeen,
    Somebody(Option<u32>),
}

pub(crate) async fn status(home: &Home, status: &Status, json: bool) -> Result<()> {
    let (look, at_work, connection) = match Keystore::holder(home.path()) {
        Some(process) => (home.look()?, AtWork::Somebody(Some(process)), Connection::Unknown),
        None if status.offline => (home.look()?, AtWork::NoneSeen, Connection::NotTried),
        None => match home.open() {
            Ok(keystore) => {
                let look = keystore.seen();
                let connection = attempt(keystore, &look, Duration::from_secs(status.wait)).await?;
                (look, AtWork::Nobody, connection)
            }
            // Held where the list of locks does not reach.
            Err(error) if is_locked(&error) => {
                (home.look()?, AtWork::Somebody(None), Connection::Unknown)
            }
            Err(error) => return Err(error),
        },
    };
    let logs = look.logs()?;
    let (mut lines, mut peers) = (device_lines(&look), Vec::new());
    lines.extend([at_work_line(&at_work), connection_line(&connection)]);
    for peer in look.peers() {
        let heard = match &connection {
            Connection::Up(up) => up.heard.get(&peer.device()).copied(),
            Connection::NotTried
            | Connection::Unknown
            | Connection::Failed(_)
            | Connection::Late => None,
        };
        let sends = Sends::of(logs.peer(&peer.device()));
        lines.push(peer_lines(peer, &sends, heard));
        peers.push(peer_json(peer, &sends, heard.unwrap_or_default()));
    }
    let mut value = device_json(&look, &at_work);
    value["connection"] = connection_json(&connection);
    value["peers"] = peers.into();
    show(json, &lines.join("\n"), &value)?;
    match connection {
        Connection::Failed(error) => Err(error.into()),
        Connection::Late => Err(Late(CONNECT_S_MAX).into()),
        Connection::Up(Up { clock: Err(error), .. }) => Err(error.into()),
        Connection::NotTried | Connection::Unknown | Connection::Up(_) => Ok(()),
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(KeystoreError::Locked { .. }))
}

async fn attempt(keystore: Keystore, look: &Look, wait: Duration) -> Result<Connection> {
    if look.relay().is_none() {
        return Ok(Connection::NotTried);
    }
    let begun = monotonic();
    let connecting = tokio::time::timeout(Duration::from_secs(CONNECT_S_MAX), connect(keystore));
    let client = match connecting.await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Ok(Connection::Failed(error.downcast::<Error>()?)),
        Err(_) => return Ok(Connection::Late),
    };
    let (after, info) = (monotonic() - begun, client.relay_info());
    let open = open_messages(&client, look);
    let (clock, mut heard) = tokio::join!(clock(&client), listen(&client, look, wait));
    for (peer, id) in open {
        let state = client.sent(peer, id).map(|sent| sent.state);
        if let Some(SendState::Ended {
            outcome: Outcome::Delivered | Outcome::Rejected { .. },
            ..
        }) = state
        {
            heard.entry(peer).or_default().acknowledged = true;
        }
    }
    client.close().await;
    Ok(Connection::Up(Up { after, info, clock, heard }))
}

/// Messages that had not ended when the connection came up.
fn open_messages(client: &Client, look: &Look) -> Vec<(DeviceId, MessageId)> {
    let sends = look.peers().flat_map(|peer| client.sends(peer.device()));
    let open = sends.filter(|sent| !matches!(sent.state, SendState::Ended { .. }));
    open.map(|sent| (sent.peer, sent.id)).collect()
}

async fn clock(client: &Client) -> Result<(i128, u128), Error> {
    let (begun, ours) = (monotonic(), now().as_millis());
    let relays = client.relay_clock().await?;
    let half = (monotonic() - begun).as_millis() / 2;
    Ok((i128::from(relays) - (ours + half) as i128, half))
}

/// Listens for so long, or until every peer was heard.
async fn listen(client: &Client, look: &Look, wait: Duration) -> BTreeMap<DeviceId, Heard> {
    let mut heard: BTreeMap<DeviceId, Heard> = BTreeMap::new();
    let mut events = client.events();
    let all = look.peers().count();
    let listening = async {
        while heard.values().filter(|heard| heard.session).count() < all {
            match events.next().await {
                Some(Event::PeerUp { peer }) => heard.entry(peer).or_default().session = true,
                Some(Event::PeerAway { peer, reason }) => {
                    heard.entry(peer).or_default().relay_says = Some(reason);
                }
                Some(_) => {}
                None => return,
            }
        }
    };
    // Peers that were not heard by then are not known to be reachable.
    let _silent = tokio::time::timeout(wait, listening).await;
    for peer in client.peers().iter().filter(|peer| peer.is_up) {
        heard.entry(peer.device).or_default().session = true;
    }
    heard
}

/// Messages to a peer, as the journal has them.
struct Sends {
    waiting: usize,
    bytes: u64,
    oldest_s: Option<u64>,
    delivered_s: Option<u64>,
    end: Option<(MessageId, u64, &'static str)>,
}

impl Sends {
    fn of(logs: Option<&PeerLogs>) -> Self {
        let held =
            || logs.iter().filter_map(|logs| logs.outgoing.as_ref()).flat_map(|log| &log.held);
        let ended = || logs.iter().flat_map(|logs| &logs.ended);
        let delivered = ended().filter(|ended| ended.outcome == Outcome::Delivered);
        Self {
            waiting: held().count(),
            bytes: held().map(|(_, held)| held.bytes.len() as u64).sum(),
            oldest_s: held().map(|(_, held)| held.queued_s).min(),
            delivered_s: delivered.map(|ended| ended.ended_s).max(),
            end: ended().last().map(|ended| (ended.id, ended.ended_s, end_word(ended.outcome))),
        }
    }

    fn sentence(&self) -> String {
        let mut told = match self.oldest_s {
            Some(oldest_s) => format!(
                "{} messages ({} bytes) wait, the oldest since {}",
                self.waiting,
                self.bytes,
                moment(oldest_s)
            ),
            None => "no message waits".into(),
        };
        told += &match self.delivered_s {
            Some(at) => format!("; the last was delivered on {}", moment(at)),
            None => "; none is known to have been delivered".into(),
        };
        if let Some((id, at, end)) = &self.end
            && *end != "delivered"
        {
            told += &format!("; the last to end ({id}) was {end} on {}", moment(*at));
        }
        told
    }
}

const fn end_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Expired { .. } => "expired",
    }
}

fn device_lines(look: &Look) -> Vec<String> {
    let protection = match look.protection() {
        Protection::Passphrase => "protected by a passphrase",
        Protection::Permissions => "protected by file permissions only: hush passphrase",
        Protection::Unfinished => "a change of the passphrase is not finished",
    };
    let words = match look.backup_rehearsed_at_s() {
        Some(at) => format!("rehearsed on {}", moment(at)),
        None => "never rehearsed: hush backup".into(),
    };
    let relay = look.relay().map_or("none: hush enroll INVITE".into(), relay_sentence);
    vec![
        format!("device       {}", look.device()),
        format!("fingerprint  {}", Fingerprint::of(look.device())),
        format!("keystore     {}, {protection}", look.path().display()),
        format!("24 words     {words}"),
        format!("relay        {relay}"),
    ]
}

fn relay_sentence(relay: &Relay) -> String {
    let trust = match &relay.trust {
        RelayTrust::Pins(pins) => format!("known by its key ({} pinned)", pins.len()),
        RelayTrust::PublicCa => "known by a certificate of a public authority".into(),
    };
    format!("{}, {trust}", text::plain(&relay.address, usize::MAX))
}

fn at_work_line(at_work: &AtWork) -> String {
    format!(
        "other hush   {}",
        match at_work {
            AtWork::Nobody => "none has this keystore open".into(),
            AtWork::NoneSeen => "none is seen that has this keystore open".into(),
            AtWork::Somebody(Some(process)) => format!("process {process} has this keystore open"),
            AtWork::Somebody(None) => "another process has this keystore open".into(),
        }
    )
}

fn connection_line(connection: &Connection) -> String {
    let said = match connection {
        Connection::NotTried => "not tried".into(),
        Connection::Unknown => "not known here: the other process may be connected".into(),
        Connection::Failed(error) => format!("none: {error}"),
        Connection::Late => format!("none: {}", Late(CONNECT_S_MAX)),
        Connection::Up(Up { after, info, clock, .. }) => {
            let mut said = format!("connected within {} ms", after.as_millis());
            if let Some(RelayInfo { shard, shards, region, transport }) = info {
                said += &format!(" over {transport}; the relay says: shard {shard} of {shards}");
                if !region.is_empty() {
                    said += &format!(", region {}", text::plain(region, usize::MAX));
                }
            }
            said + &match clock {
                Ok((ahead, half)) => {
                    let side = if *ahead < 0 { "behind" } else { "ahead of" };
                    format!(", its clock is {} ms {side} ours, give or take {half}", ahead.abs())
                }
                Err(error) => format!("; its clock is not known: {error}"),
            }
        }
    };
    format!("connection   {said}")
}

fn peer_lines(peer: &Peer, sends: &Sends, heard: Option<Heard>) -> String {
    let reach = match heard.unwrap_or_default() {
        Heard { acknowledged: true, .. } => "reachable: it acknowledged a message just now".into(),
        Heard { session: true, .. } => "reachable: a session came up just now".into(),
        Heard { relay_says: Some(reason), .. } => {
            format!("whether it is reachable is not known; the relay says: {reason}")
        }
        Heard { .. } => "whether it is reachable is not known".to_owned(),
    };
    let name = text::plain(peer.name(), usize::MAX);
    format!("\n{name}\n  {}\n  {}\n  {reach}", history(peer), sends.sentence())
}

fn device_json(look: &Look, at_work: &AtWork) -> Value {
    let relay = look.relay().map(|relay| {
        let pins = match &relay.trust {
            RelayTrust::Pins(pins) => Some(pins.len()),
            RelayTrust::PublicCa => None,
        };
        let trust = if pins.is_some() { "pins" } else { "public_ca" };
        json!({ "address": relay.address, "trust": trust, "pins": pins })
    });
    let (other, process) = match at_work {
        AtWork::Nobody => (Some(false), None),
        AtWork::NoneSeen => (None, None),
        AtWork::Somebody(process) => (Some(true), *process),
    };
    json!({
        "device": look.device().to_text(),
        "fingerprint": Fingerprint::of(look.device()).to_string(),
        "keystore": look.path().display().to_string(),
        "protection": match look.protection() {
            Protection::Permissions => "permissions",
            Protection::Passphrase => "passphrase",
            Protection::Unfinished => "unfinished",
        },
        "backup_rehearsed_at_s": look.backup_rehearsed_at_s(),
        "relay": relay,
        "other_process": other,
        "other_process_id": process,
    })
}

fn connection_json(connection: &Connection) -> Value {
    let state = |state: &str, why: Option<String>| json!({ "state": state, "why": why });
    match connection {
        Connection::NotTried => state("not_tried", None),
        Connection::Unknown => state("unknown", None),
        Connection::Failed(error) => state("failed", Some(error.to_string())),
        Connection::Late => state("failed", Some(Late(CONNECT_S_MAX).to_string())),
        Connection::Up(Up { after, info, clock, .. }) => {
            let clock_ahead_ms = clock.as_ref().ok().and_then(|(ms, _)| i64::try_from(*ms).ok());
            json!({
                "state": "connected",
                "why": null,
                "after_ms": u64::try_from(after.as_millis()).ok(),
                "clock_ahead_ms": clock_ahead_ms,
                "shard": info.as_ref().map(|info| info.shard),
                "shards": info.as_ref().map(|info| info.shards),
                "region": info.as_ref().map(|info| info.region.clone()),
                "transport": info.as_ref().map(|info| info.transport.to_string()),
            })
        }
    }
}

fn peer_json(peer: &Peer, sends: &Sends, heard: Heard) -> Value {
    let reachable = match heard {
        Heard { acknowledged: true, .. } => Some("acknowledged"),
        Heard { session: true, .. } => Some("session"),
        Heard { .. } => None,
    };
    let end = sends.end.as_ref();
    let end =
        end.map(|(id, at_s, state)| json!({ "id": id.to_string(), "at_s": at_s, "state": state }));
    json!({
        "device": peer.device().to_text(),
        "name": text::plain(peer.name(), usize::MAX),
        "verified": word(peer.verified()),
        "verified_at_s": peer.verified_at_s(),
        "may_send": grant_word(peer.grant()),
        "waiting": sends.waiting,
        "waiting_bytes": sends.bytes,
        "waiting_since_s": sends.oldest_s,
        "last_delivered_s": sends.delivered_s,
        "last_end": end,
        "reachable": reachable,
        "relay_says": heard.relay_says.map(|reason| reason.to_string()),
    })
}

#[expect(clippy::disallowed_methods, reason = "how long connecting takes is told")]
fn monotonic() -> Instant {
    Instant::now()
}
