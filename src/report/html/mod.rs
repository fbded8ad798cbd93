//! One self-contained page: no script, nothing loaded from anywhere.

mod emulated;
mod plots;
mod remote;
mod shown;
mod svg;

use std::io;

use super::{Report, table};
use crate::compare::outcome::Comparison;
use crate::compare::remote::RemoteComparison;
use plots::{camera, colour, mark};
use shown::Shown;
use svg::{Mark, escape};

/// HTML.
#[derive(Debug, Clone, Copy)]
pub struct Html;

impl Report for Html {
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
        write_page(out, |out| emulated::write(comparison, out))
    }
}

impl Html {
    /// Writes a comparison over the user's own link.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_remote(
        &self,
        comparison: &RemoteComparison,
        out: &mut dyn io::Write,
    ) -> io::Result<()> {
        write_page(out, |out| remote::write(comparison, out))
    }
}

fn write_page(
    out: &mut dyn io::Write,
    body: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>framelane compare</title>\n<style>\n{}</style></head><body>\n",
        include_str!("style.css")
    )?;
    body(out)?;
    writeln!(out, "</body></html>")
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

/// A table, of whose columns the first `names` are not figures. The limit's rows come first, then
/// those of each transport, the first of them with its name.
fn write_table(lines: &[Vec<String>], names: usize, out: &mut dyn io::Write) -> io::Result<()> {
    let columns = lines.first().map_or(0, Vec::len);
    writeln!(out, "{}<table>", scroll("the table"))?;
    let mut row = 0;
    for (index, line) in lines.iter().enumerate() {
        let cell = if index == 0 { "th" } else { "td" };
        let name = line.first().map(String::as_str).unwrap_or_default();
        let is_row = index > 0 && !name.is_empty() && !table::is_limit(name);
        let style = match (is_row, index > 0 && row == 0) {
            (true, _) => " class=\"first\"",
            (false, true) => " class=\"limit\"",
            _ => "",
        };
        write!(out, "<tr{style}>")?;
        for column in 0..columns {
            let text = line.get(column).map(String::as_str).unwrap_or_default();
            let key = if is_row && column == 0 { bar_key(row) } else { String::new() };
            let class = if column < names { " class=\"name\"" } else { "" };
            write!(out, "<{cell}{class}>{key}{}</{cell}>", escape(text))?;
        }
        row += usize::from(is_row);
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div>")
}

/// Opens what is scrolled where it is wider than the screen, and says so there.
fn scroll(what: &str) -> String {
    format!(
        "<p class=\"hint\">There is more to the right: scroll {what} sideways.</p>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{what}\">"
    )
}

/// Distributions and latencies over time where frames were due at a time, and goodput.
fn write_plots(shown: &Shown, out: &mut dyn io::Write) -> io::Result<()> {
    if shown.seconds.is_some() {
        write_distributions(shown, out)?;
        write_timelines(shown, out)?;
    }
    writeln!(
        out,
        "<div class=\"together\"><h3>Goodput in Mbit/s</h3>{}<figure class=\"bars\">{}</figure>\
         </div></div>",
        scroll("the plot"),
        plots::goodput(shown)
    )
}

fn write_distributions(shown: &Shown, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "<div class=\"together\"><h3>How many of the frames offered came within which time</h3>\
         <div class=\"legend\">"
    )?;
    if has_limit(shown) {
        writeln!(out, "<span>{}limit</span>", line_key("limit-line", "limit"))?;
    }
    for (index, row) in shown.rows.iter().enumerate() {
        let colour = colour(index);
        let ours = if row.ours { " ours" } else { "" };
        let key = line_key(&format!("curve d{colour}{ours}"), &colour);
        writeln!(out, "<span>{key}{}</span>", escape(&row.name))?;
    }
    writeln!(out, "</div><div class=\"pair\">")?;
    for source in 0..shown.sources.len() {
        writeln!(out, "<figure>{}</figure>", plots::distribution(shown, source))?;
    }
    writeln!(
        out,
        "</div><p class=\"soft\">All repetitions together; a curve that ends below 100 % had not \
         delivered the rest when it was stopped.</p></div>"
    )
}

fn write_timelines(shown: &Shown, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "<div class=\"together\"><h3>Each frame's latency over time, {}</h3><div class=\"legend\">",
        shown.latency
    )?;
    for (index, source) in shown.sources.iter().enumerate() {
        let key = dot_key(mark(index), &camera(index, &source.name));
        writeln!(out, "<span>{key}{}</span>", escape(&source.name))?;
    }
    if has_limit(shown) {
        let key = line_key("limit-line", "soft");
        writeln!(out, "<span>{key}limit: 95 % of frames are below</span>")?;
    }
    writeln!(out, "</div><div class=\"many\">")?;
    for row in &shown.rows {
        writeln!(out, "<figure>{}</figure>", plots::timeline(shown, row))?;
    }
    writeln!(
        out,
        "</div><p class=\"soft\">The first repetition. Where both sources rise together, one waits \
         for the other's lost packets. Transports that keep up have one scale.</p></div>"
    )
}

fn has_limit(shown: &Shown) -> bool {
    shown.sources.iter().any(|source| source.limit.is_some())
}

/// A row's colour, for the table.
fn bar_key(row: usize) -> String {
    format!("<span class=\"key\" style=\"background:var(--{})\"></span>", colour(row))
}

/// A piece of a line as it is in the plots.
fn line_key(class: &str, colour: &str) -> String {
    format!(
        "<svg class=\"line-key\" viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path class=\"{class}\" \
         style=\"stroke:var(--{colour})\" d=\"M1 5H33\"/></svg>"
    )
}

/// A dot as it is in the plots.
fn dot_key(mark: Mark, colour: &str) -> String {
    let paint = match mark {
        Mark::Full => format!("style=\"fill:var(--{colour})\""),
        Mark::Hollow => format!("class=\"hollow\" style=\"stroke:var(--{colour})\""),
    };
    format!(
        "<svg class=\"line-key\" viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path class=\"trace\" \
         style=\"stroke:var(--{colour})\" d=\"M1 5H33\"/><circle {paint} cx=\"17\" cy=\"5\" \
         r=\"3\"/></svg>"
    )
}
