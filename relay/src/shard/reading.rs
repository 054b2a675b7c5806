//! Bytes in, cells out, verdicts: the data path of a ready connection.

use std::os::fd::AsFd as _;

use hushwire_engine::{ConnId, Time, Verdict};
use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{Readiness, Token};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, readdress};
use hushwire_wire::control::{Control, disclose};

use super::closing::Ending;
use super::connection::{Connection, Poll, Stage, Who, Wire};
use super::in_place::Run;
use super::limits::{CONNECTIONS_PER_TURN, READS_PER_TURN};
use super::output::Follows;
use super::{Shard, ShardError, greeting, seconds};

use crate::transport::inbound::Cursor;
use crate::transport::quic::LaneFault;
use crate::transport::{Event, Fault};

/// Why reading a connection stops for good.
pub(super) enum Stop {
    /// A fault of TLS.
    Fault(Fault),
    /// A fault of QUIC's lanes.
    Lane(LaneFault),
    /// The peer finished.
    PeerClosed,
    /// The socket failed.
    Broken,
    /// The engine is ending the connection, and says so by command.
    Told,
}

/// What one receive came to.
enum Step {
    /// The kernel had more than was asked for, or may have.
    More,
    /// Everything there was has been read.
    Dry,
    /// The peer's stream has ended.
    End,
}

impl Shard {
    /// Notes that a connection can be read.
    pub(super) fn polled(
        &mut self,
        token: Token,
        readiness: Readiness,
        more: bool,
    ) -> Result<(), ShardError> {
        let Some(id) = self.id_of(token) else { return self.polled_while_closing(token, more) };
        let Some(connection) = self.connection(id) else { return Ok(()) };
        let Some(tcp) = connection.tcp() else { return Ok(()) };
        if !more {
            tcp.poll = Poll::Idle;
        }
        tcp.peer_closed |= readiness.peer_closed() || readiness.hung_up();
        if !std::mem::replace(&mut connection.ready, true) {
            self.ready.push(id);
        }
        Ok(())
    }

    /// Reads the connections that are ready, a bounded number of them a turn.
    pub(super) fn read_ready(&mut self, now: Time) -> Result<(), ShardError> {
        let mut ready = std::mem::take(&mut self.ready);
        let turn = ready.len().min(CONNECTIONS_PER_TURN);
        for id in ready.drain(..turn) {
            let Some(connection) = self.connection(id) else { continue };
            connection.ready = false;
            if connection.deaf {
                continue;
            }
            match self.read(id, now) {
                Ok(again) => {
                    self.carry_out(now)?;
                    self.listen_on(id, again)?;
                }
                Err(stop) => {
                    self.stop_reading(id, stop, now)?;
                    self.carry_out(now)?;
                }
            }
        }
        ready.append(&mut self.ready);
        self.ready = ready;
        Ok(())
    }

    /// Ends a connection, or waits for the engine to end it.
    pub(super) fn stop_reading(
        &mut self,
        id: ConnId,
        stop: Stop,
        now: Time,
    ) -> Result<(), ShardError> {
        let ending = match stop {
            Stop::PeerClosed => Ending::PeerClosed,
            Stop::Broken => Ending::Broken,
            Stop::Told => {
                if let Some(connection) = self.connection(id) {
                    connection.deaf = true;
                }
                return Ok(());
            }
            // TLS is fine; the protocol above it says what is wrong.
            Stop::Fault(Fault::Malformed(fault)) => {
                self.engine.handle_malformed_stream(id, &fault.to_string(), now);
                return self.stop_reading(id, Stop::Told, now);
            }
            Stop::Lane(fault) => {
                self.engine.handle_malformed_stream(id, &fault.to_string(), now);
                return self.stop_reading(id, Stop::Told, now);
            }
            Stop::Fault(fault) => Ending::Fault(fault),
        };
        self.end(id, ending, now)
    }

    /// After a read: back on the list if there may be more, else wait for the next event.
    fn listen_on(&mut self, id: ConnId, again: bool) -> Result<(), ShardError> {
        let Some(connection) = self.connection(id) else { return Ok(()) };
        if again {
            if !std::mem::replace(&mut connection.ready, true) {
                self.ready.push(id);
            }
            return Ok(());
        }
        let is_armed = connection.tcp().is_none_or(|tcp| tcp.poll != Poll::Idle);
        match connection.who {
            _ if is_armed => Ok(()),
            Who::Introduced => Ok(()),
            Who::Welcome => self.poll_on(id),
            Who::Stranger | Who::Challenged(_) => self.poll_once(id),
        }
    }

