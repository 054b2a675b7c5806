//! Keys that are replaced: a crash after every step on the disk, and what is never believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::disk::Changes;
use super::*;
use crate::account::{AccountLog, Phase, Proof, Repinned, RotationError, Statement};
use crate::suite::keys::PairKey;

/// Does so many steps on the disk and then nothing more, as a process that was killed.
struct Killed {
    steps: usize,
    done: Arc<AtomicUsize>,
}

impl Killed {
    fn step(&self) -> io::Result<()> {
        let alive = self.done.fetch_add(1, Ordering::Relaxed) < self.steps;
        if alive { Ok(()) } else { Err(rustix::io::Errno::IO.into()) }
    }
}

impl Changes for Killed {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        let file = system_create(path)?;
        set_mode(path, 0o600);
        Ok(file)
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

fn killed_after(path: &Path, steps: usize) -> (Keystore, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let changes = Box::new(Killed { steps, done: done.clone() });
    let user = rustix::process::geteuid().as_raw();
    let keystore = Keystore::open_on(Disk::with(path, user, changes), None).expect("it opens");
    (keystore, done)
}

/// A keystore with peers 2, 3 and 4, and a log of the account with device 2 in it.
fn full() -> (TempDir, PathBuf) {
    let (directory, path, mut keystore) = created();
    for number in 2..=4 {
        let stored = paired(&peer(number), Suite::HybridAes);
        keystore.add_peer(&stored, &format!("peer {number}"), 77).expect("stored");
    }
    let mut log = AccountLog::begin(&identity(), "one", 1).expect("a log");
    let proof = Proof::sign(&peer(2), &log.id());
    log.add(&identity(), (id(2), proof), "two", 2).expect("added");
    keystore.set_account_log(log).expect("stored");
    (directory, path)
}

fn id(number: u8) -> DeviceId {
    peer(number).device_id()
}

fn key(keystore: &Keystore, device: &DeviceId) -> PairKey {
    keystore.peer(device).expect("a peer").pair_key().clone()
}

/// Goes on with a rotation from wherever it is.
fn go_on(keystore: &mut Keystore) -> Result<(), RotationError> {
    if keystore.rotation().is_none() && keystore.identity().device_id() == identity().device_id() {
        keystore.begin_rotation(peer(11), 5)?;
    }
    if keystore.rotation().map(|rotation| rotation.phase()) == Some(Phase::Prepared) {
        keystore.rotation_registered()?;
    }
    if keystore.rotation().map(|rotation| rotation.phase()) == Some(Phase::Registered) {
        keystore.rotation_acknowledged(&id(2))?;
        keystore.rotation_acknowledged(&id(3))?;
        let unheard: Vec<_> = keystore.rotation_unheard().map(|peer| peer.name()).collect();
        assert_eq!(unheard, ["peer 4"]);
        keystore.switch_rotation()?;
    }
    if keystore.rotation().is_some() {
        keystore.finish_rotation()?;
    }
    Ok(())
}

#[test]
fn a_rotation_is_finished_whole_wherever_it_was_interrupted() {
    let mut steps = 0;
    loop {
        let (_directory, path) = full();
        let before = Keystore::open(&path).expect("it opens");
        let keys: Vec<_> = (2..=4).map(|number| key(&before, &id(number))).collect();
        drop(before);
        let (mut keystore, done) = killed_after(&path, steps);
        let finished = go_on(&mut keystore).is_ok();
        drop(keystore);
        let mut keystore = Keystore::open(&path).expect("it opens after a crash");
        go_on(&mut keystore).expect("it goes on");
        drop(keystore);

        let keystore = Keystore::open(&path).expect("it opens again");
        assert!(keystore.rotation().is_none(), "after {steps} steps");
        assert_eq!(keystore.identity().device_id(), id(11));
        let statement = Statement::sign(&identity(), &peer(11), 5);
        for (number, before) in (2..=4).zip(&keys) {
            let expect = statement.next_pair_key(before);
            assert!(key(&keystore, &id(number)) == expect, "peer {number} after {steps} steps");
        }
        let log = keystore.account_log().expect("the log");
        assert!(log.member(&id(11)).is_some() && log.member(&identity().device_id()).is_none());
        if finished {
            assert_eq!(steps, done.load(Ordering::Relaxed), "every step was tried");
            assert!(steps > 15, "{steps}");
            return;
        }
        steps += 1;
    }
}

#[test]
fn a_peer_is_known_by_its_old_key_or_its_new_one_never_by_both_or_none() {
    let statement = Statement::sign(&peer(3), &peer(33), 9);
    let mut steps = 0;
    loop {
        let (_directory, path) = full();
        let before = key(&Keystore::open(&path).expect("it opens"), &id(3));
        let (mut keystore, _) = killed_after(&path, steps);
        let finished = keystore.repin_peer(&id(3), &statement).is_ok();
        drop(keystore);
        let mut keystore = Keystore::open(&path).expect("it opens after a crash");
        let (old, new) = (keystore.peer(&id(3)).is_some(), keystore.peer(&id(33)).is_some());
        assert!(old != new, "after {steps} steps: old {old}, new {new}");
        // The peer has no acknowledgement and says it again.
        let again = keystore.repin_peer(&id(3), &statement).expect("believed");
        assert_eq!(again, if old { Repinned::Now } else { Repinned::Before });
        assert!(key(&keystore, &id(33)) == statement.next_pair_key(&before), "derived once");
        assert_eq!(keystore.peer(&id(33)).expect("a peer").name(), "peer 3");
        assert_eq!(keystore.peers().count(), 3);
        if finished {
            assert!(steps >= 4, "{steps}");
            return;
        }
        steps += 1;
    }
}

#[test]
fn both_ends_derive_the_same_key_in_whatever_order_both_rotate() {
    // One end holds identity 1, the other 2; each has the other's record.
    let pair_key = PairKey::new([5; 32]);
    let one = Statement::sign(&peer(1), &peer(11), 5);
    let two = Statement::sign(&peer(2), &peer(22), 6);
    let key = one.next_pair_key(&pair_key);
    assert!(key != pair_key && key != two.next_pair_key(&pair_key));
    assert!(two.next_pair_key(&key) != one.next_pair_key(&two.next_pair_key(&pair_key)));

    // So who has the smaller ID goes first, and the other one waits.
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    keystore.begin_rotation(peer(11), 5).expect("begun");
    keystore.rotation_registered().expect("registered");
    for number in 2..=4 {
        let statement = Statement::sign(&peer(number), &peer(number + 40), 6);
        let repinned = keystore.repin_peer(&id(number), &statement);
        if identity().device_id() < id(number) {
            assert!(matches!(repinned, Err(RotationError::Later)), "{repinned:?}");
        } else {
            assert!(matches!(repinned, Ok(Repinned::Now)), "{repinned:?}");
        }
    }
    keystore.switch_rotation().expect("switched");
    for number in 2..=4 {
        let statement = Statement::sign(&peer(number), &peer(number + 40), 6);
        keystore.repin_peer(&id(number), &statement).expect("now at the latest");
    }
}

#[test]
fn who_has_acknowledged_ours_rotates_afterwards() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    keystore.begin_rotation(peer(11), 5).expect("begun");
    keystore.rotation_registered().expect("registered");
    for number in 2..=4 {
        keystore.rotation_acknowledged(&id(number)).expect("a peer");
        let statement = Statement::sign(&peer(number), &peer(number + 40), 6);
        let repinned = keystore.repin_peer(&id(number), &statement);
        assert!(matches!(repinned, Err(RotationError::Later)), "{repinned:?}");
    }
}

