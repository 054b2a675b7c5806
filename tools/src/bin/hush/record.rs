//! A record of received messages that a crash neither loses nor repeats: a line of JSON each, on disk before the message is
//! confirmed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hushwire::client::Message;
use hushwire::journal::MessageId;
use hushwire_wire::id::DeviceId;
use serde::{Deserialize, Serialize};

use crate::commands::hex;

/// Longest line that is read, in bytes: a message of 16 MiB as escaped text or as hexadecimal beside such text.
const LINE_BYTES_MAX: u64 = 192 << 20;

/// What a line says.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    from: String,
    id: String,
    text: String,
    /// All bytes, where they are no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    last: HashMap<DeviceId, MessageId>,
}

impl Record {
    /// Opens or makes it, and cuts off a line that a crash left half written.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot use {} as a record of messages", path.display());
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(path).with_context(cannot)?;
        let mut last = HashMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(&file);
        for number in 1_u64.. {
            let mut bytes = Vec::new();
            (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
                .with_context(cannot)?;
            if bytes.last() != Some(&b'\n') {
                if bytes.len() as u64 == LINE_BYTES_MAX {
                    bail!("line {number} of {} is no message: name another file", path.display());
                }
                break;
            }
            let line: Option<(DeviceId, MessageId)> = serde_json::from_slice::<Line>(&bytes)
                .ok()
                .and_then(|line| Some((line.from.parse().ok()?, line.id.parse().ok()?)));
            let Some((from, id)) = line else {
                bail!("line {number} of {} is no message: name another file", path.display());
            };
            last.insert(from, id);
            whole += bytes.len() as u64;
        }
        drop(reader);
        file.set_len(whole).with_context(cannot)?;
        (&file).seek(SeekFrom::End(0)).with_context(cannot)?;
        Ok(Self { file, last })
    }

    /// The last message of each peer that is in it.
    pub(crate) fn last(&self) -> impl Iterator<Item = (DeviceId, MessageId)> {
        self.last.iter().map(|(peer, id)| (*peer, *id))
    }

    /// Adds a message; it is on disk when this returns.
    pub(crate) fn add(&mut self, message: &Message) -> Result<()> {
        let line = Line {
            from: message.peer.to_text(),
            id: message.id.to_string(),
            text: String::from_utf8_lossy(&message.bytes).into_owned(),
            hex: std::str::from_utf8(&message.bytes).is_err().then(|| hex(&message.bytes)),
        };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).context("cannot write the record of messages")?;
        self.file.sync_data().context("cannot write the record of messages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, text: &str) -> Message {
        let id = MessageId { incarnation: 7, sequence };
        let (peer, bytes) = (DeviceId::new([3; 32]), text.as_bytes().to_vec());
        Message { peer, id, expires_s: None, bytes }
    }

    #[test]
    fn what_was_added_is_known_after_any_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("record");
        let mut record = Record::open(&path).expect("a new one");
        assert_eq!(record.last().count(), 0);
        record.add(&message(0, "one")).expect("written");
        record.add(&message(1, "two\nlines")).expect("written");
        let whole = std::fs::read(&path).expect("there");
        let first = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let mut record = Record::open(&path).expect("a cut one");
            let expect = match cut {
                _ if cut == whole.len() => Some(1),
                _ if cut >= first => Some(0),
                _ => None,
            };
            assert_eq!(record.last().next().map(|(_, id)| id.sequence), expect, "{cut}");
            record.add(&message(9, "more")).expect("written");
            let again = Record::open(&path).expect("a whole one");
            assert_eq!(again.last().next().map(|(_, id)| id.sequence), Some(9));
        }
    }

    #[test]
    fn another_file_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("letter.txt");
        std::fs::write(&path, "Dear reader,\nno JSON here.\n").expect("written");
        let error = Record::open(&path).expect_err("no record").to_string();
        assert!(error.contains("line 1") && error.contains("another file"), "{error}");
        assert_eq!(std::fs::read(&path).expect("there").len(), 27);
        assert!(Record::open(directory.path()).is_err());
    }
}
