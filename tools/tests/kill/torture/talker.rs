//! One end of the chat: an application that numbers its lines, gives them to `hush chat`, and after a crash finds out
//! from the journal which of them were taken. What comes is in its record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hushwire::journal::{Journal, Logs, MessageId, Outcome};
use hushwire::keystore::Keystore;
use hushwire_wire::id::DeviceId;
use serde_json::Value;

use super::random::Random;

/// Bytes given to a process that it has not said to be on disk: fewer than a pipe holds.
const IN_HAND_BYTES_MAX: usize = 60_000;
/// Lines given to a process that it has not said to be on disk.
const IN_HAND_MAX: usize = 24;
/// Lines and bytes that have not ended.
const OPEN_MAX: usize = 300;
const OPEN_BYTES_MAX: usize = 1 << 20;
/// Most lines given at once, and the longest pause after them, in milliseconds.
const BURST_MAX: u64 = 24;
const PAUSE_MS_MAX: u64 = 120;

/// What a line says, so that everybody knows it from who wrote it and its number.
fn text(writer: &str, number: u64) -> String {
    let mut random = Random::new(number);
    let length = match random.below(100) {
        0 => random.below(48_000),
        1..10 => random.below(4_000),
        _ => random.below(100),
    };
    let filler = "words ".bytes().cycle().skip(usize::try_from(number % 6).expect("small"));
    let filler: Vec<u8> = filler.take(usize::try_from(length).expect("small")).collect();
    format!("{writer} {number} {}.", String::from_utf8(filler).expect("ASCII"))
}

/// A record of received lines, read as far as it has grown.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    /// Who wrote them, and what they are called.
    writer: DeviceId,
    name: &'static str,
    read_bytes: u64,
    lines: u64,
}

impl Record {
    /// How many lines are in it; all of them are the right ones.
    pub(crate) fn read(&mut self, ids: &[MessageId]) -> Result<u64> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(0) };
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut reader = BufReader::new(file);
        loop {
            let mut line = String::new();
            let length = reader.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok(self.lines);
            }
            self.check(&line, ids)
                .with_context(|| format!("line {} of {}", self.lines, self.path.display()))?;
            self.read_bytes += length as u64;
            self.lines += 1;
        }
    }

    fn check(&self, line: &str, ids: &[MessageId]) -> Result<()> {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["from"] == self.writer.to_text(), "it is from somebody else");
        let is = line["text"].as_str().unwrap_or_default();
        let must = text(self.name, self.lines);
        let start = |text: &str| text.chars().take(24).collect::<String>();
        ensure!(is == must, "not once and in order: {:?}, not {:?}", start(is), start(&must));
        // The last ones may have come before their sender could say that it has stored them.
        let id = usize::try_from(self.lines).ok().and_then(|number| ids.get(number));
        ensure!(
            id.is_none_or(|id| line["id"] == id.to_string()),
            "it is called {}, but {:?} by its sender",
            line["id"],
            id
        );
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Talker {
    hush: PathBuf,
    home: PathBuf,
    peer: DeviceId,
    name: &'static str,
    random: Random,
    /// Of what comes from the peer.
    pub(crate) record: Record,
    /// The names of the lines that are known to be stored, by their numbers.
    pub(crate) ids: Vec<MessageId>,
    /// Their lengths, of those that have not ended.
    open: BTreeMap<u64, usize>,
    open_bytes: usize,
    /// Lengths of the lines that were given to the process and not said to be stored.
    in_hand: VecDeque<usize>,
    /// Lines of which the process has said that they were delivered.
    told: BTreeSet<u64>,
    /// Kills that came between a line's being on disk and the word of it.
    pub(crate) unheard: u64,
    /// The longest journal seen.
    pub(crate) journal_bytes_max: u64,
    /// Bytes of all lines.
    pub(crate) bytes: u64,
    write_at: Instant,
}

