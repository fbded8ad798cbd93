//! What is said, and where: logs and progress on stderr, results on stdout.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::Talk;
use crate::frame::ByteSize;

/// Starts the log on stderr. RUST_LOG has the last word. `comparing`: the ends of runs that are stopped on purpose
/// complain of each other, and the results have whatever went wrong.
pub(super) fn start_log(talk: Talk, comparing: bool) {
    let level = match (talk.quiet, talk.verbose) {
        (true, _) => "error",
        (false, 0) if comparing => "error",
        (false, 0) => "framelane=warn,error",
        (false, 1) => "framelane=debug,warn",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours())
        .with_target(false)
        .without_time()
        .init();
}

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says what ended a command.
pub(super) fn say_error(error: &anyhow::Error) {
    note(&format!("framelane: {error:#}"));
}

/// A line on stderr, or several.
pub(super) fn note(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{}", harmless(text));
}

/// Text whose words may be a peer's, without what a terminal would take for a command.
fn harmless(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// A name that may be a peer's, on one line.
pub(super) fn printable(text: &str) -> String {
    crate::frame::printable(text).into_owned()
}

/// What a symbolic link points to, for people; `None` for anything else.
pub(super) fn link(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    let target = printable(&target.to_string_lossy());
    let nothing = if path.exists() { "" } else { ", where there is nothing" };
    Some(format!("a symbolic link to {target}{nothing}"))
}

/// A line on stdout.
pub(super) fn result(text: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{}", harmless(text));
    let _ = out.flush();
}

/// A result as one JSON object on stdout.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    result(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A progress bar for `total` frames; it shows nothing where stderr is no terminal, or when quiet.
pub(super) fn bar(talk: Talk, total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    let target = if talk.quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(8)
    };
    bar.set_draw_target(target);
    let template = match total {
        Some(_) => "{bar:30} {human_pos}/{human_len} frames  {msg}  {eta} left",
        None => "{spinner} {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// `12.3 MB/s`; nothing sensible can be said of less than a millisecond.
pub(super) fn rate(bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.001 {
        return "in no time".to_owned();
    }
    format!("{}/s", ByteSize((bytes as f64 / seconds) as u64))
}

/// `1 frame`, `2 frames`.
pub(super) fn frames(count: u64) -> String {
    format!("{count} frame{}", if count == 1 { "" } else { "s" })
}
