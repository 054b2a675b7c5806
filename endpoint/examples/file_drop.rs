//! A folder into which paired devices drop files. A file arrives whole or not at all, goes on after a break of either
//! side, and is never written over another.
//!
//! With two devices that are paired as `bob` and `alice` (see `chat.rs`):
//!
//! ```text
//! cargo run -p hushwire --example file_drop -- receive ./bob ./inbox
//! cargo run -p hushwire --example file_drop -- send ./alice bob report.pdf
//! ```

mod support;

use std::path::Path;

use hushwire::Client;
use hushwire::client::{FileOptions, IncomingTransfer};
use hushwire::transfer::Phase;
use support::{Outcome, connect, name, peer};

/// Larger files are refused, and so are those whose sender does not know their size.
const FILE_BYTES_MAX: u64 = 16 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["receive", keystore, folder] => {
            receive(&connect(keystore).await?, Path::new(folder)).await
        }
        ["send", keystore, to, file] => send(connect(keystore).await?, to, Path::new(file)).await,
        _ => Err("file_drop receive KEYSTORE FOLDER | file_drop send KEYSTORE PEER FILE".into()),
    }
}

/// Until the client ends. Four files of a peer are received at once; the library keeps the others in line.
async fn receive(client: &Client, folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder)?;
    eprintln!("waiting for files");
    loop {
        let offer = client.accept_transfer().await?;
        let (from, folder) = (name(client, offer.peer()), folder.to_owned());
        tokio::spawn(async move {
            match keep(offer, &folder).await {
                Ok(what) => println!("{what} from {from}"),
                // What has come of it is kept, and the sender offers it again.
                Err(error) => eprintln!("a file from {from} was not received: {error}"),
            }
        });
    }
}

async fn keep(offer: IncomingTransfer, folder: &Path) -> Outcome<String> {
    if offer.size().is_none_or(|size| size > FILE_BYTES_MAX) {
        let refused = format!("refused {}", offer.name());
        offer.reject("too large for this folder").await?;
        return Ok(refused);
    }
    let saved = offer.save_in(folder).await?;
    Ok(format!("{} ({} bytes)", saved.path.display(), saved.content.bytes))
}

async fn send(client: Client, to: &str, file: &Path) -> Outcome {
    let peer = peer(&client, to)?;
    let mut transfer = client.send_file(peer, file, FileOptions::default()).await?;
    let mut progress = transfer.progress();
    let sent = loop {
        tokio::select! {
            sent = transfer.finished() => break sent?,
            Ok(()) = progress.changed() => {
                let now = progress.borrow_and_update().clone();
                if let Phase::Paused(why) = &now.phase {
                    eprintln!("\n{to} has paused: {why}");
                } else {
                    eprint!("\r{} bytes on its disk", now.durable);
                }
            }
        }
    };
    println!("{to} has all {} bytes", sent.bytes);
    client.close().await;
    Ok(())
}
