//! Content by streams, and how an application resumes it: the receiver asks by a message from where on it wants the
//! rest, and gets it by a stream that says what it is. The checker *whole*.

use std::collections::BTreeMap;

use hushwire::conversation::{Conversation, Moment, StreamError, StreamId, StreamRead};

use super::Violation;
use super::ledger::Purpose;
use super::plan::Fault;
use super::world::{World, violation};

const HEADER_LEN: usize = 24;

/// Content that somebody wants somewhere else.
pub(crate) struct Transfer {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) content: Vec<u8>,
}

/// The receiver's records of a transfer. What it has is a prefix of the content, as is checked whenever it grows.
#[derive(Clone, Default)]
pub(crate) struct Receiving {
    have: usize,
    /// Names the stream that is awaited, or was last.
    nonce: u64,
    /// That one is over: a sender that was set back may hear the question again, and answer it a second time.
    is_over: bool,
    asks: bool,
    pub(crate) is_done: bool,
}

impl Receiving {
    pub(crate) fn started_again(&mut self) {
        self.is_over = true;
        self.asks |= !self.is_done;
    }
}

/// The sender's.
#[derive(Clone, Default)]
pub(crate) struct Sending {
    /// The peer is to hear of it; with it, the stream that broke.
    offers: Option<u64>,
    /// The last that was asked for.
    nonce: u64,
    pub(crate) is_done: bool,
}

impl Sending {
    pub(crate) fn started_again(&mut self) {
        if !self.is_done {
            self.offers = Some(0);
        }
    }
}

struct Outgoing {
    stream: StreamId,
    nonce: u64,
    /// The header, then the content from an offset on.
    header: Vec<u8>,
    at: usize,
    is_finished: bool,
}

struct Incoming {
    peer: usize,
    stream: StreamId,
    header: Vec<u8>,
    at: u64,
}

/// Streams of a running process.
#[derive(Default)]
pub(crate) struct Streaming {
    /// Asked for, and not open yet.
    wanted: BTreeMap<usize, (u64, u64)>,
    outgoing: BTreeMap<usize, Outgoing>,
    incoming: Vec<Incoming>,
}

impl World {
    /// A message was taken: what follows from it.
    pub(crate) fn follow_purpose(&mut self, number: usize, peer: usize, purpose: Purpose) {
        let moment = self.devices[number].moment(self.start, self.now);
        let device = &mut self.devices[number];
        let Some(process) = &mut device.process else { return };
        let streaming = &mut process.running.streaming;
        match purpose {
            Purpose::Chat => {}
            Purpose::Offer { transfer, broken } => {
                let receiving = device.app.receiving.entry(transfer).or_default();
                receiving.asks |= broken == 0 || broken == receiving.nonce;
            }
            Purpose::Ask { transfer, nonce, offset } => {
                let sending = device.app.sending.entry(transfer).or_default();
                if nonce < sending.nonce {
                    return;
                }
                sending.nonce = nonce;
                if let Some(old) = streaming.outgoing.remove(&transfer)
                    && let Some(conversation) = process.conversations.get_mut(&peer)
                {
                    conversation.release_writing(old.stream, moment);
                }
                sending.is_done = offset as usize == self.transfers[transfer].content.len();
                if sending.is_done {
                    sending.offers = None;
                    streaming.wanted.remove(&transfer);
                } else {
                    streaming.wanted.insert(transfer, (nonce, offset));
                }
            }
        }
    }

    /// A message was not promised: it is to be given again.
    pub(crate) fn give_again(&mut self, number: usize, purpose: Purpose) {
        let app = &mut self.devices[number].app;
        match purpose {
            Purpose::Chat => {}
            Purpose::Offer { transfer, broken } => {
                app.sending.entry(transfer).or_default().offers = Some(broken);
            }
            Purpose::Ask { transfer, .. } => {
                app.receiving.entry(transfer).or_default().asks = true;
            }
        }
    }

    /// Goes on with everything that a device sends and receives by streams.
    pub(crate) fn transfer(&mut self, number: usize) -> Result<(), Violation> {
        for transfer in 0..self.transfers.len() {
            if self.transfers[transfer].from == number {
                self.offer(number, transfer);
                self.write(number, transfer);
            }
            if self.transfers[transfer].to == number {
                self.ask(number, transfer);
            }
        }
        self.accept_streams(number);
        self.read_streams(number)
    }

