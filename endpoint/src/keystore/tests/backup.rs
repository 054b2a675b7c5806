//! The words, their rehearsal, and what a backup file brings back.

use super::super::backup::{BackupError, BackupFile, RehearsalError};
use super::super::unpaired::UNPAIRED;
use super::*;
use crate::identity::Words;

const MADE_AT_S: u64 = 1_800_000_000;

#[test]
fn a_rehearsal_counts_when_every_word_is_right() {
    let (_directory, path, mut keystore) = created();
    let text = keystore.backup_words().to_text();
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(keystore.backup_rehearsed_at_s(), None);
    let changed = |index: usize, word: &str| {
        let mut words = words.clone();
        words[index] = word;
        words.join(" ")
    };
    for (typed, wrong) in [
        (changed(0, "zebra"), 1),
        (changed(6, "zebra"), 7),
        (changed(23, "abouttt"), 24),
        (changed(6, ""), 7),
        ("x".repeat(1 << 20), 1),
        ("x ".repeat(1 << 19), 1),
    ] {
        let error = keystore.rehearse(&typed, 5).unwrap_err();
        let position = matches!(error, RehearsalError::Differs { position } if position == wrong);
        assert!(position, "{wrong}: {error:?}");
        assert!(error.to_string().starts_with(&format!("word {wrong} is not")), "{error}");
    }
    let long = format!("{} {}", *text, "zoo ".repeat(9));
    for (typed, count) in [("", 0), (&words[..23].join(" "), 23), (long.as_str(), 25)] {
        let error = keystore.rehearse(typed, 5).unwrap_err();
        let counted = matches!(error, RehearsalError::Count { found } if found == count);
        assert!(counted, "{count}: {error:?}");
    }
    assert_eq!(keystore.backup_rehearsed_at_s(), None);
    assert!(!path.join(BACKUP).exists());
    keystore.rehearse(&text.to_uppercase().replace(' ', "  \n"), 77).expect("the right words");
    assert_eq!(keystore.backup_rehearsed_at_s(), Some(77));
    drop(keystore);
    let keystore = Keystore::open(&path).expect("opens");
    assert_eq!(keystore.backup_rehearsed_at_s(), Some(77));
}

#[test]
fn words_bring_back_the_identity_and_nothing_else() {
    let (_directory, path, mut keystore) = created();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    let words = keystore.backup_words();
    let error = Keystore::restore(&path, &words, None, None, 5).unwrap_err();
    assert!(matches!(error, KeystoreError::Locked { .. }), "{error:?}");
    drop(keystore);
    let error = Keystore::restore(&path, &words, None, None, 5).unwrap_err();
    assert!(matches!(error, KeystoreError::Exists { .. }), "{error:?}");
    let (_other, fresh) = place();
    let restored = Keystore::restore(&fresh, &words, None, None, 5).expect("restored");
    assert_eq!(restored.identity().device_id(), identity().device_id());
    assert_eq!((restored.peers().count(), restored.relay()), (0, None));
    assert_eq!(restored.backup_rehearsed_at_s(), Some(5));
}

/// A keystore with a relay and two peers, its words, and its backup file.
fn backed_up() -> (TempDir, Keystore, Words, Vec<u8>) {
    let (directory, _, mut keystore) = created();
    keystore.set_relay(Relay::new(&relay_address(), "me")).expect("stored");
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two \"quoted\"", 7).expect("stored");
    keystore.add_peer(&paired(&peer(3), Suite::ClassicalAes), "three", 8).expect("stored");
    keystore.record_sent(&peer(3).device_id(), u64::MAX - 1).expect("stored");
    keystore.count_failed_confirmation().expect("stored");
    let (words, file) = (keystore.backup_words(), keystore.backup_file(MADE_AT_S));
    (directory, keystore, words, file)
}

