//! `framelane send`: send folders of frames.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;

use super::sources::{FolderArgs, Opened, SourceArg, WeightArg};
use super::trust::TrustArgs;
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, log, output, run_to_end, sources,
    stop_on_signal, trust,
};
use crate::congestion::Congestion;
use crate::frame::{ByteSize, Span};
use crate::identity::{EarlyData, ReceiverAddress, client_config};
use crate::repair::RepairMode;
use crate::sender::{self, Pace, Progress, SendOptions, SendReport, SourceReport};
use crate::transport::stop_and_wait::SenderSettings;
use crate::transport::tcp::TcpOptions;
use crate::transport::{self, DialSetup, Transport};
use crate::wire::ALPN;

const AFTER_HELP: &str = "\
Run it again after any interruption: it sends what is missing, and nothing twice.

Exit status: 0 every frame is stored and confirmed, 1 something is missing, 2 wrong usage,
130 interrupted.";

/// Send the frames of one folder or more
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SendArgs {
    /// The receiver
    #[arg(value_name = "HOST:PORT")]
    receiver: ReceiverAddress,
    /// A folder of frames: NAME=PATH, or PATH alone, whose last folder is then the name
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<SourceArg>,
    #[command(flatten)]
    folders: FolderArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Send this many frames a second from each source [default: as fast as the link takes them]
    #[arg(long, value_name = "N", value_parser = parse_fps, allow_negative_numbers = true)]
    fps: Option<f64>,
    /// A source's share of the link beside the others, 1 to 100 (repeatable) [default: 1 for each]
    #[arg(long = "weight", value_name = "NAME=N")]
    weights: Vec<WeightArg>,
    /// quic, tcp, tcp-per-frame or stop-and-wait; the receiver has to serve it
    #[arg(long, value_name = "T", default_value = "quic")]
    transport: Transport,
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
    /// texts as one; framelane's own needs none
    #[arg(long, value_name = "TIME", default_value = "10ms")]
    gap: Span,
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
    /// The folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn parse_fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fps) if fps.is_finite() && (1e-6..=1e6).contains(&fps) => Ok(fps),
        _ => Err("write frames a second from 0.000001 to 1000000, as in 30 or 0.5".to_owned()),
    }
}

/// What nobody checks must not look as if it were checked.
fn check_trust(args: &SendArgs) -> Result<(), Failure> {
    match args.trust.said().filter(|_| args.transport == Transport::StopAndWait) {
        None => Ok(()),
        Some(option) => Err(Failure::usage(anyhow!(
            "{option} protects nothing over stop-and-wait, which has neither encryption nor \
             authentication; leave it out, or use another --transport at both ends"
        ))),
    }
}

fn check_congestion(args: &SendArgs) -> Result<(), Failure> {
    let checked = args.tcp_congestion.as_deref().map(transport::check_tcp_congestion);
    checked.unwrap_or(Ok(())).map_err(|error| Failure::usage(anyhow!("--tcp-congestion: {error}")))
}

pub(super) fn run(args: &SendArgs, talk: Talk) -> Outcome {
    sources::check_weights(&args.weights, &args.sources)?;
    sources::check_transport(&args.sources, args.transport)?;
    check_trust(args)?;
    check_congestion(args)?;
    let Opened { sources, is_partial } = sources::open(&args.sources, &args.folders)?;
    let trust = args.trust.for_receiver(&args.receiver).map_err(Failure::usage)?;
    let identity = trust::identity(&args.certs)?;
    if args.transport == Transport::StopAndWait {
        output::note(transport::stop_and_wait::UNPROTECTED);
    }
    let options = SendOptions {
        pace: args.fps.map_or(Pace::Bulk, Pace::PerSecond),
        weights: sources::weights(&args.weights, &sources),
        overwrite: args.overwrite,
        checksum: args.checksum,
        retry_for: args.retry_for.0,
        ..SendOptions::default()
    };
    let report = run_to_end(async {
        let mut stop = stop_on_signal()?;
        let addresses = tokio::select! {
            addresses = transport::resolve(&args.receiver) => addresses?,
            _ = stop.wait_for(|stop| *stop) => Vec::new(),
        };
        let setup = DialSetup {
            transport: args.transport,
            addresses,
            host: args.receiver.host().to_owned(),
            tls: client_config(&identity, trust, &[ALPN], EarlyData::Off),
            congestion: args.congestion.factory(),
            repair: args.repair,
            tcp: TcpOptions { congestion: args.tcp_congestion.clone(), ..TcpOptions::default() },
            stop_and_wait: SenderSettings {
                gap: args.gap.0,
                congestion: args.tcp_congestion.clone(),
                ..SenderSettings::default()
            },
        };
        let dial = transport::dial_by_name(setup, args.receiver.clone());
        let progress = Arc::new(Progress::new(sources.iter().map(|source| source.frames())));
        let showing = tokio::spawn(show_progress(progress.clone(), talk));
        let report = sender::run(dial.as_ref(), sources, options, progress, stop).await;
        showing.abort();
        let _ = showing.await;
        anyhow::Ok(report)
    })??;
    tell(&report, args.json)?;
    Ok(match (report.interrupted, report.is_complete() && !is_partial) {
        (true, _) => INTERRUPTED,
        (false, true) => COMPLETE,
        (false, false) => INCOMPLETE,
    })
}

