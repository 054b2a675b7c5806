//! How a device reaches a relay by QUIC.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hushwire_relay::transport::quic::limits::LANE_RECEIVE_BYTES;
use hushwire_wire::filler::{FILL_RECEIVE_BYTES, FILL_SEND_BYTES};
use hushwire_wire::limits::{ALPN, LANES};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, TransportConfig, VarInt};

use crate::limits::{QUIC_RECEIVE_BYTES, QUIC_SEND_BYTES};
use crate::load::tls::client_config;

/// What every device needs to connect.
#[derive(Debug, Clone)]
pub(crate) struct QuicConnector {
    address: SocketAddr,
    config: ClientConfig,
}

impl QuicConnector {
    /// Reaches the relay at `address`, whose certificate nobody looks at, with the one suite that it prefers.
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        let tls = client_config(&[ALPN])?;
        let crypto = QuicClientConfig::try_from(tls).context("no suite that QUIC begins with")?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        Ok(Self { address, config })
    }

    /// The same for devices that do not fill their datagrams up, and to which nobody else does.
    #[must_use]
    pub(crate) fn without_fills(mut self) -> Self {
        let mut transport = transport();
        transport.datagram_receive_buffer_size(None);
        self.config.transport_config(Arc::new(transport));
        self
    }

    /// Where the relay is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn config(&self) -> ClientConfig {
        self.config.clone()
    }
}

/// What an endpoint has: congestion control, acknowledgements, pacing and the search for the path's MTU are quinn's own,
/// as the server pays for what they make of it.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES))
        .stream_receive_window(VarInt::from_u32(LANE_RECEIVE_BYTES))
        .receive_window(VarInt::from_u32(QUIC_RECEIVE_BYTES))
        .send_window(QUIC_SEND_BYTES)
        .max_idle_timeout(None)
        .datagram_receive_buffer_size(Some(FILL_RECEIVE_BYTES))
        .datagram_send_buffer_size(FILL_SEND_BYTES)
        .allow_spin(false);
    transport
}