#[test]
fn a_backup_file_brings_back_relay_and_peers() {
    let (_directory, keystore, words, file) = backed_up();
    let backup = BackupFile::open(&file, &words, MADE_AT_S + 9).expect("ours");
    assert_eq!((backup.made_at_s(), backup.peers()), (MADE_AT_S, 2));
    assert_eq!(backup.relay(), keystore.relay());
    let (_other, fresh) = place();
    let passphrase = Passphrase::new(b"one".to_vec()).expect("a passphrase");
    let cost = Cost::new(8 * 1_024, 1, 1).expect("within the bounds");
    let lock = Some((&passphrase, cost));
    drop(Keystore::restore(&fresh, &words, Some(backup), lock, MADE_AT_S + 9).expect("restored"));
    let restored = Keystore::open_with(&fresh, &passphrase).expect("opens");
    assert_eq!(restored.relay(), keystore.relay());
    assert_eq!(restored.failed_confirmations(), 1);
    assert_eq!(restored.backup_rehearsed_at_s(), Some(MADE_AT_S + 9));
    assert_ne!(restored.storage_key(), keystore.storage_key());
    for (before, after) in keystore.peers().zip(restored.peers()) {
        assert_eq!(after.device(), before.device());
        assert_eq!(after.name(), before.name());
        assert_eq!(after.pair_key(), before.pair_key());
        assert_eq!(after.verified_at_s(), before.verified_at_s());
        assert_eq!(after.minimum(), before.minimum());
        // Times of our handshakes do not go back behind any that may have been sent since.
        let least = (MADE_AT_S + 9) * 1_000_000_000;
        assert_eq!(after.last_sent_ns(), before.last_sent_ns().max(least));
        assert_eq!(after.last_seen_ns(), before.last_seen_ns());
    }
    assert_eq!(restored.peers().count(), 2);
}

#[test]
fn a_restored_device_and_its_peer_shake_hands() {
    let (_directory, keystore, words, file) = backed_up();
    let two = peer(2);
    let at_two = keystore.peer(&two.device_id()).expect("paired").pair_key().clone();
    let backup = BackupFile::open(&file, &words, MADE_AT_S).expect("ours");
    let (_other, fresh) = place();
    let restored =
        Keystore::restore(&fresh, &words, Some(backup), None, MADE_AT_S).expect("restored");
    let known = restored.peer(&two.device_id()).expect("restored");
    let setup = |peer, key| Setup {
        peer,
        psk: Psk::Session(key),
        minimum: Minimum::Hybrid,
        class_max: hushwire_wire::cell::Class::C7,
    };
    let (ours, random) = (restored.identity(), &mut OsRandom);
    let time = known.last_sent_ns() + 1;
    let here = setup(two.device_id(), known.pair_key().clone());
    // The peer has seen handshakes of ours from after the backup.
    let seen = MADE_AT_S * 1_000_000_000;
    let (state, hs1) =
        Initiator::start(here, Suite::HybridAes, ours, time, 0, random).expect("HS1");
    let there = setup(ours.device_id(), at_two);
    let (answer, hs2) = Responder::on_hs1(&there, &two, &hs1, seen, random).expect("HS2");
    let (_, hs3) = state.on_hs2(ours, &hs2).expect("HS3");
    answer.on_hs3(&hs3).expect("a session");
}

#[test]
fn wrong_backup_files_are_refused_with_a_sentence() {
    let (_directory, _keystore, words, file) = backed_up();
    let open = |bytes: &[u8]| BackupFile::open(bytes, &words, MADE_AT_S).map(drop);
    assert_eq!(open(&file), Ok(()));
    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    let text = String::from_utf8(file.clone()).expect("JSON");
    let line = text.lines().next().expect("a record");
    let resummed = |line: String| {
        let (_directory, path) = place();
        let directory = path.parent().expect("a parent");
        fs::create_dir_all(directory).expect("made");
        write_record(&path, &line);
        fs::read(path).expect("written")
    };
    let changed = resummed(line.replace("\"sealed\":\"", "\"sealed\":\"00"));
    for bytes in
        [&b""[..], b"x\ny\n", &file[..file.len() - 1], &flipped, &changed, &vec![b'x'; 8 << 20]]
    {
        assert_eq!(open(bytes), Err(BackupError::Corrupt));
    }
    let newer = resummed(line.replace("\"version\":1", "\"version\":2"));
    assert_eq!(open(&newer), Err(BackupError::Newer(2)));
    let (found, other) = (identity().device_id(), peer(9));
    let refused = BackupFile::open(&file, &other.words(), MADE_AT_S).map(drop);
    assert_eq!(refused, Err(BackupError::OtherDevice { found, words: other.device_id() }));
    // Somebody who puts another device's name on it gains nothing.
    let renamed = resummed(line.replace(&found.to_text(), &other.device_id().to_text()));
    let refused = BackupFile::open(&renamed, &other.words(), MADE_AT_S).map(drop);
    assert_eq!(refused, Err(BackupError::Corrupt));
    let early = BackupFile::open(&file, &words, MADE_AT_S - 60).map(drop);
    assert_eq!(early, Err(BackupError::Clock { by_s: 60 }));
}

