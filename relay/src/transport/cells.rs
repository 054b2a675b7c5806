//! Cells of `hushwire/1` from the plaintext of records: one cell, one record; two for the 32 KiB cell.

use hushwire_wire::cell::{Class, HEADER_LEN};
use thiserror::Error;

use super::limits::RECORD_PLAIN_BYTES_MAX;

/// Why plaintext is no cell: the error `malformed` of `PROTOCOL.md` §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CellFault {
    /// The record is shorter than a cell's header.
    #[error("a record of {0} bytes is too short for a cell")]
    Short(usize),
    /// The class is above 7.
    #[error("unknown cell class {0}")]
    Class(u8),
    /// The class is above what this connection may send now.
    #[error("a cell of class {0} where only smaller ones are allowed")]
    TooLarge(u8),
    /// The record does not end where the cell does.
    #[error("a cell of {cell} bytes in a record of {record}")]
    NotOneRecord {
        /// The cell's length by its class, in bytes.
        cell: usize,
        /// The record's content, in bytes.
        record: usize,
    },
}

/// What a record is of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All of it.
    Whole,
    /// The first half of the 32 KiB cell.
    FirstHalf,
    /// The second half of it.
    SecondHalf,
}

/// Checks record after record that the client sends whole cells of allowed classes. It looks at the class
/// only; the rest of the header is the engine's.
#[derive(Debug, Clone)]
pub struct CellCutter {
    class_max: Class,
    in_second_half: bool,
}

impl CellCutter {
    /// Accepts cells up to `class_max`.
    #[must_use]
    pub const fn new(class_max: Class) -> Self {
        Self { class_max, in_second_half: false }
    }

    /// Accepts cells up to `class_max` from now on.
    pub fn allow(&mut self, class_max: Class) {
        self.class_max = class_max;
    }

    /// What the next record, with the content `plain`, is.
    ///
    /// # Errors
    /// Anything but exactly one cell, or exactly half of a 32 KiB one.
    #[inline]
    pub fn cut(&mut self, plain: &[u8]) -> Result<Cut, CellFault> {
        let record = plain.len();
        if self.in_second_half {
            if record != RECORD_PLAIN_BYTES_MAX {
                let cell = Class::C7.cell_len();
                return Err(CellFault::NotOneRecord {
                    cell,
                    record: RECORD_PLAIN_BYTES_MAX + record,
                });
            }
            self.in_second_half = false;
            return Ok(Cut::SecondHalf);
        }
        if record < HEADER_LEN {
            return Err(CellFault::Short(record));
        }
        let number = plain[1];
        let class = Class::from_wire(number).ok_or(CellFault::Class(number))?;
        if class > self.class_max {
            return Err(CellFault::TooLarge(number));
        }
        let cell = class.cell_len();
        if record == cell {
            Ok(Cut::Whole)
        } else if class == Class::C7 && record == RECORD_PLAIN_BYTES_MAX {
            self.in_second_half = true;
            Ok(Cut::FirstHalf)
        } else {
            Err(CellFault::NotOneRecord { cell, record })
        }
    }
}
