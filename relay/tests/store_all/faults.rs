//! What is found when a store is opened. Each has a sentence, none ends the process.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use hushwire_relay::store::{Answer, Query, Store, StoreError, StoreOptions};

use crate::common::{account, collect, device, enrol, flood, name, open, seeded, small};

fn open_fails(path: &Path) -> StoreError {
    match Store::open(path, small(), seeded()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// A closed store with `devices` devices and twice as many grants.
fn closed(devices: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = StoreOptions {
        devices_per_account: 10_000,
        grants_per_account: 10_000,
        ..StoreOptions::default()
    };
    let store = open(&path, options);
    enrol(&store, 1, account(1), device(0));
    let register = |number| Query::Register {
        account: account(1),
        device: device(number),
        name: name("a phone with a long name"),
    };
    let grant = |number| Query::Grant {
        recipient: device(number % devices.min(7)),
        sender: device(number),
    };
    let queries = (1..devices).map(register).chain((0..2 * devices).map(grant));
    assert!(flood(&store, queries).iter().all(|answer| *answer == Answer::Done));
    store.close();
    (directory, path)
}

#[test]
fn it_is_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path, small());
    assert_eq!(open_fails(&path), StoreError::InUse { path: path.clone() });
    assert_eq!(store.call(Query::Device { device: device(1) }), Answer::Unknown, "undisturbed");
    store.close();
    open(&path, small());
}

#[test]
fn it_is_closed_to_others() {
    let (_directory, path) = closed(1);
    let check = |file: &Path, mode: u32, remedy: u32| {
        let good = fs::metadata(file).unwrap().permissions();
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        let error = open_fails(&path);
        assert_eq!(error, StoreError::Mode { path: file.to_owned(), mode, remedy });
        let sentence = error.to_string();
        assert!(
            sentence.contains(&format!("`chmod {remedy:03o} {}`", file.display())),
            "{sentence}"
        );
        fs::set_permissions(file, good).unwrap();
    };
    check(&path, 0o755, 0o700);
    check(&path, 0o710, 0o700);
    check(&path.join("data.mdb"), 0o644, 0o600);
    check(&path.join("data.mdb"), 0o620, 0o600);
    open(&path, small());
}

#[test]
fn it_belongs_to_this_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    // Root gives it to somebody else; anybody else is shown the root directory.
    let foreign = if chown(&path, Some(1), None).is_ok() { path } else { PathBuf::from("/") };
    let StoreError::Owner { owner, user, .. } = open_fails(&foreign) else { panic!("no owner") };
    assert_ne!(owner, user);
    assert!(!foreign.join("data.mdb").exists(), "nothing was made there");
}

#[test]
fn other_things_in_its_place_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let kind = |path: PathBuf, expected| StoreError::Kind { path, expected };
    assert_eq!(open_fails(&file), kind(file.clone(), "directory"));

    let check = |make: &dyn Fn(&Path)| {
        let (_directory, path) = closed(1);
        let data = path.join("data.mdb");
        fs::remove_file(&data).unwrap();
        make(&data);
        assert_eq!(open_fails(&path), kind(data, "regular file"));
    };
    check(&|data| fs::create_dir(data).unwrap());
    check(&|data| symlink("/dev/zero", data).unwrap());
}

#[test]
fn another_kind_of_file_is_foreign() {
    let check = |content: &[u8]| {
        let (_directory, path) = closed(1);
        let data = path.join("data.mdb");
        fs::write(&data, content).unwrap();
        let error = open_fails(&path);
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&data).unwrap(), content, "it was left alone");
    };
    check(b"x");
    check(&[0; 8_192]);
    check("SQLite format 3\0".repeat(4_000).as_bytes());
}

#[test]
fn a_cut_file_is_damaged() {
    let (_directory, path) = closed(300);
    let data = path.join("data.mdb");
    let whole = fs::read(&data).unwrap();
    let mut found = 0;
    for pages in 1..whole.len() / 4_096 {
        for len in [pages * 4_096, pages * 4_096 + 100] {
            fs::write(&data, &whole[..len]).unwrap();
            match Store::open(&path, small(), seeded()) {
                Err(StoreError::Corrupt { .. }) => found += 1,
                Err(other) => panic!("cut to {len}: {other}"),
                // Only free pages were cut off.
                Ok(store) => assert!(matches!(store.call(Query::Stats), Answer::Stats(_))),
            }
        }
    }
    assert!(found > 30, "{found} of {}", whole.len() / 4_096 * 2);
    fs::write(&data, &whole).unwrap();
    open(&path, small());
}

