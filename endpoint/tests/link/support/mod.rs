//! What several tests stand on.

pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod world;

use std::time::Duration;

/// What must come does.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

/// Tests that take a client by TLS and by QUIC.
macro_rules! by_either_transport {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn by_tls() {
                super::$name(hushwire::io::Transports::OnlyTls).await;
            }

            #[tokio::test]
            async fn by_quic() {
                super::$name(hushwire::io::Transports::OnlyQuic).await;
            }
        }
    )+};
}
pub(crate) use by_either_transport;
