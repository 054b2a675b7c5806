//! A TLS identity that nobody needs to trust: its clients are the load generator.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use hushwire_relay::transport::{ServerTls, ServerTlsOptions};
use rustls::pki_types::PrivateKeyDer;

/// A server with a key of its own (ECDSA P-256, as the relay's self-signed identity).
pub(crate) fn self_signed() -> Result<Arc<ServerTls>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .context("making a certificate failed")?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|problem| anyhow!("the new key is unusable: {problem}"))?;
    Ok(ServerTls::new(vec![made.cert.der().clone()], key, &ServerTlsOptions::default())?)
}
