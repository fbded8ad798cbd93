//! What became of a run, as `send` prints it.

use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::super::output;
use super::super::signals::Wish;
use super::super::sources::Unsent;
use super::super::words::in_options;
use crate::frame::{ByteSize, DropReason, Span};
use crate::sender::{FailedFrame, LinkFigures, PathReport, SendReport, SourceReport};
use crate::spool::SpoolFigures;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a SendReport,
    #[serde(flatten)]
    unsent: &'a Unsent,
}

/// What became of a run of sources that grow when its user stopped it: nothing was cut off where all that was captured is
/// stored, and what is left is kept or declared.
pub(super) fn stopped_in_true_words(report: &mut SendReport, wish: Wish, drain: Span) {
    if !report.interrupted || wish == Wish::None {
        return;
    }
    let sum = |of: fn(&SourceReport) -> u64| report.sources.iter().map(of).sum::<u64>();
    let given_up =
        sum(|source| source.dropped.get(DropReason::GivenUp.name()).copied().unwrap_or_default());
    let (pending, missing) = (sum(|source| source.pending), sum(|source| source.missing));
    if given_up + pending + missing == 0 {
        (report.interrupted, report.error) = (false, None);
        report.complete = report.is_complete();
        return;
    }
    let mut left = Vec::new();
    for (count, what) in [
        (pending, "in the spool, for the next sender that names it"),
        (given_up, "dropped and declared (given-up)"),
        (missing, "neither stored nor declared"),
    ] {
        if count > 0 {
            left.push(format!("{} {what}", output::frames(count)));
        }
    }
    let why = if wish == Wish::AtOnce {
        "stopped at once".to_owned()
    } else {
        format!(
            "stopped, and the time to send the rest (--drain {drain}) was over",
            drain = short(drain)
        )
    };
    report.error = Some(format!("{why}: {}", left.join(", ")));
}

/// As it is written on the command line: `10s`.
fn short(time: Span) -> String {
    time.to_string().replace(' ', "")
}

/// A report with the options of this command line in its reasons.
fn in_our_words(report: &SendReport) -> SendReport {
    let ours = |text: &String| in_options(text).into_owned();
    let mut report = report.clone();
    report.error = report.error.as_ref().map(ours);
    for frame in report.sources.iter_mut().flat_map(|source| &mut source.failed) {
        frame.reason = ours(&frame.reason);
    }
    for path in &mut report.paths {
        path.why = path.why.as_ref().map(ours);
    }
    report
}

/// Prints what became of every source.
pub(in crate::cli) fn tell(report: &SendReport, unsent: &Unsent, json: bool) -> anyhow::Result<()> {
    let report = &in_our_words(report);
    if json {
        output::json(&Document { report, unsent })?;
    } else {
        let ended_by = report.error.as_deref();
        report.sources.iter().for_each(|source| tell_source(source, ended_by));
        let time = Duration::from_secs_f64(report.seconds);
        output::result(&format!(
            "{} in {:.2} s: {} ({}){}",
            output::frames(report.sent()),
            report.seconds,
            ByteSize(report.bytes()),
            output::rate(report.bytes(), time),
            link_words(&report.link)
        ));
        paths_words(&report.paths).iter().for_each(|line| output::result(line));
        if let Some(words) = report.spool.as_ref().map(spool_words).filter(|it| !it.is_empty()) {
            output::result(words.trim_start_matches("; "));
        }
        // Of a run that sent nothing there is nothing to say.
        if report.sent() > 0 {
            output::result(&report.limit);
        }
    }
    if let Some(error) = &report.error {
        output::say_error(&anyhow!("{error}"));
    }
    Ok(())
}

/// Over what a run went, where there was a choice and it was not QUIC alone:
/// `over tcp for 3.2 s: no answer over UDP within 0.2 s`.
fn paths_words(paths: &[PathReport]) -> Vec<String> {
    /// More changes than this are not read by anybody; `--json` has them.
    const TOLD: usize = 6;
    let path = |path: &PathReport| {
        let why = path.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("over {} for {:.1} s{why}", path.transport, path.seconds)
    };
    if paths.iter().all(|path| path.why.is_none()) {
        return Vec::new();
    }
    let rest = paths.len().saturating_sub(TOLD);
    let before = (rest > 0).then(|| format!("{rest} connections before these; --json has them"));
    before.into_iter().chain(paths[rest..].iter().map(path)).collect()
}

