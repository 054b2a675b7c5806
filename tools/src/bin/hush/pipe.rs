//! `hush pipe`: standard input here is standard output there, and back.

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use hushwire::client::{Client, StreamReader, StreamWriter};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::commands::{options, short, while_welcome};
use crate::home::{self, Home};
use crate::terminal::{aside, note, unwritten};

/// What the streams of a pipe are called.
const LABEL: &str = "pipe";
/// Read and written at once.
const PIECE_BYTES: usize = 64 * 1024;
const NOT_TAKEN: &str = "the peer did not take everything";

#[derive(Debug, Args)]
pub(crate) struct Pipe {
    /// The peer: its name, its ID, or the first characters of its ID.
    peer: String,
    /// Wait for the peer to open the pipe.
    #[arg(long, short)]
    listen: bool,
}

pub(crate) async fn pipe(home: &Home, pipe: &Pipe, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let peer = home::peer(&keystore, &pipe.peer)?;
    let client = Client::connect(keystore, options(None)).await?;
    let opened = async {
        match pipe.listen {
            false => Ok(client.open_channel(peer, LABEL).await?),
            true => accept(&client, peer, json).await,
        }
    };
    let carried = tokio::select! {
        carried = async {
            let (writer, reader) = while_welcome(&client, peer, json, opened).await?;
            carry(writer, reader).await
        } => carried,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted; what was written last may not have arrived")),
    };
    client.close().await;
    let (sent, received) = carried?;
    if json {
        let value = json!({ "peer": peer.to_text(), "sent": sent, "received": received });
        // Standard output belongs to the pipe.
        aside(&value.to_string());
    }
    Ok(())
}

async fn accept(
    client: &Client,
    peer: hushwire_wire::id::DeviceId,
    json: bool,
) -> Result<(StreamWriter, StreamReader)> {
    note(json, &format!("waiting for {} to open the pipe", short(peer)));
    loop {
        let mut reader = client.accept_stream().await?;
        if reader.peer() == peer && reader.label() == LABEL && reader.awaits_reply() {
            let writer = reader.reply().await?;
            return Ok((writer, reader));
        }
        // Dropped: whoever opened it hears that nobody wants it.
    }
}

/// Carries bytes both ways until both have ended.
async fn carry(mut writer: StreamWriter, mut reader: StreamReader) -> Result<(u64, u64)> {
    let there = async {
        let (mut input, mut sent, mut piece) = (tokio::io::stdin(), 0, vec![0; PIECE_BYTES]);
        loop {
            let read = input.read(&mut piece).await.context("standard input cannot be read")?;
            if read == 0 {
                break;
            }
            writer.write_all(&piece[..read]).await.context(NOT_TAKEN)?;
            // What a person types goes now.
            writer.flush().await.context(NOT_TAKEN)?;
            sent += read as u64;
        }
        // The end, and the certainty that everything was read.
        writer.shutdown().await.context(NOT_TAKEN)?;
        anyhow::Ok(sent)
    };
    let back = async {
        let (mut output, mut received, mut piece) = (tokio::io::stdout(), 0, vec![0; PIECE_BYTES]);
        loop {
            let read = reader.read(&mut piece).await.context("the pipe broke before its end")?;
            if read == 0 {
                close_output()?;
                return Ok(received);
            }
            output.write_all(&piece[..read]).await.map_err(unwritten)?;
            output.flush().await.map_err(unwritten)?;
            received += read as u64;
        }
    };
    tokio::try_join!(there, back)
}

/// Whoever reads standard output reads its end now, though this program goes on as long as its input does.
fn close_output() -> Result<()> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    Ok(nix::unistd::dup2_stdout(nowhere)?)
}
