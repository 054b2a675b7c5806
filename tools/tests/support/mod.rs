//! What the tests of whole processes share.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    clippy::allow_attributes,
    reason = "each test binary uses a part of it"
)]

pub mod lies;
pub mod people;
pub mod person;
pub mod program;
pub mod proxy;
pub mod pty;
pub mod quic;
pub mod raw;
pub mod udp_proxy;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hushwire_tools::relay_process::{Options, RelayProcess};

/// Two tests of each function: by TLS and by QUIC.
macro_rules! by_either_transport {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn by_tls() {
                super::$name(hushwire_wire::control::Transport::Tls);
            }

            #[test]
            fn by_quic() {
                super::$name(hushwire_wire::control::Transport::Quic);
            }
        }
    )+};
}
pub(crate) use by_either_transport;

/// The program under test, as the relay that it can re-execute itself as.
pub fn options() -> Options {
    let mut options = Options::new(env!("CARGO_BIN_EXE_hush"));
    options.prefix = vec!["daemon".to_owned()];
    options
}

/// A relay with one shard and generous limits.
pub fn relay() -> RelayProcess {
    RelayProcess::start(&options()).expect("the relay starts")
}

/// The program `hush`.
pub fn hush() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_hush"))
}

/// Asks again until the answer is yes.
///
/// # Panics
/// If it never is.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + Duration::from_secs(20);
    while !condition() {
        assert!(now() < deadline, "never happened: {what}");
        std::thread::yield_now();
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's deadline")]
pub fn now() -> Instant {
    Instant::now()
}

/// Unix seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "what programs say of time is compared with the clock"
)]
pub fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is right").as_secs()
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// A number from `/proc/PID/status`, in bytes.
pub fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field exists");
    let kib: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib * 1024
}

/// The files below `directory`, those of its directories included.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}

/// The files below `directory` that hold `needle`.
pub fn holds(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut files = files_below(directory);
    files.retain(|path| contains(&std::fs::read(path).expect("a readable file"), needle));
    files
}

/// Whether `needle` stands anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(&first) = needle.first() else { return true };
    let mut at = 0;
    while let Some(offset) = haystack[at..].iter().position(|&byte| byte == first) {
        at += offset;
        if haystack[at..].starts_with(needle) {
            return true;
        }
        at += 1;
    }
    false
}

/// A number of the relay's, over all shards.
pub fn total(relay: &RelayProcess, name: &str) -> u64 {
    relay.status().expect("a status").totals[name]
}

/// A port for a relay that must come back on it: below those that the system gives to connections.
pub fn free_port() -> u16 {
    loop {
        let random = people::random(2);
        let port = 10_000 + u16::from_le_bytes([random[0], random[1]]) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The account of an enrolled device, in text form.
pub fn account(relay: &RelayProcess, device: &str) -> String {
    use hushwire_relay::control::admin::{Answer, Question};
    let question = Question::Devices { after: None };
    let answer = hushwire_tools::admin::ask(relay.socket(), &question).expect("an answer");
    let Answer::Devices { devices, more: false } = answer else {
        panic!("not a short list of devices: {answer:?}")
    };
    let found = devices.into_iter().find(|entry| entry.device == device);
    found.expect("the device is enrolled").account
}