#[test]
fn what_is_never_believed() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    let of = |old: u8, new: u8| Statement::sign(&peer(old), &peer(new), 9);

    let by_another = keystore.repin_peer(&id(2), &of(3, 33));
    assert!(matches!(by_another, Err(RotationError::NotThePeer(old)) if old == id(3)));
    let of_nobody = keystore.repin_peer(&id(9), &of(9, 99));
    assert!(matches!(of_nobody, Err(RotationError::NotThePeer(_))));
    let to_another_peer = keystore.repin_peer(&id(3), &of(3, 4));
    assert!(matches!(to_another_peer, Err(RotationError::Used(new)) if new == id(4)));
    let to_us = keystore.repin_peer(&id(3), &of(3, 1));
    assert!(matches!(to_us, Err(RotationError::Used(_))));

    assert!(matches!(keystore.repin_peer(&id(3), &of(3, 33)), Ok(Repinned::Now)));
    let fork = keystore.repin_peer(&id(3), &of(3, 34));
    assert!(matches!(
        fork,
        Err(RotationError::Conflict { old, known, claimed })
            if (old, known, claimed) == (id(3), id(33), id(34))
    ));
    assert!(matches!(keystore.repin_peer(&id(33), &of(33, 35)), Ok(Repinned::Now)), "a chain");
    for back in [3, 33] {
        let back = keystore.repin_peer(&id(35), &of(35, back));
        assert!(matches!(back, Err(RotationError::Used(_))), "{back:?}");
    }
    // Nor by pairing, nor after the peer was removed and the keystore opened anew.
    keystore.remove_peer(&id(35)).expect("removed");
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("it opens");
    let old = paired(&peer(3), Suite::HybridAes);
    let refused = keystore.add_peer(&old, "old", 78);
    assert!(matches!(refused, Err(KeystoreError::Invalid(_))), "{refused:?}");
    assert_eq!(keystore.superseded_by(&id(3)), Some(id(33)));
}

#[test]
fn a_peer_cannot_rotate_for_ever() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    let mut present = peer(3);
    for turn in 0..account::ROTATIONS_OF_PEER_MAX {
        let mut secret = [0xaa; 32];
        secret[..8].copy_from_slice(&turn.to_le_bytes());
        let next = Identity::from_secret(&secret);
        let statement = Statement::sign(&present, &next, 9);
        keystore.repin_peer(&present.device_id(), &statement).expect("believed");
        present = next;
    }
    let statement = Statement::sign(&present, &peer(99), 9);
    let refused = keystore.repin_peer(&present.device_id(), &statement);
    assert!(matches!(refused, Err(RotationError::TooMany)), "{refused:?}");
}

