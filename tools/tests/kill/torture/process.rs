//! A program that is killed and started again, line by line.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::strikes::Victim;

/// Lines of standard error that are remembered.
const COMPLAINTS_MAX: usize = 5;

/// What a program does.
#[derive(Debug)]
pub(crate) enum Word {
    /// It prints a line.
    Says(String),
    /// It complains.
    Complains(String),
    /// One of its two outputs has ended.
    Closes,
}

/// Which start of a program says what.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) victim: Victim,
    pub(crate) life: u64,
    pub(crate) word: Word,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    /// Outputs that have not ended.
    open: u32,
    was_killed: bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Death {
    Killed,
    ByItself(ExitStatus),
}

/// A program's place.
#[derive(Debug)]
pub(crate) struct Post {
    victim: Victim,
    running: Option<Running>,
    /// When it is to be started again, where it does not run.
    pub(crate) start_at: Option<Instant>,
    life: u64,
    complaints: VecDeque<String>,
    heard: Sender<Heard>,
}

impl Post {
    pub(crate) const fn new(victim: Victim, heard: Sender<Heard>, start_at: Instant) -> Self {
        let complaints = VecDeque::new();
        Self { victim, running: None, start_at: Some(start_at), life: 0, complaints, heard }
    }

    /// How often it was started.
    pub(crate) const fn lives(&self) -> u64 {
        self.life
    }

    /// Whether it can be killed: it runs, or may still do.
    pub(crate) fn is_alive(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.was_killed)
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.running.is_none() && self.start_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn start(&mut self, mut command: Command) -> Result<()> {
        let program = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        self.life += 1;
        self.start_at = None;
        let input = child.stdin.take();
        let out = child.stdout.take().context("no pipe")?;
        let error = child.stderr.take().context("no pipe")?;
        self.listen(out, Word::Says);
        self.listen(error, Word::Complains);
        self.running = Some(Running { child, input, open: 2, was_killed: false });
        Ok(())
    }

    fn listen(&self, pipe: impl Read + Send + 'static, word: fn(String) -> Word) {
        let (heard, victim, life) = (self.heard.clone(), self.victim, self.life);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            // A line that a kill has cut short was not said.
            while pipe.read_line(&mut line).is_ok() && line.ends_with('\n') {
                let said = std::mem::take(&mut line);
                if heard.send(Heard { victim, life, word: word(said) }).is_err() {
                    return;
                }
            }
            // The run may be over.
            let _gone = heard.send(Heard { victim, life, word: Word::Closes });
        });
    }

    /// Writes to its standard input. `false` where it does not read any more.
    pub(crate) fn say(&mut self, line: &str) -> bool {
        let input = self.running.as_mut().and_then(|running| running.input.as_mut());
        input.is_some_and(|input| input.write_all(line.as_bytes()).is_ok())
    }

    /// Kills it as the system would for want of memory. What it has printed is still heard.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running {
            running.was_killed = true;
            running.child.kill()?;
        }
        Ok(())
    }

    /// Asks it to end, as Ctrl-C does.
    pub(crate) fn interrupt(&self) -> Result<()> {
        if let Some(running) = &self.running {
            let pid = rustix::process::Pid::from_child(&running.child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        }
        Ok(())
    }

    pub(crate) fn on_complaint(&mut self, line: &str) {
        if self.complaints.len() == COMPLAINTS_MAX {
            self.complaints.pop_front();
        }
        self.complaints.push_back(line.trim_end().to_owned());
    }

    /// What it said of itself lately.
    pub(crate) fn complaints(&self) -> String {
        self.complaints.iter().map(|line| format!("\n    {line}")).collect()
    }

    /// One output has ended; with the second one the program is gone, and everything it has printed was heard.
    pub(crate) fn on_closed(&mut self, life: u64) -> Result<Option<Death>> {
        let Some(running) = self.running.as_mut().filter(|_| life == self.life) else {
            bail!("{:?}: an end that is not the last one's", self.victim)
        };
        running.open -= 1;
        if running.open > 0 {
            return Ok(None);
        }
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let status = running.child.wait()?;
        // Killed a moment after it had ended by itself, it was not killed.
        Ok(Some(if status.code().is_none() { Death::Killed } else { Death::ByItself(status) }))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            // It may be gone already.
            let _gone = running.child.kill();
            let _reaped = running.child.wait();
        }
    }
}
