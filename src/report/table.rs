//! The figures of a link as a table of text, for the terminal and for the page.

use std::io;

use crate::compare::outcome::{LatencySummary, LinkOutcome, Offered, SourceSummary, Summary};
use crate::compare::statistics::{Quantiles, Spread};

/// The rows, the first one being the columns' names.
pub(super) fn lines(link: &LinkOutcome, offered: &Offered) -> Vec<Vec<String>> {
    match offered.fps {
        Some(_) => live_lines(link),
        None => bulk_lines(link),
    }
}

/// How many of the first columns are names rather than figures.
pub(super) fn names(columns: usize) -> usize {
    if columns > BULK.len() { 2 } else { 1 }
}

const LIVE: [&str; 14] = [
    "transport",
    "source",
    "stored",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "max ms",
    "x limit",
    "stalls",
    "Mbit/s",
    "wire/payload",
    "resent",
    "mended",
    "CPU s",
];

/// What a column means.
const MEANINGS: [(&str, &str); 12] = [
    ("transport", "with the congestion control's name"),
    (
        "p50 ms",
        "half of the frames were stored so soon after they were due; (a-b) is the range of the repetitions",
    ),
    (
        "x limit",
        "p50/p95/p99 as multiples of the limit: an ideal sender with retransmission alone, that has both links where \
         there are two and sends each frame whole over the one on which it is there first",
    ),
    ("of limit", "goodput as a share of the limit, what the link carries of frames at most"),
    ("stalls", "gaps in arrival over two frame intervals, and the longest of them"),
    ("Mbit/s", "goodput: frames stored, headers and repetitions not counted"),
    ("wire/payload", "bytes that entered the link for each byte stored: sent + sent back"),
    ("resent", "share of packets that the sender took for lost"),
    ("mended", "share of frames that forward repair made whole"),
    (
        "CPU s",
        "processor time of the sender + the receiver, with reading, hashing and storing, without the link",
    ),
    (
        "diverges",
        "latency grew until the run was stopped, so it has no percentiles; 1/2 is one of two runs",
    ),
    ("failed", "the run ended with an error, which is named below: it says nothing about speed"),
];

/// What the columns and words of these tables mean.
pub(super) fn meanings(offered: &Offered) -> impl Iterator<Item = (&'static str, &'static str)> {
    let live = offered.fps.is_some();
    let columns = if live { &LIVE[..] } else { &BULK[..] };
    MEANINGS.into_iter().filter(move |(name, _)| {
        columns.contains(name) || (live && ["diverges", "failed"].contains(name))
    })
}

fn live_lines(link: &LinkOutcome) -> Vec<Vec<String>> {
    let mut lines = vec![LIVE.map(str::to_owned).to_vec()];
    lines.extend(limit_lines(link));
    for row in &link.rows {
        for (index, source) in row.summary.sources.iter().enumerate() {
            let mut line = vec![if index == 0 { row.variant.to_string() } else { String::new() }];
            line.extend([source.name.clone(), stored(source)]);
            line.extend(latency_cells(source.latency.as_ref(), &row.summary));
            line.push(stalls(source));
            line.extend(if index == 0 { cell_figures(&row.summary) } else { Vec::new() });
            lines.push(line);
        }
    }
    lines
}

/// What an ideal sender reaches, above the others.
fn limit_lines(link: &LinkOutcome) -> Vec<Vec<String>> {
    let first = link.rows.first().and_then(|row| row.runs.first());
    let sources = || first.iter().flat_map(|run| &run.sources);
    let of = |name: &str, limits: Vec<Quantiles>| {
        let lines = sources().zip(limits).enumerate().map(|(index, (source, limit))| {
            let name = if index == 0 { name } else { "" };
            let mut line = vec![name.to_owned(), source.name.clone(), String::new()];
            line.extend([limit.p50, limit.p95, limit.p99].map(millis));
            line
        });
        lines.collect::<Vec<_>>()
    };
    let alone = link.alone.iter().enumerate();
    let mut lines: Vec<_> = alone
        .flat_map(|(index, alone)| of(&format!("limit, link {}", index + 1), alone.limits.clone()))
        .collect();
    lines.extend(of(limit_of_all(link), sources().map(|source| source.limit).collect()));
    lines
}

/// What the limit is called that the rows are held against.
fn limit_of_all(link: &LinkOutcome) -> &'static str {
    if link.alone.is_empty() { "limit" } else { "limit, both" }
}

/// True for the name of a row that shows what is possible.
pub(super) fn is_limit(name: &str) -> bool {
    name == "limit" || name.starts_with("limit, ")
}

