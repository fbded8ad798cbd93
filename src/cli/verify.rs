//! `framelane verify`: hash the store again, against its manifests.

mod resume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use super::{COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, output};
use crate::frame::{ByteSize, UnixNanos};
use crate::manifest::{Day, Listed};
use crate::report::Versioned;
use crate::verify::{
    Account, Alteration, Course, Gap, Past, SequenceGap, Sequences, SourceReport, State, Together,
    UnreadableSource, VerifyError, VerifyOptions, VerifyReport, overlapping, verify_on,
};

const AFTER_HELP: &str = "\
Nothing is changed. Each source is one of:
  complete                              every frame that its runs captured is stored
  complete, with N declared drops       the others were declared dropped, with a reason; how many
                                        of them a later run brought
  gap: sequences A to B ...             frames have neither file nor declaration
  run not ended                         its sender was killed, or is still at it
  account lost                          frames are here, and the ledger that tells of their run
                                        is not
  the account contradicts itself        frames are here that their run cannot have had
  undeclared                            nothing says how many there were (stop-and-wait)
Unknown files are listed and do not count as failures.

What was read is remembered from a few seconds on, outside of the store, and --resume goes on
there. Of a file that was read before, nothing may have changed since: not its line, its inode,
its length, its times. All else is read again.

Exit status: 0 every file is as it was stored, every source complete or undeclared, and no frame
missing because the receiver refused it, for want of room say; 1 not so; 2 wrong usage; 130
interrupted.";

/// Lines for each kind of finding of a source. More are not read by anybody; `--json` has them.
const NAMED: usize = 100;

/// Read every stored frame again and compare its hash with the manifest
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// The store (the folder that `receive` stored to), or the folder of one source in it; or several, as flights that were
    /// taken away while their runs went on: what one has of a run counts for all of them
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Read only the files of frames that were stored since then: a time ago (24h), or a day in UTC (2026-11-29). Of
    /// the others their lines count
    #[arg(long, value_name = "WHEN", value_parser = super::since::parse)]
    since: Option<UnixNanos>,
    /// Go on where a verification of this store was interrupted: what that had read, and has not changed since, is not
    /// read again
    #[arg(long)]
    resume: bool,
    /// Where it is remembered what was read, until the end [default: a file of the store's in
    /// ~/.local/state/framelane/verify]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Threads that read and hash [default: one for each processor]
    #[arg(long, value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    threads: Option<usize>,
}

pub(super) fn run(args: &VerifyArgs, talk: Talk) -> Outcome {
    let mut options = VerifyOptions::default();
    options.threads = args.threads.unwrap_or(options.threads);
    options.since = args.since;
    let stop = resume::stop()?;
    if let Some((inner, outer)) = overlapping(&args.dirs) {
        let (inner, outer) = (inner.display(), outer.display());
        return Err(Failure::usage(anyhow!("{inner} is in {outer}: name it once")));
    }
    if args.checkpoint.is_some() && args.dirs.len() > 1 {
        return Err(Failure::usage(anyhow!(
            "one --checkpoint does not serve several folders: leave it out"
        )));
    }
    let together = Together::of(&args.dirs)?;
    let mut reports = Vec::new();
    for dir in &args.dirs {
        match verify_one(dir, args, options, (&stop, &together), talk)? {
            Some(report) => reports.push(report),
            None => return Ok(INTERRUPTED),
        }
    }
    let proven = reports.iter().all(VerifyReport::is_proven);
    match (args.json, &reports[..]) {
        (false, _) => {}
        (true, [report]) => output::json(&Versioned::of(report))?,
        (true, stores) => output::json(&Versioned::of(&Stores { proven, stores }))?,
    }
    Ok(if proven { COMPLETE } else { INCOMPLETE })
}

/// Several folders, in JSON.
#[derive(Debug, Serialize)]
struct Stores<'a> {
    proven: bool,
    stores: &'a [VerifyReport],
}

/// Verifies one folder, and says what was found unless that is for JSON; `None` where it was interrupted.
fn verify_one(
    dir: &Path,
    args: &VerifyArgs,
    options: VerifyOptions,
    (stop, together): (&AtomicBool, &Together),
    talk: Talk,
) -> Result<Option<VerifyReport>, Failure> {
    let past = resume::open(dir, args.checkpoint.as_deref(), args.resume)?;
    let bar = output::bar(talk, Some(0));
    let started = Instant::now();
    let mut lines = resume::Lines::new(talk);
    let mut seen = None;
    let course = Course { past: past.as_ref(), stop: Some(stop), together: Some(together) };
    let report = verify_on(dir, options, course, &mut |progress| {
        bar.set_length(progress.of_all_frames);
        bar.set_position(progress.all_frames);
        bar.set_message(format!("{} {}", progress.source, ByteSize(progress.bytes)));
        let far = resume::Far::of(&progress);
        lines.tell(&far);
        seen = Some(far);
    });
    drop(bar);
    let report = match report {
        Err(VerifyError::Interrupted) => {
            resume::say_interrupted(dir, args.checkpoint.as_deref(), past.as_ref(), seen);
            return Ok(None);
        }
        report => report?,
    };
    past.into_iter().for_each(Past::end);
    if !args.json {
        if args.dirs.len() > 1 {
            output::result(&format!("{}:", dir.display()));
        }
        show_report(&report, dir, started.elapsed());
    }
    Ok(Some(report))
}

