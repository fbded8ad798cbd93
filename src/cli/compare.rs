//! `framelane compare`: the transports over an emulated link, or over the user's own.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::output::Bar;
use super::send::parse_fps;
use super::sources::{self, SourceArg};
use super::trust::{self, TrustArgs};
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, output, process, stop_on_signal,
    stop_on_signal_or,
};
use crate::compare::remote::{self, RemotePlan};
use crate::compare::{
    self, Coming, CompareError, Event, OtherBuild, PairPlan, Plan, Scratch, Variant, Workload,
    kernel_variants,
};
use crate::congestion::Congestion;
use crate::door::Sender;
use crate::frame::UnixNanos;
use crate::identity::ReceiverAddress;
use crate::link::{
    LinkSpec, SpecError, available_congestion_controls, enter_user_namespace, link_keys, presets,
};
use crate::repair::RepairMode;
use crate::report::{Html, Json, Report, Text, Versioned, write_remote};
use crate::sender::Pace;
use crate::transport::Transport;

/// Compare the transports over an emulated link, beside what physics allows
#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// NAME=PATH, or PATH whose last folder is the name
    /// [default: generated frames, visible 60 kB and infrared 20 kB]
    #[arg(value_name = "SOURCE")]
    sources: Vec<SourceArg>,
    /// Frames a second from each source
    #[arg(long, value_name = "N", value_parser = parse_fps, default_value = "30", conflicts_with = "bulk")]
    fps: f64,
    /// All frames at once, as fast as the link takes them
    #[arg(long)]
    bulk: bool,
    /// Have all frames from the start, as a folder does: they are offered and read before they are
    /// due. Without it each comes about when it is due, as a camera's does
    #[arg(long, conflicts_with = "bulk")]
    as_folder: bool,
    /// A link, as in rate=50mbit,delay=25ms,loss=2% or a name of --list-links, or both: lan,loss=1%
    /// (repeatable) [default: lan, lossy, busy-wifi and mesh-edge]
    #[arg(long, value_name = "SPEC", value_parser = parse_link)]
    link: Vec<LinkSpec>,
    /// Both of two links at once: QUIC over both and over each alone, and the kernel's TCP over the better one (and
    /// its MPTCP over both)
    #[arg(long, requires = "link", conflicts_with_all = ["to", "against"])]
    together: bool,
    /// quic, tcp, stop-and-wait or tcp-per-frame, with a congestion control if one is wanted, as in
    /// tcp:bbr (repeatable) [default: all, and tcp with every congestion control of the kernel]
    #[arg(long, value_name = "T")]
    transport: Vec<String>,
    /// Forward repair of live frames over QUIC: auto, off, or a share as in 10%
    #[arg(long, value_name = "MODE", default_value_t = RepairMode::Auto)]
    repair: RepairMode,
    /// QUIC's congestion controllers: lossy, cubic, bbr, newreno (repeatable) [default: lossy]
    #[arg(long, value_name = "NAME")]
    congestion: Vec<Congestion>,
    /// Run everything so often
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    /// Frames of each source in each run
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    frames: u64,
    /// Repeat the losses of an earlier comparison
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write everything, raw samples included, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Compare over your own link instead, with the `receive --transport quic --transport tcp` that
    /// runs at its other end; it keeps the frames, in sources of new names
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "link")]
    to: Option<ReceiverAddress>,
    #[command(flatten)]
    trust: TrustArgs,
    /// With --to: the folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Make each run over QUIC with this other build of framelane as well, in turn, and print this build's figures as
    /// multiples of its
    #[arg(long, value_name = "PROGRAM", conflicts_with = "to")]
    against: Option<PathBuf>,
    /// Show the named links with their numbers, and the keys that links are made of, and end
    #[arg(long)]
    list_links: bool,
}

/// The links that are compared where none is asked for.
const DEFAULT_LINKS: [&str; 4] = ["lan", "lossy", "busy-wifi", "mesh-edge"];

/// Generated frames are the same in every comparison; only the links' chance differs.
const FRAME_SEED: u64 = 1;

/// A link over which there is something to compare.
fn parse_link(text: &str) -> Result<LinkSpec, SpecError> {
    let link: LinkSpec = text.parse()?;
    link.check_alive()?;
    Ok(link)
}

