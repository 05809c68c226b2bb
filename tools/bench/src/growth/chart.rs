//! Figures over the size of the fleet as an SVG: a panel for each, both axes logarithmic. What the figures mean is not known here.

use std::fmt::Write;

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 220.0;
const COLUMNS: usize = 3;
/// Around the plot of a panel: for its title and its labels.
const MARGIN: Margin = Margin { left: 56.0, top: 34.0, right: 16.0, bottom: 34.0 };
/// A panel shows at least this ratio between its ends, so that noise looks like noise.
const LEAST_SPAN: f64 = 10.0;

struct Margin {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// One figure at several sizes.
pub struct Panel {
    pub title: &'static str,
    pub unit: &'static str,
    /// Devices, and the figure.
    pub points: Vec<(f64, f64)>,
}

impl Panel {
    pub fn new(title: &'static str, unit: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { title, unit, points }
    }

    /// The exponent of the power of the size that fits the figures best: 0 does not grow, 1 grows as the fleet does.
    fn exponent(&self) -> f64 {
        let logs: Vec<(f64, f64)> = self.points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let (mean_x, mean_y) =
            logs.iter().fold((0.0, 0.0), |(x, y), log| (x + log.0 / count, y + log.1 / count));
        let (both, own) = logs.iter().fold((0.0, 0.0), |(both, own), (x, y)| {
            (both + (x - mean_x) * (y - mean_y), own + (x - mean_x).powi(2))
        });
        both / own
    }

    /// The same as text; one size alone has none.
    pub fn exponent_text(&self) -> String {
        if self.points.len() < 2 { "none".to_owned() } else { format!("{:.2}", self.exponent()) }
    }
}

/// The part of an axis that is shown, from a power of ten to another.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN_POSITIVE, f64::max));
        let low = 10f64.powf(low.log10().floor());
        Self { low, high: 10f64.powf(high.log10().ceil()).max(low * LEAST_SPAN) }
    }

    /// From 0 at the low end to 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        let high = self.high * 1.001;
        std::iter::successors(Some(self.low), |power| Some(power * 10.0))
            .take_while(move |power| *power <= high)
    }
}

/// All panels, in rows.
pub fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL_WIDTH * COLUMNS as f64, PANEL_HEIGHT * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let left = PANEL_WIDTH * (number % COLUMNS) as f64;
        let top = PANEL_HEIGHT * (number / COLUMNS) as f64;
        put(&mut svg, format_args!("<g transform=\"translate({left} {top})\">\n"));
        draw(&mut svg, panel);
        put(&mut svg, format_args!("</g>\n"));
    }
    put(&mut svg, format_args!("</svg>\n"));
    svg
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a String takes all text");
}

fn draw(svg: &mut String, panel: &Panel) {
    let (across, up) = (
        Axis::over(panel.points.iter().map(|point| point.0)),
        Axis::over(panel.points.iter().map(|point| point.1)),
    );
    let (right, bottom) = (PANEL_WIDTH - MARGIN.right, PANEL_HEIGHT - MARGIN.bottom);
    let x = |devices: f64| MARGIN.left + across.share(devices) * (right - MARGIN.left);
    let y = |figure: f64| bottom - up.share(figure) * (bottom - MARGIN.top);
    let (title, unit, exponent) = (panel.title, panel.unit, panel.exponent_text());
    let left = MARGIN.left;
    put(
        svg,
        format_args!(
            "<text x=\"{left}\" y=\"20\" font-size=\"13\" font-weight=\"bold\">{title}, {unit}</text>\n\
             <text x=\"{right}\" y=\"20\" text-anchor=\"end\">exponent {exponent}</text>\n"
        ),
    );
    for devices in across.powers() {
        let at = x(devices);
        put(
            svg,
            format_args!(
                "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{at:.1}\" y=\"{label:.1}\" text-anchor=\"middle\">{text}</text>\n",
                top = MARGIN.top,
                label = bottom + 16.0,
                text = short(devices),
            ),
        );
    }
    for figure in up.powers() {
        let at = y(figure);
        put(
            svg,
            format_args!(
                "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{label:.1}\" y=\"{text_at:.1}\" text-anchor=\"end\">{text}</text>\n",
                label = left - 6.0,
                text_at = at + 4.0,
                text = short(figure),
            ),
        );
    }
    let line: Vec<String> = panel
        .points
        .iter()
        .map(|(devices, figure)| format!("{:.1},{:.1}", x(*devices), y(*figure)))
        .collect();
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6fb2\" stroke-width=\"2\"/>\n",
            line.join(" ")
        ),
    );
    for (devices, figure) in &panel.points {
        put(
            svg,
            format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#1f6fb2\"/>\n",
                x(*devices),
                y(*figure)
            ),
        );
    }
}

/// A power of ten as axes show it.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        large if large >= 1e6 => (large / 1e6, " M"),
        medium if medium >= 1e3 => (medium / 1e3, " k"),
        small => (small, ""),
    };
    format!("{}{unit}", (value * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::{Panel, short, svg};

    fn panel(points: &[(f64, f64)]) -> Panel {
        Panel::new("restart", "ms", points.to_vec())
    }

    #[test]
    fn the_exponent_is_that_of_the_power_that_made_the_figures() {
        let grows = panel(&[(1e4, 2e4), (1e5, 2e5), (1e6, 2e6)]);
        let stays = panel(&[(1e4, 7.0), (1e5, 7.0), (1e6, 7.0)]);
        assert!((grows.exponent() - 1.0).abs() < 1e-9);
        assert!(stays.exponent().abs() < 1e-9);
        assert_eq!([grows.exponent_text(), panel(&[(1e4, 7.0)]).exponent_text()], ["1.00", "none"]);
    }

    #[test]
    fn every_point_is_inside_its_panel() {
        let drawn = svg(&[panel(&[(1e4, 11.0), (3e4, 35.0), (3e7, 24_000.0)])]);
        let numbers = drawn.split("<circle ").skip(1).flat_map(|circle| {
            ["cx=\"", "cy=\""].map(|name| {
                let (_, value) = circle.split_once(name).unwrap();
                value.split_once('"').unwrap().0.parse::<f64>().unwrap()
            })
        });
        let numbers: Vec<f64> = numbers.collect();
        assert_eq!(numbers.len(), 6);
        assert!(numbers.iter().all(|number| (30.0..300.0).contains(number)), "{numbers:?}");
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([1.0, 100.0, 1e4, 1e7].map(short), ["1", "100", "10 k", "10 M"]);
    }
}
