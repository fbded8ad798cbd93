//! A comparison over the user's own link as a table.

use std::io;

use super::table::{shortfall, write_aligned};
use crate::compare::outcome::RunVerdict;
use crate::compare::remote::{ClockOffset, RemoteComparison, RemoteRow};

const COLUMNS: [&str; 10] = [
    "transport",
    "source",
    "confirmed",
    "receipt p50 ms",
    "p95",
    "p99",
    "one way p50 ms",
    "p95",
    "clock ms",
    "Mbit/s",
];

/// How many of the first columns are names rather than figures.
pub(super) const NAMES: usize = 2;

/// What the figures are.
pub(super) const MEANING: &str = "receipt: from due to the receipt's arrival, by this machine's \
    clock. one way: from due to stored, by both clocks, the receiver's being ahead of this one by \
    what is under clock, give or take the error beside it. Mbit/s: what was confirmed from the first \
    due time to the last receipt, or until a run was stopped. The limit of your link is not known, so \
    there is no ratio to it.";

/// Writes the table and what has to be known with it.
///
/// # Errors
/// Those of `out`.
pub fn write_remote(comparison: &RemoteComparison, out: &mut dyn io::Write) -> io::Result<()> {
    write_aligned(&lines(comparison), NAMES, out)?;
    writeln!(out, "{MEANING}")?;
    if let Some(prefix) = comparison.kept_prefix() {
        writeln!(out, "The receiver keeps the frames in sources that begin with {prefix}-")?;
    }
    comparison.shortages().iter().try_for_each(|short| writeln!(out, "missing: {short}"))?;
    comparison.failures().iter().try_for_each(|failure| writeln!(out, "failed: {failure}"))
}

/// The rows, the first one being the columns' names.
pub(super) fn lines(comparison: &RemoteComparison) -> Vec<Vec<String>> {
    let mut lines = vec![COLUMNS.map(str::to_owned).to_vec()];
    for row in &comparison.rows {
        let sources = comparison.offered.sources.len();
        lines.extend((0..sources).map(|source| line(row, source)));
    }
    lines
}

fn line(row: &RemoteRow, source: usize) -> Vec<String> {
    let sources = || row.runs.iter().filter_map(|run| run.sources.get(source));
    let name = if source == 0 { row.variant.to_string() } else { String::new() };
    let confirmed: u64 = sources().map(|source| source.confirmed).sum();
    let offered: u64 = sources().map(|source| source.offered).sum();
    let named = sources().next().map(|source| source.name.clone()).unwrap_or_default();
    let millis = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let mut line = vec![name, named, format!("{confirmed}/{offered}")];
    match row.median_of(source, |source| Some(source.to_receipt?.p50)) {
        None => line.extend([verdict(row), String::new(), String::new()]),
        p50 => line.extend([
            millis(p50),
            millis(row.median_of(source, |source| Some(source.to_receipt?.p95))),
            millis(row.median_of(source, |source| Some(source.to_receipt?.p99))),
        ]),
    }
    line.push(millis(row.median_of(source, |source| Some(source.one_way?.p50))));
    line.push(millis(row.median_of(source, |source| Some(source.one_way?.p95))));
    if source == 0 {
        line.push(clock(row));
        line.push(millis(row.goodput_mbit.map(|goodput| goodput.median)));
    }
    line
}

/// The receiver's clock in the run in which least is known of it.
fn clock(row: &RemoteRow) -> String {
    let clocks = row.runs.iter().filter_map(|run| run.clock);
    match clocks.max_by(|a, b| a.error_ms.total_cmp(&b.error_ms)) {
        Some(ClockOffset { offset_ms, error_ms, .. }) => format!("{offset_ms:+.1} +-{error_ms:.1}"),
        None => "-".to_owned(),
    }
}

fn verdict(row: &RemoteRow) -> String {
    let count = |of: fn(&RunVerdict) -> bool| {
        let runs = row.runs.iter().filter(|run| of(&run.verdict)).count();
        u32::try_from(runs).unwrap_or(u32::MAX)
    };
    let failed = count(|verdict| matches!(verdict, RunVerdict::Failed(_)));
    let diverging = count(|verdict| *verdict == RunVerdict::Diverges);
    let unfinished = count(|verdict| *verdict == RunVerdict::Unfinished);
    let (slow, behind) = match unfinished {
        0 => (diverging, "diverges"),
        // Bulk does not diverge.
        unfinished => (unfinished, "unfinished"),
    };
    shortfall(failed, slow, count(|_| true), behind)
}
