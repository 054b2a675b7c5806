//! The line to the relay: one question out, one answer back.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use hushwire_relay::control::admin::{Answer, LINE_BYTES_MAX, Question};

use crate::failure::Failure;

/// Longer than a relay with a slow disk takes.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Asks the relay behind `socket` one question.
pub(crate) fn ask(socket: &Path, question: &Question) -> Result<Answer, Failure> {
    let mut stream = connect(socket)?;
    let mut text = serde_json::to_vec(question).map_err(|error| Failure::Silent(error.into()))?;
    text.push(b'\n');
    // A relay that turns us away says why and hangs up without reading, so the answer is read even where
    // the question could not be written.
    let asked = stream.write_all(&text);
    let mut answer = Vec::new();
    let limit = LINE_BYTES_MAX as u64;
    let heard = BufReader::new(stream).take(limit).read_until(b'\n', &mut answer);
    if answer.is_empty() {
        let hung_up = || io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up");
        return Err(Failure::Silent(asked.err().or(heard.err()).unwrap_or_else(hung_up)));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| Failure::Strange(format!("the answer was not understood ({error})")))
}

fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let path = || socket.to_owned();
    let stream = UnixStream::connect(socket).map_err(|error| {
        if matches!(error.kind(), NotFound | ConnectionRefused) {
            Failure::Absent(path())
        } else if error.kind() == PermissionDenied {
            Failure::Forbidden(path())
        } else {
            Failure::Connect(path(), error)
        }
    })?;
    stream
        .set_read_timeout(Some(ANSWER_TIME))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIME)))
        .map_err(|error| Failure::Connect(path(), error))?;
    Ok(stream)
}
