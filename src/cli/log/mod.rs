//! The log on stderr: a thing is said once, and then how often it came again.

mod fold;
mod layer;
mod line;

use std::io::{self, IsTerminal};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::words::in_options;
use super::{Talk, output};
use crate::frame::UnixNanos;
use fold::{Again, Fold, Place};

static SAID: LazyLock<Mutex<Fold>> = LazyLock::new(Mutex::default);

/// Where the command line itself says something. No event has this for an address.
const NOTES: Place = 0;

/// How the lines look.
static LOOK: LazyLock<Look> = LazyLock::new(|| {
    let terminal = io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look { colours: terminal && !plain, times: !terminal }
});

struct Look {
    colours: bool,
    /// Who looks at a terminal has a clock; who reads a file afterwards has not.
    times: bool,
}

/// Something to be said.
struct Line {
    level: Option<Level>,
    text: String,
    place: Place,
    /// How often the like of it is said in full before it is only counted.
    often: u32,
    folds: bool,
}

/// Starts the log. RUST_LOG has the last word. `comparing`: the ends of runs that are stopped on purpose
/// complain of each other, and the results have whatever went wrong.
pub(super) fn start(talk: Talk, comparing: bool) {
    let level = match (talk.quiet, talk.verbose) {
        (true, _) => "error",
        (false, 0) if comparing => "error",
        (false, 0) => "framelane=warn,error",
        (false, 1) => "framelane=info,error",
        (false, 2) => "framelane=debug,error",
        (false, _) => "framelane=trace,warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::registry().with(filter).with(layer::Lines).init();
}

/// Says, in words for people, what may come again and again, as with each attempt to connect. What is
/// like it in its first line, but for numbers, is said `often` times in a while and then counted.
pub(super) fn repeatable(lines: &[String], often: u32) {
    let Some((first, rest)) = lines.split_first() else { return };
    let text = in_options(first).into_owned();
    if say(Line { level: None, text, place: NOTES, often, folds: true }) {
        rest.iter().for_each(|text| write(None, &line::shortened(&in_options(text))));
    }
}

/// Tells what came again, where it is time to. To be called every second or so.
pub(super) fn tell_repeated() {
    let due = SAID.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
    tell(due);
}

/// The same at the end, where nothing is left untold.
pub(super) fn end() {
    let all = SAID.lock().unwrap_or_else(PoisonError::into_inner).end(Instant::now());
    tell(all);
}

fn tell(all: Vec<Again>) {
    for again in all {
        write(again.level, &again.to_string());
    }
}

/// Says something, and whether it was said.
fn say(Line { level, text, place, often, folds }: Line) -> bool {
    if !folds {
        write(level, &output::printable(&text));
        return true;
    }
    let now = Instant::now();
    // Not held while something is written: that may block.
    let (due, says) = {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        (said.due(now), said.says(place, (level, &text), often, now))
    };
    tell(due);
    if says {
        write(level, &line::shortened(&text));
    }
    says
}

/// Writes text that is fit to be shown. What has a level is of the log, and the rest is for whoever is there.
fn write(level: Option<Level>, text: &str) {
    let Some(level) = level else { return output::line(text) };
    let time = if LOOK.times { now() + " " } else { String::new() };
    output::line(&format!("{time}{}{text}", head(level, LOOK.colours)));
}

fn head(level: Level, colours: bool) -> String {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    match colours {
        true => format!("\x1b[{colour}m{level:>5}\x1b[0m "),
        false => format!("{level:>5} "),
    }
}

/// The time of day in UTC, `2026-11-29T20:11:33.123Z`.
fn now() -> String {
    let nanos = i128::from(UnixNanos::now().0);
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
        return String::new();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_as_wide_as_another_and_coloured_on_a_terminal_only() {
        assert_eq!(head(Level::WARN, false), " WARN ");
        assert_eq!(head(Level::ERROR, true), "\x1b[31mERROR\x1b[0m ");
        let now = now();
        assert!(now.starts_with("20") && now.ends_with('Z') && now.len() == 24, "{now}");
    }
}
