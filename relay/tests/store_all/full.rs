//! Growth, and what happens when nothing can grow any more.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use hushwire_relay::store::{Answer, Query, Store, StoreError, StoreOptions};
use hushwire_wire::id::DeviceId;

use crate::common::{account, device, enrol, flood, open, seeded, small};

fn grant(number: u64) -> Query {
    Query::Grant { recipient: device(0), sender: device(number) }
}

fn generous(options: StoreOptions) -> StoreOptions {
    StoreOptions { grants_per_account: 60_000, ..options }
}

fn grants_of(store: &Store, device: DeviceId) -> usize {
    let Answer::Row(row) = store.call(Query::Device { device }) else { panic!("no row") };
    row.grants.len()
}

#[test]
fn the_map_grows_under_readers() {
    let directory = tempfile::tempdir().unwrap();
    let options = generous(StoreOptions {
        map_bytes_start: 1 << 20,
        map_bytes_max: 1 << 26,
        ..StoreOptions::default()
    });
    let store = open(&directory.path().join("store"), options.clone());
    enrol(&store, 1, account(1), device(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let now = grants_of(&store, device(0));
                    assert!(now >= last, "time runs forward for a reader");
                    last = now;
                }
            });
        }
        let answers = flood(&store, (1..=30_000).map(grant));
        assert!(answers.iter().all(|answer| *answer == Answer::Done));
        stop.store(true, Ordering::Relaxed);
    });
    let counters = store.counters();
    assert!(counters.growths >= 2, "{counters:?}");
    assert!(counters.commits < counters.changes / 8, "{counters:?}");
    store.close();
    // A smaller start than the file is no obstacle.
    let store = open(&directory.path().join("store"), options);
    assert_eq!(grants_of(&store, device(0)), 30_000);
}

#[test]
fn a_full_map_takes_reads_and_removals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path, generous(small()));
    enrol(&store, 1, account(1), device(0));
    let answers = flood(&store, (1..=20_000).map(grant));
    let full = Answer::Failed(StoreError::MapFull { bytes_max: 1 << 20 });
    let granted = answers.iter().filter(|answer| **answer == Answer::Done).count();
    assert!(granted > 1_000, "{granted}");
    assert!(answers.iter().all(|answer| *answer == Answer::Done || *answer == full));
    assert_eq!(store.call(grant(30_000)), full);

    assert_eq!(grants_of(&store, device(0)), granted, "reads go on");
    let hide = Query::PresenceHide { device: device(0), hidden: true };
    assert_eq!(store.call(hide), Answer::Done, "changes in place go on");
    // The first that were granted.
    for number in 1..=granted as u64 / 2 {
        let ungrant = Query::Ungrant { recipient: device(0), sender: device(number) };
        assert_eq!(store.call(ungrant), Answer::Done);
    }
    assert_eq!(store.call(grant(30_000)), Answer::Done, "room was made");
    let revoke = Query::Revoke { account: None, device: device(0) };
    assert_eq!(store.call(revoke), Answer::Done, "thousands of grants are deleted at once");
    store.close();
    let store = open(&path, small());
    assert_eq!(grants_of(&store, device(0)), 0);
}

/// Runs the test `name` of this program again, with `directory` a file system of its own.
///
/// `false` when this user may not mount anything, not even in a namespace of its own.
fn in_a_small_file_system(name: &str, directory: &Path, mount: &str) -> bool {
    let script = r#"mount -t tmpfs -o size=3m,mode=700 tmpfs "$1" && eval "$2" && exec "$3" --exact "$4" --nocapture"#;
    let attempts: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    for flags in attempts {
        let probe = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", r#"mount -t tmpfs tmpfs "$1""#, "sh"])
            .arg(directory)
            .output();
        if !probe.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let output = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", script, "sh"])
            .arg(directory)
            .arg(mount)
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(CHILD, directory)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(RAN), "the child did its part: {text}");
        return true;
    }
    false
}

const CHILD: &str = "HUSHWIRE_STORE_TEST_DIRECTORY";
const RAN: &str = "the child reached its end";

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    let directory = tempfile::tempdir().unwrap();
    let child = "full::child_full_disk";
    if !in_a_small_file_system(child, directory.path(), "true") {
        // Without mounts, the limit of the map stands in for the limit of the disk.
        a_full_map_takes_reads_and_removals();
    }
}

#[test]
fn child_full_disk() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let directory = Path::new(&directory);
    let path = directory.join("store");
    let store = open(&path, generous(StoreOptions::default()));
    enrol(&store, 1, account(1), device(0));
    let filler = directory.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write(&[1; 4_096]).is_ok_and(|written| written > 0) {}

    let full = Answer::Failed(StoreError::DiskFull { path: path.clone() });
    let answers = flood(&store, (1..=2_000).map(grant));
    let granted = answers.iter().filter(|answer| **answer == Answer::Done).count();
    assert!(answers.iter().all(|answer| *answer == Answer::Done || *answer == full), "{answers:?}");
    assert!(granted < 2_000);
    assert_eq!(
        grants_of(&store, device(0)),
        granted,
        "reads go on, and what was not done is not there"
    );

    drop(file);
    fs::remove_file(&filler).unwrap();
    assert_eq!(store.call(grant(5_000)), Answer::Done, "without a restart");
    store.close();
    assert_eq!(
        grants_of(&open(&path, StoreOptions::default()), device(0)).min(1_024),
        (granted + 1).min(1_024)
    );
    println!("{RAN}");
}

#[test]
fn a_read_only_file_system_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let child = "full::child_read_only";
    if !in_a_small_file_system(
        child,
        directory.path(),
        r#"mount -t tmpfs -o remount,ro tmpfs "$1""#,
    ) {
        use std::os::unix::fs::PermissionsExt;
        // Without mounts, a directory that cannot be written comes closest.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
        let error = Store::open(directory.path().join("store"), small(), seeded()).unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    }
}

#[test]
fn child_read_only() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    for path in [Path::new(&directory).join("store"), directory.clone().into()] {
        let error = Store::open(&path, small(), seeded()).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    }
    println!("{RAN}");
}
