//! `framelane receive`: store what senders send.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;
use tokio::sync::{mpsc, watch};

use super::serve::{Place, Service, Serving};
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, address, output, runtime,
    stop_on_signal, trust,
};
use crate::frame::{ByteSize, Span};
use crate::identity::{
    Allow, AllowFile, AllowFileNews, Pin, SenderList, SenderPolicy, SharedPolicy, check_listen,
};
use crate::receiver::{ReceiveLimits, ReceiveReport, SessionReport};
use crate::transport::{self, Transport};

const AFTER_HELP: &str = "\
When it is ready it prints `listening on ADDR:PORT` on stdout, and on stderr the `send` command to
paste at the other end.

Exit status: 0 everything is stored, 1 something is missing, 2 wrong usage, 130 interrupted.";

/// The port that both ends use where none is named.
const DEFAULT_PORT: u16 = 4433;

/// The sources in the `send` command that is printed: as the documentation calls them.
const SOURCES: &str = "./visible ./infrared";

/// How long `--once` waits for a next connection: the stop-and-wait protocol has one for each
/// source, and the scripts open the next when the last has ended.
const ONCE_LINGER: Duration = Duration::from_secs(1);

/// How long `--once` waits for the sender of a session that broke: it pauses for up to 2 s before it
/// comes back, may wait as long for its name service, and then has to connect.
const ONCE_RETURN: Duration = Duration::from_secs(7);

/// Receive frames from senders and store them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReceiveArgs {
    /// Where to listen; port 0 picks a free one [default: port 4433 (stop-and-wait: 8000) of
    /// 127.0.0.1, or of every address where --allow says who may send]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The folder to store to, one folder a source
    #[arg(long, value_name = "DIR", default_value = "received")]
    out: PathBuf,
    /// What to serve: quic, tcp, tcp-per-frame or stop-and-wait (repeatable). T=ADDR:PORT gives one
    /// an address of its own
    #[arg(long, value_name = "T", default_value = "quic")]
    transport: Vec<TransportArg>,
    /// Let the sender with this pin send, as `framelane certs` printed it there; NAME=PIN names it, and
    /// `any` lets everybody (repeatable)
    #[arg(long, value_name = "[NAME=]PIN")]
    allow: Vec<Allow>,
    /// A file of senders to let in, one [NAME=]PIN on each line, # begins a comment. It is read again when it
    /// changes and on SIGHUP; who is taken off it is cut off
    #[arg(long, value_name = "FILE")]
    allow_file: Option<PathBuf>,
    /// Let every sender write to every source. Without it a source belongs to the sender that began it
    #[arg(long)]
    shared: bool,
    /// Let senders replace stored frames with `send --overwrite`
    #[arg(long)]
    allow_overwrite: bool,
    /// End when a sender has sent all that it has
    #[arg(long)]
    once: bool,
    /// Confirm a frame only when it is synced to the disk, so that it survives a power cut; slower
    #[arg(long)]
    durable: bool,
    /// Refuse frames longer than this
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_max_frame)]
    max_frame: ByteSize,
    /// Memory for frames that are arriving or wait to be stored, all senders together; not less than
    /// --max-frame [default: 128MiB, or --max-frame where that is more]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// End a session whose frames make no progress for this long; at least 100ms
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_stall)]
    stall: Span,
    /// The folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// A transport, and where it listens if not where the others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TransportArg {
    transport: Transport,
    address: Option<SocketAddr>,
}

impl FromStr for TransportArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address)),
            None => (text, None),
        };
        let transport = name.parse().map_err(|error: String| anyhow!(error))?;
        let address = address.map(str::parse).transpose();
        let address = address.map_err(|_| anyhow!("{text:?} has no ADDR:PORT behind the ="))?;
        Ok(Self { transport, address })
    }
}

fn parse_max_frame(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("no frame is that short; write a size, as in 64MiB".to_owned()),
        size => size.map_err(|error| error.to_string()),
    }
}

fn parse_stall(text: &str) -> Result<Span, String> {
    /// Less than the pauses of any link would end sessions that are well.
    const SHORTEST: Duration = Duration::from_millis(100);
    match text.parse::<Span>() {
        Ok(Span(time)) if time < SHORTEST => {
            Err("sessions that are well pause for as long; write 100ms or more, as in 30s"
                .to_owned())
        }
        time => time.map_err(|error| error.to_string()),
    }
}

/// The memory for frames, which has to be enough for one of them.
fn memory(args: &ReceiveArgs) -> Result<ByteSize, Failure> {
    let ByteSize(max_frame) = args.max_frame;
    match args.memory {
        None => Ok(ByteSize(ReceiveLimits::default().memory.0.max(max_frame))),
        Some(ByteSize(memory)) if memory < max_frame => Err(Failure::usage(anyhow!(
            "--memory of {memory} bytes is less than one frame of --max-frame, {max_frame} bytes; \
             give it as much, or lower --max-frame"
        ))),
        Some(memory) => Ok(memory),
    }
}

