//! `hush`: what a person does with Hushwire on a device.

mod arguments;
mod chat;
mod commands;
mod demo;
mod devices;
mod home;
mod keys;
mod pairing;
mod pipe;
mod qr;
mod record;
mod secret;
mod status;
mod terminal;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use hushwire_tools::completions;

use arguments::{Arguments, Command};

/// Time for the disk at the end.
const LAST_WRITES: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("hush"));
    // The demo starts its relay from this same file, in a process of its own.
    if arguments.next().is_some_and(|first| first == demo::DAEMON) {
        return hushwire_relay::daemon::main(std::iter::once(program).chain(arguments));
    }
    let arguments = Arguments::parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => terminal::fail(&error, json),
    }
}

/// One thread for everything: the work of a device is waiting.
fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let Arguments { keystore, passphrase_file, json, command } = arguments;
        let home = || home::Home::new(keystore, passphrase_file);
        match command {
            Command::Demo(demo) => demo::run(&demo, json).await,
            Command::Init => commands::init(&home()?, json),
            Command::Enroll { invite, name } => {
                commands::enroll(&home()?, &invite, name, json).await
            }
            Command::Id => commands::id(&home()?, json),
            Command::Pair(pair) => pairing::pair(&home()?, pair, json).await,
            Command::Unpair { peer } => pairing::unpair(&home()?, &peer, json).await,
            Command::Peers => pairing::peers(&home()?, json),
            Command::Grant { peer } => pairing::grant(&home()?, &peer, true, json).await,
            Command::Ungrant { peer } => pairing::grant(&home()?, &peer, false, json).await,
            Command::Devices { action } => devices::devices(&home()?, action, json).await,
            Command::Rotate(rotate) => devices::rotate(&home()?, &rotate, json).await,
            Command::Send(send) => commands::send(&home()?, &send, json).await,
            Command::Chat(chat) => chat::chat(&home()?, &chat, json).await,
            Command::Pipe(pipe) => pipe::pipe(&home()?, &pipe, json).await,
            Command::Receive(receive) => commands::receive(&home()?, &receive, json).await,
            Command::Status(status) => status::status(&home()?, &status, json).await,
            Command::Trace(trace) => trace::trace(&home()?, &trace, json),
            Command::Completions { shell } => {
                terminal::put(&completions::script(shell, Arguments::command()))
            }
            Command::Passphrase(change) => keys::passphrase(&home()?, &change, json),
            Command::Backup(backup) => keys::backup(&home()?, &backup, json),
            Command::Restore(restore) => keys::restore(&home()?, &restore, json),
        }
    });
    // What is being written is finished; a question that somebody was asked is not waited for.
    runtime.shutdown_timeout(LAST_WRITES);
    outcome
}
