//! The threads of the shards.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use hushwire_uring::affinity;
use tokio::sync::mpsc;

use super::{RelayError, StartError};
use crate::control::operator::ShardEnd;
use crate::control::supervision::{Farewell, ShardOutcome, ShardThreads, fault};
use crate::shard::inbox::Posted;
use crate::shard::{Shard, ShardParts};

/// What the thread of one shard begins with.
pub(super) struct Seed {
    /// The processor to stay on.
    pub(super) cpu: Option<usize>,
    /// Run on the shard's thread, so that the engine's tables are touched first by the processor that uses
    /// them.
    pub(super) parts: Box<dyn FnOnce() -> ShardParts + Send>,
}

/// Starts a thread for each seed and returns when all shards are up.
///
/// # Errors
/// Of the first that does not come up; none runs then.
pub(super) fn start(seeds: Vec<Seed>, ends: &[ShardEnd]) -> Result<ShardThreads, StartError> {
    let count = seeds.len();
    let (farewell, ended) = mpsc::channel(count.max(1));
    let (up, all_up) = channel();
    let mut threads = Vec::with_capacity(count);
    for (number, seed) in seeds.into_iter().enumerate() {
        match spawn(number, seed, up.clone(), Farewell::new(number, farewell.clone())) {
            Ok(thread) => threads.push(Some(thread)),
            Err(source) => {
                stop(threads, ends);
                return Err(StartError::Resource { what: "starting a thread", source });
            }
        }
    }
    drop(up);
    // The channel closes early if a thread ends without having come up.
    if all_up.iter().take(count).count() == count {
        return Ok(ShardThreads { threads, ended });
    }
    let unknown = || RelayError::Shard { shard: 0, cause: "it ended at once".to_owned() };
    Err(StartError::Shard(stop(threads, ends).unwrap_or_else(unknown)))
}

/// Ends all shards and says why the first of them failed.
fn stop(threads: Vec<Option<JoinHandle<ShardOutcome>>>, ends: &[ShardEnd]) -> Option<RelayError> {
    for end in ends {
        end.postbox.post(Posted::Stop);
    }
    let joined = threads.into_iter().enumerate().map(|(shard, it)| fault(shard, it?.join()));
    joined.fold(None, Option::or)
}

fn spawn(
    number: usize,
    seed: Seed,
    up: Sender<()>,
    farewell: Farewell,
) -> io::Result<JoinHandle<ShardOutcome>> {
    std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
        let _says_goodbye = farewell;
        if let Some(cpu) = seed.cpu
            && let Err(error) = affinity::pin_current_thread(cpu)
        {
            tracing::warn!(%error, shard = number, cpu, "a shard is not pinned: it may be slower");
        }
        let shard = Shard::new((seed.parts)()).map_err(|error| error.to_string())?;
        // It fails when the relay has given up starting, and then Stop is in the inbox.
        let _unheard = up.send(());
        drop(up);
        shard.run().map_err(|error| error.to_string())
    })
}
