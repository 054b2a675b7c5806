//! Pieces of two outputs on one stream: a byte that says which, the length as u32, the bytes.

use std::io;

use hushwire::client::{StreamReader, StreamWriter};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) const PIECE_BYTES_MAX: usize = 16 * 1024;

/// `bytes` has at most [`PIECE_BYTES_MAX`].
pub(crate) async fn write_piece(
    writer: &mut StreamWriter,
    kind: u8,
    bytes: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    writer.write_u8(kind).await?;
    writer.write_u32(length).await?;
    writer.write_all(bytes).await
}

pub(crate) async fn read_piece(reader: &mut StreamReader) -> io::Result<(u8, Vec<u8>)> {
    let (kind, length) = (reader.read_u8().await?, reader.read_u32().await? as usize);
    if length > PIECE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece is too large"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok((kind, bytes))
}

/// Writes what comes from two sources, as it comes, until both have ended.
pub(crate) async fn merge(
    (mut one, kind_of_one): (impl AsyncRead + Unpin, u8),
    (mut other, kind_of_other): (impl AsyncRead + Unpin, u8),
    writer: &mut StreamWriter,
) -> io::Result<()> {
    let (mut from_one, mut from_other) = (vec![0; PIECE_BYTES_MAX], vec![0; PIECE_BYTES_MAX]);
    let (mut one_open, mut other_open) = (true, true);
    while one_open || other_open {
        let (kind, bytes, is_open) = tokio::select! {
            count = one.read(&mut from_one), if one_open => {
                (kind_of_one, &from_one[..count?], &mut one_open)
            }
            count = other.read(&mut from_other), if other_open => {
                (kind_of_other, &from_other[..count?], &mut other_open)
            }
        };
        *is_open = !bytes.is_empty();
        write_piece(writer, kind, bytes).await?;
    }
    Ok(())
}
