//! The client's records after rustls' handshake: cheap for the generator, and openable one in many.

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use hushwire_relay::transport::limits::{
    RECORD_HEADER_BYTES, RECORD_PLAIN_BYTES_MAX, RECORD_TAG_BYTES,
};
use hushwire_relay::transport::record_len;
use rustls::ConnectionTrafficSecrets;

/// The inner type of application data (RFC 8446 §5.2).
pub(crate) const APPLICATION_DATA: u8 = 23;
/// The inner type of handshake messages.
pub(crate) const HANDSHAKE: u8 = 22;
/// The inner type of alerts.
pub(crate) const ALERT: u8 = 21;

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    sequence: u64,
}

impl Direction {
    /// What rustls hands out.
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                Self::of(&AES_128_GCM, key.as_ref(), iv.as_ref(), sequence)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                Self::of(&AES_256_GCM, key.as_ref(), iv.as_ref(), sequence)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                Self::of(&CHACHA20_POLY1305, key.as_ref(), iv.as_ref(), sequence)
            }
            _ => bail!("the server chose a cipher suite that was not offered"),
        }
    }

    fn of(algorithm: &'static Algorithm, key: &[u8], iv: &[u8], sequence: u64) -> Result<Self> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| anyhow!("an unusable key"))?;
        let iv = iv.try_into().context("an IV of the wrong length")?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    fn nonce(&self, sequence: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, mask) in nonce[NONCE_LEN - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= mask;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends `cell` to `out`: one record, or two for a cell of 32 KiB.
    pub(crate) fn seal(&mut self, cell: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for plain in cell.chunks(RECORD_PLAIN_BYTES_MAX) {
            let start = out.len();
            let total = record_len(plain.len());
            out.resize(start + total, 0);
            let [high, low] = ((total - RECORD_HEADER_BYTES) as u16).to_be_bytes();
            let header = [APPLICATION_DATA, 3, 3, high, low];
            out[start..start + RECORD_HEADER_BYTES].copy_from_slice(&header);
            let body = &mut out[start + RECORD_HEADER_BYTES..];
            let (sealed, rest) = body.split_at_mut(plain.len());
            let nonce = self.nonce(self.sequence);
            let kind = [APPLICATION_DATA];
            self.key
                .seal_out_of_place_scatter(nonce, Aad::from(header), plain, sealed, &kind, rest)
                .map_err(|_| anyhow!("sealing failed"))?;
            self.sequence += 1;
        }
        Ok(())
    }

    /// Passes over a record without opening it.
    #[inline]
    pub(crate) fn skip(&mut self) {
        self.sequence += 1;
    }

    /// Opens a whole record in place: its type and content.
    pub(crate) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<(u8, &'a [u8])> {
        let (header, body) = record
            .split_first_chunk_mut::<RECORD_HEADER_BYTES>()
            .context("a record without a header")?;
        let nonce = self.nonce(self.sequence);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(*header), body)
            .map_err(|_| anyhow!("a record from the server does not authenticate"))?;
        self.sequence += 1;
        let end = plain.iter().rposition(|&byte| byte != 0).context("a record of zeros")?;
        Ok((plain[end], &plain[..end]))
    }
}

/// Takes the content of a record that is not application data, and fails where a run cannot go on.
#[cold]
pub(crate) fn control(kind: u8, content: &[u8]) -> Result<()> {
    match (kind, content) {
        (HANDSHAKE, [24, ..]) => {
            bail!("the server updated its keys, which the generator cannot follow: shorten the run")
        }
        (HANDSHAKE, _) => Ok(()),
        (ALERT, [_, description]) => bail!("the server sent TLS alert {description}"),
        (kind, _) => bail!("the server sent a record of type {kind}"),
    }
}

/// The length of the record at the front of `bytes`, if all of it is there.
#[inline]
pub(crate) fn whole(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(&[kind, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != APPLICATION_DATA || length > RECORD_PLAIN_BYTES_MAX + 1 + RECORD_TAG_BYTES {
        bail!("the server sent something that is no encrypted record");
    }
    let total = RECORD_HEADER_BYTES + length;
    Ok((bytes.len() >= total).then_some(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Direction, Direction) {
        let new = || Direction::of(&AES_128_GCM, &[7; 16], &[9; 12], 3).unwrap();
        (new(), new())
    }

    #[test]
    fn cells_are_opened_as_they_were_sealed_also_after_skipping() {
        let (mut sealing, mut opening) = pair();
        let mut wire = Vec::new();
        for fill in 1..=3 {
            sealing.seal(&[fill; 256], &mut wire).unwrap();
        }
        opening.skip();
        opening.skip();
        let mut third = wire.split_off(2 * record_len(256));
        assert_eq!(whole(&third).unwrap(), Some(record_len(256)));
        assert_eq!(opening.open(&mut third).unwrap(), (APPLICATION_DATA, &[3; 256][..]));
    }

    #[test]
    fn the_largest_cell_takes_two_records() {
        let (mut sealing, _) = pair();
        let mut wire = Vec::new();
        sealing.seal(&[1; 32_768], &mut wire).unwrap();
        assert_eq!(wire.len(), 2 * record_len(16_384));
        assert_eq!(whole(&wire).unwrap(), Some(record_len(16_384)));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let (mut sealing, mut opening) = pair();
        let mut wire = Vec::new();
        sealing.seal(&[1; 256], &mut wire).unwrap();
        assert_eq!(whole(&wire[..4]).unwrap(), None);
        assert_eq!(whole(&wire[..wire.len() - 1]).unwrap(), None);
        wire[100] ^= 1;
        assert!(opening.open(&mut wire).is_err());
        assert!(whole(b"HTTP/1.1").is_err());
        assert!(whole(&[23, 3, 3, 255, 255]).is_err());
    }
}
