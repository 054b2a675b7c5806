//! Storage under generational IDs: an ID that outlives its entry finds nothing.

use alloc::vec::Vec;

use crate::id::ConnId;

pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// Free indices, used last first: their memory is warm.
    free: Vec<u32>,
    limit: u32,
}

struct Place<T> {
    /// Of the entry that is here, or of the next one.
    generation: u32,
    value: Option<T>,
}

/// What one entry takes.
pub(crate) const fn place_bytes<T>() -> usize {
    size_of::<Place<T>>()
}

impl<T> Slab<T> {
    pub(crate) fn new(limit: u32) -> Self {
        Self { places: Vec::with_capacity(limit as usize), free: Vec::new(), limit }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// `None` where the slab is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<ConnId> {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Some(ConnId { index, generation: place.generation });
        }
        if self.is_full() {
            return None;
        }
        let index = self.places.len() as u32;
        self.places.push(Place { generation: 0, value: Some(value) });
        Some(ConnId { index, generation: 0 })
    }

    #[inline]
    pub(crate) fn get(&self, id: ConnId) -> Option<&T> {
        let place = self.places.get(id.index as usize)?;
        if place.generation == id.generation { place.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation == id.generation { place.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<T> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation != id.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }

    /// The ID of what is at `index` now.
    pub(crate) fn id_at(&self, index: u32) -> Option<ConnId> {
        let place = self.places.get(index as usize)?;
        place.value.as_ref().map(|_| ConnId { index, generation: place.generation })
    }

    /// One more than the highest index ever used.
    pub(crate) fn extent(&self) -> u32 {
        self.places.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let id = ConnId { index: index as u32, generation: place.generation };
            place.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_finds_its_successor() {
        let mut slab = Slab::new(2);
        let first = slab.insert('a').expect("room");
        let other = slab.insert('b').expect("room");
        assert_eq!(slab.insert('c'), None);
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        let second = slab.insert('c').expect("room");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!((slab.get(second), slab.get(other)), (Some(&'c'), Some(&'b')));
        assert_eq!(slab.id_at(first.index), Some(second));
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn generations_wrap_instead_of_overflowing() {
        let mut slab = Slab::new(1);
        let id = slab.insert(()).expect("room");
        slab.places[0].generation = u32::MAX;
        let last = ConnId { generation: u32::MAX, ..id };
        assert_eq!(slab.remove(last), Some(()));
        assert_eq!(slab.insert(()), Some(ConnId { index: 0, generation: 0 }));
    }
}
