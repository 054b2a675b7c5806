//! `hushwired`, the Hushwire relay.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hushwire_relay::daemon::main(std::env::args_os())
}
