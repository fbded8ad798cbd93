//! `framelane send`: send frames of folders, streams and commands.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use tokio::sync::watch;

use super::config::ConfigArgs;
use super::service::{Beating, Manager};
use super::signals::{self, Wish};
use super::sources::{
    Ending, FolderArgs, LiveArgs, LiveSources, Opened, SourceArg, SpoolArgs, Unsent, WeightArg,
};
use super::trust::TrustArgs;
use super::words::in_options;
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, log, output, process, run_to_end,
    sources, trust,
};
use crate::congestion::Congestion;
use crate::door::{Sender, SenderBuilder, StartError};
use crate::frame::{ByteSize, DropReason, SourceName, Span};
use crate::identity::{KnownReceivers, ReceiverAddress};
use crate::repair::RepairMode;
use crate::sender::{
    self, FailedFrame, LinkFigures, Pace, PathReport, Progress, SendOptions, SendReport,
    SourceReport,
};
use crate::source::Source;
use crate::spool::SpoolFigures;
use crate::transport::{self, PathsMode, Transport, TransportChoice, ViaLink};

/// How long a sender that is to end at once has to bring what is in its memory to its spool, and to say what became of
/// its frames.
const AT_ONCE: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
A source is one of
  visible=./visible           the files of a folder; with --watch, also those that will be written
  visible=-                   images on standard input
  visible=cmd:COMMAND         images that a command writes to its standard output
  infrared=raw:640x512x2:-    raw frames on standard input, or of raw:640x512x2:cmd:COMMAND

Run it again after any interruption: it sends what is missing of folders, and nothing twice.
Ctrl-C or SIGTERM ends sources that grow; what they gave is sent for up to --drain.

Exit status: 0 every frame is stored and confirmed, or was dropped because that is wanted (too
late, no room in a spool); 1 frames are missing, or were dropped for another reason, or something
that came is no image; 2 wrong usage; 130 interrupted. SIGTERM to a sender of sources that grow is 0 once all that they gave is
stored.";

/// Send the frames of one source or more: folders, standard input, commands
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SendArgs {
    /// The receiver
    #[arg(value_name = "HOST:PORT")]
    receiver: ReceiverAddress,
    /// Where frames come from: NAME=FOLDER, FOLDER alone, whose last part is then the name, NAME=-, or
    /// NAME=cmd:COMMAND (see below)
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<SourceArg>,
    #[command(flatten)]
    folders: FolderArgs,
    #[command(flatten)]
    growing: LiveArgs,
    /// How long to go on, once stopped, with sending what sources that grow gave before
    #[arg(long, value_name = "TIME", default_value = "10s")]
    drain: Span,
    #[command(flatten)]
    spool: SpoolArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Send this many frames a second from each source [default: as fast as the link takes them]
    #[arg(long, value_name = "N", value_parser = parse_fps, allow_negative_numbers = true)]
    fps: Option<f64>,
    /// A source's share of the link beside the others, 1 to 100 (repeatable) [default: 1 for each]
    #[arg(long = "weight", value_name = "NAME=N")]
    weights: Vec<WeightArg>,
    /// Drop frames that would be older than this when they arrive, of all sources or of the one named, and
    /// declare them (repeatable) [default: every frame is sent, however late]
    #[arg(long, value_name = "[NAME=]AGE")]
    live: Vec<LiveArg>,
    /// auto (QUIC where UDP gets through, else TCP, changed while frames are sent), or only quic, tcp,
    /// tcp-per-frame or stop-and-wait; the receiver has to serve it
    #[arg(long, value_name = "T", default_value = "auto")]
    transport: TransportChoice,
    /// Leave by this link of this machine, by its name or its address (repeatable: several are used at once, see
    /// --paths); with what may go over it in a day or month (UTC), and over which transport, as in
    /// wwan0,max=2GB/day,transport=tcp [default: as the routes say]
    #[arg(long, value_name = "LINK[,KEY=VALUE]")]
    via: Vec<ViaLink>,
    /// How several links (--via) are used: auto (each frame where it is complete first, over two where a path is in
    /// doubt), spread (each over one), duplicate (each over two) or standby (one at a time, in their order)
    #[arg(long, value_name = "MODE", default_value = "auto")]
    paths: PathsMode,
    /// QUIC's congestion controller: lossy, cubic, bbr or newreno
    #[arg(long, value_name = "NAME", default_value_t = Congestion::default())]
    congestion: Congestion,
    /// Forward repair of frames sent over QUIC with --fps: auto, off, or a share as in 10%
    #[arg(long, value_name = "MODE", default_value_t = RepairMode::Auto)]
    repair: RepairMode,
    /// The kernel's congestion control for the TCP transports, such as bbr [default: the system's]
    #[arg(long, value_name = "NAME")]
    tcp_congestion: Option<String>,
    /// The pause of stop-and-wait before each frame, without which a Python receiver may read two
    /// texts as one; framelane's own needs none [default: 10ms]
    #[arg(long, value_name = "TIME")]
    gap: Option<Span>,
    /// Replace frames that the receiver has with other content
    #[arg(long)]
    overwrite: bool,
    /// Compare stored frames by their hash, even where length and modification time agree
    #[arg(long)]
    checksum: bool,
    /// Go on trying for this long without a connection, or with some that get no frame stored; 0 gives
    /// up at once
    #[arg(long, value_name = "TIME", default_value = "30s")]
    retry_for: Span,
    /// Give a session up, and try another, when the receiver lets nothing come for this long of what it
    /// owes: no answer, no receipt, no room for the next bytes
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_stall)]
    stall: Span,
    /// The folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn parse_fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fps) if fps.is_finite() && (1e-6..=1e6).contains(&fps) => Ok(fps),
        _ => Err("write frames a second from 0.000001 to 1000000, as in 30 or 0.5".to_owned()),
    }
}

