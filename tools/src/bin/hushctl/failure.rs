//! What can go wrong, in a sentence and an exit code (sysexits.h).

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use hushwire_relay::control::admin::Answer;

/// Why the operator did not get what was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No socket, or nobody behind it.
    Absent(PathBuf),
    /// The socket is another user's.
    Forbidden(PathBuf),
    /// Another failure to connect.
    Connect(PathBuf, io::Error),
    /// The relay fell silent or hung up.
    Silent(io::Error),
    /// What came back is no answer.
    Strange(String),
    /// The relay's answer was no.
    Refused(String),
    /// Standard output is closed or full.
    Output(io::Error),
}

impl Failure {
    /// An answer that does not belong to the question.
    pub(crate) fn unexpected(answer: Answer) -> Self {
        match answer {
            Answer::Failed { sentence } => Self::Refused(sentence),
            Answer::Status(_) | Answer::Invite { .. } | Answer::Devices { .. } | Answer::Done => {
                Self::Strange("the answer belongs to another question".to_owned())
            }
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Absent(path) => format!(
                "nobody answers on {}: is the relay running (`systemctl status hushwired`)? \
                 If its socket is elsewhere, say --socket PATH",
                path.display()
            ),
            Self::Forbidden(path) => format!(
                "{} may be used by the relay's own user and root only: use sudo",
                path.display()
            ),
            Self::Connect(path, error) => format!("{} cannot be used: {error}", path.display()),
            Self::Silent(error) => {
                format!("the relay did not answer ({error}): look at its log, or try again")
            }
            Self::Strange(what) => {
                format!("{what}: use the hushctl of the relay's version, and check --socket")
            }
            Self::Refused(sentence) => sentence.clone(),
            Self::Output(error) => format!("the answer could not be printed: {error}"),
        }
    }

    /// Says so on stderr.
    pub(crate) fn report(&self, json: bool) {
        let sentence = self.sentence();
        if json {
            eprintln!("{}", serde_json::json!({ "error": sentence }));
        } else {
            eprintln!("hushctl: {sentence}");
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Absent(_) | Self::Connect(..) => 69,
            Self::Output(_) => 74,
            Self::Silent(_) => 75,
            Self::Strange(_) => 76,
            Self::Forbidden(_) => 77,
        })
    }
}

/// Everything else that can fail with an `io::Error` is mapped where it happens.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
