//! A chart of the comparison as SVG, for light and dark pages and for screen readers.

use std::fmt::Write as _;

use crate::results::{Results, Row, Sample};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 22.0;
const TOP: f64 = 64.0;
const PANEL_HEAD: f64 = 46.0;
const AXIS: f64 = 44.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:17px;font-weight:600}\
.head{font-weight:600}.tick{font-size:11px;fill:#59636e}.grid{stroke:#d1d9e0}.std{fill:#0969da}.smol{fill:#1a7f37}\
.python{fill:#bc4c00}.echo{fill:#818b98}@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.tick{fill:#9198a1}\
.grid{stroke:#3d444d}.std{fill:#4493f8}.smol{fill:#3fb950}.python{fill:#f0883e}.echo{fill:#9198a1}}";

/// A panel of bars on a logarithmic scale.
struct Panel<'a> {
    head: &'static str,
    axis: &'static str,
    figure: fn(&Sample) -> f64,
    digits: usize,
    rows: &'a [&'a Row],
}

/// Draws replies per second and CPU time per request, one bar per server and load.
pub(crate) fn svg(results: &Results) -> String {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.engine != "gdbm, no CPU kept").collect();
    let panels = [
        Panel {
            head: "Replies per second (more is better)",
            axis: "replies per second, logarithmic",
            figure: |sample| sample.rate,
            digits: 0,
            rows: &rows,
        },
        Panel {
            head: "CPU time per request, server and database (less is better)",
            axis: "microseconds of CPU, logarithmic",
            figure: Sample::total_cpu,
            digits: 1,
            rows: &rows,
        },
    ];
    let heights: Vec<f64> = panels.iter().map(Panel::height).collect();
    let height = TOP + heights.iter().sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-labelledby=\"title desc\">\n<title id=\"title\">Pyzor servers compared</title>\n\
         <desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"16\" y=\"30\">Pyzor servers compared</text>\n\
         <text class=\"tick\" x=\"16\" y=\"50\">one worker, 128 requests in flight, {} records; echo: \
         datagrams without processing</text>\n",
        description(&rows),
        results.records
    );
    let mut top = TOP;
    for (panel, height) in panels.iter().zip(heights) {
        panel.draw(&mut svg, top);
        top += height;
    }
    svg + "</svg>\n"
}

/// Describes the chart in words.
fn description(rows: &[&Row]) -> String {
    let sentence = |row: &&Row| {
        let rate = row.median(|sample| sample.rate)?;
        let cpu = row.median(Sample::total_cpu)?;
        Some(format!(
            "{}: {rate:.0} replies per second, {cpu:.1} microseconds of CPU per request.",
            label(row)
        ))
    };
    rows.iter().filter_map(sentence).collect::<Vec<_>>().join(" ")
}

fn label(row: &Row) -> String {
    if row.engine.is_empty() {
        row.name.to_owned()
    } else {
        format!("{}, {}, {}", row.name, row.engine, row.workload.name())
    }
}

impl Panel<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    fn height(&self) -> f64 {
        PANEL_HEAD + ROW * self.rows.len() as f64 + AXIS
    }

    fn draw(&self, svg: &mut String, top: f64) {
        let values: Vec<f64> = self.rows.iter().map(|row| row.median(self.figure).unwrap_or(0.0)).collect();
        let (low, high) = decades(&values);
        let place = |value: f64| {
            let part = (value.max(1e-9).log10() - low) / (high - low);
            LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
        };
        let bottom = top + self.height() - AXIS;
        let _ = writeln!(svg, "<text class=\"head\" x=\"16\" y=\"{:.0}\">{}</text>", top + 24.0, self.head);
        let mut decade = low;
        while decade <= high {
            let (value, x) = (10_f64.powf(decade), place(10_f64.powf(decade)));
            let (y1, y) = (top + PANEL_HEAD - 10.0, bottom + 14.0);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {y1:.0}V{bottom:.0}\"/>");
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"middle\">{value}</text>"
            );
            decade += 1.0;
        }
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        let y = bottom + 30.0;
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{middle}\" y=\"{y:.0}\" text-anchor=\"middle\">{}</text>",
            self.axis
        );
        let mut y = top + PANEL_HEAD;
        for (row, value) in self.rows.iter().zip(values) {
            let (end, digits, text) = (place(value), self.digits, y + 12.0);
            let (width, after) = (end - LEFT, end + 6.0);
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{text:.0}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                label(row)
            );
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"15\" rx=\"2\"/>",
                row.name
            );
            let _ = writeln!(svg, "<text x=\"{after:.1}\" y=\"{text:.0}\">{value:.digits$}</text>");
            y += ROW;
        }
    }
}

/// Returns the exponents of the powers of ten around all values.
fn decades(values: &[f64]) -> (f64, f64) {
    let logs = || values.iter().filter(|value| **value > 0.0).map(|value| value.log10());
    let low = logs().fold(f64::INFINITY, f64::min).floor();
    let high = logs().fold(f64::NEG_INFINITY, f64::max).ceil();
    if low.is_finite() && high.is_finite() { (low, high.max(low + 1.0)) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_enclose_the_values() {
        assert_eq!(decades(&[3.0, 400.0]), (0.0, 3.0));
        assert_eq!(decades(&[10.0]), (1.0, 2.0));
        assert_eq!(decades(&[0.0]), (0.0, 1.0));
        assert_eq!(decades(&[]), (0.0, 1.0));
    }

    #[test]
    fn a_chart_without_results_is_valid() {
        let svg = svg(&Results::default());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("<title"));
    }
}