fn parse_stall(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(stall) if stall.0 < Duration::from_millis(100) => Err("write 100ms or more".to_owned()),
        Ok(stall) => Ok(stall),
        Err(error) => Err(error.to_string()),
    }
}

/// What nobody checks must not look as if it were checked.
fn check_trust(args: &SendArgs) -> Result<(), Failure> {
    match args.trust.said().filter(|_| args.transport.is_only(Transport::StopAndWait)) {
        None => Ok(()),
        Some(option) => Err(Failure::usage(anyhow!(
            "{option} protects nothing over stop-and-wait, which has neither encryption nor \
             authentication; leave it out, or use another --transport at both ends"
        ))),
    }
}

/// A link goes with the choice of the transport, which knows what to do where it leads nowhere.
fn check_via(args: &SendArgs) -> Result<(), Failure> {
    match (args.transport, args.via.first()) {
        (TransportChoice::Only(transport), Some(link)) => Err(Failure::usage(anyhow!(
            "--via goes with --transport auto, not with {transport}: leave one of the two out, or write --via \
             {link},transport={transport}"
        ))),
        _ if args.paths == PathsMode::Standby && !args.via.iter().all(ViaLink::is_plain) => {
            Err(Failure::usage(anyhow!(
                "--paths standby goes with links alone (--via LINK): leave max= and transport= out, or choose auto, spread \
                 or duplicate"
            )))
        }
        _ => Ok(()),
    }
}

/// What would change nothing is not taken without a word.
fn check_use(args: &SendArgs) -> Result<(), Failure> {
    let streams_alone = args.sources.iter().all(|arg| arg.folder().is_none());
    let refuse = |why: &str| Err(Failure::usage(anyhow!("{why}; leave it out")));
    if args.fps.is_some() && streams_alone {
        return refuse(
            "--fps replays folders, and no source is one: a stream's frames go when they come",
        );
    }
    if args.gap.is_some() && !args.transport.is_only(Transport::StopAndWait) {
        return refuse("--gap is of --transport stop-and-wait");
    }
    if args.paths != PathsMode::Auto && args.via.is_empty() {
        return refuse("--paths says how the links of --via are used, and none is named");
    }
    Ok(())
}

/// Files that were there before are due at no time, but for a replay's.
fn check_live(args: &SendArgs) -> Result<(), Failure> {
    if args.fps.is_some() || args.growing.watches() {
        return Ok(());
    }
    for LiveArg { source, .. } in &args.live {
        let mut meant =
            args.sources.iter().filter(|arg| source.as_ref().is_none_or(|name| *name == arg.name));
        if meant.all(|arg| arg.folder().is_some()) {
            return Err(Failure::usage(anyhow!(
                "--live drops frames by their age, and files that are there already have none: add --fps to replay them, \
                 or --watch for those that will be written"
            )));
        }
    }
    Ok(())
}

