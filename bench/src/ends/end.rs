//! One device's process, seen from the measurement: one line of JSON asks, one answers.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Durability;
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{END_ANSWER_MAX, END_LINE_BYTES_MAX};
use crate::load::Transport;
use crate::server::{Pipes, spawn};

/// How often a wait looks whether somebody wants it to end.
const LOOK: Duration = Duration::from_millis(100);

/// A device's process, which ends with this value.
#[derive(Debug)]
pub(crate) struct End<'a> {
    name: &'static str,
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
    interrupt: &'a Interrupt,
}

impl<'a> End<'a> {
    /// Starts it on processors `cpus`; it enrols with `invite`, keeps messages as the durability says and goes
    /// by the transport.
    pub(super) fn start(
        name: &'static str,
        cpus: &[usize],
        invite: &str,
        (durability, transport): (Durability, Transport),
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let this = std::env::current_exe().context("this program cannot find itself")?;
        let pipes = Pipes { input: Stdio::piped(), output: Stdio::piped(), ..Pipes::none() };
        let mut child = spawn(cpus, &this, &[OsString::from("device")], pipes, &[])?;
        let (questions, output) =
            child.stdin.take().zip(child.stdout.take()).context("a child without pipes")?;
        let (tell, answers) = sync_channel(1);
        thread::Builder::new().name("answers".to_owned()).spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = String::new();
                let read = output.by_ref().take(END_LINE_BYTES_MAX as u64).read_line(&mut line);
                // An end, and a measurement that is over, are noticed at the other end.
                if !matches!(read, Ok(1..)) || tell.send(line).is_err() {
                    return;
                }
            }
        })?;
        let mut end = Self { name, child, questions, answers, interrupt };
        end.ask(&json!({ "invite": invite, "durability": durability.name(), "transport": transport.to_string() }))?;
        Ok(end)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for something that takes its time; [`End::answer`] hears of it.
    pub(crate) fn begin(&mut self, question: &Value) -> Result<()> {
        writeln!(self.questions, "{question}").with_context(|| format!("{} has ended", self.name))
    }

    pub(crate) fn answer(&mut self) -> Result<Value> {
        let clock = Clock::start();
        while clock.now_ns() < END_ANSWER_MAX.as_nanos() as u64 {
            self.interrupt.check()?;
            match self.answers.recv_timeout(LOOK) {
                Ok(line) => {
                    let answer: Value = serde_json::from_str(&line)
                        .with_context(|| format!("{} ended in a word", self.name))?;
                    if let Some(problem) = answer["failed"].as_str() {
                        bail!("{}: {problem}", self.name);
                    }
                    return Ok(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("{} has ended", self.name),
            }
        }
        bail!("{} has not answered for {END_ANSWER_MAX:?}", self.name)
    }

    pub(crate) fn ask(&mut self, question: &Value) -> Result<Value> {
        self.begin(question)?;
        self.answer()
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
