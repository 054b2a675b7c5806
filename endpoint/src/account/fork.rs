//! Two branches of which nobody but a person can say which one holds: the evidence, and the decision.

use hushwire_wire::id::DeviceId;

use super::chain::Chain;
use super::entry::{Entry, Operation};
use super::error::LogError;
use super::limits::REFUSED_MAX;
use super::log::{AccountLog, Keep, common};
use crate::identity::Identity;

/// Two branches that contradict each other. Every entry of both has been verified.
#[derive(Clone, Debug)]
pub struct Fork<'a> {
    /// The first entry that differs.
    pub at: u32,
    /// One device that signed both branches' first entries, or two of which each branch removes the other.
    pub by: Vec<DeviceId>,
    /// The entries from there on that this device had first.
    pub ours: &'a [Entry],
    /// The entries from there on that came later.
    pub theirs: &'a [Entry],
}

impl<'a> Fork<'a> {
    pub(super) fn between(ours: &'a Chain, theirs: &'a Chain) -> Self {
        let at = common(ours, theirs);
        let (ours, theirs) = (&ours.entries()[at..], &theirs.entries()[at..]);
        let mut by = vec![ours[0].authority(), theirs[0].authority()];
        by.dedup();
        Self { at: u32::try_from(at).expect("a log has at most 1 024 entries"), by, ours, theirs }
    }
}

impl AccountLog {
    /// A person has looked at both branches and decides. A device that signed both is removed, whichever branch holds,
    /// and this settles it for all other devices; where two devices have removed each other, each of the others decides
    /// for itself. No later branch of the author that lost is considered here again.
    ///
    /// # Errors
    /// [`LogError::NotForked`]; [`LogError::OwnFork`] where this device signed both.
    pub fn settle(&mut self, identity: &Identity, keep: Keep, now_ms: u64) -> Result<(), LogError> {
        let fork = self.fork().ok_or(LogError::NotForked)?;
        let (at, ours, theirs) = (fork.at, fork.ours[0].authority(), fork.theirs[0].authority());
        let at = usize::try_from(at).expect("an index of a log fits");
        let other = self.other.as_deref().ok_or(LogError::NotForked)?;
        let kept = match keep {
            Keep::Ours => &self.chain,
            Keep::Theirs => other,
        };
        let culprit = if ours == theirs { kept.members().successor(&ours) } else { None };
        let (me, member) = (identity.device_id(), kept.members().has(&identity.device_id()));
        if culprit == Some(me) {
            return Err(LogError::OwnFork);
        }
        let mut next = self.clone();
        next.other = None;
        if keep == Keep::Theirs {
            next.replace(identity, at, other.clone());
        }
        if let Some(device) = culprit.filter(|_| member) {
            next.own.sign(&mut next.chain, identity, &Operation::Remove { device }, now_ms)?;
        }
        let lost = match keep {
            Keep::Ours => theirs,
            Keep::Theirs => ours,
        };
        if lost != me && !next.refused.contains(&lost) {
            let beyond = (next.refused.len() + 1).saturating_sub(REFUSED_MAX);
            next.refused.drain(..beyond);
            next.refused.push(lost);
        }
        next.own.resume(&mut next.chain, identity, now_ms);
        *self = next;
        Ok(())
    }
}
