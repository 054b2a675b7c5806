//! The name of an operation: what the kernel carries from submission to completion.

use std::fmt;

/// What the ring does with an operation; part of its [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Accepts connections on a listener.
    Accept = 1,
    /// Reports readiness of a descriptor.
    Poll = 2,
    /// Finishes a short send.
    Send = 3,
    /// Cancels another operation.
    Cancel = 4,
    /// Reports that a [`Wake`](crate::Wake) was notified.
    Wake = 5,
}

const OPERATION_SHIFT: u32 = 5;
const NUMBER_MASK: u8 = (1 << OPERATION_SHIFT) - 1;

/// What an operation is for: its [`Operation`] and a number from 0 to 31 of the caller's choice.
///
/// The constructors are `const` and panic on a larger number, so a constant is checked when it is
/// compiled.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(u8);

impl Kind {
    /// A kind for [`Ring::accept_multishot`](crate::Ring::accept_multishot).
    pub const fn accept(number: u8) -> Self {
        Self::new(Operation::Accept, number)
    }

    /// A kind for [`Ring::poll_once`](crate::Ring::poll_once) and
    /// [`Ring::poll_multishot`](crate::Ring::poll_multishot).
    pub const fn poll(number: u8) -> Self {
        Self::new(Operation::Poll, number)
    }

    /// A kind for [`Ring::send`](crate::Ring::send).
    pub const fn send(number: u8) -> Self {
        Self::new(Operation::Send, number)
    }

    /// A kind for [`Ring::cancel`](crate::Ring::cancel).
    pub const fn cancel(number: u8) -> Self {
        Self::new(Operation::Cancel, number)
    }

    /// A kind for [`Ring::watch`](crate::Ring::watch).
    pub const fn wake(number: u8) -> Self {
        Self::new(Operation::Wake, number)
    }

    const fn new(operation: Operation, number: u8) -> Self {
        assert!(number <= NUMBER_MASK, "the number of a kind is at most 31");
        Self((operation as u8) << OPERATION_SHIFT | number)
    }

    /// What the ring does with operations of this kind.
    pub const fn operation(self) -> Operation {
        match self.0 >> OPERATION_SHIFT {
            1 => Operation::Accept,
            2 => Operation::Poll,
            3 => Operation::Send,
            4 => Operation::Cancel,
            5 => Operation::Wake,
            _ => unreachable!(), // `new` is the only way to a kind
        }
    }

    /// The caller's number, 0 to 31.
    pub const fn number(self) -> u8 {
        self.0 & NUMBER_MASK
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.operation(), self.number())
    }
}

/// The name of one armed operation, unique among those that have not had their final completion.
///
/// It is the `user_data` of io_uring: `kind (8 bits) | generation (24) | index (32)`. The index
/// names a slot of the caller (a connection), the generation which of the slot's occupants was
/// meant: a completion whose generation is not the slot's is for a connection that has gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// The bits of a generation that a token keeps; a counter wraps there.
    pub const GENERATION_MASK: u32 = (1 << 24) - 1;

    /// A token of these three parts. Of `generation` only the low 24 bits are kept: compare it
    /// with a counter that is wrapped by [`Token::GENERATION_MASK`] too.
    pub const fn new(kind: Kind, generation: u32, index: u32) -> Self {
        let generation = (generation & Self::GENERATION_MASK) as u64;
        Self((kind.0 as u64) << 56 | generation << 32 | index as u64)
    }

    pub(crate) const fn from_user_data(user_data: u64) -> Self {
        Self(user_data)
    }

    pub(crate) const fn user_data(self) -> u64 {
        self.0
    }

    /// What the operation is for.
    pub const fn kind(self) -> Kind {
        Kind((self.0 >> 56) as u8)
    }

    /// Which occupant of the slot, 24 bits.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Self::GENERATION_MASK
    }

    /// The caller's slot.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// The same slot and occupant, with another kind: the poll and the send of one connection.
    pub const fn with_kind(self, kind: Kind) -> Self {
        Self::new(kind, self.generation(), self.index())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}g{}", self.kind(), self.index(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_parts() {
        #[track_caller]
        fn check(kind: Kind, generation: u32, index: u32, user_data: u64) {
            let token = Token::new(kind, generation, index);
            assert_eq!(token.user_data(), user_data);
            let back = Token::from_user_data(user_data);
            assert_eq!(back.kind(), kind);
            assert_eq!(back.generation(), generation & Token::GENERATION_MASK);
            assert_eq!(back.index(), index);
        }
        check(Kind::accept(0), 0, 0, 0x2000_0000_0000_0000);
        check(Kind::poll(1), 2, 3, 0x4100_0002_0000_0003);
        check(Kind::send(31), 0xFF_FFFF, u32::MAX, 0x7FFF_FFFF_FFFF_FFFF);
        check(Kind::cancel(7), 0x100_0001, 1, 0x8700_0001_0000_0001);
        check(Kind::wake(0), 1, 0, 0xA000_0001_0000_0000);
    }

    #[test]
    fn a_kind_says_its_operation() {
        #[track_caller]
        fn check(kind: Kind, operation: Operation, number: u8, debug: &str) {
            assert_eq!(kind.operation(), operation);
            assert_eq!(kind.number(), number);
            assert_eq!(format!("{kind:?}"), debug);
        }
        check(Kind::accept(1), Operation::Accept, 1, "Accept(1)");
        check(Kind::poll(2), Operation::Poll, 2, "Poll(2)");
        check(Kind::send(3), Operation::Send, 3, "Send(3)");
        check(Kind::cancel(4), Operation::Cancel, 4, "Cancel(4)");
        check(Kind::wake(5), Operation::Wake, 5, "Wake(5)");
    }

    #[test]
    #[should_panic(expected = "at most 31")]
    fn a_kind_with_too_large_a_number_is_a_bug() {
        let _ = Kind::poll(32);
    }
}
