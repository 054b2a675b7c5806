//! The memory bill: lines, totals, and the table that people read.

use std::fmt;

use super::{KIB, MIB};

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// The process: resident memory.
    Relay,
    /// The kernel: not counted as the process's, and page cache is given back under pressure.
    Kernel,
}

/// One line of a [`Bill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// What it is for.
    pub what: &'static str,
    /// Who pays.
    pub payer: Payer,
    /// How many.
    pub count: usize,
    /// Bytes each.
    pub size_bytes: usize,
}

impl BillLine {
    /// Bytes of all.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.count.saturating_mul(self.size_bytes)
    }
}

/// The most that each pool and queue can take. [`Display`](fmt::Display) is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    pub(super) shards: usize,
    pub(super) lines: Vec<BillLine>,
}

impl Bill {
    pub(super) fn relay(&mut self, what: &'static str, count: usize, size_bytes: usize) {
        self.lines.push(BillLine { what, payer: Payer::Relay, count, size_bytes });
    }

    pub(super) fn kernel(&mut self, what: &'static str, count: usize, size_bytes: usize) {
        self.lines.push(BillLine { what, payer: Payer::Kernel, count, size_bytes });
    }

    /// The lines, in the order of the table.
    #[must_use]
    pub fn lines(&self) -> &[BillLine] {
        &self.lines
    }

    /// Bytes that one of the two can be asked for.
    #[must_use]
    pub fn total_bytes(&self, payer: Payer) -> usize {
        let own = self.lines.iter().filter(|line| line.payer == payer);
        own.fold(0, |sum, line| sum.saturating_add(line.bytes()))
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.shards == 1 { "" } else { "s" };
        writeln!(f, "memory when everything is full, {} shard{plural}:", self.shards)?;
        for (payer, title) in [(Payer::Relay, "relay"), (Payer::Kernel, "kernel")] {
            for line in self.lines.iter().filter(|line| line.payer == payer) {
                let BillLine { what, count, size_bytes, .. } = line;
                let (size, bytes) = (Bytes(*size_bytes), Bytes(line.bytes()));
                writeln!(f, "  {what:<26} {count:>10} × {size:>11} = {bytes:>11}")?;
            }
            let total = Bytes(self.total_bytes(payer));
            writeln!(
                f,
                "  {:<26} {:>10}   {:>11} = {total:>11}",
                format!("total, {title}"),
                "",
                ""
            )?;
        }
        Ok(())
    }
}

/// A size for people: at most five digits before the unit.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes if bytes < 10 * KIB => format!("{bytes} B"),
            bytes if bytes < 10 * MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
            bytes if bytes < 10 * 1024 * MIB => format!("{:.1} MiB", bytes as f64 / MIB as f64),
            bytes => format!("{:.1} GiB", bytes as f64 / (1024 * MIB) as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let check = |bytes, expect: &str| assert_eq!(Bytes(bytes).to_string(), expect);
        check(0, "0 B");
        check(10_239, "10239 B");
        check(10_240, "10.0 KiB");
        check(64 * MIB, "64.0 MiB");
        check(20 * 1024 * MIB, "20.0 GiB");
    }
}
