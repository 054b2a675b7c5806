//! `hushctl`: what an operator asks of a running relay, over its admin socket.

mod arguments;
mod failure;
mod line;
mod show;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use hushwire_relay::control::admin::{Answer, Device, Question};
use hushwire_tools::completions;

use arguments::{Action, Arguments};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    match run(&arguments, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        // `hushctl devices | head` is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            failure.report(arguments.json);
            failure.exit_code()
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let Arguments { json, socket, .. } = arguments;
    let json = *json;
    match &arguments.action {
        Action::Status => {
            let answer = line::ask(socket, &Question::Status)?;
            let Answer::Status(status) = answer else { return Err(Failure::unexpected(answer)) };
            if json { show::json(out, &*status) } else { show::status(out, &status) }
        }
        Action::Invite { account, ttl } => {
            let question = Question::Invite { account: account.clone(), ttl_s: ttl.0 };
            let answer = line::ask(socket, &question)?;
            let Answer::Invite { invite, .. } = &answer else {
                return Err(Failure::unexpected(answer));
            };
            if json { show::json(out, &answer) } else { show::invite(out, invite, ttl.0) }
        }
        Action::Devices => devices(socket, json, out),
        Action::Revoke { device } => {
            let answer = line::ask(socket, &Question::Revoke { device: device.clone() })?;
            done(answer, json, out, "The device is shut out for good.")
        }
        Action::Drain => {
            let answer = line::ask(socket, &Question::Drain)?;
            done(answer, json, out, "The relay says goodbye to its devices and stops.")
        }
        Action::Completions { shell } => {
            Ok(out.write_all(&completions::script(*shell, Arguments::command()))?)
        }
    }
}

fn done(answer: Answer, json: bool, out: &mut impl Write, sentence: &str) -> Result<(), Failure> {
    let Answer::Done = answer else { return Err(Failure::unexpected(answer)) };
    if json { show::json(out, &answer) } else { Ok(writeln!(out, "{sentence}")?) }
}

/// Page by page, so that a relay with a million devices needs no memory here. Each page is a conversation
/// of its own, because who pages through the list by hand is slower than the relay waits.
fn devices(socket: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let mut after = None;
    let mut heading = !json;
    loop {
        let answer = line::ask(socket, &Question::Devices { after })?;
        let Answer::Devices { devices, more } = answer else {
            return Err(Failure::unexpected(answer));
        };
        if std::mem::take(&mut heading) {
            show::devices_heading(out, devices.is_empty())?;
        }
        for device in &devices {
            if json { show::json(out, device)? } else { show::device(out, device)? }
        }
        after = devices.into_iter().next_back().map(|Device { device, .. }| device);
        if !more || after.is_none() {
            return Ok(());
        }
    }
}
