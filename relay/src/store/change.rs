//! The changes: what the writer does for a query inside its transaction.
//!
//! Each reads everything it needs before it writes anything, so that a damaged record or a refusal
//! leaves the transaction as it was and the rest of the batch can go on.

use heed::RwTxn;
use hushwire_wire::id::{AccountId, DeviceId};

use super::codec::{Account, Device, Grant, Invite, Member, Table};
use super::error::Fault;
use super::lookup::{first_revoked, row};
use super::query::{Answer, Day, Query, Refusal};
use super::tables::{Tables, grant_key, member_key};
use super::{Counters, Limits, Name, StoreError};

/// Entries in one [`Query::SeenDays`].
pub const SEEN_BATCH_MAX: usize = 1_024;
/// Invites stored at a time. Used ones are kept for who asks again, until they expire or their room is needed.
pub const INVITES_MAX: u64 = 16_384;
/// Revoked devices an account remembers; beyond, the first revoked is forgotten (and so unknown).
pub const REVOKED_PER_ACCOUNT_MAX: u16 = 256;

const S_PER_DAY: u64 = 86_400;

/// The writer's view while it works through a batch.
pub(super) struct Changes<'a, 't> {
    pub(super) tables: &'a Tables,
    pub(super) txn: RwTxn<'t>,
    pub(super) limits: &'a Limits,
    pub(super) counters: &'a Counters,
}

impl Changes<'_, '_> {
    /// Does one change. `Err(Fault::Value)` leaves the transaction usable, `Err(Fault::Lmdb)` does not.
    pub(super) fn apply(&mut self, query: &Query) -> Result<Answer, Fault> {
        if query.adds() && self.tables.used_bytes(&self.txn)? >= self.limits.add_bytes_max() as u64
        {
            let bytes_max = self.limits.map_bytes_max;
            return Err(Fault::Store(StoreError::MapFull { bytes_max }));
        }
        match query {
            Query::Redeem { secret_hash, device, name, now_unix_s } => {
                self.redeem(secret_hash, device, name, *now_unix_s)
            }
            Query::Register { account, device, name } => self.register(account, device, name),
            Query::Rename { account, device, name } => {
                self.edit(Some(account), device, |found| found.name = name.clone())
            }
            Query::Revoke { account, device } => self.revoke(account.as_ref(), device),
            Query::Grant { recipient, sender } => self.grant(recipient, sender),
            Query::Ungrant { recipient, sender } => self.ungrant(recipient, sender),
            Query::PresenceHide { device, hidden } => {
                self.edit(None, device, |found| found.presence_hidden = *hidden)
            }
            Query::MarkNative { device, native_only } => {
                self.edit(None, device, |found| found.native_only = *native_only)
            }
            Query::InviteCreate {
                secret_hash,
                expires_unix_s,
                account,
                new_account,
                now_unix_s,
            } => {
                let invite = Invite {
                    account: account.unwrap_or(*new_account),
                    makes_account: account.is_none(),
                    expires_unix_s: *expires_unix_s,
                    used_by: None,
                };
                self.invite(secret_hash, &invite, *now_unix_s)
            }
            Query::SeenDays(seen) => self.seen(seen),
            Query::Device { .. } | Query::Reach { .. } | Query::Devices { .. } | Query::Stats => {
                unreachable!("reads are sent to the readers")
            }
        }
    }

    fn redeem(
        &mut self,
        secret_hash: &[u8; 32],
        device: &DeviceId,
        name: &Name,
        now_unix_s: u64,
    ) -> Result<Answer, Fault> {
        let refuse = |refusal| Ok(Answer::Refused(refusal));
        let Some(invite) = self.tables.get::<Invite>(&self.txn, secret_hash)? else {
            return refuse(Refusal::InviteUnknown);
        };
        let known = self.device(device)?;
        if known.as_ref().is_some_and(|known| known.revoked) {
            return refuse(Refusal::Revoked);
        }
        match (invite.used_by, known) {
            // The answer to the first try was lost.
            (Some(user), Some(known)) if user == *device && known.account == invite.account => {
                return self.row(device, known);
            }
            (Some(_), _) => return refuse(Refusal::InviteUsed),
            (None, Some(_)) => return refuse(Refusal::AlreadyEnrolled),
            (None, None) => {}
        }
        if now_unix_s >= invite.expires_unix_s {
            return refuse(Refusal::InviteExpired);
        }
        let account = match self.account(&invite.account)? {
            Some(account) => account,
            None if invite.makes_account => Account::default(),
            None => return refuse(Refusal::UnknownAccount),
        };
        if usize::from(account.devices) >= self.limits.devices_per_account {
            return refuse(Refusal::AccountFull);
        }
        let seen_day = Day::try_from(now_unix_s / S_PER_DAY).unwrap_or(Day::MAX);
        let added = self.add(&invite.account, account, device, name, seen_day)?;
        let used = Invite { used_by: Some(*device), ..invite };
        self.tables.put(&mut self.txn, secret_hash, &used)?;
        self.row(device, added)
    }

