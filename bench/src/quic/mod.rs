//! quinn-proto on a ring, as bare as it goes: one UDP socket and the connections on it. The generator's devices and the
//! floor stand on it; what they keep of a connection is theirs.

mod hub;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use hushwire_relay::measuring;
use hushwire_relay::transport::quic::limits::{RECEIVE_BYTES, SEND_BYTES};
use hushwire_wire::limits::{IDLE_MS, LANES};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{ServerConfig, VarInt};

use crate::forwarder::identity;

pub(crate) use hub::{Arrival, Hub, Port, Wire};

/// The relay's settings with a certificate made up for the occasion, and with the windows that it gives a device that is
/// welcome.
pub(crate) fn server_config() -> Result<ServerConfig> {
    let tls = measuring::rustls_alone(&*identity::self_signed()?);
    let crypto = QuicServerConfig::try_from(tls).context("no suite that QUIC begins with")?;
    let mut transport = measuring::quic_transport(IDLE_MS);
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(LANES))
        .receive_window(VarInt::from_u32(RECEIVE_BYTES))
        .send_window(SEND_BYTES)
        // Nobody fills datagrams up here.
        .datagram_receive_buffer_size(None);
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
