//! A client that shares no line with Hushwire: aioquic, by a script that was written from `PROTOCOL.md`.

use std::process::Command;

use hushwire_tools::relay_process::RelayProcess;

use crate::support::raw::Device;
use crate::support::{eventually, total};
use crate::{exchange, options_of, pair};

/// Runs a program to its end; what it printed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{command:?}: {}\n{}", output.status, text(&output.stderr)))
}

#[test]
#[ignore = "needs python3 and PyPI"]
fn aioquic_is_welcome_and_refused_where_it_breaks_the_rules() {
    let directory = tempfile::tempdir().expect("a directory");
    let environment = directory.path().join("venv");
    let python = environment.join("bin/python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).expect("python3");
    let install = ["-m", "pip", "install", "--quiet", "aioquic==1.*"];
    run(Command::new(&python).args(install)).expect("PyPI");

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/aioquic_hello.py");
    for shards in [1, 4] {
        let relay = RelayProcess::start(&options_of(shards)).expect("it starts");
        let (mut a, mut b): (Device, Device) = pair(&relay);
        let (host, port) = relay.address().rsplit_once(':').expect("an address");
        let invite = relay.invite().expect("an invite");
        let said = run(Command::new(&python).arg(script).args([host, port, &invite]));
        let said = said.unwrap_or_else(|error| panic!("{error}"));
        print!("{said}");
        assert!(said.ends_with("and again: welcome\n"), "{said}");
        exchange(&mut a, &mut b, &[hushwire_wire::cell::Class::C7]);
        eventually("it has gone", || total(&relay, "connections") == 2);
        assert_eq!(total(&relay, "bugs"), 0);
    }
}
