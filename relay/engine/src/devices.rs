//! Which connection a device has.

use hashbrown::HashTable;
use hushwire_wire::id::DeviceId;

use crate::hash::TableKey;
use crate::id::ConnId;

/// Sized once, for as many devices as there can be connections.
pub(crate) struct Devices {
    table: HashTable<(DeviceId, ConnId)>,
    key: TableKey,
}

impl Devices {
    pub(crate) fn new(capacity: u32, key: TableKey) -> Self {
        Self { table: HashTable::with_capacity(capacity as usize), key }
    }

    #[inline]
    pub(crate) fn get(&self, device: &DeviceId) -> Option<ConnId> {
        self.table.find(self.key.hash_device(device), |entry| entry.0 == *device).map(|e| e.1)
    }

    /// The device must not be there.
    pub(crate) fn insert(&mut self, device: DeviceId, conn: ConnId) {
        let key = self.key;
        let hash = key.hash_device(&device);
        self.table.insert_unique(hash, (device, conn), |entry| key.hash_device(&entry.0));
    }

    /// Removes the device if this is its connection.
    pub(crate) fn remove(&mut self, device: &DeviceId, conn: ConnId) {
        let hash = self.key.hash_device(device);
        if let Ok(entry) = self.table.find_entry(hash, |e| e.0 == *device && e.1 == conn) {
            entry.remove();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
