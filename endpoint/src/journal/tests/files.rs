//! What stands in the place of the file, and who may do what with it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::io::Errno;

use super::*;
use crate::keystore::KeystoreError;

fn failure(path: &Path) -> JournalError {
    open(path).map(|_| ()).unwrap_err()
}

#[test]
fn the_file_is_private_and_nothing_temporary_stays() {
    let (directory, path) = place();
    written(&path);
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
}

#[test]
fn no_file_holds_nothing_and_is_not_made_by_looking() {
    let (_directory, path) = place();
    assert_eq!(Journal::view(&path, &key()).expect("nothing to see"), Logs::default());
    assert!(!path.exists());
}

#[test]
fn two_cannot_have_it_open_but_others_can_look() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    for batch in chat(30) {
        journal.append(&batch).expect("appended, and compacted now and then");
        let error = failure(&path);
        let locked = matches!(&error, JournalError::File(KeystoreError::Locked { .. }));
        assert!(locked, "{error:?}");
    }
    assert_eq!(Journal::view(&path, &key()).expect("seen"), sum(&chat(30)));
    // What a process has that is just being started.
    let _inherited = journal.file.try_clone().expect("cloned");
    drop(journal);
    open(&path).expect("unlocked");
}

#[test]
fn what_is_no_file_is_no_journal() {
    let (directory, path) = place();
    let check = |what: &str| {
        for error in [failure(&path), Journal::view(&path, &key()).unwrap_err()] {
            assert!(matches!(error, JournalError::NotAJournal { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains("move it away"), "{error}");
        }
    };
    fs::create_dir(&path).expect("made");
    check("a directory");
    fs::remove_dir(&path).expect("removed");
    let elsewhere = directory.path().join("elsewhere");
    written(&elsewhere);
    symlink(&elsewhere, &path).expect("linked");
    check("a symbolic link");
    fs::remove_file(&path).expect("removed");
    let private = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, private, 0).expect("a fifo");
    check("a fifo");
    fs::remove_file(&path).expect("removed");
    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    check("a socket");
}

#[test]
fn foreign_modes_are_refused_with_the_command_that_helps() {
    let (_directory, path) = place();
    written(&path);
    let set = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o601] {
        set(mode);
        for error in [failure(&path), Journal::view(&path, &key()).unwrap_err()] {
            let exposed = matches!(error, JournalError::File(KeystoreError::Exposed { .. }));
            assert!(exposed, "{mode:o}: {error:?}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
    for mode in [0o000, 0o400, 0o200] {
        set(mode);
        let error = failure(&path);
        let denied = matches!(error, JournalError::File(KeystoreError::Denied { .. }));
        assert!(denied, "{mode:o}: {error:?}");
    }
    set(0o600);
    open(&path).expect("repaired");
}

struct Foreign;

impl Medium for Foreign {
    fn user(&self) -> u32 {
        System.user() + 1
    }
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let (_directory, path) = place();
    written(&path);
    let error = open_with(Foreign, &path).map(|_| ()).unwrap_err();
    let foreign = matches!(error, JournalError::File(KeystoreError::ForeignOwner { .. }));
    assert!(foreign, "{error:?}");
}

/// As the system answers on a file system that is mounted read-only.
struct ReadOnly;

impl Medium for ReadOnly {
    fn open(&self, path: &Path, writable: bool) -> io::Result<File> {
        if writable && path.exists() {
            Err(Errno::ROFS.into())
        } else {
            System.open(path, writable)
        }
    }

    fn create(&self, _: &Path) -> io::Result<File> {
        Err(Errno::ROFS.into())
    }
}

#[test]
fn a_read_only_file_system_says_so() {
    let (_directory, path) = place();
    for there in [false, true] {
        let error = open_with(ReadOnly, &path).map(|_| ()).unwrap_err();
        let read_only = matches!(error, JournalError::File(KeystoreError::ReadOnly { .. }));
        assert!(read_only, "{error:?}");
        assert!(error.to_string().contains("remount it writable"), "{error}");
        if there {
            assert_eq!(Journal::view(&path, &key()).expect("looking works"), sum(&batches()));
        } else {
            written(&path);
        }
    }
}

#[test]
fn a_file_whose_end_cannot_be_cut_off_is_not_opened_and_not_changed() {
    /// Opens, but takes no change.
    struct Uncut;
    impl Medium for Uncut {
        fn cut(&self, _: &File, _: u64) -> io::Result<()> {
            Err(Errno::IO.into())
        }
    }
    let (_directory, path) = place();
    let lengths = written(&path);
    let file = OpenOptions::new().write(true).open(&path).expect("ours");
    file.set_len(lengths[4] - 1).expect("cut");
    let error = open_with(Uncut, &path).map(|_| ()).unwrap_err();
    assert!(matches!(error, JournalError::File(KeystoreError::Io { .. })), "{error:?}");
    assert_eq!(fs::metadata(&path).expect("there").len(), lengths[4] - 1);
    assert_eq!(open(&path).expect("opens").1, sum(&batches()[..3]));
}

/// The writer goes through compactions meanwhile; what is seen never goes back.
#[test]
fn looking_while_another_writes_shows_what_was_there_at_some_time() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    let forgotten = Entry::Forgotten { peer: peer(1) };
    let mut all = vec![[chat(40), vec![vec![forgotten]]].concat(); 8].concat();
    // So that no state is like one before it.
    for (next, batch) in (1..).zip(&mut all) {
        batch.push(Entry::Taken { peer: peer(9), incarnation: 1, next });
    }
    let mut after = vec![Logs::default()];
    for batch in &all {
        let mut logs = after.last().expect("one").clone();
        batch.iter().for_each(|entry| logs.apply(entry.clone()));
        after.push(logs);
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut compactions = 0;
            for batch in &all {
                let before = journal.end.position;
                journal.append(batch).expect("appended");
                compactions += u32::from(journal.end.position < before);
            }
            compactions
        });
        let (mut at, mut seen) = (0, 0);
        loop {
            let last = writer.is_finished();
            let logs = Journal::view(&path, &key()).expect("always seen");
            let ahead = after[at..].iter().position(|then| *then == logs);
            at += ahead.expect("what was there then or later");
            seen += 1;
            if last {
                break;
            }
        }
        assert!(writer.join().expect("no panic") > 5, "the test is of compactions too");
        assert!(at == after.len() - 1 && seen > 1, "{at}, {seen} times");
    });
}
