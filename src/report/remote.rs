//! A comparison over the user's own link as a table.

use std::io;

use super::table::write_aligned;
use crate::compare::outcome::RunVerdict;
use crate::compare::remote::{RemoteComparison, RemoteRow};

const COLUMNS: [&str; 10] = [
    "transport",
    "source",
    "confirmed",
    "receipt p50 ms",
    "p95",
    "p99",
    "one way p50 ms",
    "p95",
    "clock +- ms",
    "Mbit/s",
];

/// Writes the table and what has to be known with it.
///
/// # Errors
/// Those of `out`.
pub fn write_remote(comparison: &RemoteComparison, out: &mut dyn io::Write) -> io::Result<()> {
    let mut lines = vec![COLUMNS.map(str::to_owned).to_vec()];
    for row in &comparison.rows {
        let sources = comparison.offered.sources.len();
        lines.extend((0..sources).map(|source| line(row, source)));
    }
    write_aligned(&lines, 2, out)?;
    writeln!(
        out,
        "receipt: from due to the receipt's arrival, by this machine's clock. one way: from due to \
         stored, by both clocks, give or take the error beside it. The limit of your link is not \
         known, so there is no ratio to it."
    )?;
    writeln!(
        out,
        "The receiver keeps the frames in sources that begin with {}-",
        comparison.prefix
    )?;
    for row in &comparison.rows {
        for run in &row.runs {
            if let RunVerdict::Failed(why) = &run.verdict {
                writeln!(out, "failed: {}: {why}", row.variant)?;
            }
        }
    }
    Ok(())
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
        let clocks = row.runs.iter().filter_map(|run| run.clock).map(|clock| clock.error_ms);
        line.push(millis(clocks.max_by(f64::total_cmp)));
        line.push(millis(row.goodput_mbit.map(|goodput| goodput.median)));
    }
    line
}

fn verdict(row: &RemoteRow) -> String {
    let failed = row.runs.iter().any(|run| matches!(run.verdict, RunVerdict::Failed(_)));
    let unfinished = row.runs.iter().any(|run| run.verdict == RunVerdict::Unfinished);
    match (failed, unfinished) {
        (true, _) => "failed".to_owned(),
        (_, true) => "unfinished".to_owned(),
        _ => format!("diverges {}/{}", row.runs.len() - row.steady, row.runs.len()),
    }
}
