//! Medians and spreads: the machine is noisy, and its noise is not symmetric.

use std::fmt;

use serde::Serialize;

/// The middle of `values`, or the mean of the two in the middle; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// A median, and between what the values lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// What there is to say of no values.
    pub(crate) const NONE: Self = Self { median: f64::NAN, least: f64::NAN, greatest: f64::NAN };

    /// `None` of none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        let greatest = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { median: median(values)?, least, greatest })
    }

    /// `ones` in `others`, round by round: for what drifts while it is measured.
    pub(crate) fn of_ratios(ones: &[f64], others: &[f64]) -> Option<Self> {
        Self::of(&ratios(ones, others))
    }

    /// The median of `ones` in that of `others`, and between what the ratios of single rounds lie.
    pub(crate) fn of_medians(ones: &[f64], others: &[f64]) -> Option<Self> {
        let rounds = Self::of(&ratios(ones, others))?;
        Some(Self { median: median(ones)? / median(others)?, ..rounds })
    }

    /// `0.93-1.17`, with so many digits.
    pub(crate) fn range(self, digits: usize) -> String {
        format!("{:.digits$}-{:.digits$}", self.least, self.greatest)
    }
}

/// `1.02 (0.93-1.17)`; two digits unless told otherwise.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({})", self.median, self.range(digits))
    }
}

fn ratios(ones: &[f64], others: &[f64]) -> Vec<f64> {
    ones.iter().zip(others).map(|(one, other)| one / other).collect()
}

/// How evenly `shares` are distributed (Jain, Chiu and Hawe, DEC-TR-301): 1 where all are the same, 1 / n where one has
/// everything; `None` where there is nothing to share.
pub(crate) fn jain(shares: &[u64]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum.powi(2) / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let check = |values: &[f64], expect| assert_eq!(median(values), expect, "{values:?}");
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[4.0, 1.0], Some(2.5));
        check(&[9.0, 1.0, 2.0], Some(2.0));
    }

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(&[]), None);
        let spread = Spread::of(&[2.0, 1.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, least: 1.0, greatest: 3.0 });
        assert_eq!(format!("{spread}, {spread:.0}"), "2.00 (1.00-3.00), 2 (1-3)");
        // Each is half of the other, but for one moment that met the second of them only.
        let (ones, others) = ([1.0, 4.0, 2.0], [2.0, 8.0, 40.0]);
        let expect = |median| Some(Spread { median, least: 0.05, greatest: 0.5 });
        assert_eq!(Spread::of_ratios(&ones, &others), expect(0.5));
        assert_eq!(Spread::of_medians(&ones, &others), expect(0.25));
    }

    #[test]
    fn fairness() {
        let check = |shares: &[u64], expect| assert_eq!(jain(shares), expect, "{shares:?}");
        check(&[], None);
        check(&[0, 0], None);
        check(&[7, 7, 7], Some(1.0));
        check(&[9, 0, 0, 0], Some(0.25));
        check(&[1, 3], Some(0.8));
    }
}
