//! Ctrl-C and SIGTERM: a measurement stops between two steps, so that children and files go with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::{SigSet, Signal};

/// Says whether somebody asked to stop.
#[derive(Debug)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    told: Receiver<()>,
}

impl Interrupt {
    /// Takes the two signals over. A second one ends the process at once.
    ///
    /// To be called before any thread is started.
    pub(crate) fn watch() -> Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let asked = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let shared = Arc::clone(&asked);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while signals.wait().is_ok() {
                if shared.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                // Nobody listens any more when the program is about to end.
                let _ = tell.send(());
            }
        })?;
        Ok(Self { asked, told })
    }

    /// Fails if somebody asked to stop.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.asked.load(Ordering::Relaxed) { bail!("interrupted") } else { Ok(()) }
    }

    /// The flag, for other threads.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) -> Result<()> {
        match self.told.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => self.check(),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => bail!("interrupted"),
        }
    }
}
