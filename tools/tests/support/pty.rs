//! A program with a terminal of its own, as a person uses it. Dropping it kills it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::eventually;

/// How long a test waits for a program.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program and the person's end of its terminal.
#[derive(Debug)]
pub struct Session {
    child: Child,
    person: File,
    /// The program's end, held open so that its settings can be looked at afterwards.
    terminal: File,
    pieces: Receiver<Vec<u8>>,
    seen: String,
    /// How much of it has been waited for.
    at: usize,
}

/// How a program ended.
#[derive(Debug)]
pub struct Left {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All that stood on the terminal.
    pub seen: String,
    /// Whether what is typed is shown.
    pub echo: bool,
}

impl Session {
    /// Starts a program in a session of its own whose controlling terminal is new (`setsid` of util-linux). Signals of the terminal
    /// end it even where whoever started the tests ignores them, as nohup(1) does.
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let ends = openpty(None, None).expect("a terminal");
        for end in [&ends.master, &ends.slave] {
            // Programs that other tests start meanwhile do not hold it open.
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        }
        let (person, terminal) = (File::from(ends.master), File::from(ends.slave));
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let child = Command::new("setsid")
            .args(["--ctty", "env", "--default-signal=HUP,INT,QUIT"])
            .arg(program)
            .args(arguments)
            .env_remove("HUSH_KEYSTORE")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        let (sender, pieces) = channel();
        let mut reader = person.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            // An error is the end: the terminal has no other side any more.
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, person, terminal, pieces, seen: String::new(), at: 0 }
    }

    /// Waits until `text` stands on the terminal, behind what was waited for before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        loop {
            if let Some(found) = self.seen[self.at..].find(text) {
                self.at += found + text.len();
                return;
            }
            let Ok(piece) = self.pieces.recv_timeout(PATIENCE) else {
                panic!("{text:?} never came, but: {}", self.seen)
            };
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    /// Types.
    pub fn say(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Whether what is typed is shown at present.
    pub fn echo(&self) -> bool {
        let settings = tcgetattr(&self.terminal).expect("a terminal");
        settings.local_flags.contains(LocalFlags::ECHO)
    }

    /// Its process ID: `setsid` becomes the program.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Left {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().expect("it can be asked");
            status.is_some()
        });
        let status = status.expect("it has ended");
        // A mark behind everything that the program wrote.
        let echo = self.echo();
        self.terminal.write_all(b"\nthe end\n").expect("the terminal is there");
        self.expect("the end");
        Left {
            code: status.code(),
            signal: status.signal(),
            seen: std::mem::take(&mut self.seen),
            echo,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