#[test]
fn a_rotation_is_called_off_before_anybody_heard_of_it_and_there_is_one_at_a_time() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    assert!(matches!(keystore.cancel_rotation(), Err(RotationError::NotThere)));
    keystore.begin_rotation(peer(11), 5).expect("begun");
    assert!(matches!(keystore.begin_rotation(peer(12), 6), Err(RotationError::UnderWay)));
    assert!(matches!(keystore.switch_rotation(), Err(RotationError::NotThere)));
    keystore.cancel_rotation().expect("nobody heard");
    keystore.begin_rotation(peer(12), 6).expect("another");
    keystore.rotation_registered().expect("registered");
    assert!(matches!(keystore.cancel_rotation(), Err(RotationError::NotThere)));
    assert!(matches!(keystore.finish_rotation(), Err(RotationError::NotThere)));
}

#[test]
fn damaged_files_are_named() {
    let damage = |name: &str| {
        let (_directory, path) = full();
        let mut keystore = Keystore::open(&path).expect("it opens");
        keystore.repin_peer(&id(3), &Statement::sign(&peer(3), &peer(33), 9)).expect("believed");
        keystore.begin_rotation(peer(11), 5).expect("begun");
        drop(keystore);
        let file = path.join(name);
        let mut bytes = fs::read(&file).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).expect("the owner may");
        let error = Keystore::open(&path).unwrap_err();
        assert!(matches!(&error, KeystoreError::Corrupt { path } if *path == file), "{error:?}");
    };
    damage("account.log");
    damage("rotation.json");
    damage(&format!("peers/{}.superseded.json", id(3).to_text()));
}

#[test]
fn the_words_on_paper_do_not_outlive_their_key() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    let words = keystore.backup_words();
    keystore.rehearse(&words.to_text(), 9).expect("the right words");
    go_on(&mut keystore).expect("rotated");
    assert!(keystore.rehearse(&words.to_text(), 10).is_err(), "they are those of the old key");
    drop(keystore);
    assert!(Keystore::open(&path).expect("it opens").backup_rehearsed_at_s.is_none());
}

#[test]
fn who_may_send_moves_with_a_key_and_the_relay_is_told() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    let grants = [Grant::Given, Grant::Withdrawn, Grant::None];
    for (number, grant) in (2..).zip(grants) {
        keystore.set_grant(&id(number), grant).expect("stored");
    }
    for number in 2..=3 {
        let statement = Statement::sign(&peer(number), &peer(number + 40), 6);
        keystore.repin_peer(&id(number), &statement).expect("believed");
    }
    let grant = |keystore: &Keystore, number| keystore.peer(&id(number)).map(Peer::grant);
    assert_eq!([42, 43].map(|n| grant(&keystore, n)), [Some(Grant::Wanted), Some(Grant::None)]);
    assert_eq!(keystore.goes_on_as(&id(2)), Some(id(42)));
    // The relay takes back what the old IDs had, now or after a crash.
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("it opens");
    let old: BTreeSet<_> = keystore.unpaired().collect();
    assert_eq!(old, BTreeSet::from([id(2), id(3)]));

    // Of this device's new ID the relay knows nothing either; a peer that may not send is not let in by that.
    keystore.set_grant(&id(42), Grant::Given).expect("stored");
    go_on_alone(&mut keystore);
    assert_eq!(
        [42, 43, 4].map(|n| grant(&keystore, n)),
        [Some(Grant::Wanted), Some(Grant::None), Some(Grant::None)]
    );
}

fn go_on_alone(keystore: &mut Keystore) {
    keystore.begin_rotation(peer(11), 5).expect("begun");
    keystore.rotation_registered().expect("registered");
    keystore.switch_rotation().expect("switched");
    keystore.finish_rotation().expect("finished");
}

#[test]
fn a_passphrase_seals_the_next_key_and_those_that_were_replaced() {
    let (_directory, path) = full();
    let mut keystore = Keystore::open(&path).expect("it opens");
    keystore.repin_peer(&id(3), &Statement::sign(&peer(3), &peer(33), 9)).expect("believed");
    keystore.begin_rotation(peer(11), 5).expect("begun");
    let statement = *keystore.rotation().expect("begun").statement();
    let files = ["rotation.json".into(), format!("peers/{}.superseded.json", id(3).to_text())];
    let is_plain = |file: &String| {
        let bytes = fs::read(path.join(file)).expect("there");
        String::from_utf8_lossy(&bytes).contains("\"statement\"")
    };
    assert!(files.iter().all(is_plain));
    keystore.set_passphrase(&protect::passphrase("one"), protect::cheap()).expect("set");
    assert!(!files.iter().any(is_plain));
    drop(keystore);
    let opened = Keystore::open_with(&path, &protect::passphrase("one")).expect("it opens");
    assert_eq!(opened.rotation().map(|rotation| *rotation.statement()), Some(statement));
    assert_eq!(opened.superseded_by(&id(3)), Some(id(33)));
}
