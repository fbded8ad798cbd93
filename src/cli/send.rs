//! `framelane send`: send frames of folders, streams and commands.

mod checks;
mod live;
mod progress;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::config::ConfigArgs;
use super::service::{Beating, Manager};
use super::signals::{self, Wish};
use super::sources::{
    Ending, FolderArgs, LiveArgs, LiveSources, Opened, SourceArg, SpoolArgs, Unsent, WeightArg,
};
use super::trust::TrustArgs;
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, output, process, run_to_end,
    sources, trust,
};
use crate::congestion::Congestion;
use crate::door::{Sender, SenderBuilder, StartError};
use crate::frame::{DropReason, Span};
use crate::identity::{KnownReceivers, ReceiverAddress};
use crate::repair::RepairMode;
use crate::sender::{Pace, SendOptions, SendReport, SourceReport};
use crate::transport::{self, PathsMode, Transport, TransportChoice, ViaLink};
use live::{LiveArg, deadlines};
use progress::{Spooled, show_progress, state};
pub(super) use told::tell;

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

pub(super) fn run(args: &SendArgs, talk: Talk) -> Outcome {
    sources::check_weights(&args.weights, &args.sources)?;
    sources::check_transport(&args.sources, args.transport)?;
    checks::all(args)?;
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
    if !live.is_empty() {
        told::stopped_in_true_words(&mut report, wish, args.drain);
    }
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