    fn offer(&mut self, number: usize, transfer: usize) {
        let sending = self.devices[number]
            .app
            .sending
            .entry(transfer)
            .or_insert(Sending { offers: Some(0), ..Sending::default() });
        let Some(broken) = sending.offers.filter(|_| !sending.is_done) else { return };
        let to = self.transfers[transfer].to;
        let purpose = Purpose::Offer { transfer, broken };
        if self.push(number, to, purpose, b"offer", None) {
            self.devices[number].app.sending.entry(transfer).or_default().offers = None;
        }
    }

    fn ask(&mut self, number: usize, transfer: usize) {
        // A newer one is larger, also to who was set back.
        let nonce = self.now;
        let receiving = self.devices[number].app.receiving.get(&transfer);
        let Some(receiving) = receiving.filter(|of| of.asks) else { return };
        let purpose = Purpose::Ask { transfer, nonce, offset: receiving.have as u64 };
        let from = self.transfers[transfer].from;
        if self.push(number, from, purpose, b"ask", None) {
            let length = self.transfers[transfer].content.len();
            let receiving = self.devices[number].app.receiving.entry(transfer).or_default();
            (receiving.asks, receiving.nonce, receiving.is_over) = (false, nonce, false);
            receiving.is_done = receiving.have == length;
        }
    }

    fn write(&mut self, number: usize, transfer: usize) {
        let moment = self.devices[number].moment(self.start, self.now);
        let Transfer { to, content, .. } = &self.transfers[transfer];
        let device = &mut self.devices[number];
        let Some(process) = &mut device.process else { return };
        let conversation = process.conversations.get_mut(to).expect("a peer");
        let streaming = &mut process.running.streaming;
        if let Some(&(nonce, offset)) = streaming.wanted.get(&transfer)
            && let Some(stream) = conversation.open_stream()
        {
            let header = [transfer as u64, nonce, offset].map(u64::to_le_bytes).concat();
            let outgoing =
                Outgoing { stream, nonce, header, at: offset as usize, is_finished: false };
            streaming.outgoing.insert(transfer, outgoing);
            streaming.wanted.remove(&transfer);
        }
        let Some(outgoing) = streaming.outgoing.get_mut(&transfer) else { return };
        let sending = device.app.sending.entry(transfer).or_default();
        match write_on(conversation, outgoing, content) {
            Ok(false) => {}
            Ok(true) => {
                (sending.is_done, sending.offers) = (true, None);
                conversation.release_writing(outgoing.stream, moment);
                streaming.outgoing.remove(&transfer);
            }
            Err(_) => {
                sending.offers = Some(outgoing.nonce);
                conversation.release_writing(outgoing.stream, moment);
                streaming.outgoing.remove(&transfer);
            }
        }
    }

    fn accept_streams(&mut self, number: usize) {
        let Some(process) = &mut self.devices[number].process else { return };
        for (&peer, conversation) in &mut process.conversations {
            while let Some(stream) = conversation.accept_stream() {
                let incoming = Incoming { peer, stream, header: Vec::new(), at: 0 };
                process.running.streaming.incoming.push(incoming);
            }
        }
    }

    fn read_streams(&mut self, number: usize) -> Result<(), Violation> {
        let moment = self.devices[number].moment(self.start, self.now);
        let budget = self.devices[number].dice.between(1_000, 300_000) as usize;
        let Some(process) = &mut self.devices[number].process else { return Ok(()) };
        let streams = std::mem::take(&mut process.running.streaming.incoming);
        let mut open = Vec::new();
        for mut incoming in streams {
            if self.read_stream(number, &mut incoming, budget, moment)? {
                open.push(incoming);
            } else if let Some(process) = &mut self.devices[number].process
                && let Some(conversation) = process.conversations.get_mut(&incoming.peer)
            {
                conversation.release_reading(incoming.stream, moment);
            }
        }
        if let Some(process) = &mut self.devices[number].process {
            process.running.streaming.incoming = open;
        }
        Ok(())
    }

