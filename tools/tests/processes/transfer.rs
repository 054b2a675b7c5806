//! Files between real processes that are killed at random moments, and onto a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hushwire_tools::relay_process::RelayProcess;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::eventually;
use crate::support::people::{enrol, pair, random};
use crate::support::program::Program;

struct Place {
    directory: TempDir,
    _relay: RelayProcess,
    /// The receiver's ID.
    to: String,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let relay = support::relay();
        let a = enrol(&relay, &directory.path().join("a")).await;
        let b = enrol(&relay, &directory.path().join("b")).await;
        pair(&a, &b).await;
        let to = b.device().to_text();
        a.close().await;
        b.close().await;
        fs::create_dir(directory.path().join("inbox")).expect("a directory");
        Self { directory, _relay: relay, to }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn send(&self, file: &Path) -> Program {
        let mut command = Command::new(support::hush());
        command.args(["--json", "send", &self.to]).arg(file).arg("--keystore").arg(self.path("a"));
        Program::start(&mut command)
    }

    fn receive(&self) -> Program {
        let mut command = Command::new(support::hush());
        command.args(["--json", "receive", "--count", "1", "--output"]).arg(self.path("inbox"));
        Program::start(command.arg("--keystore").arg(self.path("b")))
    }

    fn inbox(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("inbox")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Bytes that have come, whether they have a name yet or not.
    fn received(&self) -> u64 {
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.inbox().iter().map(length).max().unwrap_or(0)
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// SplitMix64: replays from its seed.
fn roll(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test]
async fn a_file_arrives_once_however_often_either_end_is_killed() {
    let place = Place::new().await;
    let content = random(160 << 20);
    let file = place.path("file");
    fs::write(&file, &content).expect("written");
    let mut seed = 7;
    let (mut sending, mut receiving) = (place.send(&file), place.receive());
    let mut before = 0;
    for round in 0..6_u64 {
        // Not yet at the end: each round gets a sixth of the way at most.
        let goal = before.max(content.len() as u64 / 8 * round) + roll(&mut seed) % (8 << 20) + 1;
        eventually("it goes on", || place.received() >= goal);
        // Dropping kills.
        match roll(&mut seed) % 3 {
            0 => sending = replace(sending, || place.send(&file)),
            1 => receiving = replace(receiving, || place.receive()),
            _ => {
                sending = replace(sending, || place.send(&file));
                receiving = replace(receiving, || place.receive());
            }
        }
        // Nothing that has come is lost with whom was killed.
        before = place.received();
        assert!(before >= goal, "round {round}: {before} of {goal}");
    }
    let (sent, received) = (sending.end(), receiving.end());
    assert_eq!((sent.code, received.code), (0, 0), "{sent:?} {received:?}");
    let (sent, received) = (parse(&sent.out), parse(&received.out));
    assert_eq!((&sent["sha256"], &sent["bytes"]), (&received["sha256"], &received["bytes"]));
    assert_eq!(place.inbox(), [place.path("inbox").join("file")], "once, and nothing beside it");
    assert!(fs::read(place.path("inbox").join("file")).expect("there") == content);
}

fn replace(killed: Program, start: impl FnOnce() -> Program) -> Program {
    drop(killed);
    start()
}

#[tokio::test]
async fn a_full_disk_pauses_the_transfer_until_there_is_room() {
    let place = Place::new().await;
    let content = random(16 << 20);
    let file = place.path("file");
    fs::write(&file, &content).expect("written");
    // A small disk of the receiver's own, with little room on it.
    let script = "mount -t tmpfs -o size=24m none \"$1\" && head -c 16777216 /dev/zero > \"$1/filler\" \
                  && exec \"$2\" --json receive --count 1 --output \"$1\" --keystore \"$3\"";
    let spaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut receiving = Program::start(
        Command::new("unshare")
            .args([spaces, "sh", "-c", script, "sh"])
            .arg(place.path("inbox"))
            .arg(support::hush())
            .arg(place.path("b")),
    );
    let mut sending = place.send(&file);
    let paused = parse(&receiving.error_line());
    assert!(paused["paused"].as_str().expect("why").contains("full"), "{paused}");
    let paused = parse(&sending.error_line());
    assert_eq!(paused["paused"], "its disk is full", "{paused}");
    let root = PathBuf::from(format!("/proc/{}/root", receiving.id()));
    let inbox = root.join(place.path("inbox").strip_prefix("/").expect("absolute"));
    fs::remove_file(inbox.join("filler")).expect("room is made");
    assert_eq!(parse(&receiving.error_line())["resumed"], true);
    let sent = sending.end();
    assert_eq!(sent.code, 0, "{sent:?}");
    let received = receiving.end();
    assert_eq!(received.code, 0, "{received:?}");
    assert_eq!(parse(&sent.out)["sha256"], parse(&received.out)["sha256"]);
}

#[tokio::test]
async fn several_files_and_messages_come_at_once() {
    let place = Place::new().await;
    let mut command = Command::new(support::hush());
    command.args(["--json", "receive", "--count", "3", "--output"]).arg(place.path("inbox"));
    let mut receiving = Program::start(command.arg("--keystore").arg(place.path("b")));
    let client = support::people::connect(&place.path("a")).await;
    let peer = client.peers()[0].device;
    // Two that do not end, and a message meanwhile.
    let (first, first_in) = tokio::io::duplex(1024);
    let (second, second_in) = tokio::io::duplex(1024);
    let mut transfers = [
        client.send_reader(peer, first_in, "first").expect("begun"),
        client.send_reader(peer, second_in, "second").expect("begun"),
    ];
    let sent = support::people::in_time(client.send(peer, "meanwhile"));
    sent.await.expect("delivered");
    assert_eq!(parse(&receiving.line())["message"], "meanwhile");
    drop((first, second));
    for transfer in &mut transfers {
        support::people::in_time(transfer.finished()).await.expect("sent");
    }
    client.close().await;
    let ended = receiving.end();
    assert_eq!((ended.code, ended.out.lines().count()), (0, 2), "{ended:?}");
    assert_eq!(place.inbox().len(), 2);
}
