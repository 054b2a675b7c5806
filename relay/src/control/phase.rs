//! Where the relay is between its start and its end. It only ever moves forward.

use tokio::sync::watch;

/// A stage of the relay's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not all shards are up.
    Starting,
    /// Serving.
    Running,
    /// Saying goodbye to devices, accepting none.
    Draining,
    /// Stopping without waiting for anybody.
    Stopping,
    /// The shards have ended; the control thread finishes its conversations.
    Leaving,
    /// Over.
    Ended,
}

/// The phase, shared by everybody who moves or watches it.
#[derive(Clone, Debug)]
pub(crate) struct PhaseCell(watch::Sender<Phase>);

impl PhaseCell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }

    /// Moves forward to `phase`; nothing happens if the relay is there or beyond.
    pub(crate) fn raise(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = *now < phase;
            *now = (*now).max(phase);
            forward
        });
    }

    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns as soon as the relay is in `phase` or beyond, and says which it is.
    pub(crate) async fn reached(&self, phase: Phase) -> Phase {
        let mut watcher = self.0.subscribe();
        let reached = watcher.wait_for(|now| *now >= phase).await;
        // The sender lives in `self`, so there is always a value.
        reached.map_or(Phase::Ended, |now| *now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let cell = PhaseCell::new();
        for (raise, expect) in [
            (Phase::Running, Phase::Running),
            (Phase::Starting, Phase::Running),
            (Phase::Stopping, Phase::Stopping),
            (Phase::Draining, Phase::Stopping),
            (Phase::Ended, Phase::Ended),
        ] {
            cell.raise(raise);
            assert_eq!(cell.now(), expect);
        }
    }
}
