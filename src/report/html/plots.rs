//! The plots of one link.

use super::shown::{FirstRun, Kept, Shown, ShownRow};
use super::svg::{Mark, Plot, Scale, number};

/// Points of a curve beyond which nobody sees a difference.
const POINTS: usize = 400;

/// Frames of a source beyond which an over-time plot is a smear.
const FRAMES: usize = 2_000;

/// The share of frames that the limit's line in an over-time plot stands for.
const LIMIT_AT: f64 = 0.95;

/// The colour of a row, and with a `d` before it its dashes: the first is ours.
pub(super) fn colour(row: usize) -> String {
    format!("c{}", row % 8)
}

/// The share of frames that came within each latency, of all transports, for one source.
pub(super) fn distribution(shown: &Shown, source: usize) -> String {
    let Some(named) = shown.sources.get(source) else { return String::new() };
    let all: Vec<(u64, Vec<f64>)> = shown.rows.iter().map(|row| sorted(row, source)).collect();
    let latencies = || all.iter().flat_map(|(_, latencies)| latencies).copied();
    let limit = || named.limit.iter().map(|limit| limit.quantile(0.99)).filter(|l| l.is_finite());
    let least = named.limit.iter().filter_map(|limit| limit.0.first()).map(|step| step.0);
    let from = latencies().chain(least).fold(f64::INFINITY, f64::min);
    let to = latencies().chain(limit()).fold(1.0, f64::max) * 1.1;
    let from = if from.is_finite() { from * 0.8 } else { to / 10.0 };
    let (x, y) = (Scale::logarithmic(from, to), Scale::linear(0.0, 100.0));
    let mut plot = Plot::new(560.0, 300.0, x, y, &named.name);
    plot.axes(shown.latency, "%");
    if let Some(limit) = &named.limit {
        let steps = limit.0.iter().map(|(latency, share)| (*latency, share * 100.0));
        plot.line(&staircase(steps, to), "limit-line", None);
    }
    // Ours last, so that it lies on top.
    for (index, (row, (offered, latencies))) in shown.rows.iter().zip(&all).enumerate().rev() {
        let share = latencies.len() as f64 / (*offered).max(1) as f64 * 100.0;
        let latencies = thinned(latencies);
        let count = latencies.len().max(1) as f64;
        let steps =
            (1..).zip(&latencies).map(|(n, latency)| (*latency, f64::from(n) / count * share));
        let colour = colour(index);
        let ours = if row.ours { " ours" } else { "" };
        plot.line(&staircase(steps, to), &format!("curve d{colour}{ours}"), Some(&colour));
    }
    plot.finish(&format!("Latency distribution of {} over {}", named.name, shown.link))
}

/// Frames offered, and the latencies of all repetitions, ascending.
fn sorted(row: &ShownRow, source: usize) -> (u64, Vec<f64>) {
    let (offered, mut latencies) = row.latencies.get(source).cloned().unwrap_or_default();
    latencies.sort_by(f64::total_cmp);
    (offered, latencies)
}

/// Every n-th value, the last one included.
fn thinned(values: &[f64]) -> Vec<f64> {
    let step = values.len().div_ceil(POINTS).max(1);
    values.rchunks(step).rev().filter_map(|chunk| chunk.last()).copied().collect()
}

/// A curve that rises in steps and goes on to the right edge.
fn staircase(steps: impl Iterator<Item = (f64, f64)>, to: f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut before = 0.0;
    for (x, y) in steps {
        points.extend([(x, before), (x, y)]);
        before = y;
    }
    if !points.is_empty() {
        points.push((to, before));
    }
    points
}

