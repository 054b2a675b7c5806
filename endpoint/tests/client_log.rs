//! What a client writes to the log: what happened, and nothing that somebody must not know.

#[expect(dead_code, reason = "the devices here have keys that the test knows")]
#[path = "link/support/relay.rs"]
mod relay;

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hushwire::client::{Client, FileOptions, Options, PairingOptions};
use hushwire::identity::Identity;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire_wire::code::PairCode;
use relay::{TestRelay, pair};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that is written, to a test that reads it later.
#[derive(Clone, Debug)]
struct Lines(Sender<Vec<u8>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The test may have ended.
        let _late = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Records every target at every level, spans included, as JSON lines.
fn record() -> Receiver<Vec<u8>> {
    use tracing_subscriber::fmt::format::FmtSpan;
    let (sender, lines) = channel();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(Lines(sender))
        .init();
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `bits` of `bytes` to a letter, as far as they fill whole letters.
fn letters(bytes: &[u8], bits: u32, alphabet: &[u8]) -> String {
    let (mut text, mut buffer, mut held) = (String::new(), 0_u32, 0);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        held += 8;
        while held >= bits {
            held -= bits;
            let at = (buffer >> held) & ((1 << bits) - 1);
            text.push(char::from(alphabet[at as usize]));
            buffer &= (1 << held) - 1;
        }
    }
    text
}

/// How eight or more secret bytes may look in a text: as they are, and in every form that somebody prints bytes in.
fn forms(secret: &[u8]) -> Vec<String> {
    assert!(secret.len() >= 8, "shorter ones are found by chance");
    let base64 = letters(secret, 6, BASE64);
    let decimals: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        hex(secret),
        letters(secret, 5, BASE32),
        base64.replace('+', "-").replace('/', "_"),
        base64,
        decimals.join(", "),
        decimals.join(","),
    ];
    forms.extend(String::from_utf8(secret.to_vec()));
    // Half of a secret is too much, too.
    let half = forms.iter().map(|form| form.chars().take(form.len() / 2).collect());
    let half: Vec<String> = half.filter(|half: &String| half.len() >= 12).collect();
    forms.extend(half);
    forms
}

/// All keys in the files of a keystore, which are written as 64 hexadecimal digits.
fn keys_in(keystore: &Path) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut folders = vec![keystore.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path)
                && let Some(Ok(record)) = text.lines().next().map(serde_json::from_str::<Value>)
            {
                for field in ["secret", "key", "pair_key"] {
                    let Some(key) = record[field].as_str() else { continue };
                    let pairs = key.as_bytes().chunks(2).map(|pair| {
                        let pair = str::from_utf8(pair).expect("ASCII");
                        u8::from_str_radix(pair, 16).expect("hexadecimal")
                    });
                    keys.push(pairs.collect());
                }
            }
        }
    }
    keys
}

const CONTENT: &[u8] = b"the vault opens at noon, side door";
const FILE: &[u8] = b"minutes of a meeting that did not take place";

async fn talk(alice: &Client, bob: &Client, directory: &Path) {
    let (sent, taken) = tokio::join!(alice.send(bob.device(), CONTENT), bob.receive());
    assert_eq!(
        (sent.expect("taken").peer, taken.expect("it comes").bytes.as_slice()),
        (bob.device(), CONTENT)
    );
    let (refused, ()) = tokio::join!(alice.send(bob.device(), CONTENT), async {
        bob.next_message().await.expect("it comes").reject(7);
    });
    refused.expect_err("it was refused");

    let answering = async {
        let mut asked = bob.accept_stream().await.expect("asked");
        let mut bytes = Vec::new();
        asked.read_to_end(&mut bytes).await.expect("whole");
        let mut writer = asked.reply().await.expect("awaited");
        writer.write_all(&bytes).await.expect("written");
        writer.shutdown().await.expect("read");
    };
    let asking = async {
        let channel = alice.open_channel(bob.device(), "payroll-question").await;
        let (mut writer, mut reader) = channel.expect("opened");
        writer.write_all(CONTENT).await.expect("written");
        writer.shutdown().await.expect("read");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.expect("whole");
        assert_eq!(bytes, CONTENT);
    };
    tokio::join!(answering, asking);

    let file = directory.join("redundancies.txt");
    std::fs::write(&file, FILE).expect("a file");
    let mut transfer =
        alice.send_file(bob.device(), &file, FileOptions::default()).await.expect("it begins");
    let offer = bob.accept_transfer().await.expect("offered");
    offer.save_as(directory.join("saved")).await.expect("saved");
    transfer.finished().await.expect("sent");
}

