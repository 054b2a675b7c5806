//! The passphrase: every file, every mistake, and a stop after each step on the disk.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::disk::Changes;
use super::super::protect::Protection;
use zeroize::Zeroizing;

use super::super::sealing::{LockedVault, Opened, Seal};
use super::*;

/// As cheap as is allowed: what is tested here is not how long it takes.
pub(super) fn cheap() -> Cost {
    Cost::new(8 * 1_024, 1, 1).expect("within the bounds")
}

pub(super) fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).expect("a passphrase")
}

/// A keystore with something in every file.
fn full() -> (TempDir, PathBuf, Keystore) {
    let (directory, path, mut keystore) = created();
    keystore.set_relay(Relay::new(&relay_address(), "me at example")).expect("stored");
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 7).expect("stored");
    keystore.add_peer(&paired(&peer(3), Suite::HybridAes), "three", 8).expect("stored");
    keystore.count_failed_confirmation().expect("stored");
    let words = keystore.backup_words();
    keystore.rehearse(&words.to_text(), 9).expect("the right words");
    (directory, path, keystore)
}

/// What a keystore knows, comparable.
fn knowledge(keystore: &Keystore) -> impl PartialEq + std::fmt::Debug + use<> {
    let peers: Vec<_> = keystore
        .peers()
        .map(|peer| (peer.device(), peer.name().to_owned(), *peer.pair_key().as_bytes()))
        .collect();
    (
        *keystore.identity().secret(),
        *keystore.storage_key().as_bytes(),
        keystore.relay().cloned(),
        peers,
        keystore.failed_confirmations(),
        keystore.backup_rehearsed_at_s(),
    )
}

/// The files that hold something, by name.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["", PEERS] {
        for entry in fs::read_dir(path.join(folder)).expect("listed") {
            let name = Path::new(folder).join(entry.expect("an entry").file_name());
            if path.join(&name).is_file() && name != Path::new("lock") {
                let bytes = fs::read(path.join(&name)).expect("read");
                files.insert(name, bytes);
            }
        }
    }
    files
}

#[test]
fn a_passphrase_is_set_changed_and_removed() {
    let (_directory, path, mut keystore) = full();
    let known = knowledge(&keystore);
    let plain = files(&path);
    assert_eq!(keystore.protection(), Protection::Permissions);
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    assert_eq!(keystore.protection(), Protection::Passphrase);
    assert!(format!("{keystore:?}").contains("Vault(Sealed, ..)"));
    drop(keystore);

    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(&error, KeystoreError::PassphraseNeeded { path: at } if *at == path));
    let error = Keystore::open_with(&path, &passphrase("two")).unwrap_err();
    assert!(matches!(&error, KeystoreError::WrongPassphrase { path: at } if *at == path));
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    let mut keystore = Keystore::open_with(&path, &passphrase("one")).expect("the right one");
    assert!(knowledge(&keystore) == known);
    // What is written meanwhile is sealed too.
    keystore.rename_peer(&peer(2).device_id(), "deux").expect("stored");
    keystore.rename_peer(&peer(2).device_id(), "two").expect("stored");

    let sealed = files(&path);
    keystore.set_passphrase(&passphrase("two"), cheap()).expect("changed");
    drop(keystore);
    let error = Keystore::open_with(&path, &passphrase("one")).unwrap_err();
    assert!(matches!(error, KeystoreError::WrongPassphrase { .. }));
    let mut keystore = Keystore::open_with(&path, &passphrase("two")).expect("the new one");
    assert!(knowledge(&keystore) == known);
    // A thief with an old copy and the old passphrase opens nothing of today.
    let old = LockedVault::from_file(&sealed[Path::new(PASSPHRASE)]).expect("a vault");
    let old = Seal::of(&old.unlock(&passphrase("one")).expect("the old passphrase"));
    for (name, bytes) in files(&path) {
        if name != Path::new(PASSPHRASE) {
            let opened = old.open(&name, Zeroizing::new(bytes));
            assert!(opened.is_err(), "{}", name.display());
        }
    }

    keystore.remove_passphrase().expect("removed");
    assert_eq!(keystore.protection(), Protection::Permissions);
    let again = keystore.remove_passphrase().unwrap_err();
    assert!(matches!(again, KeystoreError::NoPassphrase { .. }), "{again:?}");
    drop(keystore);
    assert_eq!(files(&path), plain);
    let error = Keystore::open_with(&path, &passphrase("two")).unwrap_err();
    assert!(matches!(error, KeystoreError::NoPassphrase { .. }), "{error:?}");
    assert!(knowledge(&Keystore::open(&path).expect("plain")) == known);
}

