//! The figures of a receiver as lines: a table for a terminal, a sentence for a log.

use std::time::Duration;

use crate::cli::output::printable;
use crate::view::{Figures, SourceFigures};

/// A column: its head, and what a source has there.
type Column = (&'static str, fn(&SourceFigures) -> String);

/// From the left; those on the right go first where the terminal is narrow.
const COLUMNS: [Column; 11] = [
    ("frames/s", |of| number(of.frames_per_s)),
    ("latency", |of| millis(of.latency.map(|latency| latency.p50_ms))),
    ("p95", |of| millis(of.latency.map(|latency| latency.p95_ms))),
    ("stored", |of| of.stored.to_string()),
    ("pending", |of| of.pending.map_or_else(dash, |n| n.to_string())),
    ("dropped", |of| of.dropped.to_string()),
    ("missing", |of| of.missing.to_string()),
    ("loss", |of| share(of.loss)),
    ("RTT", |of| millis(of.rtt_ms)),
    ("repair", |of| share(of.repair)),
    ("Mbit/s", |of| number(of.bytes_per_s * 8e-6)),
];

/// The longest name that is shown whole.
const NAME: usize = 24;

/// A head, and a line for each source, at most `height` of them and none longer than `width`.
pub(super) fn table(figures: &Figures, width: usize, height: usize, colour: bool) -> Vec<String> {
    if figures.sources.is_empty() {
        let sessions = figures.sessions;
        return vec![format!("no source yet; {sessions} sessions are open")];
    }
    let shown = figures.sources.len().min(height.saturating_sub(1).max(1));
    let sources = &figures.sources[..shown];
    let names: Vec<String> = sources.iter().map(|source| cut(&printable(&source.id))).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    let mut lines = vec![format!("  {:longest$}", "source")];
    lines.extend(
        names
            .iter()
            .zip(sources)
            .map(|(name, source)| format!("{} {name:longest$}", mark(&source.state, colour))),
    );
    let mut used = longest + 2;
    for (head, value) in COLUMNS {
        let values: Vec<String> = sources.iter().map(value).collect();
        let wide = values.iter().map(|value| value.chars().count()).max().unwrap_or(0);
        let wide = wide.max(head.chars().count());
        used += wide + 2;
        if used > width {
            break;
        }
        for (line, value) in lines.iter_mut().zip(std::iter::once(head.to_owned()).chain(values)) {
            line.push_str(&format!("  {value:>wide$}"));
        }
    }
    let hidden = figures.sources.len() - shown;
    if hidden > 0 {
        lines.push(format!("  and {hidden} more"));
    }
    lines
}

/// Text in lines that are no longer than `width`, broken between words where there are any.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let Some(line) = lines.last_mut() else { return lines };
            let used = line.chars().count();
            let room = width.saturating_sub(if used == 0 { 0 } else { used + 1 });
            if used > 0 && room < word.len() {
                lines.push(String::new());
                continue;
            }
            if used > 0 {
                line.push(' ');
            }
            let rest = word.split_off(word.len().min(room.max(1)));
            line.extend(word);
            word = rest;
            if !word.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines
}

/// One source as a line of a log.
pub(super) fn log_line(figures: &Figures, source: &SourceFigures) -> String {
    let at = figures.at_unix_ns / 1_000_000_000;
    let mut line = format!(
        "{} {} {}: {} frames/s, {} stored",
        utc(at),
        printable(&source.id),
        source.state,
        number(source.frames_per_s),
        source.stored
    );
    if let Some(latency) = source.latency {
        let (p50, p95) = (millis(Some(latency.p50_ms)), millis(Some(latency.p95_ms)));
        line.push_str(&format!(", latency {p50} (p95 {p95})"));
    }
    if let Some(pending) = source.pending {
        line.push_str(&format!(", {pending} pending"));
    }
    line.push_str(&format!(", {} dropped, {} missing", source.dropped, source.missing));
    for (name, value) in [
        ("loss", source.loss.map(|loss| share(Some(loss)))),
        ("RTT", source.rtt_ms.map(|rtt| millis(Some(rtt)))),
        ("repair", source.repair.map(|repair| share(Some(repair)))),
    ] {
        if let Some(value) = value {
            line.push_str(&format!(", {name} {value}"));
        }
    }
    line
}

