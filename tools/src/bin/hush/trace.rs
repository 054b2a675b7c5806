//! `hush trace`: what became of each message, as the journal has it. Works beside a process that has the keystore open.

use anyhow::{Result, bail};
use clap::Args;
use hushwire::journal::{EndedSend, Held, IncomingLog, Logs, MessageId, Outcome};
use hushwire::keystore::{Keystore, Look, Peer};
use hushwire_tools::days::moment;
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use hushwire_wire::text;
use serde_json::{Value, json};

use crate::commands::{now_s, short};
use crate::home::{self, Home};
use crate::terminal::{note, show};

#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// A message (0123456789abcdef-17), or a peer: its name, its ID, or the first characters of its ID.
    #[arg(value_name = "PEER | ID")]
    what: Option<String>,
}

/// One message that was sent.
struct Story {
    peer: DeviceId,
    name: String,
    number: u64,
    id: MessageId,
    bytes: u64,
    queued_s: u64,
    end: End,
}

enum End {
    /// None yet, as far as the journal knows.
    Open {
        expires_s: Option<u64>,
    },
    Ended {
        first_sent_s: Option<u64>,
        ended_s: u64,
        outcome: Outcome,
    },
}

pub(crate) fn trace(home: &Home, trace: &Trace, json: bool) -> Result<()> {
    let look = home.look()?;
    let logs = look.logs()?;
    let what = trace.what.as_deref();
    match what.filter(|what| !is_name(&look, what)).and_then(|what| what.parse().ok()) {
        Some(id) => tell_one(&look, &logs, id, json)?,
        None => {
            let peer = what.map(|what| home::peer_among(look.peers(), what)).transpose()?;
            tell_all(&look, &logs, peer, json)?;
        }
    }
    if let Some(process) = Keystore::holder(look.path()) {
        note(
            json,
            &format!(
                "as the journal has it; another process ({process}) is at work and may know more"
            ),
        );
    }
    Ok(())
}

fn is_name(look: &Look, text: &str) -> bool {
    look.peers().any(|peer| peer.name() == text)
}

fn name(look: &Look, peer: DeviceId) -> String {
    let name = look.peer(&peer).map(Peer::name);
    name.map_or_else(|| short(peer), |name| text::plain(name, usize::MAX))
}

fn tell_all(look: &Look, logs: &Logs, peer: Option<DeviceId>, json: bool) -> Result<()> {
    let mut stories: Vec<Story> =
        stories(look, logs).filter(|story| peer.is_none_or(|peer| story.peer == peer)).collect();
    stories.sort_by_key(|story| (story.queued_s, story.peer, story.number));
    if stories.is_empty() {
        note(json, "nothing was sent");
    }
    for story in &stories {
        show(json, &story.line(), &story.json())?;
    }
    Ok(())
}

fn tell_one(look: &Look, logs: &Logs, id: MessageId, json: bool) -> Result<()> {
    if let Some(story) = stories(look, logs).find(|story| story.id == id) {
        return show(json, &story.sentences(now_s()), &story.json());
    }
    for (peer, logs) in logs.peers() {
        let name = name(look, peer);
        if let Some(log) = logs.incoming.as_ref().filter(|log| log.incarnation == id.incarnation) {
            let (word, reason, sentence) = received(log, id.sequence);
            let value = json!({
                "peer": peer.to_text(), "name": name, "id": id.to_string(), "received": word, "reason": reason,
            });
            return show(json, &format!("{id} from {name}\n  {sentence}"), &value);
        }
        if let Some(log) = logs.outgoing.as_ref().filter(|log| log.incarnation == id.incarnation)
            && log.base.checked_add(id.sequence).is_some_and(|number| number < log.next_number)
        {
            bail!("{id} went to {name} and has ended; how is kept of the last 1 024 only");
        }
    }
    bail!(
        "no message is known here as {id}: `hush trace` lists those that were sent; of what was received before the \
         peer began to number anew, nothing is kept"
    )
}

/// What the cursor says of a message of a peer's log: a word for programs, why it was refused, a sentence.
fn received(log: &IncomingLog, sequence: u64) -> (&'static str, Option<u16>, String) {
    if sequence < log.next {
        let sentence = "Done with: this device has taken it, or refused it, or it had expired before it came. Which of \
                        them is not kept, nor when.";
        return ("done", None, sentence.into());
    }
    match log.ahead.get(&sequence) {
        Some(None) => ("taken", None, "This device has taken it, ahead of earlier ones.".into()),
        Some(Some(reason)) => {
            ("refused", Some(*reason), format!("This device has refused it (reason {reason})."))
        }
        None => (
            "not_taken",
            None,
            "This device has not taken it. Whether it was ever sent is not known here.".into(),
        ),
    }
}

