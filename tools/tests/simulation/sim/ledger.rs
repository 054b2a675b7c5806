//! What was sent and what became of it, as somebody knows who sees all devices at once: the checkers *exactly once*,
//! *one end* and *no forgery*.

use std::collections::BTreeMap;

use hushwire::conversation::Incoming;
use hushwire::journal::{EndedSend, IncomingLog, MessageId, Outcome, PeerLogs};

use super::Violation;
use super::world::violation;

/// Names a message across all devices; its first eight bytes.
pub(crate) type Serial = u64;

/// How far the promise of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was given to the library.
    Given,
    /// It was promised: it is on disk.
    Stored,
    /// It was not promised and never will be: the disk failed, or the process died first.
    Lost,
    /// Its sender was set back to before it was given.
    Forgotten,
}

/// What a message of the simulation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Chat,
    /// There is content for the peer, or a stream of it broke: its nonce, 0 for none.
    Offer {
        transfer: usize,
        broken: u64,
    },
    /// The content is to come from here on, by a stream with this nonce.
    Ask {
        transfer: usize,
        nonce: u64,
        offset: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) purpose: Purpose,
    bytes: Vec<u8>,
    id: MessageId,
    number: u64,
    expires: bool,
    pub(crate) stage: Stage,
    /// What its sender's application heard.
    told: Option<Outcome>,
    /// How often the application took it, and why it refused it.
    taken: u32,
    refused: Option<u16>,
    /// One of both was set back after it was given.
    is_relaxed: bool,
}

impl Sent {
    /// The application never had it. One that refused it before its sender was set back has passed it all the same.
    const fn is_untaken(&self) -> bool {
        self.taken == 0 && !(self.is_relaxed && self.refused.is_some())
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) sent: Vec<Sent>,
    numbers: BTreeMap<(usize, usize, u64), Serial>,
    /// Messages of which a process heard that they are lost.
    lost: BTreeMap<(usize, usize, u32), u64>,
    set_back: Vec<usize>,
    pub(crate) taken: u64,
    pub(crate) ends: [u64; 3],
}

impl Ledger {
    pub(crate) fn next_serial(&self) -> Serial {
        self.sent.len() as Serial
    }

    pub(crate) fn given(
        &mut self,
        (from, to): (usize, usize),
        purpose: Purpose,
        bytes: Vec<u8>,
        expires: bool,
        (number, id): (u64, MessageId),
    ) {
        self.numbers.insert((from, to, number), self.next_serial());
        self.sent.push(Sent {
            from,
            to,
            purpose,
            bytes,
            id,
            number,
            expires,
            stage: Stage::Given,
            told: None,
            taken: 0,
            refused: None,
            is_relaxed: false,
        });
    }

    fn of(&mut self, from: usize, to: usize, number: u64) -> Result<&mut Sent, Violation> {
        let serial = self.numbers.get(&(from, to, number)).copied();
        match serial.and_then(|serial| self.sent.get_mut(serial as usize)) {
            Some(sent) => Ok(sent),
            None => violation("one end", format!("nobody gave message {number} {from}->{to}")),
        }
    }

    pub(crate) fn is_set_back(&self, device: usize) -> bool {
        self.set_back.contains(&device)
    }

    /// The sender hears that a message is promised.
    pub(crate) fn stored(&mut self, from: usize, to: usize, number: u64) -> Result<(), Violation> {
        let sent = self.of(from, to, number)?;
        if sent.stage != Stage::Given {
            let what = format!("message {number} {from}->{to} is promised as {:?}", sent.stage);
            return violation("one end", what);
        }
        sent.stage = Stage::Stored;
        Ok(())
    }

    /// A message will never be promised.
    pub(crate) fn withdrawn(
        &mut self,
        from: usize,
        to: usize,
        number: u64,
    ) -> Result<Purpose, Violation> {
        let sent = self.of(from, to, number)?;
        if sent.stage != Stage::Given || sent.taken > 0 {
            let what = format!("message {number} {from}->{to} is taken back as {:?}", sent.stage);
            return violation("exactly once", what);
        }
        sent.stage = Stage::Lost;
        let purpose = sent.purpose;
        self.numbers.remove(&(from, to, number));
        Ok(purpose)
    }

