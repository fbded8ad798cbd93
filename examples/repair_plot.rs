//! Draws the decision on forward repair: how much frames of a length get, and which of them have it written apart.
//!
//! ```sh
//! cargo run --release --example repair_plot > repair.svg
//! ```
//!
//! Each point is the mean of many frames of one length in a row, as the sender's policy plans them: what a frame
//! does not use of its part of the link is there for the next.

use std::fmt::Write as _;
use std::time::Duration;

use framelane::repair::{Conditions, RepairMode, RepairPolicy, Settings};

const LOSSES: [(f64, &str); 4] =
    [(0.01, "#1f4e79"), (0.02, "#2a9d8f"), (0.05, "#e6a100"), (0.10, "#c1440e")];
const LOADS: [f64; 3] = [0.2, 0.5, 0.8];
const RUNS: [f64; 2] = [1.0, 5.0];
/// Stream bytes of a packet of 1,280.
const PACKET: usize = 1_218;
const SHORTEST: f64 = 100.0;
const LONGEST: f64 = 1e6;
const POINTS: usize = 160;
/// Frames that count, and bytes of frames that are planned before: until what is saved up at first is spent.
const FRAMES: usize = 80;
const BEFORE: f64 = 500_000.0;
const MOST: f64 = 1.25;

const LEFT: f64 = 70.0;
const TOP: f64 = 92.0;
const PANEL: (f64, f64) = (330.0, 230.0);
const GAP: (f64, f64) = (36.0, 62.0);

/// What frames of a length get.
struct Point {
    bytes: f64,
    /// Repair as a share of header and body.
    share: f64,
    apart: bool,
}

fn main() {
    let width = LEFT + LOADS.len() as f64 * (PANEL.0 + GAP.0);
    let height = TOP + RUNS.len() as f64 * (PANEL.1 + GAP.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, LEFT, 28.0, "start", 18, "Forward repair by the length of a frame");
    text(
        &mut svg,
        LEFT,
        48.0,
        "start",
        13,
        "bytes of repair for a byte of frame, round trip 50 ms, packets of 1,280 bytes; \
         a thick line: written after a pause, in packets of its own",
    );
    legend(&mut svg, width);
    for (row, run) in RUNS.into_iter().enumerate() {
        for (column, load) in LOADS.into_iter().enumerate() {
            let x = LEFT + column as f64 * (PANEL.0 + GAP.0);
            let y = TOP + row as f64 * (PANEL.1 + GAP.1);
            panel(&mut svg, (x, y), run, load);
        }
    }
    let below = height - 12.0;
    text(&mut svg, LEFT + 1.5 * PANEL.0 + GAP.0, below, "middle", 13, "bytes of a frame");
    println!("{svg}</svg>");
}

fn legend(svg: &mut String, width: f64) {
    for (index, (loss, colour)) in LOSSES.iter().enumerate() {
        let x = width - GAP.0 - 330.0 + index as f64 * 88.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"24\" x2=\"{}\" y2=\"24\" stroke=\"{colour}\" stroke-width=\"3\"/>",
            x + 20.0
        );
        text(svg, x + 25.0, 28.5, "start", 13, &format!("{:.0} % lost", loss * 100.0));
    }
}

fn panel(svg: &mut String, (x, y): (f64, f64), run: f64, load: f64) {
    let lost =
        if run > 1.0 { format!("lost in runs of {run:.0}") } else { "lost one by one".into() };
    let title = format!("frames take {:.0} % of the link, {lost}", load * 100.0);
    text(svg, x, y - 9.0, "start", 13, &title);
    let place =
        |bytes: f64| x + (bytes / SHORTEST).log10() / (LONGEST / SHORTEST).log10() * PANEL.0;
    let height = |share: f64| y + PANEL.1 - share.min(MOST) / MOST * PANEL.1;
    for (bytes, label) in
        [(100.0, "100"), (1e3, "1 k"), (1e4, "10 k"), (1e5, "100 k"), (1e6, "1 M")]
    {
        grid(svg, (place(bytes), y), (place(bytes), y + PANEL.1));
        text(svg, place(bytes), y + PANEL.1 + 18.0, "middle", 12, label);
    }
    for percent in [0, 25, 50, 75, 100, 125] {
        let at = height(f64::from(percent) / 100.0);
        grid(svg, (x, at), (x + PANEL.0, at));
        if x < LEFT + 1.0 {
            text(svg, x - 8.0, at + 4.0, "end", 12, &format!("{percent} %"));
        }
    }
    for (loss, colour) in LOSSES {
        let points = points(loss, run, load);
        for pair in points.windows(2) {
            let [a, b] = pair else { continue };
            let thick = if a.apart && b.apart { 4.0 } else { 1.8 };
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
                 stroke-width=\"{thick}\" stroke-linecap=\"round\"/>",
                place(a.bytes),
                height(a.share),
                place(b.bytes),
                height(b.share),
            );
        }
    }
}

fn points(loss: f64, run: f64, load: f64) -> Vec<Point> {
    let step = (LONGEST / SHORTEST).powf(1.0 / (POINTS - 1) as f64);
    (0..POINTS)
        .map(|index| {
            let bytes = (SHORTEST * step.powi(index as i32)).round();
            let now = Conditions {
                loss: Some(loss),
                run,
                rtt: Duration::from_millis(50),
                load,
                busy: 0.0,
                backlog: false,
                bulk: false,
                own_losses: false,
                deadline: None,
                packet_len: PACKET,
                packet_rate: 500.0,
            };
            let mut policy = RepairPolicy::new(RepairMode::Auto, Settings::default());
            let mut plan = || policy.plan(bytes as u64, &now);
            let before = FRAMES + (BEFORE / bytes) as usize;
            let before = (0..before).filter_map(|_| plan()).count();
            let planned: Vec<_> = (0..FRAMES).filter_map(|_| plan()).collect();
            let repair: usize = planned.iter().map(|repair| repair.cost()).sum();
            let share = repair as f64 / FRAMES as f64 / (bytes + 70.0);
            let apart = before > 0 && planned.iter().any(|repair| repair.pause.is_some());
            Point { bytes, share, apart }
        })
        .collect()
}

fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: u32, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{words}</text>"
    );
}
