//! The targets for lossy links: what framelane reaches over emulated links, beside what they allow
//! and beside the kernel's TCP.
//!
//! ```text
//! cargo bench --bench lossy                                        # everything: a night
//! cargo bench --bench lossy -- --only clean,repair --seconds 5 --repeat 1 --jobs 2
//! cargo bench --bench lossy -- --only bulk-50 --json bulk.json     # all cells at 50 Mbit/s
//! cargo bench --bench lossy -- --only repair --against OTHER-FRAMELANE
//! cargo bench --bench lossy -- --list
//! ```
//!
//! Prints a Markdown table to standard output and progress to standard error. What is compared
//! takes turns within each repetition, and a repetition of all cases comes before the next; figures
//! are medians over repetitions. Live frames are visible 60 kB and infrared 20 kB at 30 frames/s
//! each, none of which exists before it is due; their latency counts from then to stored, the first
//! ones included. L0 is what a frame takes without loss: propagation, and sending what is due up to
//! and with it.
//!
//! Every stored frame is held against what was sent: one that is lost, altered or stored twice, in
//! any run, is exit status 1. A target that is not reached is not. Needs Linux and leave to make
//! namespaces, as `framelane compare` does.

mod case;
mod cases;
mod check;
mod load;
#[path = "../throughput/machine.rs"]
mod machine;
mod rival;
mod runs;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use framelane::cli::stop_on_signal_or;
use framelane::compare::{Coming, OtherBuild, Rig, Scratch};
use framelane::link::{available_congestion_controls, enter_user_namespace};
use serde::Serialize;
use tokio::runtime::Builder;

use case::{Case, Setting};
use load::Frames;
use runs::{Course, Outcomes};
use table::{Account, Row};