/// Opens a damaged file and uses every table of it. Says whether the damage was noticed at all.
fn survives(path: &Path) -> bool {
    let store = match Store::open(path, small(), seeded()) {
        Ok(store) => store,
        Err(
            StoreError::Corrupt { .. }
            | StoreError::CorruptValue { .. }
            | StoreError::Foreign { .. },
        ) => {
            return true;
        }
        Err(other) => panic!("{other}"),
    };
    let reads = (0..300).map(|number| Query::Device { device: device(number) });
    let writes = (0..40).flat_map(|number| {
        let device = device(number);
        [
            Query::PresenceHide { device, hidden: true },
            Query::Grant { recipient: device, sender: device },
            Query::Ungrant { recipient: device, sender: device },
        ]
    });
    let mut noticed = false;
    for answer in flood(&store, reads.chain(writes)) {
        match answer {
            Answer::Row(_) | Answer::Done => {}
            Answer::Unknown | Answer::Refused(_) | Answer::Failed(_) => noticed = true,
            other @ (Answer::Offline { .. } | Answer::Devices { .. } | Answer::Stats(_)) => {
                panic!("{other:?}")
            }
        }
    }
    let list = store.call(Query::Devices { after: None, limit: 300 });
    assert!(matches!(list, Answer::Devices { .. }), "{list:?}");
    noticed | (store.counters().corrupt_values > 0)
}

#[test]
fn an_overwritten_page_is_found_before_it_is_used() {
    let (_directory, path) = closed(300);
    let data = path.join("data.mdb");
    let whole = fs::read(&data).unwrap();
    let pages = whole.len() / 4_096;
    let mut found = 0;
    for page in 0..pages {
        let other = whole[(page + 7) % pages * 4_096..][..4_096].to_vec();
        for garbage in [vec![0; 4_096], vec![0xff; 4_096], other] {
            fs::write(&data, &whole).unwrap();
            let file = OpenOptions::new().write(true).open(&data).unwrap();
            file.write_all_at(&garbage, page as u64 * 4_096).unwrap();
            found += usize::from(survives(&path));
        }
    }
    assert!(found > pages, "{found} of {}", pages * 3);
}

#[test]
fn no_flipped_bit_ends_the_process() {
    let (_directory, path) = closed(300);
    let data = path.join("data.mdb");
    let whole = fs::read(&data).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut found = 0;
    for _ in 0..400 {
        let mut bad = whole.clone();
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = usize::try_from(state >> 20).unwrap() % (bad.len() * 8);
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&data, &bad).unwrap();
        found += usize::from(survives(&path));
    }
    assert!(found > 100, "{found} of 400");
}

#[test]
fn a_damaged_record_concerns_nobody_else() {
    let (_directory, path) = closed(3);
    let data = path.join("data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    // The name stands in the row only, of which older copies may be lying in free pages.
    let key = *device(1).as_bytes();
    let rows: Vec<usize> = (0..bytes.len() - 100)
        .filter(|&at| bytes[at..].starts_with(&key) && bytes[at + 32..at + 34] == [1, 0])
        .collect();
    assert!(!rows.is_empty());
    for at in rows {
        bytes[at + 34] ^= 1;
    }
    fs::write(&data, bytes).unwrap();

    let store = open(&path, small());
    let query = |number| store.call(Query::Device { device: device(number) });
    let Answer::Failed(error) = query(1) else { panic!("the damage was not found") };
    assert!(error.to_string().starts_with("a record in the table `devices` is damaged"), "{error}");
    assert!(matches!(query(0), Answer::Row(_)) && matches!(query(2), Answer::Row(_)));

    // In one batch with it, the others get through too.
    let (answers, received) = collect();
    let client = store.client(answers);
    for number in 0..3 {
        let hide = Query::PresenceHide { device: device(number), hidden: true };
        client.submit(number, hide).unwrap();
    }
    let mut outcomes: Vec<(u64, bool)> =
        (0..3).map(|_| received.recv().unwrap()).map(|(n, a)| (n, a == Answer::Done)).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, [(0, true), (1, false), (2, true)]);
    let Answer::Devices { page, next: None } = store.call(Query::Devices { after: None, limit: 9 })
    else {
        panic!("no list")
    };
    assert_eq!(page.len(), 2, "the list leaves it out");
    assert_eq!(store.counters().corrupt_values, 3);
}

#[test]
fn impossible_options_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let check = |map_bytes_start, map_bytes_max, devices_per_account| {
        let options = StoreOptions {
            map_bytes_start,
            map_bytes_max,
            devices_per_account,
            ..StoreOptions::default()
        };
        let error = Store::open(directory.path().join("store"), options, seeded()).unwrap_err();
        assert!(matches!(error, StoreError::Options(_)), "{error}");
    };
    check(4_096, 1 << 20, 64);
    check(2 << 20, 1 << 20, 64);
    check(1 << 20, usize::MAX, 64);
    check(1 << 20, 1 << 20, 0);
    check(1 << 20, 1 << 20, 70_000);
    assert!(!directory.path().join("store").exists());
}
