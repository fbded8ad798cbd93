//! What framelane does on one machine: throughput, processor time and memory of both ends, over
//! loopback, each end a process of its own, frames read from files and stored to files.
//!
//! ```text
//! cargo bench --bench throughput                        # everything: some 15 minutes, 8 GB of disk
//! cargo bench --bench throughput -- --only large,small --repeat 5
//! cargo bench --bench throughput -- --scale 10% --dir /mnt/fast
//! cargo bench --bench throughput -- --only large,small --against OTHER-FRAMELANE
//! ```
//!
//! `bare-quic` is the yardstick: a loop around quinn that neither reads files, hashes nor stores. With `--against`
//! another build makes the same transfers in turn.
//!
//! Prints Markdown tables to standard output and progress to standard error. The transports take
//! turns within each repetition, so that whatever else the machine does meets all of them; medians
//! and ranges are over repetitions. Every run ends with `framelane verify`, which reads and hashes
//! all that was stored; it is not part of the time. Needs Linux (`/proc`).

mod bare;
mod ends;
mod frames;
mod machine;
mod process;
mod run;
mod table;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};

use ends::{Ends, OTHER};
use frames::Frames;
use run::{Case, Measured};

/// Measures framelane over loopback, and prints Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// Which measurements to make
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["large", "small", "memory", "skip"])]
    only: Vec<Measurement>,
    /// Transports to compare by throughput
    #[arg(long, value_delimiter = ',', default_values = ["quic", "bare-quic", "tcp", "stop-and-wait"])]
    transports: Vec<String>,
    /// Repetitions of each throughput run
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// The share of the frames to take, for a quick look, as in 10%
    #[arg(long, default_value = "100%")]
    scale: framelane::frame::Share,
    /// The folder to work in; nothing stays in it [default: the system's temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// QUIC's congestion controller [default: framelane's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// The program to measure [default: the one built with this benchmark]
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_framelane"))]
    program: PathBuf,
    /// Another build, whose QUIC and TCP are measured in turn with this one's
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// What this program starts itself with, as an end of the yardstick
    #[arg(long, hide = true, num_args = 2..=4)]
    bare: Vec<String>,
    /// What `cargo bench` says; without it (`cargo test --benches`) everything is 1 % as large
    #[arg(long, hide = true)]
    bench: bool,
}

/// One table of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// 2,000 frames of 1 MB
    Large,
    /// 50,000 frames of 4 kB
    Small,
    /// Peak memory for 4,000 frames of 1 MB and 500,000 of 200 bytes
    Memory,
    /// Sending 100,000 frames again that are stored already
    Skip,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.bare[..] {
        [] => {}
        [folder, to, count, bytes] => {
            return bare::send(folder.as_ref(), to.parse()?, count.parse()?, bytes.parse()?);
        }
        [folder, ..] => return bare::receive(folder.as_ref()),
    }
    ensure!(args.repeat > 0, "--repeat 0 measures nothing");
    let scale = args.scale.fraction() * if args.bench { 1.0 } else { 0.01 };
    let folder = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let folder = folder.context("cannot make a folder to work in")?;
    let mut ends = Ends::new(&args.program, folder.path(), args.congestion.clone())?;
    ends.against(args.against.clone());
    let bench = Bench { args, ends, scale };

    println!("{}\n", machine::describe(Some(folder.path())));
    bench.throughput()?;
    bench.memory()?;
    bench.skip()
}

struct Bench {
    args: Args,
    ends: Ends,
    scale: f64,
}

impl Bench {
    fn wants(&self, measurement: Measurement) -> bool {
        self.args.only.contains(&measurement)
    }

    fn frames(&self, count: u64, bytes: usize) -> anyhow::Result<Frames> {
        let count = ((count as f64 * self.scale).round() as u64).max(10);
        eprintln!("making {count} files of {bytes} bytes");
        Frames::make(self.ends.folder(), count, bytes)
    }

    fn throughput(&self) -> anyhow::Result<()> {
        // A table may be asked for in part, so each size is made, measured and removed by itself.
        let sizes = [(Measurement::Large, 2_000, 1_000_000), (Measurement::Small, 50_000, 4_000)];
        let mut cases = Vec::new();
        for (_, count, bytes) in sizes.into_iter().filter(|size| self.wants(size.0)) {
            let frames = self.frames(count, bytes)?;
            cases.extend(self.compare(&frames)?);
        }
        if !cases.is_empty() {
            println!("{}", table::throughput(&cases));
        }
        Ok(())
    }

    /// All transports with the same frames, in turns.
    fn compare(&self, frames: &Frames) -> anyhow::Result<Vec<Case>> {
        let with_other = |transport: &String| {
            let both = self.args.against.is_some() && ["quic", "tcp"].contains(&&**transport);
            let other = both.then(|| Case::new(&format!("{transport}{OTHER}"), frames));
            [Some(Case::new(transport, frames)), other].into_iter().flatten()
        };
        let mut cases: Vec<Case> = self.args.transports.iter().flat_map(with_other).collect();
        for turn in 1..=self.args.repeat {
            for case in &mut cases {
                // Some 5 ms a frame, whatever the machine: minutes that need not be repeated.
                if turn > 1 && case.transport == "stop-and-wait" && frames.count > 10_000 {
                    continue;
                }
                let measured = self.ends.transfer(&case.transport, frames)?;
                self.tell(&format!("{} {turn}/{}", case.transport, self.args.repeat), &measured);
                case.runs.push(measured);
            }
        }
        Ok(cases)
    }

    fn memory(&self) -> anyhow::Result<()> {
        if !self.wants(Measurement::Memory) {
            return Ok(());
        }
        let mut cases = Vec::new();
        for (count, bytes) in [(4_000, 1_000_000), (500_000, 200)] {
            let frames = self.frames(count, bytes)?;
            for transport in self.args.transports.iter().filter(|name| stores_much(name)) {
                let mut case = Case::new(transport, &frames);
                let measured = self.ends.transfer(transport, &frames)?;
                self.tell(&format!("memory, {transport}"), &measured);
                case.runs.push(measured);
                cases.push(case);
            }
        }
        println!("{}", table::memory(&cases));
        Ok(())
    }

    fn skip(&self) -> anyhow::Result<()> {
        if !self.wants(Measurement::Skip) {
            return Ok(());
        }
        let frames = self.frames(100_000, 200)?;
        let mut cases = Vec::new();
        for transport in self.args.transports.iter().filter(|name| stores_much(name)) {
            let mut case = Case::new(transport, &frames);
            case.runs = self.ends.skip(transport, &frames, self.args.repeat)?;
            case.runs.iter().for_each(|run| self.tell(&format!("skip, {transport}"), run));
            cases.push(case);
        }
        println!("{}", table::skip(&cases));
        Ok(())
    }

    fn tell(&self, what: &str, run: &Measured) {
        eprintln!(
            "  {what}: {:.2} s, CPU {:.2} s + {:.2} s, peak {:.0} MB + {:.0} MB",
            run.seconds,
            run.sender.cpu_seconds,
            run.receiver.cpu_seconds,
            run.sender.peak_bytes as f64 / 1e6,
            run.receiver.peak_bytes as f64 / 1e6,
        );
    }
}

/// False for what stores nothing, and for what would take hours to.
fn stores_much(transport: &str) -> bool {
    !["bare-quic", "stop-and-wait"].contains(&transport)
}
