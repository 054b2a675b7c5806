//! Plots as SVG: a frame with a grid, and a line and a label for each of what is compared.

mod over_time;
mod percentiles;

use std::fmt::Write as _;

pub(crate) use over_time::{Curve, Measure, over_time};
pub(crate) use percentiles::{Line, percentiles};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
/// Left, top, right and bottom of what is plotted.
const FRAME: [f64; 4] = [70.0, 50.0, 740.0, 460.0];
/// Told apart by people who see colours differently (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"];

/// Where one axis has a line of the grid, and what stands beside it. Places are shares of the frame, from the left
/// and from below.
struct Tick {
    at: f64,
    label: String,
}

/// One line of a plot: its points as shares of the frame.
struct Trace<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// What lies between the axes.
struct Paper<'a> {
    title: &'a str,
    /// What goes to the right.
    below: &'a str,
    across: Vec<Tick>,
    upwards: Vec<Tick>,
    traces: Vec<Trace<'a>>,
}

fn x(share: f64) -> f64 {
    FRAME[0] + share.clamp(0.0, 1.0) * (FRAME[2] - FRAME[0])
}

fn y(share: f64) -> f64 {
    FRAME[3] - share.clamp(0.0, 1.0) * (FRAME[3] - FRAME[1])
}

impl Paper<'_> {
    /// A whole SVG file.
    fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"{}\" y=\"28\" font-size=\"16\">{}</text>\n",
            FRAME[0],
            escaped(self.title)
        );
        self.grid(&mut svg);
        for (number, trace) in self.traces.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let mut points = String::new();
            for &(across, upwards) in &trace.points {
                let _written = write!(points, "{:.1},{:.1} ", x(across), y(upwards));
            }
            let label_y = FRAME[1] + 14.0 + 22.0 * number as f64;
            let (label_x, name) = (FRAME[2] + 16.0, escaped(trace.name));
            let _written = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>\n\
                 <line x1=\"{label_x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"/>\n\
                 <text x=\"{}\" y=\"{label_y}\">{name}</text>\n",
                label_x + 20.0,
                label_y - 4.0,
                label_y - 4.0,
                label_x + 28.0,
            );
        }
        svg + "</svg>\n"
    }

    fn grid(&self, svg: &mut String) {
        let line = |svg: &mut String, [x1, y1, x2, y2]: [f64; 4]| {
            let _written = writeln!(
                svg,
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
            );
        };
        let word = |svg: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
            let _written = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#444444\">{}</text>",
                escaped(text)
            );
        };
        for tick in &self.across {
            let x = x(tick.at);
            line(svg, [x, FRAME[1], x, FRAME[3]]);
            word(svg, x, FRAME[3] + 20.0, "middle", &tick.label);
        }
        for tick in &self.upwards {
            let y = y(tick.at);
            line(svg, [FRAME[0], y, FRAME[2], y]);
            word(svg, FRAME[0] - 8.0, y + 4.0, "end", &tick.label);
        }
        word(svg, f64::midpoint(FRAME[0], FRAME[2]), FRAME[3] + 44.0, "middle", self.below);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The points of every line of a plot, as they are on the paper.
    pub(super) fn drawn(svg: &str) -> Vec<Vec<(f64, f64)>> {
        let point = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        svg.split(" points=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().split_whitespace().map(point).collect())
            .collect()
    }

    #[track_caller]
    pub(super) fn inside(points: &[(f64, f64)]) {
        for (x, y) in points {
            assert!((FRAME[0]..=FRAME[2]).contains(x) && (FRAME[1]..=FRAME[3]).contains(y));
        }
    }

    #[test]
    fn what_lies_outside_is_drawn_at_the_edge() {
        let trace = |name, points: &[_]| Trace { name, points: points.to_vec() };
        let paper = Paper {
            title: "a & b",
            below: "x < y",
            across: vec![Tick { at: 0.5, label: "half".to_owned() }],
            upwards: Vec::new(),
            traces: vec![trace("one", &[(-1.0, 2.0), (0.5, 0.5)]), trace("nothing", &[])],
        };
        let svg = paper.svg();
        assert_eq!(drawn(&svg), [vec![(70.0, 50.0), (405.0, 255.0)], vec![]]);
        assert!(svg.contains("a &amp; b") && svg.contains("x &lt; y") && svg.contains(">half<"));
    }
}
