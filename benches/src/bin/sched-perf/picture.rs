//! How the time grows with the cluster, as a picture.

use std::fmt::Write as _;

use crate::Run;
use crate::workload::Workload;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 60.0;

/// One line of the picture: nodes, and seconds.
struct Series {
    title: &'static str,
    color: &'static str,
    points: Vec<(f64, f64)>,
}

/// The runs of `Scale` as SVG: both axes logarithmic, so that a straight line of slope 1 is linear growth.
pub(crate) fn draw(runs: &[(Workload, Run)]) -> String {
    let points = |fixed: bool| {
        let scale = runs.iter().filter(|(row, _)| row.name == "Scale");
        let mut points: Vec<(f64, f64)> = scale
            .filter(|(row, _)| {
                (row.pods == 10_000) == fixed || row.pods == 10 * row.nodes && row.pods == 10_000
            })
            .map(|(row, run)| (row.nodes as f64, run.took.as_secs_f64().max(1e-6)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0);
        points
    };
    let all = [
        Series { title: "10 pods for each node", color: "#c0392b", points: points(false) },
        Series { title: "10,000 pods", color: "#2563eb", points: points(true) },
    ];
    let values = || all.iter().flat_map(|series| &series.points);
    let decade = |value: f64, up: bool| if up { value.log10().ceil() } else { value.log10().floor() };
    let (x0, x1) = (3.0, values().map(|p| decade(p.0, true)).fold(4.0, f64::max));
    let y0 = values().map(|p| decade(p.1, false)).fold(0.0, f64::min);
    let y1 = values().map(|p| decade(p.1, true)).fold(0.0, f64::max);
    let x = |nodes: f64| MARGIN + (nodes.log10() - x0) / (x1 - x0) * (WIDTH - 2.0 * MARGIN);
    let y = |seconds: f64| HEIGHT - MARGIN - (seconds.log10() - y0) / (y1 - y0) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for exponent in y0 as i32..=y1 as i32 {
        let seconds = 10f64.powi(exponent);
        let at = y(seconds);
        let _ = writeln!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n<text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{seconds} s</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            at + 4.0
        );
    }
    for (nodes, label) in [(1e3, "1k"), (5e3, "5k"), (2e4, "20k"), (1e5, "100k nodes")] {
        let at = x(nodes);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{MARGIN}\" y2=\"{}\" stroke=\"#eee\"/>\n<text x=\"{at:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{label}</text>",
            HEIGHT - MARGIN,
            HEIGHT - MARGIN + 18.0
        );
    }
    for (n, series) in all.iter().enumerate() {
        let Series { title, color, points } = series;
        let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for p in points {
            let (at, up) = (x(p.0), y(p.1));
            let _ = writeln!(
                svg,
                "<circle cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"3\" fill=\"{color}\"/>\n<text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\" fill=\"{color}\">{:.2} s</text>",
                up - 8.0,
                p.1
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" fill=\"{color}\">{title}</text>",
            MARGIN + 10.0,
            MARGIN - 30.0 + 16.0 * n as f64
        );
    }
    svg.push_str("</svg>\n");
    svg
}
