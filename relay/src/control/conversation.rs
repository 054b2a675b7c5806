//! Clients of the admin socket: a question a line, an answer a line, until they hang up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admin::{Answer, LINE_BYTES_MAX, Question};
use super::limits::{ACCEPT_RETRY_MS, ADMIN_CLIENTS_MAX, ADMIN_LINE_MS};
use super::operator::Operator;
use super::phase::Phase;
use super::socket::may_speak;

const LINE_TIME: Duration = Duration::from_millis(ADMIN_LINE_MS);

/// Serves until the relay leaves, then lets answers under way finish.
pub(super) async fn serve(listener: UnixListener, operator: Arc<Operator>) {
    let own = rustix::process::geteuid().as_raw();
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue,
            _ = operator.phase.reached(Phase::Leaving) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket could not accept");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        if !stream.peer_cred().is_ok_and(|peer| may_speak(peer.uid(), own)) {
            turn_away(&stream, "only the user of the relay and root may administrate it: use sudo");
        } else if clients.len() >= ADMIN_CLIENTS_MAX {
            turn_away(&stream, "too many clients are connected to the admin socket: try again");
        } else {
            clients.spawn(converse(stream, Arc::clone(&operator)));
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// Best effort: a new socket takes a line at once.
fn turn_away(stream: &UnixStream, sentence: &str) {
    if let Err(error) = stream.try_write(&line(&failed(sentence))) {
        tracing::debug!(%error, "a client was turned away without a word");
    }
}

async fn converse(stream: UnixStream, operator: Arc<Operator>) {
    let (reading, mut writing) = stream.into_split();
    let mut reader = BufReader::new(reading);
    loop {
        let heard = tokio::select! {
            heard = hear(&mut reader) => heard,
            _ = operator.phase.reached(Phase::Leaving) => return,
        };
        let (answer, last) = match heard {
            Heard::Question(question) => (answer(&operator, question).await, false),
            Heard::Nonsense(sentence) => (failed(&sentence), false),
            Heard::Overlong => (failed(OVERLONG), true),
            Heard::Late => (failed("no question came in time: connect again"), true),
            Heard::End => return,
        };
        let written = timeout(LINE_TIME, writing.write_all(&line(&answer))).await;
        if last || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

const OVERLONG: &str = "the question is longer than a line may be: is this hushctl?";

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Question(Question),
    Nonsense(String),
    Overlong,
    Late,
    End,
}

async fn hear(reader: &mut BufReader<OwnedReadHalf>) -> Heard {
    let mut bytes = Vec::new();
    let limit = LINE_BYTES_MAX as u64;
    match timeout(LINE_TIME, reader.take(limit).read_until(b'\n', &mut bytes)).await {
        Err(_elapsed) => Heard::Late,
        Ok(Err(_) | Ok(0)) => Heard::End,
        Ok(Ok(_)) => understand(&bytes),
    }
}

fn understand(bytes: &[u8]) -> Heard {
    let Some(text) = bytes.strip_suffix(b"\n") else {
        return if bytes.len() >= LINE_BYTES_MAX { Heard::Overlong } else { Heard::End };
    };
    match serde_json::from_slice(text) {
        Ok(question) => Heard::Question(question),
        Err(error) => Heard::Nonsense(format!(
            "the question was not understood ({error}): use the hushctl of this relay's version"
        )),
    }
}

async fn answer(operator: &Arc<Operator>, question: Question) -> Answer {
    let operator = Arc::clone(operator);
    let answered = tokio::task::spawn_blocking(move || operator.answer(question)).await;
    answered.unwrap_or_else(|error| {
        tracing::error!(%error, "a question of the operator failed");
        failed("the relay failed to answer: look at its log, and report it")
    })
}

fn failed(sentence: &str) -> Answer {
    Answer::Failed { sentence: sentence.to_owned() }
}

/// An answer as it stands on the wire.
fn line(answer: &Answer) -> Vec<u8> {
    let written: Result<Vec<u8>, io::Error> = serde_json::to_vec(answer).map_err(io::Error::from);
    let mut bytes = written.unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_or_get_a_sentence() {
        let check = |bytes: &[u8], expect| assert_eq!(understand(bytes), expect, "{bytes:?}");
        check(b"{\"ask\":\"status\"}\n", Heard::Question(Question::Status));
        check(b"  {\"ask\":\"drain\"}\r\n", Heard::Question(Question::Drain));
        check(b"{\"ask\":\"status\"}", Heard::End);
        check(&[b'x'; LINE_BYTES_MAX], Heard::Overlong);
        for nonsense in [
            &b"\n"[..],
            b"\xff\xfe\n",
            b"GET / HTTP/1.1\r\n",
            b"{\"ask\":\"reboot\"}\n",
            b"{\"ask\":\"revoke\"}\n",
            b"{\"ask\":\"invite\",\"account\":null,\"ttl_s\":-1}\n",
            b"{\"ask\":\"devices\",\"after\":null,\"more\":1}\n",
            b"{\"ask\":\"status\"} {\"ask\":\"drain\"}\n",
            &[&[b'['; 5_000][..], b"\n"].concat(),
        ] {
            assert!(matches!(understand(nonsense), Heard::Nonsense(_)), "{nonsense:?}");
        }
    }
}
