//! The Hushwire wire format: bytes to types and back, nothing else.