fn stories<'a>(look: &'a Look, logs: &'a Logs) -> impl Iterator<Item = Story> + 'a {
    logs.peers().flat_map(move |(peer, logs)| {
        let name = name(look, peer);
        let ended = logs.ended.iter().map({
            let name = name.clone();
            move |ended| Story::ended(peer, name.clone(), ended)
        });
        let held = logs.outgoing.iter().flat_map(|log| &log.held);
        ended.chain(held.map(move |(number, held)| Story::open(peer, name.clone(), *number, held)))
    })
}

impl Story {
    fn ended(peer: DeviceId, name: String, ended: &EndedSend) -> Self {
        let EndedSend { number, id, length, queued_s, first_sent_s, ended_s, outcome } = *ended;
        let end = End::Ended { first_sent_s, ended_s, outcome };
        Self { peer, name, number, id, bytes: length, queued_s, end }
    }

    fn open(peer: DeviceId, name: String, number: u64, held: &Held) -> Self {
        let (bytes, end) = (held.bytes.len() as u64, End::Open { expires_s: held.expires_s });
        Self { peer, name, number, id: held.id, bytes, queued_s: held.queued_s, end }
    }

    fn state(&self) -> &'static str {
        match self.end {
            End::Open { .. } => "waiting",
            End::Ended { outcome: Outcome::Delivered, .. } => "delivered",
            End::Ended { outcome: Outcome::Rejected { .. }, .. } => "rejected",
            End::Ended { outcome: Outcome::Expired { .. }, .. } => "expired",
        }
    }

    fn line(&self) -> String {
        let Self { name, id, bytes, queued_s, .. } = self;
        let end = match self.end {
            End::Open { .. } => String::new(),
            End::Ended { ended_s, .. } => format!(" {}", moment(ended_s)),
        };
        format!("{} {id} to {name}, {bytes} bytes: {}{end}", moment(*queued_s), self.state())
    }

    fn json(&self) -> Value {
        let (first_sent_s, expires_s, ended_s, reason) = match self.end {
            End::Open { expires_s } => (None, expires_s, None, None),
            End::Ended { first_sent_s, ended_s, outcome } => {
                let reason = match outcome {
                    Outcome::Delivered => None,
                    Outcome::Rejected { reason } => Some(json!(reason)),
                    Outcome::Expired { hint } => hint.map(|hint| json!(hint.to_string())),
                };
                (first_sent_s, None, Some(ended_s), reason)
            }
        };
        json!({
            "peer": self.peer.to_text(),
            "name": self.name,
            "number": self.number,
            "id": self.id.to_string(),
            "bytes": self.bytes,
            "queued_s": self.queued_s,
            "first_sent_s": first_sent_s,
            "expires_s": expires_s,
            "state": self.state(),
            "ended_s": ended_s,
            "reason": reason,
        })
    }

    /// The whole of it, to a person.
    fn sentences(&self, now_s: u64) -> String {
        let Self { name, id, bytes, number, queued_s, .. } = self;
        let mut told = vec![
            format!("{id} to {name}, {bytes} bytes"),
            format!(
                "Given to be sent on {}; number {number} of this peer's, from 0.",
                moment(*queued_s)
            ),
        ];
        match self.end {
            End::Open { expires_s } => told.extend(open_sentences(name, expires_s, now_s)),
            End::Ended { first_sent_s, ended_s, outcome } => {
                told.push(match first_sent_s {
                    Some(at) => format!("First sent on {}.", moment(at)),
                    None => "Whether any of it was sent before it ended is not known.".into(),
                });
                told.push(end_sentence(name, ended_s, outcome));
            }
        }
        told.join("\n  ")
    }
}

fn open_sentences(name: &str, expires_s: Option<u64>, now_s: u64) -> Vec<String> {
    vec![
        match expires_s {
            None => "It waits until it is delivered, however long.".into(),
            Some(at) if at <= now_s => format!(
                "Its time was over on {}: the next command that connects gives it up.",
                moment(at)
            ),
            Some(at) => format!("It is given up on {}.", moment(at)),
        },
        format!(
            "It has not ended. Whether any of it was sent, or is at {name} already, only the process that sends knows."
        ),
    ]
}

fn end_sentence(name: &str, ended_s: u64, outcome: Outcome) -> String {
    let at = moment(ended_s);
    match outcome {
        Outcome::Delivered => format!("Delivered: {name} has taken it, known here since {at}."),
        Outcome::Rejected { reason } => {
            format!("Rejected: {name} has refused it (reason {reason}), known here since {at}.")
        }
        Outcome::Expired { hint } => {
            let hint = match hint {
                None => "The relay had not complained.",
                Some(Undelivered::Offline) => "The relay last said that the peer is not connected.",
                Some(Undelivered::Busy) => "The relay last said that the peer does not keep up.",
                Some(Undelivered::Refused) => {
                    "The relay last said that the peer takes nothing from this device."
                }
                Some(Undelivered::TooLarge) => "The relay last said that the cells are too large.",
            };
            format!(
                "Expired on {at}: {name} had not acknowledged it, so it may or may not have arrived. {hint}"
            )
        }
    }
}
