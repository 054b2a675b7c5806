//! A `hushwired` of one's own, in a temporary directory, on ports that nobody else has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hushwire_relay::control::admin::{Answer, Question, Status};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where a relay lives. It survives the relay.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// A configuration for a small relay on free ports.
    pub(crate) fn config(&self) -> String {
        self.config_on("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn config_on(&self, listen: SocketAddr) -> String {
        format!(
            "[listen]\naddress = \"{listen}\"\n\
             [relay]\ndata_dir = {:?}\nshards = 2\n\
             [limits]\nconnections_max = 256\nunauthenticated_connections_max = 256\n\
             [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = {:?}\n\
             [log]\nformat = \"stderr\"\n",
            self.data(),
            self.socket()
        )
    }

    /// Writes a configuration and gives its path.
    pub(crate) fn write(&self, config: &str) -> PathBuf {
        let path = self.path("hushwired.toml");
        std::fs::write(&path, config).unwrap();
        path
    }

    /// Starts a relay and returns when it serves.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&self.config())
    }

    pub(crate) fn start_with(&self, config: &str) -> Daemon {
        self.spawn(hushwired(&["--config", self.write(config).to_str().unwrap()]))
    }

    /// As [`Home::start_with`], where no process may have more than `files` open.
    pub(crate) fn start_within(&self, files: u32, config: &str) -> Daemon {
        let program = env!("CARGO_BIN_EXE_hushwired");
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let path = self.write(config);
        let arguments = ["-c", &script, program, "--config", path.to_str().unwrap()];
        self.spawn(command("sh", &arguments))
    }

    fn spawn(&self, mut command: Command) -> Daemon {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        while !log.contains("the relay serves") {
            let read = lines.read_line(&mut log).unwrap();
            assert!(read > 0, "it ended: {log}");
        }
        // The rest of the log is read too, so that the relay never waits for a reader.
        let reader = std::thread::spawn(move || {
            lines.read_to_string(&mut log).unwrap();
            log
        });
        Daemon { child, log: Some(reader), socket: self.socket() }
    }

    /// Runs a relay that is expected not to start.
    pub(crate) fn fail_with(&self, config: &str) -> Ended {
        run(&["--config", self.write(config).to_str().unwrap()])
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The last line, which is the sentence.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let sentence = self.error.lines().last().unwrap_or_default();
        assert!(sentence.contains(words), "{words:?} is not in {sentence:?}");
    }
}

pub(crate) fn hushwired(arguments: &[&str]) -> Command {
    command(env!("CARGO_BIN_EXE_hushwired"), arguments)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Ended {
    let mut command = hushwired(arguments);
    Ended::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap())
}

/// A running relay; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
    socket: PathBuf,
}

impl Daemon {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: the exit code and the log.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), self.log.take().unwrap().join().unwrap())
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn status(&self) -> Status {
        let answer = ask(&self.socket, &Question::Status);
        let Answer::Status(status) = answer else { panic!("{answer:?}") };
        *status
    }

    pub(crate) fn http(&self, request: &[u8]) -> String {
        let address: SocketAddr = self.status().control.parse().unwrap();
        http(address, request)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// An open admin socket.
#[derive(Debug)]
pub(crate) struct Line(BufReader<UnixStream>);

impl Line {
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next answer; `None` when the relay has hung up.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut text = String::new();
        // A relay that hangs up on unread input resets the connection.
        let read = self.0.read_line(&mut text).unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).unwrap();
        self.answer().unwrap()
    }
}

pub(crate) fn ask(socket: &Path, question: &Question) -> Answer {
    let mut text = serde_json::to_vec(question).unwrap();
    text.push(b'\n');
    Line::open(socket).ask(&text)
}

/// Sends a request and reads to the end of the answer.
pub(crate) fn http(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has had enough hangs up before all is written.
    let _refused = stream.write_all(request);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}