fn stored(source: &SourceSummary) -> String {
    format!("{}/{}", source.stored, source.offered)
}

fn latency_cells(latency: Option<&LatencySummary>, summary: &Summary) -> Vec<String> {
    let Some(LatencySummary { p50, p95, p99, max, ratio, .. }) = latency else {
        let how = shortfall(summary.failed, summary.behind(), summary.runs, "diverges");
        return vec![how, String::new(), String::new(), String::new(), String::new()];
    };
    let ratio = ratio.map(|ratio| format!("{ratio:.1}")).join("/");
    vec![spread(p50, millis), spread(p95, millis), spread(p99, millis), millis(max.max), ratio]
}

/// How many of `runs` failed, and how many were too slow, which is called `behind`.
pub(super) fn shortfall(failed: u32, slow: u32, runs: u32, behind: &str) -> String {
    let of_runs = |count: u32, what: &str| match count {
        0 => None,
        all if all == runs => Some(what.to_owned()),
        some => Some(format!("{what} {some}/{runs}")),
    };
    let both: Vec<String> =
        of_runs(failed, "failed").into_iter().chain(of_runs(slow, behind)).collect();
    if both.is_empty() { "-".to_owned() } else { both.join(", ") }
}

fn stalls(source: &SourceSummary) -> String {
    let Some(stalls) = source.stalls.filter(|stalls| stalls.max > 0.0) else {
        return "0".to_owned();
    };
    format!("{:.0} (<={:.0} ms)", stalls.median, source.longest_stall_ms)
}

/// What there is one of for each run: goodput, bytes on the wire, retransmission, processor time.
fn cell_figures(summary: &Summary) -> Vec<String> {
    let percent = |share: Option<Spread>| match share {
        Some(share) => format!("{:.1} %", share.median * 100.0),
        None => "-".to_owned(),
    };
    let median = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.median);
    vec![
        match &summary.goodput_mbit {
            Some(goodput) => spread(goodput, |mbit| format!("{mbit:.1}")),
            None if summary.failed > 0 => "failed".to_owned(),
            None => "-".to_owned(),
        },
        match (summary.wire_ratio, summary.back_ratio) {
            (Some(up), Some(down)) => format!("{:.2}+{:.2}", up.median, down.median),
            _ => "-".to_owned(),
        },
        percent(summary.resent),
        percent(summary.repaired),
        format!("{:.2}+{:.2}", median(summary.cpu_sender), median(summary.cpu_receiver)),
    ]
}

const BULK: [&str; 8] =
    ["transport", "stored", "Mbit/s", "of limit", "wire/payload", "resent", "mended", "CPU s"];

fn bulk_lines(link: &LinkOutcome) -> Vec<Vec<String>> {
    let mut lines = vec![BULK.map(str::to_owned).to_vec()];
    let limit_line = |name: String, mbit: f64| vec![name, String::new(), format!("{mbit:.1}")];
    for (index, alone) in link.alone.iter().enumerate() {
        let name = format!("limit, link {}", index + 1);
        lines.extend(alone.limit_mbit.map(|mbit| limit_line(name, mbit)));
    }
    lines.extend(link.limit_mbit.map(|mbit| limit_line(limit_of_all(link).to_owned(), mbit)));
    for row in &link.rows {
        let sources = row.summary.sources.iter();
        let (stored, offered) =
            sources.fold((0, 0), |sum, source| (sum.0 + source.stored, sum.1 + source.offered));
        let ratio = row.summary.goodput_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let mut line = vec![row.variant.to_string(), format!("{stored}/{offered}")];
        let mut figures = cell_figures(&row.summary).into_iter();
        line.extend(figures.next());
        line.push(ratio);
        line.extend(figures);
        lines.push(line);
    }
    lines
}

/// A median, and behind it how far the repetitions lie apart.
fn spread(spread: &Spread, show: fn(f64) -> String) -> String {
    let (median, min, max) = (show(spread.median), show(spread.min), show(spread.max));
    if min == max { median } else { format!("{median} ({min}-{max})") }
}

/// Milliseconds, with a decimal where it matters.
fn millis(value: f64) -> String {
    match value {
        value if !value.is_finite() => "none".to_owned(),
        value if value < 10.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Columns as wide as they have to be; the first `names` to the left, numbers to the right.
pub(super) fn write_aligned(
    lines: &[Vec<String>],
    names: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in lines {
        let mut text = String::from(" ");
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            match column {
                column if column < names => {
                    text.push_str(&format!(" {cell:<width$} "));
                }
                _ => text.push_str(&format!(" {cell:>width$} ")),
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
