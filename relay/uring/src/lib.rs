//! io_uring rings, operations and sockets for the Hushwire relay.
