//! The background task: one connection after the other, and the turns of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hushwire_wire::control::{ErrorCode, GoawayReason, Transport};
use hushwire_wire::limits::PINS_MAX;

use super::clock::moment;
use super::event::Event;
use super::limits::{OUT_BYTES_MAX, WELCOME_MS_MAX};
use super::state::Ending;
use super::{Options, Shared, trace};
use crate::error::Error;
use crate::io::{CellStream, Filled, IoError, Racer};
use crate::keystore::{Relay, RelayTrust};
use crate::link::{AwaitChallenge, Backoff, Goaway, HelloSettings, Link, LinkError, Opening};
use crate::suite::random::OsRandom;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The application let go of the client.
    Closed,
    /// The relay said so.
    Goaway(Goaway),
    /// So many records that the keys should be replaced.
    Worn,
    Failed(Error),
}

/// What is needed to connect again.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) racer: Racer,
    pub(super) relay: Relay,
    pub(super) options: Options,
}

impl Dialer {
    /// Connects and introduces this device.
    pub(super) async fn dial(
        &mut self,
        shared: &Shared,
        token: Option<Vec<u8>>,
    ) -> Result<(CellStream, Link), Error> {
        tracing::debug!(address = self.relay.address, "connecting to the relay");
        let stream = self.racer.connect(&self.relay.address).await?;
        let transport = stream.transport();
        tracing::debug!(%transport, resumed = stream.is_resumed(), "a handshake is complete");
        let after = Duration::from_millis(WELCOME_MS_MAX);
        let late = |_| IoError::TimedOut { address: self.relay.address.clone(), after };
        let opened = tokio::time::timeout(after, self.open(shared, stream, token)).await;
        let opened = opened.map_err(late).map_err(Error::from).flatten();
        match &opened {
            Ok((_, link)) => self.racer.set_quic_ids(link.welcome().quic_ids.clone()),
            Err(error) => self.lost(transport, error),
        }
        opened
    }

    /// A connection was lost. Where that was without a word, and over UDP, the network may pass it no more.
    fn lost(&mut self, transport: Transport, error: &Error) {
        let is_silence = if let Error::Io(IoError::Lost(error)) = error {
            error.kind() == std::io::ErrorKind::TimedOut
        } else {
            matches!(error, Error::Io(IoError::TimedOut { .. }) | Error::Link(LinkError::Silent))
        };
        if is_silence && transport == Transport::Quic {
            self.racer.quic_was_lost();
        }
    }

    async fn open(
        &self,
        shared: &Shared,
        mut stream: CellStream,
        token: Option<Vec<u8>>,
    ) -> Result<(CellStream, Link), Error> {
        let settings = HelloSettings {
            token,
            name: self.options.name.clone(),
            cover: self.options.cover,
            software: self.options.software.clone(),
        };
        let mut state =
            AwaitChallenge::new(self.relay.relay, settings, stream.transport(), stream.binding());
        let mut awaiting = loop {
            let cell = next_cell(&mut stream).await?;
            let step = state.on_cell(&cell, shared.state.lock().keystore.identity());
            match step.map_err(Error::Link)? {
                Opening::Next((awaiting, hello)) => {
                    stream.push(&hello)?;
                    break awaiting;
                }
                Opening::Same(same) => state = same,
            }
        };
        while !stream.flush()? {
            stream.ready(true).await?;
        }
        loop {
            let cell = next_cell(&mut stream).await?;
            match awaiting.on_cell(&cell, moment().now).map_err(Error::Link)? {
                Opening::Next(link) => return Ok((stream, link)),
                Opening::Same(same) => awaiting = same,
            }
        }
    }

    /// WELCOME came over a connection that a current pin authenticated, so the pins it announces are believed.
    fn learn_pins(&mut self, shared: &Shared) {
        let RelayTrust::Pins(pins) = &self.relay.trust else { return };
        let mut known = pins.clone();
        let announced = {
            let state = shared.state.lock();
            state.link.as_ref().map(|link| link.welcome().pins.clone()).unwrap_or_default()
        };
        // A pin of zeros would mean: no pin.
        for pin in announced.into_iter().filter(|pin| *pin != [0; 32]) {
            if !known.contains(&pin) && known.len() < PINS_MAX {
                known.push(pin);
            }
        }
        if known.len() == pins.len() {
            return;
        }
        self.relay.trust = RelayTrust::Pins(known);
        self.racer.set_trust(&self.relay.trust).expect("1 to 4 pins");
        let mut state = shared.state.lock();
        if let Err(error) = state.keystore.set_relay(self.relay.clone()) {
            state.tell(Event::KeystoreFailed { why: error.to_string() });
        }
    }
}

async fn next_cell(stream: &mut CellStream) -> Result<Vec<u8>, Error> {
    loop {
        let filled = stream.fill()?;
        if let Some(cell) = stream.next_cell().map_err(Error::Link)? {
            return Ok(cell.to_vec());
        }
        match filled {
            Filled::Ended => return Err(IoError::Closed.into()),
            Filled::Some => {}
            Filled::Drained => stream.ready(false).await?,
        }
    }
}

/// Serves connection after connection until the client is closed or the relay wants it no more.
///
/// `stream` is the first connection, whose link is in the state already.
pub(super) async fn run(shared: Arc<Shared>, mut dialer: Dialer, mut stream: CellStream) {
    let mut backoff = Backoff::default();
    loop {
        let (started, transport) = (moment().now, stream.transport());
        dialer.learn_pins(&shared);
        let end = serve(&shared, &mut stream).await;
        drop(stream);
        if let End::Failed(error) = &end {
            dialer.lost(transport, error);
        }
        shared.state.lock().disconnected();
        backoff.worked_for(moment().now.duration_since(started));
        let Some(connected) = reconnect(&shared, &mut dialer, end, &mut backoff).await else {
            return;
        };
        stream = connected;
    }
}

