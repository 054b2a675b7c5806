//! Which stream goes where: a stream's preamble is read here, before anybody gets the stream.
//!
//! Streams that answer go to the reader that awaits them, labels of the library to the library, everything else to
//! the application. What fits nowhere is refused, which costs the peer that stream and nothing else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use hushwire_wire::id::DeviceId;

use super::State;
use crate::client::clock::moment;
use crate::client::limits::ANSWERS_OWED_MAX;
use crate::client::steward;
use crate::conversation::preamble::{Label, MalformedPreamble, Preamble, PreambleReader};
use crate::conversation::{Conversation, Refusal, StreamError, StreamId, StreamRead};
use crate::error::Error;
use crate::transfer::message::LABEL;

type Key = (DeviceId, StreamId);

/// A stream that a peer has opened and that says what it is for.
#[derive(Debug)]
pub(in crate::client) struct Incoming {
    pub(in crate::client) peer: DeviceId,
    pub(in crate::client) id: StreamId,
    pub(in crate::client) label: Label,
    pub(in crate::client) awaits: bool,
}

/// What is known of the answer to a stream of ours.
#[derive(Debug)]
enum Answer {
    Waits(Option<Waker>),
    Arrived(StreamId),
    Failed(StreamError),
}

/// The writing end of a stream whose answer is awaited: what becomes of it may be the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Held,
    /// Its end was written and the application has let go of it; the peer has not read everything yet.
    LetGo,
    Over,
}

#[derive(Debug)]
struct Awaited {
    answer: Answer,
    writing: Writing,
}

impl Awaited {
    fn fail(&mut self, error: StreamError) -> Option<Waker> {
        let Answer::Waits(waker) = &mut self.answer else { return None };
        let waker = waker.take();
        self.answer = Answer::Failed(error);
        waker
    }
}

/// Of these there are never more than a conversation has streams, but for the answers that are awaited and owed.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// Streams whose preamble has not come whole.
    nameless: BTreeMap<Key, PreambleReader>,
    /// For the application, and whose turn it is.
    named: BTreeMap<DeviceId, VecDeque<Incoming>>,
    turn: VecDeque<DeviceId>,
    /// For the library's transfers.
    transfers: VecDeque<Incoming>,
    /// For the library: the log of the account, and new keys for old.
    account: VecDeque<Incoming>,
    /// Streams of ours whose answer a reader awaits.
    awaited: HashMap<Key, Awaited>,
    /// Streams of peers that await an answer and will get an empty one as soon as there is room.
    owed: VecDeque<Key>,
}

impl Routing {
    fn push(&mut self, incoming: Incoming) {
        let peer = incoming.peer;
        self.named.entry(peer).or_default().push_back(incoming);
        if !self.turn.contains(&peer) {
            self.turn.push_back(peer);
        }
    }

    /// The next stream for the application, peers in turn.
    fn take(&mut self) -> Option<Incoming> {
        while let Some(peer) = self.turn.pop_front() {
            let Some(queue) = self.named.get_mut(&peer) else { continue };
            let taken = queue.pop_front();
            if queue.is_empty() {
                self.named.remove(&peer);
            } else {
                self.turn.push_back(peer);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    fn queued(&mut self, peer: DeviceId) -> Vec<Incoming> {
        self.named.remove(&peer).map(Vec::from).unwrap_or_default()
    }

    /// Forgets everything with a peer; returns who waited.
    pub(super) fn forget(&mut self, peer: DeviceId) -> Vec<Waker> {
        self.nameless.retain(|(of, _), _| *of != peer);
        self.owed.retain(|(of, _)| *of != peer);
        self.transfers.retain(|incoming| incoming.peer != peer);
        self.account.retain(|incoming| incoming.peer != peer);
        drop(self.queued(peer));
        let of_peer = self.awaited.iter_mut().filter(|((of, _), _)| *of == peer);
        of_peer.filter_map(|(_, awaited)| awaited.fail(StreamError::SessionLost)).collect()
    }

    /// Everybody who waits for an answer.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let waiting = self.awaited.values_mut().filter_map(|awaited| match &mut awaited.answer {
            Answer::Waits(waker) => waker.take(),
            Answer::Arrived(_) | Answer::Failed(_) => None,
        });
        waiting.collect()
    }
}