    /// A process died: what its disk has was promised after all, the rest never. Returns what the rest was for.
    pub(crate) fn died(
        &mut self,
        from: usize,
        next_number: impl Fn(usize) -> u64,
    ) -> Result<Vec<Purpose>, Violation> {
        let open: Vec<_> = self
            .sent
            .iter()
            .filter(|sent| sent.from == from && sent.stage == Stage::Given)
            .map(|sent| (sent.to, sent.number))
            .collect();
        let mut lost = Vec::new();
        for (to, number) in open {
            if number < next_number(to) {
                self.stored(from, to, number)?;
            } else {
                lost.push(self.withdrawn(from, to, number)?);
            }
        }
        Ok(lost)
    }

    /// A device was set back to where it knows messages below these numbers.
    pub(crate) fn set_back(&mut self, device: usize, next_number: impl Fn(usize) -> u64) {
        self.set_back.push(device);
        for sent in &mut self.sent {
            if sent.from == device || sent.to == device {
                sent.is_relaxed = true;
            }
            let is_known = sent.number < next_number(sent.to);
            if sent.from == device && sent.stage == Stage::Stored && !is_known {
                sent.stage = Stage::Forgotten;
            }
        }
        self.numbers.retain(|(from, to, number), _| *from != device || *number < next_number(*to));
    }

    /// The library hands a message to the application of `to`.
    pub(crate) fn handed(
        &self,
        from: usize,
        to: usize,
        incoming: &Incoming,
    ) -> Result<Serial, Violation> {
        let head = incoming.bytes.first_chunk::<8>().copied().map(u64::from_le_bytes);
        let known =
            head.and_then(|serial| self.sent.get(serial as usize).map(|sent| (serial, sent)));
        let Some((serial, sent)) = known
            .filter(|(_, sent)| sent.from == from && sent.to == to && sent.bytes == incoming.bytes)
        else {
            let what = format!("{from}->{to}: message {} was never given so", incoming.id);
            return violation("no forgery", what);
        };
        if sent.id != incoming.id && !self.is_set_back(from) {
            let what = format!("message {serial} has the names {} and {}", sent.id, incoming.id);
            return violation("no forgery", what);
        }
        let is_wrong = match sent.stage {
            Stage::Given | Stage::Lost => true,
            Stage::Stored => {
                let is_over = !matches!(sent.told, None | Some(Outcome::Expired { .. }));
                is_over && !sent.is_relaxed
            }
            Stage::Forgotten => false,
        };
        if is_wrong {
            let (stage, told) = (sent.stage, sent.told);
            let what = format!("message {serial} {from}->{to} comes though {stage:?}, {told:?}");
            return violation("exactly once", what);
        }
        Ok(serial)
    }

    /// The application of its recipient has taken a message, for good.
    pub(crate) fn took(&mut self, serial: Serial) -> Result<(), Violation> {
        self.taken += 1;
        let sent = &mut self.sent[serial as usize];
        sent.taken += 1;
        if sent.taken > 1 && !sent.is_relaxed {
            let what = format!("message {serial} {}->{} is taken twice", sent.from, sent.to);
            return violation("exactly once", what);
        }
        Ok(())
    }

    pub(crate) fn refused(&mut self, serial: Serial, reason: u16) {
        self.sent[serial as usize].refused = Some(reason);
    }

    /// The library says that messages of `from` will never come.
    pub(crate) fn lost(&mut self, from: usize, to: usize, life: u32, count: u64) {
        *self.lost.entry((from, to, life)).or_default() += count;
    }

