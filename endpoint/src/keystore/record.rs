//! What stands in the files: a line of JSON with a version, a line with the SHA-256 of the first.

use std::fmt;
use std::path::Path;

use hushwire_wire::id::DeviceId;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::account::{RotationRecord, SupersededRecord};
use super::error::KeystoreError;
use super::{Peer, Relay, RelayTrust};
use crate::identity::Identity;
use crate::pairing::spoken::CodeMark;
use crate::suite::kdf::sha256;
use crate::suite::keys::StorageKey;
use crate::suite::limits::SPOKEN_BURNT_MAX;

/// The format this software writes. It reads all from 1 on.
pub(super) const VERSION: u32 = 1;
/// Room for any record, so that writing one does not grow the buffer and leave copies of keys behind.
pub(super) const RECORD_BYTES_MAX: usize = 8 * 1024;

/// A kind of file.
pub(super) trait Record: Serialize + DeserializeOwned {}

impl Record for IdentityRecord {}
impl Record for StorageRecord {}
impl Record for RelayRecord {}
impl Record for CountersRecord {}
impl Record for PeerRecord {}
impl Record for UnpairedRecord {}
impl Record for BurntRecord {}
impl Record for RotationRecord {}
impl Record for SupersededRecord {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityRecord {
    version: u32,
    device: String,
    secret: Hex32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StorageRecord {
    version: u32,
    key: Hex32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayRecord {
    version: u32,
    address: String,
    relay: String,
    /// Empty for a public authority.
    pins: Vec<Hex32>,
    account: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountersRecord {
    version: u32,
    pub(super) failed_confirmations: u64,
}

/// When the words of the backup were last given back.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupRecord {
    version: u32,
    pub(super) rehearsed_at_s: u64,
}

impl Record for BackupRecord {}

impl BackupRecord {
    pub(super) fn new(rehearsed_at_s: u64) -> Self {
        Self { version: VERSION, rehearsed_at_s }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerRecord {
    pub(super) version: u32,
    pub(super) device: String,
    pub(super) name: String,
    pub(super) pair_key: Hex32,
    pub(super) verified: VerifiedRecord,
    pub(super) verified_at_s: u64,
    pub(super) last_seen_ns: u64,
    pub(super) last_sent_ns: u64,
    pub(super) hybrid_seen: bool,
    /// Absent before there were wishes; asking the relay once more does no harm.
    #[serde(default)]
    pub(super) grant: GrantRecord,
    /// Key of ours that the pair key belongs to, once we have replaced ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ours: Option<String>,
    /// New key of ours that the peer has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) acknowledged: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GrantRecord {
    #[default]
    Wanted,
    Given,
    Withdrawn,
    None,
}

/// A device that was a peer, whose right to send the relay has not taken back yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnpairedRecord {
    version: u32,
    device: String,
}

/// Spoken codes that were tried.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BurntRecord {
    version: u32,
    codes: Vec<BurntCodeRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurntCodeRecord {
    mark: Hex32,
    until_s: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum VerifiedRecord {
    Sas,
    Camera,
    Spoken,
}

/// Only what every version of the format has.
#[derive(Deserialize)]
struct AnyRecord {
    version: u32,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    Corrupt,
    Newer(u32),
}

impl RecordError {
    pub(super) fn at(self, path: &Path) -> KeystoreError {
        match self {
            Self::Corrupt => KeystoreError::Corrupt { path: path.into() },
            Self::Newer(version) => KeystoreError::Newer { path: path.into(), version },
        }
    }
}

/// The bytes of a file.
pub(super) fn encode<R: Record>(record: &R) -> Zeroizing<Vec<u8>> {
    encode_with_room(record, RECORD_BYTES_MAX)
}

/// The bytes of a file that may be longer than others, at most `room`.
pub(super) fn encode_with_room<R: Record>(record: &R, room: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *bytes, record).expect("a record is plain data");
    push_sum(&mut bytes);
    assert!(bytes.len() <= room, "a record has a known greatest length");
    bytes
}

/// A line that anybody made, as a file. For fuzzing, which would not find the sum.
pub(super) fn with_sum(line: &[u8]) -> Vec<u8> {
    let mut bytes = line.to_vec();
    push_sum(&mut bytes);
    bytes
}

fn push_sum(bytes: &mut Vec<u8>) {
    let sum = hex(&sha256(&[bytes]));
    bytes.push(b'\n');
    bytes.extend_from_slice(&*sum);
    bytes.push(b'\n');
}

/// The record in a file. The sum is checked first, so that a newer version is not taken for damage nor damage for a
/// newer version.
pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, RecordError> {
    decode_up_to(bytes, VERSION)
}

/// The record in a file whose newest format is `known`.
pub(super) fn decode_up_to<R: Record>(bytes: &[u8], known: u32) -> Result<R, RecordError> {
    let line = intact(bytes).ok_or(RecordError::Corrupt)?;
    let any: AnyRecord = serde_json::from_slice(line).map_err(|_| RecordError::Corrupt)?;
    if any.version > known {
        return Err(RecordError::Newer(any.version));
    }
    serde_json::from_slice(line).map_err(|_| RecordError::Corrupt)
}

/// Whether this is a record of any kind and format, undamaged.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    intact(bytes).is_some()
}

/// The first line, where the second is its sum.
fn intact(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.strip_suffix(b"\n")?;
    let at = text.iter().rposition(|&byte| byte == b'\n')?;
    let (line, sum) = (&text[..at], &text[at + 1..]);
    (*sum == *hex(&sha256(&[line])).as_slice()).then_some(line)
}

impl From<&Identity> for IdentityRecord {
    fn from(identity: &Identity) -> Self {
        let device = identity.device_id().to_text();
        Self { version: VERSION, device, secret: Hex32(identity.secret()) }
    }
}

impl IdentityRecord {
    pub(super) fn into_identity(self) -> Option<Identity> {
        let identity = Identity::from_secret(&self.secret.0);
        (identity.device_id().to_text() == self.device).then_some(identity)
    }
}

impl From<&StorageKey> for StorageRecord {
    fn from(key: &StorageKey) -> Self {
        Self { version: VERSION, key: Hex32(Zeroizing::new(*key.as_bytes())) }
    }
}

impl StorageRecord {
    pub(super) fn into_key(self) -> StorageKey {
        StorageKey::new(*self.key.0)
    }
}

impl From<&Relay> for RelayRecord {
    fn from(relay: &Relay) -> Self {
        let pins = match &relay.trust {
            RelayTrust::Pins(pins) => pins.iter().map(|pin| Hex32(Zeroizing::new(*pin))).collect(),
            RelayTrust::PublicCa => Vec::new(),
        };
        Self {
            version: VERSION,
            address: relay.address.clone(),
            relay: relay.relay.to_text(),
            pins,
            account: relay.account.clone(),
        }
    }
}

impl RelayRecord {
    pub(super) fn into_relay(self) -> Option<Relay> {
        let trust = if self.pins.is_empty() {
            RelayTrust::PublicCa
        } else {
            RelayTrust::Pins(self.pins.iter().map(|pin| *pin.0).collect())
        };
        let (address, account) = (self.address, self.account);
        let relay = Relay { address, trust, relay: self.relay.parse().ok()?, account };
        relay.check().is_ok().then_some(relay)
    }
}

impl CountersRecord {
    pub(super) fn new(failed_confirmations: u64) -> Self {
        Self { version: VERSION, failed_confirmations }
    }
}

impl UnpairedRecord {
    pub(super) fn new(device: &DeviceId) -> Self {
        Self { version: VERSION, device: device.to_text() }
    }

    pub(super) fn into_device(self) -> Option<DeviceId> {
        self.device.parse().ok()
    }
}

impl BurntRecord {
    pub(super) fn new(codes: &[(CodeMark, u64)]) -> Self {
        let code = |(mark, until_s): &(CodeMark, u64)| BurntCodeRecord {
            mark: Hex32(Zeroizing::new(*mark.as_bytes())),
            until_s: *until_s,
        };
        Self { version: VERSION, codes: codes.iter().map(code).collect() }
    }

    pub(super) fn into_codes(self) -> Option<Vec<(CodeMark, u64)>> {
        let code = |code: BurntCodeRecord| (CodeMark::new(*code.mark.0), code.until_s);
        let codes: Vec<_> = self.codes.into_iter().map(code).collect();
        (codes.len() <= SPOKEN_BURNT_MAX).then_some(codes)
    }
}

impl From<&Peer> for PeerRecord {
    fn from(peer: &Peer) -> Self {
        peer.to_record(VERSION)
    }
}

impl PeerRecord {
    pub(super) fn into_peer(self) -> Option<Peer> {
        Peer::from_record(self)
    }
}

/// 32 bytes, in a file as 64 hexadecimal digits.
pub(super) struct Hex32(pub(super) Zeroizing<[u8; 32]>);

impl Serialize for Hex32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = hex(&self.0);
        serializer.serialize_str(std::str::from_utf8(&*digits).expect("digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Hex32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex32, E> {
                unhex(text).ok_or_else(|| E::custom("not 64 hexadecimal digits"))
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

/// Bytes of any number, in a file as twice as many hexadecimal digits.
pub(super) struct HexBytes(pub(super) Zeroizing<Vec<u8>>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = Zeroizing::new(String::with_capacity(2 * self.0.len()));
        for byte in self.0.iter() {
            digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
            digits.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = HexBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an even number of hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HexBytes, E> {
                let (pairs, rest) = text.as_bytes().as_chunks::<2>();
                let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
                for pair in pairs {
                    bytes.extend(undigit(pair[0]).zip(undigit(pair[1])).map(|(a, b)| a << 4 | b));
                }
                if rest.is_empty() && bytes.len() == pairs.len() {
                    Ok(HexBytes(bytes))
                } else {
                    Err(E::custom("not hexadecimal digits"))
                }
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

fn undigit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        0..=u8::MAX => None,
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8; 32]) -> Zeroizing<[u8; 64]> {
    let mut digits = Zeroizing::new([0; 64]);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

fn unhex(text: &str) -> Option<Hex32> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    let value = |digit| DIGITS.iter().position(|&known| known == digit);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(Hex32(bytes))
}
