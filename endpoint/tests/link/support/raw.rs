//! A device that is paired and connected like any other, but whose streams say whatever a test wants.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hushwire::conversation::{Conversation, Moment, PeerKeys, StreamError, StreamId, StreamRead};
use hushwire::io::{CellStream, Filled, Racer, Transports};
use hushwire::journal::PeerLogs;
use hushwire::keystore::Keystore;
use hushwire::link::{AwaitChallenge, HelloSettings, Input, Link, Opening, Origin};
use hushwire::suite::frames::ConnectionSalt;
use hushwire::suite::random::OsRandom;
use hushwire_wire::cell::HEADER_LEN;
use hushwire_wire::control::CoverMode;
use hushwire_wire::id::DeviceId;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct RawPeer {
    keystore: Keystore,
    stream: CellStream,
    link: Link,
    peer: DeviceId,
    pub(crate) conversation: Conversation,
}

#[expect(clippy::disallowed_methods, reason = "a device reads its own clock")]
pub(crate) fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Moment { now: Instant::now(), unix_ns: unix.as_nanos() as u64 }
}

impl RawPeer {
    /// Connects the device whose keys these are; it has one peer.
    pub(crate) async fn connect(keystore: Keystore) -> Self {
        let relay = keystore.relay().cloned().expect("enrolled");
        let mut racer = Racer::new(&relay.trust, Transports::Both).expect("a trust");
        let mut stream = racer.connect(&relay.address).await.expect("connected");
        let settings = HelloSettings {
            token: None,
            name: None,
            cover: CoverMode::Off,
            software: "test".into(),
        };
        let mut state =
            AwaitChallenge::new(relay.relay, settings, stream.transport(), stream.binding());
        let mut awaiting = loop {
            let cell = next_cell(&mut stream).await;
            match state.on_cell(&cell, keystore.identity()).expect("a challenge") {
                Opening::Next((awaiting, hello)) => {
                    stream.push(&hello).expect("sent");
                    break awaiting;
                }
                Opening::Same(same) => state = same,
            }
        };
        while !stream.flush().expect("sent") {
            stream.ready(true).await.expect("open");
        }
        let link = loop {
            let cell = next_cell(&mut stream).await;
            match awaiting.on_cell(&cell, moment().now).expect("welcome") {
                Opening::Next(link) => break link,
                Opening::Same(same) => awaiting = same,
            }
        };
        let salt = ConnectionSalt::draw(&mut OsRandom);
        let known = keystore.peers().next().expect("paired");
        let (ours, peer) = (keystore.identity().device_id(), known.device());
        let keys = PeerKeys::from(known);
        let mut conversation =
            Conversation::new(ours, peer, keys, PeerLogs::default(), salt, &mut OsRandom);
        conversation.handle_connected(salt, moment());
        Self { keystore, stream, link, peer, conversation }
    }

    /// Sends what there is to send and hears what has come, or waits a little for it.
    async fn step(&mut self) {
        let Self { keystore, stream, link, peer, conversation } = self;
        let (now, identity) = (moment(), keystore.identity());
        conversation.handle_timeout(identity, now, true, &mut OsRandom);
        let mut out = Vec::new();
        while link.poll_cell(now.now, &mut OsRandom, &mut out) {}
        loop {
            let start = out.len();
            let Some(transmit) = conversation.poll_cell(now, &mut OsRandom, &mut out) else {
                break;
            };
            let origin = Origin::Conversation(transmit.id);
            link.stamp(&mut out[start..], transmit.lane, *peer, origin, now.now);
        }
        stream.push(&out).expect("sent");
        stream.flush().expect("sent");
        let soon = tokio::time::timeout(Duration::from_millis(5), stream.ready(false));
        // Nothing has come: time itself may be what is waited for.
        let _nothing = soon.await;
        assert_ne!(stream.fill().expect("the relay is there"), Filled::Ended);
        while let Some(cell) = stream.next_cell().expect("whole cells") {
            match link.handle_cell(cell, now.now).expect("a good relay") {
                Input::Body { .. } => {
                    let body = &mut cell[HEADER_LEN..];
                    conversation.handle_body(body, identity, now, true, &mut OsRandom);
                }
                Input::Undeliverable(report) => {
                    if let Origin::Conversation(id) = report.origin {
                        conversation.handle_undeliverable(id, report.reason, now, &mut OsRandom);
                    }
                }
                Input::Nothing | Input::Answer { .. } | Input::Joined { .. } => {}
                Input::Goaway(goaway) => panic!("the relay says farewell: {goaway:?}"),
            }
        }
        while let Some(event) = conversation.poll_event() {
            if let hushwire::conversation::Event::HandshakeBegins { time_ns } = event {
                keystore.record_sent(peer, time_ns).expect("stored");
            }
        }
    }

    /// Steps until there is what a test waits for.
    pub(crate) async fn until<T>(&mut self, mut there: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = moment().now + PATIENCE;
        loop {
            if let Some(found) = there(self) {
                return found;
            }
            assert!(moment().now < end, "it never came");
            self.step().await;
        }
    }

    /// Opens a stream that begins with these bytes.
    pub(crate) async fn open(&mut self, bytes: &[u8]) -> StreamId {
        let id = self.until(|raw| raw.conversation.open_stream()).await;
        self.write(id, bytes).await;
        id
    }

    pub(crate) async fn write(&mut self, id: StreamId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.conversation.write_stream(id, bytes).expect("it is open");
            bytes = &bytes[taken..];
            self.step().await;
        }
        // A stream that is refused meanwhile is for the test to find out.
        self.until(|raw| raw.conversation.is_stream_sent(id).unwrap_or(true).then_some(())).await;
    }

    /// The next stream that the other end opens.
    pub(crate) async fn accept(&mut self) -> StreamId {
        self.until(|raw| raw.conversation.accept_stream()).await
    }

    /// So many bytes of a stream.
    pub(crate) async fn read(&mut self, id: StreamId, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            filled += self
                .until(|raw| {
                    let rest = &mut bytes[filled..];
                    match raw.conversation.read_stream(id, rest, moment(), &mut OsRandom) {
                        Ok(StreamRead::Bytes(count)) => Some(count),
                        Ok(StreamRead::Nothing) => None,
                        Ok(StreamRead::End) => panic!("the stream ended"),
                        Err(error) => panic!("the stream broke: {error}"),
                    }
                })
                .await;
        }
        bytes
    }

    /// Why the other end will have no more of a stream that this end writes.
    pub(crate) async fn refused(&mut self, id: StreamId) -> StreamError {
        self.until(|raw| raw.conversation.is_stream_done(id).err()).await
    }
}

async fn next_cell(stream: &mut CellStream) -> Vec<u8> {
    loop {
        let filled = stream.fill().expect("the relay is there");
        if let Some(cell) = stream.next_cell().expect("whole cells") {
            return cell.to_vec();
        }
        match filled {
            Filled::Ended => panic!("the relay closed the connection"),
            Filled::Some => {}
            Filled::Drained => stream.ready(false).await.expect("open"),
        }
    }
}
