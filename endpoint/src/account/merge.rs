//! Which of two branches holds: a rule that every device applies alike, whatever order it hears them in.

use std::collections::BTreeSet;

use hushwire_wire::id::DeviceId;

use super::entry::{Entry, Operation};

/// What the rule says about two branches that begin behind one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Ours,
    Theirs,
    /// Nobody but a person can say.
    Contradiction,
}

/// Compares two branches behind their common part; neither is empty, and their first entries differ.
pub(super) fn choose(ours: &[Entry], theirs: &[Entry]) -> Choice {
    let (our_first, their_first) = (&ours[0], &theirs[0]);
    let (our_author, their_author) = (our_first.authority(), their_first.authority());
    let (we_end, they_end) = (End::of(&their_author, ours), End::of(&our_author, theirs));
    match (we_end, they_end) {
        (End::Removed, End::Kept | End::Rotated) => return Choice::Ours,
        (End::Kept | End::Rotated, End::Removed) => return Choice::Theirs,
        (End::Removed, End::Removed) if our_author != their_author => return Choice::Contradiction,
        // One device signed both, and both branches have done with it.
        (End::Removed, End::Removed) => {}
        (End::Rotated, End::Kept) => return Choice::Ours,
        (End::Kept, End::Rotated) => return Choice::Theirs,
        (End::Kept, End::Kept) | (End::Rotated, End::Rotated) if our_author == their_author => {
            return Choice::Contradiction;
        }
        (End::Kept, End::Kept) | (End::Rotated, End::Rotated) => {}
    }
    if our_first.hash() < their_first.hash() { Choice::Ours } else { Choice::Theirs }
}

/// What becomes of a device in a branch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kept,
    /// It has a new key, so the old one signs nothing any more.
    Rotated,
    /// It, or what it became, was removed.
    Removed,
}

impl End {
    fn of(device: &DeviceId, branch: &[Entry]) -> Self {
        let mut line = BTreeSet::from([*device]);
        let mut end = Self::Kept;
        for entry in branch {
            match &entry.operation {
                Operation::Genesis { .. } | Operation::Add { .. } => {}
                Operation::Remove { device } if line.contains(device) => return Self::Removed,
                Operation::Remove { .. } => {}
                Operation::Rotate(statement) => {
                    if line.contains(&statement.old()) {
                        line.insert(statement.new_device());
                        end = Self::Rotated;
                    }
                }
            }
        }
        end
    }
}
