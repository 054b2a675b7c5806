//! A floor or a baseline for one test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_hush-bench");

/// A running server, which ends with this value.
pub(crate) struct Floor {
    child: Child,
    pub(crate) address: String,
}

impl Floor {
    pub(crate) fn start() -> Self {
        Self::start_as(&["floor"])
    }

    /// A floor, or what takes its place.
    pub(crate) fn start_as(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self { child, address: said["listen"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs `load` against `address` for a moment.
pub(crate) fn load(address: &str, pid: u32, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(["load", "--json", "--warm-up", "0.05", "--seconds", "0.2"])
        .args(["--connect", address, "--pid", &pid.to_string()])
        .args(arguments)
        .output()
        .unwrap()
}