    fn register(
        &mut self,
        account_id: &AccountId,
        device: &DeviceId,
        name: &Name,
    ) -> Result<Answer, Fault> {
        if let Some(known) = self.device(device)? {
            return Ok(match (known.account == *account_id, known.revoked) {
                (false, _) => Answer::Refused(Refusal::OtherAccount),
                (true, true) => Answer::Refused(Refusal::Revoked),
                (true, false) => Answer::Done,
            });
        }
        let Some(account) = self.account(account_id)? else {
            return Ok(Answer::Refused(Refusal::UnknownAccount));
        };
        if usize::from(account.devices) >= self.limits.devices_per_account {
            return Ok(Answer::Refused(Refusal::AccountFull));
        }
        self.add(account_id, account, device, name, 0)?;
        Ok(Answer::Done)
    }

    fn add(
        &mut self,
        account_id: &AccountId,
        account: Account,
        device: &DeviceId,
        name: &Name,
        seen_day: Day,
    ) -> Result<Device, Fault> {
        let added = Device {
            account: *account_id,
            revoked: false,
            native_only: false,
            presence_hidden: false,
            seen_day,
            name: name.clone(),
        };
        let account = Account { devices: account.devices.saturating_add(1), ..account };
        self.tables.put(&mut self.txn, account_id.as_bytes(), &account)?;
        self.tables.put(&mut self.txn, device.as_bytes(), &added)?;
        let member = Member { revocation: 0 };
        self.tables.put(&mut self.txn, &member_key(account_id, device), &member)?;
        Ok(added)
    }

    /// Changes the row of an active device, of the asker's account if there is one.
    fn edit(
        &mut self,
        account: Option<&AccountId>,
        device: &DeviceId,
        change: impl FnOnce(&mut Device),
    ) -> Result<Answer, Fault> {
        let found = self.device(device)?;
        let Some(mut found) = found.filter(|found| {
            !found.revoked && account.is_none_or(|account| *account == found.account)
        }) else {
            return Ok(Answer::Refused(Refusal::UnknownDevice));
        };
        change(&mut found);
        self.tables.put(&mut self.txn, device.as_bytes(), &found)?;
        Ok(Answer::Done)
    }

    fn revoke(&mut self, asker: Option<&AccountId>, device: &DeviceId) -> Result<Answer, Fault> {
        let found = self.device(device)?;
        let Some(found) = found.filter(|found| asker.is_none_or(|id| *id == found.account)) else {
            return Ok(Answer::Refused(Refusal::UnknownDevice));
        };
        if found.revoked {
            return Ok(Answer::Done);
        }
        let account_id = found.account;
        let account = self.account(&account_id)?.ok_or(Fault::Value(Table::Accounts))?;
        let forgotten = if account.revoked >= REVOKED_PER_ACCOUNT_MAX {
            first_revoked(self.tables, &self.txn, &account_id)?
        } else {
            None
        };
        let mut grants: Vec<Vec<u8>> = Vec::new();
        for entry in self.tables.under::<Grant>(&self.txn, device.as_bytes())? {
            grants.push(entry?.0.to_vec());
        }

        for key in &grants {
            self.tables.delete(&mut self.txn, Table::Grants, key)?;
        }
        let mut account = Account {
            devices: account.devices.saturating_sub(1),
            grants: account.grants.saturating_sub(u16::try_from(grants.len()).unwrap_or(u16::MAX)),
            revoked: account.revoked.saturating_add(1),
            revocations: account.revocations.saturating_add(1),
        };
        if let Some(first) = forgotten {
            self.tables.delete(&mut self.txn, Table::Devices, first.as_bytes())?;
            let key = member_key(&account_id, &first);
            self.tables.delete(&mut self.txn, Table::AccountDevices, &key)?;
            account.revoked -= 1;
        }
        let member = Member { revocation: account.revocations };
        self.tables.put(&mut self.txn, &member_key(&account_id, device), &member)?;
        self.tables.put(&mut self.txn, account_id.as_bytes(), &account)?;
        let revoked = Device { revoked: true, ..found };
        self.tables.put(&mut self.txn, device.as_bytes(), &revoked)?;
        Ok(Answer::Done)
    }

