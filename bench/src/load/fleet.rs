//! Many devices, connected a few at a time.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use hushwire_wire::code::Invite;

use super::device::{Connector, Identity};
use super::dialect::{Dialect, Seat};
use crate::admin::Admin;
use crate::limits::CONNECT_THREADS;

/// Devices that may connect. Pair `i` is the devices `2 i` and `2 i + 1`, of one account.
pub(crate) struct Fleet {
    identities: Vec<Identity>,
}

impl Fleet {
    /// Makes up `count` devices, an even number.
    pub(crate) fn generate(count: usize) -> Result<Self> {
        let identities = (0..count).map(|_| Identity::generate()).collect::<Result<_>>()?;
        Ok(Self { identities })
    }

    /// All of them, in their order.
    pub(crate) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The two devices of a pair.
    pub(crate) fn pair(&self, number: usize) -> Option<[&Identity; 2]> {
        let [first, second] = self.identities.get(2 * number..2 * number + 2)? else { return None };
        Some([first, second])
    }

    /// Makes a relay know them all: each presents an invite of its own; the second device of a pair
    /// one for the account that the first one got.
    pub(crate) fn enrol(
        &self,
        connector: &Connector,
        admin: &Path,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (firsts, seconds): (Vec<_>, Vec<_>) =
            self.identities.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).unzip();
        let nobody = vec![None; firsts.len()];
        invite_and_connect(&firsts, &nobody, connector, admin, stop)?;
        let accounts: HashMap<String, String> = Admin::open(admin)?.devices()?;
        let accounts = firsts
            .iter()
            .map(|first| accounts.get(&first.device.to_text()).cloned().map(Some))
            .collect::<Option<Vec<_>>>()
            .context("the relay does not list a device that it has just enrolled")?;
        invite_and_connect(&seconds, &accounts, connector, admin, stop)
    }

    /// Makes a relay know them all, as devices of one account: each may send to each.
    pub(crate) fn enrol_together(
        &self,
        connector: &Connector,
        admin: &Path,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (first, others) = self.identities.split_first().context("a fleet of nobody")?;
        invite_and_connect(&[first], &[None], connector, admin, stop)?;
        let account = Admin::open(admin)?.devices()?.remove(&first.device.to_text());
        let account = account.context("the relay does not list a device that it has enrolled")?;
        let others: Vec<_> = others.iter().collect();
        let accounts = vec![Some(account); others.len()];
        invite_and_connect(&others, &accounts, connector, admin, stop)
    }

    /// Connects the first `count` devices, in their order.
    pub(crate) fn connect<D: Dialect>(
        &self,
        count: usize,
        dialect: &D,
        stop: &AtomicBool,
    ) -> Result<Vec<D::Device>> {
        self.connect_some(0..count, dialect, stop)
    }

    /// Connects the devices with these numbers, in their order, from an even one to an odd one.
    pub(crate) fn connect_some<D: Dialect>(
        &self,
        numbers: Range<usize>,
        dialect: &D,
        stop: &AtomicBool,
    ) -> Result<Vec<D::Device>> {
        self.connect_as(&numbers.collect::<Vec<_>>(), dialect, stop)
    }

    /// Connects the devices of these numbers, which are an even number of them: in this order, the first two are a
    /// pair, and so on.
    pub(crate) fn connect_as<D: Dialect>(
        &self,
        order: &[usize],
        dialect: &D,
        stop: &AtomicBool,
    ) -> Result<Vec<D::Device>> {
        let wanted: Vec<_> = order
            .iter()
            .map(|&at| self.identities.get(at))
            .collect::<Option<_>>()
            .context("more devices than there are")?;
        let introduce = |(): &mut (), number: usize, identity: &Identity| {
            let peer = wanted.get(number ^ 1).copied().context("a device without another")?;
            dialect.introduce(Seat { number, identity, peer })
        };
        in_threads(&wanted, stop, |_| Ok(()), introduce)
    }
}

fn invite_and_connect(
    identities: &[&Identity],
    accounts: &[Option<String>],
    connector: &Connector,
    admin: &Path,
    stop: &AtomicBool,
) -> Result<()> {
    let enrol = |admin: &mut Admin, at: usize, identity: &Identity| -> Result<()> {
        let text = admin.invite(accounts[at].as_deref())?;
        let invite = Invite::from_text(&text).map_err(|error| anyhow!("an invite: {error}"))?;
        connector.connect(identity, Some(invite.secret.as_bytes())).map(drop)
    };
    in_threads(identities, stop, |_| Admin::open(admin), enrol).map(drop)
}

/// Does `work` for every item on a few threads, each with a state of its own; results in order.
fn in_threads<S, T: Send>(
    items: &[&Identity],
    stop: &AtomicBool,
    start: impl Fn(usize) -> Result<S> + Sync,
    work: impl Fn(&mut S, usize, &Identity) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let chunk = items.len().div_ceil(CONNECT_THREADS).max(1);
    let (start, work) = (&start, &work);
    let failed = AtomicBool::new(false);
    let failed = &failed;
    let run = move |number: usize, items: &[&Identity]| -> Result<Vec<T>> {
        let mut state = start(number)?;
        let mut done = Vec::with_capacity(items.len());
        for (at, identity) in items.iter().enumerate() {
            if stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            done.push(work(&mut state, number * chunk + at, identity)?);
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(chunk)
            .enumerate()
            .map(|(number, items)| {
                scope.spawn(move || {
                    let outcome = run(number, items);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        let outcomes: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
            .collect();
        // The error that stopped the others says more than theirs.
        let (good, mut bad): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        bad.sort_by_key(|error| {
            error.as_ref().err().is_some_and(|e| e.to_string() == "interrupted")
        });
        match bad.into_iter().next() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(good.into_iter().flatten().flatten().collect()),
        }
    })
}
