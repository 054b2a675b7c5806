//! What a client does about its account by itself: it answers devices of the account, brings their logs together whenever
//! a session comes up, takes peers' new keys, and finishes its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hushwire_wire::control::{ErrorCode, Request};
use hushwire_wire::id::DeviceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::Shared;
use super::clock::moment;
use super::event::Event;
use super::limits::{
    STEWARD_CHANNELS_MAX, STEWARD_CHANNELS_OF_PEER_MAX, STEWARD_MS_MAX, STEWARD_ROUNDS_MAX,
    WISH_RETRY_MS,
};
use super::stream::{self, StreamReader};
use crate::account::{
    AccountLog, MESSAGE_BYTES_MAX, Merge, Message, Phase, Proof, Repinned, RotationError,
    STATEMENT_LEN, Statement,
};
use crate::conversation::preamble::Label;
use crate::error::{Error, code_is_retryable};

const ACCOUNT: &str = "hushwire/account/1";
const ROTATION: &str = "hushwire/rotation/1";
/// Labels of streams that come here.
pub(super) const LABELS: [&str; 2] = [ACCOUNT, ROTATION];

/// Answers to a statement.
pub(super) const TAKEN: u8 = 1;
const LATER: u8 = 2;
const REFUSED: u8 = 3;

/// What is under way, and how much of it with whom.
#[derive(Default)]
struct Work {
    jobs: JoinSet<Done>,
    serving: BTreeMap<DeviceId, usize>,
    greeting: BTreeSet<DeviceId>,
    /// Something changed while the peer was being greeted.
    again: BTreeSet<DeviceId>,
}

enum Done {
    Served(DeviceId),
    Greeted(DeviceId),
    Finished,
}

impl Work {
    fn serve(&mut self, shared: &Arc<Shared>, reader: StreamReader) {
        let peer = reader.peer();
        let of_peer = self.serving.entry(peer).or_default();
        // Beyond that the peer reads an empty answer.
        if *of_peer < STEWARD_CHANNELS_OF_PEER_MAX && self.jobs.len() < STEWARD_CHANNELS_MAX {
            *of_peer += 1;
            let shared = shared.clone();
            self.jobs.spawn(async move {
                in_time(serve(shared, reader)).await;
                Done::Served(peer)
            });
        }
    }

    fn greet(&mut self, shared: &Arc<Shared>, peer: DeviceId) {
        if !self.greeting.insert(peer) {
            self.again.insert(peer);
            return;
        }
        let shared = shared.clone();
        self.jobs.spawn(async move {
            in_time(greet(&shared, peer)).await;
            Done::Greeted(peer)
        });
    }

    fn done(&mut self, shared: &Arc<Shared>, done: &Done) {
        match done {
            Done::Served(peer) => {
                let left = self.serving.get_mut(peer).map(|count| {
                    *count -= 1;
                    *count
                });
                if left == Some(0) {
                    self.serving.remove(peer);
                }
            }
            Done::Greeted(peer) => {
                self.greeting.remove(peer);
                if self.again.remove(peer) {
                    self.greet(shared, *peer);
                }
            }
            Done::Finished => {}
        }
    }
}

/// Serves until the client ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut events = shared.state.lock().events.subscribe();
    let mut work = Work::default();
    let own = shared.clone();
    work.jobs.spawn(async move {
        finish_rotation(&own).await;
        Done::Finished
    });
    shared.state.lock().account_changed = true;
    loop {
        let (incoming, changed) = (shared.incoming.notified(), shared.account.notified());
        tokio::pin!(incoming, changed);
        incoming.as_mut().enable();
        changed.as_mut().enable();
        loop {
            let (next, ended) = {
                let mut state = shared.state.lock();
                (state.accept_account(), state.ended.is_some())
            };
            if ended {
                return;
            }
            let Some(next) = next else { break };
            work.serve(&shared, StreamReader::accepted(shared.clone(), next));
        }
        // A notification alone could be lost to another one that comes at the same time.
        if std::mem::take(&mut shared.state.lock().account_changed) {
            members(&shared).into_iter().for_each(|peer| work.greet(&shared, peer));
        }
        tokio::select! {
            () = incoming => {}
            () = changed => {}
            event = events.recv() => match event {
                Ok(Event::PeerUp { peer }) => work.greet(&shared, peer),
                Ok(Event::Connected { .. }) | Err(RecvError::Lagged(_)) => {
                    shared.state.lock().account_changed = true;
                }
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            },
            Some(done) = work.jobs.join_next() => if let Ok(done) = done {
                work.done(&shared, &done);
            },
        }
    }
}

async fn in_time(job: impl Future<Output = Result<(), Error>>) {
    let patience = Duration::from_millis(STEWARD_MS_MAX);
    // What failed is tried again with the next session; nobody waits for it.
    let _failed = tokio::time::timeout(patience, job).await;
}

