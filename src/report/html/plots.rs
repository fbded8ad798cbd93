//! The plots of one link.

use super::svg::{Plot, Scale, number};
use crate::compare::outcome::{Comparison, LinkOutcome, Row, RunVerdict, SourceRun};

/// Points of a curve beyond which nobody sees a difference.
const POINTS: usize = 400;

/// The colour of a row: the first is ours.
pub(super) fn colour(row: usize) -> String {
    format!("c{}", row % 8)
}

/// The share of frames that were stored within each latency, of all transports, for one source.
pub(super) fn distribution(link: &LinkOutcome, source: usize) -> String {
    let limit = link.rows.iter().flat_map(|row| &row.runs).find_map(|run| run.sources.get(source));
    let Some(limit) = limit else { return String::new() };
    let all: Vec<Vec<f64>> = link.rows.iter().map(|row| latencies(row, source)).collect();
    let least = limit.limit_curve.0.first().map_or(1.0, |step| step.0);
    let from = all.iter().flatten().copied().fold(least, f64::min) * 0.8;
    let to = all.iter().flatten().copied().fold(limit.limit.p99, f64::max) * 1.1;
    let (x, y) = (Scale::logarithmic(from, to), Scale::linear(0.0, 100.0));
    let mut plot = Plot::new(560.0, 300.0, x, y, &limit.name);
    plot.axes("ms from due to stored", "% of frames offered", number);
    let steps = limit.limit_curve.0.iter().map(|(latency, share)| (*latency, share * 100.0));
    plot.line(&staircase(steps, to), "limit-line", None);
    // Ours last, so that it lies on top.
    for (index, row) in link.rows.iter().enumerate().rev() {
        let offered = row.summary.sources.get(source).map_or(0, |source| source.offered);
        let latencies = thinned(&all[index]);
        let share = all[index].len() as f64 / offered.max(1) as f64 * 100.0;
        let count = latencies.len().max(1) as f64;
        let steps =
            (1..).zip(&latencies).map(|(n, latency)| (*latency, f64::from(n) / count * share));
        let class = if row.variant.is_default() { "curve ours" } else { "curve" };
        plot.line(&staircase(steps, to), class, Some(&colour(index)));
    }
    plot.finish(&format!("Latency distribution of {} over {}", limit.name, link.label))
}

/// Latencies of all repetitions, ascending.
fn latencies(row: &Row, source: usize) -> Vec<f64> {
    let sources = row.runs.iter().filter_map(|run| run.sources.get(source));
    let samples = sources.flat_map(|source| source.samples.iter().map(|(_, _, latency)| *latency));
    let mut latencies: Vec<f64> = samples.collect();
    latencies.sort_by(f64::total_cmp);
    latencies
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
pub(super) fn timeline(comparison: &Comparison, link: &LinkOutcome, row: &Row) -> String {
    let Some(run) = row.runs.first() else { return String::new() };
    let seconds = comparison.offered.sources.iter().map(|source| source.frames).max().unwrap_or(1)
        as f64
        / comparison.offered.fps.unwrap_or(1.0);
    let (x, y) = (Scale::linear(0.0, seconds), Scale::linear(0.0, ceiling(link)));
    let top = y.to;
    let mut plot = Plot::new(370.0, 210.0, x, y, &row.variant.to_string());
    plot.axes("s, when it was due", "ms", number);
    for (index, source) in run.sources.iter().enumerate() {
        let colour = camera(index, source);
        let points: Vec<(f64, f64)> = source
            .samples
            .iter()
            .take(2_000)
            .map(|(_, due, latency)| (due / 1e3, *latency))
            .collect();
        plot.line(&points, "trace", Some(&colour));
        for (due, latency) in points {
            plot.dot(due, latency, &colour);
        }
    }
    let samples = run.sources.iter().flat_map(|source| &source.samples);
    let latest = samples.map(|(_, _, latency)| *latency).fold(0.0, f64::max);
    match run.verdict {
        RunVerdict::Steady => {}
        RunVerdict::Failed(_) => plot.remark(0, "failed"),
        _ => plot.remark(0, "cannot keep up"),
    }
    if latest > top {
        plot.remark(1, &format!("up to {latest:.0} ms"));
    }
    plot.finish(&format!("Latency over time of {} over {}", row.variant, link.label))
}

/// One scale for all transports of a link: that of those that keep up.
fn ceiling(link: &LinkOutcome) -> f64 {
    let steady = link.rows.iter().flat_map(|row| &row.runs);
    let sources = || steady.clone().flat_map(|run| &run.sources);
    let latest = sources().filter_map(|source| source.latency).map(|latency| latency.max);
    let limit = sources().map(|source| 2.0 * source.limit.p99).filter(|limit| limit.is_finite());
    latest.chain(limit).fold(10.0, f64::max) * 1.05
}

/// Sources in their colours: visible, infrared, and others as they come.
pub(super) fn camera(index: usize, source: &SourceRun) -> String {
    match (source.name.as_str(), index) {
        ("visible", _) | (_, 0) => "visible".to_owned(),
        ("infrared", _) | (_, 1) => "infrared".to_owned(),
        (_, other) => format!("c{}", (other + 2) % 8),
    }
}

/// Goodput of each transport as a bar, with its spread, and what was possible as a line.
pub(super) fn goodput(comparison: &Comparison, link: &LinkOutcome) -> String {
    use std::fmt::Write;
    const NAME: f64 = 170.0;
    const WIDTH: f64 = 1_100.0;
    const STEP: f64 = 24.0;
    let possible = match (comparison.offered.mbit, link.limit_mbit) {
        (Some(offered), Some(limit)) => Some(offered.min(limit)),
        (offered, limit) => offered.or(limit),
    };
    let goodput = |row: &Row| row.summary.goodput_mbit.unwrap_or_default();
    let top = link.rows.iter().map(|row| goodput(row).max).chain(possible).fold(0.1, f64::max);
    let at = |mbit: f64| NAME + mbit / top * (WIDTH - NAME - 90.0);
    let height = STEP * link.rows.len() as f64 + 24.0;
    let mut body = String::new();
    for (index, row) in link.rows.iter().enumerate() {
        let (y, goodput, colour) = (STEP * index as f64 + 4.0, goodput(row), colour(index));
        let _ = write!(
            body,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect x="{NAME}" y="{y:.1}" width="{:.1}" height="16" rx="2" style="fill:var(--{colour})"/><line class="axis" x1="{:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}"/><text class="value" x="{:.1}" y="{:.1}">{:.1}</text>"#,
            NAME - 8.0,
            y + 12.0,
            super::svg::escape(&row.variant.to_string()),
            at(goodput.median) - NAME,
            at(goodput.min),
            at(goodput.max),
            y + 8.0,
            y + 8.0,
            at(goodput.max) + 6.0,
            y + 12.0,
            goodput.median
        );
    }
    if let Some(possible) = possible {
        let x = at(possible);
        let _ = write!(
            body,
            r#"<path class="limit-line" d="M{x:.1} 0V{:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">possible: {possible:.1} Mbit/s</text>"#,
            height - 18.0,
            height - 5.0
        );
    }
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Goodput in Mbit/s">{body}</svg>"#
    )
}
