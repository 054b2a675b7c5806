//! The carrier of dialects over TLS: a socket for every device.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, bail};
use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{Completion, Interest, Kind as Purpose, Ring, Token};

use super::carrier::{Carrier, Heard};
use super::dialect::{Message, News, Speaker};
use super::records::whole;
use crate::clock::Clock;
use crate::limits::READ_BYTES;

const POLL: Purpose = Purpose::poll(0);
const SEND: Purpose = Purpose::send(0);

/// Devices and what is on its way on their sockets.
#[derive(Debug)]
pub(crate) struct Sockets<'a, D> {
    devices: &'a mut [D],
    /// What a device received of a record that is not whole.
    partial: Vec<Vec<u8>>,
    /// Whether the ring is finishing a send of this device.
    sending: Vec<bool>,
    /// Who is to be heard.
    ready: VecDeque<Ready>,
    /// How many of them in this turn.
    left: usize,
    scratch: Vec<u8>,
    output: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    Read(u32),
    Sent(u32),
}

impl<'a, D: Speaker> Sockets<'a, D> {
    /// Of devices that are fresh from their welcome.
    pub(crate) fn new(devices: &'a mut [D]) -> Self {
        let count = devices.len();
        Self {
            devices,
            partial: vec![Vec::new(); count],
            sending: vec![false; count],
            ready: VecDeque::new(),
            left: 0,
            scratch: vec![0; 2 * READ_BYTES],
            output: Vec::new(),
        }
    }

    /// One receive. Whether there may be more.
    fn read(
        &mut self,
        index: usize,
        clock: Clock,
        message: &Message,
        news: &mut News,
    ) -> Result<(u64, bool)> {
        let device = &mut self.devices[index];
        let carried = self.partial[index].len();
        self.scratch[..carried].copy_from_slice(&self.partial[index]);
        self.partial[index].clear();
        let room = &mut self.scratch[carried..carried + READ_BYTES];
        let count = match sockets::recv(device.socket(), room)? {
            Received::Bytes(count) => count,
            Received::Empty => 0,
            Received::End => bail!("the server closed a connection in the middle of a run"),
        };
        let at_ns = clock.now_ns();
        let bytes = &mut self.scratch[..carried + count];
        let mut at = 0;
        while let Some(length) = whole(&bytes[at..])? {
            device.record(&mut bytes[at..at + length], message, news)?;
            at += length;
        }
        self.partial[index].extend_from_slice(&bytes[at..]);
        Ok((at_ns, count == READ_BYTES))
    }
}

impl<D: Speaker> Carrier for Sockets<'_, D> {
    fn devices(&self) -> usize {
        self.devices.len()
    }

    fn listen(&mut self, ring: &mut Ring) -> Result<()> {
        for (index, device) in self.devices.iter().enumerate() {
            let token = Token::new(POLL, 0, index as u32);
            ring.poll_multishot(device.socket(), token, Interest::Read)?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion, ring: &mut Ring) -> Result<()> {
        match completion {
            Completion::Polled { token, more, .. } => {
                let index = token.index();
                self.ready.push_back(Ready::Read(index));
                if !more {
                    let socket = self.devices[index as usize].socket();
                    ring.poll_multishot(socket, token, Interest::Read)?;
                }
                Ok(())
            }
            Completion::Sent { token, buffer, result } => {
                if result? != buffer.len() {
                    bail!("the server stopped reading for good");
                }
                self.sending[token.index() as usize] = false;
                self.ready.push_back(Ready::Sent(token.index()));
                Ok(())
            }
            other @ (Completion::Accepted { .. }
            | Completion::AcceptFailed { .. }
            | Completion::PollEnded { .. }
            | Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. }) => bail!("the ring said {other:?}"),
        }
    }

    fn begin(&mut self, _: Clock) -> Result<()> {
        self.left = self.ready.len();
        Ok(())
    }

    fn next(&mut self, clock: Clock, message: &Message, news: &mut News) -> Result<Option<Heard>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let Some(ready) = self.ready.pop_front() else { return Ok(None) };
        let index = match ready {
            Ready::Sent(index) => return Ok(Some(Heard::Room { index: index as usize })),
            Ready::Read(index) => index,
        };
        let (at_ns, more) = self.read(index as usize, clock, message, news)?;
        if more {
            self.ready.push_back(Ready::Read(index));
        }
        Ok(Some(Heard::Read { index: index as usize, at_ns }))
    }

    fn is_full(&self, index: usize) -> bool {
        self.sending[index]
    }

    fn owes(&self, index: usize) -> bool {
        self.devices[index].owes()
    }

    fn seal(&mut self, index: usize, message: &mut Message, numbers: Range<u64>) -> Result<()> {
        self.output.clear();
        self.devices[index].seal(message, numbers, &mut self.output)
    }

    /// One system call.
    fn send(&mut self, index: usize, _: Clock, ring: &mut Ring) -> Result<()> {
        let device = &mut self.devices[index];
        let sent = sockets::send(device.socket(), &self.output)?;
        if sent == self.output.len() {
            return Ok(());
        }
        // A later completion tells how much of the buffer was sent, and it should be all of it.
        let rest = self.output.split_off(sent);
        self.sending[index] = true;
        let token = Token::new(SEND, 0, index as u32);
        ring.send(device.socket(), token, rest, 0)?;
        Ok(())
    }

    fn leave(&mut self, _: Clock) -> Result<()> {
        Ok(())
    }

    fn idle_for(&self, _: Clock) -> Option<Duration> {
        (!self.ready.is_empty()).then_some(Duration::ZERO)
    }
}
