//! `hush chat`: lines to a peer and messages from all, with what became of each line.

use std::path::PathBuf;
use std::pin::pin;

use anyhow::Result;
use clap::Args;
use hushwire::Error;
use hushwire::client::{Client, Delivery, Event, IncomingMessage, Receipt, SendOptions, SendState};
use hushwire::journal::MessageId;
use hushwire_wire::id::DeviceId;
use hushwire_wire::text;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::commands::{options, short};
use crate::home::{self, Home};
use crate::record::Record;
use crate::terminal::{note, show};

/// Longest line that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Lines read ahead of the outbox.
const LINES_AHEAD_MAX: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The peer: its name, its ID, or the first characters of its ID.
    peer: String,
    /// Keep what is received in this file, a line of JSON each. A message is confirmed to its sender when it is there, and is
    /// there once, whatever crashes.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Give a line up after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// Stay after the end of standard input, to receive; Ctrl-C ends it.
    #[arg(long)]
    stay: bool,
}

struct Session {
    client: Client,
    peer: DeviceId,
    name: String,
    record: Option<Record>,
    options: SendOptions,
    json: bool,
    /// Lines that have not ended.
    under_way: JoinSet<(MessageId, Result<Receipt, Error>)>,
}

pub(crate) async fn chat(home: &Home, chat: &Chat, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let peer = home::peer(&keystore, &chat.peer)?;
    let name = keystore.peer(&peer).map(|peer| peer.name().to_owned()).unwrap_or_default();
    let record = chat.record.as_deref().map(Record::open).transpose()?;
    let client = Client::connect(keystore, options(None)).await?;
    for (from, id) in record.iter().flat_map(Record::last) {
        // One that is no peer any more has nothing to confirm.
        let _gone = client.confirm_up_to(from, id);
    }
    let expires_in = chat.expires_in.map(std::time::Duration::from_secs);
    let options = SendOptions { expires_in };
    let under_way = JoinSet::new();
    let mut session =
        Session { client: client.clone(), peer, name, record, options, json, under_way };
    session.take_up();
    note(json, "connected; a line is a message, Ctrl-D ends");
    tokio::select! {
        outcome = session.run(chat.stay) => outcome?,
        _ = tokio::signal::ctrl_c() => session.leave(),
    }
    drop(session);
    client.close().await;
    Ok(())
}

impl Session {
    /// What an earlier process left in the outbox goes on, and its end is told here.
    fn take_up(&mut self) {
        let sends = self.client.sends(self.peer);
        let open = sends.iter().filter(|sent| !matches!(sent.state, SendState::Ended { .. }));
        let open: Vec<_> = open.map(|sent| sent.id).collect();
        if !open.is_empty() {
            note(self.json, &format!("{} earlier messages are still on their way", open.len()));
        }
        for id in open {
            if let Some(delivery) = self.client.delivery(self.peer, id) {
                self.watch(delivery);
            }
        }
    }

    fn watch(&mut self, delivery: Delivery) {
        let id = delivery.id();
        self.under_way.spawn(async move { (id, delivery.await) });
    }

    async fn run(&mut self, stay: bool) -> Result<()> {
        let mut lines = lines();
        let mut events = self.client.events();
        let mut ended = false;
        let client = self.client.clone();
        while !ended || stay || !self.under_way.is_empty() {
            let incoming = pin!(client.next_message());
            tokio::select! {
                line = lines.recv(), if !ended => match line {
                    Some(line) => self.send(line).await?,
                    None => {
                        ended = true;
                        if !self.under_way.is_empty() {
                            note(self.json, "waiting for what is on its way; Ctrl-C leaves it in the outbox");
                        }
                    }
                },
                Some(end) = self.under_way.join_next() => {
                    let (id, outcome) = end?;
                    self.tell_end(id, outcome)?;
                }
                message = incoming => self.receive(message?)?,
                Some(event) = events.next() => self.tell_event(&event),
            }
        }
        Ok(())
    }

    async fn send(&mut self, line: String) -> Result<()> {
        let delivery = self.client.enqueue_with(self.peer, line, self.options).await?;
        let id = delivery.id().to_string();
        if self.json {
            show(true, "", &json!({ "queued": id }))?;
        }
        self.watch(delivery);
        Ok(())
    }

    fn receive(&mut self, incoming: IncomingMessage) -> Result<()> {
        if let Some(record) = &mut self.record {
            record.add(&incoming)?;
        }
        let message = incoming.confirm();
        let shown = String::from_utf8_lossy(&message.bytes);
        let lines: Vec<_> = shown.lines().map(|line| text::plain(line, SHOWN_BYTES_MAX)).collect();
        let from = if message.peer == self.peer { self.name.clone() } else { short(message.peer) };
        let value = json!({
            "from": message.peer.to_text(), "id": message.id.to_string(), "message": shown,
        });
        show(self.json, &format!("{from}: {}", lines.join("\n")), &value)
    }

    fn tell_end(&self, id: MessageId, outcome: Result<Receipt, Error>) -> Result<()> {
        let id = id.to_string();
        let (state, reason): (&str, Option<Value>) = match &outcome {
            Ok(_) => ("delivered", None),
            Err(Error::Rejected(reason)) => ("rejected", Some(json!(reason))),
            Err(Error::Expired { hint }) => ("expired", hint.map(|hint| json!(hint.to_string()))),
            Err(_) => return Err(outcome.map(drop).expect_err("it is an error").into()),
        };
        if self.json {
            return show(true, "", &json!({ "ended": id, "state": state, "reason": reason }));
        }
        if let Err(error) = &outcome {
            note(false, &format!("{id}: {error}"));
        }
        Ok(())
    }

    fn tell_event(&self, event: &Event) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is of no interest here")]
        let told = match event {
            Event::Disconnected { why, next_try: Some(wait) } => {
                format!("no connection ({why}); next try in {:.0} s", wait.as_secs_f32())
            }
            Event::Connected { .. } => "connected again".into(),
            Event::PeerAway { peer, reason } if *peer == self.peer => {
                format!("the relay says that {} is {reason}; messages wait", self.name)
            }
            Event::MessagesLost { count, .. } => {
                format!("{count} messages of a peer expired before they arrived")
            }
            Event::StorageFailed { why } => format!("nothing can be stored: {why}"),
            Event::SetBack { .. } => {
                "this keystore was restored from a backup: what had not ended may arrive twice"
                    .into()
            }
            Event::PeerIncompatible { why, .. } => why.to_string(),
            _ => return,
        };
        note(self.json, &told);
    }

    fn leave(&self) {
        let left = self.under_way.len();
        if left > 0 {
            note(
                self.json,
                &format!(
                    "{left} messages stay in the outbox; the next command that connects sends them"
                ),
            );
        }
    }
}

/// Lines of standard input, read by a thread that ends with the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