/// The state of a source as a mark in its colour.
fn mark(state: &str, colour: bool) -> String {
    let (mark, code) = match state {
        "live" => ('●', 32),
        "waiting" => ('◐', 33),
        "ended" => ('✓', 36),
        _ => ('○', 90),
    };
    if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_string() }
}

fn dash() -> String {
    "–".to_owned()
}

fn cut(name: &str) -> String {
    match name.chars().count() {
        0..=NAME => name.to_owned(),
        long => format!("…{}", name.chars().skip(long - NAME + 1).collect::<String>()),
    }
}

fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn millis(ms: Option<f64>) -> String {
    match ms {
        None => dash(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1e3),
    }
}

fn share(part: Option<f64>) -> String {
    part.map_or_else(dash, |part| match part * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    })
}

fn utc(seconds: u64) -> String {
    let at = time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (date, clock) = (at.date(), at.time());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = clock.as_hms();
    format!("{}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", date.year())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::LatencyFigures;

    #[test]
    fn long_words_of_trouble_take_lines_that_are_counted() {
        let text = "cannot reach a view at 127.0.0.1:8080: ".to_owned() + &"x".repeat(90);
        let lines = wrapped(&text, 40);
        assert_eq!(lines[0], "cannot reach a view at 127.0.0.1:8080:");
        assert_eq!((lines.len(), lines[3].len()), (4, 10));
        assert_eq!(wrapped("a word", 40), ["a word"]);
        assert_eq!(wrapped("", 40), [""]);
    }

    fn source(id: &str) -> SourceFigures {
        SourceFigures {
            id: id.to_owned(),
            name: id.to_owned(),
            state: "live".to_owned(),
            frames_per_s: 29.97,
            bytes_per_s: 1e6,
            latency: Some(LatencyFigures { count: 3, p50_ms: 41.6, p95_ms: 1_250.0, max_ms: 2e3 }),
            rtt_ms: Some(4.0),
            loss: Some(0.02),
            repair: None,
            sent: 5,
            stored_before: 2,
            stored: 7,
            bytes: 70,
            held: None,
            repaired: 0,
            refused: 0,
            dropped: 1,
            missing: 0,
            pending: Some(3),
            lag_s: None,
            senders: Vec::new(),
            newest: None,
            history: Vec::new(),
        }
    }

    fn figures(sources: Vec<SourceFigures>) -> Figures {
        Figures {
            schema: 1,
            at_unix_ns: 1_796_000_000_000_000_000,
            version: String::new(),
            ready: true,
            trouble: None,
            disk: None,
            keep: None,
            sessions: 1,
            viewers: 0,
            sources,
        }
    }

    #[test]
    fn a_line_a_source_that_fits_the_terminal() {
        let figures = figures(vec![source("visible"), source("a\x1b[31m")]);
        let lines = table(&figures, 100, 20, false);
        let head = "  source       frames/s  latency    p95  stored  pending  dropped  missing   loss     RTT  repair";
        let row = "● visible            30    42 ms  1.2 s       7        3        1        0  2.0 %  4.0 ms       –";
        assert_eq!(lines[..2], [head, row]);
        assert!(!lines[2].contains('\x1b'), "{}", lines[2]);
        for width in 40..120 {
            let lines = table(&figures, width, 20, false);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
    }

    #[test]
    fn more_sources_than_lines_are_counted() {
        let many = figures((0..30).map(|number| source(&format!("s{number}"))).collect());
        let lines = table(&many, 80, 10, true);
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10], "  and 21 more");
    }

    #[test]
    fn a_log_has_it_in_words() {
        let figures = figures(vec![source("visible")]);
        assert_eq!(
            log_line(&figures, &figures.sources[0]),
            "2026-11-30T00:53:20Z visible live: 30 frames/s, 7 stored, latency 42 ms (p95 1.2 s), 3 pending, \
             1 dropped, 0 missing, loss 2.0 %, RTT 4.0 ms"
        );
    }
}
