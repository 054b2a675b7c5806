//! All that a run knows of a protocol: how a device introduces itself, says a message, and hears one.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use anyhow::{Result, anyhow};
use aws_lc_rs::rand;
use hushwire_wire::cell::Class;

use super::{Identity, Mix};

/// A protocol over TLS that one kind of server speaks.
pub(crate) trait Dialect: Sync {
    /// A device that has introduced itself.
    type Device: Speaker + Send;

    /// Connects a device, and returns when the server knows it: messages to it arrive from now on.
    fn introduce(&self, seat: Seat<'_>) -> Result<Self::Device>;
}

/// The place of a device in its fleet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat<'a> {
    /// Its number. The devices `2 i` and `2 i + 1` are a pair, and the first of them sends.
    pub(crate) number: usize,
    pub(crate) identity: &'a Identity,
    /// The other device of its pair.
    pub(crate) peer: &'a Identity,
}

/// A connected device. A run carries its bytes and cuts them into records.
pub(crate) trait Speaker {
    fn socket(&self) -> BorrowedFd<'_>;

    /// Appends messages to the other device of the pair to `output`, sealed, and before them what it
    /// owes the server. The messages of a sender are numbered from 1 on; no numbers are no message.
    fn seal(
        &mut self,
        message: &mut Message,
        numbers: Range<u64>,
        output: &mut Vec<u8>,
    ) -> Result<()>;

    /// Takes the next whole record that arrived, and says what came of it.
    fn record(&mut self, record: &mut [u8], message: &Message, news: &mut News) -> Result<()>;

    /// Whether the server waits for a word that is no message, such as the answer to a ping.
    fn owes(&self) -> bool {
        false
    }
}

/// What all devices of a run send, but for what each message carries of its own.
#[derive(Debug)]
pub(crate) struct Message {
    /// The size of all, or of the largest of a mix.
    pub(crate) class: Class,
    /// Sizes that are drawn, for a dialect that has several.
    pub(crate) mix: Option<Mix>,
    /// As many bytes as a cell of the class has. A smaller message of a mix has the first of them.
    pub(crate) bytes: Vec<u8>,
    /// Room in which a dialect makes the frames of one write, before they are sealed.
    pub(crate) frames: Vec<u8>,
}

impl Message {
    /// One of random bytes, which nothing can shorten.
    pub(crate) fn random(class: Class, mix: Option<Mix>) -> Result<Self> {
        let mut bytes = vec![0; class.cell_len()];
        rand::fill(&mut bytes).map_err(|_| anyhow!("no random bytes"))?;
        Ok(Self { class, mix, bytes, frames: Vec::new() })
    }

    /// The size of a sender's message of this number.
    #[inline]
    pub(crate) fn class_of(&self, sender: usize, number: u64) -> Class {
        self.mix.as_ref().map_or(self.class, |mix| mix.draw(sender, number))
    }

    /// Whether anybody sends this size.
    pub(crate) fn has(&self, class: Class) -> bool {
        self.mix.as_ref().map_or(self.class == class, |mix| mix.has(class))
    }
}

/// What became of messages.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Messages of the other device of the pair that have arrived, in their order.
    pub(crate) arrived: usize,
    /// Their bytes, as many as cells of their sizes have.
    pub(crate) bytes: u64,
    /// Numbers of this device's own messages that the server could not deliver.
    pub(crate) refused: Vec<u64>,
}

impl News {
    /// One more has arrived, of so many bytes.
    #[inline]
    pub(crate) fn arrive(&mut self, bytes: usize) {
        self.arrived += 1;
        self.bytes += bytes as u64;
    }
}