/// Draws progress until it is aborted; what goes wrong is told in any case.
async fn show_progress(progress: Arc<Progress>, talk: Talk) {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let total = sum(|source| source.frames.load(Ordering::Relaxed));
    let bar = output::bar(talk, Some(total));
    let started = std::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(125));
    loop {
        tick.tick().await;
        if let Some(trouble) = progress.take_trouble().filter(|_| !talk.quiet) {
            log::repeatable(&[format!("framelane: {trouble}")], 1);
        }
        let bytes = sum(|source| source.bytes.load(Ordering::Relaxed));
        bar.set_position(sum(|source| source.settled.load(Ordering::Relaxed)));
        let state = if progress.is_connected() { "" } else { "  (connecting)" };
        let rate = output::rate(bytes, started.elapsed());
        bar.set_message(format!("{} {rate}{state}", ByteSize(bytes)));
    }
}

/// Prints what became of every source.
pub(super) fn tell(report: &SendReport, json: bool) -> anyhow::Result<()> {
    if json {
        output::json(report)?;
    } else {
        let ended_by = report.error.as_deref();
        report.sources.iter().for_each(|source| tell_source(source, ended_by));
        let time = Duration::from_secs_f64(report.seconds);
        output::result(&format!(
            "{} in {:.2} s: {} ({})",
            output::frames(report.stored()),
            report.seconds,
            ByteSize(report.bytes()),
            output::rate(report.bytes(), time)
        ));
    }
    if let Some(error) = &report.error {
        output::say_error(&anyhow!("{error}"));
    }
    Ok(())
}

fn tell_source(source: &SourceReport, ended_by: Option<&str>) {
    /// More names than this are not read by anybody; `--json` has them.
    const NAMED: usize = 100;
    let SourceReport { name, frames, stored, already_stored, verified, missing, failed, .. } =
        source;
    let before = match already_stored {
        0 => String::new(),
        before => format!(" ({before} before)"),
    };
    let all = stored + already_stored;
    output::result(&format!(
        "{name}: {}: sent {stored}, stored {all}{before}, verified {verified}, missing {missing}",
        output::frames(*frames)
    ));
    // What ended the whole run is said once, at its end, and not for each frame that it hit.
    let (cut_off, failed): (Vec<_>, Vec<_>) =
        failed.iter().partition(|frame| Some(frame.reason.as_str()) == ended_by);
    for frame in failed.iter().take(NAMED) {
        output::result(&format!("  missing {}: {}", frame.name, frame.reason));
    }
    let rest = missing.saturating_sub(failed.len().min(NAMED) as u64);
    let Some((first, last)) = cut_off.first().zip(cut_off.last()) else {
        if rest > 0 {
            output::result(&format!("  and {rest} more; --json names them"));
        }
        return;
    };
    output::result(&match rest {
        1 => format!("  missing {}", first.name),
        rest if rest == *frames => format!("  missing all {rest} of them"),
        rest => format!("  missing {rest} of {} to {}; --json names them", first.name, last.name),
    });
}
