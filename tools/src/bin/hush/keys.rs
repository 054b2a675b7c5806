//! The commands for what the keystore keeps: its passphrase, its backup, and coming back from one.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hushwire::identity::{Identity, WORDS, Words};
use hushwire::keystore::{
    BACKUP_BYTES_MAX, BackupFile, Cost, Keystore, KeystoreError, Passphrase, Protection,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::arguments::{Backup, ChangePassphrase, Restore};
use crate::commands::now_s;
use crate::home::Home;
use crate::secret::{Terminal, passphrase_file, words_from_input};
use crate::terminal::show;

/// Where words come from: `-` is standard input, anything else is nothing.
const INPUT: &str = "-";
/// Words in one line on the terminal.
const COLUMNS: usize = 4;

pub(crate) fn passphrase(home: &Home, change: &ChangePassphrase, json: bool) -> Result<()> {
    let mut keystore = home.open()?;
    let had = keystore.protection() == Protection::Passphrase;
    if change.remove {
        keystore.remove_passphrase()?;
        let text =
            "the keystore has no passphrase any more: whoever gets at its files is this device";
        return show(json, text, &json!({ "passphrase": false }));
    }
    let new = match &change.new_passphrase_file {
        Some(file) => passphrase_file(file)?,
        None => ask_new()?,
    };
    keystore.set_passphrase(&new, Cost::default())?;
    let text = match had {
        true => "the passphrase was changed",
        false => {
            "the keystore has a passphrase now; nobody can bring it back if you forget it, so keep the 24 words too: hush backup"
        }
    };
    show(json, text, &json!({ "passphrase": true }))
}

/// A new passphrase, typed twice: nobody sees what they type.
fn ask_new() -> Result<Passphrase> {
    let otherwise = "there is no terminal to ask for the new passphrase: name a file that holds it with --new-passphrase-file";
    let mut terminal = Terminal::open(otherwise)?;
    let first = terminal.passphrase("New passphrase: ")?;
    let second = terminal.passphrase("Once more: ")?;
    if first != second {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}

pub(crate) fn backup(home: &Home, backup: &Backup, json: bool) -> Result<()> {
    let mut keystore = home.open()?;
    if let Some(file) = &backup.to {
        return write_file(&keystore, file, json);
    }
    if backup.show {
        let words = keystore.backup_words().to_text();
        let device = keystore.identity().device_id().to_text();
        return show(json, &words, &json!({ "device": device, "words": *words }));
    }
    let typed = match backup.rehearse.as_deref() {
        Some(INPUT) => words_from_input()?,
        Some(_) => {
            let mut terminal = rehearsal_terminal()?;
            terminal.open_screen()?;
            terminal.words(&rehearsal_prompt())?
        }
        None => show_and_ask(&keystore.backup_words(), json)?,
    };
    let now_s = now_s();
    keystore.rehearse(&typed, now_s)?;
    let device = keystore.identity().device_id();
    let text = format!(
        "all {WORDS} words are right: {device} can be restored from them with `hush restore`\n\n\
         They bring back who this device is. Peers and relay are in a file that only these words open:\n  \
         hush backup --to FILE"
    );
    show(json, &text, &json!({ "device": device.to_text(), "rehearsed_at_s": now_s }))
}

fn rehearsal_prompt() -> String {
    format!("Now all {WORDS} words from the paper, in their order: ")
}

fn rehearsal_terminal() -> Result<Terminal> {
    Terminal::open(
        "there is no terminal to ask for the words: `--rehearse -` reads them from standard input",
    )
}

/// Shows the words on a screen of their own, and then asks for them.
fn show_and_ask(words: &Words, json: bool) -> Result<Zeroizing<String>> {
    if json || !std::io::stdout().is_terminal() {
        bail!(
            "the words are this device for whoever reads them, so they are shown on a terminal only; --show prints them anyway"
        );
    }
    let mut terminal = rehearsal_terminal()?;
    terminal.open_screen()?;
    terminal.print(&sheet(words))?;
    terminal.pause("Write them on paper, not into a file. Enter when you have them: ")?;
    terminal.clear()?;
    terminal.words(&rehearsal_prompt())
}

/// The words in columns, numbered.
fn sheet(words: &Words) -> Zeroizing<String> {
    // Twice what it takes, so that it does not grow and leave copies.
    let mut text = Zeroizing::new(String::with_capacity(WORDS * 32));
    text.push('\n');
    for (index, word) in words.iter().enumerate() {
        let number = index + 1;
        text.push_str(&format!("  {number:>2} "));
        text.push_str(word);
        text.extend(std::iter::repeat_n(' ', 9_usize.saturating_sub(word.len())));
        if number % COLUMNS == 0 {
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn write_file(keystore: &Keystore, path: &Path, json: bool) -> Result<()> {
    let bytes = keystore.backup_file(now_s());
    let shown = path.display();
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.with_context(|| format!("cannot make {shown}"))?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a backup is none.
        let _gone = std::fs::remove_file(path);
        return Err(error).with_context(|| format!("cannot write {shown}"));
    }
    let peers = keystore.peers().count();
    let relay = keystore.relay().map(|relay| relay.address.clone());
    let rehearsed = keystore.backup_rehearsed_at_s();
    let warning = match rehearsed {
        Some(_) => "",
        None => "\nNobody has shown yet that the words are on paper: hush backup",
    };
    let text = format!(
        "{shown}: {peers} peers{}, which only the 24 words of this device open.{warning}",
        if relay.is_some() { " and the relay" } else { "" },
    );
    let value = json!({
        "file": shown.to_string(), "peers": peers, "relay": relay, "rehearsed_at_s": rehearsed,
    });
    show(json, &text, &value)
}

pub(crate) fn restore(home: &Home, restore: &Restore, json: bool) -> Result<()> {
    if home.exists() {
        return Err(KeystoreError::Exists { path: home.path().into() }.into());
    }
    // Before anybody types 24 words.
    let file = restore.from.as_deref().map(read_file).transpose()?;
    let text = match restore.words.as_deref() {
        Some(INPUT) => words_from_input()?,
        Some(_) => {
            bail!("words on the command line show in `ps`: `-` reads them from standard input")
        }
        None => ask_words()?,
    };
    let words = Words::parse(&text)?;
    let now_s = now_s();
    let file = file.map(|bytes| BackupFile::open(&bytes, &words, now_s)).transpose()?;
    let with_file = file.is_some();
    let keystore = home.restore(&words, file, now_s)?;
    let device = Identity::from_words(&words).device_id();
    let relay = keystore.relay().map(|relay| relay.address.clone());
    let peers = keystore.peers().count();
    let path = home.path().display().to_string();
    let text = format!("restored {device} into {path}\n\n{}", missing(with_file, peers, &relay));
    let value =
        json!({ "device": device.to_text(), "keystore": path, "peers": peers, "relay": relay });
    show(json, &text, &value)
}

/// What a restored device does not have.
fn missing(with_file: bool, peers: usize, relay: &Option<String>) -> String {
    let known = match (with_file, relay) {
        (true, Some(relay)) => format!(
            "With {peers} peers and the relay {relay}, as they were when the file was made. Whoever was paired with since must be paired with anew."
        ),
        (true, None) => format!("With {peers} peers, and no relay: `hush enroll INVITE`."),
        (false, _) => "The words say who this device is, and nothing else:\n\
             - the relay: `hush enroll INVITE`, with any invite of that relay, also one that was used;\n\
             - the peers: `hush pair` with each of them anew, since the keys they shared with this device are gone."
            .to_owned(),
    };
    format!(
        "{known}\nMessages that had not arrived are lost. The device before must not run any more: there is one connection of a device at a time."
    )
}

fn ask_words() -> Result<Zeroizing<String>> {
    let otherwise = "there is no terminal to ask for the words: `hush restore -` reads them from standard input";
    let mut terminal = Terminal::open(otherwise)?;
    terminal.open_screen()?;
    terminal.words(&format!("The {WORDS} words, in their order: "))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(failed)?;
    file.take(BACKUP_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}
