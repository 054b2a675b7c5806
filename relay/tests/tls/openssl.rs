//! OpenSSL's `s_client` as the other side: handshake, KeyUpdate both ways, resumption, refusals.

use std::io::{PipeReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hushwire_relay::transport::{Alert, Fault, Opened, ServerTls};

use crate::support::{SUITES, both, step};

/// What the relay saw of one connection.
#[derive(Debug, Default)]
struct Seen {
    resumed: bool,
    key_updates: u32,
    closed: bool,
    fault: Option<Fault>,
}

/// Accepts one connection and echoes what it says, in upper case and under a new key whenever one is due.
fn echo(server: &ServerTls, listener: &TcpListener) -> Seen {
    let (mut stream, _) = listener.accept().unwrap();
    // Only a failing test waits for it.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut seen = Seen::default();
    let mut handshake = server.handshake().unwrap();
    let (mut buffer, mut output) = (vec![0; 65_536], Vec::new());
    let (mut established, mut bytes) = loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return seen;
        }
        let done = step(&mut handshake, &buffer[..read], &mut output, b"welcome\n");
        let done = done.map(|done| done.map(|(est, rest)| (est, rest.to_vec())));
        stream.write_all(&output).unwrap();
        output.clear();
        match done {
            Ok(Some(done)) => break done,
            Ok(None) => {}
            Err(fault) => {
                seen.fault = Some(fault);
                return seen;
            }
        }
    };
    seen.resumed = established.resumed;
    loop {
        let used = match established.opener.open(&mut bytes, 0).unwrap() {
            Opened::Data { consumed, plain } => {
                if established.sealer.update_due() {
                    established.sealer.key_update(256, &mut output).unwrap();
                }
                let echo = bytes[plain].to_ascii_uppercase();
                established.sealer.seal(&echo, &mut output).unwrap();
                consumed
            }
            Opened::KeyUpdate { consumed, answer_requested } => {
                seen.key_updates += 1;
                if answer_requested {
                    established.sealer.request_update();
                }
                consumed
            }
            Opened::Ignored { consumed } => consumed,
            Opened::Closed { .. } => {
                established.sealer.alert(Alert::CloseNotify, 256, &mut output).unwrap();
                stream.write_all(&output).unwrap();
                seen.closed = true;
                return seen;
            }
            Opened::Incomplete { .. } => {
                stream.write_all(&output).unwrap();
                output.clear();
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "s_client left without close_notify");
                bytes.extend_from_slice(&buffer[..read]);
                0
            }
        };
        bytes.drain(..used);
    }
}

fn serve(server: std::sync::Arc<ServerTls>) -> (SocketAddr, JoinHandle<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || echo(&server, &listener)))
}

struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Both its outputs.
    output: PipeReader,
    printed: String,
}

impl Client {
    fn start(address: SocketAddr, arguments: &[&str]) -> Self {
        let (output, both) = pipe().unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(both.try_clone().unwrap())
            .stderr(both)
            .spawn()
            .expect("the tests need the program `openssl`");
        let stdin = child.stdin.take();
        Self { child, stdin, output, printed: String::new() }
    }

    /// A line of input.
    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// A KeyUpdate: `K` requests an answer, `k` does not. The command has to be the only thing that is read.
    fn update_keys(&mut self, command: &str) {
        self.printed.clear();
        self.say(command);
        self.expect("KEYUPDATE");
    }

    /// Reads until `text` is printed.
    fn expect(&mut self, text: &str) {
        let mut part = [0; 4096];
        while !self.printed.contains(text) {
            let read = self.output.read(&mut part).unwrap();
            assert!(read > 0, "no {text:?} in:\n{}", self.printed);
            self.printed.push_str(&String::from_utf8_lossy(&part[..read]));
        }
    }

    /// Ends the input, and returns all it printed, errors included.
    fn finish(mut self) -> String {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.printed) + &String::from_utf8_lossy(&rest)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Already ended unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SUITE_NAMES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

#[test]
fn a_handshake_and_key_updates_both_ways() {
    for suite in SUITE_NAMES {
        let (address, relay) = serve(both(SUITES[0]).0);
        let mut client =
            Client::start(address, &["-tls1_3", "-alpn", "hushwire/1", "-ciphersuites", suite]);
        client.expect("welcome\n");
        client.say("first");
        client.expect("FIRST\n");
        for expected in [format!("Cipher is {suite}"), "ALPN protocol: hushwire/1".to_owned()] {
            assert!(client.printed.contains(&expected), "{}", client.printed);
        }
        // With an answer of the relay's, then without, then with one again.
        for (command, line) in [("K", "second"), ("k", "third"), ("K", "fourth")] {
            client.update_keys(command);
            client.say(line);
            client.expect(&format!("{}\n", line.to_uppercase()));
        }
        client.finish();
        let seen = relay.join().unwrap();
        assert_eq!((seen.key_updates, seen.closed, seen.fault), (3, true, None));
    }
}

#[test]
fn a_session_is_resumed() {
    let (server, _) = both(SUITES[0]);
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session.pem");
    let session = session.to_str().unwrap();
    for (option, resumed) in [("-sess_out", false), ("-sess_in", true)] {
        let (address, relay) = serve(server.clone());
        let arguments = ["-tls1_3", "-alpn", "hushwire/1", option, session];
        let mut client = Client::start(address, &arguments);
        client.say("hello");
        client.expect("HELLO\n");
        let printed = client.finish();
        let kind = if resumed { "Reused, TLSv1.3" } else { "New, TLSv1.3" };
        assert!(printed.contains(kind), "{printed}");
        let seen = relay.join().unwrap();
        assert_eq!((seen.resumed, seen.closed), (resumed, true));
    }
}

#[test]
fn clients_that_openssl_tells_why() {
    let check = |arguments: &[&str], expect: Fault, told: &str| {
        let (address, relay) = serve(both(SUITES[0]).0);
        let printed = Client::start(address, arguments).finish();
        assert_eq!(relay.join().unwrap().fault, Some(expect));
        assert!(printed.contains(told), "{printed}");
    };
    check(&["-tls1_2", "-alpn", "hushwire/1"], Fault::NoTls13, "alert protocol version");
    check(&["-tls1_3", "-alpn", "h2"], Fault::NoProtocol, "alert number 120");
    check(&["-tls1_3"], Fault::NoProtocol, "alert number 120");
}
