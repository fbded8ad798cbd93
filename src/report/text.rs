//! A table for each link, and what it comes to in words.

use std::io;

use super::{Report, table, warnings};
use crate::compare::outcome::{Comparison, LinkOutcome, Offered, Row};
use crate::compare::ratios::ratios;
use crate::compare::verdict;

/// Text for a terminal of 120 columns.
#[derive(Debug, Clone, Copy)]
pub struct Text;

impl Report for Text {
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
        writeln!(out, "{}", heading(comparison))?;
        for link in &comparison.links {
            writeln!(out)?;
            write_link(link, &comparison.offered, out)?;
        }
        writeln!(out)?;
        for (name, meaning) in table::meanings(&comparison.offered) {
            writeln!(out, "  {name:<12}  {meaning}")?;
        }
        writeln!(out)?;
        write_words(comparison, out)
    }
}

/// What was done, in a line or two.
pub(super) fn heading(comparison: &Comparison) -> String {
    let Comparison { repeat, seed, .. } = comparison;
    let against = comparison.against.as_ref().map(|other| format!("; (other) is {other}"));
    let against = against.unwrap_or_default();
    format!("{}; {}; seed {seed}{against}", offered(&comparison.offered), repeated(*repeat))
}

/// The frames and their pace.
pub(super) fn offered(offered: &Offered) -> String {
    let Offered { fps, sources, mbit, generated } = offered;
    let each: Vec<String> = sources
        .iter()
        .map(|source| {
            let kilobytes = source.bytes as f64 / source.frames.max(1) as f64 / 1e3;
            format!("{} {} x {kilobytes:.0} kB", source.name, source.frames)
        })
        .collect();
    let made = if *generated { " (generated)" } else { "" };
    let pace = match (fps, mbit) {
        (Some(fps), Some(mbit)) => format!("{fps} frames/s each, {mbit:.1} Mbit/s"),
        _ => "as fast as it goes".to_owned(),
    };
    format!("{}{made}, {pace}", each.join(", "))
}

/// How often.
pub(super) fn repeated(times: u32) -> String {
    match times {
        1 => "once".to_owned(),
        times => format!("{times} times, interleaved"),
    }
}

fn write_link(link: &LinkOutcome, offered: &Offered, out: &mut dyn io::Write) -> io::Result<()> {
    if !link.alone.is_empty() {
        writeln!(out, "both of")?;
        for (index, alone) in link.alone.iter().enumerate() {
            writeln!(out, "  link {}: {}", index + 1, alone.spec)?;
        }
    } else if link.label == link.spec {
        writeln!(out, "{}", link.label)?;
    } else {
        writeln!(out, "{}: {}", link.label, link.spec)?;
    }
    let lines = table::lines(link, offered);
    let names = table::names(lines.first().map_or(0, Vec::len));
    table::write_aligned(&lines, names, out)
}

/// Who wins, where QUIC loses, and what is wrong.
fn write_words(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    for verdict in verdict::verdicts(comparison) {
        writeln!(out, "{verdict}")?;
    }
    for line in ratios(comparison) {
        writeln!(out, "{line}")?;
    }
    let losses = verdict::losses(comparison);
    if !losses.is_empty() {
        writeln!(out, "QUIC is worse here (theirs against QUIC's):")?;
        losses.iter().try_for_each(|loss| writeln!(out, "  {loss}"))?;
    }
    let rows = || comparison.links.iter().flat_map(|link| &link.rows);
    let sum = |of: fn(&Row) -> u64| rows().map(of).sum::<u64>();
    let unfinished = match sum(|row| row.summary.unfinished) {
        0 => String::new(),
        frames => {
            format!("; {frames} had not arrived when runs that did not keep up, or failed, ended")
        }
    };
    writeln!(
        out,
        "frames lost {}, altered {}, stored twice {}{unfinished}",
        sum(|row| row.summary.lost),
        sum(|row| row.summary.altered),
        sum(|row| row.summary.twice)
    )?;
    for failure in comparison.failures() {
        writeln!(out, "failed: {failure}")?;
    }
    warnings(comparison).iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
}