fn check_congestion(args: &SendArgs) -> Result<(), Failure> {
    let checked = args.tcp_congestion.as_deref().map(transport::check_tcp_congestion);
    checked.unwrap_or(Ok(())).map_err(|error| Failure::usage(anyhow!("--tcp-congestion: {error}")))
}

pub(super) fn run(args: &SendArgs, talk: Talk) -> Outcome {
    sources::check_weights(&args.weights, &args.sources)?;
    sources::check_transport(&args.sources, args.transport)?;
    check_trust(args)?;
    check_via(args)?;
    check_use(args)?;
    check_congestion(args)?;
    check_live(args)?;
    sources::check(&args.sources, &args.folders, &args.growing)?;
    args.spool.check(&args.sources, &args.growing)?;
    process::share_memory();
    output::write_aside();
    run_to_end(drive(args, talk))?
}

async fn drive(args: &SendArgs, talk: Talk) -> Outcome {
    let manager = Arc::new(Manager::of_process()?);
    // From here on a signal ends what was started.
    let Ending(live) = &Ending::default();
    let ending = live.clone();
    let mut wish = signals::follow(true, AT_ONCE, move || ending.end())?;
    // Before anything is captured.
    let known = KnownReceivers::default_path();
    let data_used = known.as_ref().map(|known| known.with_file_name("data-used"));
    for link in &args.via {
        let counted = data_used.as_ref().map(|file| transport::check_count(link, file));
        counted.unwrap_or(Ok(())).map_err(anyhow::Error::from)?;
    }
    let trust = args.trust.for_receiver(&args.receiver).map_err(Failure::usage)?;
    let identity = trust::identity(&args.certs)?;
    let Some(Opened { sources, mut unsent }) = open(args, talk, live, &mut wish).await? else {
        tell(&interrupted(), &Unsent::default(), args.json)?;
        return Ok(INTERRUPTED);
    };
    if args.transport.is_only(Transport::StopAndWait) {
        output::note(transport::stop_and_wait::UNPROTECTED);
    }
    let options = SendOptions {
        pace: args.fps.map_or(Pace::Bulk, Pace::PerSecond),
        weights: sources::weights(&args.weights, &sources),
        deadlines: deadlines(&args.live, &sources)?,
        overwrite: args.overwrite,
        checksum: args.checksum,
        retry_for: args.retry_for.0,
        stall: args.stall.0,
        ..SendOptions::default()
    };
    let builder = Sender::to(args.receiver.to_string())
        .trust(trust)
        .identity(identity)
        .transport(args.transport)
        .congestion(args.congestion)
        .repair(args.repair)
        .tcp_congestion(args.tcp_congestion.clone())
        .options(options)
        .stop_when(wind_down(live, args.drain.0, wish.clone()));
    let builder = match known.zip(data_used) {
        // Beside the receivers that this user trusts.
        Some((known, data_used)) => {
            builder.remember_in(known.with_file_name("reached")).count_data_in(data_used)
        }
        None => builder,
    };
    let builder = args.gap.iter().fold(builder, |builder, gap| builder.gap(gap.0));
    let builder = args.via.iter().fold(builder, |builder, link| builder.via(link.to_string()));
    let builder = args.spool.on(builder.paths(args.paths));
    let builder = sources.into_iter().fold(builder, SenderBuilder::any);
    let sender = tokio::select! {
        sender = builder.start() => sender.map_err(unstarted)?,
        // Only the name service can take that long.
        () = wished(&mut wish) => {
            tell(&interrupted(), &unsent, args.json)?;
            return Ok(INTERRUPTED);
        }
    };
    live.let_run();
    let spool: Option<Spooled> = sender.spool().map(|figures| Box::new(figures) as Spooled);
    let showing = tokio::spawn(show_progress(sender.progress(), spool, talk));
    manager.ready("sending");
    let progress = sender.progress();
    let beating = Beating::start(&manager, move || state(&progress));
    let mut report = sender.finish().await;
    drop(beating);
    manager.stopping("at the end");
    showing.abort();
    let _ = showing.await;
    live.note_incomplete(&mut unsent);
    let wish = *wish.borrow();
    // Of a pipe that was told to end the last image may be half there.
    let may_be_half = |source: &SourceReport| wish != Wish::None && live.is_pipe(&source.name);
    let is_damaged =
        report.sources.iter().any(|source| has_no_images(source) && !may_be_half(source));
    let is_whole = unsent.is_empty() && !is_damaged;
    report.complete &= is_whole;
    tell(&report, &unsent, args.json)?;
    Ok(status(&report, wish, is_whole))
}