/// Devices of the account that are peers, and those that have just been removed: they should hear it.
pub(super) fn members(shared: &Shared) -> Vec<DeviceId> {
    let mut state = shared.state.lock();
    let Some(log) = state.keystore.account_log() else { return Vec::new() };
    let mut members: Vec<_> = log.members().map(|member| member.device).collect();
    members.extend_from_slice(&state.dismissed);
    members.retain(|device| state.keystore.peer(device).is_some());
    state.dismissed.retain(|device| members.contains(device));
    members
}

/// Asks a peer something and reads what it answers.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    peer: DeviceId,
    label: &str,
    question: &[u8],
) -> Result<Vec<u8>, Error> {
    let (mut writer, reader) = stream::open_channel(shared, peer, Label::new(label)?).await?;
    let asked = async {
        writer.write_all(question).await?;
        writer.shutdown().await
    };
    let (asked, answer) = tokio::join!(asked, read_all(reader));
    asked.map_err(|_| Error::NoAnswer)?;
    answer
}

pub(super) async fn ask_account(
    shared: &Arc<Shared>,
    peer: DeviceId,
    message: &Message,
) -> Result<Message, Error> {
    let answer = ask(shared, peer, ACCOUNT, &message.encode()).await?;
    Ok(Message::decode(&answer)?)
}

pub(super) async fn tell_statement(
    shared: &Arc<Shared>,
    peer: DeviceId,
    statement: &Statement,
) -> Result<bool, Error> {
    Ok(ask(shared, peer, ROTATION, &statement.encode()).await? == [TAKEN])
}

async fn read_all(reader: StreamReader) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let bytes_max = MESSAGE_BYTES_MAX as u64;
    reader.take(bytes_max + 1).read_to_end(&mut bytes).await.map_err(|_| Error::NoAnswer)?;
    Ok(bytes)
}

/// Brings the logs of two devices together.
pub(super) async fn greet(shared: &Arc<Shared>, peer: DeviceId) -> Result<(), Error> {
    let greeting = {
        let state = shared.state.lock();
        let farewell = state.dismissed.contains(&peer);
        let Some(log) = state.keystore.account_log() else { return Ok(()) };
        match log.member(&peer) {
            Some(_) => log.greeting(),
            // What comes after it is none of its business.
            None if farewell => Message::Entries(log.entries_from(0)),
            None => return Ok(()),
        }
    };
    let mut message = greeting;
    for _ in 0..STEWARD_ROUNDS_MAX {
        let answer = ask_account(shared, peer, &message).await?;
        if matches!(answer, Message::Same | Message::Nothing) {
            break;
        }
        message = hear(shared, &answer);
        if matches!(message, Message::Same | Message::Nothing) {
            break;
        }
    }
    shared.state.lock().dismissed.retain(|device| *device != peer);
    Ok(())
}

/// Lets the log hear a message of a member. Signatures are verified without holding up everybody else.
fn hear(shared: &Shared, message: &Message) -> Message {
    loop {
        let (before, identity) = {
            let state = shared.state.lock();
            let secret = state.keystore.identity().secret();
            (state.keystore.account_log().cloned(), crate::identity::Identity::from_secret(&secret))
        };
        let Some(before) = before else { return Message::Nothing };
        let mut log = before.clone();
        let now_ms = moment().unix_ns / 1_000_000;
        let (merge, answer) = log.hear(&identity, message, now_ms);
        match replace_log(shared, Some(&before), log, merge.as_ref()) {
            Ok(true) => return answer,
            Ok(false) => {}
            Err(_) => return Message::Nothing,
        }
    }
}

/// Stores a log in place of the one that it was made of, and tells what is new. `false` where there is another one by
/// now.
pub(super) fn replace_log(
    shared: &Shared,
    before: Option<&AccountLog>,
    log: AccountLog,
    merge: Option<&Merge>,
) -> Result<bool, Error> {
    let mut state = shared.state.lock();
    let bytes = log.encode();
    let present = state.keystore.account_log().map(AccountLog::encode);
    if present != before.map(AccountLog::encode) {
        return Ok(false);
    }
    if present.as_ref() == Some(&bytes) {
        return Ok(true);
    }
    let members = |log: &AccountLog| log.members().map(|m| m.device).collect::<Vec<_>>();
    let (were, are) = (before.map(members).unwrap_or_default(), members(&log));
    if let Err(error) = state.keystore.set_account_log(log) {
        state.tell(Event::KeystoreFailed { why: error.to_string() });
        return Err(error.into());
    }
    for device in are.iter().filter(|device| !were.contains(device)).copied() {
        state.tell(Event::DeviceAdded { device });
    }
    for device in were.iter().filter(|device| !are.contains(device)).copied() {
        state.tell(Event::DeviceRemoved { device });
        state.dismissed.push(device);
    }
    if let Some(Merge::Forked { at, by }) = merge {
        state.tell(Event::AccountForked { at: *at, by: by.clone() });
    }
    state.account_changed = true;
    state.tell(Event::AccountChanged);
    drop(state);
    shared.account.notify_waiters();
    Ok(true)
}

