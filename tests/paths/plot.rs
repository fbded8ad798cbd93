//! The picture of a journey: how late each frame was, what each link carried, and what happened to them.

use std::fmt::Write;

/// Something that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// UDP is blocked on the first link.
    Blocked,
    /// The first link is away.
    Away,
}

/// What is drawn. Times are in seconds.
pub(crate) struct Picture {
    total: f64,
    spans: Vec<(Span, f64, f64)>,
    moves: Vec<f64>,
    carried: Vec<(f64, [f64; 2])>,
    sources: Vec<Source>,
}

struct Source {
    name: String,
    /// When each frame fell due, and how late it was, in ms.
    frames: Vec<(f64, f64)>,
    /// p50, p95, p99 and the latest.
    quantiles: [f64; 4],
}

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 986.0;
/// The panels, from top to bottom: latency of each source, what the links carried, what happened.
const LATENCY: [(f64, f64); 2] = [(64.0, 204.0), (240.0, 380.0)];
const CARRIED: (f64, f64) = (420.0, 500.0);
const EVENTS: f64 = 520.0;
const HEIGHT: f64 = 604.0;

/// Latencies from here to there, in ms, by powers of ten.
const LEAST: f64 = 10.0;
const MOST: f64 = 10_000.0;

/// Colours that are told apart in print and by those who see red and green alike.
const VISIBLE: &str = "#d9730d";
const INFRARED: &str = "#7048a8";
const FIRST: &str = "#2f7ed8";
const SECOND: &str = "#2a9d78";

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#333}\
    .title{font-size:16px;font-weight:600;fill:#111}.name{font-weight:600}.soft{fill:#666}\
    .grid{stroke:#e3e3e3}.axis{stroke:#999}";

impl Picture {
    pub(crate) fn new(total: f64) -> Self {
        Self {
            total,
            spans: Vec::new(),
            moves: Vec::new(),
            carried: Vec::new(),
            sources: Vec::new(),
        }
    }

    pub(crate) fn span(&mut self, span: Span, from: f64, to: f64) {
        self.spans.push((span, from, to.min(self.total)));
    }

    /// An address has changed.
    pub(crate) fn moves(&mut self, at: f64) {
        self.moves.push(at);
    }

    /// What each link has carried until now, in Mbit/s.
    pub(crate) fn carried(&mut self, at: f64, mbit: [f64; 2]) {
        self.carried.push((at, mbit));
    }

    pub(crate) fn source(&mut self, name: &str, frames: Vec<(f64, f64)>, quantiles: [f64; 4]) {
        self.sources.push(Source { name: name.to_owned(), frames, quantiles });
    }

    /// The picture as SVG.
    pub(crate) fn draw(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#fff\"/>\n",
            self.label()
        );
        self.heading(&mut out);
        for (source, place) in self.sources.iter().zip(LATENCY) {
            self.latency(source, place, &mut out);
        }
        self.links(&mut out);
        self.happened(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn label(&self) -> String {
        let each = self.sources.iter().map(|source| {
            let [p50, p95, p99, latest] = source.quantiles;
            format!(
                "{}: p50 {p50:.0}, p95 {p95:.0}, p99 {p99:.0}, latest {latest:.0} ms",
                source.name
            )
        });
        format!(
            "Latency of every frame over Wi-Fi and LTE at once; {}",
            each.collect::<Vec<_>>().join("; ")
        )
    }

    fn heading(&self, out: &mut String) {
        let frames: usize = self.sources.iter().map(|source| source.frames.len()).sum();
        let lasted = match self.total {
            total if total >= 120.0 => format!("{:.0} minutes", total / 60.0),
            total => format!("{total:.0} s"),
        };
        let _ = writeln!(
            out,
            "<text class=\"title\" x=\"14\" y=\"22\">Two cameras over Wi-Fi and LTE at once, {lasted}</text>\
             <text class=\"soft\" x=\"14\" y=\"41\">{frames} frames, each a dot: how long it took from captured to stored. All of them are stored.</text>"
        );
    }

    fn latency(&self, source: &Source, (top, bottom): (f64, f64), out: &mut String) {
        let colour = if source.name == "visible" { VISIBLE } else { INFRARED };
        let y = |ms: f64| {
            let part = (ms.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
            bottom - part * (bottom - top)
        };
        self.shade(top, bottom, out);
        for (tick, name) in
            [(10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s"), (10_000.0, "10 s")]
        {
            grid(y(tick), name, out);
        }
        let [p50, p95, p99, latest] = source.quantiles;
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>\
             <text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">p50 {p50:.0}, p95 {p95:.0}, p99 {p99:.0}, latest {latest:.0} ms</text>",
            top - 8.0,
            source.name,
            top - 8.0
        );
        let _ = write!(
            out,
            "<path stroke=\"{colour}\" stroke-width=\"2.2\" stroke-linecap=\"round\" opacity=\"0.55\" d=\""
        );
        for (x, y) in spread(source.frames.iter().map(|&(at, late)| (self.x(at), y(late)))) {
            let _ = write!(out, "M{x:.0} {y:.0}h0");
        }
        out.push_str("\"/>\n");
    }

    /// What each link carried: the second on top of the first.
    fn links(&self, out: &mut String) {
        let (top, bottom) = CARRIED;
        let most = self.carried.iter().map(|(_, [first, second])| first + second);
        let most = (most.fold(10.0, f64::max) / 10.0).ceil() * 10.0;
        let y = |mbit: f64| bottom - (mbit / most).clamp(0.0, 1.0) * (bottom - top);
        grid(y(0.0), "0", out);
        grid(y(most / 2.0), &format!("{:.0}", most / 2.0), out);
        grid(y(most), &format!("{most:.0} Mbit/s"), out);
        let area = |from: &dyn Fn([f64; 2]) -> f64,
                    to: &dyn Fn([f64; 2]) -> f64,
                    colour: &str,
                    out: &mut String| {
            let _ = write!(out, "<path fill=\"{colour}\" opacity=\"0.8\" d=\"");
            let there = self.carried.iter().map(|&(at, mbit)| (at, to(mbit)));
            let back = self.carried.iter().rev().map(|&(at, mbit)| (at, from(mbit)));
            for (index, (at, mbit)) in there.chain(back).enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let _ = write!(out, "{command}{:.1} {:.1}", self.x(at), y(mbit));
            }
            out.push_str("Z\"/>\n");
        };
        area(&|_| 0.0, &|[first, _]| first, FIRST, out);
        area(&|[first, _]| first, &|[first, second]| first + second, SECOND, out);
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">carried <tspan style=\"fill:{FIRST}\">by Wi-Fi</tspan> \
             <tspan style=\"fill:{SECOND}\">and by LTE</tspan></text>",
            top - 8.0
        );
    }

    /// Rows of what happened, and the time.
    fn happened(&self, out: &mut String) {
        let rows = [
            ("Wi-Fi away", Some(Span::Away), "#c0392b"),
            ("UDP blocked", Some(Span::Blocked), "#8a8a8a"),
            ("new address", None, "#333"),
        ];
        for (row, (name, span, colour)) in (0..).zip(rows) {
            let y = EVENTS + f64::from(row) * 17.0;
            let _ = write!(
                out,
                "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" style=\"font-size:10.5px\">{name}</text>",
                LEFT - 4.0,
                y + 9.0
            );
            for &(what, from, to) in self.spans.iter().filter(|(what, ..)| Some(*what) == span) {
                let _ = what;
                let (from, to) = (self.x(from), self.x(to));
                let width = (to - from).max(2.0);
                let _ = write!(
                    out,
                    "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"11\" fill=\"{colour}\"/>"
                );
            }
            for at in self.moves.iter().filter(|_| span.is_none()) {
                let _ = write!(
                    out,
                    "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"2.5\" height=\"11\" fill=\"{colour}\"/>",
                    self.x(*at)
                );
            }
            out.push('\n');
        }
        let bottom = EVENTS + 54.0;
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        );
        let (step, unit) = if self.total >= 120.0 { (60.0, "min") } else { (5.0, "s") };
        let mut at = 0.0;
        while at <= self.total + 0.1 {
            let shown = if step == 60.0 { at / 60.0 } else { at };
            let _ = write!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{shown:.0}{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                if at == 0.0 { format!(" {unit}") } else { String::new() },
                x = self.x(at),
            );
            at += step;
        }
        out.push('\n');
    }

    /// Where Wi-Fi is away, behind the dots.
    fn shade(&self, top: f64, bottom: f64, out: &mut String) {
        for &(_, from, to) in self.spans.iter().filter(|(what, ..)| *what == Span::Away) {
            let (from, to) = (self.x(from), self.x(to));
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f7dfdb\"/>",
                (to - from).max(1.5),
                bottom - top
            );
        }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (at / self.total).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn grid(y: f64, name: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
        LEFT - 6.0,
        y + 4.0
    );
}

/// Dots that are not where others are already: what nobody sees makes the file no longer.
fn spread(dots: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut seen = std::collections::BTreeSet::new();
    dots.filter(|(x, y)| seen.insert(((x * 1.0) as i64, (y * 1.0) as i64))).collect()
}
