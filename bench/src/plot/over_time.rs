//! What a measurement came to in every interval: minutes to the right, and upwards what is measured.

use super::{Paper, Tick, Trace};

/// Lines of the grid to the right, and upwards where values are not logarithmic, at most.
const STEPS_MAX: f64 = 8.0;

/// What goes upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Microseconds, logarithmic.
    Microseconds,
    /// A number of this unit, from zero.
    Number(&'static str),
}

/// One line of the plot.
#[derive(Debug)]
pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    /// Seconds since the start, and the value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The plot, a whole SVG file.
pub(crate) fn over_time(title: &str, measure: Measure, curves: &[Curve<'_>]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let seconds = all().map(|point| point.0).fold(1.0, f64::max);
    let (least, most) = all()
        .map(|point| point.1)
        .filter(|value| value.is_finite())
        .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let scale = Scale::of(measure, least, most);
    let minutes = seconds / 60.0;
    let across = steps(minutes).map(|at| Tick { at: at / minutes, label: format!("{at}") });
    let trace = |curve: &Curve<'_>| {
        let points = curve.points.iter().filter(|point| point.1.is_finite());
        points.map(|&(at, value)| (at / seconds, scale.share(value))).collect()
    };
    let paper = Paper {
        title,
        below: "minutes",
        across: across.collect(),
        upwards: scale.ticks(),
        traces: curves.iter().map(|it| Trace { name: it.name, points: trace(it) }).collect(),
    };
    paper.svg()
}

/// Where values are in the frame.
#[derive(Debug, Clone, Copy)]
enum Scale {
    /// Powers of ten, lowest and highest.
    Powers(f64, f64),
    /// From zero to this number of a unit.
    Upto(f64, &'static str),
}

impl Scale {
    fn of(measure: Measure, least: f64, most: f64) -> Self {
        match measure {
            Measure::Microseconds => {
                let power = |us: f64| us.max(1e-3).log10();
                let low = power(least).floor().clamp(-3.0, 7.0);
                Self::Powers(low, power(most).ceil().clamp(low + 1.0, 8.0))
            }
            // Some room above, so that a line does not run along the edge.
            Measure::Number(unit) => Self::Upto((1.1 * most).max(1.0), unit),
        }
    }

    fn share(self, value: f64) -> f64 {
        match self {
            Self::Powers(low, high) => (value.max(1e-3).log10() - low) / (high - low),
            Self::Upto(most, _) => value / most,
        }
    }

    fn ticks(self) -> Vec<Tick> {
        let tick = |value: f64, unit| Tick {
            at: self.share(value),
            label: format!("{value} {unit}").trim_end().to_owned(),
        };
        match self {
            Self::Powers(low, high) => {
                (low as i32..=high as i32).map(|power| tick(10_f64.powi(power), "µs")).collect()
            }
            Self::Upto(most, unit) => steps(most).map(|value| tick(value, unit)).collect(),
        }
    }
}

/// Round numbers from 0 to `most`, a few.
fn steps(most: f64) -> impl Iterator<Item = f64> {
    let rough = most / STEPS_MAX;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power).into_iter().find(|it| *it >= rough);
    let step = step.unwrap_or(10.0 * power);
    // Multiples of a step below one are not exact, and their labels would show it.
    let exact = move |value: f64| (value * 1e6).round() / 1e6;
    (0..=(most / step) as u32).map(move |number| exact(f64::from(number) * step))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, inside};
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        let check = |most, expect: &[f64]| {
            assert_eq!(steps(most).collect::<Vec<_>>(), expect, "{most}");
        };
        check(30.0, &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        check(0.05, &[0.0, 0.01, 0.02, 0.03, 0.04, 0.05]);
        check(11_000.0, &[0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0, 10_000.0]);
    }

    #[test]
    fn curves_are_drawn_from_the_left_to_the_right() {
        let curve = |name, points: &[_]| Curve { name, points: points.to_vec() };
        let curves = [
            curve("p50", &[(60.0, 10.0), (120.0, 100.0)]),
            curve("p99", &[(60.0, 1_000.0), (90.0, f64::NAN), (120.0, 1_000.0)]),
        ];
        let svg = over_time("latency", Measure::Microseconds, &curves);
        let lines = drawn(&svg);
        assert_eq!(
            lines,
            [vec![(405.0, 460.0), (740.0, 255.0)], vec![(405.0, 50.0), (740.0, 50.0)]]
        );
        assert!(svg.contains(">1000 µs<") && svg.contains(">minutes<"), "{svg}");

        let svg = over_time("throughput", Measure::Number("/s"), &curves);
        assert!(svg.contains(">1000 /s<") && svg.contains(">0 /s<"), "{svg}");
        drawn(&svg).iter().for_each(|line| inside(line));
    }

    #[test]
    fn nothing_is_a_plot_without_lines() {
        let svg = over_time("nothing", Measure::Number(""), &[Curve { name: "x", points: vec![] }]);
        assert_eq!(drawn(&svg), [vec![]]);
    }
}
