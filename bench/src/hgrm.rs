//! Percentile distributions in the text form that HdrHistogram's tools read and plot (`.hgrm`).

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines for every halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The distribution of nanoseconds, written in microseconds.
pub(crate) fn text(latency: &Histogram<u64>) -> String {
    let us = |ns: f64| ns / 1_000.0;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _written = if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(text, "{value:>12.3} {quantile:>14.12} {count:>10} {inverse:>14.2}")
        } else {
            writeln!(text, "{value:>12.3} {quantile:>14.12} {count:>10}")
        };
    }
    let (mean, deviation) = (us(latency.mean()), us(latency.stdev()));
    let (max, total) = (us(latency.max() as f64), latency.len());
    let _written = write!(
        text,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n\
         #[Max     = {max:>12.3}, Total count    = {total:>12}]\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_end_with_the_greatest_value_and_all_of_the_count() {
        let mut latency = Histogram::new(3).unwrap();
        for us in 1..=1_000 {
            latency.record(us * 1_000).unwrap();
        }
        let text = text(&latency);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let half = lines.iter().find(|line| line[1] == "0.500000000000").unwrap();
        assert!((499.0..502.0).contains(&half[0].parse::<f64>().unwrap()), "{half:?}");
        assert_eq!(half[3], "2.00");
        let last = lines.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), ("1.000000000000", "1000", 3));
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
