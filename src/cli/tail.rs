//! `framelane tail`: the lines of stored frames, as they are stored.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use super::{COMPLETE, Failure, Outcome, output, since};
use crate::frame::UnixNanos;
use crate::manifest::Reels;

/// How often it is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines are written together up to so much.
const WRITE_BYTES: usize = 64 * 1024;

const UNWRITABLE: &str = "cannot write the result to standard output";

const AFTER_HELP: &str = "\
Each line is a JSON object: the frame's line in the manifest, with `source` and `path` (its file) as
well. Nothing is changed, and a receiver that stores there does not notice. With --follow alone it
begins with the next frame that is stored.";

/// Print a line for each stored frame; with --follow, for each that is stored from now on
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TailArgs {
    /// The store (the folder that `receive` stores to), or the folder of one source in it
    dir: PathBuf,
    /// Go on with what is stored from now on, until it is stopped
    #[arg(short, long)]
    follow: bool,
    /// Begin with what was stored since then: a time ago (10m, 24h), or a day in UTC (2026-11-29)
    #[arg(long, value_name = "WHEN", value_parser = since::parse)]
    since: Option<UnixNanos>,
    /// Print frames of this source alone (repeatable)
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
}

pub(super) fn run(args: &TailArgs) -> Outcome {
    let reels = Reels::open(&args.dir).map_err(|error| failed(args, &error))?;
    let mut reels = reels.only(args.source.clone());
    match args.since {
        Some(since) => reels = reels.since(since),
        None if args.follow => reels.skip_to_end().map_err(|error| failed(args, &error))?,
        None => {}
    }
    output::require_stdout().context(UNWRITABLE)?;
    let mut out = io::stdout().lock();
    let mut is_first = true;
    loop {
        let written = print(args, &mut reels, &mut out)?;
        match written {
            Ok(()) => {}
            // Who reads has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(COMPLETE),
            Err(error) => {
                return Err(error).context(UNWRITABLE).map_err(Into::into);
            }
        }
        if std::mem::take(&mut is_first) {
            tell_missing(args, &reels);
        }
        if !args.follow {
            return Ok(COMPLETE);
        }
        sleep(LOOK_EVERY);
    }
}

/// Says that there are no sources, or which of those that were asked for are not there: nothing may have come of them
/// yet, or the name is another.
fn tell_missing(args: &TailArgs, reels: &Reels) {
    let there = reels.sources();
    if there.is_empty() && args.source.is_empty() {
        output::note(&format!(
            "framelane: {} is neither a store nor the folder of a source so far; name the folder that `receive` stores to \
             (--out)",
            args.dir.display()
        ));
    }
    for name in args.source.iter().filter(|name| !there.contains(name)) {
        let store = args.dir.display();
        output::note(&format!("framelane: there is no source {name} in {store} so far"));
    }
}

/// Prints all that there is. The outer error is the store's, the inner one of standard output.
fn print(
    args: &TailArgs,
    reels: &mut Reels,
    out: &mut impl Write,
) -> Result<io::Result<()>, Failure> {
    let mut text = Vec::new();
    while let Some((source, stored)) = reels.next_frame().map_err(|error| failed(args, &error))? {
        stored.write_line(&source, &mut text);
        if text.len() >= WRITE_BYTES {
            if let Err(error) = out.write_all(&text) {
                return Ok(Err(error));
            }
            text.clear();
        }
    }
    Ok(out.write_all(&text).and_then(|()| out.flush()))
}

fn failed(args: &TailArgs, error: &io::Error) -> Failure {
    anyhow::anyhow!(
        "cannot read the store {}: {error}; name the folder that `receive` stores to (--out)",
        args.dir.display()
    )
    .into()
}