    /// Reads on. `false` where the stream is over, for good or ill.
    fn read_stream(
        &mut self,
        number: usize,
        incoming: &mut Incoming,
        mut budget: usize,
        moment: Moment,
    ) -> Result<bool, Violation> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let device = &mut self.devices[number];
            let Some(process) = &mut device.process else { return Ok(false) };
            let conversation = process.conversations.get_mut(&incoming.peer).expect("a peer");
            let missing = HEADER_LEN - incoming.header.len();
            let room = if missing > 0 { missing } else { budget.min(buffer.len()) };
            if room == 0 {
                return Ok(true);
            }
            let (stream, buffer) = (incoming.stream, &mut buffer[..room]);
            let read = conversation.read_stream(stream, buffer, moment, &mut device.dice);
            let is_end = match read {
                Ok(StreamRead::Nothing) => return Ok(true),
                Ok(StreamRead::Bytes(count)) if missing > 0 => {
                    incoming.header.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Ok(StreamRead::Bytes(count)) => {
                    budget -= count;
                    let bytes = buffer[..count].to_vec();
                    if !self.append(number, incoming, &bytes)? {
                        return Ok(false);
                    }
                    continue;
                }
                Ok(StreamRead::End) => true,
                Err(_) => false,
            };
            return self.stream_over(number, incoming, is_end).map(|()| false);
        }
    }

    /// More content has come. `false` where nobody waits for this stream any more.
    fn append(
        &mut self,
        number: usize,
        incoming: &mut Incoming,
        bytes: &[u8],
    ) -> Result<bool, Violation> {
        let (transfer, nonce, offset) = fields(&incoming.header);
        let Some(of) =
            self.transfers.get(transfer).filter(|of| of.to == number && of.from == incoming.peer)
        else {
            return violation("no forgery", format!("{number} gets a stream of nothing"));
        };
        let device = &mut self.devices[number];
        let receiving = device.app.receiving.entry(transfer).or_default();
        if receiving.nonce != nonce || receiving.is_over {
            return Ok(false);
        }
        let from = offset as usize + incoming.at as usize;
        let skips = self.plan.fault == Fault::StreamHole && device.dice.chance(20);
        let bytes = if skips { &bytes[1..] } else { bytes };
        let is_prefix = of.content.get(from..from + bytes.len()) == Some(bytes);
        if from != receiving.have || !is_prefix {
            let what = format!("transfer {transfer}: other bytes at {from}");
            return violation("whole", what);
        }
        receiving.have += bytes.len();
        incoming.at += bytes.len() as u64;
        self.trace(self.now ^ ((from as u64) << 24));
        Ok(true)
    }

    fn stream_over(
        &mut self,
        number: usize,
        incoming: &Incoming,
        is_end: bool,
    ) -> Result<(), Violation> {
        if incoming.header.len() < HEADER_LEN {
            // The transfer's sender notices too.
            return if is_end { violation("whole", "an empty stream".into()) } else { Ok(()) };
        }
        let (transfer, nonce, _) = fields(&incoming.header);
        let Some(of) = self.transfers.get(transfer) else { return Ok(()) };
        let receiving = self.devices[number].app.receiving.entry(transfer).or_default();
        if receiving.nonce != nonce || receiving.is_over {
            return Ok(());
        }
        receiving.is_over = true;
        if !is_end {
            receiving.asks = true;
        } else if receiving.have == of.content.len() {
            receiving.is_done = true;
        } else {
            let what = format!("transfer {transfer} ends at {}", receiving.have);
            return violation("whole", what);
        }
        Ok(())
    }
}

fn fields(header: &[u8]) -> (usize, u64, u64) {
    let field = |at: usize| {
        let bytes = header.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    (field(0) as usize, field(8), field(16))
}

/// Writes as much as goes. `true` once the reader has everything.
fn write_on(
    conversation: &mut Conversation,
    outgoing: &mut Outgoing,
    content: &[u8],
) -> Result<bool, StreamError> {
    let stream = outgoing.stream;
    while !outgoing.header.is_empty() {
        let taken = conversation.write_stream(stream, &outgoing.header)?;
        if taken == 0 {
            return Ok(false);
        }
        outgoing.header.drain(..taken);
    }
    while outgoing.at < content.len() {
        let taken = conversation.write_stream(stream, &content[outgoing.at..])?;
        if taken == 0 {
            return Ok(false);
        }
        outgoing.at += taken;
    }
    if !outgoing.is_finished {
        conversation.finish_stream(stream)?;
        outgoing.is_finished = true;
    }
    conversation.is_stream_done(stream)
}