pub(super) fn run(args: &CompareArgs, talk: Talk) -> Outcome {
    if args.list_links {
        list_links();
        return Ok(COMPLETE);
    }
    if let Some(receiver) = &args.to {
        return over_own_link(args, receiver, talk);
    }
    let plan = Planned::of(args)?;
    check_writable(args)?;
    // Both before there is any thread.
    let privilege = enter_user_namespace()?;
    let scratch = Scratch::make(privilege)?;
    let runtime = process::runtime()?;
    let interrupted = runtime.block_on(async { stop_on_signal_or(scratch.remover()) })?;
    let mut shown = Shown::new(talk, plan.runs());
    let tell = &mut |event: Event<'_>| shown.tell(event);
    let compared = match &plan {
        Planned::Each(plan) => compare::run(plan, privilege, &scratch, &interrupted, tell),
        Planned::Pair(plan) => compare::run_pair(plan, privilege, &scratch, &interrupted, tell),
    };
    drop(shown);
    let comparison = match compared {
        Ok(comparison) => comparison,
        Err(CompareError::Interrupted) => {
            output::note("framelane: interrupted; nothing is left behind");
            return Ok(INTERRUPTED);
        }
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    Text.write(&comparison, &mut text)?;
    output::result(String::from_utf8_lossy(&text).trim_end());
    write_file(args.json.as_deref(), |file| Json.write(&comparison, file))?;
    write_file(args.report.as_deref(), |file| Html.write(&comparison, file))?;
    if comparison.missing_runs > 0 {
        output::note("framelane: interrupted; nothing but the results until then is left behind");
        return Ok(INTERRUPTED);
    }
    let sound = comparison.damaged() == 0 && comparison.failures().is_empty();
    Ok(if sound { COMPLETE } else { INCOMPLETE })
}

/// The comparison over the user's own link.
fn over_own_link(args: &CompareArgs, receiver: &ReceiverAddress, talk: Talk) -> Outcome {
    let trust = args.trust.for_receiver(receiver).map_err(Failure::usage)?;
    let variants = remote_variants(args)?;
    let pace = if args.bulk { Pace::Bulk } else { Pace::PerSecond(args.fps) };
    let workload = workload(args, pace)?;
    check_writable(args)?;
    let identity = trust::identity(&args.certs)?;
    let runtime = process::runtime()?;
    let interrupted = runtime.block_on(async { stop_on_signal() })?;
    let sender = |variant: &Variant| {
        Sender::to(receiver.to_string())
            .trust(trust.clone())
            .identity(identity.clone())
            .transport(variant.parsed_transport())
            .congestion(variant.controller())
            .repair(args.repair)
            .tcp_congestion(variant.congestion.clone())
    };
    // Seconds tell runs apart, and where these frames came from a year later.
    let prefix = format!("compare-{}", UnixNanos::now().0 / 1_000_000_000);
    let plan = RemotePlan {
        variants,
        workload,
        repeat: args.repeat,
        prefix,
        receiver: receiver.to_string(),
        sender: &sender,
    };
    let mut shown = Shown::new(talk, plan.variants.len() * plan.repeat as usize);
    let tell = &mut |event: Event<'_>| shown.tell(event);
    let compared = remote::run(&plan, runtime.handle(), &interrupted, tell);
    drop(shown);
    let comparison = match compared {
        Err(CompareError::Interrupted) => {
            output::note(&format!(
                "framelane: interrupted; what was sent until then, the receiver keeps in sources \
                 that begin with {}-",
                plan.prefix
            ));
            return Ok(INTERRUPTED);
        }
        other => other?,
    };
    let mut text = Vec::new();
    write_remote(&comparison, &mut text)?;
    output::result(String::from_utf8_lossy(&text).trim_end());
    write_file(args.json.as_deref(), |file| {
        serde_json::to_writer(file, &Versioned::of(&comparison)).map_err(io::Error::from)
    })?;
    let page_of = |file: &mut BufWriter<File>| Html.write_remote(&comparison, file);
    write_file(args.report.as_deref(), page_of)?;
    let sound = comparison.missing() == 0 && comparison.failures().is_empty();
    Ok(if sound { COMPLETE } else { INCOMPLETE })
}

/// QUIC, and TCP with what this user may choose: over a real link only root may take any.
fn remote_variants(args: &CompareArgs) -> Result<Vec<Variant>, Failure> {
    let kernel = available_congestion_controls()
        .context("cannot read which TCP congestion controls the kernel offers")?;
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        .unwrap_or_default();
    let root = rustix::process::geteuid().is_root();
    let may = |name: &&String| root || allowed.split_whitespace().any(|other| other == **name);
    let kernel: Vec<String> = kernel.iter().filter(may).cloned().collect();
    let both = ["quic".to_owned(), "tcp".to_owned()];
    let asked = if args.transport.is_empty() { &both[..] } else { &args.transport };
    let variants = kernel_variants(asked, &args.congestion, &kernel).map_err(Failure::usage)?;
    let plain = |variant: &&Variant| variant.parsed_transport() == Transport::StopAndWait;
    if variants.iter().any(|variant| plain(&variant)) {
        return Err(Failure::usage(anyhow!(
            "stop-and-wait cannot share a port with the others; compare it over an emulated --link"
        )));
    }
    Ok(variants)
}

/// What is to be run.
enum Planned {
    /// Every transport over every link.
    Each(Plan),
    /// Two links at once.
    Pair(Box<PairPlan>),
}

impl Planned {
    fn of(args: &CompareArgs) -> Result<Self, Failure> {
        if args.together {
            pair(args).map(|plan| Self::Pair(Box::new(plan)))
        } else {
            plan(args).map(Self::Each)
        }
    }

    fn runs(&self) -> usize {
        match self {
            Self::Each(plan) => plan.runs(),
            Self::Pair(plan) => plan.runs(),
        }
    }
}

/// Two links at once.
fn pair(args: &CompareArgs) -> Result<PairPlan, Failure> {
    let Ok(links) = <[LinkSpec; 2]>::try_from(args.link.clone()) else {
        return Err(Failure::usage(anyhow!(
            "--together takes two links, each with its own --link; there are {}",
            args.link.len()
        )));
    };
    let kernel = available_congestion_controls()
        .context("cannot read which TCP congestion controls the kernel offers")?;
    let both = ["quic".to_owned(), "tcp".to_owned()];
    let asked = if args.transport.is_empty() { &both[..] } else { &args.transport };
    let variants = kernel_variants(asked, &args.congestion, &kernel).map_err(Failure::usage)?;
    let is_other = |variant: &&Variant| {
        !matches!(variant.parsed_transport(), Transport::Quic | Transport::Tcp)
    };
    if let Some(other) = variants.iter().find(is_other) {
        return Err(Failure::usage(anyhow!(
            "--together compares quic and tcp; {} goes over one link: leave one of the two out",
            other.parsed_transport()
        )));
    }
    let pace = if args.bulk { Pace::Bulk } else { Pace::PerSecond(args.fps) };
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    Ok(PairPlan { links, variants, workload: workload(args, pace)?, repeat: args.repeat, seed })
}

/// What the arguments ask for.
fn plan(args: &CompareArgs) -> Result<Plan, Failure> {
    let kernel = available_congestion_controls()
        .context("cannot read which TCP congestion controls the kernel offers")?;
    let variants =
        kernel_variants(&args.transport, &args.congestion, &kernel).map_err(Failure::usage)?;
    let mut links = args.link.clone();
    if links.is_empty() {
        let parsed: Result<_, _> = DEFAULT_LINKS.iter().map(|name| name.parse()).collect();
        links = parsed?;
    }
    let pace = if args.bulk { Pace::Bulk } else { Pace::PerSecond(args.fps) };
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let workload = workload(args, pace)?;
    let against = other_build(args)?;
    let beside = |variant: Variant| {
        let both = against.is_some() && variant.parsed_transport() == Transport::Quic;
        let other = both.then(|| variant.of_other_build());
        std::iter::once(variant).chain(other)
    };
    let variants = variants.into_iter().flat_map(beside).collect();
    Ok(Plan { links, variants, workload, repeat: args.repeat, seed, against })
}

/// The build to compare with, and what it is to send.
fn other_build(args: &CompareArgs) -> Result<Option<OtherBuild>, Failure> {
    let Some(program) = &args.against else { return Ok(None) };
    let other = OtherBuild::find(program).map_err(Failure::usage)?;
    let mut arguments = vec!["--frames".to_owned(), args.frames.to_string()];
    match args.bulk {
        true => arguments.push("--bulk".to_owned()),
        false => arguments.extend(["--fps".to_owned(), args.fps.to_string()]),
    }
    if args.repair != RepairMode::Auto {
        arguments.extend(["--repair".to_owned(), args.repair.to_string()]);
    }
    match (args.as_folder, other.knows_cameras()) {
        (true, true) => arguments.push("--as-folder".to_owned()),
        (false, false) if !args.bulk => output::note(
            "framelane: the other build's frames are all there from the start, since it knows no others; with \
             --as-folder this one's are as well",
        ),
        _ => {}
    }
    // NAME=PATH says the same whatever the folder is called.
    let sources = args.sources.iter().filter_map(|source| Some((&source.name, source.folder()?)));
    arguments.extend(sources.map(|(name, folder)| format!("{name}={}", folder.display())));
    Ok(Some(other.with_arguments(arguments)))
}

fn workload(args: &CompareArgs, pace: Pace) -> Result<Workload, Failure> {
    let coming = if args.as_folder { Coming::AsFolder } else { Coming::WhenDue };
    if args.sources.is_empty() {
        let generated = Workload::generated(pace, args.frames, FRAME_SEED)?;
        return Ok(generated.with_repair(args.repair).with_coming(coming));
    }
    sources::check_names(&args.sources)?;
    let folder = |source: &'_ SourceArg| match source.folder() {
        Some(path) => Ok((source.name.clone(), path.to_owned())),
        None => Err(Failure::usage(anyhow!(
            "source {}: a comparison sends the same frames many times, and so takes folders only",
            source.name
        ))),
    };
    let folders = args.sources.iter().map(folder).collect::<Result<Vec<_>, _>>()?;
    let folders: Vec<_> =
        folders.iter().map(|(name, path)| (name.clone(), path.as_path())).collect();
    let own = Workload::own(pace, args.frames, &folders).map_err(Failure::usage)?;
    Ok(own.with_repair(args.repair).with_coming(coming))
}

