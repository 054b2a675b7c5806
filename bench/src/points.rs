//! The six points at which forwarding is measured, and how they are named.

use hushwire_wire::cell::Class;

use crate::load::Shape;

/// Pairs, size, window: one message a wake, many small, middling and large ones, many connections,
/// and many small ones of which every one is written by itself.
pub(crate) const POINTS: [Shape; 6] = [
    point(256, Class::C0, 1),
    point(256, Class::C0, 32),
    point(256, Class::C4, 32),
    point(256, Class::C7, 8),
    point(2_000, Class::C0, 1),
    Shape { one_write_per_cell: true, ..point(256, Class::C0, 32) },
];

const fn point(pairs: usize, class: Class, window: usize) -> Shape {
    Shape { pairs, class, mix: None, window, one_write_per_cell: false, both_ways: false }
}
