//! Questions to a relay over its admin socket: one JSON object a line.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::limits::{ADMIN_LINE_BYTES_MAX, ADMIN_TRIES_MAX, ADMIN_TRY_AGAIN, CONNECT_STEP_MAX};

/// Life of an invite, which is used at once.
const INVITE_TTL_S: u32 = 60;

/// An open admin socket.
#[derive(Debug)]
pub(crate) struct Admin {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Admin {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), stream: connect(path)? })
    }

    /// Makes an invite for one device of `account`, or of a new one.
    pub(crate) fn invite(&mut self, account: Option<&str>) -> Result<String> {
        let answer =
            self.ask(&json!({ "ask": "invite", "account": account, "ttl_s": INVITE_TTL_S }))?;
        text(&answer, "invite")
    }

    /// The account of every device that is enrolled, by the text form of its ID.
    pub(crate) fn devices(&mut self) -> Result<HashMap<String, String>> {
        let mut found = HashMap::new();
        let mut after = None;
        loop {
            let answer = self.ask(&json!({ "ask": "devices", "after": after }))?;
            let page = answer["devices"].as_array().context("an answer without devices")?;
            for row in page {
                let device = text(row, "device")?;
                found.insert(device.clone(), text(row, "account")?);
                after = Some(device);
            }
            if page.is_empty() || answer["more"] != json!(true) {
                return Ok(found);
            }
        }
    }

    /// How the relay is.
    pub(crate) fn status(&mut self) -> Result<Value> {
        self.ask(&json!({ "ask": "status" }))
    }

    /// What the relay has counted, over all shards.
    pub(crate) fn totals(&mut self) -> Result<Totals> {
        let status = self.status()?;
        let totals = status["totals"].as_object().context("a status without totals")?;
        let number = |(name, value): (&String, &Value)| Some((name.clone(), value.as_u64()?));
        Ok(Totals(totals.iter().filter_map(number).collect()))
    }

    /// Asks. Where the relay has as many clients as it takes, some of them may have gone without its having noticed: then
    /// again.
    fn ask(&mut self, question: &Value) -> Result<Value> {
        for _ in 0..ADMIN_TRIES_MAX {
            match self.ask_once(question) {
                Ok(answer) if answer["sentence"].as_str().is_some_and(is_crowded) => {
                    pause();
                    self.stream = connect(&self.path)?;
                }
                Ok(answer) if answer["answer"] == json!("failed") => {
                    bail!("the relay refused {question}: {}", answer["sentence"]);
                }
                answered => return answered,
            }
        }
        bail!("the relay has too many clients on its admin socket")
    }

    fn ask_once(&mut self, question: &Value) -> Result<Value> {
        let mut line = question.to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = String::new();
        let limit = ADMIN_LINE_BYTES_MAX as u64;
        self.stream.by_ref().take(limit).read_line(&mut answer)?;
        if !answer.ends_with('\n') {
            bail!("the relay closed its admin socket in the middle of an answer");
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

fn connect(path: &Path) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(path)
        .with_context(|| format!("opening the admin socket {} failed", path.display()))?;
    stream.set_read_timeout(Some(CONNECT_STEP_MAX))?;
    Ok(BufReader::new(stream))
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when the relay has noticed")]
fn pause() {
    std::thread::sleep(ADMIN_TRY_AGAIN);
}

fn is_crowded(sentence: &str) -> bool {
    sentence.starts_with("too many clients")
}

/// The relay's numbers, by name.
#[derive(Debug, Clone)]
pub(crate) struct Totals(HashMap<String, u64>);

impl Totals {
    pub(crate) fn of(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("a status without {name}"))
    }
}

fn text(object: &Value, key: &str) -> Result<String> {
    let found = object[key].as_str().with_context(|| format!("an answer without '{key}'"))?;
    Ok(found.to_owned())
}
