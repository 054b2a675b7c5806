//! What the relay and the conversations say, and who wants to know.

use hushwire_wire::cell::HEADER_LEN;
use hushwire_wire::id::DeviceId;

use super::{Event, PairingInput, State};
use crate::client::trace;
use crate::conversation::{self, Moment};
use crate::keystore::KeystoreError;
use crate::link::{Goaway, Input, LinkError, Origin};

impl State {
    /// A cell has come, to be opened in place. Returns the relay's farewell, if it is that.
    pub(in crate::client) fn handle_cell(
        &mut self,
        cell: &mut [u8],
        moment: Moment,
    ) -> Result<Option<Goaway>, LinkError> {
        let Some(link) = &mut self.link else { return Ok(None) };
        match link.handle_cell(cell, moment.now)? {
            Input::Nothing => {}
            Input::Body { peer } => self.handle_body(peer, &mut cell[HEADER_LEN..], moment),
            Input::Answer { id, answer } => {
                if self.wish_answered(id, &answer, moment) {
                    return Ok(None);
                }
                if let Some(asker) = self.answers.remove(&id) {
                    let _gone = asker.send(answer);
                }
            }
            Input::Joined { tag, device } => self.meetings.joined(&tag, device),
            Input::Undeliverable(undeliverable) => {
                let peer = undeliverable.peer;
                match undeliverable.origin {
                    Origin::Conversation(id) => {
                        self.with(peer, |conversation, random| {
                            let reason = undeliverable.reason;
                            conversation.handle_undeliverable(id, reason, moment, random);
                        });
                    }
                    Origin::Pairing => self.meetings.hear(&peer, || PairingInput::Undeliverable),
                }
            }
            Input::Goaway(goaway) => return Ok(Some(goaway)),
        }
        Ok(None)
    }

    fn handle_body(&mut self, peer: DeviceId, body: &mut [u8], moment: Moment) {
        self.meetings.hear(&peer, || PairingInput::Body(body.to_vec()));
        let may_begin = self.may_begin_for(peer);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let identity = self.keystore.identity();
        known.conversation.handle_body(body, identity, moment, may_begin, &mut self.random);
        self.touch(peer);
        self.events_of(peer);
    }

    /// Counting all peers is for handshakes only: a session that is up needs none.
    pub(super) fn may_begin_for(&self, peer: DeviceId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.conversation.is_up()) || self.may_begin()
    }

    pub(super) fn events_of(&mut self, device: DeviceId) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let mut told = Vec::new();
        while let Some(event) = peer.conversation.poll_event() {
            told.push(event);
        }
        for event in told {
            self.on_event(device, event);
        }
        self.collect(device);
    }

    fn on_event(&mut self, peer: DeviceId, event: conversation::Event) {
        use conversation::Event as Heard;
        trace::heard(peer, &event);
        match event {
            Heard::HandshakeBegins { time_ns } => {
                let stored = self.keystore.record_sent(&peer, time_ns);
                self.check_stored(stored);
            }
            Heard::HandshakeAnswered { time_ns } => {
                let stored = self.keystore.record_seen(&peer, time_ns);
                self.check_stored(stored);
            }
            Heard::PeerIncompatible { why } => self.tell(Event::PeerIncompatible { peer, why }),
            Heard::HandshakeEnded(established) => {
                let stored = self.keystore.record_handshake(&established);
                self.check_stored(stored);
            }
            Heard::SessionUp => {
                self.signals.room = true;
                self.on_session_changed(peer);
                self.tell(Event::PeerUp { peer });
            }
            Heard::SessionLost => {
                self.on_session_changed(peer);
                self.tell(Event::PeerDown { peer });
            }
            Heard::MessageReady => {
                self.signals.messages = true;
                if !self.ready.contains(&peer) {
                    self.ready.push_back(peer);
                }
            }
            Heard::Stored { number } => self.on_stored(peer, number),
            Heard::Ended(ended) => self.on_ended(peer, *ended),
            Heard::SetBack => self.tell(Event::SetBack { peer }),
            Heard::Lost { count } => self.tell(Event::MessagesLost { peer, count }),
            Heard::StreamIncoming => self.on_streams_incoming(peer),
            Heard::StreamChanged(id) => self.on_stream_changed(peer, id),
            Heard::PeerAway { reason } => self.tell(Event::PeerAway { peer, reason }),
        }
    }

    pub(super) fn check_stored(&self, stored: Result<(), KeystoreError>) {
        if let Err(error) = stored {
            self.tell(Event::KeystoreFailed { why: error.to_string() });
        }
    }
}