/// Who may send: what the arguments say, and the file to follow where one is named.
fn policy(args: &ReceiveArgs) -> Result<(SenderPolicy, Option<AllowFile>), Failure> {
    let policy = SenderPolicy::new(args.allow.iter().cloned()).map_err(Failure::usage)?;
    let Some(path) = &args.allow_file else { return Ok((policy, None)) };
    let beside = match policy {
        SenderPolicy::Any => {
            return Err(Failure::usage(anyhow!(
                "--allow any lets every sender in, whoever is in --allow-file; say one of the two"
            )));
        }
        SenderPolicy::Local => SenderList::default(),
        SenderPolicy::Only(list) => list,
    };
    let mut file = AllowFile::new(path.clone(), beside);
    let policy = file.read().map_err(|error| Failure::usage(anyhow!("--allow-file {error}")))?;
    if matches!(&policy, SenderPolicy::Only(list) if list.is_empty()) {
        output::note(&format!("nobody may send: {} lists no sender", path.display()));
    }
    Ok((policy, Some(file)))
}

/// Keeps the policy as the file says, which is also read on SIGHUP, and tells what changed.
fn follow(file: AllowFile, policy: SharedPolicy) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let path = file.path().display().to_string();
    let (ask, asked) = mpsc::channel(1);
    let (tell, mut news) = mpsc::channel(1);
    tokio::spawn(file.follow(policy.clone(), asked, tell));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => {
                    // One that is asked for already will do for both.
                    let _ = ask.try_send(());
                }
                Some(news) = news.recv() => say_news(&path, &policy, news),
                else => break,
            }
        }
    });
    Ok(())
}

fn say_news(path: &str, policy: &SharedPolicy, news: AllowFileNews) {
    let (change, senders) = match news {
        AllowFileNews::Read { change, senders } => (change, senders),
        AllowFileNews::Kept(error) => {
            return tracing::warn!("the list of senders stays as it was: {error}");
        }
    };
    let policy = policy.current();
    let say = |pins: &[Pin], what: &str| {
        for pin in pins {
            let name = policy.name_of(*pin).map_or_else(String::new, |name| format!("{name}, "));
            output::note(&format!("{path}: {name}{pin} {what}"));
        }
    };
    say(&change.removed, "may not send any more");
    say(&change.added, "may send from now on");
    say(&change.renamed, "has another name from its next session on");
    let senders = if senders == 1 { "1 sender".to_owned() } else { format!("{senders} senders") };
    output::note(&format!("read {path} again: {senders} may send"));
}

pub(super) fn run(args: &ReceiveArgs, talk: Talk) -> Outcome {
    let (policy, allow_file) = policy(args)?;
    let places = places(args, &policy)?;
    let limits = ReceiveLimits {
        max_frame: args.max_frame,
        memory: memory(args)?,
        stall: args.stall.0,
        shared: args.shared,
        allow_overwrite: args.allow_overwrite,
        ..ReceiveLimits::default()
    };
    let identity = trust::identity(&args.certs)?;
    let (durable, out) = (args.durable, args.out.as_path());
    runtime()?.block_on(async {
        let interrupted = stop_on_signal()?;
        let (stop, stopping) = watch::channel(false);
        let shared = SharedPolicy::from(policy.clone());
        if let Some(file) = allow_file {
            follow(file, shared.clone())?;
        }
        let service = Service { identity: &identity, policy: shared, places, out, durable, limits };
        let mut serving = service.start(stopping)?;
        announce(&serving.places, identity.pin(), &policy, talk);
        let bar = output::bar(talk, None);
        let (report, was_interrupted) =
            serve(&mut serving, args.once, interrupted, stop, (&bar, talk)).await;
        bar.finish_and_clear();
        if args.json {
            output::json(&report)?;
        } else {
            output::result(&summary(&report));
        }
        Ok(match (was_interrupted, report.is_complete()) {
            (true, _) => INTERRUPTED,
            (false, true) => COMPLETE,
            (false, false) => INCOMPLETE,
        })
    })
}

