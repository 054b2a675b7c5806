//! The sealed stage of a connection's egress: the bytes of the next send.
//!
//! Records are sealed into a buffer from a pool that hands out the one used last, so that it is still in the cache; it
//! grows with what is sealed into it. What one non-blocking send does not take is copied to size and finished by the
//! ring; what is sealed meanwhile waits behind it. The engine bounds all of it ([`Charge`]).

use std::os::fd::BorrowedFd;

use hushwire_uring::sockets;

use crate::shard::limits::{
    OUTPUT_BUFFER_BYTES_MAX, OUTPUT_BUFFER_BYTES_MIN, OUTPUT_BUFFERS_KEPT_MAX,
};

/// What the engine has charged for bytes that have not left.
pub(crate) type Charge = usize;

/// A buffer to seal into: initialised once, filled many times.
#[derive(Debug)]
pub(crate) struct OutputBuffer {
    /// All of it is initialised.
    bytes: Vec<u8>,
    used: usize,
}

impl OutputBuffer {
    /// Whether it may grow until it has room for so many bytes more.
    const fn takes(&self, room: usize) -> bool {
        self.used + room <= OUTPUT_BUFFER_BYTES_MAX
    }

    /// The part to fill, at least so long. A buffer that has grown stays so: whoever takes it next is in need of as much, mostly.
    #[inline]
    fn room(&mut self, room: usize) -> &mut [u8] {
        let needed = self.used + room;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
        &mut self.bytes[self.used..]
    }
}

/// The buffers of one shard, the one used last on top.
#[derive(Debug, Default)]
pub(crate) struct OutputPool {
    free: Vec<OutputBuffer>,
    /// The fewest that were free since the last trim.
    spare: usize,
}

impl OutputPool {
    fn take(&mut self) -> OutputBuffer {
        let buffer = self
            .free
            .pop()
            .unwrap_or_else(|| OutputBuffer { bytes: vec![0; OUTPUT_BUFFER_BYTES_MIN], used: 0 });
        self.spare = self.spare.min(self.free.len());
        buffer
    }

    /// Gives up what nobody has needed since the last time: a moment in which everybody had output leaves nothing behind.
    pub(crate) fn trim(&mut self) {
        self.free.drain(..self.spare);
        self.spare = self.free.len();
    }

    fn put(&mut self, mut buffer: OutputBuffer) {
        if self.free.len() < OUTPUT_BUFFERS_KEPT_MAX {
            buffer.used = 0;
            self.free.push(buffer);
        }
    }
}

/// The sealed bytes of one connection, in order: in flight, behind it, being sealed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// A send that the ring is finishing: bytes and charge.
    in_flight: Option<(usize, Charge)>,
    /// What was sealed while a send was in flight, to size.
    behind: Vec<u8>,
    behind_charge: Charge,
    sealing: Option<OutputBuffer>,
    sealing_charge: Charge,
    /// The kernel may hold back the end of what it was given.
    held_back: bool,
}

/// Whether more follows before the turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Perhaps: what does not fill a segment can wait for it.
    More,
    /// Not that anybody knew.
    Nothing,
}

/// What a flush came to.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// Everything has left; the engine gets the charge back.
    All(Charge),
    /// The kernel is full: the ring must finish this.
    Short(Vec<u8>),
    /// A send is in flight; its completion goes on.
    Waiting,
    /// The connection is over.
    Broken,
}

