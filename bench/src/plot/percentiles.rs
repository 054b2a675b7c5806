//! Latency by percentile: nines to the right, microseconds upwards, both logarithmic.

use hdrhistogram::Histogram;

use super::{Paper, Tick, Trace};

/// Where lines have a label to the right: 0, 90, 99 % and so on.
const NINES_MAX: u32 = 6;

/// One line of the plot.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// Nanoseconds.
    pub(crate) latency: &'a Histogram<u64>,
}

/// Where values are in the frame.
struct Scale {
    nines: f64,
    /// Powers of ten of microseconds.
    low: f64,
    high: f64,
}

impl Scale {
    fn of(lines: &[Line<'_>]) -> Self {
        let count = lines.iter().map(|line| line.latency.len()).max().unwrap_or(1).max(10);
        let nines = (count as f64).log10().floor().clamp(1.0, f64::from(NINES_MAX));
        let us = |ns: u64| (ns.max(1) as f64 / 1_000.0).log10();
        let least = lines.iter().map(|line| us(line.latency.min())).fold(f64::MAX, f64::min);
        let most = lines.iter().map(|line| us(line.latency.max())).fold(f64::MIN, f64::max);
        let low = least.floor().clamp(-3.0, 7.0);
        Self { nines, low, high: most.ceil().clamp(low + 1.0, 8.0) }
    }

    fn across(&self, quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(f64::MIN_POSITIVE).log10();
        (nines / self.nines).min(1.0)
    }

    fn upwards(&self, ns: u64) -> f64 {
        let power = (ns.max(1) as f64 / 1_000.0).log10();
        (power - self.low) / (self.high - self.low)
    }
}

/// The plot, a whole SVG file.
pub(crate) fn percentiles(title: &str, lines: &[Line<'_>]) -> String {
    let scale = Scale::of(lines);
    let nines = (0..=scale.nines as i32).map(|nines| {
        let rest = 10_f64.powi(-nines);
        let label = format!("{} %", 100.0 - 100.0 * rest);
        Tick { at: scale.across(1.0 - rest), label }
    });
    let powers = (scale.low as i32..=scale.high as i32).map(|power| {
        let us = 10_f64.powi(power);
        Tick { at: scale.upwards((us * 1_000.0) as u64), label: format!("{us} µs") }
    });
    let traces =
        lines.iter().map(|line| Trace { name: line.name, points: points(line.latency, &scale) });
    let paper = Paper {
        title,
        below: "percentile",
        across: nines.collect(),
        upwards: powers.collect(),
        traces: traces.collect(),
    };
    paper.svg()
}

fn points(latency: &Histogram<u64>, scale: &Scale) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for step in latency.iter_quantiles(20) {
        let across = scale.across(step.quantile_iterated_to());
        points.push((across, scale.upwards(step.value_iterated_to())));
        if across >= 1.0 {
            break;
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, inside};
    use super::*;

    #[test]
    fn every_server_has_a_line_inside_the_frame() {
        let mut latency = Histogram::new(3).unwrap();
        for us in 1..=100_000 {
            latency.record(us * 100).unwrap();
        }
        let nothing = Histogram::new(3).unwrap();
        let lines = [("a < b", &latency), ("silent", &nothing)]
            .map(|(name, latency)| Line { name, latency });
        let svg = percentiles("256 x 256 & more", &lines);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("256 &amp; more"));
        assert!(svg.contains("99.999 %") && svg.contains("10000 µs"), "{svg}");
        let drawn = drawn(&svg);
        assert!(drawn[0].len() > 10);
        inside(&drawn[0]);
    }
}
