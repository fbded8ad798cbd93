//! The page of a comparison over emulated links.

use std::io;

use super::shown::Shown;
use super::svg::escape;
use super::{write_list, write_plots, write_table};
use crate::compare::outcome::{Comparison, LinkOutcome};
use crate::compare::ratios::ratios;
use crate::compare::verdict;
use crate::report::{table, text, warnings};

pub(super) fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    write_summary(comparison, out)?;
    comparison.links.iter().try_for_each(|link| write_link(comparison, link, out))?;
    writeln!(out, "<section><h2>What the columns mean</h2><dl>")?;
    for (name, meaning) in table::meanings(&comparison.offered) {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(meaning))?;
    }
    writeln!(out, "</dl></section>")
}

fn write_summary(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "<h1>Frames over lossy links</h1>")?;
    writeln!(out, "<p class=\"soft\">{}</p>", escape(&text::heading(comparison)))?;
    write_list("", "verdict", &verdict::verdicts(comparison), out)?;
    write_list("This build beside the other", "", &ratios(comparison), out)?;
    let losses = verdict::losses(comparison);
    write_list("Where QUIC is worse (theirs against QUIC's)", "", &losses, out)?;
    write_list("Failed", "", &comparison.failures(), out)?;
    write_list("Warnings", "", &warnings(comparison), out)?;
    let damaged = comparison.damaged();
    writeln!(
        out,
        "<p class=\"soft\">Every stored file was held against what was sent: {damaged} frames lost, \
         altered or stored twice. Latency counts from the time at which a frame was due to the time at which it was \
         stored. The limit is what an ideal sender reaches on the same link with retransmission \
         only; forward repair can be faster. framelane {}.</p>",
        escape(&comparison.version)
    )
}

fn write_link(
    comparison: &Comparison,
    link: &LinkOutcome,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(out, "<section><div class=\"together\"><h2>{}</h2>", escape(&link.label))?;
    for (index, alone) in link.alone.iter().enumerate() {
        let (number, spec) = (index + 1, escape(&alone.spec));
        writeln!(out, "<p class=\"spec\">link {number}: <code>{spec}</code></p>")?;
    }
    if link.alone.is_empty() && link.label != link.spec {
        writeln!(out, "<p class=\"spec\"><code>{}</code></p>", escape(&link.spec))?;
    }
    let lines = table::lines(link, &comparison.offered);
    write_table(&lines, table::names(lines.first().map_or(0, Vec::len)), out)?;
    writeln!(out, "</div>")?;
    write_plots(&Shown::emulated(comparison, link), out)?;
    writeln!(out, "</section>")
}