/// Tries until it works. `None` where it never will.
async fn reconnect(
    shared: &Shared,
    dialer: &mut Dialer,
    mut end: End,
    backoff: &mut Backoff,
) -> Option<CellStream> {
    loop {
        if let Some(ending) = ending(&end) {
            let why = why(&end);
            trace::disconnected(&end, &why, None);
            let mut state = shared.state.lock();
            state.tell(Event::Disconnected { why, next_try: None });
            state.end(ending);
            drop(state);
            shared.wake();
            return None;
        }
        let wait = match &end {
            End::Goaway(goaway) => farewell_wait(goaway, backoff),
            End::Worn => Duration::ZERO,
            End::Closed | End::Failed(_) => backoff.next(&mut OsRandom),
        };
        let why = why(&end);
        trace::disconnected(&end, &why, Some(wait));
        shared.state.lock().tell(Event::Disconnected { why, next_try: Some(wait) });
        end = tokio::select! {
            () = shared.closed.notified() => End::Closed,
            dialled = dial_after(shared, dialer, wait) => match dialled {
                Ok((stream, link)) => {
                    shared.connected(&stream, link);
                    return Some(stream);
                }
                Err(error) => End::Failed(error),
            },
        };
    }
}

/// The relay is believed once. One that sends a device away again and again does not make it come back the faster.
fn farewell_wait(goaway: &Goaway, backoff: &mut Backoff) -> Duration {
    let first = backoff.is_fresh();
    let wait = backoff.next(&mut OsRandom);
    if first { goaway.reconnect_after } else { goaway.reconnect_after.max(wait) }
}

async fn dial_after(
    shared: &Shared,
    dialer: &mut Dialer,
    wait: Duration,
) -> Result<(CellStream, Link), Error> {
    tokio::time::sleep(wait).await;
    dialer.dial(shared, None).await
}

/// Whether there is nothing to be hoped for.
fn ending(end: &End) -> Option<Ending> {
    match end {
        End::Closed => Some(Ending::Closed),
        End::Goaway(goaway) => match goaway.reason {
            GoawayReason::Superseded => Some(Ending::Superseded),
            GoawayReason::Revoked => Some(Ending::Revoked),
            GoawayReason::Draining | GoawayReason::Idle => None,
        },
        End::Failed(Error::Link(LinkError::Refused { code, sentence, .. })) => {
            let hopeless = matches!(code, ErrorCode::Unauthenticated | ErrorCode::Forbidden);
            hopeless.then(|| Ending::NotAdmitted(sentence.clone()))
        }
        End::Worn | End::Failed(_) => None,
    }
}

fn why(end: &End) -> String {
    match end {
        End::Closed => "the client was closed".into(),
        End::Goaway(goaway) => format!("the relay said farewell: {}", goaway.reason),
        End::Worn => "the connection has carried enough and is replaced".into(),
        End::Failed(error) => error.to_string(),
    }
}

/// The turns of one connection.
async fn serve(shared: &Shared, stream: &mut CellStream) -> End {
    let mut out = Vec::with_capacity(OUT_BYTES_MAX);
    loop {
        match turn(shared, stream, &mut out) {
            Err(end) => return end,
            Ok(Turn { busy: true, .. }) => tokio::task::yield_now().await,
            Ok(Turn { flushed, next, .. }) => {
                let sleep = tokio::time::sleep_until(next.into());
                tokio::select! {
                    ready = stream.ready(!flushed) => {
                        if let Err(error) = ready {
                            return End::Failed(error.into());
                        }
                    }
                    () = shared.work.notified() => {}
                    () = sleep => {}
                }
            }
        }
    }
}

struct Turn {
    /// There is more to do at once.
    busy: bool,
    /// The socket has taken everything.
    flushed: bool,
    next: Instant,
}

/// Reads, lets the state machines work, writes.
fn turn(shared: &Shared, stream: &mut CellStream, out: &mut Vec<u8>) -> Result<Turn, End> {
    let failed = |error: IoError| End::Failed(error.into());
    let filled = stream.fill().map_err(failed)?;
    let room = OUT_BYTES_MAX.saturating_sub(stream.unsent());
    let now = moment();
    let mut farewell = None;
    let (more, next) = {
        let mut state = shared.state.lock();
        if state.ended.is_some() {
            return Err(End::Closed);
        }
        let link_failed = |error| End::Failed(Error::Link(error));
        while let Some(cell) = stream.next_cell().map_err(link_failed)? {
            if let Some(goaway) = state.handle_cell(cell, now).map_err(link_failed)? {
                farewell = Some(goaway);
            }
        }
        out.clear();
        state.turn(now, room, out).map_err(link_failed)?;
        (state.has_more(), state.next_turn(now))
    };
    shared.wake();
    stream.push(out).map_err(failed)?;
    let flushed = stream.flush().map_err(failed)?;
    if let Some(goaway) = farewell {
        return Err(End::Goaway(goaway));
    }
    if filled == Filled::Ended {
        return Err(failed(IoError::Closed));
    }
    if stream.is_worn() {
        return Err(End::Worn);
    }
    if flushed && shared.state.lock().may_close(now.now) && stream.is_settled() {
        return Err(End::Closed);
    }
    let next = next.unwrap_or(now.now);
    let busy = filled == Filled::Some || (more && flushed && next <= now.now);
    Ok(Turn { busy, flushed, next })
}
