//! What is said, and where: progress and notes on stderr, results on stdout.

mod lines;
mod recent;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::words::in_options;
use super::{Talk, advice};
use crate::frame::ByteSize;
use lines::Lines;
pub(super) use recent::Recent;
use terminal::Terminal;

/// The bar that is drawn at the moment, which makes room for lines.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// What writes lines on stderr, where a command goes on for long.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How long lines that were said are waited for at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why a result did not get out, the first time that it did not.
static UNWRITTEN: Mutex<Option<String>> = Mutex::new(None);

/// True where the process began without a standard output.
static NO_STDOUT: AtomicBool = AtomicBool::new(false);

/// A result has not got out.
static NO_READER: AtomicBool = AtomicBool::new(false);

/// False where results have got nowhere: what goes on only to say more of them can end.
pub(super) fn is_read() -> bool {
    !NO_READER.load(Ordering::Relaxed)
}

/// Results have nowhere to go.
pub(super) fn stdout_is_closed() {
    NO_STDOUT.store(true, Ordering::Relaxed);
}

/// Refuses to go on where what is written to stdout would go nowhere.
///
/// # Errors
/// The system's: there is none.
pub(super) fn require_stdout() -> io::Result<()> {
    match NO_STDOUT.load(Ordering::Relaxed) {
        true => Err(rustix::io::Errno::BADF.into()),
        false => Ok(()),
    }
}

/// Says what ended a command.
pub(super) fn say_error(error: &anyhow::Error) {
    note(&format!("framelane: {}", told(error)));
}

/// An error in the words of this command line, and the option that helps where there is one.
pub(super) fn told(error: &anyhow::Error) -> String {
    let text = in_options(&format!("{error:#}")).into_owned();
    advice::of(error).map_or(text.clone(), |advice| format!("{text}: {advice}"))
}

/// The same for programs, where there is nothing else to report.
pub(super) fn json_error(error: &anyhow::Error) {
    result(&format!("{:#}", serde_json::json!({ "schema": 1, "error": told(error) })));
}

/// A line on stderr, or several.
pub(super) fn note(text: &str) {
    line(&harmless(&in_options(text)));
}

/// From here on lines on stderr are written by a thread of their own, so that whoever does not read them holds up nobody.
pub(super) fn write_aside() {
    // Without such a thread they are written where they are said.
    if let Ok(lines) = Lines::start(write) {
        let _ = LINES.set(lines);
    }
}

/// Waits, for a bounded time, until what was said on stderr is written.
pub(super) fn flush_lines() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// A line on stderr that is fit to be shown as it is, above the bar if there is one.
pub(super) fn line(text: &str) {
    let say = || match LINES.get() {
        Some(lines) => lines.say(text),
        None => write(&format!("{text}\n")),
    };
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(say),
        None => say(),
    }
}

fn draw(drawing: String) {
    match LINES.get() {
        Some(lines) => lines.draw(drawing),
        None => write(&drawing),
    }
}

fn write(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
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

/// A line on stdout. Where it cannot be written, the program says so and ends with status 1, but goes on
/// with what it does: [`unwritten`] has it.
pub(super) fn result(text: &str) {
    note_written(|| {
        let mut out = io::stdout();
        writeln!(out, "{}", harmless(text))?;
        out.flush()
    });
}

/// What `--help` and `--version` print, on stdout.
pub(super) fn help(text: &clap::Error) {
    note_written(|| {
        text.print()?;
        io::stdout().flush()
    });
}

/// Writes a result to stdout, and takes note where that fails.
fn note_written(write: impl FnOnce() -> io::Result<()>) {
    // What was said before stands above it, where both go to one terminal.
    flush_lines();
    let Err(error) = require_stdout().and_then(|()| write()) else { return };
    NO_READER.store(true, Ordering::Relaxed);
    // Whoever reads a pipe has seen enough, as with `| head`.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return;
    }
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    unwritten.get_or_insert_with(|| error.to_string());
}

/// Why a result could not be written, where one could not.
pub(super) fn unwritten() -> Option<String> {
    UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A result as one JSON object on stdout.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    result(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A progress bar for `total` frames; it shows nothing where stderr is no terminal, or when quiet.
/// There is one at a time. Dropped it is gone, and leaves nothing behind.
pub(super) fn bar(talk: Talk, total: Option<u64>) -> Bar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    let target = if talk.quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::term_like_with_hz(Box::new(Terminal::new(draw)), 8)
    };
    bar.set_draw_target(target);
    let bar = Bar(bar);
    bar.look(match total {
        Some(_) => "{bar:30} {human_pos}/{human_len} frames  {msg}  {eta} left",
        None => "{spinner} {msg}",
    });
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.0.clone());
    bar
}

/// A progress bar.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Draws it by another template.
    pub(super) fn look(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }
}

impl std::ops::Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.finish_and_clear();
    }
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
    counted(count, "frame")
}

/// `1 session`, `2 sessions`: a noun that takes an s.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([frames(0), frames(1), frames(2)], ["0 frames", "1 frame", "2 frames"]);
        assert_eq!(counted(1, "session"), "1 session");
    }
}
