//! Cells one behind the other, as a lane of QUIC carries them.

use hushwire_wire::cell::{Class, HEADER_LEN, Kind, PEER_OFFSET};
use hushwire_wire::control::{Control, disclose};
use hushwire_wire::id::DeviceId;

/// Cells for one recipient that follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) bytes: usize,
    /// `None` where they are for nobody.
    pub(crate) peer: Option<DeviceId>,
}

/// The whole cells at the front that have one recipient; `None` if there is none.
pub(crate) fn whole_run(cells: &[u8]) -> Option<Run> {
    let mut run: Option<Run> = None;
    let mut at = 0;
    while let Some(length) = cell_len(&cells[at..]).filter(|length| at + length <= cells.len()) {
        let cell = &cells[at..at + length];
        let is_unicast = cell[0] == Kind::Unicast as u8;
        let peer = DeviceId::from_slice(&cell[PEER_OFFSET..PEER_OFFSET + DeviceId::LEN]);
        let peer = peer.filter(|_| is_unicast);
        if run.is_some_and(|run| run.peer != peer) {
            break;
        }
        at += length;
        run = Some(Run { bytes: at, peer });
    }
    run
}

/// How long the cell is that begins so.
pub(crate) fn cell_len(bytes: &[u8]) -> Option<usize> {
    Class::from_wire(*bytes.get(1)?).map(Class::cell_len)
}

/// Changes whole cells one after the other.
pub(crate) fn each_cell(cells: &mut [u8], mut change: impl FnMut(&mut [u8])) {
    let mut rest = cells;
    while let Some(length) = cell_len(rest) {
        let (cell, behind) = rest.split_at_mut(length);
        change(cell);
        rest = behind;
    }
}

/// The device that a whole cell says it comes from, if it is a HELLO.
pub(crate) fn named(cell: &[u8]) -> Option<DeviceId> {
    if cell[0] != Kind::Control as u8 {
        return None;
    }
    match Control::decode(disclose(&cell[HEADER_LEN..]).ok()?) {
        Ok(Control::Hello(hello)) => Some(hello.device),
        Ok(_) | Err(_) => None,
    }
}
