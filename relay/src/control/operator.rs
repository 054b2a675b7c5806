//! What an operator can ask for, carried out. Everything here may wait for the store, so it runs beside
//! the control thread, never on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use hushwire_wire::code::{CodeError, Invite, RelayAddress, Secret, Trust};
use hushwire_wire::id::{AccountId, DeviceId, IdError, RelayId};
use zeroize::Zeroize as _;

use super::admin::{self, Question, StoreStatus};
use super::limits::{DEVICES_PAGE, INVITE_TTL_S_MAX, INVITE_TTL_S_MIN};
use super::memory::resident;
use super::phase::{Phase, PhaseCell};
use crate::metrics::{RelayNumbers, Scrape, ShardMetrics};
use crate::shard::inbox::{Postbox, Posted};
use crate::store::{Answer, DeviceEntry, Query, Refusal, Stats, Status, Store, StoreError};

/// Who this relay is and where; it does not change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) relay: RelayId,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo.
    pub(crate) pin: [u8; 32],
    pub(crate) listen: SocketAddr,
    /// `host:port` as written into invites, where one is known.
    pub(crate) public_address: Option<String>,
    pub(crate) control: SocketAddr,
    pub(crate) memory_bill_bytes: u64,
}

/// One shard, as seen from here.
#[derive(Debug)]
pub(crate) struct ShardEnd {
    pub(crate) postbox: Postbox,
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// Everything an operator's questions need.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) about: About,
    pub(crate) phase: PhaseCell,
    pub(crate) shards: Vec<ShardEnd>,
    pub(crate) store: Store,
    pub(crate) started: Instant,
}

/// Why an operator's question was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// Not a device ID.
    #[error("this is no device ID ({0}): `hushctl devices` lists them")]
    Device(IdError),
    /// Not an account ID.
    #[error("this is no account ID ({0}): `hushctl devices` lists them")]
    Account(IdError),
    /// Nobody knows where devices should connect.
    #[error(
        "invites need an address that devices can reach: set [relay] public_address and restart \
         the relay"
    )]
    NoAddress,
    /// Devices could not read the address.
    #[error("[relay] public_address cannot stand in an invite: {0}")]
    Address(#[from] CodeError),
    /// Too short or too long a life.
    #[error(
        "an invite lives between {INVITE_TTL_S_MIN} second and {} days: choose another time",
        INVITE_TTL_S_MAX / 86_400
    )]
    Ttl,
    /// The system has no random numbers, or no clock.
    #[error("the system has no {0}: check the machine")]
    System(&'static str),
    /// Not possible, as the store knows.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of the relay.
    #[error("the store gave an answer to another question: report this as a bug")]
    Bug,
}

/// A fresh invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invited {
    /// To be handed over; a secret.
    pub(crate) text: String,
    pub(crate) expires_unix_s: u64,
}

impl Operator {
    /// Answers a question of the admin socket.
    pub(crate) fn answer(&self, question: Question) -> admin::Answer {
        let answered = match question {
            Question::Status => self.status().map(|status| admin::Answer::Status(Box::new(status))),
            Question::Invite { account, ttl_s } => self.invite_by_text(account.as_deref(), ttl_s),
            Question::Devices { after } => self.devices(after.as_deref()),
            Question::Revoke { device } => self.revoke(&device),
            Question::Drain => {
                self.phase.raise(Phase::Draining);
                Ok(admin::Answer::Done)
            }
        };
        answered.unwrap_or_else(|error| admin::Answer::Failed { sentence: error.to_string() })
    }

    fn invite_by_text(
        &self,
        account: Option<&str>,
        ttl_s: u32,
    ) -> Result<admin::Answer, OperatorError> {
        let account = account.map(str::parse).transpose().map_err(OperatorError::Account)?;
        let Invited { text, expires_unix_s } =
            self.invite(account, Duration::from_secs(u64::from(ttl_s)))?;
        Ok(admin::Answer::Invite { invite: text, expires_unix_s })
    }

    /// Makes an invite for one device, into `account` or a new one.
    ///
    /// # Errors
    /// A life out of bounds, an unknown account, or the store's.
    pub(crate) fn invite(
        &self,
        account: Option<AccountId>,
        ttl: Duration,
    ) -> Result<Invited, OperatorError> {
        let ttl_s = ttl.as_secs();
        if !(INVITE_TTL_S_MIN..=INVITE_TTL_S_MAX).contains(&ttl_s) {
            return Err(OperatorError::Ttl);
        }
        let about = &self.about;
        let address = about.public_address.as_deref().ok_or(OperatorError::NoAddress)?;
        let relay = RelayAddress::new(Trust::Pin(about.pin), about.relay, address)?;
        let now_unix_s = unix_s()?;
        let expires_unix_s = now_unix_s.saturating_add(ttl_s);
        let mut random = random::<16>()?;
        let secret = Secret::new(random);
        random.zeroize();
        self.change(Query::InviteCreate {
            secret_hash: sha256(secret.as_bytes()),
            expires_unix_s,
            account,
            new_account: AccountId::new(self::random()?),
            now_unix_s,
        })?;
        Ok(Invited { text: Invite { relay, secret }.to_text(), expires_unix_s })
    }