#[test]
fn no_file_shows_a_secret() {
    let (_directory, path, mut keystore) = full();
    let mut secrets = vec![
        keystore.identity().secret().to_vec(),
        keystore.storage_key().as_bytes().to_vec(),
        b"me at example".to_vec(),
    ];
    secrets.extend(keystore.peers().map(|peer| peer.pair_key().as_bytes().to_vec()));
    let shows = |path: &Path, secret: &[u8]| {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        files(path).into_values().any(|file| {
            let text = String::from_utf8_lossy(&file).into_owned();
            text.contains(&hex) || text.contains(&*String::from_utf8_lossy(secret))
        })
    };
    assert!(secrets.iter().all(|secret| shows(&path, secret)), "plain files are readable");
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    assert!(!secrets.iter().any(|secret| shows(&path, secret)));

    // One that was made with a passphrase never shows anything, not even while it is made.
    let (_other, fresh) = place();
    let made = Keystore::create_with(&fresh, identity(), &passphrase("one"), cheap());
    let secrets =
        [identity().secret().to_vec(), made.expect("made").storage_key().as_bytes().to_vec()];
    assert!(!secrets.iter().any(|secret| shows(&fresh, secret)));
    Keystore::open_with(&fresh, &passphrase("one")).expect("the right passphrase");
}

#[test]
fn sealed_files_are_not_exchanged_replaced_or_damaged() {
    let (_directory, path, mut keystore) = full();
    let plain = files(&path);
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    drop(keystore);
    let (_other, other, mut stranger) = full();
    stranger.set_passphrase(&passphrase("one"), cheap()).expect("set");
    drop(stranger);
    let (ours, theirs) = (files(&path), files(&other));
    assert!(ours.keys().eq(theirs.keys()));
    let open = || Keystore::open_with(&path, &passphrase("one"));
    let put = |name: &Path, bytes: &[u8]| fs::write(path.join(name), bytes).expect("the owner may");
    for (name, bytes) in &ours {
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let cut = bytes[..bytes.len() - 1].to_vec();
        let mut wrong = vec![flipped, cut, Vec::new(), vec![b'x'; 50_000]];
        if name != Path::new(PASSPHRASE) {
            // With a sum that is right: the damage is in what is sealed.
            let line = String::from_utf8(bytes.clone())
                .expect("JSON")
                .replace("\"sealed\":\"", "\"sealed\":\"00");
            let line = line.lines().next().expect("a record").to_owned();
            wrong.push(with_sum(&line));
            wrong.push(plain[name].clone());
            wrong.push(theirs[name].clone());
            wrong.extend(ours.iter().filter(|(other, _)| *other != name).map(|(_, b)| b.clone()));
        }
        for wrong in wrong {
            put(name, &wrong);
            let error = open().unwrap_err();
            let here =
                matches!(&error, KeystoreError::Corrupt { path: at } if *at == path.join(name));
            assert!(here, "{}: {error:?}", name.display());
        }
        put(name, bytes);
    }
    // Another keystore's lock on our files opens with its passphrase, but opens none of them.
    put(Path::new(PASSPHRASE), &theirs[Path::new(PASSPHRASE)]);
    let error = open().unwrap_err();
    assert!(matches!(error, KeystoreError::Corrupt { .. }), "{error:?}");
    // Without its lock the keystore is not taken for a plain one.
    fs::remove_file(path.join(PASSPHRASE)).expect("removed");
    let error = Keystore::open(&path).unwrap_err();
    let at = path.join(PASSPHRASE);
    assert!(matches!(&error, KeystoreError::Corrupt { path } if *path == at), "{error:?}");
    put(Path::new(PASSPHRASE), &ours[Path::new(PASSPHRASE)]);
    set_mode(&path.join(PASSPHRASE), 0o600);
    open().expect("repaired");
}

