//! What crosses to and from other shards and threads.

use std::os::fd::AsFd as _;

use hushwire_engine::command::HandedOver;
use hushwire_engine::{ConnId, Envelope, ShardId, Time, Verdict};

use super::closing::Ending;
use super::connection::{
    Connection, Link, MovedConnection, MovedWire, Poll, Stage, Tcp, Who, Wire,
};
use super::inbox::Posted;
use super::output::{Flushed, Follows};
use super::{Shard, ShardError};
use crate::mesh::MeshControl;
use crate::shard::limits::{DRAIN_MS_MAX, MESH_CELLS_PER_TURN, POSTED_PER_TURN};

impl Shard {
    /// Sends a cell to the home shard of its recipient; where the way is full, its sender hears `busy`.
    pub(super) fn cross(&mut self, to: ShardId, envelope: Envelope, cell: &[u8], now: Time) {
        if self.mesh.post_cell(usize::from(to.0), envelope, cell).is_err() {
            self.metrics.mesh_full.add(1);
            self.engine.handle_port_full(&envelope, now);
        }
    }

    /// Takes what other shards and threads have posted, a bounded amount a turn. Whether there may be more.
    pub(super) fn take_posted(&mut self, now: Time) -> Result<bool, ShardError> {
        let (mut posts, mut messages) = (0, 0);
        while posts < POSTED_PER_TURN
            && let Ok(posted) = self.inbox.try_recv()
        {
            posts += 1;
            self.handle_posted(posted, now)?;
        }
        while messages < POSTED_PER_TURN
            && let Some(message) = self.mesh.next_control()
        {
            messages += 1;
            match message {
                MeshControl::Engine(message) => {
                    self.engine.handle_port(message, now);
                }
                MeshControl::Moved(moved) => self.moved_in(*moved, now)?,
                MeshControl::Quic(posted) => self.quic_posted(*posted, now)?,
            }
        }
        // A cell is sealed at once: what the engine has to say to its recipient, WELCOME above all, goes before it.
        self.carry_out(now)?;
        let mut more = posts == POSTED_PER_TURN || messages == POSTED_PER_TURN;
        for shard in 0..self.mesh.shards() {
            let mut cells = 0;
            while cells < MESH_CELLS_PER_TURN
                && let Some(mut crossing) = self.mesh.next_cell(shard)
            {
                cells += 1;
                self.arrive(&crossing.envelope, &mut crossing.cell, now);
                self.mesh.return_buffer(shard, crossing.cell);
            }
            more |= cells == MESH_CELLS_PER_TURN;
        }
        self.carry_out(now)?;
        Ok(more)
    }

    fn arrive(&mut self, envelope: &Envelope, cell: &mut [u8], now: Time) {
        match self.engine.handle_arrival(envelope, now) {
            Verdict::Forward { to, stage } => self.egress(to, stage, envelope.class, cell, now),
            Verdict::Drop => {}
            Verdict::Port { .. } | Verdict::ReadControl | Verdict::Close(_) => {
                unreachable!("a cell that has come home goes to a connection or nowhere")
            }
        }
    }

    pub(super) fn handle_posted(&mut self, posted: Posted, now: Time) -> Result<(), ShardError> {
        match posted {
            Posted::Answer(ticket, answer) => self.store_answered(ticket, answer, now),
            Posted::Revoked(device) => self.engine.revoke(&device, now),
            Posted::Drain => {
                self.stop_accepting()?;
                self.engine.drain(now);
                self.drain_until = Some(now.after_millis(DRAIN_MS_MAX));
            }
            Posted::Stop => self.stopping = true,
        }
        Ok(())
    }

    /// Sends a connection that has introduced itself to its device's home.
    pub(super) fn move_out(
        &mut self,
        id: ConnId,
        to: ShardId,
        mut handed: HandedOver,
    ) -> Result<(), ShardError> {
        let Some(connection) = self.remove(id) else { return Ok(()) };
        let Connection { counters, wire, .. } = connection;
        let wire = match wire {
            Wire::Tcp(tcp) => {
                handed.sealed_bytes = 0;
                self.tcp_moves_out(tcp)
            }
            Wire::Quic(quic) => Some(self.quic_moves_out(quic, to)),
        };
        let Some(wire) = wire else { return Ok(()) };
        let message = MeshControl::Moved(Box::new(MovedConnection { counters, handed, wire }));
        if let Err(full) = self.mesh.post_control(usize::from(to.0), message) {
            self.metrics.mesh_full.add(1);
            tracing::warn!("a hand-over was dropped: the control queue between two shards is full");
            if let MeshControl::Moved(moved) = full.0
                && let MovedWire::Quic { quic, .. } = moved.wire
            {
                self.quic_gone(quic.key);
            }
        }
        Ok(())
    }

    /// Takes a socket and its record layer apart from this shard. `None`: the device has not even read its challenge, and
    /// nobody can say anything to it.
    fn tcp_moves_out(&mut self, mut tcp: Tcp) -> Option<MovedWire> {
        assert_eq!(tcp.poll, Poll::Idle, "before a device is welcome its polls are one-shot");
        let flushed = tcp.outbox.flush(tcp.socket.as_fd(), &mut self.output, Follows::Nothing);
        let Tcp { socket, stage: Stage::Open(mut link), .. } = tcp else {
            unreachable!("a connection that has introduced itself is open")
        };
        let Flushed::All(_) = flushed else {
            link.inbound.release(&mut self.carry);
            return None;
        };
        let carried = link.inbound.take_carried(&mut self.carry);
        Some(MovedWire::Tcp { socket, inbound: link.inbound, carried, sealer: link.sealer })
    }

    /// A connection has come home.
    fn moved_in(&mut self, moved: MovedConnection, now: Time) -> Result<(), ShardError> {
        let MovedConnection { counters, handed, wire } = moved;
        let Ok(id) = self.engine.handle_hand_over(handed, now) else {
            if let MovedWire::Quic { quic, .. } = wire {
                self.close_quic(quic, &Ending::Broken, now);
            }
            return Ok(());
        };
        // A partial cell behind a HELLO is an eager client's; without memory for it, it starts anew.
        let (wire, kept) = match wire {
            MovedWire::Tcp { socket, mut inbound, carried, sealer } => {
                let kept = inbound.put_carried(&carried, &mut self.carry).is_ok();
                (Wire::Tcp(Tcp::new(socket, Stage::Open(Link { inbound, sealer }))), kept)
            }
            MovedWire::Quic { mut quic, carried } => {
                let kept = quic.incoming.put_carried(carried, &mut self.carry).is_ok();
                self.quic_moves_in(&mut quic, id);
                (Wire::Quic(quic), kept)
            }
        };
        self.insert(Connection::new(id, Who::Introduced, counters, wire, now));
        self.stir(id);
        if kept { Ok(()) } else { self.end(id, Ending::Broken, now) }
    }
}
