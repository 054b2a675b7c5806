//! `hush devices` and `hush rotate`: the devices of one account, and a new key for this one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hushwire::Error;
use hushwire::account::{AccountLog, Entry, Keep, Member, Operation, Phase};
use hushwire::client::{Client, Event, Rotated};
use hushwire::keystore::{Grant, Keystore, KeystoreError, Peer};
use hushwire::pairing::Fingerprint;
use hushwire_tools::days::date;
use hushwire_wire::id::DeviceId;
use hushwire_wire::text;
use serde_json::{Value, json};

use crate::arguments::{Devices, Rotate};
use crate::commands::{PATIENCE, connect, now_s, short};
use crate::home::{self, Home};
use crate::terminal::{Unheard, confirm, note, show};

/// How long other devices are waited for that may not be there.
const OTHERS: Duration = Duration::from_secs(10);
/// A device that does not join yet is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A keystore that a client lets go of is tried again after this, so often.
const REOPEN: Duration = Duration::from_millis(20);
const REOPENED_MAX: usize = 250;

pub(crate) async fn devices(home: &Home, action: Option<Devices>, json: bool) -> Result<()> {
    match action {
        None => list(&home.open()?, json),
        Some(Devices::Begin { name }) => begin(home, &name, json),
        Some(Devices::Add { peer, name }) => interruptible(add(home, &peer, name, json)).await,
        Some(Devices::Join { peer }) => interruptible(join(home, &peer, json)).await,
        Some(Devices::Remove { device, yes }) => remove(home, &device, yes, json).await,
        Some(Devices::Sync) => sync(home, json).await,
        Some(Devices::Settle { keep }) => settle(home, keep.into(), json).await,
    }
}

async fn interruptible(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; run it again on both devices to go on"),
    }
}

fn list(keystore: &Keystore, json: bool) -> Result<()> {
    let Some(log) = keystore.account_log() else {
        let text = "this device belongs to no account of several devices: `hush devices begin NAME` begins one, \
                    `hush devices join PEER` joins that of another device";
        return show(json, text, &json!({ "devices": [], "fingerprint": null, "forked": false }));
    };
    let (mut entries, mut values) = (Vec::new(), Vec::new());
    for member in log.members() {
        let (entry, value) = shown(keystore, log, member);
        entries.push(entry);
        values.push(value);
    }
    let (fingerprint, fork) = (log.fingerprint(), contradiction(log));
    let forked = fork.is_some();
    entries.extend(fork);
    let value = json!({ "devices": values, "fingerprint": fingerprint, "forked": forked });
    show(json, &entries.join("\n\n"), &value)?;
    note(json, &format!("\nOn all of them `hush devices` ends with the same: {fingerprint}"));
    Ok(())
}

/// One device, for a person and for a program.
fn shown(keystore: &Keystore, log: &AccountLog, member: &Member) -> (String, Value) {
    let own = member.device == keystore.identity().device_id();
    let (name, peer) = (text::plain(&member.name, usize::MAX), keystore.peer(&member.device));
    let known = match peer {
        _ if own => "this device".to_owned(),
        Some(peer) => format!("paired as {}", text::plain(peer.name(), usize::MAX)),
        None => "not paired with this device".to_owned(),
    };
    let by = if member.added_by == member.device {
        "itself".to_owned()
    } else {
        called(log, &member.added_by)
    };
    let days = u32::try_from(member.since_ms / 86_400_000).unwrap_or_default();
    let fingerprint = Fingerprint::of(member.device).to_string();
    let entry =
        format!("{name} ({known})\n  {fingerprint}\n  since {} (UTC), added by {by}", date(days));
    let value = json!({
        "device": member.device.to_text(),
        "name": name,
        "this": own,
        "fingerprint": fingerprint,
        "added_by": member.added_by.to_text(),
        "since_ms": member.since_ms,
        "paired_as": peer.map(|peer| text::plain(peer.name(), usize::MAX)),
    });
    (entry, value)
}

/// What the account calls a device, or the beginning of its ID where it is in it no longer.
fn called(log: &AccountLog, device: &DeviceId) -> String {
    log.member(device).map_or_else(|| short(*device), |found| text::plain(&found.name, usize::MAX))
}

/// What a person has to decide, if there is anything.
fn contradiction(log: &AccountLog) -> Option<String> {
    let fork = log.fork()?;
    let by: Vec<_> = fork.by.iter().map(|device| called(log, device)).collect();
    let branch = |entries: &[Entry]| {
        let told = entries.iter().map(|entry| told(log, entry));
        told.collect::<Vec<_>>().join("\n    ")
    };
    Some(format!(
        "Two histories contradict each other: {} signed both, or they removed each other. Find out which is right, then run\n  \
         hush devices settle first, where this is right:\n    {}\n  hush devices settle later, where this is:\n    {}",
        by.join(" and "),
        branch(fork.ours),
        branch(fork.theirs),
    ))
}

