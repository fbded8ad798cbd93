//! Markdown.

use std::fmt::Write;

use crate::run::{Case, Spread};

/// Throughput and what it costs.
pub(crate) fn throughput(cases: &[Case]) -> String {
    let mut table = String::from(
        "| frames | transport | MB/s (range) | frames/s | CPU s/GB, sender | CPU s/GB, receiver | \
         peak MB, sender | peak MB, receiver |\n|---|---|---|---|---|---|---|---|\n",
    );
    for case in cases {
        let (megabytes, gigabytes) = (case.total_bytes() / 1e6, case.total_bytes() / 1e9);
        let rate = case.spread(|run| megabytes / run.seconds);
        let frames = case.spread(|run| case.count as f64 / run.seconds);
        let sender = case.spread(|run| run.sender.cpu_seconds / gigabytes);
        let receiver = case.spread(|run| run.receiver.cpu_seconds / gigabytes);
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {:.2} | {:.2} | {} |",
            frames_of(case),
            case.transport,
            range(rate),
            thousands(frames.median.round() as u64),
            sender.median,
            receiver.median,
            peaks(case),
        );
    }
    table
}

/// Peak memory.
pub(crate) fn memory(cases: &[Case]) -> String {
    let mut table = String::from(
        "| frames | transport | peak MB, sender | peak MB, receiver |\n|---|---|---|---|\n",
    );
    for case in cases {
        let _ = writeln!(table, "| {} | {} | {} |", frames_of(case), case.transport, peaks(case));
    }
    table
}

/// Time to find that nothing has to be sent.
pub(crate) fn skip(cases: &[Case]) -> String {
    let mut table = String::from(
        "| frames stored already | transport | seconds (range) | CPU s, sender | CPU s, receiver |\n\
         |---|---|---|---|---|\n",
    );
    for case in cases {
        let seconds = case.spread(|run| run.seconds);
        let _ = writeln!(
            table,
            "| {} | {} | {:.2} ({:.2} to {:.2}) | {:.2} | {:.2} |",
            thousands(case.count),
            case.transport,
            seconds.median,
            seconds.least,
            seconds.greatest,
            case.spread(|run| run.sender.cpu_seconds).median,
            case.spread(|run| run.receiver.cpu_seconds).median,
        );
    }
    table
}

fn frames_of(case: &Case) -> String {
    let size = match case.bytes {
        bytes if bytes >= 1_000_000 => format!("{} MB", bytes / 1_000_000),
        bytes if bytes >= 1_000 => format!("{} kB", bytes / 1_000),
        bytes => format!("{bytes} B"),
    };
    format!("{} x {size}", thousands(case.count))
}

/// The greatest of all runs: a bound that holds is what is asked for.
fn peaks(case: &Case) -> String {
    let sender = case.spread(|run| run.sender.peak_bytes as f64 / 1e6);
    let receiver = case.spread(|run| run.receiver.peak_bytes as f64 / 1e6);
    format!("{:.0} | {:.0}", sender.greatest, receiver.greatest)
}

fn range(spread: Spread) -> String {
    let digits = usize::from(spread.median < 10.0);
    let Spread { median, least, greatest } = spread;
    format!("{median:.digits$} ({least:.digits$} to {greatest:.digits$})")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
