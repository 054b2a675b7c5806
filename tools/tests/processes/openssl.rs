//! An independent TLS client against a whole relay: OpenSSL's `s_client`.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::{eventually, relay};

struct Client {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    printed: String,
}

impl Client {
    fn start(address: &str, arguments: &[&str]) -> Self {
        // It reports on both of its outputs, in an order that matters here.
        let mut child = Command::new("sh")
            .args(["-c", "exec openssl s_client \"$@\" 2>&1", "sh"])
            .args(["-connect", address, "-tls1_3", "-alpn", "hushwire/1"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let input = child.stdin.take().expect("a pipe");
        let mut pipe = child.stdout.take().expect("a pipe");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4_096];
            while let Ok(read @ 1..) = pipe.read(&mut part) {
                if sender.send(part[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, input, output, printed: String::new() }
    }

    /// Whether it has printed `text` so far.
    fn printed(&mut self, text: &str) -> bool {
        while let Ok(part) = self.output.try_recv() {
            self.printed.push_str(&String::from_utf8_lossy(&part));
        }
        self.printed.contains(text)
    }

    fn say(&mut self, command: &str) {
        self.input.write_all(command.as_bytes()).expect("it reads");
        self.input.flush().expect("it reads");
    }

    /// Gives a command until it is obeyed: one that it reads together with something else is lost.
    fn command(&mut self, command: &str, obeyed: &str) {
        self.printed.clear();
        let mut looks = 0;
        eventually("the command is obeyed", || {
            if looks % 50 == 0 {
                self.say(command);
            }
            looks += 1;
            self.printed(obeyed)
        });
    }

    /// Ends its input and returns all that it printed.
    fn quit(mut self) -> String {
        drop(self.input);
        self.child.wait().expect("it ends");
        while let Ok(part) = self.output.recv() {
            self.printed.push_str(&String::from_utf8_lossy(&part));
        }
        self.printed
    }
}

#[test]
fn a_handshake_and_key_updates_in_both_directions() {
    let relay = relay();
    let mut client = Client::start(relay.address(), &["-msg"]);
    eventually("the challenge arrives", || client.printed("relay_id"));
    assert!(client.printed("TLSv1.3"), "{}", client.printed);
    assert!(client.printed("ALPN protocol: hushwire/1"), "{}", client.printed);
    // "K" updates its own keys and asks for the relay's; "k" its own only.
    client.command("K\n", "KEYUPDATE");
    eventually("the relay updates its keys", || {
        client.printed("<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
    });
    client.command("k\n", "KEYUPDATE");
    // Under the new keys it says something that is no cell, and the relay, which could read that much,
    // says so under its own before it closes.
    client.command("this is no cell\n", "malformed");
    client.quit();
    assert_eq!(relay.status().expect("a status").totals["tls_faults"], 0);
}

#[test]
fn a_session_is_resumed() {
    let relay = relay();
    let file = relay.directory().join("session");
    let file = file.to_str().expect("a path");
    let mut client = Client::start(relay.address(), &["-sess_out", file]);
    eventually("a ticket is stored", || {
        client.printed("");
        std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
    });
    client.quit();
    let mut client = Client::start(relay.address(), &["-sess_in", file]);
    eventually("the challenge arrives", || client.printed("relay_id"));
    let printed = client.quit();
    assert!(printed.contains("Reused, TLSv1.3"), "{printed}");
}
