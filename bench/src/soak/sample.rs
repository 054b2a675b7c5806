//! What the relay holds and has counted at a moment.

use std::path::PathBuf;

use anyhow::Result;

use crate::admin::{Admin, Totals};
use crate::procfs::{self, Resident};
use crate::server::Server;

/// What grows when something goes wrong, by the relay's own names, and not otherwise: every one of them should stay
/// where it is.
pub(super) const ERRORS: [&str; 27] = [
    "bugs",
    "accept_failures",
    "carry_evictions",
    "mesh_full",
    "store_busy",
    "store_turned_away",
    "store_failures",
    "store_corrupt_values",
    "proofs_refused",
    "malformed",
    "closed_malformed",
    "tls_faults",
    "closed_idle",
    "closed_deadline",
    "closed_backlog",
    "turned_source",
    "turned_other",
    "denied",
    "displaced",
    "displacement_alarms",
    "cells_stale",
    "cells_over_rate",
    "reports_lost",
    "undeliverable_offline",
    "undeliverable_busy",
    "undeliverable_refused",
    "undeliverable_too_large",
];

/// One moment.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) resident: Resident,
    pub(super) descriptors: u64,
    /// In the order of [`ERRORS`].
    pub(super) errors: [u64; ERRORS.len()],
    /// Connections that the relay has closed since its start.
    pub(super) closed: u64,
}

/// Looks at one relay.
#[derive(Debug)]
pub(super) struct Sampler {
    pid: u32,
    admin: PathBuf,
}

impl Sampler {
    pub(super) fn new(server: &Server, admin: PathBuf) -> Self {
        Self { pid: server.pid(), admin }
    }

    pub(super) fn look(&self) -> Result<Look> {
        // Before the question, which is a descriptor too.
        let descriptors = procfs::descriptors(self.pid)?;
        let resident = procfs::resident(self.pid)?;
        let totals = Admin::open(&self.admin)?.totals()?;
        let closed = totals.of("connections_closed")?;
        Ok(Look { resident, descriptors, errors: errors(&totals)?, closed })
    }
}

fn errors(totals: &Totals) -> Result<[u64; ERRORS.len()]> {
    let mut errors = [0; ERRORS.len()];
    for (error, name) in errors.iter_mut().zip(ERRORS) {
        *error = totals.of(name)?;
    }
    Ok(errors)
}

impl Look {
    /// Which errors have been counted since, and how many of each.
    pub(super) fn errors_since(&self, before: &Self) -> Vec<(&'static str, u64)> {
        let more = self.errors.iter().zip(&before.errors).map(|(now, then)| now - then);
        ERRORS.into_iter().zip(more).filter(|(_, more)| *more > 0).collect()
    }
}