fn show_report(report: &VerifyReport, dir: &Path, took: Duration) {
    report.sources.iter().for_each(show);
    show_beside(&report.unknown, dir);
    show_unreadable(&report.unreadable);
    show_resumed(report);
    let bytes = report.sources.iter().map(|source| source.verified_bytes).sum();
    let before: u64 = report.sources.iter().map(|source| source.read_before_bytes).sum();
    let rate = output::rate(bytes - before, took);
    output::result(&summary(report, bytes, &rate));
}

/// What was not read now, because it had been.
fn show_resumed(report: &VerifyReport) {
    let Some(began) = report.resumed_from_unix_ns else { return };
    let count = |of: fn(&SourceReport) -> u64| report.sources.iter().map(of).sum::<u64>();
    let (frames, bytes) =
        (count(|source| source.read_before), count(|source| source.read_before_bytes));
    let frames = output::frames(frames);
    let (bytes, began) = (ByteSize(bytes), resume::utc(UnixNanos(began)));
    output::result(&format!(
        "of these, {frames}, {bytes}, were read by the verification that was interrupted, begun {began}, and nothing of \
         them has changed since"
    ));
}

fn show(source: &SourceReport) {
    let SourceReport { source: name, path, frames, verified, missing, altered, expired, .. } =
        source;
    let (unknown, sequences) = (&source.unknown, &source.sequences);
    output::result(&format!(
        "{name}: {frames} in the manifest, verified {verified}, missing {}, altered {}, unknown {}{}",
        missing.count,
        altered.count,
        unknown.count,
        some("expired", *expired) + &some("not read", source.skipped),
    ));
    output::result(&format!("  {}", describe_account(&source.account)));
    list("missing", missing, |frame| format!("{name}/{frame}"));
    list("altered", altered, |frame| {
        format!("{name}/{}: {}", frame.name, describe(&frame.how, &path.join(&frame.name)))
    });
    list("bad line", &source.bad_lines, |line| {
        format!("{name}/manifest.jsonl:{}: {}", line.line, line.reason)
    });
    list("bad line", &source.bad_ledger_lines, |line| {
        format!("{name}/ledger.jsonl:{}: {}", line.line, line.reason)
    });
    show_refused(name, &source.account);
    list("gap", &source.account.gaps, |gap| format!("{name}: {}", describe_run_gap(gap)));
    show_elsewhere(name, &source.account);
    let open = source.account.runs.first.iter().filter(|run| run.state == State::NotEnded);
    for run in open.take(NAMED) {
        let stored = output::frames(run.stored);
        let run = &run.run;
        output::result(&format!(
            "  run      {name}: run {run} has not ended: {stored} of it are stored. Its sender was \
             killed or is still at it: send the same again. Or this folder was taken away meanwhile: verify it together with \
             the one in which the run goes on (verify DIR DIR)"
        ));
    }
    show_lost_account(name, &source.account);
    list("unknown", unknown, |file| format!("{name}/{file}{}", link(&path.join(file))));
    if source.account.state == State::Undeclared {
        list("numbers", &sequences.gaps, |gap| format!("{name}: {}", describe_gap(*gap)));
        show_scattered(name, sequences);
    }
    if sequences.duplicates > 0 {
        let frames = output::frames(sequences.duplicates);
        output::result(&format!("  {frames} of {name} with the sequence of another"));
    }
}

/// Frames of its runs that are in others of the folders that were named.
fn show_elsewhere(name: &str, account: &Account) {
    let elsewhere: u64 = account.runs.first.iter().map(|run| run.elsewhere).sum();
    if elsewhere > 0 {
        output::result(&format!(
            "  together {name}: {} of its runs are in another of these folders, and are verified there",
            output::frames(elsewhere)
        ));
    }
    if account.copies > 0 {
        output::result(&format!(
            "  copies   {name}: {} are in another of these folders as well, with the same contents",
            output::frames(account.copies)
        ));
    }
}

