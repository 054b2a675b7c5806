//! What the engine wants done.

use hushwire_engine::{Command, Time};
use hushwire_wire::control::Control;

use super::closing::Ending;
use super::{Shard, ShardError};
use crate::mesh::MeshControl;

impl Shard {
    /// Carries out everything the engine has decided.
    pub(super) fn carry_out(&mut self, now: Time) -> Result<(), ShardError> {
        while let Some(command) = self.engine.poll_command() {
            match command {
                Command::Send { conn, mut control } => {
                    self.draw_quic_ids(&mut control);
                    let welcome = matches!(control, Control::Welcome(_));
                    self.seal_control(conn, &control, now);
                    if welcome {
                        self.welcomed(conn)?;
                    }
                }
                Command::Close { conn, after_flush, why } => {
                    let ending = if after_flush { Ending::Engine(why) } else { Ending::Broken };
                    self.end(conn, ending, now)?;
                }
                Command::HandOver { conn, to, handed } => self.move_out(conn, to, *handed)?,
                Command::AskStore { ticket, question } => self.ask_store(ticket, question, now),
                Command::Post { to, message } => {
                    let message = MeshControl::Engine(message);
                    if self.mesh.post_control(usize::from(to.0), message).is_err() {
                        self.metrics.bugs.add(1);
                        tracing::error!(
                            shard = to.0,
                            "a message between shards was lost: its queue is full"
                        );
                    }
                }
                Command::Release(slot) => {
                    let cell = self.slots.take(slot);
                    self.slots.recycle(cell);
                }
                Command::Alarm(alarm) => {
                    tracing::warn!(
                        "connections of one device displace each other: two machines share its keys, or somebody stole them"
                    );
                    tracing::debug!(?alarm, "the device");
                }
            }
        }
        Ok(())
    }

    /// The engine leaves room in WELCOME for connection IDs of this shard.
    fn draw_quic_ids(&self, control: &mut Control) {
        if let Control::Welcome(welcome) = control {
            let draw = || self.quic.as_ref()?.draw_id();
            let ids = welcome.quic_ids.iter().map_while(|_| draw()).collect();
            welcome.quic_ids = ids;
        }
    }
}
