//! A plot of latency by percentile, as SVG: nines to the right, microseconds upwards, both logarithmic.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
/// Left, top, right and bottom of what is plotted.
const FRAME: [f64; 4] = [70.0, 50.0, 740.0, 460.0];
/// Told apart by people who see colours differently (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"];
/// Where lines have a label to the right: 0, 90, 99 % and so on.
const NINES_MAX: u32 = 6;

/// One line of the plot.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// Nanoseconds.
    pub(super) latency: &'a Histogram<u64>,
}

/// Where values are on the paper.
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

    fn x(&self, quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(f64::MIN_POSITIVE).log10();
        FRAME[0] + (nines / self.nines).min(1.0) * (FRAME[2] - FRAME[0])
    }

    fn y(&self, ns: u64) -> f64 {
        let power = (ns.max(1) as f64 / 1_000.0).log10();
        let share = ((power - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        FRAME[3] - share * (FRAME[3] - FRAME[1])
    }
}

/// The plot, a whole SVG file.
pub(super) fn svg(title: &str, lines: &[Line<'_>]) -> String {
    let scale = Scale::of(lines);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{}\" y=\"28\" font-size=\"16\">{}</text>\n",
        FRAME[0],
        escaped(title)
    );
    grid(&mut svg, &scale);
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = points(line.latency, &scale);
        let y = FRAME[1] + 14.0 + 22.0 * number as f64;
        let (x, name) = (FRAME[2] + 16.0, escaped(line.name));
        let _written = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>\n\
             <line x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"/>\n\
             <text x=\"{}\" y=\"{y}\">{name}</text>\n",
            x + 20.0,
            y - 4.0,
            y - 4.0,
            x + 28.0,
        );
    }
    svg + "</svg>\n"
}

fn grid(svg: &mut String, scale: &Scale) {
    let line = |svg: &mut String, [x1, y1, x2, y2]: [f64; 4]| {
        let _written = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
        );
    };
    let word = |svg: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
        let _written = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#444444\">{text}</text>"
        );
    };
    for nines in 0..=scale.nines as i32 {
        let x = scale.x(1.0 - 10_f64.powi(-nines));
        line(svg, [x, FRAME[1], x, FRAME[3]]);
        let percent = 100.0 - 100.0 * 10_f64.powi(-nines);
        word(svg, x, FRAME[3] + 20.0, "middle", &format!("{percent} %"));
    }
    for power in scale.low as i32..=scale.high as i32 {
        let y = scale.y((10_f64.powi(power) * 1_000.0) as u64);
        line(svg, [FRAME[0], y, FRAME[2], y]);
        word(svg, FRAME[0] - 8.0, y + 4.0, "end", &format!("{} µs", 10_f64.powi(power)));
    }
    word(svg, f64::midpoint(FRAME[0], FRAME[2]), FRAME[3] + 44.0, "middle", "percentile");
}

fn points(latency: &Histogram<u64>, scale: &Scale) -> String {
    let mut points = String::new();
    for step in latency.iter_quantiles(20) {
        let (x, y) = (scale.x(step.quantile_iterated_to()), scale.y(step.value_iterated_to()));
        let _written = write!(points, "{x:.1},{y:.1} ");
        if x >= FRAME[2] {
            break;
        }
    }
    points
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
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
        let svg = svg("256 x 256 & more", &lines);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("256 &amp; more"));
        assert!(svg.contains("99.999 %") && svg.contains("10000 µs"), "{svg}");
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split_whitespace() {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((FRAME[0]..=FRAME[2]).contains(&x) && (FRAME[1]..=FRAME[3]).contains(&y));
        }
    }
}
