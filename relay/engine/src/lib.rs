//! The sans-I/O core of one shard of the Hushwire relay.
