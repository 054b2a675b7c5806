//! Every step of the file system fails once, or everything from a step on, as at the end of the process or the disk.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::*;
use crate::keystore::KeystoreError;

/// Which steps fail. Steps are counted from 0.
#[derive(Debug)]
struct Plan {
    step: AtomicU64,
    fail_from: AtomicU64,
    fail_until: AtomicU64,
    errno: Errno,
}

impl Plan {
    fn new(from: u64, until: u64, errno: Errno) -> Arc<Self> {
        let step = AtomicU64::new(0);
        let (fail_from, fail_until) = (AtomicU64::new(from), AtomicU64::new(until));
        Arc::new(Self { step, fail_from, fail_until, errno })
    }

    fn fails_now(&self) -> bool {
        let step = self.step.fetch_add(1, Ordering::Relaxed);
        let from = self.fail_from.load(Ordering::Relaxed);
        (from..self.fail_until.load(Ordering::Relaxed)).contains(&step)
    }

    fn reached(&self) -> bool {
        self.step.load(Ordering::Relaxed) > self.fail_from.load(Ordering::Relaxed)
    }
}

struct Faulty(Arc<Plan>);

impl Faulty {
    fn step<T>(&self, real: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.0.fails_now() { Err(self.0.errno.into()) } else { real() }
    }
}

impl Medium for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step(|| System.create(path))
    }

    /// A write that fails has written half.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.0.fails_now() {
            System.write(file, &bytes[..bytes.len() / 2], at)?;
            return Err(self.0.errno.into());
        }
        System.write(file, bytes, at)
    }

    /// The machine does not end here, so nothing need be forced.
    fn sync(&self, _: &File) -> io::Result<()> {
        self.step(|| Ok(()))
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step(|| System.cut(file, length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| System.rename(from, to))
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.step(|| Ok(()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| System.remove(path))
    }
}

fn seen(path: &Path) -> Logs {
    Journal::view(path, &key()).expect("can be seen at any time")
}

/// After an error everything is as before, and the same call succeeds.
#[test]
fn each_step_may_fail_once() {
    let all = chat(30);
    let (mut failures, mut compactions) = (0, 0);
    for step in 0.. {
        let (_directory, path) = place();
        let plan = Plan::new(step, step + 1, Errno::NOSPC);
        let opened = open_with(Faulty(Arc::clone(&plan)), &path);
        let (mut journal, _) = opened.unwrap_or_else(|error| {
            let full = matches!(error, JournalError::File(KeystoreError::Full { .. }));
            assert!(full, "step {step}: {error:?}");
            failures += 1;
            open_with(Faulty(Arc::clone(&plan)), &path).expect("the second time")
        });
        for (index, batch) in all.iter().enumerate() {
            let before = journal.end.position;
            if let Err(error) = journal.append(batch) {
                let full = matches!(error, JournalError::File(KeystoreError::Full { .. }));
                assert!(full, "step {step}: {error:?}");
                assert!(error.to_string().contains("free some space"), "{error}");
                assert_eq!(seen(&path), sum(&all[..index]), "step {step}");
                failures += 1;
                journal.append(batch).expect("the second time");
            }
            compactions += u32::from(journal.end.position < before);
        }
        let after = sum(&all);
        assert_eq!(seen(&path), after, "step {step}");
        assert!(journal.index.is_of(&after), "step {step}");
        drop(journal);
        assert_eq!(open(&path).expect("opens").1, after, "step {step}");
        if !plan.reached() {
            break;
        }
    }
    assert!(failures > 60 && compactions > 60, "{failures} failures, {compactions} compactions");
}

/// At the end of the process whatever was acknowledged is there, and at most the batch that was not.
#[test]
fn everything_may_fail_from_any_step_on() {
    let all = chat(30);
    for step in 0.. {
        let (directory, path) = place();
        let plan = Plan::new(step, u64::MAX, Errno::IO);
        let mut acknowledged = 0;
        if let Ok((mut journal, _)) = open_with(Faulty(Arc::clone(&plan)), &path) {
            for batch in &all {
                if journal.append(batch).is_err() {
                    break;
                }
                acknowledged += 1;
            }
        }
        let (mut journal, logs) = open(&path).expect("opens");
        let refused = (acknowledged + 1).min(all.len());
        let more = logs != sum(&all[..acknowledged]);
        assert!(!more || logs == sum(&all[..refused]), "step {step}: neither before nor after");
        assert!(journal.index.is_of(&logs), "step {step}");
        for batch in &all[acknowledged + usize::from(more)..] {
            journal.append(batch).expect("goes on");
        }
        drop(journal);
        assert_eq!(open(&path).expect("opens").1, sum(&all), "step {step}");
        let names = fs::read_dir(directory.path()).expect("listed").count();
        let long_ago = acknowledged < all.len() - 15;
        assert!(names == 1 || !long_ago, "what a compaction left is swept away by the next");
        if !plan.reached() {
            break;
        }
    }
}

/// The disk stays full for a while, also for compaction.
#[test]
fn a_full_disk_that_has_room_again_goes_on() {
    let (_directory, path) = place();
    let plan = Plan::new(u64::MAX, u64::MAX, Errno::NOSPC);
    let (mut journal, _) = open_with(Faulty(Arc::clone(&plan)), &path).expect("a new journal");
    let all = chat(60);
    for (index, batch) in all.iter().enumerate() {
        if index % 7 == 3 {
            plan.fail_from.store(0, Ordering::Relaxed);
            for _ in 0..3 {
                let error = journal.append(batch).unwrap_err();
                let full = matches!(error, JournalError::File(KeystoreError::Full { .. }));
                assert!(full, "{error:?}");
                assert_eq!(seen(&path), sum(&all[..index]));
            }
            plan.fail_from.store(u64::MAX, Ordering::Relaxed);
        }
        journal.append(batch).expect("there is room");
    }
    assert!(journal.end.position < 12_000, "it was compacted: {}", journal.end.position);
    drop(journal);
    assert_eq!(open(&path).expect("opens").1, sum(&all));
}

#[test]
fn what_a_compaction_left_is_in_nobodys_way() {
    let (directory, path) = place();
    let left = directory.path().join(".journal.tmp");
    fs::write(&left, b"half a file").expect("written");
    let (mut journal, _) = open(&path).expect("a new journal");
    fs::write(&left, b"half a file").expect("written");
    let all = chat(30);
    for batch in &all {
        journal.append(batch).expect("appended");
    }
    assert!(!left.exists(), "it was compacted");
    drop(journal);
    assert_eq!(open(&path).expect("opens").1, sum(&all));
}
