//! `hush pipe`: standard input here is standard output there, and back.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use hushwire::client::{Client, StreamReader, StreamWriter};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::commands::{options, short};
use crate::home::{self, Home};
use crate::terminal::{aside, note};

/// What the streams of a pipe are called.
const LABEL: &str = "pipe";

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
    let carried = tokio::select! {
        carried = async {
            let (writer, reader) = match pipe.listen {
                false => client.open_channel(peer, LABEL).await?,
                true => accept(&client, peer, json).await?,
            };
            carry(writer, reader).await
        } => carried,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; what was written last may not have arrived"),
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
async fn carry(writer: StreamWriter, reader: StreamReader) -> Result<(u64, u64)> {
    let there = async {
        let sent = copy(tokio::io::stdin(), writer).await;
        sent.context("the peer did not take everything")
    };
    let back = async {
        let received = copy(reader, tokio::io::stdout()).await;
        received.context("the pipe broke before its end")
    };
    tokio::try_join!(there, back)
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<u64> {
    let copied = tokio::io::copy(&mut from, &mut to).await?;
    to.flush().await?;
    // The end, which on a stream also is the certainty that everything was read.
    to.shutdown().await?;
    Ok(copied)
}