/// Where each transport listens, checked against who may send.
fn places(args: &ReceiveArgs, policy: &SenderPolicy) -> Result<Vec<Place>, Failure> {
    let everywhere = *policy != SenderPolicy::Local;
    let ip = if everywhere { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let mut places: Vec<Place> = Vec::new();
    for asked in &args.transport {
        let transport = asked.transport;
        let plain = transport == Transport::StopAndWait;
        let shares = args.transport.iter().any(|other| {
            matches!(other.transport, Transport::Tcp | Transport::TcpPerFrame)
                && other.address == asked.address
        });
        let address = match (asked.address, args.listen) {
            (Some(own), _) => own,
            (None, Some(address)) if !(plain && shares) => address,
            (None, Some(address)) if plain => SocketAddr::new(address.ip(), own_port(address)),
            (None, _) if plain => {
                let any = *policy == SenderPolicy::Any;
                let ip = if any { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
                SocketAddr::from((ip, transport::stop_and_wait::DEFAULT_PORT))
            }
            (None, _) => SocketAddr::from((ip, DEFAULT_PORT)),
        };
        if plain {
            check_plain(address, policy)?;
        } else {
            check_listen(address, policy).map_err(Failure::usage)?;
        }
        let place = Place { transport, address };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

/// The stop-and-wait protocol cannot share a TCP port with one that begins with TLS.
fn own_port(listen: SocketAddr) -> u16 {
    if listen.port() == 0 { 0 } else { transport::stop_and_wait::DEFAULT_PORT }
}

/// The stop-and-wait protocol authenticates nobody, so a list of pins cannot be kept with it.
fn check_plain(address: SocketAddr, policy: &SenderPolicy) -> Result<(), Failure> {
    let loopback = address.ip().to_canonical().is_loopback();
    if loopback || *policy == SenderPolicy::Any {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "stop-and-wait on {address} would let every machine that reaches it write files here, \
         for the protocol has no authentication. Listen on 127.0.0.1, or say --allow any"
    )))
}

/// One line on stdout for each address, and on stderr what to paste at the other end.
fn announce(places: &[Place], pin: Pin, policy: &SenderPolicy, talk: Talk) {
    let mut told: Vec<SocketAddr> = Vec::new();
    for Place { transport, address } in places {
        if !told.contains(address) {
            let behind = if told.is_empty() { String::new() } else { format!(" ({transport})") };
            output::result(&format!("listening on {address}{behind}"));
            told.push(*address);
        }
        let options = match transport {
            Transport::StopAndWait => {
                output::note(transport::stop_and_wait::UNPROTECTED);
                "--transport stop-and-wait".to_owned()
            }
            Transport::Quic => format!("--pin {pin}"),
            other => format!("--pin {pin} --transport {other}"),
        };
        if !talk.quiet {
            let place = address::to_dial(*address);
            output::note(&format!("send with: framelane send {place} {SOURCES} {options}"));
        }
    }
    if !talk.quiet {
        explain_address(&told);
    }
    if *policy == SenderPolicy::Any && !talk.quiet {
        output::note("any machine that reaches this port may store frames here (--allow any)");
    }
}

/// What to know of the address in a `send` command, where this end had to choose one.
fn explain_address(listening: &[SocketAddr]) {
    let Some(everywhere) = listening.iter().find(|address| address.ip().is_unspecified()) else {
        return;
    };
    let placeholder = address::to_dial(*everywhere).starts_with(address::PLACEHOLDER);
    output::note(&if placeholder {
        let host = address::PLACEHOLDER;
        format!("with the name or an address of this machine, as the sender knows it, for {host}")
    } else {
        "or with any other name or address by which the sender reaches this machine".to_owned()
    });
}

/// Serves until the user stops it, or with `once` until a sender has sent all it has.
async fn serve(
    serving: &mut Serving,
    once: bool,
    mut interrupted: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    (bar, talk): (&ProgressBar, Talk),
) -> (ReceiveReport, bool) {
    let mut report = ReceiveReport::default();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut end = OnceEnd::default();
    let started = Instant::now();
    let was_interrupted = loop {
        tokio::select! {
            // Reports first: what has ended is known before it is asked whether that was all.
            biased;
            Some(session) = serving.reports.recv() => {
                bar.suspend(|| show(&session, talk));
                end.take(&session, Instant::now());
                report.add(session);
            }
            Ok(_) = interrupted.wait_for(|stop| *stop) => break true,
            _ = tick.tick() => {
                let progress = &serving.progress;
                let (frames, bytes) = (progress.frames(), ByteSize(progress.bytes()));
                let rate = output::rate(bytes.0, started.elapsed());
                bar.set_message(format!(
                    "{} stored, {bytes} ({rate}), {} sessions", output::frames(frames), progress.sessions()
                ));
                bar.tick();
                if once && progress.sessions() == 0 && end.has_come(Instant::now()) {
                    break false;
                }
            }
        }
    };
    stop.send_replace(true);
    // A panic in the receiver has been printed by now.
    let _ = (&mut serving.task).await;
    while let Ok(session) = serving.reports.try_recv() {
        show(&session, talk);
        report.add(session);
    }
    (report, was_interrupted)
}

/// When `--once` ends: a sender has sent all that it has, and none is expected back.
#[derive(Default)]
struct OnceEnd {
    completed: bool,
    /// Until when the sender of an ended session may open a next one.
    until: Option<Instant>,
}

impl OnceEnd {
    /// Takes in an ended session. A connection that came to no session, as a port scan's, changes
    /// nothing; one that broke does not make undone what another completed.
    fn take(&mut self, session: &SessionReport, now: Instant) {
        if session.began.is_none() {
            return;
        }
        self.completed |= session.complete;
        let plain = session.transport == Transport::StopAndWait.name();
        let linger = match (session.complete && session.closed, plain) {
            (true, false) => Duration::ZERO,
            (true, true) => ONCE_LINGER,
            (false, _) => ONCE_RETURN,
        };
        // Whoever was waited for still is.
        self.until = self.until.max(Some(now + linger));
    }

    /// Whether it has, where no session is open.
    fn has_come(&self, now: Instant) -> bool {
        self.completed && self.until.is_some_and(|until| now >= until)
    }
}

/// A session's end, for people, on stderr.
fn show(session: &SessionReport, talk: Talk) {
    if talk.quiet {
        return;
    }
    let SessionReport { peer, transport, end, complete, .. } = session;
    if session.sources.is_empty() {
        tracing::warn!("a connection from {peer} ({transport}) came to nothing: {end}");
        return;
    }
    let how = if *complete { "ended".to_owned() } else { format!("cut short: {end}") };
    output::note(&format!("session with {peer} over {transport}: {how}"));
    for source in &session.sources {
        let stored = source.stored + source.already_stored;
        let before = match source.already_stored {
            0 => String::new(),
            before => format!(" ({before} before)"),
        };
        let proven = if session.has_hashes() { stored } else { 0 };
        let missing = match source.frames {
            Some(_) => source.missing.to_string(),
            None => "not known".to_owned(),
        };
        output::note(&format!(
            "  {}: sent {}, stored {stored}{before}, verified {proven}, missing {missing}",
            source.name, source.stored,
        ));
        for missing in &source.missing_frames {
            let name = output::printable(&missing.name);
            output::note(&format!("    missing {name} (frame {})", missing.sequence));
        }
    }
}

fn summary(report: &ReceiveReport) -> String {
    let missing = match report.missing {
        0 => "missing 0".to_owned(),
        missing => format!("missing {missing}"),
    };
    let cut_short = match report.incomplete_sessions {
        0 => String::new(),
        1 => ", 1 session cut short".to_owned(),
        sessions => format!(", {sessions} sessions cut short"),
    };
    format!(
        "stored {} ({}), verified {}, {missing}{cut_short}",
        output::frames(report.stored),
        ByteSize(report.bytes),
        report.verified
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(began: Option<u64>, complete: bool, closed: bool) -> SessionReport {
        SessionReport {
            peer: "127.0.0.1:1".to_owned(),
            pin: None,
            transport: Transport::Quic.to_string(),
            began,
            sources: Vec::new(),
            complete,
            closed,
            end: String::new(),
            refused_unnamed: 0,
        }
    }

    /// How long after the last of these sessions `--once` ends, where it does.
    fn wait(sessions: &[SessionReport]) -> Option<Duration> {
        let mut end = OnceEnd::default();
        let now = Instant::now();
        sessions.iter().for_each(|session| end.take(session, now));
        let waits = [Duration::ZERO, ONCE_LINGER, ONCE_RETURN];
        waits.into_iter().find(|wait| end.has_come(now + *wait))
    }

    #[test]
    fn once_ends_with_a_complete_session_in_whatever_order_others_end() {
        let all = || session(Some(1), true, true);
        let broken = || session(Some(2), false, false);
        let scan = || session(None, false, false);
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[scan()]), None, "a port scan is no session");
        assert_eq!(wait(&[broken(), scan()]), None, "its sender has not sent all");
        assert_eq!(wait(&[all()]), Some(Duration::ZERO));
        assert_eq!(wait(&[scan(), all()]), Some(Duration::ZERO));
        assert_eq!(wait(&[all(), scan()]), Some(Duration::ZERO), "a port scan makes it wait");
        // The sender of the other may come back, but is not waited for without end.
        assert_eq!(wait(&[all(), broken()]), Some(ONCE_RETURN));
        assert_eq!(wait(&[broken(), all()]), Some(ONCE_RETURN));
    }

    #[test]
    fn once_waits_for_a_sender_that_may_not_know_that_it_is_done() {
        assert_eq!(wait(&[session(Some(1), true, false)]), Some(ONCE_RETURN));
    }

    #[test]
    fn once_waits_for_the_scripts_next_connection() {
        let transport = Transport::StopAndWait.to_string();
        let plain = SessionReport { transport, ..session(Some(1), true, true) };
        assert_eq!(wait(&[plain]), Some(ONCE_LINGER));
    }
}