/// Frames that the receiver refused, and what to do about them.
fn show_refused(name: &str, account: &Account) {
    let (conflicts, others) =
        (account.other_content, account.refused.saturating_sub(account.other_content));
    if others > 0 {
        let frames = output::frames(others);
        output::result(&format!(
            "  refused  {name}: {frames} had no room here, or could not be stored for another reason, which the \
             receiver's log names; a folder can be sent again"
        ));
    }
    if conflicts > 0 {
        let (frames, have) =
            (output::frames(conflicts), if conflicts == 1 { "has" } else { "have" });
        output::result(&format!(
            "  refused  {name}: {frames} {have} the name of another that is stored here, with other content, or would be \
             where that is. To send the same again does not help: send to a source of another name (NAME=FOLDER), or \
             replace what is here under that name (send --overwrite to receive --allow-overwrite)"
        ));
    }
}

/// Runs whose frames are here, and of which the ledger says nothing.
fn show_lost_account(name: &str, account: &Account) {
    if account.runs.first.iter().all(|run| run.state != State::AccountLost) {
        return;
    }
    if name.parse::<Day>().is_ok() {
        output::result(&format!(
            "  account  {name}: this is the folder of a day, and how many frames there were is in ledger.jsonl of its source's \
             folder. Those that are here are verified; verify it together with the store that it is from (verify DIR DIR)"
        ));
        return;
    }
    output::result(&format!(
        "  account  {name}: ledger.jsonl is gone, or a part of it, and with it how many frames there were. Those that \
         are here are verified. Put the file back where there is a copy of it; or, where they came from a folder, send \
         that again: its new run then accounts for all of them"
    ));
}

/// What lies in the store and is no source.
fn show_beside(unknown: &Listed<String>, store: &Path) {
    if !unknown.is_empty() {
        output::result(&format!("beside the sources: unknown {}", unknown.count));
    }
    list("unknown", unknown, |name| format!("{name}{}", link(&store.join(name))));
}