fn with_sum(line: &str) -> Vec<u8> {
    let sum = crate::suite::kdf::sha256(&[line.as_bytes()]);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{line}\n{sum}\n").into_bytes()
}

#[test]
fn absurd_and_newer_locks_are_refused_before_anything_is_computed() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    drop(keystore);
    let file = path.join(PASSPHRASE);
    let whole = fs::read_to_string(&file).expect("read");
    let line = whole.lines().next().expect("a record");
    let open = |from: &str, to: &str| {
        assert!(line.contains(from), "{line}");
        fs::write(&file, with_sum(&line.replace(from, to))).expect("the owner may");
        // With or without a passphrase: nobody is asked in vain.
        let without = Keystore::open(&path).unwrap_err();
        let with = Keystore::open_with(&path, &passphrase("one")).unwrap_err();
        assert_eq!(without.to_string(), with.to_string());
        with
    };
    for (from, to) in [
        ("\"memory_kib\":8192", "\"memory_kib\":4294967295"),
        ("\"memory_kib\":8192", "\"memory_kib\":8"),
        ("\"passes\":1", "\"passes\":4294967295"),
        ("\"passes\":1", "\"passes\":0"),
        ("\"lanes\":1", "\"lanes\":0"),
        ("\"lanes\":1", "\"lanes\":16777215"),
    ] {
        let error = open(from, to);
        assert!(matches!(&error, KeystoreError::AbsurdCost { path } if *path == file), "{error:?}");
    }
    for (from, to) in [
        ("\"memory_kib\":8192", "\"memory_kib\":4294967296"),
        ("\"passes\":1", "\"passes\":-1"),
        ("\"stage\":\"sealed\"", "\"stage\":\"open\""),
        ("\"salt\":\"", "\"salt\":\"00"),
        ("\"salt\":\"", "\"salt\":\"x"),
        ("\"version\":1,", ""),
    ] {
        let error = open(from, to);
        assert!(matches!(&error, KeystoreError::Corrupt { path } if *path == file), "{error:?}");
    }
    let error = open("\"version\":1", "\"version\":3");
    assert!(matches!(error, KeystoreError::Newer { version: 3, .. }), "{error:?}");
    // The stage is authenticated: nobody makes a sealed keystore take plain files.
    for stage in ["setting", "removing", "changing"] {
        let line = line.replace("\"stage\":\"sealed\"", &format!("\"stage\":\"{stage}\""));
        fs::write(&file, with_sum(&line)).expect("the owner may");
        let error = Keystore::open_with(&path, &passphrase("one")).unwrap_err();
        assert!(matches!(error, KeystoreError::WrongPassphrase { .. }), "{error:?}");
    }
}

#[test]
fn a_sealed_file_of_a_newer_format_asks_for_an_upgrade() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    drop(keystore);
    let file = path.join(RELAY);
    fs::write(&file, with_sum(r#"{"version":3,"sealed":{"moon":1}}"#)).expect("the owner may");
    let error = Keystore::open_with(&path, &passphrase("one")).unwrap_err();
    assert!(matches!(&error, KeystoreError::Newer { version: 3, path } if *path == file));
}

#[test]
fn a_keystore_with_a_passphrase_is_one_process_at_a_time_and_not_made_twice() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    let error = Keystore::open_with(&path, &passphrase("wrong")).unwrap_err();
    assert!(matches!(error, KeystoreError::Locked { .. }), "{error:?}");
    drop(keystore);
    for passphrase in [None, Some((&passphrase("one"), cheap()))] {
        let disk = Disk::system(&path);
        let error = Keystore::create_on(disk, identity(), passphrase, Origin::New).unwrap_err();
        assert!(matches!(error, KeystoreError::Exists { .. }), "{error:?}");
    }
    Keystore::open_with(&path, &passphrase("one")).expect("as it was");
}

