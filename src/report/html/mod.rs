//! One self-contained page: no script, nothing loaded from anywhere.

mod plots;
mod svg;

use std::io;

use super::{Report, table, text, warnings};
use crate::compare::outcome::{Comparison, LinkOutcome};
use crate::compare::verdict;
use svg::escape;

/// HTML.
#[derive(Debug, Clone, Copy)]
pub struct Html;

impl Report for Html {
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>framelane compare</title>\n<style>\n{}</style></head><body>\n",
            include_str!("style.css")
        )?;
        write_summary(comparison, out)?;
        for link in &comparison.links {
            write_link(comparison, link, out)?;
        }
        writeln!(out, "</body></html>")
    }
}

fn write_summary(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "<h1>Frames over lossy links</h1>")?;
    writeln!(out, "<p class=\"soft\">{}</p>", escape(&text::heading(comparison)))?;
    let verdicts = verdict::verdicts(comparison);
    write_list("", "verdict", &verdicts, out)?;
    write_list(
        "Where QUIC is worse (theirs against QUIC's)",
        "",
        &verdict::losses(comparison),
        out,
    )?;
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

fn write_list(
    title: &str,
    class: &str,
    items: &[String],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    if !title.is_empty() {
        writeln!(out, "<h3>{title}</h3>")?;
    }
    writeln!(out, "<ul class=\"{class}\">")?;
    items.iter().try_for_each(|item| writeln!(out, "<li>{}</li>", escape(item)))?;
    writeln!(out, "</ul>")
}

fn write_link(
    comparison: &Comparison,
    link: &LinkOutcome,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(
        out,
        "<section><h2>{}</h2><p><code>{}</code></p>",
        escape(&link.label),
        escape(&link.spec)
    )?;
    write_table(comparison, link, out)?;
    if comparison.offered.fps.is_some() {
        write_distributions(comparison, link, out)?;
        write_timelines(comparison, link, out)?;
    }
    writeln!(
        out,
        "<h3>Goodput in Mbit/s</h3><figure>{}</figure></section>",
        plots::goodput(comparison, link)
    )
}

fn write_table(
    comparison: &Comparison,
    link: &LinkOutcome,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let lines = table::lines(link, &comparison.offered);
    let columns = lines.first().map_or(0, Vec::len);
    let names = table::names(columns);
    let class = |column: usize| if column < names { " class=\"name\"" } else { "" };
    writeln!(out, "<div class=\"scroll\"><table>")?;
    let mut row = 0;
    for (index, line) in lines.iter().enumerate() {
        let cell = if index == 0 { "th" } else { "td" };
        let name = line.first().map(String::as_str).unwrap_or_default();
        let is_row = index > 0 && !name.is_empty() && name != "limit";
        let limit = index > 0 && index <= lines.len() && row == 0 && !is_row;
        let style = match (limit, is_row) {
            (true, _) => " class=\"limit\"",
            (false, true) => " class=\"first\"",
            _ => "",
        };
        write!(out, "<tr{style}>")?;
        for column in 0..columns {
            let text = line.get(column).map(String::as_str).unwrap_or_default();
            let key = if is_row && column == 0 {
                format!(
                    "<span class=\"key\" style=\"background:var(--{})\"></span>",
                    plots::colour(row)
                )
            } else {
                String::new()
            };
            write!(out, "<{cell}{}>{key}{}</{cell}>", class(column), escape(text))?;
        }
        row += usize::from(is_row);
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div>")
}

fn write_distributions(
    comparison: &Comparison,
    link: &LinkOutcome,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(out, "<h3>How many frames were stored within which time</h3><div class=\"legend\">")?;
    writeln!(out, "<span><span class=\"dash\"></span>limit</span>")?;
    for (index, row) in link.rows.iter().enumerate() {
        writeln!(
            out,
            "<span><span class=\"key\" style=\"background:var(--{})\"></span>{}</span>",
            plots::colour(index),
            escape(&row.variant.to_string())
        )?;
    }
    writeln!(out, "</div><div class=\"pair\">")?;
    for source in 0..comparison.offered.sources.len() {
        writeln!(out, "<figure>{}</figure>", plots::distribution(link, source))?;
    }
    writeln!(
        out,
        "</div><p class=\"soft\">All repetitions together; a curve that ends below 100 % had not \
         delivered the rest when it was stopped.</p>"
    )
}

fn write_timelines(
    comparison: &Comparison,
    link: &LinkOutcome,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(out, "<h3>Each frame's latency over time</h3><div class=\"legend\">")?;
    let first = link.rows.iter().flat_map(|row| row.runs.first()).next();
    for (index, source) in first.iter().flat_map(|run| &run.sources).enumerate() {
        writeln!(
            out,
            "<span><span class=\"key\" style=\"background:var(--{})\"></span>{}</span>",
            plots::camera(index, source),
            escape(&source.name)
        )?;
    }
    writeln!(out, "</div><div class=\"many\">")?;
    for row in &link.rows {
        writeln!(out, "<figure>{}</figure>", plots::timeline(comparison, link, row))?;
    }
    writeln!(
        out,
        "</div><p class=\"soft\">The first repetition. Where both sources rise together, one waits \
         for the other's lost packets. Triangles are off the scale.</p>"
    )
}