/// A spool that is another's, or none, is the user's to mend.
fn unstarted(error: StartError) -> Failure {
    match &error {
        StartError::Spool(why) if why.is_usage() => Failure::usage(error),
        _ => error.into(),
    }
}

/// Opens the sources; `None` where the user does not want to wait for that.
async fn open(
    args: &SendArgs,
    talk: Talk,
    live: &LiveSources,
    wish: &mut watch::Receiver<Wish>,
) -> Result<Option<Opened>, Failure> {
    let (sources, folders) = (args.sources.clone(), args.folders.clone());
    let (growing, live) = (args.growing.clone(), live.clone());
    let opening = tokio::task::spawn_blocking(move || {
        sources::open(&sources, &folders, &growing, talk.quiet, &live)
    });
    tokio::select! {
        opened = opening => opened?.map(Some),
        // A disk may take for ever to list a folder.
        () = wished(wish) => Ok(None),
    }
}

/// Waits until the user wants an end.
async fn wished(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish != Wish::None).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The exit status after a run that was, or was not, told to end. `is_whole`: nothing of the sources was passed over.
fn status(report: &SendReport, wish: Wish, is_whole: bool) -> u8 {
    let is_complete = report.is_complete() && is_whole;
    let is_interrupted = report.interrupted || matches!(wish, Wish::Interrupt | Wish::AtOnce);
    match (is_interrupted, is_complete) {
        (true, _) => INTERRUPTED,
        (false, true) => COMPLETE,
        (false, false) => INCOMPLETE,
    }
}

/// True where a source gave something that is no image.
fn has_no_images(source: &SourceReport) -> bool {
    source.dropped.contains_key(DropReason::NotAnImage.name())
}

/// Ends the sources that grow at the first signal, and turns true, for the run to end, when `drain` is over; at once
/// where there is no such source.
fn wind_down(
    live: &LiveSources,
    drain: Duration,
    mut wish: watch::Receiver<Wish>,
) -> watch::Receiver<bool> {
    let (tell, stop) = watch::channel(false);
    let live = live.clone();
    tokio::spawn(async move {
        wished(&mut wish).await;
        live.stop();
        if !live.is_empty() && !drain.is_zero() {
            output::note(&format!(
                "framelane: stopping; what was captured is sent for up to {} (once more to stop at once)",
                Span(drain)
            ));
            let at_once = wish.wait_for(|wish| *wish == Wish::AtOnce);
            let _ = tokio::time::timeout(drain, at_once).await;
        }
        tell.send_replace(true);
        // Whoever looks at it later still sees it.
        tell.closed().await;
    });
    stop
}

/// The report of a run that was stopped before it began.
fn interrupted() -> SendReport {
    let error = Some("interrupted".to_owned());
    SendReport { complete: false, interrupted: true, error, ..SendReport::default() }
}

/// The deadlines of sources, in their order.
fn deadlines(
    args: &[LiveArg],
    sources: &[Arc<dyn Source>],
) -> Result<Vec<Option<Duration>>, Failure> {
    for (index, arg) in args.iter().enumerate() {
        if args[..index].iter().any(|other| other.source == arg.source) {
            let whose = arg.source.as_ref().map_or_else(String::new, |name| format!(" {name}"));
            return Err(Failure::usage(anyhow!("--live{whose} is there twice")));
        }
    }
    let of_all = args.iter().find(|arg| arg.source.is_none()).map(|arg| arg.age.0);
    let mut deadlines = vec![of_all; sources.len()];
    for LiveArg { source, age } in args {
        let Some(name) = source else { continue };
        let place = sources.iter().position(|source| source.name() == name);
        let place = place.ok_or_else(|| {
            Failure::usage(anyhow!("--live {name}: no source that can be sent is called {name}"))
        })?;
        deadlines[place] = Some(age.0);
    }
    Ok(deadlines)
}

