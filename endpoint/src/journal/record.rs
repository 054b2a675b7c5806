//! Header and records of the file, and the keys they are sealed under.
//!
//! ```text
//! header   magic(8) ‖ version(4) ‖ salt(32) ‖ check(16) ‖ sum(16)
//! record   length(4) ‖ nonce(12) ‖ mark(8) ‖ ciphertext(length)
//!
//! prk      Extract(salt, storage key)
//! check    Expand(prk, "hw1 journal check", magic ‖ version, 16): another key is told from damage
//! sum      SHA-256(all before)[..16]
//! mark     HMAC(Expand(prk, "hw1 journal mark"), position(8) ‖ length ‖ nonce)[..8]
//! ciphertext   AES-256-GCM under Expand(prk, "hw1 journal seal"), AAD = position(8) ‖ length ‖ chain(16)
//! chain    the tag of the record before; of the first one: check
//! ```
//!
//! Numbers are little-endian; `length` counts the tag, `position` is that of the record in the file. The mark tells a
//! length that was written from one that was damaged before anything is done with it. The chain fixes all records
//! before, so none can be exchanged, left out, repeated, moved, or taken from a copy of the file that went another
//! way. Nonces are random rather than counted: a place in the file is written twice where a write failed, or where the
//! file was restored from a backup, and a counter would then repeat under the same key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::limits::BATCH_BYTES_MAX;
use crate::suite::kdf::{self, Key};
use crate::suite::keys::StorageKey;
use crate::suite::random::{Random, draw};

const MAGIC: [u8; 8] = *b"HWJOURNL";
const VERSION: u32 = 1;
const BEGINNING_LEN: usize = 12;
const SALT_LEN: usize = 32;
pub(super) const TAG_LEN: usize = 16;
const MARK_LEN: usize = 8;
/// Bytes of the header.
pub(super) const HEADER_LEN: usize = BEGINNING_LEN + SALT_LEN + 2 * TAG_LEN;
/// Bytes of a record before its ciphertext.
pub(super) const HEAD_LEN: usize = 4 + NONCE_LEN + MARK_LEN;

/// Bytes of a record with a plaintext of `length` bytes.
pub(super) const fn sealed_len(length: usize) -> u64 {
    (HEAD_LEN + length + TAG_LEN) as u64
}

/// What every record after it depends on.
pub(super) type Chain = [u8; TAG_LEN];

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Another kind of file.
    NotAJournal,
    /// A newer version wrote it.
    Newer(u32),
    /// It is not what was written.
    Damaged,
    /// It is, under another key.
    WrongKey,
}

/// The keys of one file.
pub(super) struct FileKey {
    seal: LessSafeKey,
    mark: Key,
    /// The chain before the first record.
    check: Chain,
}

/// A record as it is written.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) chain: Chain,
}

/// The beginning of a record, which was written as it is.
pub(super) struct Head {
    /// Bytes of the ciphertext.
    pub(super) length: usize,
    nonce: [u8; NONCE_LEN],
}

/// A ciphertext is not what was written. It has been overwritten in memory.
#[derive(Debug)]
pub(super) struct Unauthentic;

/// A header for a new file, and its keys.
pub(super) fn new_header(key: &StorageKey, random: &mut dyn Random) -> (Vec<u8>, FileKey) {
    let salt: [u8; SALT_LEN] = draw(random);
    let file_key = FileKey::derive(key, &salt);
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(&beginning());
    header.extend_from_slice(&salt);
    header.extend_from_slice(&file_key.check);
    let sum = kdf::sha256(&[&header]);
    header.extend_from_slice(&sum[..TAG_LEN]);
    (header, file_key)
}

/// Reads a header, of which a file that is shorter has only the beginning.
pub(super) fn read_header(header: &[u8], key: &StorageKey) -> Result<FileKey, HeaderError> {
    let (magic, rest) = header.split_first_chunk::<8>().ok_or(HeaderError::NotAJournal)?;
    if *magic != MAGIC {
        return Err(HeaderError::NotAJournal);
    }
    let (version, _) = rest.split_first_chunk().ok_or(HeaderError::Damaged)?;
    match u32::from_le_bytes(*version) {
        // There was no version before the first.
        0 => return Err(HeaderError::Damaged),
        VERSION => {}
        newer => return Err(HeaderError::Newer(newer)),
    }
    let header: &[u8; HEADER_LEN] = header.try_into().map_err(|_| HeaderError::Damaged)?;
    let (content, sum) = header.split_at(HEADER_LEN - TAG_LEN);
    if kdf::sha256(&[content])[..TAG_LEN] != *sum {
        return Err(HeaderError::Damaged);
    }
    let (salt, check) = content[BEGINNING_LEN..].split_at(SALT_LEN);
    let file_key = FileKey::derive(key, salt);
    if bool::from(file_key.check.ct_eq(check)) { Ok(file_key) } else { Err(HeaderError::WrongKey) }
}

