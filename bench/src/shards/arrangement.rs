//! Who is a pair with whom.

use anyhow::{Context as _, Result, ensure};

/// Which devices are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// As it happens, on a relay with one shard.
    OneShard,
    /// Of the same shard: half of the pairs on either.
    Same,
    /// Of different shards: half of the pairs send in either direction.
    Cross,
    /// As it happens.
    Random,
}

impl Arrangement {
    /// In the order of the table.
    pub(super) const ALL: [Self; 4] = [Self::OneShard, Self::Same, Self::Cross, Self::Random];

    /// As a person reads it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OneShard => "one shard",
            Self::Same => "same shard",
            Self::Cross => "cross-shard",
            Self::Random => "random",
        }
    }

    /// As a program reads it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::OneShard => "one_shard",
            Self::Same => "same",
            Self::Cross => "cross",
            Self::Random => "random",
        }
    }

    /// The numbers of the devices of so many pairs, two by two, of devices that live on shard 0 or 1 each.
    pub(super) fn order(self, homes: &[u16], pairs: usize) -> Result<Vec<usize>> {
        let living_on = |shard| {
            let devices = homes.iter().enumerate();
            devices.filter(move |(_, home)| **home == shard).map(|(device, _)| device)
        };
        let (mut zero, mut one) = (living_on(0), living_on(1));
        let mut order = Vec::with_capacity(2 * pairs);
        for pair in 0..pairs {
            let (mine, other) = match self {
                Self::OneShard | Self::Random => {
                    order.extend([2 * pair, 2 * pair + 1]);
                    continue;
                }
                Self::Same if pair % 2 == 0 => (zero.next(), zero.next()),
                Self::Same => (one.next(), one.next()),
                Self::Cross if pair % 2 == 0 => (zero.next(), one.next()),
                Self::Cross => (one.next(), zero.next()),
            };
            let both = mine.zip(other).context("too few devices live on one of the shards")?;
            order.extend([both.0, both.1]);
        }
        ensure!(2 * pairs <= homes.len(), "more pairs than there are devices for");
        Ok(order)
    }
}

/// How many devices it takes for so many pairs in every arrangement. Homes are as random as coins: with ten standard
/// deviations of a coin's on top, neither shard has too few.
pub(super) fn devices_for(pairs: usize) -> usize {
    let devices = 2 * pairs;
    devices + 10 * ((devices as f64).sqrt().ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DEVICES_PER_ACCOUNT_MAX, SHARD_PAIRS_MAX};

    const HOMES: [u16; 10] = [0, 0, 1, 0, 1, 1, 0, 1, 0, 1];

    #[test]
    fn pairs_are_of_the_same_shard_or_of_different_ones() {
        let homes_of = |arrangement: Arrangement| -> Vec<(u16, u16)> {
            let order = arrangement.order(&HOMES, 4).unwrap();
            let mut once = order.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), 8, "a device has one place: {order:?}");
            order.chunks(2).map(|pair| (HOMES[pair[0]], HOMES[pair[1]])).collect()
        };
        assert_eq!(homes_of(Arrangement::Same), [(0, 0), (1, 1), (0, 0), (1, 1)]);
        assert_eq!(homes_of(Arrangement::Cross), [(0, 1), (1, 0), (0, 1), (1, 0)]);
        let as_they_come = [(0, 0), (1, 0), (1, 1), (0, 1)];
        assert_eq!(homes_of(Arrangement::Random), as_they_come);
        assert_eq!(homes_of(Arrangement::OneShard), as_they_come);
    }

    #[test]
    fn too_few_devices_are_an_error() {
        for arrangement in Arrangement::ALL {
            assert!(arrangement.order(&HOMES, 6).is_err(), "{arrangement:?}");
        }
        assert!(Arrangement::Cross.order(&[0; 100], 1).is_err());
    }

    #[test]
    fn the_devices_of_all_pairs_fit_one_account() {
        assert!(devices_for(SHARD_PAIRS_MAX) <= DEVICES_PER_ACCOUNT_MAX);
        assert!(devices_for(1) >= 10);
    }
}
