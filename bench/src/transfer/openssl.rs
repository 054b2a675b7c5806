//! `openssl s_client` reads the file and `s_server` writes it: TLS 1.3 with the suite that the relay prefers, one hop,
//! nothing in between.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::Piped;
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::START_MAX;
use crate::procfs;
use crate::server::{Pipes, spawn};

/// What the relay negotiates with the endpoint.
const SUITE: &str = "TLS_AES_128_GCM_SHA256";
/// How often memory is looked at, and a start waited for.
const LOOK: Duration = Duration::from_millis(20);

/// A certificate for one measurement.
pub(super) struct Openssl<'a> {
    certificate: PathBuf,
    key: PathBuf,
    /// What both print of themselves.
    log: PathBuf,
    cpus: &'a [usize],
}

impl<'a> Openssl<'a> {
    pub(super) fn prepare(directory: &Path, cpus: &'a [usize]) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { certificate, key, log: directory.join("openssl.log"), cpus })
    }

    /// One transfer, from the start of the client to the end of both.
    pub(super) fn pipe(
        &self,
        source: &Path,
        target: &Path,
        interrupt: &Interrupt,
    ) -> Result<Piped> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let [certificate, key] = [&self.certificate, &self.key].map(|path| path.as_os_str());
        // It would take what its input says for commands, so the input is a pipe that says nothing.
        let server = self.run(
            &["s_server", "-accept", &address, "-naccept", "1", "-quiet"],
            &["-cert".as_ref(), certificate, "-key".as_ref(), key],
            Pipes {
                input: Stdio::piped(),
                output: File::create(target)?.into(),
                errors: File::create(&self.log)?.into(),
            },
        )?;
        let mut server = Running(server);
        self.await_listener(&mut server, port, interrupt)?;
        let clock = Clock::start();
        // -quiet alone would keep the connection open at the end of the file, and without -nocommands a piece of it
        // that begins with an R or a Q would be obeyed instead of sent.
        let client = self.run(
            &["s_client", "-connect", &address, "-quiet", "-no_ign_eof", "-nocommands"],
            &[],
            Pipes {
                input: File::open(source)?.into(),
                output: Stdio::null(),
                errors: File::options().append(true).open(&self.log)?.into(),
            },
        )?;
        let mut client = Running(client);
        let [mut client_peak_bytes, mut server_peak_bytes] = [0; 2];
        let elapsed_ns = thread::scope(|scope| {
            let ended = scope.spawn(|| -> Result<u64> {
                wait_unreaped(&client.0)?;
                wait_unreaped(&server.0)?;
                Ok(clock.now_ns())
            });
            while !ended.is_finished() {
                // One that has ended has no memory left to be looked at.
                let look = |child: &Child, peak: &mut u64| {
                    *peak = procfs::resident_peak_bytes(child.id()).unwrap_or(0).max(*peak);
                };
                look(&client.0, &mut client_peak_bytes);
                look(&server.0, &mut server_peak_bytes);
                if interrupt.pass(LOOK).is_err() {
                    client.kill();
                    server.kill();
                }
            }
            ended.join().unwrap_or_else(|_| bail!("the wait for openssl panicked"))
        })?;
        interrupt.check()?;
        let [client_cpu_ns, server_cpu_ns] =
            [procfs::cpu_ns(client.0.id())?, procfs::cpu_ns(server.0.id())?];
        for (name, running) in [("s_client", &mut client), ("s_server", &mut server)] {
            let status = running.0.wait()?;
            ensure!(status.success(), "openssl {name} failed ({status}): {}", self.said());
        }
        Ok(Piped { elapsed_ns, client_cpu_ns, server_cpu_ns, client_peak_bytes, server_peak_bytes })
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str], more: &[&OsStr], pipes: Pipes) -> Result<Child> {
        let mut all: Vec<OsString> = arguments.iter().map(Into::into).collect();
        all.extend(["-tls1_3", "-ciphersuites", SUITE].map(Into::into));
        all.extend(more.iter().map(Into::into));
        spawn(self.cpus, "openssl".as_ref(), &all, pipes, &[])
    }

    fn await_listener(&self, server: &mut Running, port: u16, interrupt: &Interrupt) -> Result<()> {
        let clock = Clock::start();
        // A connection would be the one that it accepts.
        while !procfs::listens(port)? {
            if let Some(status) = server.0.try_wait()? {
                bail!("openssl s_server did not start ({status}): {}", self.said());
            }
            ensure!(clock.now_ns() < START_MAX.as_nanos() as u64, "openssl s_server did not start");
            interrupt.pass(LOOK)?;
        }
        Ok(())
    }
}

/// Waits for the end of a child and leaves what the system knows of it to be read.
fn wait_unreaped(child: &Child) -> Result<()> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(child)), options).context("waiting for openssl failed")?;
    Ok(())
}

/// A child that ends with this value.
struct Running(Child);

impl Running {
    fn kill(&self) {
        // It may be gone already.
        let _ =
            rustix::process::kill_process(Pid::from_child(&self.0), rustix::process::Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
