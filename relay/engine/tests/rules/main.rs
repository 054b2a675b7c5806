//! The engine's rules, one file each. They are played on a desk: engines, a store that answers at once
//! unless told to wait, and connections whose sealed bytes drain at once unless their reader stops.

mod absent;
mod admission;
mod cells;
mod closing;
mod desk;
mod displacement;
mod drain;
mod egress;
mod hand_over;
mod lanes;
mod pairing;
mod refusals;
mod requests;
mod slots;