fn beginning() -> [u8; BEGINNING_LEN] {
    let mut bytes = [0; BEGINNING_LEN];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

impl FileKey {
    fn derive(key: &StorageKey, salt: &[u8]) -> Self {
        let prk = kdf::extract(salt, &[key.as_bytes()]);
        let seal = kdf::expand(&prk, "hw1 journal seal", b"");
        let seal = UnboundKey::new(&AES_256_GCM, seal.as_slice()).expect("the AEAD takes 32 bytes");
        let mut check = [0; TAG_LEN];
        kdf::expand_into(&prk, "hw1 journal check", &beginning(), &mut check);
        let mark = kdf::expand(&prk, "hw1 journal mark", b"");
        Self { seal: LessSafeKey::new(seal), mark, check }
    }

    /// The chain before the first record.
    pub(super) const fn first_chain(&self) -> Chain {
        self.check
    }

    /// Makes the record at `position`, whose plaintext is `length` bytes that `fill` appends.
    pub(super) fn seal(
        &self,
        position: u64,
        chain: &Chain,
        length: usize,
        random: &mut dyn Random,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Sealed {
        let nonce: [u8; NONCE_LEN] = draw(random);
        let sealed_len = u32::try_from(length + TAG_LEN).expect("batches have a limit");
        // Wiped should anything below panic; allocated once, so that growing leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD_LEN + length + TAG_LEN));
        bytes.extend_from_slice(&sealed_len.to_le_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&self.mark(position, sealed_len, &nonce));
        fill(&mut bytes);
        assert_eq!(bytes.len(), HEAD_LEN + length, "a batch is as long as it was said to be");
        let aad = Aad::from(associated(position, sealed_len, chain));
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self.seal.seal_in_place_separate_tag(unique, aad, &mut bytes[HEAD_LEN..]);
        let tag = tag.expect("a batch is shorter than what the AEAD takes");
        let chain = tag.as_ref().try_into().expect("the tag has 16 bytes");
        bytes.extend_from_slice(tag.as_ref());
        Sealed { bytes: std::mem::take(&mut bytes), chain }
    }

    /// Reads the beginning of the record at `position`; `None` where it is not what was written there.
    pub(super) fn open_head(&self, position: u64, head: &[u8; HEAD_LEN]) -> Option<Head> {
        let (length, rest) = head.split_first_chunk()?;
        let (nonce, mark) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        let bounded = (length as usize).checked_sub(TAG_LEN)? <= BATCH_BYTES_MAX;
        let authentic = bool::from(self.mark(position, length, nonce).ct_eq(mark));
        (bounded && authentic).then_some(Head { length: length as usize, nonce: *nonce })
    }

    /// Opens the ciphertext behind `head` in place and moves the chain on.
    pub(super) fn open<'a>(
        &self,
        position: u64,
        chain: &mut Chain,
        head: &Head,
        ciphertext: &'a mut [u8],
    ) -> Result<&'a [u8], Unauthentic> {
        let length = u32::try_from(head.length).map_err(|_| Unauthentic)?;
        let next = *ciphertext.last_chunk().ok_or(Unauthentic)?;
        let aad = Aad::from(associated(position, length, chain));
        let unique = Nonce::assume_unique_for_key(head.nonce);
        let opened = self.seal.open_in_place(unique, aad, ciphertext);
        let plaintext = opened.map_err(|_| Unauthentic)?;
        *chain = next;
        Ok(plaintext)
    }

    fn mark(&self, position: u64, length: u32, nonce: &[u8; NONCE_LEN]) -> [u8; MARK_LEN] {
        let parts: [&[u8]; 3] = [&position.to_le_bytes(), &length.to_le_bytes(), nonce];
        let mut mark = [0; MARK_LEN];
        mark.copy_from_slice(&kdf::hmac(self.mark.as_slice(), &parts)[..MARK_LEN]);
        mark
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(..)")
    }
}

fn associated(position: u64, length: u32, chain: &Chain) -> [u8; 8 + 4 + TAG_LEN] {
    let mut bytes = [0; 8 + 4 + TAG_LEN];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..].copy_from_slice(chain);
    bytes
}