/// Does `steps` steps on the disk and then nothing more, as a process that was killed. The last one, where it is a
/// write, is done by half.
struct Stopping {
    steps: usize,
    done: Arc<AtomicUsize>,
}

impl Stopping {
    fn step(&self) -> io::Result<()> {
        match self.done.fetch_add(1, Ordering::Relaxed) < self.steps {
            true => Ok(()),
            false => Err(rustix::io::Errno::IO.into()),
        }
    }
}

impl Changes for Stopping {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        let file = system_create(path)?;
        set_mode(path, 0o600);
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(&bytes[..bytes.len() / 2])?;
        self.step()?;
        file.write_all(&bytes[bytes.len() / 2..])
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_file(path)
    }
}

/// Stops `change` after each step on the disk. Whatever is left opens with one of `after` (none is `None`), knows the
/// same, has finished what was begun, and takes changes. Returns how many steps there are.
fn stop_everywhere(
    prepare: impl Fn() -> (TempDir, PathBuf),
    before: Option<&str>,
    after: Option<&str>,
    change: impl Fn(&mut Keystore) -> Result<(), KeystoreError>,
) -> usize {
    let user = rustix::process::geteuid().as_raw();
    let (mut before_seen, mut after_seen) = (0, 0);
    for steps in 0.. {
        let (_directory, path) = prepare();
        let done = Arc::new(AtomicUsize::new(0));
        let stopping = Stopping { steps, done: done.clone() };
        let disk = Disk::with(&path, user, Box::new(stopping));
        let opened = before.map(passphrase);
        let mut keystore =
            Keystore::open_on(disk, opened.as_ref()).expect("opening changes nothing");
        assert_eq!(done.load(Ordering::Relaxed), 0);
        let known = knowledge(&keystore);
        let changed = change(&mut keystore);
        assert_eq!(changed.is_ok(), done.load(Ordering::Relaxed) <= steps, "{steps}: {changed:?}");
        // The process ends here.
        drop(keystore);
        let open = |with: Option<&str>| match with {
            Some(text) => Keystore::open_with(&path, &passphrase(text)),
            None => Keystore::open(&path),
        };
        let (mut keystore, with) = match (open(before), open(after)) {
            (Ok(keystore), Err(_)) => (keystore, before),
            (Err(_), Ok(keystore)) => (keystore, after),
            (before, after) => panic!("{steps}: {before:?}, {after:?}"),
        };
        // A removal that has begun goes on at the next opening.
        let with = if keystore.protection() == Protection::Permissions { None } else { with };
        *(if with == after { &mut after_seen } else { &mut before_seen }) += 1;
        assert!(knowledge(&keystore) == known, "{steps}");
        let protection =
            if with.is_some() { Protection::Passphrase } else { Protection::Permissions };
        assert_eq!(keystore.protection(), protection, "{steps}");
        carried(&keystore, &path);
        keystore.count_failed_confirmation().expect("it takes changes");
        drop(keystore);
        assert_eq!(open(with).expect("again").failed_confirmations(), 2);
        if changed.is_ok() {
            assert_eq!(with, after);
            assert!(before_seen > 0 && after_seen > 0);
            return steps;
        }
    }
    unreachable!("every change has an end")
}

/// Every file is in the form that the keystore writes.
fn carried(keystore: &Keystore, path: &Path) {
    for name in files(path).into_keys() {
        let temporary =
            name.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        assert!(!temporary, "{}", name.display());
        if name != Path::new(PASSPHRASE) {
            let opened = keystore.disk.read_sealed(&name).expect("ours").expect("there");
            assert!(matches!(opened, Opened::Current(_)), "{}", name.display());
        }
    }
}