fn told(log: &AccountLog, entry: &Entry) -> String {
    let actor = called(log, &entry.actor());
    match entry.operation() {
        Operation::Genesis { name } => {
            format!("{actor} begins as {}", text::plain(name, usize::MAX))
        }
        Operation::Add { device, name, .. } => {
            format!("{actor} adds {} ({})", text::plain(name, usize::MAX), short(*device))
        }
        Operation::Remove { device } => format!("{actor} removes {}", called(log, device)),
        Operation::Rotate(statement) => {
            format!("{} goes on as {}", short(statement.old()), short(statement.new_device()))
        }
    }
}

/// Works without the relay: nobody else is concerned yet.
fn begin(home: &Home, name: &str, json: bool) -> Result<()> {
    let mut keystore = home.open()?;
    let device = keystore.identity().device_id();
    if keystore.account_log().is_some() {
        return Err(Error::from(hushwire::account::LogError::Present(device)).into());
    }
    let log = AccountLog::begin(keystore.identity(), name, now_s() * 1_000).map_err(Error::from)?;
    keystore.set_account_log(log)?;
    let text = format!(
        "{name} is the first device of the account\nNext: hush devices add PEER here, hush devices join PEER over there"
    );
    show(json, &text, &json!({ "device": device.to_text(), "name": name }))
}

async fn add(home: &Home, peer: &str, name: Option<String>, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let device = home::peer(&keystore, peer)?;
    let name = match name {
        Some(name) => name,
        None => keystore.peer(&device).map(|peer| peer.name().to_owned()).unwrap_or_default(),
    };
    let client = connect(keystore).await?;
    if client.account().is_none() {
        return Err(Error::NoAccount.into());
    }
    let here = short(client.device());
    note(json, &format!("waiting; run on {name}: hush devices join {here}"));
    loop {
        match client.add_device(device, &name).await {
            Err(Error::NotJoining(_)) => tokio::time::sleep(ASK_AGAIN).await,
            added => break added?,
        }
    }
    let unheard = client.sync_devices(OTHERS).await;
    client.close().await;
    let text = format!("{name} is a device of the account{}", later(&unheard));
    let value = json!({ "added": device.to_text(), "name": name, "unheard": names(&unheard) });
    show(json, &text, &value)
}

async fn join(home: &Home, peer: &str, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let device = home::peer(&keystore, peer)?;
    let client = connect(keystore).await?;
    note(json, &format!("waiting; run over there: hush devices add {}", short(client.device())));
    client.join_account(device).await?;
    let log = client.account().ok_or(Error::NoAccount)?;
    client.close().await;
    let devices: Vec<_> = log.members().map(|member| text::plain(&member.name, 64)).collect();
    let (text, fingerprint) = (format!("joined: {}", devices.join(", ")), log.fingerprint());
    show(json, &text, &json!({ "devices": devices, "fingerprint": fingerprint }))?;
    note(json, &format!("\nOn all of them `hush devices` ends with the same: {fingerprint}"));
    Ok(())
}

async fn remove(home: &Home, wanted: &str, yes: bool, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let log = keystore.account_log().ok_or(Error::NoAccount)?;
    let (device, name) = member(log, wanted)?;
    let own = device == keystore.identity().device_id();
    let client = connect(keystore).await?;
    let question = if own {
        "Take this device out of the account, for good?".to_owned()
    } else {
        format!("Remove {name} ({}) from the account, for good?", short(device))
    };
    if !yes
        && !confirm(json, &question, &json!({ "remove": device.to_text(), "name": name })).await?
    {
        bail!("nothing was changed");
    }
    client.remove_device(device)?;
    let unheard = client.sync_devices(OTHERS).await;
    client.close().await;
    let mut text = format!("{name} is a device of the account no longer{}", later(&unheard));
    if !own {
        text += "\nIt is still paired where it was: hush unpair; and enrolled: hushctl revoke.";
    }
    let value = json!({ "removed": device.to_text(), "name": name, "unheard": names(&unheard) });
    show(json, &text, &value)
}

async fn sync(home: &Home, json: bool) -> Result<()> {
    let client = connect(home.open()?).await?;
    let Some(_log) = client.account() else { return Err(Error::NoAccount.into()) };
    let unheard = client.sync_devices(OTHERS).await;
    let log = client.account().ok_or(Error::NoAccount)?;
    client.close().await;
    let count = log.members().count();
    let text = format!("{count} devices, {}{}", log.fingerprint(), later(&unheard));
    let value = json!({
        "devices": count, "fingerprint": log.fingerprint(), "unheard": names(&unheard),
    });
    show(json, &text, &value)
}

async fn settle(home: &Home, keep: Keep, json: bool) -> Result<()> {
    let client = connect(home.open()?).await?;
    client.settle_account(keep)?;
    let unheard = client.sync_devices(OTHERS).await;
    client.close().await;
    let text = format!("decided{}", later(&unheard));
    show(json, &text, &json!({ "settled": true, "unheard": names(&unheard) }))
}

/// The device that `wanted` means: a name, an ID, or the beginning of exactly one ID.
fn member(log: &AccountLog, wanted: &str) -> Result<(DeviceId, String)> {
    let named: Vec<_> = log.members().filter(|member| member.name == wanted).collect();
    let begins =
        |member: &&Member| !wanted.is_empty() && member.device.to_text().starts_with(wanted);
    let found = if named.is_empty() { log.members().filter(begins).collect() } else { named };
    match found.as_slice() {
        [found] => Ok((found.device, text::plain(&found.name, usize::MAX))),
        [] => bail!("no device of the account is called {wanted:?}: `hush devices` lists them"),
        _ => bail!("several devices of the account are called {wanted:?}: give an ID"),
    }
}

fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| text::plain(&member.name, usize::MAX)).collect()
}

fn later(unheard: &[Member]) -> String {
    if unheard.is_empty() {
        return String::new();
    }
    format!(
        "\nNot there now, and told when a session with them comes up: {}",
        names(unheard).join(", ")
    )
}

/// Replaces this device's key, or goes on with that.
pub(crate) async fn rotate(home: &Home, rotate: &Rotate, json: bool) -> Result<()> {
    let keystore = home.open()?;
    if rotate.cancel {
        let client = connect(keystore).await?;
        client.cancel_rotation().await?;
        client.close().await;
        return show(
            json,
            "called off: the key stays",
            &json!({ "rotated": false, "cancelled": true }),
        );
    }
    let phase = keystore.rotation().map(|rotation| rotation.phase());
    let (old, mut told) = match keystore.rotation() {
        Some(rotation) => (rotation.statement().old(), Vec::new()),
        None => (keystore.identity().device_id(), Vec::new()),
    };
    let mut left_behind = Vec::new();
    if phase != Some(Phase::Switched) {
        let peers: Vec<_> = keystore.peers().map(plain).collect();
        let question = format!(
            "Replace this device's key by a new one? Its {} peers are told; the old key, and words on paper that give it \
             back, are worth nothing afterwards.",
            peers.len()
        );
        let value = json!({ "rotate": old.to_text(), "peers": peers });
        if !rotate.yes && phase.is_none() && !confirm(json, &question, &value).await? {
            bail!("nothing was changed");
        }
        let client = connect(keystore).await?;
        let patience = Duration::from_secs(rotate.wait);
        match client.rotate(patience, rotate.leave_behind).await? {
            Rotated::Waiting { unheard } => {
                client.close().await;
                let unheard: Vec<_> = unheard.iter().map(|name| text::plain(name, 64)).collect();
                told = without(&peers, &unheard);
                let value = json!({ "rotated": false, "told": told, "unheard": unheard });
                show(json, &format!("told: {}", or_nobody(&told)), &value)?;
                return Err(Unheard(unheard.join(", ")).into());
            }
            Rotated::Done { left_behind: left, .. } => {
                left_behind = left.iter().map(|name| text::plain(name, 64)).collect();
                told = without(&peers, &left_behind);
            }
        }
    } else {
        // It is opened once more, by whoever connects with the new key.
        drop(keystore);
    }
    let (device, revoked) = finish(home, json).await?;
    let mut text = format!("this device is {device} now\ntold: {}", or_nobody(&told));
    if !left_behind.is_empty() {
        text += &format!(
            "\nleft behind, to be paired anew (hush unpair, then hush pair): {}",
            left_behind.join(", ")
        );
    }
    text += if revoked {
        "\nThe relay has revoked the old key."
    } else {
        "\nThe relay has still to revoke the old key: the next command that connects asks it to."
    };
    text += "\nWords on paper are those of the old key: hush backup makes new ones.";
    let value = json!({
        "rotated": true, "device": device.to_text(), "old": old.to_text(), "told": told,
        "left_behind": left_behind, "old_key_revoked": revoked,
    });
    show(json, &text, &value)
}

/// Connects with the new key, and waits until the relay has taken note of it.
async fn finish(home: &Home, json: bool) -> Result<(DeviceId, bool)> {
    let keystore = reopen(home).await?;
    let device = keystore.identity().device_id();
    let client = match connect(keystore).await {
        Ok(client) => client,
        Err(error) => {
            note(json, &format!("the relay cannot be told now: {error:#}"));
            return Ok((device, false));
        }
    };
    let mut events = client.events();
    let done = |client: &Client| {
        !client.is_rotating() && client.peers().iter().all(|peer| peer.grant != Grant::Wanted)
    };
    let finished = async {
        while !done(&client) {
            if let None | Some(Event::RotationRefused { .. }) = events.next().await {
                return;
            }
        }
    };
    let _late = tokio::time::timeout(PATIENCE, finished).await;
    let revoked = !client.is_rotating();
    client.close().await;
    Ok((device, revoked))
}

/// Opens a keystore that a client has just let go of.
async fn reopen(home: &Home) -> Result<Keystore> {
    for _ in 0..REOPENED_MAX {
        match home.open() {
            Err(error) if is_locked(&error) => tokio::time::sleep(REOPEN).await,
            opened => return opened,
        }
    }
    home.open().context("the new key is in place; run `hush rotate` again to finish")
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(KeystoreError::Locked { .. }))
}

fn plain(peer: &Peer) -> String {
    text::plain(peer.name(), usize::MAX)
}

fn without(all: &[String], these: &[String]) -> Vec<String> {
    all.iter().filter(|name| !these.contains(name)).cloned().collect()
}

fn or_nobody(names: &[String]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}
