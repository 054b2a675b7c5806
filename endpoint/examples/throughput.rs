//! How fast a stream crosses a relay: `cargo run --example throughput -- [MEBIBYTES]`.
//!
//! The relay runs in this process with its default flush policy and its rates raised; each device has a thread and
//! a runtime of its own, as two agents on two machines would.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use hushwire::Client;
use hushwire::client::{Options, PairingOptions};
use hushwire::identity::Identity;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use hushwire_relay::daemon::Relay;
use hushwire_wire::code::Invite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mebibytes: usize = std::env::args().nth(1).map_or(Ok(512), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let relay = start_relay(path)?;
    let invites = [relay.invite(Duration::from_secs(60))?, relay.invite(Duration::from_secs(60))?];
    let (code, offered) = std::sync::mpsc::channel();
    let (reader_path, writer_path) = (path.join("reader"), path.join("writer"));
    let [reader_invite, writer_invite] = invites;
    let reader = std::thread::spawn(move || {
        runtime()?.block_on(async {
            let client = enroll(&reader_path, &reader_invite).await?;
            let offer = client.offer_pairing::<Link>(PairingOptions::default()).await?;
            code.send(offer.link())?;
            offer.wait().await?.confirm("writer").await?;
            let mut reader = client.accept_stream().await?;
            let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
            loop {
                match reader.read(&mut buffer).await? {
                    0 => break,
                    count => total += count,
                }
            }
            client.close().await;
            Outcome::Ok(total)
        })
    });
    let writer = std::thread::spawn(move || {
        runtime()?.block_on(async {
            let client = enroll(&writer_path, &writer_invite).await?;
            let pending = client.join_pairing::<Link>(&offered.recv()?).await?;
            let peer = pending.confirm("reader").await?;
            let mut writer = client.open_stream(peer).await?;
            let piece = vec![7; 1 << 20];
            #[expect(clippy::disallowed_methods, reason = "this is what it measures")]
            let start = Instant::now();
            for _ in 0..mebibytes {
                writer.write_all(&piece).await?;
            }
            writer.shutdown().await?;
            Outcome::Ok(start.elapsed())
        })
    });
    let took = writer.join().map_err(|_| "the writer panicked")??;
    let total = reader.join().map_err(|_| "the reader panicked")??;
    let rate = total as f64 / (1 << 20) as f64 / took.as_secs_f64();
    println!("{} MiB in {:.2} s: {rate:.0} MiB/s", total >> 20, took.as_secs_f64());
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn enroll(path: &Path, invite: &str) -> Outcome<Client> {
    let keystore = Keystore::create(path, Identity::generate(&mut OsRandom))?;
    Ok(Client::enroll(keystore, &Invite::from_text(invite)?, Options::default()).await?)
}

fn start_relay(path: &Path) -> Outcome<Relay> {
    let path = path.display();
    let text = format!(
        r#"
        [listen]
        address = "127.0.0.1:0"
        [relay]
        data_dir = "{path}/relay"
        shards = 1
        [limits]
        connections_max = 64
        unauthenticated_connections_max = 32
        handshakes_in_progress_max = 16
        cells_per_s = 1000000
        bytes_per_s = 10000000000
        [control]
        listen = "127.0.0.1:0"
        admin_socket = "{path}/admin.sock"
        "#
    );
    let config = hushwire_relay::config::check(&text, "example.toml".as_ref());
    let config = config.map_err(|problems| format!("{problems:?}"))?;
    Ok(Relay::start(config)?)
}
