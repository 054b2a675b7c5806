//! End-to-end encrypted messages and streams between devices over a blind Hushwire relay.