impl Outbox {
    /// Whether the ring is finishing a send.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether everything has been given to the kernel.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.behind.is_empty() && self.sealing.is_none()
    }

    /// Bytes sealed since the last flush.
    pub(crate) fn sealing_len(&self) -> usize {
        self.sealing.as_ref().map_or(0, |buffer| buffer.used)
    }

    /// Offers at least `room` bytes to `seal`, which says how many it filled.
    pub(crate) fn seal<E>(
        &mut self,
        pool: &mut OutputPool,
        room: usize,
        charge: Charge,
        seal: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if self.sealing.as_ref().is_some_and(|buffer| !buffer.takes(room)) {
            self.put_behind(pool);
        }
        let buffer = self.sealing.get_or_insert_with(|| pool.take());
        let sealed = seal(buffer.room(room))?;
        buffer.used += sealed;
        self.sealing_charge += charge;
        Ok(sealed)
    }

    /// Appends bytes that are sealed already: those of a handshake.
    pub(crate) fn append(&mut self, pool: &mut OutputPool, bytes: &[u8]) {
        let copied: Result<usize, std::convert::Infallible> =
            self.seal(pool, bytes.len(), 0, |room| {
                room[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            });
        let Ok(_) = copied;
    }

    fn put_behind(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            // To size: many connections that do not read may each keep one.
            self.behind.reserve_exact(buffer.used);
            self.behind.extend_from_slice(&buffer.bytes[..buffer.used]);
            self.behind_charge += std::mem::take(&mut self.sealing_charge);
            pool.put(buffer);
        }
    }

    /// Sends what the kernel takes at once.
    pub(crate) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        pool: &mut OutputPool,
        follows: Follows,
    ) -> Flushed {
        if self.in_flight.is_some() {
            self.put_behind(pool);
            return Flushed::Waiting;
        }
        if !self.behind.is_empty() {
            self.put_behind(pool);
            let charge = std::mem::take(&mut self.behind_charge);
            let behind = std::mem::take(&mut self.behind);
            return self.send(socket, charge, &behind, follows);
        }
        let Some(buffer) = self.sealing.take() else {
            if follows == Follows::Nothing && std::mem::take(&mut self.held_back) {
                // A socket that is already dead has nothing to let go.
                let _dead = sockets::push(socket);
            }
            return Flushed::All(0);
        };
        let charge = std::mem::take(&mut self.sealing_charge);
        let flushed = self.send(socket, charge, &buffer.bytes[..buffer.used], follows);
        pool.put(buffer);
        flushed
    }

    /// Sends bytes that are sealed elsewhere, while nothing is in here.
    pub(crate) fn send_past(
        &mut self,
        socket: BorrowedFd<'_>,
        charge: Charge,
        sealed: &[u8],
        follows: Follows,
    ) -> Flushed {
        assert!(self.is_empty(), "nothing overtakes what waits");
        self.send(socket, charge, sealed, follows)
    }

    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        charge: Charge,
        bytes: &[u8],
        follows: Follows,
    ) -> Flushed {
        self.held_back = follows == Follows::More;
        let sent = match follows {
            Follows::More => sockets::send_more(socket, bytes),
            Follows::Nothing => sockets::send(socket, bytes),
        };
        match sent {
            Ok(sent) if sent == bytes.len() => Flushed::All(charge),
            Ok(sent) => {
                // The ring sends the rest, and holds nothing back.
                self.held_back = false;
                self.in_flight = Some((bytes.len() - sent, charge));
                Flushed::Short(bytes[sent..].to_vec())
            }
            Err(_) => Flushed::Broken,
        }
    }

    /// The ring finished a send of `sent` bytes. Returns its charge, or `None` where the connection broke.
    pub(crate) fn finished(&mut self, sent: std::io::Result<usize>) -> Option<Charge> {
        let (expected, charge) = self.in_flight.take()?;
        sent.is_ok_and(|sent| sent == expected).then_some(charge)
    }

    /// The ring did not take the send that [`Flushed::Short`] asked for.
    pub(crate) fn not_sent(&mut self) {
        self.in_flight = None;
    }

    /// Gives the pooled buffer back before the connection goes.
    pub(crate) fn release(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            pool.put(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_one_moment_needed_are_freed_and_the_rest_is_kept() {
        let mut pool = OutputPool::default();
        let use_many = |pool: &mut OutputPool, count: usize| {
            let taken: Vec<_> = (0..count).map(|_| pool.take()).collect();
            taken.into_iter().for_each(|buffer| pool.put(buffer));
        };
        use_many(&mut pool, OUTPUT_BUFFERS_KEPT_MAX + 5);
        assert_eq!(pool.free.len(), OUTPUT_BUFFERS_KEPT_MAX);
        pool.trim();
        assert_eq!(pool.free.len(), OUTPUT_BUFFERS_KEPT_MAX, "they were needed");
        for _ in 0..3 {
            use_many(&mut pool, 4);
            pool.trim();
            assert_eq!(pool.free.len(), 4);
        }
        pool.trim();
        assert!(pool.free.is_empty(), "nobody has needed any");
    }

    #[test]
    fn a_buffer_grows_to_what_is_sealed_into_it_and_no_further() {
        let (mut pool, mut outbox) = (OutputPool::default(), Outbox::default());
        let piece = 1_000;
        for count in 1..=OUTPUT_BUFFER_BYTES_MAX / piece {
            outbox.append(&mut pool, &vec![count as u8; piece]);
            let size = outbox.sealing.as_ref().map_or(0, |buffer| buffer.bytes.len());
            let expected = (count * piece).next_power_of_two().max(OUTPUT_BUFFER_BYTES_MIN);
            assert_eq!(size, expected, "{count} pieces");
        }
        assert!(outbox.behind.is_empty());
        outbox.append(&mut pool, &vec![0; piece]);
        assert_eq!(outbox.behind.len(), OUTPUT_BUFFER_BYTES_MAX / piece * piece);
        let pieces: Vec<u8> = outbox.behind.chunks(piece).map(|piece| piece[0]).collect();
        assert_eq!(
            pieces,
            (1..=OUTPUT_BUFFER_BYTES_MAX / piece).map(|it| it as u8).collect::<Vec<_>>()
        );
    }
}
