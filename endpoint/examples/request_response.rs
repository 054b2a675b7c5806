//! A server that answers requests of paired devices by their name, and a client with a time limit that tries again.
//!
//! A request is a stream whose label says what is asked; the answer is the stream that replies to it. Nothing of it is
//! stored: a request that breaks is asked again, so whatever a server does for one must do no harm when done twice.
//! (What must happen once, however often either end crashes, is a message: see `chat.rs`.)
//!
//! With two devices that are paired as `bob` and `alice` (see `chat.rs`):
//!
//! ```text
//! cargo run -p hushwire --example request_response -- serve ./bob
//! cargo run -p hushwire --example request_response -- ask ./alice bob sum "1 2 39"
//! ```

mod support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hushwire::client::StreamReader;
use hushwire::{Client, DeviceId, Error};
use support::{Outcome, connect, name, peer, printable, read_at_most};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What either end reads at most of the other.
const BYTES_MAX: usize = 1 << 20;
const REQUESTS_AT_ONCE: usize = 32;
/// A peer that stops in the middle holds its place so long.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// What a client waits for one answer, and in all.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(10);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What the server said, or why it could not.
type Answer = Outcome<Vec<u8>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", keystore] => serve(connect(keystore).await?).await,
        ["ask", keystore, of, request, body @ ..] => {
            let client = connect(keystore).await?;
            let of = peer(&client, of)?;
            let body = body.join(" ");
            let asked = ask(&client, of, request, body.as_bytes());
            let answer = timeout(ANSWER_TIME_MAX, asked).await.map_err(|_| "no answer in time")?;
            println!("{}", printable(&answer??));
            client.close().await;
            Ok(())
        }
        _ => Err("request_response serve KEYSTORE | ask KEYSTORE PEER REQUEST [BODY]".into()),
    }
}

async fn serve(client: Client) -> Outcome {
    let places = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
    eprintln!("serving");
    loop {
        let place = places.clone().acquire_owned().await?;
        let request = client.accept_stream().await?;
        let from = name(&client, request.peer());
        tokio::spawn(async move {
            let answered = timeout(REQUEST_TIME_MAX, answer(request)).await;
            // Dropping the stream has told the peer.
            if let Err(error) = answered.unwrap_or_else(|late| Err(late.into())) {
                eprintln!("a request of {from} broke: {error}");
            }
            drop(place);
        });
    }
}

async fn answer(mut request: StreamReader) -> Outcome {
    let body = read_at_most(&mut request, BYTES_MAX).await?;
    let answer = respond(request.label(), &body);
    let mut writer = request.reply().await?;
    // The first byte says whether it is an answer or a complaint.
    let line = answer.map_or_else(|why| format!("-{why}"), |answer| format!("+{answer}"));
    writer.write_all(line.as_bytes()).await?;
    Ok(writer.shutdown().await?)
}

/// What this server can do.
fn respond(request: &str, body: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the request is not text")?;
    match request {
        "echo" => Ok(text.to_owned()),
        "sum" => {
            let numbers = text.split_whitespace().map(|word| word.parse::<i64>().ok());
            let sum = numbers.reduce(|sum, number| sum?.checked_add(number?)).unwrap_or(Some(0));
            Ok(sum.ok_or("these are no numbers with a sum")?.to_string())
        }
        _ => Err(format!("this server knows no {request:?}")),
    }
}

/// Asks until there is an answer, or a reason that another try would not change. May be dropped at any time.
async fn ask(of: &Client, peer: DeviceId, request: &str, body: &[u8]) -> io::Result<Answer> {
    loop {
        let error = match timeout(ATTEMPT_TIME_MAX, ask_once(of, peer, request, body)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        let late = error.kind() == io::ErrorKind::TimedOut;
        if !late && !Error::of_stream(&error).is_some_and(Error::is_retryable) {
            return Err(error);
        }
        eprintln!("asking again: {error}");
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn ask_once(of: &Client, peer: DeviceId, request: &str, body: &[u8]) -> io::Result<Answer> {
    let (mut writer, mut reader) =
        of.open_channel(peer, request).await.map_err(io::Error::other)?;
    writer.write_all(body).await?;
    writer.shutdown().await?;
    let answer = read_at_most(&mut reader, BYTES_MAX).await?;
    match answer.split_first() {
        Some((b'+', answer)) => Ok(Ok(answer.to_vec())),
        Some((_, complaint)) => Ok(Err(printable(complaint).into())),
        None => Ok(Err("the peer does not answer such requests".into())),
    }
}
