//! Files over streams: a short head, then the bytes, then the stream's authenticated end.
//!
//! The head is `length(u16, little-endian) ‖ JSON {"name", "size"}`. A stream without it is refused. A
//! file appears under its name only when it is whole: until then it is a hidden file beside it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hushwire_wire::text;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 4_096;
/// Longest file name that is used, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Bytes copied at a time.
const PART_BYTES: usize = 256 * 1024;
/// Files of one name before a receiver gives up looking for a free one.
const COPIES_MAX: u32 = 10_000;

/// What stands before the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The file's name at the sender; what is used of it is decided by the receiver.
    pub name: String,
    /// Its size, where the sender knew it.
    pub size: Option<u64>,
}

/// What was transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes without the head.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Sends `head` and all of `content`, then the end; returns when the peer has read everything.
///
/// # Errors
/// The content cannot be read, or the stream broke.
pub async fn send<R, W>(
    head: &Head,
    mut content: R,
    stream: &mut W,
    mut progress: impl FnMut(u64),
) -> Result<Transferred>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let head = serde_json::to_vec(head)?;
    if head.len() > HEAD_BYTES_MAX {
        bail!("the file's name is too long to be sent");
    }
    stream.write_u16_le(head.len() as u16).await?;
    stream.write_all(&head).await?;
    let transferred = copy(&mut content, stream, &mut progress).await?;
    stream.shutdown().await.context("the peer did not take everything")?;
    Ok(transferred)
}

/// Reads the head of a stream.
///
/// # Errors
/// The stream is no file: its first bytes are no head.
pub async fn head<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Head> {
    const NO_FILE: &str = "the peer sent a stream that is no file";
    let length = usize::from(stream.read_u16_le().await.context(NO_FILE)?);
    if length > HEAD_BYTES_MAX {
        bail!(NO_FILE);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.context(NO_FILE)?;
    serde_json::from_slice(&bytes).context(NO_FILE)
}

/// Receives what follows a head into `directory`, under a name of its own there. The file is there whole
/// or not at all.
///
/// # Errors
/// The stream was cut short, its size is not the announced one, or the file cannot be written.
pub async fn receive<R: AsyncRead + Unpin>(
    head: &Head,
    stream: &mut R,
    directory: &Path,
    mut progress: impl FnMut(u64),
) -> Result<(PathBuf, Transferred)> {
    let part = tempfile::Builder::new().prefix(".hush-").suffix(".part").tempfile_in(directory);
    let part = part.with_context(|| format!("cannot write into {}", directory.display()))?;
    let mut file = fs::File::from_std(part.reopen()?);
    let transferred = copy(stream, &mut file, &mut progress).await?;
    if head.size.is_some_and(|size| size != transferred.bytes) {
        bail!("the peer announced another size than it sent");
    }
    file.sync_all().await?;
    let path = keep(part, directory, &safe_name(&head.name))?;
    Ok((path, transferred))
}

async fn copy<R, W>(from: &mut R, to: &mut W, progress: &mut impl FnMut(u64)) -> Result<Transferred>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut part = vec![0; PART_BYTES];
    loop {
        let read = from.read(&mut part).await?;
        if read == 0 {
            to.flush().await?;
            return Ok(Transferred { bytes, sha256: hash.finalize().into() });
        }
        hash.update(&part[..read]);
        to.write_all(&part[..read]).await?;
        bytes += read as u64;
        progress(bytes);
    }
}

/// Gives a whole file its name, or the next free one like it.
fn keep(mut part: tempfile::NamedTempFile, directory: &Path, name: &str) -> Result<PathBuf> {
    for copy in 0..COPIES_MAX {
        let path = directory.join(numbered(name, copy));
        match part.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => part = error.file,
            Err(error) => return Err(error.error).context("cannot name the received file"),
        }
    }
    bail!("there are too many files called {name:?}")
}

fn numbered(name: &str, copy: u32) -> String {
    match (copy, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, ending))) if !stem.is_empty() => format!("{stem} ({copy}).{ending}"),
        _ => format!("{name} ({copy})"),
    }
}

/// A peer's file name as this side uses it: no folders, nothing hidden, nothing a terminal obeys.
#[must_use]
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = text::plain(last, NAME_BYTES_MAX);
    let name = plain.trim().trim_start_matches('.');
    if name.is_empty() { "received".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peers_stay_where_they_belong() {
        let table = [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\windows\\system.ini", "system.ini"),
            (".bashrc", "bashrc"),
            ("..", "received"),
            ("", "received"),
            ("a/", "received"),
        ];
        for (name, expect) in table {
            assert_eq!(safe_name(name), expect, "{name:?}");
        }
        assert!(!safe_name("evil\u{1b}[2Jname").contains('\u{1b}'));
        assert!(safe_name(&"x".repeat(1_000)).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn a_second_file_of_a_name_gets_a_number() {
        for (name, copy, expect) in [
            ("a.txt", 0, "a.txt"),
            ("a.txt", 2, "a (2).txt"),
            ("a", 1, "a (1)"),
            (".a", 1, ".a (1)"),
        ] {
            assert_eq!(numbered(name, copy), expect);
        }
    }

    #[tokio::test]
    async fn a_file_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let content = vec![7; 1_000_000];
        let head = Head { name: "x/y.bin".into(), size: Some(content.len() as u64) };
        let mut wire = Vec::new();
        let sent = send(&head, content.as_slice(), &mut wire, |_| {}).await.expect("it is sent");

        let mut stream = wire.as_slice();
        let found = super::head(&mut stream).await.expect("a head");
        let (path, received) =
            receive(&found, &mut stream, directory.path(), |_| {}).await.expect("a file");
        assert_eq!((path.file_name(), &received), (Some("y.bin".as_ref()), &sent));

        let mut cut = &wire[..wire.len() - 1];
        let found = super::head(&mut cut).await.expect("a head");
        assert!(receive(&found, &mut cut, directory.path(), |_| {}).await.is_err());
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
        assert!(super::head(&mut [0xff, 0xff, 1].as_slice()).await.is_err());
        assert!(super::head(&mut [2, 0, b'{', b'!'].as_slice()).await.is_err());
    }
}
