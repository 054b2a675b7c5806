//! `hush chat`: lines to a peer and messages from all, with what became of each line.

use std::io::{BufRead, Read as _};
use std::path::PathBuf;
use std::pin::{Pin, pin};

use anyhow::{Context as _, Result};
use clap::Args;
use hushwire::Error;
use hushwire::client::{Client, Delivery, Event, IncomingMessage, Receipt, SendOptions, SendState};
use hushwire::conversation::limits::MESSAGE_BYTES_MAX;
use hushwire::journal::MessageId;
use hushwire_wire::id::DeviceId;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::commands::{hex, options, short};
use crate::home::{self, Home};
use crate::record::Record;
use crate::terminal::{complain, note, show, shown_text};

/// Lines read ahead of the outbox.
const LINES_AHEAD_MAX: usize = 2;

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
        _ = tokio::signal::ctrl_c() => session.leave()?,
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
        // Beside everything else: two that only send would wait for each other for ever.
        let mut storing: Option<Storing> = None;
        while !ended || stay || storing.is_some() || !self.under_way.is_empty() {
            let incoming = pin!(client.next_message());
            tokio::select! {
                line = lines.recv(), if !ended && storing.is_none() => match line {
                    Some(line) => storing = self.send(line?),
                    None => {
                        ended = true;
                        if !self.under_way.is_empty() {
                            note(self.json, "waiting for what is on its way; Ctrl-C leaves it in the outbox");
                        }
                    }
                },
                stored = async { storing.as_mut().expect("there is one").await }, if storing.is_some() => {
                    storing = None;
                    self.sent(stored?)?;
                }
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

    /// Begins to put a line into the outbox.
    fn send(&self, line: Line) -> Option<Storing> {
        let Line::Whole(bytes) = line else {
            let error = anyhow::anyhow!(
                "a line is longer than 16 MiB and was not sent: send it as a file, with hush send"
            );
            complain(&error, &json!({ "error": error.to_string() }), self.json);
            return None;
        };
        let (client, peer, options) = (self.client.clone(), self.peer, self.options);
        Some(Box::pin(async move { client.enqueue_with(peer, bytes, options).await }))
    }

    fn sent(&mut self, delivery: Delivery) -> Result<()> {
        if self.json {
            show(true, "", &json!({ "queued": delivery.id().to_string() }))?;
        }
        self.watch(delivery);
        Ok(())
    }

    /// Records and shows a message, then confirms it: one that could not be kept or shown comes again.
    fn receive(&mut self, message: IncomingMessage) -> Result<()> {
        if let Some(record) = &mut self.record {
            record.add(&message)?;
        }
        let shown = String::from_utf8_lossy(&message.bytes);
        let from = if message.peer == self.peer { self.name.clone() } else { short(message.peer) };
        let mut value = json!({
            "from": message.peer.to_text(), "id": message.id.to_string(), "message": shown,
        });
        if std::str::from_utf8(&message.bytes).is_err() {
            value["hex"] = hex(&message.bytes).into();
        }
        show(self.json, &format!("{from}: {}", shown_text(&shown)), &value)?;
        message.confirm();
        Ok(())
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

    fn leave(&self) -> Result<()> {
        let left = self.under_way.len();
        if self.json {
            return show(true, "", &json!({ "left": left }));
        }
        if left > 0 {
            note(
                false,
                &format!(
                    "{left} messages stay in the outbox; the next command that connects sends them"
                ),
            );
        }
        Ok(())
    }
}

/// A message on its way into the outbox.
type Storing = Pin<Box<dyn Future<Output = Result<Delivery, Error>>>>;

/// What stood between two ends of lines.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    /// It was longer than a message.
    TooLong,
}

/// Lines of standard input, read by a thread that ends with the process.
fn lines() -> mpsc::Receiver<Result<Line>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut next = || next_line(&mut input, MESSAGE_BYTES_MAX).transpose();
        while let Some(line) = next() {
            let last = line.is_err();
            let line = line.context("standard input cannot be read");
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    lines
}

/// The next line, without its end; whatever bytes it holds.
fn next_line(input: &mut impl BufRead, bytes_max: usize) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(bytes_max as u64 + 2).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    let whole = line.pop_if(|byte| *byte == b'\n').is_some();
    line.pop_if(|byte| whole && *byte == b'\r');
    if line.len() <= bytes_max {
        return Ok(Some(Line::Whole(line)));
    }
    if !whole {
        input.skip_until(b'\n')?;
    }
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_length_and_bytes() {
        let whole = |text: &[u8]| Some(Line::Whole(text.to_vec()));
        let mut input = &b"one\r\n\n\xff\xfe\n1234\n1234\r\n12345\n1234567\nlast"[..];
        let mut next = || next_line(&mut input, 4).expect("it is read");
        for expect in
            [whole(b"one"), whole(b""), whole(b"\xff\xfe"), whole(b"1234"), whole(b"1234")]
        {
            assert_eq!(next(), expect);
        }
        let expected = [Some(Line::TooLong), Some(Line::TooLong), whole(b"last"), None, None];
        assert_eq!(std::array::from_fn(|_| next()), expected);
    }
}
