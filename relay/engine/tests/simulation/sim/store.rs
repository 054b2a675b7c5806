//! The store of the simulation: rows in memory. It decides when it gets to a question, which is some time
//! after it was asked, and the answer takes some more time to arrive.

use std::collections::{BTreeMap, BTreeSet};

use hushwire_engine::store::{Denial, DeviceRow, Reach};
use hushwire_engine::{StoreAnswer, StoreQuestion};
use hushwire_wire::control::ErrorCode;
use hushwire_wire::id::{AccountId, DeviceId};

#[derive(Default)]
pub(crate) struct Store {
    rows: BTreeMap<DeviceId, Row>,
}

struct Row {
    account: AccountId,
    hidden: bool,
    revoked: bool,
    grants: BTreeSet<DeviceId>,
}

impl Store {
    pub(crate) fn enrol(
        &mut self,
        device: DeviceId,
        account: AccountId,
        grants: BTreeSet<DeviceId>,
    ) {
        let row = Row { account, hidden: false, revoked: false, grants };
        self.rows.insert(device, row);
    }

    pub(crate) fn decide(&mut self, question: &StoreQuestion) -> StoreAnswer {
        match question {
            StoreQuestion::Admit { device, .. } | StoreQuestion::Redeem { device, .. } => {
                self.admit(device)
            }
            StoreQuestion::Reach { sender, sender_account, recipient } => {
                let row = self.rows.get(recipient).filter(|row| {
                    let is_let_in = row.account == *sender_account || row.grants.contains(sender);
                    !row.revoked && is_let_in
                });
                StoreAnswer::Reach(row.map_or(Reach::Refused, |row| Reach::Offline {
                    push: false,
                    hidden: row.hidden,
                }))
            }
            StoreQuestion::Grant { recipient, sender, .. } => {
                self.change(recipient, |row| row.grants.insert(*sender))
            }
            StoreQuestion::Ungrant { recipient, sender, .. } => {
                self.change(recipient, |row| row.grants.remove(sender))
            }
            StoreQuestion::Presence { device, hidden, .. } => {
                self.change(device, |row| core::mem::replace(&mut row.hidden, *hidden))
            }
            StoreQuestion::Revoke { account, device } => {
                let owned = self.rows.get(device).is_some_and(|row| row.account == *account);
                if owned {
                    self.change(device, |row| core::mem::replace(&mut row.revoked, true))
                } else {
                    let sentence = "no such device".into();
                    StoreAnswer::Failed { code: ErrorCode::UnknownDevice, sentence }
                }
            }
            StoreQuestion::Register { .. } | StoreQuestion::Rename { .. } => StoreAnswer::Done,
        }
    }

    fn admit(&self, device: &DeviceId) -> StoreAnswer {
        match self.rows.get(device) {
            None => StoreAnswer::Denied(Denial::Unknown),
            Some(row) if row.revoked => StoreAnswer::Denied(Denial::Revoked),
            Some(row) => StoreAnswer::Admitted(DeviceRow {
                account: row.account,
                hidden: row.hidden,
                grants: row.grants.iter().copied().collect(),
            }),
        }
    }

    fn change(&mut self, device: &DeviceId, change: impl FnOnce(&mut Row) -> bool) -> StoreAnswer {
        if let Some(row) = self.rows.get_mut(device) {
            change(row);
        }
        StoreAnswer::Done
    }
}