/// A copy of a keystore that was made once, since Argon2 takes its time.
fn copies(original: PathBuf) -> impl Fn() -> (TempDir, PathBuf) {
    move || {
        let (directory, path) = place();
        fs::create_dir_all(path.join(PEERS)).expect("made");
        for folder in [path.clone(), path.join(PEERS)] {
            set_mode(&folder, 0o700);
        }
        for (name, bytes) in files(&original) {
            fs::write(path.join(&name), bytes).expect("written");
            set_mode(&path.join(&name), 0o600);
        }
        (directory, path)
    }
}

#[test]
fn setting_survives_a_stop_after_each_step() {
    let (_directory, path, keystore) = full();
    drop(keystore);
    let steps = stop_everywhere(copies(path), None, Some("new"), |keystore| {
        keystore.set_passphrase(&passphrase("new"), cheap())
    });
    // The lock twice and seven files; each is removed (the temporary), made, written, synced and renamed.
    assert_eq!(steps, (2 + 7) * 5);
}

#[test]
fn changing_survives_a_stop_after_each_step() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("old"), cheap()).expect("set");
    drop(keystore);
    let steps = stop_everywhere(copies(path), Some("old"), Some("new"), |keystore| {
        keystore.set_passphrase(&passphrase("new"), cheap())
    });
    assert_eq!(steps, (2 + 7) * 5);
}

#[test]
fn removing_survives_a_stop_after_each_step() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("old"), cheap()).expect("set");
    drop(keystore);
    let steps = stop_everywhere(copies(path), Some("old"), None, Keystore::remove_passphrase);
    assert_eq!(steps, (1 + 7) * 5 + 1);
}

#[test]
fn a_change_that_failed_in_the_middle_is_taken_up_again() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("old"), cheap()).expect("set");
    drop(keystore);
    let prepare = copies(path);
    let user = rustix::process::geteuid().as_raw();
    // The lock and two files, then the disk is full.
    let (_copy, path) = prepare();
    let stopping = Stopping { steps: 15, done: Arc::default() };
    let disk = Disk::with(&path, user, Box::new(stopping));
    let mut keystore = Keystore::open_on(disk, Some(&passphrase("old"))).expect("opens");
    let known = knowledge(&keystore);
    keystore.set_passphrase(&passphrase("new"), cheap()).unwrap_err();
    assert_eq!(keystore.protection(), Protection::Unfinished);
    // Another change waits for the first, and fails as long as that one does.
    keystore.set_passphrase(&passphrase("newer"), cheap()).unwrap_err();
    keystore.remove_passphrase().unwrap_err();
    drop(keystore);
    // It opens where the disk still takes nothing.
    let stopping = Stopping { steps: 0, done: Arc::default() };
    let disk = Disk::with(&path, user, Box::new(stopping));
    // What a crash left half written goes first, which this disk refuses too; there is nothing of it here.
    for name in files(&path).into_keys() {
        if name.to_string_lossy().contains(".tmp") {
            fs::remove_file(path.join(name)).expect("removed");
        }
    }
    let keystore = Keystore::open_on(disk, Some(&passphrase("new"))).expect("opens");
    assert_eq!(keystore.protection(), Protection::Unfinished);
    assert!(knowledge(&keystore) == known);
    drop(keystore);
    let mut keystore = Keystore::open_with(&path, &passphrase("new")).expect("opens");
    assert_eq!(keystore.protection(), Protection::Passphrase);
    keystore.set_passphrase(&passphrase("newer"), cheap()).expect("changed");
    drop(keystore);
    let keystore = Keystore::open_with(&path, &passphrase("newer")).expect("opens");
    assert!(knowledge(&keystore) == known);
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    let (_directory, path, mut keystore) = full();
    let notes = path.join("notes.json");
    fs::write(&notes, b"{\"milk\":1}").expect("written");
    set_mode(&notes, 0o600);
    for number in 0..3 {
        let text = format!("passphrase {number}");
        keystore.set_passphrase(&passphrase(&text), cheap()).expect("set");
        assert_eq!(fs::read(&notes).expect("there"), b"{\"milk\":1}");
    }
    keystore.remove_passphrase().expect("removed");
    assert_eq!(fs::read(&notes).expect("there"), b"{\"milk\":1}");
}