#[tokio::test]
async fn the_log_tells_what_happens_and_neither_secrets_nor_content() {
    let lines = record();
    let relay = TestRelay::start(1, "");
    let path = relay.directory.path();
    let invite = relay.invite();
    let secrets = [[0x5a_u8, 0x11, 0xc3, 0x7e].repeat(8), [0xe9_u8, 0x42, 0x0d, 0xb6].repeat(8)];
    let mut clients = Vec::new();
    for ((name, secret), invite) in
        ["alice", "bob"].into_iter().zip(&secrets).zip([&invite, &relay.invite()])
    {
        let secret: &[u8; 32] = secret.as_slice().try_into().expect("32 bytes");
        let keystore = Keystore::create(&path.join(name), Identity::from_secret(secret));
        let enrolled = Client::enroll(keystore.expect("new"), invite, Options::default()).await;
        clients.push(enrolled.expect("enrolled"));
    }
    let (alice, bob) = (&clients[0], &clients[1]);

    // A link whose secret is known here, and a spoken code.
    let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let code = PairCode::from_text(&link).expect("a link");
    let (offered, joined) = tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link));
    offered.expect("met").reject().expect("counted");
    drop(joined);
    let spoken = alice.offer_spoken(PairingOptions::default()).await.expect("offered");
    let words = spoken.code();
    let (offered, joined) = tokio::join!(spoken.wait(), bob.join_spoken(&words));
    let (one, other) = tokio::join!(
        offered.expect("met").confirm("boss"),
        joined.expect("met").confirm("informer")
    );
    assert_eq!((one.expect("stored"), other.expect("stored")), (bob.device(), alice.device()));
    // By link again, over the pairing by a spoken code.
    pair(alice, bob).await;

    let talking = tokio::time::timeout(Duration::from_secs(60), talk(alice, bob, path));
    talking.await.expect("in time");
    let devices = [alice.device().to_text(), bob.device().to_text()];
    for client in clients {
        client.close().await;
    }

    let text = lines.try_iter().flatten().collect::<Vec<u8>>();
    let text = String::from_utf8(text).expect("text");
    let mut hidden: Vec<Vec<u8>> = secrets.to_vec();
    hidden.extend([invite.secret.as_bytes().to_vec(), code.secret.as_bytes().to_vec()]);
    let keys = keys_in(path);
    assert!(keys.len() >= 6, "identity, storage key and pair key of two: {}", keys.len());
    hidden.extend(keys);
    let words_only = words.split_once('-').expect("a number and words").1.as_bytes().to_vec();
    hidden.extend([CONTENT.to_vec(), FILE.to_vec(), link.into_bytes(), words_only]);
    for content in ["payroll-question", "redundancies", "informer"] {
        hidden.push(content.as_bytes().to_vec());
    }
    for secret in &hidden {
        for form in forms(secret) {
            let line = text.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "{form:?} is in the log: {line:?}");
        }
    }

    let mut told = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let level = event["level"].as_str().expect("a level");
        if !matches!(level, "DEBUG" | "TRACE") {
            // The spans around it are no part of it: they are shown from debug on only.
            let said = event["fields"].to_string();
            for device in &devices {
                assert!(!said.contains(&device[..8]), "a device at {level}: {line}");
                assert!(!said.contains(&format!("DeviceId({}", &device[..4])), "{line}");
            }
        }
        if event["target"].as_str().is_some_and(|target| target.starts_with("hushwire::")) {
            told.push((
                level.to_owned(),
                event["fields"]["message"].as_str().unwrap_or("").to_owned(),
            ));
        }
    }
    for (level, message) in [
        ("DEBUG", "connecting to the relay"),
        ("INFO", "connected to the relay"),
        ("INFO", "paired with a device"),
        ("WARN", "a pairing was refused: the two devices showed different digits"),
        ("DEBUG", "a handshake begins"),
        ("DEBUG", "a handshake is answered"),
        ("DEBUG", "a handshake has made or renewed a session"),
        ("DEBUG", "a session is up"),
        ("DEBUG", "a message is stored"),
        ("DEBUG", "a message is taken"),
        ("DEBUG", "a message is refused"),
        ("DEBUG", "a message has ended"),
        ("DEBUG", "a transfer is offered"),
        ("DEBUG", "a transfer is done"),
        ("INFO", "no connection to the relay any more"),
        ("INFO", "the client has ended"),
    ] {
        let is_there = told.iter().any(|(at, said)| at == level && said == message);
        assert!(is_there, "{level} {message:?} is missing");
    }
}
