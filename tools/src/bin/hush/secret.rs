//! Secrets of a person: asked for on the terminal, or read from a file that nobody else can read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hushwire::identity::WORDS;
use hushwire::keystore::{PASSPHRASE_BYTES_MAX, Passphrase};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

/// The longest line that is taken from a terminal or a file.
const LINE_BYTES_MAX: usize = 4_096;
/// The signals that end or stop a program from its terminal.
const SIGNALS: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];
/// Another screen, which leaves nothing in the terminal's history; and back (xterm's private mode 1049).
const SCREEN_OPEN: &str = "\x1b[?1049h\x1b[2J\x1b[H";
const SCREEN_CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";
const SCREEN_CLOSE: &str = "\x1b[2J\x1b[?1049l";

/// The terminal of this process, whatever its standard input and output are.
pub(crate) struct Terminal {
    tty: File,
    /// On the other screen.
    screen: bool,
}

/// What a line is: seen while it is typed, or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

impl Terminal {
    /// # Errors
    /// `otherwise`, a sentence, where there is no terminal.
    pub(crate) fn open(otherwise: &str) -> Result<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let tty = tty.with_context(|| otherwise.to_owned())?;
        Ok(Self { tty, screen: false })
    }

    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        self.tty.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Changes to a screen whose contents are gone afterwards.
    pub(crate) fn open_screen(&mut self) -> Result<()> {
        self.screen = true;
        self.print(SCREEN_OPEN)
    }

    pub(crate) fn clear(&mut self) -> Result<()> {
        self.print(SCREEN_CLEAR)
    }

    /// Goes back from it.
    pub(crate) fn close_screen(&mut self) {
        if std::mem::take(&mut self.screen) {
            // A terminal that has gone shows nothing any more.
            let _gone = self.print(SCREEN_CLOSE);
        }
    }

    /// A passphrase, which is not shown while it is typed.
    pub(crate) fn passphrase(&mut self, prompt: &str) -> Result<Passphrase> {
        let line = self.line(prompt, Echo::Off)?.context("no passphrase was given")?;
        Ok(Passphrase::new(line)?)
    }

    /// Waits for Enter.
    pub(crate) fn pause(&mut self, prompt: &str) -> Result<()> {
        self.line(prompt, Echo::On)?.context("the terminal was closed").map(drop)
    }

    /// As many words as a backup has, on as many lines as they are typed in.
    pub(crate) fn words(&mut self, prompt: &str) -> Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(2 * LINE_BYTES_MAX + 2));
        let mut prompt = prompt.to_owned();
        while let Some(line) = self.line(&prompt, Echo::On)? {
            let line = std::str::from_utf8(&line).context("the words are not text")?;
            if text.len() + line.len() > LINE_BYTES_MAX {
                bail!("this is too long for {WORDS} words");
            }
            text.push_str(line);
            text.push(' ');
            let typed = text.split_whitespace().count();
            if typed >= WORDS {
                return Ok(text);
            }
            prompt = format!("{typed} of {WORDS}, go on: ");
        }
        Ok(text)
    }

    /// One line without its end; `None` where the terminal gives no more.
    ///
    /// Signals wait while the terminal is quiet. When one comes, the terminal is as it was before the signal does what
    /// it does: end the program, or stop it, and then the question is asked again.
    fn line(&mut self, prompt: &str, echo: Echo) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let signals: SigSet = SIGNALS.into_iter().collect();
        loop {
            let before = signals.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
            let quiet = Quiet::new(&self.tty, echo);
            let line = quiet.and_then(|_quiet| self.read_line(prompt, echo, &signals));
            if matches!(line, Ok(Typed::Signal)) && self.screen {
                self.print(SCREEN_CLOSE)?;
            }
            // What waits arrives here.
            before.thread_set_mask()?;
            match line? {
                Typed::Line(line) => return Ok(Some(line)),
                Typed::End => return Ok(None),
                Typed::Signal => {}
            }
            if self.screen {
                self.print(SCREEN_OPEN)?;
            }
        }
    }

    fn read_line(&mut self, prompt: &str, echo: Echo, signals: &SigSet) -> Result<Typed> {
        let signal = SignalFd::new(signals)?;
        self.print(prompt)?;
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
        loop {
            let mut ready = [
                PollFd::from_borrowed_fd(signal.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.tty.as_fd(), PollFlags::IN),
            ];
            poll(&mut ready, None)?;
            if !ready[0].revents().is_empty() {
                self.print("\n")?;
                return Ok(Typed::Signal);
            }
            let mut byte = Zeroizing::new([0]);
            let read = self.tty.read(&mut *byte).context("the terminal has gone")?;
            if read == 0 || byte[0] == b'\n' {
                if echo == Echo::Off {
                    self.print("\n")?;
                }
                let ended = read == 0 && line.is_empty();
                return Ok(if ended { Typed::End } else { Typed::Line(line) });
            }
            if line.len() == LINE_BYTES_MAX {
                bail!("the line is too long");
            }
            line.extend_from_slice(&*byte);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close_screen();
    }
}

enum Typed {
    Line(Zeroizing<Vec<u8>>),
    End,
    Signal,
}

/// A terminal that does not show what is typed; as it was when this ends.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File, echo: Echo) -> Result<Option<Self>> {
        if echo == Echo::On {
            return Ok(None);
        }
        let tty = tty.try_clone()?;
        let before = tcgetattr(&tty)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        tcsetattr(&tty, SetArg::TCSADRAIN, &quiet)?;
        Ok(Some(Self { tty, before }))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing any more.
        let _gone = tcsetattr(&self.tty, SetArg::TCSADRAIN, &self.before);
    }
}

/// A passphrase from a file, without the end of its line. `/dev/fd/N` is descriptor N of this process.
pub(crate) fn passphrase_file(path: &Path) -> Result<Passphrase> {
    let shown = path.display();
    let file = File::open(path);
    let file = file.with_context(|| format!("cannot read the passphrase file {shown}"))?;
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.is_dir() {
        bail!("{shown} is a directory, not a passphrase file");
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        bail!("{shown} is open to other users (mode {mode:03o}); run: chmod 600 {shown}");
    }
    if metadata.uid() != user && metadata.uid() != 0 {
        bail!(
            "{shown} belongs to user {}, who could change it; run: chown {user} {shown}",
            metadata.uid()
        );
    }
    // Two more bytes are the end of the line, and a third says that there is more.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 3));
    file.take(PASSPHRASE_BYTES_MAX as u64 + 3)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read the passphrase file {shown}"))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Passphrase::new(bytes).with_context(|| format!("the passphrase file {shown}"))
}

/// Words from standard input, for programs.
pub(crate) fn words_from_input() -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX + 1));
    let input = std::io::stdin().lock();
    input
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .context("cannot read the words from standard input")?;
    Ok(text)
}
