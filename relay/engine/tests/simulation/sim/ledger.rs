//! What was sent, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use hushwire_wire::cell::Class;

use super::Violation;

pub(crate) type CellId = usize;
pub(crate) type LinkId = usize;
pub(crate) type DeviceNumber = usize;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) sender: DeviceNumber,
    pub(crate) recipient: DeviceNumber,
    pub(crate) link: LinkId,
    pub(crate) class: Class,
    pub(crate) lane: u8,
    /// The link it was sealed into.
    sealed: Option<LinkId>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Delivered,
    Reported,
}

#[derive(Default)]
pub(crate) struct Ledger {
    cells: Vec<Sent>,
    by_counter: BTreeMap<(LinkId, u8, u64), CellId>,
    /// Recipient and sender of another account that may at some time have been let in.
    pub(crate) let_in: BTreeSet<(DeviceNumber, DeviceNumber)>,
    /// Devices that may at some time have hidden their presence.
    pub(crate) hidden: BTreeSet<DeviceNumber>,
    /// The last cell delivered from one link to another.
    last: BTreeMap<(LinkId, LinkId), CellId>,
    pub(crate) delivered: u64,
    pub(crate) reported: u64,
}

impl Ledger {
    pub(crate) fn send(
        &mut self,
        (sender, recipient): (DeviceNumber, DeviceNumber),
        (link, lane, counter): (LinkId, u8, u64),
        class: Class,
    ) -> CellId {
        let id = self.cells.len();
        let (sealed, end) = (None, None);
        self.cells.push(Sent { sender, recipient, link, class, lane, sealed, end });
        self.by_counter.insert((link, lane, counter), id);
        id
    }

    pub(crate) fn cell(&self, id: CellId) -> &Sent {
        &self.cells[id]
    }

    pub(crate) fn sent(&self) -> u64 {
        self.cells.len() as u64
    }

    /// A cell goes into the output of a link of `device`.
    pub(crate) fn seal(
        &mut self,
        id: CellId,
        link: LinkId,
        device: DeviceNumber,
        accounts: &[u8],
    ) -> Result<(), Violation> {
        let cell = &mut self.cells[id];
        let (sender, recipient) = (cell.sender, cell.recipient);
        let violation = |what| Err(Violation { checker: "no bleed", what });
        if recipient != device {
            return violation(format!("a cell for device {recipient} went to device {device}"));
        }
        let is_friend = accounts[sender] == accounts[recipient];
        if !is_friend && !self.let_in.contains(&(recipient, sender)) {
            return violation(format!("device {sender} was never let in by {recipient}"));
        }
        if cell.sealed.replace(link).is_some() {
            return violation(format!("a cell of device {sender} was sealed twice"));
        }
        Ok(())
    }

    pub(crate) fn deliver(&mut self, id: CellId, link: LinkId) -> Result<(), Violation> {
        self.delivered += 1;
        let last = self.last.insert((self.cells[id].link, link), id);
        if last.is_some_and(|last| last > id) {
            let what = format!("{:?} was overtaken", self.cells[id]);
            return Err(Violation { checker: "in order", what });
        }
        self.end(id, End::Delivered)
    }

    pub(crate) fn report(&mut self, link: LinkId, lane: u8, counter: u64) -> Result<(), Violation> {
        self.reported += 1;
        match self.by_counter.get(&(link, lane, counter)) {
            Some(&id) => self.end(id, End::Reported),
            None => {
                let what =
                    format!("a report about lane {lane}, cell {counter}, which was not sent");
                Err(Violation { checker: "accounted", what })
            }
        }
    }

    fn end(&mut self, id: CellId, end: End) -> Result<(), Violation> {
        match self.cells[id].end.replace(end) {
            None => Ok(()),
            Some(first) => {
                let what = format!("{:?} was {first:?}, then {end:?}", self.cells[id]);
                Err(Violation { checker: "accounted", what })
            }
        }
    }

    /// At the end every cell must have one, or a reason to have none. `silences` is how often the engines
    /// say that they kept silent.
    pub(crate) fn close(
        &self,
        is_dead: impl Fn(LinkId) -> bool,
        accounts: &[u8],
        silences: u64,
    ) -> Result<(), Violation> {
        let violation = |what| Err(Violation { checker: "accounted", what });
        let mut silent = 0;
        for cell in self.cells.iter().filter(|cell| cell.end.is_none()) {
            if is_dead(cell.link) || cell.sealed.is_some_and(&is_dead) {
                continue;
            }
            let is_friend = accounts[cell.sender] == accounts[cell.recipient];
            if cell.sealed.is_some() || (is_friend && !self.hidden.contains(&cell.recipient)) {
                return violation(format!("{cell:?} has no end"));
            }
            silent += 1;
        }
        if silent > silences {
            return violation(format!("{silent} cells met silence, the engines say {silences}"));
        }
        Ok(())
    }
}
