//! The operator's end of the admin socket: one JSON object a line, one answer a question.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hushwire_relay::control::admin::{Answer, LINE_BYTES_MAX, Question, Status};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the relay behind `socket` one question.
///
/// # Errors
/// No relay there, no right to ask it, or an answer that is none.
pub fn ask(socket: &Path, question: &Question) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("no relay answers at {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX as u64).read_line(&mut answer)?;
    serde_json::from_str(&answer).context("the relay's answer is not one this program knows")
}

/// How the relay is.
///
/// # Errors
/// As [`ask`].
pub fn status(socket: &Path) -> Result<Status> {
    match ask(socket, &Question::Status)? {
        Answer::Status(status) => Ok(*status),
        Answer::Failed { sentence } => bail!("{sentence}"),
        Answer::Invite { .. } | Answer::Devices { .. } | Answer::Done => {
            bail!("the relay answered something else than was asked")
        }
    }
}

/// A fresh invite into a new account, or into `account`.
///
/// # Errors
/// As [`ask`].
pub fn invite(socket: &Path, account: Option<String>) -> Result<String> {
    match ask(socket, &Question::Invite { account, ttl_s: 3_600 })? {
        Answer::Invite { invite, .. } => Ok(invite),
        Answer::Failed { sentence } => bail!("{sentence}"),
        Answer::Status(_) | Answer::Devices { .. } | Answer::Done => {
            bail!("the relay answered something else than was asked")
        }
    }
}