/// Measures framelane over emulated lossy links against its targets, and prints Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// Cases to run, by name or by the beginning of a name up to a dash [default: all]
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<String>,
    /// How long each run is; those with an outage take what they need
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    seconds: f64,
    /// Repetitions of each run
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: u32,
    /// Repeat the losses of an earlier measurement
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Runs at the same time, each over a link of its own; fast bulk is alone in any case
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Have live frames from the start, as a folder has them, and not each when it is due
    #[arg(long)]
    as_folder: bool,
    /// Leave the kernel's TCP out, and so the targets that are held against it open
    #[arg(long)]
    quic_only: bool,
    /// Make framelane's own live runs with another build of it as well, each behind this one's, for a column of its own
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Write everything, raw samples included, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show the cases with their targets, and end
    #[arg(long)]
    list: bool,
    /// What `cargo bench` says; without it (`cargo test --benches`) the cases are only listed
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn coming(&self) -> Coming {
        if self.as_folder { Coming::AsFolder } else { Coming::WhenDue }
    }

    fn coming_in_words(&self) -> &'static str {
        match self.coming() {
            Coming::WhenDue => "come about when they are due",
            Coming::AsFolder => "are all there from the start (--as-folder)",
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    ensure!(args.repeat > 0 && args.jobs > 0, "--repeat 0 and --jobs 0 measure nothing");
    ensure!((1.0..=3_600.0).contains(&args.seconds), "--seconds is between 1 and 3600");
    let kernel = available_congestion_controls()
        .context("cannot read which TCP congestion controls the kernel offers")?;
    let setting = Setting::new(args.seconds, (!args.quic_only).then(|| kernel.clone()));
    let cases = chosen(cases::all(&setting)?, &args)?;
    if args.list || !args.bench {
        list(&cases);
        return Ok(ExitCode::SUCCESS);
    }
    // A file that cannot be written is better known now than tomorrow.
    let json = args.json.as_deref().map(open).transpose()?;
    let other = args.against.as_deref().map(OtherBuild::find).transpose()?;
    // Both before there is any thread.
    let privilege = enter_user_namespace()?;
    let scratch = Scratch::make(privilege)?;
    // A night's measurement that is stopped shows what it has.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    let interrupted = runtime.block_on(async { stop_on_signal_or(scratch.remover()) })?;
    let rig = Rig::new(privilege, &scratch, &interrupted)?;
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let (repeat, jobs) = (args.repeat, args.jobs);
    let frames = Frames::new(args.coming());
    let interrupted = &interrupted;
    let other = other.as_ref();
    let course = Course {
        rig: &rig,
        frames: &frames,
        cases: &cases,
        seed,
        repeat,
        jobs,
        interrupted,
        other,
    };
    let head = head(&args, seed, &kernel, other);
    say(&format!("{}\n", head.join("\n")));
    let [outcomes, others] = course.run();
    if *interrupted.borrow() {
        say("**Stopped before its end: cases have fewer repetitions, or none.**\n");
    }
    let rows = table::rows(&cases, &outcomes, other.map(|_| &others));
    let account = Account::of(&outcomes);
    report(&rows, &account, &table::disturbed(&cases, &outcomes));
    if let Some(file) = json {
        write_json(
            file,
            &Written { head, seed, rows, account: &account, cases: raw(&cases, outcomes) },
        )?;
    }
    Ok(if account.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cases that were asked for, in the table's order.
fn chosen(all: Vec<Case>, args: &Args) -> anyhow::Result<Vec<Case>> {
    let Args { only, quic_only, .. } = args;
    let without = if *quic_only { " with --quic-only" } else { "" };
    for asked in only {
        let known = all.iter().any(|case| case.is_named(asked));
        ensure!(known, "there is no case {asked:?}{without}; --list{without} shows them");
    }
    let wanted = |case: &Case| only.is_empty() || only.iter().any(|asked| case.is_named(asked));
    Ok(all.into_iter().filter(wanted).collect())
}

fn list(cases: &[Case]) {
    for case in cases {
        say(&format!("{} ({} runs a repetition)", case.name, case.cells.len()));
        for row in &case.rows {
            say(&format!("    {}: {}", row.what, table::target(row)));
        }
    }
}

/// Lines on standard output. Where nobody reads them any more (`| head`) there is nobody to tell,
/// and a measurement goes on for its JSON file.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// What is above the table.
fn head(args: &Args, seed: u64, kernel: &[String], other: Option<&OtherBuild>) -> Vec<String> {
    let date = time::OffsetDateTime::now_utc().date();
    let mut lines = vec![
        format!("{date}. {}", machine::describe(None)),
        format!(
            "Runs of {} s, {} repetitions, interleaved, {} at a time; seed {seed}, one more for \
             each further repetition, the same for every contender.",
            args.seconds, args.repeat, args.jobs
        ),
        format!("Live frames {}.", args.coming_in_words()),
        format!("The kernel's TCP congestion controls: {}.", kernel.join(", ")),
    ];
    lines.extend(other.map(|other| format!("The other build: {other}.")));
    for missing in ["bbr", "cubic"].into_iter().filter(|name| !kernel.iter().any(|k| k == name)) {
        lines.push(format!(
            "**This kernel does not offer {missing}**: `sudo modprobe tcp_{missing}`; what is held \
             against it stays open."
        ));
    }
    lines
}

fn report(rows: &[Row], account: &Account, disturbed: &[String]) {
    say(&format!("{}\n{}", table::markdown(rows), account.markdown()));
    if !disturbed.is_empty() {
        say("\nThis machine was too busy in some runs (packets handed over late or dropped):\n");
        disturbed.iter().for_each(|line| say(&format!("- {line}")));
    }
}

/// All that is written.
#[derive(Serialize)]
struct Written<'a> {
    head: Vec<String>,
    seed: u64,
    rows: Vec<Row>,
    account: &'a Account,
    cases: Vec<Raw>,
}

/// A cell with its runs.
#[derive(Serialize)]
struct Raw {
    case: String,
    cell: String,
    link: String,
    runs: Vec<check::Outcome>,
}

fn raw(cases: &[Case], outcomes: Outcomes) -> Vec<Raw> {
    let mut raw = Vec::new();
    for (case, outcomes) in cases.iter().zip(outcomes) {
        for (cell, runs) in case.cells.iter().zip(outcomes) {
            let (case, cell, link) = (case.name.clone(), cell.what.clone(), cell.link.to_string());
            raw.push(Raw { case, cell, link, runs });
        }
    }
    raw
}

fn open(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn write_json(mut file: BufWriter<File>, written: &Written<'_>) -> anyhow::Result<()> {
    serde_json::to_writer(&mut file, written)?;
    file.flush().context("cannot write the JSON file")
}
