//! Draws what QUIC's congestion controller did, from the log it writes:
//!
//! ```sh
//! RUST_LOG=framelane::congestion=trace framelane compare --link lossy --transport quic 2> trace.log
//! cargo run --release --example congestion_plot -- trace.log > trace.svg
//! ```
//!
//! Three panels over time: rates (what is delivered under the estimate of the path), bytes in flight under the
//! window, and round-trip times above the path's own. The band at the top shows the phase. Of several
//! connections the one that delivered most is drawn, or the one whose `flow` is the second argument.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

const WIDTH: f64 = 1_200.0;
const PANEL: f64 = 200.0;
const LEFT: f64 = 70.0;
const GAP: f64 = 50.0;

/// A panel's title, and its lines: field, colour, what a value is multiplied by.
type Panel = (&'static str, &'static [(&'static str, &'static str, f64)]);

const PANELS: [Panel; 3] = [
    ("rate, Mbit/s", &[("delivery_rate", "#d95f02", 1.0), ("bandwidth", "#1f4e79", 1.0)]),
    ("in flight, kB", &[("in_flight", "#d95f02", 1e-3), ("window", "#1f4e79", 1e-3)]),
    (
        "round trip, ms",
        &[
            ("smoothed_rtt", "#999999", 1.0),
            ("round_rtt", "#d95f02", 1.0),
            ("base_rtt", "#1f4e79", 1.0),
        ],
    ),
];

const PHASES: [(&str, &str); 5] = [
    ("Startup", "#7570b3"),
    ("Drain", "#e7298a"),
    ("Cruise", "#cfd8dc"),
    ("Up", "#66a61e"),
    ("Down", "#e6ab02"),
];

type Event = HashMap<String, String>;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which log? congestion_plot FILE [FLOW]")?;
    let log = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut flows: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in log.lines().filter_map(event) {
        flows.entry(event["flow"].clone()).or_default().push(event);
    }
    let delivered =
        |events: &Vec<Event>| events.last().map_or(0.0, |last| number(last, "delivered"));
    let chosen = match arguments.next() {
        Some(flow) => flows.get(&flow),
        None => flows.values().max_by(|a, b| delivered(a).total_cmp(&delivered(b))),
    };
    let events = chosen.ok_or("no such flow, or no lines of the controller: is RUST_LOG set?")?;
    println!("{}", draw(events));
    Ok(())
}

/// The fields of a line that the controller wrote.
fn event(line: &str) -> Option<Event> {
    let (_, fields) = line.split_once("congestion ")?;
    let pairs = fields.split_whitespace().filter_map(|field| field.split_once('='));
    let event: Event = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    ["flow", "at", "phase"].iter().all(|name| event.contains_key(*name)).then_some(event)
}

fn number(event: &Event, name: &str) -> f64 {
    event.get(name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn draw(events: &[Event]) -> String {
    let (first, last) = (number(&events[0], "at"), number(&events[events.len() - 1], "at"));
    let x = |at: f64| LEFT + (at - first) / (last - first).max(1.0) * (WIDTH - LEFT - 20.0);
    let height = 60.0 + PANELS.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
         font-family='sans-serif' font-size='13'><rect width='100%' height='100%' fill='white'/>"
    );
    phases(&mut svg, events, x);
    for (index, panel) in PANELS.iter().enumerate() {
        let top = 60.0 + index as f64 * (PANEL + GAP);
        draw_panel(&mut svg, events, panel, top, x);
        for tick in 0..=8 {
            let at = first + (last - first) * f64::from(tick) / 8.0;
            text(&mut svg, x(at), top + PANEL + 18.0, "middle", &format!("{:.2} s", at / 1e3));
        }
    }
    svg + "</svg>"
}

fn phases(svg: &mut String, events: &[Event], x: impl Fn(f64) -> f64) {
    for pair in events.windows(2) {
        let colour = PHASES.iter().find(|(name, _)| *name == pair[0]["phase"]);
        let (from, to) = (x(number(&pair[0], "at")), x(number(&pair[1], "at")));
        let (width, colour) = (to - from, colour.map_or("black", |(_, colour)| colour));
        let _ = write!(
            svg,
            "<rect x='{from:.1}' y='28' width='{width:.1}' height='14' fill='{colour}'/>"
        );
    }
    for (index, (name, colour)) in PHASES.iter().enumerate() {
        let left = LEFT + index as f64 * 90.0;
        let _ = write!(svg, "<rect x='{left}' y='8' width='12' height='12' fill='{colour}'/>");
        text(svg, left + 16.0, 19.0, "start", name);
    }
}

fn draw_panel(svg: &mut String, events: &[Event], panel: &Panel, top: f64, x: impl Fn(f64) -> f64) {
    let (title, lines) = panel;
    let values = lines
        .iter()
        .flat_map(|(field, _, scale)| events.iter().map(move |event| number(event, field) * scale));
    let highest = values.fold(1.0, f64::max) * 1.05;
    let y = |value: f64| top + PANEL - value / highest * PANEL;
    for tick in 0..=4 {
        let value = highest * f64::from(tick) / 4.0;
        let (at, right) = (y(value), WIDTH - 20.0);
        let _ = write!(svg, "<path d='M{LEFT} {at:.1}H{right}' stroke='#e0e0e0'/>");
        text(svg, LEFT - 6.0, at + 4.0, "end", &format!("{value:.0}"));
    }
    text(svg, LEFT, top - 4.0, "start", title);
    for (index, (field, colour, scale)) in lines.iter().enumerate() {
        let points = events.iter().fold(String::new(), |mut points, event| {
            let at = (x(number(event, "at")), y(number(event, field) * scale));
            let _ = write!(points, "{:.1},{:.1} ", at.0, at.1);
            points
        });
        let _ = write!(
            svg,
            "<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        );
        let left = LEFT + 160.0 + index as f64 * 150.0;
        let _ = write!(
            svg,
            "<path d='M{left} {:.1}h20' stroke='{colour}' stroke-width='3'/>",
            top - 9.0
        );
        text(svg, left + 26.0, top - 4.0, "start", &field.replace('_', " "));
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = write!(svg, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{words}</text>");
}