/// Reads as much of a preamble as there is. `None` while more has to come.
fn read_preamble(
    conversation: &mut Conversation,
    id: StreamId,
    reader: &mut PreambleReader,
    random: &mut dyn crate::suite::random::Random,
) -> Result<Option<Preamble>, MalformedPreamble> {
    loop {
        let wanted = reader.wanted()?;
        if wanted.is_empty() {
            return reader.finish().map(Some);
        }
        match conversation.read_stream(id, wanted, moment(), random) {
            Ok(StreamRead::Bytes(count)) => reader.advance(count),
            Ok(StreamRead::Nothing) => return Ok(None),
            Ok(StreamRead::End) | Err(_) => return Err(MalformedPreamble),
        }
    }
}

impl State {
    /// Opens a stream and writes its preamble. `None` without a session, or with 64 streams open.
    pub(in crate::client) fn open_stream(
        &mut self,
        peer: DeviceId,
        preamble: &Preamble,
    ) -> Result<Option<StreamId>, Error> {
        let conversation = self.conversation(peer)?;
        let opened = conversation.open_stream();
        if let Some(id) = opened {
            let bytes = preamble.encode();
            let written = conversation.write_stream(id, &bytes)?;
            assert_eq!(written, bytes.len(), "a stream's window is larger than its preamble");
            self.streams.entry((peer, id)).or_default();
            if preamble.awaits {
                let awaited = Awaited { answer: Answer::Waits(None), writing: Writing::Held };
                self.routing.awaited.insert((peer, id), awaited);
            }
        }
        self.touch(peer);
        Ok(opened)
    }

    /// Opens the stream that answers `id`. `None` while 64 streams are open.
    pub(in crate::client) fn open_answer(
        &mut self,
        peer: DeviceId,
        id: StreamId,
    ) -> Result<Option<StreamId>, Error> {
        if self.conversation(peer)?.stream_of_session(id.number()) != id {
            return Err(StreamError::SessionLost.into());
        }
        let answers = std::num::NonZeroU32::new(id.number());
        self.open_stream(peer, &Preamble { answers, ..Preamble::default() })
    }

    /// The next stream for the application.
    pub(in crate::client) fn accept_stream(&mut self) -> Option<Incoming> {
        self.routing.take()
    }

    /// The next channel for the library's transfers.
    pub(in crate::client) fn accept_transfer(&mut self) -> Option<Incoming> {
        let next = self.routing.transfers.pop_front()?;
        self.streams.entry((next.peer, next.id)).or_default();
        Some(next)
    }

    /// The next channel about the account or a key.
    pub(in crate::client) fn accept_account(&mut self) -> Option<Incoming> {
        let next = self.routing.account.pop_front()?;
        self.streams.entry((next.peer, next.id)).or_default();
        Some(next)
    }