#[test]
fn a_making_that_was_interrupted_leaves_nothing_to_the_next() {
    let (_directory, path, keystore) = full();
    drop(keystore);
    fs::remove_file(path.join(IDENTITY)).expect("removed");
    let made = Keystore::create_with(&path, peer(9), &passphrase("one"), cheap()).expect("made");
    assert_eq!((made.peers().count(), made.relay(), made.failed_confirmations()), (0, None, 0));
    drop(made);
    fs::remove_file(path.join(IDENTITY)).expect("removed");
    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Missing { .. }), "{error:?}");
    Keystore::create(&path, peer(8)).expect("made without a passphrase");
    Keystore::open(&path).expect("opens without");
}

#[test]
fn the_default_cost_is_written_into_the_file() {
    let (_directory, path, mut keystore) = full();
    keystore.set_passphrase(&passphrase("one"), Cost::default()).expect("set");
    drop(keystore);
    let text = fs::read_to_string(path.join(PASSPHRASE)).expect("read");
    let cost = "\"argon2id\":{\"memory_kib\":65536,\"passes\":3,\"lanes\":4}";
    assert!(text.contains(cost), "{text}");
    Keystore::open_with(&path, &passphrase("one")).expect("opens");
}

#[test]
fn a_sealed_file_opens_under_its_name_only() {
    let (_directory, path, mut keystore) = created();
    keystore.set_passphrase(&passphrase("one"), cheap()).expect("set");
    let bytes = fs::read(path.join(PASSPHRASE)).expect("read");
    let vault = LockedVault::from_file(&bytes).expect("a vault").unlock(&passphrase("one"));
    let seal = Seal::of(&vault.expect("the right passphrase"));
    let sealed = seal.seal(Path::new(RELAY), b"the same for every name");
    assert_ne!(sealed, seal.seal(Path::new(RELAY), b"the same for every name"), "a fresh nonce");
    for (name, opens) in
        [(RELAY, true), (COUNTERS, false), ("peers/relay.json", false), ("", false)]
    {
        assert_eq!(seal.open(Path::new(name), sealed.clone()).is_ok(), opens, "{name}");
    }
}

/// Files as the first version with passphrases wrote them (`vectors/keystore`): whatever comes after reads them.
#[test]
fn what_earlier_versions_wrote_opens() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/keystore");
    let two = peer(2).device_id();
    let check = |keystore: &Keystore| {
        assert_eq!(keystore.identity().device_id(), identity().device_id());
        assert_eq!(keystore.relay(), Some(&Relay::new(&relay_address(), "me")));
        assert_eq!(keystore.failed_confirmations(), 1);
        assert_eq!(keystore.backup_rehearsed_at_s(), Some(9));
        let peer = keystore.peer(&two).expect("paired");
        assert_eq!((peer.name(), peer.verified_at_s()), ("two", 7));
        assert_eq!(peer.last_sent_ns(), 1_234_567_890);
        assert_eq!((peer.verified(), peer.minimum()), (Verified::Camera, Minimum::Hybrid));
        *peer.pair_key().as_bytes()
    };
    let (_directory, path) = copies(vectors.join("plain"))();
    let plain = check(&Keystore::open(&path).expect("plain files"));
    let (_directory, path) = copies(vectors.join("sealed"))();
    let opened = Keystore::open_with(&path, &passphrase("one")).expect("sealed files");
    assert_eq!(check(&opened), plain);
    let backup = fs::read(vectors.join("backup")).expect("read");
    let backup = BackupFile::open(&backup, &identity().words(), 1_800_000_000).expect("ours");
    assert_eq!((backup.peers(), backup.relay()), (1, opened.relay()));
}