    /// Reads one connection until it is dry or its turn is over. Whether it stays on the list: a
    /// multishot poll does not report again what was left unread.
    fn read(&mut self, id: ConnId, now: Time) -> Result<bool, Stop> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut outcome = Ok(true);
        for _ in 0..READS_PER_TURN {
            match self.read_once(id, &mut scratch, now) {
                Ok(Step::More) => {}
                Ok(Step::Dry) => {
                    // An end that came together with the last bytes was announced with them.
                    let tcp = self.connection(id).and_then(Connection::tcp);
                    let end_follows = tcp.is_some_and(|tcp| tcp.peer_closed);
                    outcome = Ok(end_follows);
                    break;
                }
                Ok(Step::End) => {
                    outcome = Err(Stop::PeerClosed);
                    break;
                }
                Err(ending) => {
                    outcome = Err(ending);
                    break;
                }
            }
            if self.connection(id).is_none() {
                outcome = Ok(false);
                break;
            }
        }
        self.scratch = scratch;
        outcome
    }

    fn read_once(&mut self, id: ConnId, scratch: &mut [u8], now: Time) -> Result<Step, Stop> {
        let Some(connection) = self.connections[id.index()].as_mut() else {
            return Ok(Step::Dry);
        };
        let Wire::Tcp(tcp) = &mut connection.wire else { return Ok(Step::Dry) };
        let mut cursor = match &mut tcp.stage {
            Stage::Open(link) => link.inbound.begin(scratch, &mut self.carry),
            Stage::Handshaking(_) => Cursor::over(0),
        };
        let at = cursor.end();
        let room = &mut scratch[at..];
        let asked = room.len();
        let (bytes, step) = match sockets::recv(tcp.socket.as_fd(), room) {
            Ok(Received::Bytes(bytes)) if bytes == asked => (bytes, Step::More),
            Ok(Received::Bytes(bytes)) => (bytes, Step::Dry),
            Ok(Received::Empty) => (0, Step::Dry),
            Ok(Received::End) => return Ok(Step::End),
            Err(_) => return Err(Stop::Broken),
        };
        if matches!(tcp.stage, Stage::Handshaking(_)) {
            let Some(rest) = self.shake_hands(id, &scratch[..bytes], now)? else { return Ok(step) };
            scratch.copy_within(bytes - rest..bytes, 0);
            cursor = Cursor::over(rest);
        } else {
            cursor.received(bytes);
        }
        if bytes > 0 {
            self.pausing.received(bytes);
        }
        // What follows goes to the same recipients, mostly.
        let follows = match step {
            Step::More => Follows::More,
            Step::Dry | Step::End => Follows::Nothing,
        };
        let mut run = None;
        let worked = self.work_through(id, scratch, &mut cursor, &mut run, now);
        self.send_run(&mut run, scratch, follows, now);
        worked?;
        self.keep_rest(id, scratch, &cursor, now)?;
        self.metrics.bytes_in.add(bytes as u64);
        Ok(step)
    }

    /// Opens the whole records at the cursor and routes their cells. A run that is left has to be sent.
    fn work_through(
        &mut self,
        id: ConnId,
        scratch: &mut [u8],
        cursor: &mut Cursor,
        run: &mut Option<Run>,
        now: Time,
    ) -> Result<(), Stop> {
        loop {
            let Some(connection) = self.connection(id) else { return Ok(()) };
            connection.used_s = seconds(now);
            let Some(link) = connection.link() else { return Ok(()) };
            match link.inbound.next(scratch, cursor, now.as_nanos()).map_err(Stop::Fault)? {
                Event::Framed(records) => self.route_framed(id, scratch, records, run, now)?,
                Event::Cell(cell) => {
                    if run.is_some() {
                        self.send_run(run, scratch, Follows::More, now);
                    }
                    self.route(id, &mut scratch[cell], now)?;
                }
                Event::AnswerKeyUpdate => {
                    link.sealer.request_update();
                    self.mark_dirty(id);
                }
                Event::Closed => return Err(Stop::PeerClosed),
                Event::NeedMore => return Ok(()),
            }
        }
    }

    /// Puts a partial record away; where the pool is empty, whoever has been partial longest goes.
    fn keep_rest(
        &mut self,
        id: ConnId,
        scratch: &[u8],
        cursor: &Cursor,
        now: Time,
    ) -> Result<(), Stop> {
        loop {
            let Some(connection) = self.connections[id.index()].as_mut() else {
                return Ok(());
            };
            let Some(link) = connection.link() else { return Ok(()) };
            if link.inbound.end(scratch, cursor, &mut self.carry, now.as_nanos()).is_ok() {
                return Ok(());
            }
            self.evict_longest_partial(id, now)?;
        }
    }

    /// Makes room in the pool of incomplete records for `id`.
    pub(super) fn evict_longest_partial(&mut self, id: ConnId, now: Time) -> Result<(), Stop> {
        let longest = self.longest_partial(id).ok_or(Stop::Broken)?;
        self.metrics.carry_evictions.add(1);
        self.end(longest, Ending::Broken, now).map_err(|_| Stop::Broken)
    }

    fn longest_partial(&self, except: ConnId) -> Option<ConnId> {
        self.connections
            .iter()
            .flatten()
            .filter(|connection| connection.id != except)
            .filter_map(|connection| Some((connection.partial_since_ns()?, connection.id)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, id)| id)
    }

    /// Asks the engine where one cell goes, and sends it there.
    #[inline]
    pub(super) fn route(&mut self, id: ConnId, cell: &mut [u8], now: Time) -> Result<(), Stop> {
        let (class, verdict) = self.judge(id, cell, now)?;
        self.follow(id, verdict, class, cell, now)
    }

    /// Asks the engine what becomes of the cell that begins with this header.
    #[inline(always)]
    pub(super) fn judge(
        &mut self,
        id: ConnId,
        header: &[u8],
        now: Time,
    ) -> Result<(Class, Verdict), Stop> {
        let Some(header) = header.first_chunk::<HEADER_LEN>() else {
            unreachable!("the cutter gives whole cells")
        };
        match Header::decode(header) {
            Ok(header) => {
                self.pausing.routed(id.index(), 1, header.class.cell_len());
                Ok((header.class, self.engine.handle_cell(id, &header, now)))
            }
            Err(error) => {
                self.engine.handle_malformed_cell(id, error, now);
                Err(Stop::Told)
            }
        }
    }

    /// Does with a cell what the engine has said.
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        id: ConnId,
        verdict: Verdict,
        class: Class,
        cell: &mut [u8],
        now: Time,
    ) -> Result<(), Stop> {
        match verdict {
            Verdict::Forward { to, stage } => {
                self.readdress(id, cell);
                self.egress(to, stage, class, cell, now);
            }
            Verdict::Port { to, envelope } => {
                self.readdress(id, cell);
                self.cross(to, envelope, cell, now);
            }
            Verdict::ReadControl => self.read_control(id, &cell[HEADER_LEN..], now),
            Verdict::Drop => {}
            Verdict::Close(_) => return Err(Stop::Told),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn readdress(&self, from: ConnId, cell: &mut [u8]) {
        match self.engine.device_of(from) {
            Some(sender) => readdress(cell, sender),
            None => unreachable!("the engine routes cells of welcome devices only"),
        }
    }

    /// A control cell of a device, or its HELLO.
    fn read_control(&mut self, id: ConnId, body: &[u8], now: Time) {
        let decoded = disclose(body).and_then(|content| Ok((content, Control::decode(content)?)));
        let (content, message) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.engine.handle_malformed_control(id, error, now),
        };
        let Control::Hello(hello) = message else {
            return self.engine.handle_control(id, message, now);
        };
        let Some(connection) = self.connection(id) else { return };
        let Who::Challenged(challenged) = &connection.who else {
            return self.engine.handle_control(id, Control::Hello(hello), now);
        };
        match greeting::verify(challenged, content, hello) {
            Ok(introduction) => {
                connection.who = Who::Introduced;
                self.engine.handle_hello(id, introduction, now);
            }
            Err(refusal) => {
                self.metrics.proofs_refused.add(1);
                self.engine.refuse(id, refusal.code, refusal.sentence, now);
            }
        }
    }
}
