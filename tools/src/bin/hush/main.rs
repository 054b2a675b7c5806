//! `hush`: what a person does with Hushwire on a device.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("hush"));
    // The demo starts its relay from this same file, in a process of its own.
    if arguments.next().is_some_and(|first| first == "daemon") {
        return hushwire_relay::daemon::main(std::iter::once(program).chain(arguments));
    }
    ExitCode::FAILURE
}
