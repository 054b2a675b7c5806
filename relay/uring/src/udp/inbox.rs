//! What was received.

use std::array;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::RecvMeta;

use crate::limits::{INBOX_BUFFER_BYTES, INBOX_BUFFERS};

/// Buffers to receive into, [`INBOX_BUFFERS`] of [`INBOX_BUFFER_BYTES`] bytes each, and what the
/// last receive put there. Made once for each shard, which reads all of its UDP sockets into the
/// same one.
pub struct Inbox {
    buffers: Box<[u8]>,
    /// Of as many buffers as `filled` says; the rest is old.
    metas: [RecvMeta; INBOX_BUFFERS],
    filled: usize,
}

/// One datagram.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it, as an answer is sent to: IPv4-mapped on an IPv6 socket.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to: what the answer says in
    /// [`Outgoing::from`](super::Outgoing::from).
    pub to: Option<IpAddr>,
    /// Its congestion mark (ECN, two bits), never `Some(0)`.
    pub ecn: Option<u8>,
    /// What it carries; may be empty.
    pub bytes: &'a [u8],
}

impl Inbox {
    /// Empty buffers. The kernel gives them memory when they are first used.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffers: vec![0; INBOX_BUFFERS * INBOX_BUFFER_BYTES].into_boxed_slice(),
            metas: [RecvMeta::default(); INBOX_BUFFERS],
            filled: 0,
        }
    }

    /// The size of the buffers together, whatever is in them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffers.len()
    }

    /// The datagrams of the last receive, in the order of arrival. What the kernel had joined (GRO)
    /// is cut apart.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let buffers = self.buffers.chunks_exact(INBOX_BUFFER_BYTES);
        self.metas[..self.filled].iter().zip(buffers).flat_map(|(meta, buffer)| {
            cut(&buffer[..meta.len], meta.stride).map(|bytes| Datagram {
                from: meta.addr,
                to: meta.dst_ip,
                ecn: meta.ecn.map(|mark| mark as u8),
                bytes,
            })
        })
    }

    /// Empties it and lets `receive` fill it: that gets the buffers and what goes with each, and
    /// returns how many it has used.
    pub(super) fn fill(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.filled = 0;
        let mut rest = &mut *self.buffers;
        let mut slices: [_; INBOX_BUFFERS] = array::from_fn(|_| {
            let (buffer, after) = std::mem::take(&mut rest).split_at_mut(INBOX_BUFFER_BYTES);
            rest = after;
            IoSliceMut::new(buffer)
        });
        self.filled = receive(&mut slices, &mut self.metas)?;
        Ok(())
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Datagrams of `stride` bytes, of which the last may be shorter.
fn cut(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    // An empty datagram has no piece, but it came.
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(stride.max(1)))
}

/// Without what was received, and from whom.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// Likewise.
impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("ecn", &self.ecn)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_datagrams_are_cut_apart() {
        #[track_caller]
        fn check(bytes: &str, stride: usize, expect: &[&str]) {
            let pieces: Vec<_> = cut(bytes.as_bytes(), stride).collect();
            assert_eq!(pieces, expect.iter().map(|piece| piece.as_bytes()).collect::<Vec<_>>());
        }
        check("", 0, &[""]);
        check("", 5, &[""]);
        check("abc", 3, &["abc"]);
        check("abc", 5, &["abc"]);
        check("abcdef", 3, &["abc", "def"]);
        check("abcdefg", 3, &["abc", "def", "g"]);
    }
}