    /// The stream that answers `id`, which is then the asker's.
    pub(in crate::client) fn poll_answer(
        &mut self,
        peer: DeviceId,
        id: StreamId,
        context: &Context<'_>,
    ) -> Poll<Result<StreamId, Error>> {
        if let Err(error) = self.conversation(peer) {
            return Poll::Ready(Err(error));
        }
        let Some(awaited) = self.routing.awaited.get_mut(&(peer, id)) else {
            return Poll::Ready(Err(StreamError::Closed.into()));
        };
        match &mut awaited.answer {
            Answer::Waits(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Answer::Failed(error) => Poll::Ready(Err((*error).into())),
            Answer::Arrived(answer) => {
                let answer = *answer;
                self.stop_awaiting(peer, id);
                self.streams.entry((peer, answer)).or_default();
                Poll::Ready(Ok(answer))
            }
        }
    }

    /// Nobody awaits the answer to `id` any more. An answer that has come and was not taken is returned.
    fn stop_awaiting(&mut self, peer: DeviceId, id: StreamId) -> Option<StreamId> {
        let awaited = self.routing.awaited.remove(&(peer, id))?;
        if awaited.writing == Writing::LetGo {
            self.release_writing(peer, id);
        }
        match awaited.answer {
            Answer::Arrived(answer) => Some(answer),
            Answer::Waits(_) | Answer::Failed(_) => None,
        }
    }

    /// The reader of an answer was dropped before the answer was taken.
    pub(in crate::client) fn drop_answer(&mut self, peer: DeviceId, id: StreamId) {
        if let Some(answer) = self.stop_awaiting(peer, id) {
            self.release_reading(peer, answer);
        }
    }

    /// A writer was dropped; `finished` where its end was written.
    pub(in crate::client) fn drop_writer(&mut self, peer: DeviceId, id: StreamId, finished: bool) {
        self.streams.remove(&(peer, id));
        if let Some(awaited) = self.routing.awaited.get_mut(&(peer, id)) {
            if finished {
                awaited.writing = Writing::LetGo;
                return self.watch_writing(peer, id);
            }
            awaited.writing = Writing::Over;
        }
        self.release_writing(peer, id);
    }

    /// A reader was dropped; the peer may still await an answer.
    pub(in crate::client) fn drop_reader(&mut self, peer: DeviceId, id: StreamId, owes: bool) {
        self.streams.remove(&(peer, id));
        self.release_reading(peer, id);
        if owes {
            self.owe(peer, id);
        }
    }

    fn owe(&mut self, peer: DeviceId, id: StreamId) {
        if self.routing.owed.len() >= ANSWERS_OWED_MAX {
            self.routing.owed.pop_front();
        }
        self.routing.owed.push_back((peer, id));
        self.pay(peer);
    }

    /// Answers with nothing what nobody has answered, so that the peer does not wait in vain.
    fn pay(&mut self, peer: DeviceId) {
        for (of, id) in std::mem::take(&mut self.routing.owed) {
            if of != peer {
                self.routing.owed.push_back((of, id));
                continue;
            }
            match self.open_answer(peer, id) {
                Ok(Some(answer)) => {
                    self.streams.remove(&(peer, answer));
                    self.with(peer, |conversation, _| {
                        let finished = conversation.finish_stream(answer);
                        finished.expect("it was opened just now");
                        conversation.release_writing(answer, moment());
                    });
                }
                Ok(None) => self.routing.owed.push_back((of, id)),
                // Who awaited it is gone.
                Err(_) => {}
            }
        }
    }

    fn release_writing(&mut self, peer: DeviceId, id: StreamId) {
        self.with(peer, |conversation, _| conversation.release_writing(id, moment()));
    }

    fn release_reading(&mut self, peer: DeviceId, id: StreamId) {
        self.with(peer, |conversation, _| conversation.release_reading(id, moment()));
    }

    fn refuse(&mut self, peer: DeviceId, id: StreamId, refusal: Refusal) {
        self.with(peer, |conversation, _| conversation.refuse_stream(id, refusal, moment()));
    }

    /// A peer has opened streams.
    pub(super) fn on_streams_incoming(&mut self, peer: DeviceId) {
        while let Some(known) = self.peers.get_mut(&peer)
            && let Some(id) = known.conversation.accept_stream()
        {
            self.routing.nameless.insert((peer, id), PreambleReader::default());
            self.feed(peer, id);
        }
    }

    /// Reads on in a stream's preamble, and routes the stream once it is whole.
    fn feed(&mut self, peer: DeviceId, id: StreamId) {
        let Some(reader) = self.routing.nameless.get_mut(&(peer, id)) else { return };
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let read = read_preamble(&mut known.conversation, id, reader, &mut self.random);
        self.touch(peer);
        match read {
            Ok(None) => {}
            Ok(Some(preamble)) => {
                self.routing.nameless.remove(&(peer, id));
                self.route(peer, id, preamble);
            }
            Err(MalformedPreamble) => {
                self.routing.nameless.remove(&(peer, id));
                self.refuse(peer, id, Refusal::Malformed);
            }
        }
    }

    fn route(&mut self, peer: DeviceId, id: StreamId, preamble: Preamble) {
        let Preamble { label, awaits, answers } = preamble;
        if let Some(number) = answers {
            let plain = label.as_str().is_empty() && !awaits;
            let answered = plain && self.on_answer(peer, number.get(), id);
            if !answered {
                self.refuse(peer, id, Refusal::Malformed);
            }
        } else if label.as_str() == LABEL && awaits {
            self.routing.transfers.push_back(Incoming { peer, id, label, awaits });
            self.signals.incoming = true;
        } else if awaits && steward::LABELS.contains(&label.as_str()) {
            self.routing.account.push_back(Incoming { peer, id, label, awaits });
            self.signals.incoming = true;
        } else if label.is_of_library() {
            self.refuse(peer, id, Refusal::Unsupported);
        } else {
            self.routing.push(Incoming { peer, id, label, awaits });
            self.signals.incoming = true;
        }
    }

    /// An answer has come; `false` where none is awaited.
    fn on_answer(&mut self, peer: DeviceId, number: u32, answer: StreamId) -> bool {
        let Some(known) = self.peers.get(&peer) else { return false };
        let asked = known.conversation.stream_of_session(number);
        let Some(awaited) = self.routing.awaited.get_mut(&(peer, asked)) else { return false };
        let Answer::Waits(waker) = &mut awaited.answer else { return false };
        self.wakers.extend(waker.take());
        awaited.answer = Answer::Arrived(answer);
        true
    }

    /// Something has changed about a stream of a peer.
    pub(super) fn on_stream_changed(&mut self, peer: DeviceId, id: StreamId) {
        self.signals.room = true;
        if let Some(wakers) = self.streams.get_mut(&(peer, id)) {
            self.wakers.extend(wakers.reader.take());
            self.wakers.extend(wakers.writer.take());
        }
        self.feed(peer, id);
        self.watch_writing(peer, id);
        self.drop_dead(peer);
        self.pay(peer);
    }

    /// Looks at what became of a stream whose answer is awaited.
    fn watch_writing(&mut self, peer: DeviceId, id: StreamId) {
        let Some(awaited) = self.routing.awaited.get_mut(&(peer, id)) else { return };
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let conversation = &mut known.conversation;
        match conversation.check_stream(id) {
            // The peer's reader was dropped, but its answer is on the way: an empty one, if it had no other.
            Ok(()) | Err(StreamError::Abandoned(0)) => {}
            Err(error) => self.wakers.extend(awaited.fail(error)),
        }
        if awaited.writing == Writing::LetGo && conversation.is_stream_done(id) != Ok(false) {
            awaited.writing = Writing::Over;
            self.release_writing(peer, id);
        }
    }

    /// Streams that ended before the application took them would only be in the way.
    fn drop_dead(&mut self, peer: DeviceId) {
        for incoming in self.routing.queued(peer) {
            let Some(known) = self.peers.get(&peer) else { return };
            if known.conversation.check_stream(incoming.id).is_ok() {
                self.routing.push(incoming);
            } else {
                self.drop_reader(peer, incoming.id, incoming.awaits);
            }
        }
    }

    /// A session has begun or ended: streams of another one go nowhere.
    pub(super) fn on_session_changed(&mut self, peer: DeviceId) {
        let Some(known) = self.peers.get(&peer) else { return };
        let conversation = &known.conversation;
        for ((of, id), awaited) in &mut self.routing.awaited {
            if *of == peer && conversation.check_stream(*id) == Err(StreamError::SessionLost) {
                self.wakers.extend(awaited.fail(StreamError::SessionLost));
                awaited.writing = Writing::Over;
            }
        }
        let gone = |id: StreamId| conversation.check_stream(id) == Err(StreamError::SessionLost);
        self.routing.nameless.retain(|(of, id), _| *of != peer || !gone(*id));
        self.routing.owed.retain(|(of, id)| *of != peer || !gone(*id));
        self.drop_dead(peer);
    }
}