impl Talker {
    pub(crate) fn new(
        hush: &Path,
        place: &Path,
        name: &'static str,
        (peer_name, peer): (&'static str, DeviceId),
        random: Random,
        now: Instant,
    ) -> Self {
        let path = place.join(format!("{name}.record"));
        let record = Record { path, writer: peer, name: peer_name, read_bytes: 0, lines: 0 };
        Self {
            hush: hush.to_owned(),
            home: place.join(name),
            peer,
            name,
            random,
            record,
            ids: Vec::new(),
            open: BTreeMap::new(),
            open_bytes: 0,
            in_hand: VecDeque::new(),
            told: BTreeSet::new(),
            unheard: 0,
            journal_bytes_max: 0,
            bytes: 0,
            write_at: now,
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.hush);
        command.arg("--json").arg("--keystore").arg(&self.home);
        command.args(["chat", "--stay", &self.peer.to_text(), "--record"]).arg(&self.record.path);
        command
    }

    /// What the journal of a process that is gone holds.
    fn logs(&mut self) -> Result<Logs> {
        let keystore = Keystore::open(&self.home)?;
        let path = keystore.journal_path();
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        self.journal_bytes_max = self.journal_bytes_max.max(length);
        Ok(Journal::view(&path, keystore.storage_key())?)
    }

    /// The process is gone: finds out what it had stored, and that it has lost nothing of what it had said.
    pub(crate) fn take_stock(&mut self) -> Result<()> {
        let logs = self.logs()?;
        let Some((peer, log)) =
            logs.peer(&self.peer).and_then(|peer| Some((peer, peer.outgoing.as_ref()?)))
        else {
            ensure!(self.ids.is_empty(), "{}: all {} lines are lost", self.name, self.ids.len());
            self.in_hand.clear();
            return Ok(());
        };
        let (known, stored) = (self.ids.len() as u64, log.next_number);
        ensure!(log.base == 0, "{}: its log has begun anew", self.name);
        ensure!(stored >= known, "{}: {known} lines were stored, and {stored} are", self.name);
        let in_hand = self.in_hand.len() as u64;
        ensure!(
            stored <= known + in_hand,
            "{}: {stored} lines are stored, and {known} + {in_hand} were given",
            self.name
        );
        for _ in known..stored {
            self.unheard += 1;
            self.on_stored(MessageId { incarnation: log.incarnation, sequence: self.next() })?;
        }
        self.in_hand.clear();
        for ended in &peer.ended {
            let (number, outcome) = (ended.number, ended.outcome);
            ensure!(
                outcome == Outcome::Delivered,
                "{}: line {number} has ended as {outcome:?}",
                self.name
            );
            self.close(number);
        }
        for number in log.held.keys() {
            ensure!(
                !self.told.contains(number),
                "{}: line {number} was delivered, and has not ended",
                self.name
            );
        }
        for number in self.open.keys() {
            ensure!(
                log.held.contains_key(number),
                "{}: line {number} has no end, and is not held",
                self.name
            );
        }
        Ok(())
    }

    /// The number of the next line, and how many are stored.
    pub(crate) fn next(&self) -> u64 {
        self.ids.len() as u64
    }

    fn on_stored(&mut self, id: MessageId) -> Result<()> {
        let number = self.next();
        let length = self.in_hand.pop_front();
        let Some(length) = length else { bail!("{}: {id} was never given", self.name) };
        let expect = self.ids.first().map_or(id.incarnation, |first| first.incarnation);
        ensure!(
            id == MessageId { incarnation: expect, sequence: number },
            "{}: line {number} is called {id}",
            self.name
        );
        self.ids.push(id);
        self.open.insert(number, length);
        self.open_bytes += length;
        self.bytes += length as u64;
        Ok(())
    }

    fn close(&mut self, number: u64) {
        self.open_bytes -= self.open.remove(&number).unwrap_or(0);
    }

    /// The process prints a line.
    pub(crate) fn on_line(&mut self, line: &str) -> Result<()> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
        if let Some(id) = value["queued"].as_str() {
            return self.on_stored(id.parse()?);
        }
        if let Some(id) = value["ended"].as_str() {
            let id: MessageId = id.parse()?;
            let state = value["state"].as_str().unwrap_or_default();
            let number = id.sequence;
            let known = usize::try_from(number).ok().and_then(|number| self.ids.get(number));
            ensure!(known == Some(&id), "{}: {id} was never given", self.name);
            ensure!(state == "delivered", "{}: line {number} is {state}", self.name);
            ensure!(self.told.insert(number), "{}: line {number} has ended twice", self.name);
            self.close(number);
            return Ok(());
        }
        if value["left"].is_u64() {
            // It ends, and its outbox is looked at in the end.
            return Ok(());
        }
        ensure!(value["message"].is_string(), "{}: says {line:?}", self.name);
        Ok(())
    }

    /// The next lines to be written, if it is time.
    pub(crate) fn write(&mut self, now: Instant) -> Option<String> {
        if now < self.write_at {
            return None;
        }
        let mut lines = String::new();
        for _ in 0..=self.random.below(BURST_MAX) {
            let number = self.next() + self.in_hand.len() as u64;
            let line = text(self.name, number);
            let in_hand: usize = self.in_hand.iter().map(|length| length + 1).sum();
            let fits = in_hand + line.len() < IN_HAND_BYTES_MAX
                && self.in_hand.len() < IN_HAND_MAX
                && self.open.len() < OPEN_MAX
                && self.open_bytes < OPEN_BYTES_MAX;
            if !fits {
                break;
            }
            self.in_hand.push_back(line.len());
            lines.push_str(&line);
            lines.push('\n');
        }
        self.write_at = now + Duration::from_millis(self.random.below(PAUSE_MS_MAX));
        (!lines.is_empty()).then_some(lines)
    }

    /// Whether everything that was given has ended, as far as the process has said.
    pub(crate) fn is_done(&self) -> bool {
        self.in_hand.is_empty() && self.open.is_empty()
    }

    /// How many lines are known to have been delivered, which is never more than the peer's record holds.
    pub(crate) fn delivered(&self) -> u64 {
        self.told.last().map_or(0, |number| number + 1)
    }

    /// Everything is over: nothing is left to be done, and the peer's lines have all been taken.
    pub(crate) fn check_end(&mut self, from_peer: u64) -> Result<()> {
        self.take_stock()?;
        ensure!(self.is_done(), "{}: {} lines have no end", self.name, self.open.len());
        let logs = self.logs()?;
        let peer = logs.peer(&self.peer).context("the journal knows nothing of the peer")?;
        let held = peer.outgoing.as_ref().map_or(0, |log| log.held.len());
        ensure!(held == 0, "{}: {held} lines are still held", self.name);
        let taken = peer.incoming.as_ref().map_or(0, |log| log.next);
        ensure!(taken == from_peer, "{}: took {taken} lines of {from_peer}", self.name);
        let ahead = peer.incoming.as_ref().map_or(0, |log| log.ahead.len());
        ensure!(ahead == 0, "{}: {ahead} messages are ahead of the rest", self.name);
        Ok(())
    }
}