    fn grant(&mut self, recipient: &DeviceId, sender: &DeviceId) -> Result<Answer, Fault> {
        let Some(found) = self.device(recipient)?.filter(|found| !found.revoked) else {
            return Ok(Answer::Refused(Refusal::UnknownDevice));
        };
        let key = grant_key(recipient, sender);
        if self.tables.get::<Grant>(&self.txn, &key)?.is_some() {
            return Ok(Answer::Done);
        }
        let account = self.account(&found.account)?.ok_or(Fault::Value(Table::Accounts))?;
        if usize::from(account.grants) >= self.limits.grants_per_account {
            return Ok(Answer::Refused(Refusal::GrantsFull));
        }
        let account = Account { grants: account.grants + 1, ..account };
        self.tables.put(&mut self.txn, &key, &Grant)?;
        self.tables.put(&mut self.txn, found.account.as_bytes(), &account)?;
        Ok(Answer::Done)
    }

    fn ungrant(&mut self, recipient: &DeviceId, sender: &DeviceId) -> Result<Answer, Fault> {
        let Some(found) = self.device(recipient)? else {
            return Ok(Answer::Done);
        };
        let account = self.account(&found.account)?.ok_or(Fault::Value(Table::Accounts))?;
        let key = grant_key(recipient, sender);
        // A damaged grant is deleted like any other: what counts is the key.
        if self.tables.delete(&mut self.txn, Table::Grants, &key)? {
            let account = Account { grants: account.grants.saturating_sub(1), ..account };
            self.tables.put(&mut self.txn, found.account.as_bytes(), &account)?;
        }
        Ok(Answer::Done)
    }

    fn invite(
        &mut self,
        secret_hash: &[u8; 32],
        invite: &Invite,
        now_unix_s: u64,
    ) -> Result<Answer, Fault> {
        if self.tables.get::<Invite>(&self.txn, secret_hash)?.is_some() {
            return Ok(Answer::Refused(Refusal::InviteExists));
        }
        if !invite.makes_account && self.account(&invite.account)?.is_none() {
            return Ok(Answer::Refused(Refusal::UnknownAccount));
        }
        let stored = self.tables.len(&self.txn, Table::Invites)?;
        if stored >= INVITES_MAX
            && self.remove_invites(|invite| now_unix_s >= invite.expires_unix_s)? == 0
            && self.remove_invites(|invite| invite.used_by.is_some())? == 0
        {
            return Ok(Answer::Refused(Refusal::InvitesFull));
        }
        self.tables.put(&mut self.txn, secret_hash, invite)?;
        Ok(Answer::Done)
    }

    /// How many invites made room. A damaged one is removed too: nobody could redeem it.
    fn remove_invites(&mut self, is_over: impl Fn(Invite) -> bool) -> Result<usize, Fault> {
        let mut over: Vec<Vec<u8>> = Vec::new();
        for entry in self.tables.behind::<Invite>(&self.txn, None)? {
            let (key, invite) = entry?;
            if invite.is_none_or(&is_over) {
                over.push(key.to_vec());
            }
        }
        for key in &over {
            self.tables.delete(&mut self.txn, Table::Invites, key)?;
        }
        Ok(over.len())
    }

    fn seen(&mut self, seen: &[(DeviceId, Day)]) -> Result<Answer, Fault> {
        if seen.len() > SEEN_BATCH_MAX {
            return Ok(Answer::Refused(Refusal::TooMany));
        }
        for (device, day) in seen {
            match self.device(device) {
                Ok(Some(found)) if found.seen_day < *day => {
                    let found = Device { seen_day: *day, ..found };
                    self.tables.put(&mut self.txn, device.as_bytes(), &found)?;
                }
                Ok(_) => {}
                Err(Fault::Value(_)) => self.counters.corrupt_value(),
                Err(fault @ (Fault::Lmdb(_) | Fault::Store(_))) => return Err(fault),
            }
        }
        Ok(Answer::Done)
    }

    fn device(&self, device: &DeviceId) -> Result<Option<Device>, Fault> {
        self.tables.get(&self.txn, device.as_bytes())
    }

    fn account(&self, account: &AccountId) -> Result<Option<Account>, Fault> {
        self.tables.get(&self.txn, account.as_bytes())
    }

    fn row(&self, device: &DeviceId, found: Device) -> Result<Answer, Fault> {
        let row = row(self.tables, &self.txn, self.limits, self.counters, device, found)?;
        Ok(Answer::Row(Box::new(row)))
    }
}
