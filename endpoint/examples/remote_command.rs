//! Runs a command for a paired device and streams what it prints back while it runs, then its exit code.
//!
//! With two devices that are paired as `bob` and `alice` (see `chat.rs`); bob serves, and names what may be run:
//!
//! ```text
//! cargo run -p hushwire --example remote_command -- serve ./bob alice "uptime=/usr/bin/uptime" "sort=/usr/bin/sort -n"
//! cargo run -p hushwire --example remote_command -- run ./alice bob sort < numbers
//! ```
//!
//! Why this is safe to run: the serving person's command line names the one peer that may ask, and every program with
//! all its arguments; a peer chooses among these names and can add no argument. There is no shell, so nothing is
//! expanded, and the environment is empty. The peer's input goes to the program's standard input, at most 1 MiB of it; a
//! program that reads commands from there (a shell, `xargs`, an interpreter) does not belong on the list. A
//! command ends after a minute, and when the peer stops reading; four run at once. The peer is the
//! device whose key was pinned at pairing, and nobody in between can read, change or repeat any of it.

mod support;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hushwire::Client;
use hushwire::client::StreamReader;
use support::pieces::{merge, read_piece, write_piece};
use support::{Outcome, connect, peer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, stderr, stdin, stdout};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

const INPUT_BYTES_MAX: u64 = 1 << 20;
const COMMANDS_AT_ONCE: usize = 4;
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);
// What a piece holds.
const OUT: u8 = 1;
const ERROR: u8 = 2;
const EXIT: u8 = 3;

type Allowed = BTreeMap<String, Vec<String>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", keystore, of, commands @ ..] if !commands.is_empty() => {
            serve(connect(keystore).await?, of, allow(commands)?).await
        }
        ["run", keystore, at, command] => {
            let code = run(connect(keystore).await?, at, command).await?;
            // Not an orderly return: it would wait for standard input, which may still be open.
            std::process::exit(code.into());
        }
        _ => {
            Err("remote_command serve KEYSTORE PEER NAME=PROGRAM… | run KEYSTORE PEER NAME".into())
        }
    }
}

fn allow(commands: &[&str]) -> Outcome<Allowed> {
    let parse = |command: &&str| {
        let (name, line) = command.split_once("=").filter(|(_, line)| line.starts_with('/'))?;
        Some((name.to_owned(), line.split_whitespace().map(str::to_owned).collect()))
    };
    let allowed: Option<Allowed> = commands.iter().map(parse).collect();
    Ok(allowed.ok_or("a command is NAME=/PATH/TO/PROGRAM ARGUMENTS")?)
}

async fn serve(client: Client, of: &str, allowed: Allowed) -> Outcome {
    let (peer, allowed) = (peer(&client, of)?, Arc::new(allowed));
    let places = Arc::new(Semaphore::new(COMMANDS_AT_ONCE));
    eprintln!("serving");
    loop {
        let place = places.clone().acquire_owned().await?;
        let request = client.accept_stream().await?;
        // Dropped, the stream is answered with nothing.
        if request.peer() != peer || !allowed.contains_key(request.label()) {
            continue;
        }
        let allowed = allowed.clone();
        tokio::spawn(async move {
            let words = &allowed[request.label()];
            let executed = timeout(COMMAND_TIME_MAX, execute(request, words)).await;
            if let Err(error) = executed.unwrap_or_else(|late| Err(late.into())) {
                eprintln!("{words:?} broke off: {error}");
            }
            drop(place);
        });
    }
}

async fn execute(mut request: StreamReader, words: &[String]) -> Outcome {
    let mut writer = request.reply().await?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (Some(mut input), Some(out), Some(error)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("no pipes".into());
    };
    // Ends with this function. A program need not read what it is given.
    let mut feeding = tokio::task::JoinSet::new();
    feeding.spawn(async move { copy(&mut request.take(INPUT_BYTES_MAX), &mut input).await });
    merge((out, OUT), (error, ERROR), &mut writer).await?;
    let code = child.wait().await?.code().unwrap_or(255);
    write_piece(&mut writer, EXIT, &code.to_be_bytes()).await?;
    Ok(writer.shutdown().await?)
}

async fn run(client: Client, at: &str, command: &str) -> Outcome<u8> {
    let (mut writer, mut reader) = client.open_channel(peer(&client, at)?, command).await?;
    // The command may end before it has read everything; that is no failure.
    tokio::spawn(async move {
        copy(&mut stdin(), &mut writer).await?;
        writer.shutdown().await
    });
    loop {
        let piece = read_piece(&mut reader).await;
        let (kind, bytes) =
            piece.map_err(|error| format!("{at} ran no such command to its end: {error}"))?;
        match kind {
            OUT => stdout().write_all(&bytes).await?,
            ERROR => stderr().write_all(&bytes).await?,
            EXIT => {
                let code = i32::from_be_bytes(bytes.as_slice().try_into()?);
                stdout().flush().await?;
                client.close().await;
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            _ => return Err("a piece of an unknown kind".into()),
        }
    }
}