/// How old frames may be: of a source, or of all that are not named.
#[derive(Debug, Clone)]
struct LiveArg {
    source: Option<SourceName>,
    age: Span,
}

impl FromStr for LiveArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // A name may have a = in it, a time has none.
        let (source, age) = match text.rsplit_once('=') {
            Some((name, age)) => (Some(SourceName::parse(name)?), age),
            None => (None, text),
        };
        let age: Span = age.parse()?;
        if age.0.is_zero() {
            anyhow::bail!("no frame arrives in no time; write 200ms, say");
        }
        Ok(Self { source, age })
    }
}

/// How a sender stands, for a service manager.
fn state(progress: &Progress) -> String {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let (frames, bytes) = (
        sum(|source| source.settled.load(Ordering::Relaxed)),
        sum(|source| source.bytes.load(Ordering::Relaxed)),
    );
    let connected = if progress.is_connected() { "connected" } else { "connecting" };
    format!("{connected}, {} settled, {}", output::frames(frames), ByteSize(bytes))
}

/// What the spool holds at the moment.
type Spooled = Box<dyn Fn() -> SpoolFigures + Send + Sync>;

/// How often it is said how things are, where no bar is drawn and the user wants to know what goes on.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What waits: `; 120 frames wait, the oldest for 4.0 s; spool: 3 in memory (180.0 kB), 117 on disk (7.0 MB)`.
fn waiting(progress: &Progress, spool: Option<&Spooled>) -> String {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let frames = sum(|source| source.frames.load(Ordering::Relaxed));
    let backlog = frames.saturating_sub(sum(|source| source.settled.load(Ordering::Relaxed)));
    let mut words = match (backlog, progress.oldest()) {
        (0, _) | (_, None) => String::new(),
        (1, Some(age)) => format!("; 1 frame waits, for {}", milliseconds(age.as_secs_f64() * 1e3)),
        (backlog, Some(age)) => {
            let age = milliseconds(age.as_secs_f64() * 1e3);
            format!("; {backlog} frames wait, the oldest for {age}")
        }
    };
    if let Some(figures) = spool.map(|spool| spool()) {
        words.push_str(&spool_words(&figures));
    }
    words
}

/// What a spool holds, and has dropped; nothing of one that holds nothing.
fn spool_words(figures: &SpoolFigures) -> String {
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

/// Draws progress until it is aborted; what goes wrong is told in any case.
async fn show_progress(progress: Arc<Progress>, spool: Option<Spooled>, talk: Talk) {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let total = || sum(|source| source.frames.load(Ordering::Relaxed));
    let bar = output::bar(talk, Some(total()));
    let started = std::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(125));
    let mut said = started;
    loop {
        tick.tick().await;
        if let Some(trouble) = progress.take_trouble().filter(|_| !talk.quiet) {
            log::repeatable(&[format!("framelane: {trouble}")], 1);
        }
        if let Some(change) = progress.take_change().filter(|_| !talk.quiet) {
            log::repeatable(&[format!("framelane: {change}")], 5);
        }
        let bytes = sum(|source| source.bytes.load(Ordering::Relaxed));
        bar.set_length(total());
        bar.set_position(sum(|source| source.settled.load(Ordering::Relaxed)));
        let waits = !progress.is_connected() && !progress.has_ended();
        let state = if waits { "  (connecting)" } else { "" };
        let rate = output::rate(bytes, started.elapsed());
        let waiting = waiting(&progress, spool.as_ref());
        if bar.is_hidden() && said.elapsed() >= SAID_EVERY {
            said = std::time::Instant::now();
            let settled = sum(|source| source.settled.load(Ordering::Relaxed));
            tracing::info!(
                "{settled} of {} settled, {} {rate}{state}{waiting}",
                output::frames(total()),
                ByteSize(bytes)
            );
        }
        bar.set_message(format!("{} {rate}{state}{waiting}", ByteSize(bytes)));
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a SendReport,
    #[serde(flatten)]
    unsent: &'a Unsent,
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
pub(super) fn tell(report: &SendReport, unsent: &Unsent, json: bool) -> anyhow::Result<()> {
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
fn milliseconds(ms: f64) -> String {
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