#[test]
fn a_backup_file_shows_no_secret() {
    let (_directory, keystore, words, file) = backed_up();
    let text = String::from_utf8(file.clone()).expect("JSON");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for peer in keystore.peers() {
        assert!(!text.contains(&hex(peer.pair_key().as_bytes())));
        assert!(!text.contains(&peer.device().to_text()));
    }
    assert!(!text.contains(&hex(&*keystore.identity().secret())));
    let backup = BackupFile::open(&file, &words, MADE_AT_S).expect("ours");
    let shown = format!("{backup:?}");
    assert!(shown.contains("PairKey(..)"), "{shown}");
}

#[test]
fn a_restore_that_was_interrupted_leaves_no_keystore() {
    fn full(_: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open("/dev/full")
    }
    let (_directory, _keystore, words, file) = backed_up();
    let (_other, fresh) = place();
    let user = rustix::process::geteuid().as_raw();
    let backup = || BackupFile::open(&file, &words, MADE_AT_S).expect("ours");
    let origin = Origin::Words { file: Some(backup()), now_s: MADE_AT_S };
    let disk = Disk::new(&fresh, user, full);
    let error = Keystore::create_on(disk, identity(), None, origin).unwrap_err();
    assert!(matches!(error, KeystoreError::Full { .. }), "{error:?}");
    let error = Keystore::open(&fresh).unwrap_err();
    assert!(matches!(error, KeystoreError::Missing { .. }), "{error:?}");
    let restored = Keystore::restore(&fresh, &words, Some(backup()), None, MADE_AT_S);
    assert_eq!(restored.expect("restored").peers().count(), 2);
}

#[test]
fn a_new_identity_in_an_old_place_has_nothing_of_the_one_before() {
    let (_directory, path, mut keystore) = created();
    let all_files = || {
        let mut found = Vec::new();
        for directory in [path.clone(), path.join(PEERS), path.join(UNPAIRED)] {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("known").is_file() {
                    found.push(entry.path().strip_prefix(&path).expect("below").to_owned());
                }
            }
        }
        found.sort();
        found
    };
    let fresh = all_files();
    keystore.set_relay(Relay::new(&relay_address(), "me")).expect("stored");
    keystore.count_failed_confirmation().expect("stored");
    let text = keystore.backup_words().to_text();
    keystore.rehearse(&text, 5).expect("the right words");
    for number in [2, 3] {
        let name = format!("{number}");
        keystore.add_peer(&paired(&peer(number), Suite::HybridAes), &name, 7).expect("stored");
    }
    keystore.remove_peer(&peer(2).device_id()).expect("removed");
    let code = spoken("7-zoo-zoo");
    keystore.burn(&code, 100).expect("stored");
    drop(keystore);
    // What these hold does not matter: they must go unread.
    let superseded = format!("{PEERS}/{}.superseded.json", peer(3).device_id().to_text());
    for name in ["journal", "account.log", "rotation.json", &superseded] {
        fs::write(path.join(name), "of the one before").expect("written");
    }
    assert_eq!(all_files().len(), fresh.len() + 10);
    fs::remove_file(path.join(IDENTITY)).expect("removed");
    let keystore = Keystore::create(&path, peer(9)).expect("made");
    assert_eq!(all_files(), fresh);
    assert_eq!((keystore.peers().count(), keystore.unpaired().count()), (0, 0));
}
