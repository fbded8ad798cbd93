//! `framelane verify`: hash the store again, against its manifests.

use std::path::PathBuf;
use std::time::Instant;

use super::{COMPLETE, INCOMPLETE, Outcome, Talk, output};
use crate::frame::ByteSize;
use crate::verify::{Alteration, SourceReport, VerifyOptions, VerifyReport, verify};

/// Read every stored frame again and compare its hash with the manifest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed. Exit status: 0 every frame is as it was stored, 1 one is not."
)]
pub(super) struct VerifyArgs {
    /// The store (the folder that `receive` stored to), or the folder of one source in it
    dir: PathBuf,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
    /// Threads that read and hash [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub(super) fn run(args: &VerifyArgs, talk: Talk) -> Outcome {
    let mut options = VerifyOptions::default();
    options.threads = args.threads.unwrap_or(options.threads);
    let bar = output::bar(talk, Some(0));
    let started = Instant::now();
    let report = verify(&args.dir, options, &mut |progress| {
        bar.set_length(progress.of_frames);
        bar.set_position(progress.frames);
        bar.set_message(format!("{} {}", progress.source, ByteSize(progress.bytes)));
    })?;
    bar.finish_and_clear();
    if args.json {
        output::json(&report)?;
    } else {
        report.sources.iter().for_each(show);
        let bytes = report.sources.iter().map(|source| source.verified_bytes).sum();
        output::result(&summary(&report, bytes, &output::rate(bytes, started.elapsed())));
    }
    Ok(if report.is_proven() { COMPLETE } else { INCOMPLETE })
}

fn show(source: &SourceReport) {
    let SourceReport { source: name, frames, verified, missing, altered, unknown, .. } = source;
    output::result(&format!(
        "{name}: {frames} in the manifest, verified {verified}, missing {}, altered {}, unknown {}",
        missing.count, altered.count, unknown.count
    ));
    for frame in &missing.first {
        output::result(&format!("  missing  {name}/{frame}"));
    }
    for frame in &altered.first {
        output::result(&format!("  altered  {name}/{}: {}", frame.name, describe(&frame.how)));
    }
    for file in &unknown.first {
        output::result(&format!("  unknown  {name}/{file}"));
    }
    for line in &source.bad_lines.first {
        output::result(&format!("  bad line {name}/manifest.jsonl:{}: {}", line.line, line.reason));
    }
}

fn describe(how: &Alteration) -> String {
    match how {
        Alteration::Length { expected, found } => {
            format!("it has {found} bytes, and had {expected} when it was stored")
        }
        Alteration::Content { .. } => "its content is not what was stored".to_owned(),
        Alteration::NotAFile => "it is not a regular file".to_owned(),
        Alteration::Unreadable { cause } => format!("it cannot be read: {cause}"),
    }
}

fn summary(report: &VerifyReport, bytes: u64, rate: &str) -> String {
    let verified: u64 = report.sources.iter().map(|source| source.verified).sum();
    let proven = if report.is_proven() { "every frame is as it was stored" } else { "NOT proven" };
    format!("{}: {} verified, {} ({rate})", proven, output::frames(verified), ByteSize(bytes))
}
