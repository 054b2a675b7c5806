//! What is counted.

use std::hint::black_box;
use std::str::FromStr;

use hushwire::suite::Suite;
use hushwire_bench::paths::channel::Channel;
use hushwire_bench::paths::records::Records;
use hushwire_bench::paths::verdict::{Recipient, Shard};
use hushwire_wire::cell::Class;

/// Devices of the shard whose engine gives verdicts. Instructions, unlike time, do not grow with what fits no cache.
const DEVICES: u32 = 512;
/// The most cells of a run. As many are sealed before any is opened, so that both runs of a path begin alike.
pub(crate) const CELLS_MAX: u32 = 2_048;

/// A hot path, and the size of a cell where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Verdict(Recipient),
    RecordOpen(Class),
    RecordSeal(Class),
    ChannelOpen(Class),
    ChannelSeal(Class),
}

impl Path {
    /// All of them, in the order of a cell's way.
    pub(crate) const ALL: [Self; 13] = [
        Self::ChannelSeal(Class::C0),
        Self::ChannelSeal(Class::C4),
        Self::RecordOpen(Class::C0),
        Self::RecordOpen(Class::C4),
        Self::Verdict(Recipient::Same),
        Self::Verdict(Recipient::Another),
        Self::Verdict(Recipient::Closed),
        Self::Verdict(Recipient::Elsewhere),
        Self::Verdict(Recipient::Arrival),
        Self::RecordSeal(Class::C0),
        Self::RecordSeal(Class::C4),
        Self::ChannelOpen(Class::C0),
        Self::ChannelOpen(Class::C4),
    ];

    /// Its name in tables and baselines.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Verdict(Recipient::Same) => "verdict/same recipient".into(),
            Self::Verdict(Recipient::Another) => "verdict/another recipient".into(),
            Self::Verdict(Recipient::Closed) => "verdict/refused".into(),
            Self::Verdict(Recipient::Elsewhere) => "verdict/to another shard".into(),
            Self::Verdict(Recipient::Arrival) => "verdict/from another shard".into(),
            Self::RecordOpen(class) => format!("record/open/{}", class.cell_len()),
            Self::RecordSeal(class) => format!("record/seal/{}", class.cell_len()),
            Self::ChannelOpen(class) => format!("channel/open/{}", class.cell_len()),
            Self::ChannelSeal(class) => format!("channel/seal/{}", class.cell_len()),
        }
    }

    /// Sets it up, which takes the same however many `cells` follow, and runs it.
    ///
    /// # Panics
    /// For more than [`CELLS_MAX`].
    pub(crate) fn run(self, cells: u32) {
        assert!(cells <= CELLS_MAX, "at most {CELLS_MAX} cells are made ready");
        match self {
            Self::Verdict(recipient) => {
                let mut shard = Shard::new(recipient, DEVICES);
                repeat(cells, || shard.step());
            }
            Self::RecordSeal(class) => {
                let mut records = Records::new(class);
                repeat(cells, || records.seal());
            }
            Self::RecordOpen(class) => {
                let mut records = Records::new(class);
                let mut sealed: Vec<_> = (0..CELLS_MAX).map(|_| records.sealed()).collect();
                let mut next = sealed.iter_mut();
                repeat(cells, || next.next().map(|bytes| records.open(bytes)));
            }
            Self::ChannelSeal(class) => {
                let mut channel = Channel::new(Suite::HybridAes, class);
                repeat(cells, || channel.seal().len());
            }
            Self::ChannelOpen(class) => {
                let mut channel = Channel::new(Suite::HybridAes, class);
                let mut sealed: Vec<_> = (0..CELLS_MAX).map(|_| channel.seal().to_vec()).collect();
                let mut next = sealed.iter_mut();
                repeat(cells, || next.next().map(|body| channel.open(body)));
            }
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|path| path.name() == name);
        found.ok_or_else(|| format!("there is no path `{name}`: see the table"))
    }
}

fn repeat<T>(times: u32, mut step: impl FnMut() -> T) {
    for _ in 0..times {
        black_box(step());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_found_by_its_name_and_runs() {
        for path in Path::ALL {
            assert_eq!(path.name().parse(), Ok(path));
            path.run(40);
        }
        assert!("record/seal/1".parse::<Path>().is_err());
    }
}
