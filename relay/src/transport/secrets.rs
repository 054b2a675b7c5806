//! Traffic secrets: how they leave rustls, and what is derived from them (RFC 8446 §7.1, §7.2, §7.5).

use std::cell::RefCell;

use aws_lc_rs::{aead, digest, hkdf};
use hushwire_wire::limits::EXPORTER_LABEL;
use rustls::CipherSuite;
use zeroize::Zeroizing;

use super::fault::Fault;

/// The longest hash of a TLS 1.3 suite, in bytes.
pub(super) const HASH_BYTES_MAX: usize = 48;
/// Every suite's IV, in bytes.
pub(super) const IV_BYTES: usize = aead::NONCE_LEN;

/// A TLS 1.3 cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256, what the relay prefers.
    Aes128Gcm,
    /// TLS_AES_256_GCM_SHA384.
    Aes256Gcm,
    /// TLS_CHACHA20_POLY1305_SHA256.
    ChaCha20Poly1305,
}

impl Suite {
    pub(super) fn from_rustls(suite: CipherSuite) -> Option<Self> {
        [
            (CipherSuite::TLS13_AES_128_GCM_SHA256, Self::Aes128Gcm),
            (CipherSuite::TLS13_AES_256_GCM_SHA384, Self::Aes256Gcm),
            (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, Self::ChaCha20Poly1305),
        ]
        .into_iter()
        .find_map(|(theirs, ours)| (theirs == suite).then_some(ours))
    }

    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => &digest::SHA256,
            Self::Aes256Gcm => &digest::SHA384,
        }
    }

    fn hash_len(self) -> usize {
        self.digest().output_len()
    }
}

/// A secret of the key schedule; wiped when dropped. Its length is its suite's hash length.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; HASH_BYTES_MAX]>);

impl Secret {
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Zeroizing::new([0; HASH_BYTES_MAX]));
        secret.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    /// HKDF-Expand-Label (RFC 8446 §7.1) into `out`.
    pub(super) fn expand(
        &self,
        suite: Suite,
        label: &[u8],
        context: &[u8],
        out: &mut [u8],
    ) -> Result<(), Fault> {
        const PREFIX: &[u8] = b"tls13 ";
        const FAULT: Fault = Fault::Internal("HKDF refused a length of our own");
        let length = u16::try_from(out.len()).map_err(|_| FAULT)?.to_be_bytes();
        let label_len = u8::try_from(PREFIX.len() + label.len()).map_err(|_| FAULT)?;
        let context_len = u8::try_from(context.len()).map_err(|_| FAULT)?;
        let info: [&[u8]; 6] = [&length, &[label_len], PREFIX, label, &[context_len], context];
        hkdf::Prk::new_less_safe(suite.hkdf(), &self.0[..suite.hash_len()])
            .expand(&info, OutputLen(out.len()))
            .and_then(|okm| okm.fill(out))
            .map_err(|_| FAULT)
    }

    /// The secret after a KeyUpdate (RFC 8446 §7.2).
    pub(super) fn next(&self, suite: Suite) -> Result<Self, Fault> {
        let mut next = Self(Zeroizing::new([0; HASH_BYTES_MAX]));
        self.expand(suite, b"traffic upd", &[], &mut next.0[..suite.hash_len()])?;
        Ok(next)
    }

    /// The exporter with an empty context (RFC 8446 §7.5), this being the exporter master secret.
    pub(super) fn export(&self, suite: Suite, label: &[u8]) -> Result<[u8; 32], Fault> {
        let empty = digest::digest(suite.digest(), &[]);
        let mut derived = Self(Zeroizing::new([0; HASH_BYTES_MAX]));
        self.expand(suite, label, empty.as_ref(), &mut derived.0[..suite.hash_len()])?;
        let mut out = [0; 32];
        derived.expand(suite, b"exporter", empty.as_ref(), &mut out)?;
        Ok(out)
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// The three secrets of a connection, which rustls derives together when it writes the server's Finished.
pub(super) struct Secrets {
    pub(super) client: Secret,
    pub(super) server: Secret,
    pub(super) exporter: Secret,
    /// A suite with the hash of the connection's.
    pub(super) hash: Suite,
}

const CLIENT_LABEL: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_LABEL: &str = "SERVER_TRAFFIC_SECRET_0";
const EXPORTER_SECRET_LABEL: &str = "EXPORTER_SECRET";

#[derive(Default)]
struct Slot {
    client: Option<Secret>,
    server: Option<Secret>,
    exporter: Option<Secret>,
    hash: Option<Suite>,
}

thread_local! {
    static SLOT: RefCell<Slot> = RefCell::new(Slot::default());
}

/// Takes the secrets out of rustls, whose connection types offer the exporter or KeyUpdate but never
/// both. They rest in a slot of the thread only from rustls' call of `log` to [`SlotLog::take`] right
/// after the call into rustls; nothing is ever written to a file.
#[derive(Debug)]
pub(super) struct SlotLog;

impl SlotLog {
    /// Empties the slot of this thread. `None` unless all three secrets came since the last call.
    pub(super) fn take() -> Option<Secrets> {
        let slot = SLOT.with_borrow_mut(std::mem::take);
        Some(Secrets {
            client: slot.client?,
            server: slot.server?,
            exporter: slot.exporter?,
            hash: slot.hash?,
        })
    }
}

/// The exporter value of a connection of QUIC on this thread, whose handshake has just written the server's Finished; to be
/// asked after each call into quinn-proto until it comes.
pub(crate) fn take_binding() -> Option<Result<[u8; 32], Fault>> {
    let secrets = SlotLog::take()?;
    Some(secrets.exporter.export(secrets.hash, EXPORTER_LABEL))
}

impl rustls::KeyLog for SlotLog {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let hash = [Suite::Aes128Gcm, Suite::Aes256Gcm].into_iter();
        let hash = hash.clone().find(|suite| suite.hash_len() == secret.len());
        let secret = Secret::from_slice(secret);
        SLOT.with_borrow_mut(|slot| match label {
            CLIENT_LABEL => slot.client = secret,
            SERVER_LABEL => slot.server = secret,
            EXPORTER_SECRET_LABEL => (slot.exporter, slot.hash) = (secret, hash),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT_LABEL | SERVER_LABEL | EXPORTER_SECRET_LABEL)
    }
}
