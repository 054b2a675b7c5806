//! What must outlive a process: codes that were tried, and what the relay has not been told yet.

use super::*;
use crate::suite::limits::{SPOKEN_BURNT_MAX, SPOKEN_BURNT_S};

#[test]
fn a_code_that_was_tried_is_not_tried_again_whoever_opens_the_keystore() {
    let (_directory, path, mut keystore) = created();
    let (code, other) = (spoken("7-apple-river"), spoken("8-apple-river"));
    assert!(keystore.burn(&code, 100).expect("stored").is_some());
    // As after a kill: nothing is closed in order.
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("the same keystore");
    assert!(keystore.is_burnt(&spoken("7 APPLE river"), 101));
    assert!(keystore.burn(&code, 101).expect("nothing to store").is_none());
    assert!(!keystore.is_burnt(&other, 101));
    assert!(keystore.burn(&other, 101).expect("stored").is_some());
    // Nobody remembers it the next day.
    let tomorrow = 100 + SPOKEN_BURNT_S;
    assert!(keystore.is_burnt(&code, tomorrow - 1));
    assert!(keystore.burn(&code, tomorrow).expect("stored").is_some());
    let file = fs::read_to_string(path.join("codes.json")).expect("a file");
    assert!(!file.contains("apple"), "{file}");
    assert_eq!(mode(&path.join("codes.json")), 0o600);
}

#[test]
fn the_list_of_codes_has_an_end_and_refuses_rather_than_forgets() {
    let (_directory, path, mut keystore) = created();
    for nameplate in 1..=SPOKEN_BURNT_MAX {
        let code = spoken(&format!("{nameplate}-zoo-zoo"));
        assert!(keystore.burn(&code, 0).expect("stored").is_some());
    }
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("the longest list is read back");
    let error = keystore.burn(&spoken("99-zoo-zoo"), 0).expect_err("full");
    assert!(error.to_string().contains("tomorrow"), "{error}");
    assert!(keystore.is_burnt(&spoken("1-zoo-zoo"), 0));
    assert!(keystore.burn(&spoken("99-zoo-zoo"), SPOKEN_BURNT_S).expect("stored").is_some());
}

#[test]
fn damage_to_the_list_is_found() {
    let (_directory, path, mut keystore) = created();
    keystore.burn(&spoken("7-apple-river"), 0).expect("stored");
    drop(keystore);
    let entry = format!(r#"{{"mark":"{}","until_s":1}}"#, "0".repeat(64));
    let many = vec![entry.as_str(); SPOKEN_BURNT_MAX + 1].join(",");
    for line in [
        r#"{"version":1,"codes":[{"mark":"00","until_s":1}]}"#.to_owned(),
        r#"{"version":1,"codes":[{"until_s":1}]}"#.to_owned(),
        format!(r#"{{"version":1,"codes":[{many}]}}"#),
    ] {
        write_record(&path.join("codes.json"), &line);
        let error = Keystore::open(&path).expect_err("damaged");
        assert!(matches!(error, KeystoreError::Corrupt { .. }), "{line}: {error:?}");
    }
}

#[test]
fn grants_are_wanted_until_the_relay_has_answered() {
    let (_directory, path, mut keystore) = created();
    let (two, three) = (peer(2).device_id(), peer(3).device_id());
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    keystore.add_peer_one_way(&paired(&peer(3), Suite::HybridAes), "three", 0).expect("stored");
    let grants = |keystore: &Keystore| [two, three].map(|id| keystore.peer(&id).map(Peer::grant));
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!(grants(&keystore), [Some(Grant::Wanted), Some(Grant::None)]);
    for grant in [Grant::Given, Grant::Withdrawn, Grant::None, Grant::Given] {
        keystore.set_grant(&two, grant).expect("stored");
        drop(keystore);
        keystore = Keystore::open(&path).expect("the same keystore");
        assert_eq!(keystore.peer(&two).map(Peer::grant), Some(grant));
    }
    // Paired anew, one-way: what was given is taken back.
    keystore.add_peer_one_way(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    assert_eq!(grants(&keystore), [Some(Grant::Withdrawn), Some(Grant::None)]);
    keystore.add_peer(&paired(&peer(3), Suite::HybridAes), "three", 0).expect("stored");
    assert_eq!(grants(&keystore), [Some(Grant::Withdrawn), Some(Grant::Wanted)]);
}

#[test]
fn peers_of_a_keystore_without_wishes_are_granted_once_more() {
    let (_directory, path, mut keystore) = created();
    let two = peer(2).device_id();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    keystore.set_grant(&two, Grant::Given).expect("stored");
    drop(keystore);
    let file = path.join(PEERS).join(two.to_text() + SUFFIX);
    let text = fs::read_to_string(&file).expect("a record");
    let line = text.lines().next().expect("a line").replace(r#","grant":"given""#, "");
    assert!(!line.contains("grant"), "{line}");
    write_record(&file, &line);
    let keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!(keystore.peer(&two).map(Peer::grant), Some(Grant::Wanted));
}

#[test]
fn a_removed_peer_is_remembered_until_the_relay_knows() {
    let (_directory, path, mut keystore) = created();
    let two = peer(2).device_id();
    let stored = paired(&peer(2), Suite::HybridAes);
    keystore.add_peer(&stored, "two", 0).expect("stored");
    keystore.remove_peer(&two).expect("removed");
    drop(keystore);
    let mut keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!((keystore.peers().count(), keystore.unpaired().collect::<Vec<_>>()), (0, vec![two]));
    // Paired again: nothing is to be taken back.
    keystore.add_peer(&stored, "two", 0).expect("stored");
    assert_eq!(keystore.unpaired().count(), 0);
    keystore.remove_peer(&two).expect("removed");
    keystore.forget_unpaired(&two).expect("told");
    keystore.forget_unpaired(&two).expect("nothing to do");
    drop(keystore);
    let keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!((keystore.peers().count(), keystore.unpaired().count()), (0, 0));
}

/// Killed between the two steps of a removal: it is carried on.
#[test]
fn a_removal_that_was_interrupted_goes_on() {
    let (_directory, path, mut keystore) = created();
    let two = peer(2).device_id();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    let file = path.join(PEERS).join(two.to_text() + SUFFIX);
    let kept = fs::read(&file).expect("a record");
    keystore.remove_peer(&two).expect("removed");
    drop(keystore);
    fs::write(&file, kept).expect("as it was");
    set_mode(&file, 0o600);
    let keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!((keystore.peers().count(), keystore.unpaired().count()), (0, 1));
    assert!(!file.exists());
}

#[test]
fn damage_to_removed_peers_is_found() {
    let (_directory, path, mut keystore) = created();
    let two = peer(2).device_id();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    keystore.remove_peer(&two).expect("removed");
    drop(keystore);
    let file = path.join("unpaired").join(two.to_text() + SUFFIX);
    let other = peer(3).device_id().to_text();
    for line in [r#"{"version":1}"#.into(), format!(r#"{{"version":1,"device":"{other}"}}"#)] {
        write_record(&file, &line);
        let error = Keystore::open(&path).expect_err("damaged");
        assert!(matches!(error, KeystoreError::Corrupt { .. }), "{line}: {error:?}");
    }
}
