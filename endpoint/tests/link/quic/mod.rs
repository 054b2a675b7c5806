//! QUIC against real servers of another make, and which transport wins where there are two.

mod connection;
mod network;
mod race;
mod server;

use std::time::Duration;

const ALPN: &[u8] = b"hushwire/1";

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}