/// Latency of each frame of the first repetition over the time at which it was due.
pub(super) fn timeline(shown: &Shown, row: &ShownRow) -> String {
    let (Some(first), Some(seconds)) = (&row.first, shown.seconds) else { return String::new() };
    let top = match first.pace {
        Kept::Up => ceiling(shown),
        Kept::Behind | Kept::Failed => latest(first).max(10.0) * 1.05,
    };
    let (x, y) = (Scale::linear(0.0, seconds), Scale::linear(0.0, top));
    let mut plot = Plot::new(370.0, 210.0, x, y, &row.name);
    plot.axes("s, when the frame was due", "ms");
    match first.pace {
        Kept::Up => {}
        Kept::Behind => plot.remark("cannot keep up: own scale"),
        Kept::Failed => plot.remark("failed: own scale"),
    }
    for (index, (frames, source)) in first.frames.iter().zip(&shown.sources).enumerate() {
        let colour = camera(index, &source.name);
        let limit = source.limit.as_ref().map(|limit| limit.quantile(LIMIT_AT));
        if let Some(limit) = limit.filter(|limit| *limit <= top) {
            plot.line(&[(0.0, limit), (seconds, limit)], "limit-line", Some(&colour));
        }
        let frames = &frames[..frames.len().min(FRAMES)];
        plot.line(frames, "trace", Some(&colour));
        for (due, latency) in frames {
            plot.dot(*due, *latency, mark(index), &colour);
        }
    }
    plot.finish(&format!("Latency over time of {} over {}", row.name, shown.link))
}

/// One scale for all transports of a link that keep up; what they do is compared by eye.
fn ceiling(shown: &Shown) -> f64 {
    let first = shown.rows.iter().filter_map(|row| row.first.as_ref());
    let latest = first.filter(|run| run.pace == Kept::Up).map(latest);
    let limits = shown.sources.iter().filter_map(|source| source.limit.as_ref());
    let limit = limits.map(|limit| 1.2 * limit.quantile(LIMIT_AT)).filter(|l| l.is_finite());
    latest.chain(limit).fold(10.0, f64::max) * 1.05
}

fn latest(run: &FirstRun) -> f64 {
    run.frames.iter().flatten().map(|(_, latency)| *latency).fold(0.0, f64::max)
}

/// Sources in their colours: visible, infrared, and others as they come.
pub(super) fn camera(index: usize, name: &str) -> String {
    match (name, index) {
        ("visible", _) => "visible".to_owned(),
        ("infrared", _) => "infrared".to_owned(),
        (_, 0) => "visible".to_owned(),
        (_, 1) => "infrared".to_owned(),
        (_, other) => format!("c{}", (other + 2) % 8),
    }
}

/// Sources are told apart in grey as well.
pub(super) fn mark(index: usize) -> Mark {
    if index.is_multiple_of(2) { Mark::Full } else { Mark::Hollow }
}

/// Goodput of each transport as a bar, with its spread, and what was possible as a line.
pub(super) fn goodput(shown: &Shown) -> String {
    use std::fmt::Write;
    const NAME: f64 = 170.0;
    const WIDTH: f64 = 1_100.0;
    const STEP: f64 = 24.0;
    /// Room for a figure.
    const FIGURE: f64 = 48.0;
    let goodput = shown.rows.iter().map(|row| row.goodput_mbit.max);
    let top = goodput.chain(shown.possible_mbit).fold(0.1, f64::max);
    let at = |mbit: f64| NAME + mbit / top * (WIDTH - NAME - 90.0);
    let possible = shown.possible_mbit.map(|mbit| (mbit, at(mbit)));
    let height = STEP * shown.rows.len() as f64 + 24.0;
    let mut body = String::new();
    for (index, row) in shown.rows.iter().enumerate() {
        let (y, goodput, colour) = (STEP * index as f64 + 4.0, row.goodput_mbit, colour(index));
        // The figure stands behind the bar, or behind the limit's line where that is in its place.
        let figure = match possible {
            Some((_, line)) if (0.0..FIGURE).contains(&(line - at(goodput.max))) => line,
            _ => at(goodput.max),
        };
        let _ = write!(
            body,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect x="{NAME}" y="{y:.1}" width="{:.1}" height="16" rx="2" style="fill:var(--{colour})"/><line class="axis" x1="{:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}"/><text class="value" x="{:.1}" y="{:.1}">{:.1}</text>"#,
            NAME - 8.0,
            y + 12.0,
            super::svg::escape(&row.name),
            at(goodput.median) - NAME,
            at(goodput.min),
            at(goodput.max),
            y + 8.0,
            y + 8.0,
            figure + 6.0,
            y + 12.0,
            goodput.median
        );
    }
    if let Some((mbit, x)) = possible {
        let _ = write!(
            body,
            r#"<path class="limit-line" d="M{x:.1} 0V{:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">possible: {} Mbit/s</text>"#,
            height - 18.0,
            height - 5.0,
            number((mbit * 10.0).round() / 10.0)
        );
    }
    let label = super::svg::escape(&format!("Goodput in Mbit/s over {}", shown.link));
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{body}</svg>"#)
}