/// What is known of the link: `; round trip 52 ms, 2.1 % of packets lost, 9.0 % of the bytes repair`.
fn link_words(link: &LinkFigures) -> String {
    let mut words = String::new();
    if let Some(rtt) = link.rtt_ms {
        words.push_str(&format!("; round trip {}", milliseconds(rtt)));
    }
    if let Some(loss) = link.loss {
        words.push_str(&format!(", {:.1} % of packets lost", loss * 1e2));
    }
    if let Some(repair) = link.repair.filter(|&repair| repair > 0.0) {
        words.push_str(&format!(", {:.1} % of the bytes repair", repair * 1e2));
    }
    words
}

/// How long frames of a source took that have a time of their own.
fn times_words(source: &SourceReport) -> Option<String> {
    let (latency, late) = (source.latency?, source.lateness?);
    let ms = milliseconds;
    Some(format!(
        "stored {} after they were due (half of them), {} (95 %), {} (the longest); left this end {} late (95 %)",
        ms(latency.p50_ms),
        ms(latency.p95_ms),
        ms(latency.max_ms),
        ms(late.p95_ms)
    ))
}

/// `0.4 ms`, `52 ms`, `8.83 s`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

fn tell_source(source: &SourceReport, ended_by: Option<&str>) {
    /// More names than this are not read by anybody; `--json` has them.
    const NAMED: usize = 100;
    let SourceReport { name, frames, sent, stored, verified, missing, failed, .. } = source;
    let lost = source.lost();
    let before = match source.stored_before {
        0 => String::new(),
        before => format!(" ({before} before)"),
    };
    let dropped: Vec<_> = source
        .dropped
        .iter()
        .map(|(reason, count)| format!(", dropped {count} ({reason})"))
        .collect();
    let dropped = dropped.concat();
    let pending = match source.pending {
        0 => String::new(),
        pending => format!(", in the spool {pending}"),
    };
    output::result(&format!(
        "{name}: {}: sent {sent}, stored {stored}{before}, verified {verified}{dropped}{pending}, missing {missing}",
        output::frames(*frames)
    ));
    for (reason, count) in &source.dropped_before {
        output::result(&format!(
            "  of an earlier sender {} lost and declared here ({reason})",
            if *count == 1 { "1 frame is".to_owned() } else { format!("{count} frames are") }
        ));
    }
    if let Some(times) = times_words(source) {
        output::result(&format!("  {times}"));
    }
    // What ended the whole run is said once, at its end, and not for each frame that it hit.
    let (cut_off, failed): (Vec<_>, Vec<_>) =
        failed.iter().partition(|frame| Some(frame.reason.as_str()) == ended_by);
    for frame in failed.iter().take(NAMED) {
        let why = frame.dropped.map_or_else(String::new, |reason| format!(" ({reason})"));
        output::result(&format!("  {} {}{why}: {}", gone(frame), frame.name, frame.reason));
    }
    let rest = lost.saturating_sub(failed.len().min(NAMED) as u64);
    let Some((first, last)) = cut_off.first().zip(cut_off.last()) else {
        match rest {
            0 => {}
            rest if failed.is_empty() => output::result(&format!(
                "  {rest} had no room on disk in the spool; the next sender that names it declares them"
            )),
            rest => output::result(&format!("  and {rest} more; --json names them")),
        }
        return;
    };
    let word =
        if cut_off.iter().all(|frame| frame.dropped.is_some()) { "dropped" } else { "missing" };
    output::result(&match rest {
        1 => format!("  {word} {}", first.name),
        rest if rest == *frames => format!("  {word} all {rest} of them"),
        rest => format!("  {word} {rest} of {} to {}; --json names them", first.name, last.name),
    });
}

/// The word for a frame that is not stored.
fn gone(frame: &FailedFrame) -> &'static str {
    if frame.dropped.is_some() { "dropped" } else { "missing" }
}

/// What a spool holds, and has dropped; nothing of one that holds nothing.
pub(super) fn spool_words(figures: &SpoolFigures) -> String {
    let SpoolFigures { memory_frames, memory_bytes, disk_frames, disk_bytes, dropped, .. } =
        *figures;
    let mut words = String::new();
    if memory_frames + disk_frames > 0 {
        words = format!(
            "; spool: {memory_frames} in memory ({}), {disk_frames} on disk ({})",
            ByteSize(memory_bytes),
            ByteSize(disk_bytes)
        );
    }
    if dropped > 0 {
        words.push_str(&format!("; spool full: {dropped} dropped"));
    }
    words
}