/// Answers one channel.
async fn serve(shared: Arc<Shared>, mut reader: StreamReader) -> Result<(), Error> {
    let peer = reader.peer();
    let is_rotation = reader.label() == ROTATION;
    let mut writer = reader.reply().await?;
    let question = read_all(reader).await?;
    let mut moving = None;
    let answer = if is_rotation {
        let answer = take_statement(&shared, peer, &question);
        if answer == TAKEN {
            moving = Some(Moving { shared: shared.clone(), old: peer });
            let patience = Duration::from_millis(WISH_RETRY_MS);
            // A relay that says nothing for so long is asked again like for any wish.
            let _later = tokio::time::timeout(patience, let_in(&shared, peer)).await;
        }
        vec![answer]
    } else {
        // What is no message is answered with nothing, so that nobody waits for more.
        let message = Message::decode(&question).ok();
        message.map(|message| answer(&shared, peer, &message).encode()).unwrap_or_default()
    };
    let said = async {
        writer.write_all(&answer).await?;
        writer.shutdown().await
    };
    let said = said.await.map_err(|_| Error::NoAnswer);
    drop(moving);
    said
}

/// Has the relay let a peer's new key in before the peer hears that the key is known: it may send at once.
async fn let_in(shared: &Shared, old: DeviceId) {
    let answer = {
        let mut state = shared.state.lock();
        let Some(new) = state.keystore.superseded_by(&old) else { return };
        state.wish(new)
    };
    if let Ok(Some(answer)) = answer {
        shared.work.notify_one();
        // Refused or not, the keystore keeps the wish until it is granted.
        let _said = answer.await;
    }
}

/// A peer whose new key is in the keystore. It is moved once the old device has heard so, and in any case when nobody
/// tries to tell it any more.
struct Moving {
    shared: Arc<Shared>,
    old: DeviceId,
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.shared.state.lock().move_peer(self.old);
        self.shared.wake();
        self.shared.work.notify_one();
    }
}

fn answer(shared: &Shared, peer: DeviceId, message: &Message) -> Message {
    let mut state = shared.state.lock();
    let joining = state.joining.filter(|(from, _)| *from == peer).map(|(_, log)| log);
    match (state.keystore.account_log(), message, joining) {
        (None, Message::Invite { log }, Some(_)) => {
            let proof = Proof::sign(state.keystore.identity(), log);
            state.joining = Some((peer, Some(*log)));
            Message::Consent(proof)
        }
        (None, Message::Welcome(bytes), Some(Some(expected))) => {
            let joined = AccountLog::join(bytes, &state.ours);
            let joined = joined.ok().filter(|log| log.id() == expected);
            drop(state);
            let taken = joined.is_some_and(|log| replace_log(shared, None, log, None).is_ok());
            if taken { Message::Taken } else { Message::Nothing }
        }
        (Some(_), Message::Head { .. } | Message::Want { .. } | Message::Entries(_), _)
            if state.keystore.is_of_account(&peer) =>
        {
            drop(state);
            hear(shared, message)
        }
        _ => Message::Nothing,
    }
}

fn take_statement(shared: &Shared, peer: DeviceId, bytes: &[u8]) -> u8 {
    let mut state = shared.state.lock();
    let statement = bytes.first_chunk::<STATEMENT_LEN>().filter(|whole| whole.len() == bytes.len());
    let Some(Ok(statement)) = statement.map(|bytes| Statement::decode(bytes)) else {
        return REFUSED;
    };
    match state.keystore.repin_peer(&peer, &statement) {
        Ok(Repinned::Now | Repinned::Before) => TAKEN,
        Err(RotationError::Later) => LATER,
        Err(error) => {
            state.tell(Event::RotationRefused { peer, why: error.to_string() });
            REFUSED
        }
    }
}

/// The first thing a device does under its new key: the old one is revoked, however long that takes. Its peers are
/// granted as all wishes are.
async fn finish_rotation(shared: &Shared) {
    let old = {
        let state = shared.state.lock();
        let switched = state.keystore.rotation().filter(|own| own.phase() == Phase::Switched);
        let Some(old) = switched.map(|rotation| rotation.statement().old()) else { return };
        old
    };
    loop {
        let wait = match shared.request(Request::Revoke { device: old }).await {
            Ok(_) => break,
            // The relay has revoked so many since that it has forgotten this one.
            Err(Error::Refused { code: ErrorCode::UnknownDevice, .. }) => break,
            Err(Error::Refused { code, sentence, wait }) => {
                if !code_is_retryable(code) {
                    let why =
                        format!("the relay does not revoke this device's old key: {sentence}");
                    shared.state.lock().tell(Event::RotationRefused { peer: old, why });
                    // It is tried again after the next start: somebody has to do something about it first.
                    return;
                }
                wait
            }
            Err(error) if error.is_retryable() => None,
            Err(_) => return,
        };
        tokio::time::sleep(wait.unwrap_or(Duration::from_millis(WISH_RETRY_MS))).await;
    }
    let mut state = shared.state.lock();
    if let Err(error) = state.keystore.finish_rotation() {
        state.tell(Event::KeystoreFailed { why: error.to_string() });
    }
    state.tell(Event::RotationFinished { old });
}
