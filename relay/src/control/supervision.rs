//! Shards that end, and what follows: one that ends by a fault ends the relay.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::operator::Operator;
use super::phase::{Phase, PhaseCell};
use crate::shard::inbox::Posted;

/// Why the relay ended before it was told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// A shard could not go on.
    #[error("shard {shard} failed ({cause}): the relay has stopped, its log may say more")]
    Shard {
        /// Which.
        shard: usize,
        /// What it said.
        cause: String,
    },
    /// A bug.
    #[error("{thread} panicked ({message}): the relay has stopped; report this as a bug")]
    Panic {
        /// Which thread.
        thread: String,
        /// What it said.
        message: String,
    },
}

/// What the thread of a shard returns.
pub(crate) type ShardOutcome = Result<(), String>;

/// The running shards and the news of their ends.
#[derive(Debug)]
pub(crate) struct ShardThreads {
    /// By the number of the shard; `None` once joined.
    pub(crate) threads: Vec<Option<JoinHandle<ShardOutcome>>>,
    /// The number of each shard that ends.
    pub(crate) ended: mpsc::Receiver<usize>,
}

/// Carries orders to the shards and waits for all of them to end. `order` posts to every shard.
///
/// # Errors
/// Of the first shard that failed.
pub(super) async fn supervise(
    mut shards: ShardThreads,
    phase: &PhaseCell,
    order: impl Fn(fn() -> Posted),
) -> Result<(), RelayError> {
    let mut outcome = Ok(());
    let mut ordered = Phase::Running;
    while shards.threads.iter().any(Option::is_some) {
        tokio::select! {
            ended = shards.ended.recv() => {
                let number = ended.unwrap_or_default();
                if let Some(error) = join(&mut shards.threads, number) {
                    tracing::error!(%error, "a shard ended");
                    outcome = outcome.and(Err(error));
                    phase.raise(Phase::Stopping);
                }
            }
            now = phase.reached(Phase::Draining), if ordered < Phase::Draining => {
                ordered = Phase::Draining;
                if now == Phase::Draining {
                    tracing::info!("draining: devices are told to come back later");
                    order(|| Posted::Drain);
                }
            }
            _ = phase.reached(Phase::Stopping), if ordered < Phase::Stopping => {
                ordered = Phase::Stopping;
                order(|| Posted::Stop);
            }
        }
    }
    outcome
}

/// What a shard that has ended says of it, if it is nothing good.
fn join(threads: &mut [Option<JoinHandle<ShardOutcome>>], shard: usize) -> Option<RelayError> {
    fault(shard, threads.get_mut(shard)?.take()?.join())
}

/// What the end of a shard's thread means, if it is nothing good.
pub(crate) fn fault(shard: usize, joined: std::thread::Result<ShardOutcome>) -> Option<RelayError> {
    match joined {
        Ok(Ok(())) => None,
        Ok(Err(cause)) => Some(RelayError::Shard { shard, cause }),
        Err(panic) => {
            let thread = format!("shard {shard}");
            Some(RelayError::Panic { thread, message: message(panic.as_ref()) })
        }
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}

/// Tells the control thread that a shard's thread ends, however it does.
#[derive(Debug)]
pub(crate) struct Farewell {
    shard: usize,
    ended: mpsc::Sender<usize>,
}

impl Farewell {
    /// For the thread of `shard`; the channel has room for every shard.
    pub(crate) fn new(shard: usize, ended: mpsc::Sender<usize>) -> Self {
        Self { shard, ended }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // It fails when the control thread has gone, and then nobody needs to know.
        let _unheard = self.ended.try_send(self.shard);
    }
}

/// The end of the control thread, however it comes: no shard may go on without it.
#[derive(Debug)]
pub(super) struct Ended(Arc<Operator>);

impl Ended {
    pub(super) fn new(operator: Arc<Operator>) -> Self {
        Self(operator)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.order(|| Posted::Stop);
        self.0.phase.raise(Phase::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Shards that do `work` with the orders they get.
    fn shards(
        work: &[fn(Receiver<Posted>) -> ShardOutcome],
    ) -> (ShardThreads, Vec<Sender<Posted>>) {
        let (farewell, ended) = mpsc::channel(work.len());
        let mut orders = Vec::new();
        let threads = work.iter().enumerate().map(|(number, work)| {
            let (order, inbox) = channel();
            orders.push(order);
            let (farewell, work) = (Farewell::new(number, farewell.clone()), *work);
            Some(std::thread::spawn(move || {
                let _says_goodbye = farewell;
                work(inbox)
            }))
        });
        (ShardThreads { threads: threads.collect(), ended }, orders)
    }

    /// Supervises shards that do `work`; what they were ordered, and how it ended.
    fn supervised(
        work: &[fn(Receiver<Posted>) -> ShardOutcome],
        raise: Option<Phase>,
    ) -> (Vec<String>, Result<(), RelayError>) {
        let (shards, orders) = shards(work);
        let (phase, said) = (PhaseCell::new(), RefCell::new(Vec::new()));
        phase.raise(Phase::Running);
        if let Some(raise) = raise {
            phase.raise(raise);
        }
        let order = |posted: fn() -> Posted| {
            said.borrow_mut().push(format!("{:?}", posted()));
            orders.iter().for_each(|order| drop(order.send(posted())));
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let outcome = runtime.block_on(supervise(shards, &phase, order));
        (said.into_inner(), outcome)
    }

    /// Ends at the first order.
    fn obeys(inbox: Receiver<Posted>) -> ShardOutcome {
        inbox.recv().map(|_| ()).map_err(|_| "no order".to_owned())
    }

    fn fails(_inbox: Receiver<Posted>) -> ShardOutcome {
        Err("the kernel said no".to_owned())
    }

    fn panics(_inbox: Receiver<Posted>) -> ShardOutcome {
        panic!("a bug {}", 7)
    }

    #[test]
    fn orders_reach_all_shards() {
        let check = |phase, expect: &str| {
            let (said, outcome) = supervised(&[obeys, obeys], Some(phase));
            assert_eq!((said, outcome), (vec![expect.to_owned()], Ok(())), "{phase:?}");
        };
        check(Phase::Draining, "Drain");
        check(Phase::Stopping, "Stop");
    }

    #[test]
    fn one_shard_that_fails_ends_all() {
        let (said, outcome) = supervised(&[obeys, fails, obeys], None);
        assert_eq!(said, ["Stop"]);
        let cause = "the kernel said no".to_owned();
        assert_eq!(outcome, Err(RelayError::Shard { shard: 1, cause }));
    }

    #[test]
    fn one_shard_that_panics_ends_all() {
        let (said, outcome) = supervised(&[panics, obeys], None);
        assert_eq!(said, ["Stop"]);
        let (thread, message) = ("shard 0".to_owned(), "a bug 7".to_owned());
        assert_eq!(outcome, Err(RelayError::Panic { thread, message }));
    }
}
