//! A program that runs beside the test, line by line. Dropping it kills it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a test waits for a program.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program has left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub error: String,
}

impl Ended {
    /// It ended with this code and said these words on standard error.
    #[track_caller]
    pub fn assert(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.error.contains(word), "{word:?} is not in {:?}", self.error);
        }
    }
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    out: Receiver<String>,
    error: Receiver<String>,
}

impl Program {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take();
        let out = lines(child.stdout.take().expect("a pipe"));
        let error = lines(child.stderr.take().expect("a pipe"));
        Self { child, input, out, error }
    }

    /// Runs it to its end, with this on its standard input.
    pub fn run(command: &mut Command, input: &[u8]) -> Ended {
        let mut program = Self::start(command);
        let mut pipe = program.input.take().expect("a pipe");
        // It need not read what it is given.
        let _gone = pipe.write_all(input);
        drop(pipe);
        program.end()
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) {
        let input = self.input.as_mut().expect("its input is open");
        input.write_all(text.as_bytes()).expect("it reads");
        input.flush().expect("it reads");
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("it printed nothing more, but: {:?}", self.error.try_iter().collect::<Vec<_>>())
        })
    }

    /// The next line of its standard error.
    pub fn error_line(&mut self) -> String {
        self.error.recv_timeout(PATIENCE).expect("it says something")
    }

    /// Lets it run for so long, and kills it with SIGKILL if it has not ended by then. Whether it had.
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is what a test asks for")]
    pub fn killed_after(mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        // Its output is closed when it ends.
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if self.out.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        self.child.kill().expect("ours");
        self.child.wait().expect("it ends").code().is_some()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        drop(self.input.take());
        let (out, error) = (rest(&self.out), rest(&self.error));
        // Both pipes are closed: it has ended, or is about to.
        let status = self.child.wait().expect("it ends");
        Ended { code: status.code().expect("it was not killed"), out, error }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn rest(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text.extend([line.as_str(), "\n"]),
            Err(RecvTimeoutError::Disconnected) => return text,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end, after it said: {text}"),
        }
    }
}