/// A file that cannot be written is better known now than in two minutes. Until there is something
/// to write, none is made and none that exists is touched.
fn check_writable(args: &CompareArgs) -> anyhow::Result<()> {
    for path in args.json.iter().chain(&args.report) {
        let checked = match path.metadata() {
            Ok(there) if there.is_file() || there.is_dir() => {
                OpenOptions::new().append(true).open(path).map(drop)
            }
            // A pipe may wait for somebody to read it.
            Ok(_) => Ok(()),
            Err(_) => File::create(path).map(drop).and_then(|()| remove_file(path)),
        };
        checked.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn write_file(
    path: Option<&Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()
    });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    output::note(&format!("written: {}", path.display()));
    Ok(())
}

fn list_links() {
    for preset in presets() {
        output::result(&format!("{:12} {}", preset.name, preset.description));
        output::result(&format!("{:12}   {}", "", preset.spec));
    }
    output::result("");
    output::result("Change one as in --link lossy,loss=5%, or write your own:");
    output::result("--link rate=50mbit,delay=25ms,loss=2%,queue=50ms");
    output::result("");
    output::result(
        "The keys, each also as up.KEY (from the sender) and down.KEY (from the receiver):",
    );
    for key in link_keys() {
        output::result(&format!("{:12} {}", key.name, key.meaning));
        output::result(&format!("{:12}   {}", "", key.example));
    }
}

/// Progress: a bar on a terminal, a line for each run otherwise.
struct Shown {
    bar: Bar,
    lines: bool,
}

impl Shown {
    fn new(talk: Talk, runs: usize) -> Self {
        let bar = output::bar(talk, Some(runs as u64));
        bar.look("{bar:30} run {human_pos}/{human_len}  {msg}  {eta} left");
        Self { bar, lines: !talk.quiet && !std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Begins { done, all, link, variant, repetition } => {
                self.bar.set_position(done.into());
                self.bar.set_message(format!("{link}: {variant}"));
                if self.lines {
                    let number = done + 1;
                    let repetition = repetition + 1;
                    output::note(&format!(
                        "run {number}/{all}: {link}, {variant}, repetition {repetition}"
                    ));
                }
            }
            Event::Ended(run) => {
                tracing::debug!(verdict = ?run.verdict, seconds = run.seconds, "ended")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_links_exist() {
        for name in DEFAULT_LINKS {
            assert!(name.parse::<LinkSpec>().is_ok(), "{name}");
        }
    }

    #[test]
    fn lists_are_never_empty() {
        assert!(presets().len() >= DEFAULT_LINKS.len());
    }
}
