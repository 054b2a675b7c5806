//! What all shards share of QUIC.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::{hkdf, hmac};
use hushwire_uring::udp::Steering;
use hushwire_wire::filler::{FILL_RECEIVE_BYTES, FILL_SEND_BYTES};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    AckFrequencyConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use thiserror::Error;

use super::ids::ShardIds;
use super::limits;
use super::qlog::QlogFiles;
use crate::transport::ServerTls;

/// Why there is no QUIC.
#[derive(Debug, Error)]
pub(crate) enum QuicServerError {
    /// The provider lacks what RFC 9001 §5.2 protects the first packets with.
    #[error("the TLS provider has no AES-128-GCM for QUIC")]
    NoInitialSuite,
    /// HKDF refused a length of our own.
    #[error("the keys of QUIC cannot be derived")]
    Keys,
}

/// The settings of quinn-proto, the same on all shards, and the secrets behind them. All are derived from one secret of
/// the store, so that after a restart the relay still knows its own resets: a device whose relay came back hears at once
/// that its connection is gone.
pub(crate) struct QuicServer {
    config: Arc<ServerConfig>,
    reset_key: Arc<hmac::Key>,
    steering: Steering,
    idle_ms: u64,
    qlog: Option<QlogFiles>,
}

/// What QUIC is set to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuicOptions<'a> {
    /// The store's secret.
    pub(crate) secret: &'a [u8; 16],
    pub(crate) steering: Steering,
    /// Connections silent for so long are closed.
    pub(crate) idle_ms: u64,
    /// Where connections write what they do.
    pub(crate) qlog_dir: Option<&'a Path>,
}

impl fmt::Debug for QuicServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicServer").finish_non_exhaustive()
    }
}

/// Labels of what is derived from the store's secret.
const RESET_LABEL: &[u8] = b"hushwire/1 quic reset";
const TOKEN_LABEL: &[u8] = b"hushwire/1 quic token";

impl QuicServer {
    /// A server with the identity of `tls`.
    pub(crate) fn new(
        tls: &ServerTls,
        options: &QuicOptions<'_>,
    ) -> Result<Arc<Self>, QuicServerError> {
        let QuicOptions { secret, steering, idle_ms, qlog_dir } = *options;
        let crypto = QuicServerConfig::try_from(tls.for_quic())
            .map_err(|_| QuicServerError::NoInitialSuite)?;
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, RESET_LABEL).extract(secret);
        let mut reset = [0; 32];
        prk.expand(&[RESET_LABEL], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut reset))
            .map_err(|_| QuicServerError::Keys)?;
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, TOKEN_LABEL).extract(secret);

        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
        config
            .transport_config(Arc::new(transport(idle_ms)))
            .retry_token_lifetime(Duration::from_millis(limits::RETRY_TOKEN_MS))
            .validation_token_config(tokens)
            .migration(true)
            .incoming_buffer_size(limits::INCOMING_BYTES)
            .incoming_buffer_size_total(limits::INCOMING_BYTES);
        let reset_key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset));
        let qlog = qlog_dir.map(QlogFiles::new);
        Ok(Arc::new(Self { config: Arc::new(config), reset_key, steering, idle_ms, qlog }))
    }

    /// The IDs of one shard.
    pub(crate) const fn ids(&self, shard: usize) -> ShardIds {
        ShardIds::new(self.steering, shard)
    }

    /// Which shard a datagram is for.
    pub(crate) fn shard_of(&self, datagram: &[u8]) -> usize {
        self.steering.shard_of_datagram(datagram)
    }

    /// The settings of one connection where they are not those of all: it writes what it does.
    pub(crate) fn traced(&self, shard: usize, now: Instant) -> Option<Arc<ServerConfig>> {
        let stream = self.qlog.as_ref()?.next(shard, now)?;
        let mut transport = transport(self.idle_ms);
        transport.qlog_stream(Some(stream));
        let mut config = ServerConfig::clone(&self.config);
        config.transport_config(Arc::new(transport));
        Some(Arc::new(config))
    }

    /// The endpoint of one shard. `may_fragment`: the socket cannot find the path's MTU.
    pub(crate) fn endpoint(&self, shard: usize, may_fragment: bool) -> Endpoint {
        let ids = self.ids(shard);
        let mut config = EndpointConfig::new(Arc::clone(&self.reset_key) as _);
        config
            .cid_generator(move || Box::new(ids))
            .min_reset_interval(Duration::from_millis(limits::RESET_MS_MIN));
        Endpoint::new(Arc::new(config), Some(Arc::clone(&self.config)), !may_fragment, None)
    }
}

/// The settings of a connection that is not welcome yet.
pub(crate) fn transport(idle_ms: u64) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(limits::ACKNOWLEDGED_AFTER));
    // Later than the relay's own farewell to a silent device, which would otherwise find nobody there.
    let idle_ms = idle_ms.saturating_add(limits::IDLE_BEYOND_MS);
    let idle = u32::try_from(idle_ms).unwrap_or(u32::MAX);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        .stream_receive_window(VarInt::from_u32(limits::LANE_RECEIVE_BYTES))
        .receive_window(VarInt::from_u32(limits::RECEIVE_BYTES_UNAUTHENTICATED))
        .send_window(limits::SEND_BYTES_UNAUTHENTICATED)
        .crypto_buffer_size(limits::CRYPTO_BYTES)
        .datagram_receive_buffer_size(Some(FILL_RECEIVE_BYTES))
        .datagram_send_buffer_size(FILL_SEND_BYTES)
        .allow_spin(false)
        .ack_frequency_config(Some(acknowledgements))
        // quinn-proto would pad acknowledgements, too, and count them as in flight. Nobody acknowledges those: where the
        // congestion window shrinks below what is left of them, not even a PING gets out, and no timer runs. So cells are
        // filled up as `hushwire_wire::filler` has it.
        .pad_to_mtu(false);
    transport
}
