//! Real clients against a relay in bad faith: a TLS server that speaks the device's side of the protocol as
//! `PROTOCOL.md` says it, and then does with cells what a test wants.
//!
//! | module | what |
//! |---|---|
//! | `relay` | the server: who is there, what passes, and what becomes of it |
//! | `connection` | one TLS connection, from CHALLENGE to its end |
//! | `people` | clients of it, and what they have to say |
//! | `delivery` | cells lost, late, twice, changed, misdirected and lied about |
//! | `replay` | cells of an earlier session |
//! | `receipts` | nothing is reported as delivered that was not taken |
//! | `pairing` | a man in the middle, with a link it has seen and without |
//! | `spoken` | a man in the middle of a pairing by a spoken code |
//! | `friends` | peers of another version, and more of them than may begin at once |
//! | `opening` | CHALLENGE and WELCOME as they should not be |
//! | `control` | control cells as they should not be, farewells, answers |

mod connection;
mod control;
mod delivery;
mod friends;
mod opening;
mod pairing;
mod people;
mod receipts;
mod relay;
mod replay;
mod spoken;