/// Sources of which nothing is known.
fn show_unreadable(unreadable: &Listed<UnreadableSource>) {
    if !unreadable.is_empty() {
        output::result(&format!("not verified: sources that cannot be read: {}", unreadable.count));
    }
    list("unread", unreadable, |one| format!("{}: {}", one.source, one.reason));
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

fn show_scattered(name: &str, sequences: &Sequences) {
    if sequences.too_scattered {
        output::result(&format!("  numbers  {name}: the sequences are too scattered to be judged"));
    }
}

/// `, expired 3`; nothing where there are none.
fn some(what: &str, count: u64) -> String {
    if count == 0 { String::new() } else { format!(", {what} {count}") }
}

/// What is to be said of a source's runs, in a line.
fn describe_account(account: &Account) -> String {
    match account.state {
        State::Complete => complete(account),
        State::Undeclared => "undeclared: nothing says how many frames there were (they came over \
                              stop-and-wait, or to an earlier version)"
            .to_owned(),
        State::AccountLost => {
            "account lost: frames are here whose run the ledger does not know; whether others are \
                               missing, nothing says"
                .to_owned()
        }
        State::NotEnded => "run not ended: frames may be missing".to_owned(),
        State::Ambiguous => {
            let (ambiguous, have) =
                (account.ambiguous, if account.ambiguous == 1 { "has" } else { "have" });
            format!(
                "ambiguous: {} {have} the sequence of another of the same run, as when a spool or a machine's disk was copied \
                 and both sent; what is here is verified, and whether others are missing, nothing can say",
                output::frames(ambiguous)
            )
        }
        State::Contradictory => format!(
            "the account contradicts itself: {} here or declared dropped that their run cannot have had; ledger or manifest was \
             changed, or lines of it are lost",
            match account.contradictory {
                1 => "1 frame is".to_owned(),
                more => format!("{more} frames are"),
            }
        ),
        State::Gap => match account.gaps.first.first() {
            Some(gap) => format!("gap: {}", describe_gap_of(gap)),
            None => "gap: frames have neither frame nor declaration".to_owned(),
        },
    }
}

/// `complete`, or what was dropped and why, and how much of it came later.
fn complete(account: &Account) -> String {
    let Account { dropped, came_later, .. } = *account;
    if dropped == 0 || came_later >= dropped {
        return format!("complete{}", all_came(dropped));
    }
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for drops in &account.drops {
        // Its sender declares it, but it was the receiver that had no room, or another frame of the name.
        let kind = match drops.reason {
            REFUSED => format!("{REFUSED} by the receiver"),
            CONFLICT => format!("refused for {CONFLICT}"),
            reason => format!("{reason} at the {}", drops.place),
        };
        *kinds.entry(kind).or_default() += drops.frames;
    }
    let kinds: Vec<_> =
        kinds.into_iter().map(|(kind, frames)| format!("{frames} {kind}")).collect();
    format!("complete, with {} ({})", declared(dropped, came_later), kinds.join(", "))
}

/// `26 declared drops, 23 of which came later`.
fn declared(dropped: u64, came_later: u64) -> String {
    let later =
        if came_later == 0 { String::new() } else { format!(", {came_later} of which came later") };
    format!("{dropped} declared drop{}{later}", plural(dropped))
}

/// What is to be said where all that was dropped came later.
fn all_came(dropped: u64) -> String {
    match dropped {
        0 => String::new(),
        1 => "; 1 that was dropped at first came in a later run".to_owned(),
        more => format!("; {more} that were dropped at first came in a later run"),
    }
}

/// What the receiver refuses is called so.
const REFUSED: &str = "refused";
const CONFLICT: &str = "other-content";

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn describe_run_gap(gap: &Gap) -> String {
    format!("{} (run {})", describe_gap_of(gap), gap.run)
}

fn describe_gap_of(Gap { from, to, taken_away, .. }: &Gap) -> String {
    let which = match to - from {
        0 => format!("sequence {from}"),
        more => format!("sequences {from} to {to} ({} of them)", more.saturating_add(1)),
    };
    let (have, were) = if from == to { ("has", "was") } else { ("have", "were") };
    match taken_away {
        true => format!(
            "{which} {were} in a folder that was taken away while the run went on; verify that together with this one"
        ),
        false => format!("{which} {have} neither frame nor declaration"),
    }
}

fn describe_gap(SequenceGap { from, to }: SequenceGap) -> String {
    match to - from {
        0 => format!("no frame has sequence {from}"),
        more => format!(
            "no frames have the sequences {from} to {to} ({} of them)",
            more.saturating_add(1)
        ),
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
    let count = |of: fn(&Account) -> u64| -> u64 {
        report.sources.iter().map(|source| of(&source.account)).sum()
    };
    let (dropped, came) = (count(|account| account.dropped), count(|account| account.came_later));
    let skipped: u64 = report.sources.iter().map(|source| source.skipped).sum();
    let undeclared = |source: &SourceReport| source.account.state == State::Undeclared;
    let proven = match report.is_proven() {
        false => "NOT proven".to_owned(),
        true if skipped > 0 => format!(
            "every frame that was read is as it was stored, and none is unaccounted for; {} of before were not read",
            output::frames(skipped)
        ),
        true if report.sources.iter().any(undeclared) => {
            "every frame is as it was stored".to_owned()
        }
        true if dropped > came => format!("complete, with {}", declared(dropped, came)),
        true => "complete: every frame is as it was stored".to_owned(),
    };
    format!("{}: {} verified, {} ({rate})", proven, output::frames(verified), ByteSize(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Versioned, complete};
    use crate::manifest::Listed;
    use crate::verify::{Account, Drops, State, VerifyReport};

    #[test]
    fn drops_are_told_with_how_many_of_them_came_later() {
        let drops = |reason, place, frames| Drops { reason, place, frames };
        let account = |dropped, came_later, drops| Account {
            state: State::Complete,
            owner: None,
            owner_name: None,
            runs: Listed::new(1),
            gaps: Listed::new(1),
            dropped,
            came_later,
            drops,
            refused: 0,
            other_content: 0,
            ambiguous: 0,
            copies: 0,
            contradictory: 0,
            expired: 0,
        };
        let refused = || drops("refused", "sender", 29);
        for (account, said) in [
            (account(0, 0, vec![]), "complete"),
            (account(1, 1, vec![]), "complete; 1 that was dropped at first came in a later run"),
            (
                account(29, 29, vec![refused()]),
                "complete; 29 that were dropped at first came in a later run",
            ),
            (
                account(30, 0, vec![drops("late", "sender", 1), refused()]),
                "complete, with 30 declared drops (1 late at the sender, 29 refused by the receiver)",
            ),
            (
                account(
                    26,
                    23,
                    vec![drops("other-content", "sender", 1), drops("given-up", "sender", 25)],
                ),
                "complete, with 26 declared drops, 23 of which came later (25 given-up at the sender, 1 refused for other-content)",
            ),
        ] {
            assert_eq!(complete(&account), said);
        }
    }

    #[test]
    fn the_names_in_json_stay_as_they_are() {
        let report = VerifyReport {
            proven: true,
            folder: "store".to_owned(),
            sources: Vec::new(),
            resumed_from_unix_ns: None,
            unknown: Listed::new(1),
            unreadable: Listed::new(1),
        };
        let document = Versioned::of(&report);
        let document = serde_json::to_string(&document).unwrap();
        assert_eq!(
            document,
            r#"{"schema":1,"proven":true,"folder":"store","sources":[],"resumed_from_unix_ns":null,"unknown":{"count":0,"first":[]},"unreadable":{"count":0,"first":[]}}"#
        );
    }
}