    /// The library says how a message ended. `ours` is what the sender's disk knows, `theirs` what the recipient's does.
    pub(crate) fn ended(
        &mut self,
        from: usize,
        to: usize,
        ended: &EndedSend,
        ours: &PeerLogs,
        theirs: Option<&IncomingLog>,
    ) -> Result<(), Violation> {
        let is_set_back = self.is_set_back(from);
        let EndedSend { number, outcome, .. } = *ended;
        let kept = ours.ended.iter().rev().find(|kept| kept.number == number);
        let is_on_disk = kept.is_some_and(|kept| kept.outcome == outcome);
        let sent = self.of(from, to, number)?;
        let wrong = |what: &str| {
            violation("one end", format!("message {number} {from}->{to}, {outcome:?}: {what}"))
        };
        if !is_on_disk {
            return wrong("it is told before it is on disk");
        }
        if sent.stage != Stage::Stored {
            return wrong("it was not promised");
        }
        if sent.told.is_some() && !sent.is_relaxed {
            return wrong("it has ended before");
        }
        match outcome {
            Outcome::Delivered if sent.is_untaken() => return wrong("nobody took it"),
            Outcome::Delivered if !(sent.is_relaxed || is_set_back) => {
                let id = sent.id;
                let is_known = theirs.is_some_and(|log| {
                    let is_ahead = matches!(log.ahead.get(&id.sequence), Some(None));
                    log.incarnation == id.incarnation && (id.sequence < log.next || is_ahead)
                });
                if !is_known {
                    return wrong("its recipient's disk does not know");
                }
            }
            Outcome::Rejected { reason } if sent.refused != Some(reason) => {
                return wrong("nobody refused it so");
            }
            Outcome::Rejected { .. } if sent.taken > 0 && !sent.is_relaxed => {
                return wrong("it was taken");
            }
            Outcome::Expired { .. } if !sent.expires => return wrong("it was for ever"),
            Outcome::Delivered | Outcome::Rejected { .. } | Outcome::Expired { .. } => {}
        }
        sent.told = Some(outcome);
        let kind = match outcome {
            Outcome::Delivered => 0,
            Outcome::Rejected { .. } => 1,
            Outcome::Expired { .. } => 2,
        };
        self.ends[kind] += 1;
        Ok(())
    }

    /// Everything has come to its end. `logs` is what the disk of one device knows of another.
    pub(crate) fn close<'a>(
        &self,
        is_gone: impl Fn(usize) -> bool,
        logs: impl Fn(usize, usize) -> Option<&'a PeerLogs>,
    ) -> Result<(), Violation> {
        let mut given_up: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (serial, sent) in self.sent.iter().enumerate() {
            let Sent { from, to, number, stage, .. } = *sent;
            let wrong = |what: &str| {
                let told = sent.told;
                let what = format!("message {serial} ({number} {from}->{to}, {told:?}): {what}");
                violation("one end", what)
            };
            if is_gone(from) || is_gone(to) || stage == Stage::Forgotten {
                continue;
            }
            if stage == Stage::Given {
                return wrong("nobody says whether it is on disk");
            }
            if stage == Stage::Lost {
                if sent.taken > 0 || sent.told.is_some() {
                    return wrong("it was never promised");
                }
                continue;
            }
            let known = logs(from, to);
            let kept = known.into_iter().flat_map(|logs| &logs.ended);
            let ends: Vec<_> = kept.filter(|kept| kept.number == number).collect();
            let [end] = ends[..] else {
                return wrong(&format!("the disk knows {} ends of it", ends.len()));
            };
            if sent.told.is_some_and(|told| told != end.outcome) && !sent.is_relaxed {
                return wrong("the disk knows another end of it");
            }
            match end.outcome {
                Outcome::Delivered if sent.is_untaken() => return wrong("nobody took it"),
                Outcome::Rejected { .. } if sent.taken > 0 && !sent.is_relaxed => {
                    return wrong("it was taken and rejected");
                }
                Outcome::Expired { .. } => *given_up.entry((from, to)).or_default() += 1,
                Outcome::Delivered | Outcome::Rejected { .. } => {}
            }
        }
        for (&(from, to, _), &lost) in &self.lost {
            let most = given_up.get(&(from, to)).copied().unwrap_or_default();
            let is_gone = is_gone(from) || is_gone(to);
            let is_strict = !(is_gone || self.is_set_back(from) || self.is_set_back(to));
            if lost > most && is_strict {
                let what = format!("{to} lost {lost} messages of {from}, who gave up {most}");
                return violation("exactly once", what);
            }
        }
        Ok(())
    }
}
