//! The relay's store: rows that outlive every engine.

use std::collections::{BTreeMap, BTreeSet};

use hushwire_engine::store::{Denial, DeviceRow, Reach};
use hushwire_engine::{StoreAnswer, StoreQuestion};
use hushwire_wire::id::{AccountId, DeviceId};

#[derive(Default)]
pub(crate) struct Store {
    rows: BTreeMap<DeviceId, (AccountId, BTreeSet<DeviceId>)>,
}

impl Store {
    pub(crate) fn enrol(
        &mut self,
        device: DeviceId,
        account: AccountId,
        grants: BTreeSet<DeviceId>,
    ) {
        self.rows.insert(device, (account, grants));
    }

    pub(crate) fn decide(&self, question: &StoreQuestion) -> StoreAnswer {
        match question {
            StoreQuestion::Admit { device, .. } | StoreQuestion::Redeem { device, .. } => {
                match self.rows.get(device) {
                    None => StoreAnswer::Denied(Denial::Unknown),
                    Some((account, grants)) => StoreAnswer::Admitted(DeviceRow {
                        account: *account,
                        hidden: false,
                        grants: grants.iter().copied().collect(),
                    }),
                }
            }
            StoreQuestion::Reach { sender, sender_account, recipient } => {
                let row = self.rows.get(recipient);
                let is_let_in = row.is_some_and(|(account, grants)| {
                    account == sender_account || grants.contains(sender)
                });
                let offline = Reach::Offline { push: false, hidden: false };
                StoreAnswer::Reach(if is_let_in { offline } else { Reach::Refused })
            }
            StoreQuestion::Register { .. }
            | StoreQuestion::Rename { .. }
            | StoreQuestion::Revoke { .. }
            | StoreQuestion::Grant { .. }
            | StoreQuestion::Ungrant { .. }
            | StoreQuestion::Presence { .. } => StoreAnswer::Done,
        }
    }
}
