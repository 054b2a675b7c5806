//! Maps whose entries end and whose size has a number.

use core::hash::Hash;

use hashbrown::HashMap;

use crate::hash::TableKey;
use crate::time::Time;

/// Entries that are too old are found missing at once and are removed by [`Bounded::sweep`].
pub(crate) struct Bounded<K, V> {
    entries: HashMap<K, (V, Time), TableKey>,
    limit: usize,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(limit: usize, key: TableKey) -> Self {
        Self { entries: HashMap::with_hasher(key), limit }
    }

    pub(crate) fn get_mut(&mut self, key: &K, now: Time) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    /// The entry, made with `value` where there is none, kept until `until` at least; `None` where the
    /// map is full.
    pub(crate) fn entry(&mut self, key: K, value: V, until: Time, now: Time) -> Option<&mut V> {
        if self.is_full_without(&key, now) {
            return None;
        }
        let entry = self.entries.entry(key).or_insert((value, until));
        entry.1 = entry.1.max(until);
        Some(&mut entry.0)
    }

    /// False where the map is full. An entry that was there is replaced.
    pub(crate) fn insert(&mut self, key: K, value: V, until: Time, now: Time) -> bool {
        if self.is_full_without(&key, now) {
            return false;
        }
        self.entries.insert(key, (value, until));
        true
    }

    pub(crate) fn remove(&mut self, key: &K, now: Time) -> Option<V> {
        self.entries.remove(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn sweep(&mut self, now: Time) {
        self.entries.retain(|_, (_, until)| *until > now);
    }

    /// Removes the entry of this key if its time is over, so that it is not taken for a living one.
    fn is_full_without(&mut self, key: &K, now: Time) -> bool {
        match self.entries.get(key) {
            Some((_, until)) if *until > now => false,
            Some(_) => {
                self.entries.remove(key);
                false
            }
            None => self.entries.len() >= self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_and_a_full_map_says_so() {
        let mut map = Bounded::new(2, TableKey::new(&[0; 16]));
        let at = Time::from_millis;
        assert!(map.insert(1, 'a', at(10), at(0)));
        assert!(map.insert(2, 'b', at(20), at(0)));
        assert!(!map.insert(3, 'c', at(20), at(5)));
        assert_eq!(map.entry(1, 'z', at(12), at(5)), Some(&mut 'a'));
        assert_eq!(map.get_mut(&1, at(11)), Some(&mut 'a'));
        assert_eq!(map.get_mut(&1, at(12)), None);
        assert_eq!(map.entry(1, 'z', at(15), at(12)), Some(&mut 'z'));
        map.sweep(at(16));
        assert_eq!(map.len(), 1);
        assert!(map.insert(3, 'c', at(20), at(16)));
        assert_eq!(map.remove(&2, at(16)), Some('b'));
        assert_eq!(map.remove(&3, at(20)), None);
        assert!(map.is_empty());
    }
}
