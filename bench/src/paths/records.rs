//! The relay's TLS records, AES-128-GCM as it prefers: one cell, one record, two for the largest.

use hushwire_relay::measuring;
use hushwire_relay::transport::{
    Cursor, Event, Inbound, Sealer, Suite, framed_len, record_len, sealed_len,
};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::id::DeviceId;

/// What a KeyUpdate is padded to.
const KEY_UPDATE_BYTES: usize = Class::C0.cell_len();

/// One direction of a connection, and cells of one size.
#[derive(Debug)]
pub struct Records {
    sealer: Sealer,
    inbound: Inbound,
    /// Of the next hop.
    onward: Sealer,
    cell: Vec<u8>,
    output: Vec<u8>,
}

impl Records {
    /// A direction that has carried nothing yet.
    ///
    /// # Panics
    /// If its keys cannot be derived.
    #[must_use]
    pub fn new(class: Class) -> Self {
        let (sealer, opener) = measuring::records(Suite::Aes128Gcm, &[7; 32]).expect("keys");
        let (onward, _) = measuring::records(Suite::Aes128Gcm, &[8; 32]).expect("keys");
        let mut cell = vec![0x5a; class.cell_len()];
        let header = Header::unicast(class, 0, 0, DeviceId::new([9; 32])).encode();
        cell[..header.len()].copy_from_slice(&header);
        let output = vec![0; sealed_len(cell.len())];
        Self { sealer, inbound: Inbound::new(opener, Class::C7), onward, cell, output }
    }

    /// Seals the cell into the same output as the last one, and returns its length there.
    ///
    /// # Panics
    /// If it is not sealed: there is room, and keys change in time.
    #[inline]
    pub fn seal(&mut self) -> usize {
        update_if_due(&mut self.sealer);
        self.sealer.seal_into(&self.cell, &mut self.output).expect("room")
    }

    /// The cell as a device would send it, to be opened in the order in which they were sealed.
    ///
    /// # Panics
    /// If it is not sealed.
    #[must_use]
    pub fn sealed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.sealer.update_due() {
            self.sealer.key_update(KEY_UPDATE_BYTES, &mut bytes).expect("room");
        }
        self.sealer.seal(&self.cell, &mut bytes).expect("room");
        bytes
    }

    /// Opens what [`Records::sealed`] made, in place, and returns the cell's length.
    ///
    /// # Panics
    /// If it does not hold a whole cell.
    #[inline]
    pub fn open(&mut self, bytes: &mut [u8]) -> usize {
        let mut cursor = Cursor::over(bytes.len());
        match self.inbound.next(bytes, &mut cursor, 0) {
            Ok(Event::Cell(cell)) => cell.len(),
            Ok(Event::Framed(records)) => framed_len(records.len()),
            other => panic!("a whole cell was sealed, and opens as {other:?}"),
        }
    }

    /// The same for a cell of 16 KiB or 32, which is then sealed for its next hop in the records it was opened in.
    ///
    /// # Panics
    /// If it does not hold such a cell.
    #[inline]
    pub fn pass_on(&mut self, bytes: &mut [u8]) -> usize {
        let mut cursor = Cursor::over(bytes.len());
        let Ok(Event::Framed(records)) = self.inbound.next(bytes, &mut cursor, 0) else {
            panic!("a large cell fills its records")
        };
        update_if_due(&mut self.onward);
        self.onward.seal_in_place(&mut bytes[records.clone()]).expect("room");
        framed_len(records.len())
    }
}

#[inline]
fn update_if_due(sealer: &mut Sealer) {
    if sealer.update_due() {
        let mut update = vec![0; record_len(KEY_UPDATE_BYTES)];
        sealer.key_update_into(KEY_UPDATE_BYTES, &mut update).expect("room");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        for class in Class::ALL {
            let mut records = Records::new(class);
            assert_eq!(Records::new(class).seal(), sealed_len(class.cell_len()));
            for _ in 0..3 {
                let mut bytes = records.sealed();
                assert_eq!(records.open(&mut bytes), class.cell_len());
            }
        }
    }

    #[test]
    fn large_cells_are_passed_on() {
        for class in [Class::C6, Class::C7] {
            let mut records = Records::new(class);
            for _ in 0..3 {
                let mut bytes = records.sealed();
                let opened = bytes.clone();
                assert_eq!(records.pass_on(&mut bytes), class.cell_len());
                assert_eq!(bytes.len(), opened.len());
                assert_ne!(bytes, opened, "sealed with another key");
            }
        }
    }
}
