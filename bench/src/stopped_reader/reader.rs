//! The recipient: a process of its own, so that it can be stopped as any process can.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hushwire_relay::transport::limits::RECORD_PLAIN_BYTES_MAX;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::code::Invite;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};

use crate::limits::{READ_BYTES, READER_LINE_BYTES_MAX};
use crate::load::records::{APPLICATION_DATA, Direction, HANDSHAKE, whole};
use crate::load::{Connector, Identity};

/// The kernel keeps little for the reader, so that cells wait in the relay soon after it stops.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// The reader's process. It ends with this value.
#[derive(Debug)]
pub(super) struct Reader {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The text form of its device.
    pub(super) device: String,
    /// Bytes that may wait for it on the relay, as the relay told it.
    pub(super) egress_bytes_max: u64,
}

impl Reader {
    /// Starts it on processor `cpu`; it enrols with `invite`.
    pub(super) fn start(cpu: usize, relay: SocketAddr, invite: &str) -> Result<Self> {
        let this = std::env::current_exe().context("this program cannot find itself")?;
        let mut child = Command::new(&this)
            .args(["pinned", "--cpu", &cpu.to_string(), "--"])
            .arg(&this)
            .args(["reader", "--connect", &relay.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the reader failed")?;
        let (questions, answers) =
            child.stdin.take().zip(child.stdout.take()).context("no pipes")?;
        let (device, answers) = (String::new(), BufReader::new(answers));
        let mut reader = Self { child, questions, answers, device, egress_bytes_max: 0 };
        let said = reader.ask(invite)?;
        said["device"].as_str().context("no device")?.clone_into(&mut reader.device);
        reader.egress_bytes_max = said["egress_bytes_max"].as_u64().context("no bound")?;
        Ok(reader)
    }

    /// The cells it has received. Being asked, it also says something to the relay, which would take
    /// it for idle otherwise. Not to be asked while it is stopped.
    pub(super) fn received(&mut self) -> Result<u64> {
        self.ask("")?["received"].as_u64().context("no count")
    }

    fn ask(&mut self, question: &str) -> Result<Value> {
        writeln!(self.questions, "{question}").context("the reader has ended")?;
        let mut line = String::new();
        self.answers.by_ref().take(READER_LINE_BYTES_MAX as u64).read_line(&mut line)?;
        serde_json::from_str(&line).context("the reader has ended")
    }

    /// SIGSTOP; returns when it has stopped.
    pub(super) fn stop(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP)?;
        let stopped =
            waitpid(Some(pid), WaitOptions::UNTRACED)?.is_some_and(|(_, it)| it.stopped());
        ensure!(stopped, "the reader has ended");
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }
}

impl Drop for Reader {
    /// SIGKILL ends a stopped process too.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the reader: takes an invite from the first line of its input, reads cells and discards them, and
/// answers every further line with their number. Ends with its input.
pub(crate) fn serve(relay: SocketAddr) -> Result<()> {
    let mut lines = std::io::stdin().lines();
    let text = lines.next().context("no invite")??;
    let invite = Invite::from_text(&text).map_err(|error| anyhow!("an invite: {error}"))?;
    let identity = Identity::generate()?;
    let device = Connector::new(relay)?.connect(&identity, Some(invite.secret.as_bytes()))?;
    device.socket.set_read_timeout(None)?;
    set_socket_recv_buffer_size(&device.socket, RECEIVE_BUFFER_BYTES)?;
    let (id, egress_bytes_max) = (device.id.to_text(), device.egress_bytes_max);
    let received = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&received);
    let socket = device.socket.try_clone()?;
    thread::Builder::new().name("cells".to_owned()).spawn(move || {
        let Err(error) = discard(socket, device.opening, device.expected, &shared);
        eprintln!("hush-bench reader: {error:#}");
        std::process::exit(1);
    })?;
    println!("{}", json!({ "device": id, "egress_bytes_max": egress_bytes_max }));
    let (mut socket, mut sealing, mut record) = (device.socket, device.sealing, Vec::new());
    for (line, counter) in lines.zip(device.counter..) {
        line?;
        let mut cover = [0; Class::C0.cell_len()];
        cover[..HEADER_LEN].copy_from_slice(&Header::cover(Class::C0, 0, counter).encode());
        record.clear();
        sealing.seal(&cover, &mut record)?;
        socket.write_all(&record)?;
        println!("{}", json!({ "received": received.load(Ordering::Relaxed) }));
    }
    Ok(())
}

/// Opens every record, so that a cell that is lost, repeated or out of order is noticed.
fn discard(
    mut socket: TcpStream,
    mut opening: Direction,
    mut expected: u64,
    received: &AtomicU64,
) -> Result<std::convert::Infallible> {
    let mut buffer = vec![0; 2 * READ_BYTES];
    let mut end = 0;
    let mut second_half = false;
    loop {
        let count = socket.read(&mut buffer[end..])?;
        ensure!(count > 0, "the relay closed the reader's connection");
        end += count;
        let mut at = 0;
        while let Some(length) = whole(&buffer[at..end])? {
            let (kind, content) = opening.open(&mut buffer[at..at + length])?;
            at += length;
            match (kind, content) {
                (APPLICATION_DATA, _) if second_half => second_half = false,
                (APPLICATION_DATA, cell) => {
                    let header = cell.first_chunk::<HEADER_LEN>().context("no header")?;
                    let header = Header::decode(header)?;
                    let (came, due) = (header.counter, expected);
                    ensure!(came == due, "cell {came} came to the reader where {due} was due");
                    expected += 1;
                    second_half = header.class.cell_len() > RECORD_PLAIN_BYTES_MAX;
                    if header.kind == Kind::Unicast {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                }
                (HANDSHAKE, [24, ..]) => bail!("the relay updated its keys: shorten the run"),
                (HANDSHAKE, _) => {}
                (kind, _) => bail!("the relay sent the reader a record of type {kind}"),
            }
        }
        buffer.copy_within(at..end, 0);
        end -= at;
    }
}