    fn devices(&self, after: Option<&str>) -> Result<admin::Answer, OperatorError> {
        let after = after.map(str::parse).transpose().map_err(OperatorError::Device)?;
        let answer = self.store.call(Query::Devices { after, limit: DEVICES_PAGE });
        let Answer::Devices { page, next } = answer else { return Err(unwelcome(answer)) };
        let devices = page.into_iter().map(shown).collect();
        Ok(admin::Answer::Devices { devices, more: next.is_some() })
    }

    fn revoke(&self, device: &str) -> Result<admin::Answer, OperatorError> {
        let device: DeviceId = device.parse().map_err(OperatorError::Device)?;
        self.change(Query::Revoke { account: None, device })?;
        for shard in &self.shards {
            shard.postbox.post(Posted::Revoked(device));
        }
        tracing::info!("a device was revoked by the operator");
        Ok(admin::Answer::Done)
    }

    fn change(&self, query: Query) -> Result<(), OperatorError> {
        let answer = self.store.call(query);
        let Answer::Done = answer else { return Err(unwelcome(answer)) };
        Ok(())
    }

    fn stats(&self) -> Result<Stats, OperatorError> {
        let answer = self.store.call(Query::Stats);
        let Answer::Stats(stats) = answer else { return Err(unwelcome(answer)) };
        Ok(stats)
    }

    fn status(&self) -> Result<admin::Status, OperatorError> {
        let stats = self.stats()?;
        let memory = resident();
        let about = &self.about;
        Ok(admin::Status {
            version: crate::daemon::VERSION.to_owned(),
            relay_id: about.relay.to_text(),
            pin: hexadecimal(&about.pin),
            listen: vec![about.listen.to_string()],
            public_address: about.public_address.clone().unwrap_or_default(),
            control: about.control.to_string(),
            uptime_s: self.started.elapsed().as_secs(),
            draining: self.phase.now() >= Phase::Draining,
            resident_bytes: memory.now,
            resident_bytes_max: memory.max,
            memory_bill_bytes: about.memory_bill_bytes,
            totals: self.scrape_with(&stats).totals(),
            store: StoreStatus {
                accounts: stats.accounts,
                devices: stats.devices,
                grants: stats.grants,
                invites: stats.invites,
                map_used_bytes: stats.map_bytes_used,
                map_bytes: stats.map_bytes_max,
            },
        })
    }

    /// All numbers, for Prometheus. Where the store cannot be asked, its sizes are zero.
    pub(crate) fn scrape(&self) -> Scrape {
        self.scrape_with(&self.stats().unwrap_or_default())
    }

    fn scrape_with(&self, stats: &Stats) -> Scrape {
        let counted = self.store.counters();
        let relay = RelayNumbers {
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: u64::from(self.phase.now() >= Phase::Draining),
            resident_bytes: resident().now,
            memory_bill_bytes: self.about.memory_bill_bytes,
            store_accounts: stats.accounts,
            store_devices: stats.devices,
            store_map_used_bytes: stats.map_bytes_used,
            store_map_max_bytes: stats.map_bytes_max,
            store_commits: counted.commits,
            store_changes: counted.changes,
            store_reads: counted.reads,
            store_turned_away: counted.busy,
            store_failures: counted.failures,
            store_corrupt_values: counted.corrupt_values,
        };
        Scrape::new(self.shards.iter().map(|shard| &*shard.metrics), relay)
    }

    /// Posts an order to every shard.
    pub(crate) fn order(&self, order: fn() -> Posted) {
        for shard in &self.shards {
            shard.postbox.post(order());
        }
    }
}

fn unwelcome(answer: Answer) -> OperatorError {
    match answer {
        Answer::Refused(refusal) => OperatorError::Refused(refusal),
        Answer::Failed(error) => OperatorError::Store(error),
        Answer::Unknown => OperatorError::Refused(Refusal::UnknownDevice),
        Answer::Row(_)
        | Answer::Offline { .. }
        | Answer::Done
        | Answer::Devices { .. }
        | Answer::Stats(_) => OperatorError::Bug,
    }
}

fn shown(entry: DeviceEntry) -> admin::Device {
    admin::Device {
        device: entry.device.to_text(),
        account: entry.account.to_text(),
        name: entry.name.as_str().to_owned(),
        revoked: entry.status == Status::Revoked,
        seen_day: entry.seen_day,
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Random bytes.
///
/// # Errors
/// The system has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], OperatorError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OperatorError::System("random numbers"))?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the life of an invite is counted by the calendar")]
fn unix_s() -> Result<u64, OperatorError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|it| it.as_secs()).map_err(|_| OperatorError::System("clock set after 1970"))
}

/// Lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
