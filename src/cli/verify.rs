//! `framelane verify`: hash the store again, against its manifests.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::RangedU64ValueParser;

use super::{COMPLETE, INCOMPLETE, Outcome, Talk, output};
use crate::frame::ByteSize;
use crate::manifest::Listed;
use crate::verify::{
    Alteration, SequenceGap, Sequences, SourceReport, VerifyOptions, VerifyReport, verify,
};

const AFTER_HELP: &str = "\
Nothing is changed. Unknown files, and gaps in the sequences of a source, are listed and do not count
as failures: they say nothing about the frames that were stored.

Exit status: 0 every frame is as it was stored, 1 one is not, 2 wrong usage.";

/// Lines for each kind of finding of a source. More are not read by anybody; `--json` has them.
const NAMED: usize = 100;

/// Read every stored frame again and compare its hash with the manifest
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// The store (the folder that `receive` stored to), or the folder of one source in it
    dir: PathBuf,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
    /// Threads that read and hash [default: one for each processor]
    #[arg(long, value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
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
    drop(bar);
    if args.json {
        output::json(&report)?;
    } else {
        report.sources.iter().for_each(show);
        show_beside(&report.unknown, &args.dir);
        let bytes = report.sources.iter().map(|source| source.verified_bytes).sum();
        output::result(&summary(&report, bytes, &output::rate(bytes, started.elapsed())));
    }
    Ok(if report.is_proven() { COMPLETE } else { INCOMPLETE })
}

fn show(source: &SourceReport) {
    let SourceReport { source: name, path, frames, verified, missing, altered, .. } = source;
    let (unknown, sequences) = (&source.unknown, &source.sequences);
    output::result(&format!(
        "{name}: {frames} in the manifest, verified {verified}, missing {}, altered {}, \
         unknown {}, gaps {}",
        missing.count,
        altered.count,
        unknown.count,
        gaps(sequences)
    ));
    list("missing", missing, |frame| format!("{name}/{frame}"));
    list("altered", altered, |frame| {
        format!("{name}/{}: {}", frame.name, describe(&frame.how, &path.join(&frame.name)))
    });
    list("bad line", &source.bad_lines, |line| {
        format!("{name}/manifest.jsonl:{}: {}", line.line, line.reason)
    });
    list("unknown", unknown, |file| format!("{name}/{file}{}", link(&path.join(file))));
    list("gap", &sequences.gaps, |gap| format!("{name}: {}", describe_gap(*gap)));
    if sequences.duplicates > 0 {
        let frames = output::frames(sequences.duplicates);
        output::result(&format!("  {frames} of {name} with the sequence of another"));
    }
}

/// What lies in the store and is no source.
fn show_beside(unknown: &Listed<String>, store: &Path) {
    if !unknown.is_empty() {
        output::result(&format!("beside the sources: unknown {}", unknown.count));
    }
    list("unknown", unknown, |name| format!("{name}{}", link(&store.join(name))));
}

/// One kind of finding, a line each up to a limit.
fn list<T>(kind: &str, found: &Listed<T>, line: impl Fn(&T) -> String) {
    for finding in found.first.iter().take(NAMED) {
        // Nobody has checked the names of unknown files; none may pass for a line of ours.
        output::result(&format!("  {kind:<8} {}", output::printable(&line(finding))));
    }
    let rest = found.count.saturating_sub(found.first.len().min(NAMED) as u64);
    if rest > 0 {
        output::result(&format!("  {kind:<8} and {rest} more; --json names more of them"));
    }
}

fn gaps(sequences: &Sequences) -> String {
    match sequences.too_scattered {
        true => "not known (the sequences are too scattered)".to_owned(),
        false => sequences.gaps.count.to_string(),
    }
}

fn describe_gap(SequenceGap { from, to }: SequenceGap) -> String {
    match to - from {
        0 => format!("no frame has sequence {from}"),
        more => format!("no frames have the sequences {from} to {to} ({} of them)", more + 1),
    }
}

fn describe(how: &Alteration, path: &Path) -> String {
    match how {
        Alteration::Length { expected, found } => {
            format!("it has {found} bytes, and had {expected} when it was stored")
        }
        Alteration::Content { .. } => "its content is not what was stored".to_owned(),
        Alteration::NotAFile => format!("it is not a regular file{}", link(path)),
        Alteration::Unreadable { cause } => format!("it cannot be read: {cause}"),
    }
}

/// What a symbolic link points to, to put behind its name; nothing for anything else.
fn link(path: &Path) -> String {
    let link = output::link(path);
    link.map_or_else(String::new, |link| format!(" ({link}; links are not followed)"))
}

fn summary(report: &VerifyReport, bytes: u64, rate: &str) -> String {
    let verified: u64 = report.sources.iter().map(|source| source.verified).sum();
    let proven = if report.is_proven() { "every frame is as it was stored" } else { "NOT proven" };
    format!("{}: {} verified, {} ({rate})", proven, output::frames(verified), ByteSize(bytes))
}

#[cfg(test)]
mod tests {
    use crate::manifest::Listed;
    use crate::report::Versioned;
    use crate::verify::VerifyReport;

    #[test]
    fn the_names_in_json_stay_as_they_are() {
        let report = VerifyReport {
            folder: "store".to_owned(),
            sources: Vec::new(),
            unknown: Listed::new(1),
        };
        let document = Versioned::of(&report);
        let document = serde_json::to_string(&document).unwrap();
        assert_eq!(
            document,
            r#"{"schema":1,"folder":"store","sources":[],"unknown":{"count":0,"first":[]}}"#
        );
    }
}
