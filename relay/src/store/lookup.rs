//! The reads: what a reader thread does for a query.

use hushwire_wire::id::{AccountId, DeviceId};

use super::codec::{Device, Grant, Member, Table};
use super::error::Fault;
use super::query::{Answer, DeviceEntry, Query, Refusal, Row, Stats, Status};
use super::tables::{ReadTxn, Tables, grant_key};
use super::{Counters, Limits};

/// Devices in one page of a list.
pub const DEVICES_PAGE_MAX: usize = 256;

/// Answers a read; changes are not for this.
pub(super) fn look_up(
    tables: &Tables,
    limits: &Limits,
    counters: &Counters,
    query: &Query,
) -> Result<Answer, Fault> {
    let txn = tables.read()?;
    match query {
        Query::Device { device } => Ok(match tables.get(&txn, device.as_bytes())? {
            Some(found) => {
                Answer::Row(Box::new(row(tables, &txn, limits, counters, device, found)?))
            }
            None => Answer::Unknown,
        }),
        Query::Reach { sender, sender_account, recipient } => {
            reach(tables, &txn, sender, sender_account, recipient)
        }
        Query::Devices { after, limit } => {
            devices(tables, &txn, counters, after.as_ref(), (*limit).min(DEVICES_PAGE_MAX))
        }
        Query::Stats => Ok(Answer::Stats(stats(tables, &txn, limits)?)),
        Query::Redeem { .. }
        | Query::Register { .. }
        | Query::Rename { .. }
        | Query::Revoke { .. }
        | Query::Grant { .. }
        | Query::Ungrant { .. }
        | Query::PresenceHide { .. }
        | Query::MarkNative { .. }
        | Query::InviteCreate { .. }
        | Query::SeenDays(_) => unreachable!("changes are sent to the writer"),
    }
}

/// The row of a device, with the grants it gave. A damaged grant grants nothing and is counted.
pub(super) fn row(
    tables: &Tables,
    txn: &ReadTxn<'_>,
    limits: &Limits,
    counters: &Counters,
    device: &DeviceId,
    found: Device,
) -> Result<Row, Fault> {
    let mut grants = Vec::new();
    for entry in tables.under::<Grant>(txn, device.as_bytes())?.take(limits.grants_per_account) {
        match entry? {
            (key, Some(Grant)) => {
                grants.extend(key.get(DeviceId::LEN..).and_then(DeviceId::from_slice));
            }
            (_, None) => counters.corrupt_value(),
        }
    }
    Ok(Row {
        account: found.account,
        name: found.name,
        status: status(found.revoked),
        native_only: found.native_only,
        presence_hidden: found.presence_hidden,
        grants,
    })
}

const fn status(revoked: bool) -> Status {
    if revoked { Status::Revoked } else { Status::Active }
}

fn reach(
    tables: &Tables,
    txn: &ReadTxn<'_>,
    sender: &DeviceId,
    sender_account: &AccountId,
    recipient: &DeviceId,
) -> Result<Answer, Fault> {
    let refused = Answer::Refused(Refusal::NotAllowed);
    let Some(found) = tables.get::<Device>(txn, recipient.as_bytes())? else {
        return Ok(refused);
    };
    if found.revoked {
        return Ok(refused);
    }
    let allowed = found.account == *sender_account
        || tables.get::<Grant>(txn, &grant_key(recipient, sender))?.is_some();
    Ok(if allowed {
        Answer::Offline { push: false, hidden: found.presence_hidden }
    } else {
        refused
    })
}

fn devices(
    tables: &Tables,
    txn: &ReadTxn<'_>,
    counters: &Counters,
    after: Option<&DeviceId>,
    limit: usize,
) -> Result<Answer, Fault> {
    let mut page = Vec::with_capacity(limit);
    let mut last = None;
    let mut left = limit;
    for entry in tables.behind::<Device>(txn, after.map(|id| id.as_bytes().as_slice()))? {
        if left == 0 {
            return Ok(Answer::Devices { page, next: last });
        }
        left -= 1;
        let (key, found) = entry?;
        let device = DeviceId::from_slice(key);
        last = device.or(last);
        match (device, found) {
            (Some(device), Some(found)) => page.push(DeviceEntry {
                device,
                account: found.account,
                name: found.name,
                status: status(found.revoked),
                native_only: found.native_only,
                presence_hidden: found.presence_hidden,
                seen_day: found.seen_day,
            }),
            (None, _) | (_, None) => counters.corrupt_value(),
        }
    }
    Ok(Answer::Devices { page, next: None })
}

fn stats(tables: &Tables, txn: &ReadTxn<'_>, limits: &Limits) -> Result<Stats, Fault> {
    Ok(Stats {
        devices: tables.len(txn, Table::Devices)?,
        accounts: tables.len(txn, Table::Accounts)?,
        grants: tables.len(txn, Table::Grants)?,
        invites: tables.len(txn, Table::Invites)?,
        map_bytes_used: tables.used_bytes(txn)?,
        map_bytes_total: tables.map_bytes() as u64,
        map_bytes_max: limits.map_bytes_max as u64,
    })
}

/// The remembered revoked device of an account that was revoked first.
pub(super) fn first_revoked(
    tables: &Tables,
    txn: &ReadTxn<'_>,
    account: &AccountId,
) -> Result<Option<DeviceId>, Fault> {
    let mut first: Option<(u32, DeviceId)> = None;
    for entry in tables.under::<Member>(txn, account.as_bytes())? {
        let (key, member) = entry?;
        let member = member.ok_or(Fault::Value(Table::AccountDevices))?;
        let device = key.get(AccountId::LEN..).and_then(DeviceId::from_slice);
        if let (1.., Some(device)) = (member.revocation, device)
            && first.is_none_or(|(revocation, _)| member.revocation < revocation)
        {
            first = Some((member.revocation, device));
        }
    }
    Ok(first.map(|(_, device)| device))
}
