//! Two people who chat. What one of them writes while the other is away arrives when the other is back, once.
//!
//! Make two devices, on one machine or two, and pair them under the names `bob` and `alice`:
//!
//! ```text
//! hush --keystore ./alice init;  hush --keystore ./alice enroll -      # paste an invite of `hushctl invite`
//! hush --keystore ./bob init;    hush --keystore ./bob enroll -
//! hush --keystore ./alice pair   # shows a link; then: hush --keystore ./bob pair LINK
//!
//! cargo run -p hushwire --example chat -- ./alice bob
//! cargo run -p hushwire --example chat -- ./bob alice
//! ```

mod support;

use std::time::Duration;

use hushwire::client::Event;
use support::{Outcome, connect, peer, printable};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How long the end waits for the other person to have read the last line. It arrives later otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// Why a message is refused: both programs must mean the same by it.
const NOT_CHATTING_WITH_YOU: u16 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [keystore, name] = arguments.as_slice() else { return Err("chat KEYSTORE PEER".into()) };
    let client = connect(keystore).await?;
    let peer = peer(&client, name)?;
    let mut events = client.events();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut last = None;
    eprintln!("chatting with {name}; an empty line or the end of input ends it");
    loop {
        // All three may be dropped undecided: none of them loses anything.
        tokio::select! {
            line = lines.next_line() => match line? {
                // On disk when this returns, and then sent however often either program is started anew.
                Some(line) if !line.is_empty() => last = Some(client.enqueue(peer, line).await?),
                Some(_) | None => break,
            },
            message = client.next_message() => {
                let message = message?;
                if message.peer == peer {
                    println!("{name}: {}", printable(&message.bytes));
                    // Only now: had this program died before it was shown, it would be shown after the next start.
                    message.confirm();
                } else {
                    message.reject(NOT_CHATTING_WITH_YOU);
                }
            }
            event = events.next() => match event {
                Some(Event::PeerUp { peer: who }) if who == peer => eprintln!("{name} is here"),
                Some(Event::PeerDown { peer: who }) if who == peer => eprintln!("{name} has gone"),
                Some(Event::Disconnected { why, .. }) => eprintln!("no connection: {why}"),
                Some(_) => {}
                None => break,
            },
        }
    }
    if let Some(last) = last {
        // Messages to one peer are taken in order, so the last one speaks for all.
        match tokio::time::timeout(PATIENCE, last).await {
            Ok(ended) => eprintln!("all of it was read by {:?}", ended?.peer),
            Err(_) => eprintln!("{name} is away: the rest arrives when you are both here again"),
        }
    }
    client.close().await;
    Ok(())
}
