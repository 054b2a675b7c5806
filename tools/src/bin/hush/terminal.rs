//! How results, progress and failures look, to a person and to a program.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use hushwire::identity::WordsError;
use hushwire::journal::JournalError;
use hushwire::keystore::{BackupError, KeystoreError, PassphraseError, RehearsalError};
use hushwire_wire::code::CodeError;
use hushwire_wire::text;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Longest line of a message that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// `EX_USAGE`, `EX_DATAERR`, `EX_UNAVAILABLE`, `EX_TEMPFAIL`, `EX_NOPERM`, `EX_CONFIG` of sysexits.
mod code {
    pub(super) const FAILURE: u8 = 1;
    pub(super) const DATA: u8 = 65;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const TEMPORARY: u8 = 75;
    pub(super) const PERMISSION: u8 = 77;
    pub(super) const CONFIG: u8 = 78;
}

/// The peer takes nothing from this device.
#[derive(Debug)]
pub(crate) struct Unwelcome(pub(crate) String);

impl fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} takes nothing from this device: finish the pairing over there, or pair again if it was removed",
            self.0
        )
    }
}

impl std::error::Error for Unwelcome {}

/// There was no connection within so many seconds.
#[derive(Debug)]
pub(crate) struct Late(pub(crate) u64);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the relay did not answer within {} s", self.0)
    }
}

impl std::error::Error for Late {}

/// Nobody reads standard output any more.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// What could not be written to standard output.
pub(crate) fn unwritten(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { ReaderGone.into() } else { error.into() }
}

/// Writes to standard output, as it is.
pub(crate) fn put(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(unwritten)
}
/// Peers have not heard of this device's new key yet.
#[derive(Debug)]
pub(crate) struct Unheard(pub(crate) String);

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not done yet, {} could not be told of the new key; those that were wait for it: run `hush rotate` again when \
             the others are there, or with --leave-behind, and pair with them anew",
            self.0
        )
    }
}

impl std::error::Error for Unheard {}

/// Prints a result: `text` to a person, `value` to a program. A reader that has gone ends the program
/// quietly, as it would end any other.
pub(crate) fn show(json: bool, text: &str, value: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = if json { writeln!(out, "{value}") } else { writeln!(out, "{text}") };
    written.and_then(|()| out.flush()).map_err(unwritten)
}

/// What a person sees of a peer's message: nothing that steers a terminal, and no line but the first that begins where
/// those of other peers and of this program do.
pub(crate) fn shown_text(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(|line| text::plain(line, SHOWN_BYTES_MAX)).collect();
    lines.join("\n  ")
}

/// Says something on the side, to a person only.
pub(crate) fn note(json: bool, text: &str) {
    if !json {
        // Nobody is there to be told that nobody is there.
        let _gone = writeln!(std::io::stderr(), "{text}");
    }
}

/// Says something on the side, to whoever is there.
pub(crate) fn aside(text: &str) {
    // Nobody is there to be told that nobody is there.
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// Says on the side how something goes, to a person or a program.
pub(crate) fn remark(json: bool, text: &str, value: &Value) {
    let mut err = std::io::stderr();
    // Nobody is there to be told that nobody is there.
    let _gone = if json { writeln!(err, "{value}") } else { writeln!(err, "{text}") };
}

/// One sentence, and an exit code that says whether trying again may help.
pub(crate) fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    if error.is::<ReaderGone>() {
        // `hush trace | head` is no failure.
        return ExitCode::SUCCESS;
    }
    let code = exit_code(error);
    complain(error, &json!({ "error": format!("{error:#}"), "exit_code": code }), json);
    ExitCode::from(code)
}

/// One sentence about something that does not end the program; a program gets `value`.
pub(crate) fn complain(error: &anyhow::Error, value: &Value, json: bool) {
    let mut err = std::io::stderr();
    // Nobody is there to be told that nobody is there.
    let _gone = if json { writeln!(err, "{value}") } else { writeln!(err, "hush: {error:#}") };
}

fn exit_code(error: &anyhow::Error) -> u8 {
    use hushwire::Error;
    let Some(error) = error.downcast_ref::<Error>() else {
        return if let Some(error) = error.downcast_ref::<KeystoreError>() {
            let wrong = matches!(error, KeystoreError::WrongPassphrase { .. });
            if wrong { code::PERMISSION } else { code::CONFIG }
        } else if error.is::<Late>() {
            code::TEMPORARY
        } else if error.is::<JournalError>() {
            code::CONFIG
        } else if error.is::<CodeError>()
            || error.is::<WordsError>()
            || error.is::<RehearsalError>()
            || error.is::<BackupError>()
            || error.is::<PassphraseError>()
        {
            code::DATA
        } else if error.is::<Unwelcome>() {
            code::PERMISSION
        } else if error.is::<Unheard>() {
            code::TEMPORARY
        } else {
            code::FAILURE
        };
    };
    if error.is_retryable() {
        return code::TEMPORARY;
    }
    match error {
        Error::Io(_) | Error::Link(_) | Error::Storage(_) | Error::OutboxFull(_) => {
            code::UNAVAILABLE
        }
        Error::NotEnrolled | Error::NoAccount | Error::Keystore(_) | Error::Journal(_) => {
            code::CONFIG
        }
        Error::NotAdmitted(_) | Error::InviteRefused(_) | Error::Revoked | Error::Rejected(_) => {
            code::PERMISSION
        }
        Error::Code(_) | Error::Label(_) | Error::Spoken(_) | Error::TooLarge(_) => code::DATA,
        Error::CodeUsed | Error::CodeDestroyed | Error::CodeSpent => code::PERMISSION,
        Error::Superseded
        | Error::Expired { .. }
        | Error::Refused { .. }
        | Error::NoAnswer
        | Error::Disconnected
        | Error::NotPaired(_)
        | Error::Unpaired(_)
        | Error::Stream(_)
        | Error::Transfer(_)
        | Error::Pair(_)
        | Error::OtherRelay(_)
        | Error::OtherDevice { .. }
        | Error::PairingExpired
        | Error::ConfirmationFailed
        | Error::Account(_)
        | Error::Rotation(_)
        | Error::NotJoining(_)
        | Error::Closed
        | _ => code::FAILURE,
    }
}

/// A bar for `bytes`, on a terminal only.
pub(crate) fn progress(json: bool, what: &str, bytes: Option<u64>) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{msg:24!} {bar:32} {bytes:>10} of {total_bytes} {bytes_per_sec:>12} {eta:>4}",
        ),
        None => (ProgressBar::new_spinner(), "{msg:24!} {spinner} {bytes:>10} {bytes_per_sec:>12}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// A question that only yes, on standard input, answers with yes. A program gets `value` instead of the
/// question. Meanwhile the connection lives on.
pub(crate) async fn confirm(json: bool, question: &str, value: &Value) -> anyhow::Result<bool> {
    if json {
        show(json, question, value)?;
    } else {
        let mut err = std::io::stderr();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
    }
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    Ok(matches!(answer.await??.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A secret on the command line shows in `ps`; `-` reads it from standard input instead.
pub(crate) fn text_or_input(text: &str) -> anyhow::Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_pass_for_one_of_another_peer() {
        let shown = shown_text("hello\ncarol: pay bob\r\nconnected again\n\u{1b}[2J");
        assert_eq!(shown, "hello\n  carol: pay bob\n  connected again\n  \u{fffd}[2J");
    }
}
