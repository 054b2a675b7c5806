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
use super::quic::{Devices, Newcomer, QuicConnector};
use crate::admin::Admin;
use crate::limits::CONNECT_THREADS;

/// A way to enrol devices, in several threads at a time.
pub(crate) trait Enrolling: Sync {
    /// What each thread has of its own.
    type Thread: Send;

    fn thread(&self) -> Result<Self::Thread>;

    /// Connects a device, with a token that enrols it, and ends the connection.
    fn enrol(&self, thread: &mut Self::Thread, identity: &Identity, token: &[u8]) -> Result<()>;
}

impl Enrolling for Connector {
    type Thread = ();

    fn thread(&self) -> Result<()> {
        Ok(())
    }

    fn enrol(&self, (): &mut (), identity: &Identity, token: &[u8]) -> Result<()> {
        self.connect(identity, Some(token)).map(drop)
    }
}

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
    pub(crate) fn enrol<E: Enrolling>(
        &self,
        way: &E,
        admin: &Path,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (firsts, seconds): (Vec<_>, Vec<_>) =
            self.identities.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).unzip();
        let nobody = vec![None; firsts.len()];
        invite_and_connect(&firsts, &nobody, way, admin, stop)?;
        let accounts: HashMap<String, String> = Admin::open(admin)?.devices()?;
        let accounts = firsts
            .iter()
            .map(|first| accounts.get(&first.device.to_text()).cloned().map(Some))
            .collect::<Option<Vec<_>>>()
            .context("the relay does not list a device that it has just enrolled")?;
        invite_and_connect(&seconds, &accounts, way, admin, stop)
    }

    /// Makes a relay know them all, as devices of one account: each may send to each.
    pub(crate) fn enrol_together<E: Enrolling>(
        &self,
        way: &E,
        admin: &Path,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (first, others) = self.identities.split_first().context("a fleet of nobody")?;
        invite_and_connect(&[first], &[None], way, admin, stop)?;
        let account = Admin::open(admin)?.devices()?.remove(&first.device.to_text());
        let account = account.context("the relay does not list a device that it has enrolled")?;
        let others: Vec<_> = others.iter().collect();
        let accounts = vec![Some(account); others.len()];
        invite_and_connect(&others, &accounts, way, admin, stop)
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
        let wanted = self.those(order)?;
        let introduce =
            |(): &mut (), number: usize, _: &Identity| dialect.introduce(seat(&wanted, number)?);
        let done = in_threads(&wanted, stop, |_| Ok(()), introduce)?;
        Ok(done.into_iter().flat_map(|((), devices)| devices).collect())
    }

    /// The same by QUIC: each thread has a hub of its own, and on it its devices in their order.
    pub(crate) fn connect_by_quic(
        &self,
        order: &[usize],
        connector: &QuicConnector,
        stop: &AtomicBool,
    ) -> Result<Vec<Devices>> {
        let wanted = self.those(order)?;
        let introduce = |hub: &mut Devices, number: usize, _: &Identity| {
            let newcomer = Newcomer { seat: seat(&wanted, number)?, token: None, first_id: None };
            hub.introduce(connector, newcomer).map(drop)
        };
        let done = in_threads(&wanted, stop, |_| Devices::new(), introduce)?;
        Ok(done.into_iter().map(|(hub, _)| hub).collect())
    }

    fn those(&self, order: &[usize]) -> Result<Vec<&Identity>> {
        let wanted = order.iter().map(|&at| self.identities.get(at));
        wanted.collect::<Option<_>>().context("more devices than there are")
    }
}

/// The place of a device among those that connect together.
fn seat<'a>(wanted: &[&'a Identity], number: usize) -> Result<Seat<'a>> {
    let of = |number: usize| wanted.get(number).copied().context("a device without another");
    Ok(Seat { number, identity: of(number)?, peer: of(number ^ 1)? })
}

fn invite_and_connect<E: Enrolling>(
    identities: &[&Identity],
    accounts: &[Option<String>],
    way: &E,
    admin: &Path,
    stop: &AtomicBool,
) -> Result<()> {
    let start = |_| Ok((Admin::open(admin)?, way.thread()?));
    let enrol = |state: &mut (Admin, E::Thread), at: usize, identity: &Identity| -> Result<()> {
        let text = state.0.invite(accounts[at].as_deref())?;
        let invite = Invite::from_text(&text).map_err(|error| anyhow!("an invite: {error}"))?;
        way.enrol(&mut state.1, identity, invite.secret.as_bytes())
    };
    in_threads(identities, stop, start, enrol).map(drop)
}

/// Does `work` for every item on a few threads, each with a state of its own; states and results in order.
fn in_threads<S: Send, T: Send>(
    items: &[&Identity],
    stop: &AtomicBool,
    start: impl Fn(usize) -> Result<S> + Sync,
    work: impl Fn(&mut S, usize, &Identity) -> Result<T> + Sync,
) -> Result<Vec<(S, Vec<T>)>> {
    let chunk = items.len().div_ceil(CONNECT_THREADS).max(1);
    let (start, work) = (&start, &work);
    let failed = AtomicBool::new(false);
    let failed = &failed;
    let run = move |number: usize, items: &[&Identity]| -> Result<(S, Vec<T>)> {
        let mut state = start(number)?;
        let mut done = Vec::with_capacity(items.len());
        for (at, identity) in items.iter().enumerate() {
            if stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            done.push(work(&mut state, number * chunk + at, identity)?);
        }
        Ok((state, done))
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
            Some(Ok(_)) | None => Ok(good.into_iter().flatten().collect()),
        }
    })
}
