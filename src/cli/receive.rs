//! `framelane receive`: store what senders send.

mod on_stored;
mod policy;
mod summary;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;

use super::config::{ConfigArgs, Loaded};
use super::output::{Bar, Recent};
use super::service::{Heart, Manager};
use super::signals::{self, Wish};
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, address, output, process, trust,
};
use crate::door::{self, OnceEnd, Place, Receiver, ReceiverBuilder, Serving};
use crate::frame::{ByteSize, Share, Span};
use crate::identity::{Allow, Pin, SenderPolicy, SharedPolicy};
use crate::receiver::{ReceiveLimits, ReceiveProgress};
use crate::report::Versioned;
use crate::store::{Keep, Layout};
use crate::transport::{self, Transport};
use on_stored::OnStored;
use policy::Followed;
use summary::Summary;
use view::{Showing, ViewArgs};

const AFTER_HELP: &str = "\
When it is ready it prints `listening on ADDR:PORT` on stdout, and on stderr the `send` command to
paste at the other end.

SIGTERM ends it in order. So does the end of its terminal, but for nohup.

Exit status: 0 everything is stored, or it was ended by SIGTERM; 1 something is missing or the
result could not be written, 2 wrong usage, 130 interrupted.";

/// The sources in the `send` command that is printed: as the documentation calls them.
const SOURCES: &str = "./visible ./infrared";

/// Receive frames from senders and store them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReceiveArgs {
    /// Where to listen; :PORT is every address, port 0 picks a free one [default: port 4433
    /// (stop-and-wait: 8000) of 127.0.0.1, or of every address where --allow says who may send]
    #[arg(long, value_name = "ADDR:PORT", value_parser = door::parse_listen)]
    listen: Option<SocketAddr>,
    /// The folder to store to, one folder a source. {sender} in it stands for the sender's name (or a part of its
    /// pin), so that each has a store of its own; {date} for the day on which its session began, in UTC
    #[arg(long, value_name = "DIR", default_value = "received")]
    out: PathBuf,
    /// What to serve: quic, tcp, tcp-per-frame or stop-and-wait (repeatable). T=ADDR:PORT gives one
    /// an address of its own [default: quic and tcp, on one port]
    #[arg(long, value_name = "T")]
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
    /// How frames are put into folders: flat, or a folder for each day or hour of capture, in UTC
    #[arg(long, value_name = "LAYOUT", default_value = "flat", value_parser = Layout::from_str)]
    layout: Layout,
    /// Remove frames when so much time has passed since they were stored, as in 30d: whole days of capture, the oldest
    /// first
    #[arg(long, value_name = "TIME", value_parser = parse_keep)]
    keep: Option<Span>,
    /// Remove the oldest days while the frames of the store take more than this, as in 500GB
    #[arg(long, value_name = "SIZE", value_parser = parse_keep_bytes)]
    keep_bytes: Option<ByteSize>,
    /// Remove the oldest days while less than this part of the disk is free, as in 10%
    #[arg(long, value_name = "SHARE", value_parser = parse_keep_free)]
    keep_free: Option<Share>,
    /// Say that the disk is nearly full when less than this part of it is free
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    warn_free: Share,
    /// Run this command, and give it a line for each stored frame on its standard input, as `framelane tail` prints
    /// them. It is started again when it ends; storing never waits for it
    #[arg(long, value_name = "CMD")]
    on_stored: Option<String>,
    /// Refuse frames longer than this
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_max_frame)]
    max_frame: ByteSize,
    /// Memory for frames that are arriving or wait to be stored, all senders together; not less than
    /// --max-frame [default: 128MiB, or --max-frame where that is more]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Sessions at once over each transport; one over several links counts once. Others are told to come later
    #[arg(long, value_name = "N", default_value_t = ReceiveLimits::default().max_sessions, value_parser = parse_max_sessions)]
    max_sessions: usize,
    /// End a session whose frames make no progress for this long; at least 100ms
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
    #[command(flatten)]
    view: ViewArgs,
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
        let address = address.map(door::parse_listen).transpose();
        let address = address.map_err(|error| anyhow!("{text:?}: {error}"))?;
        Ok(Self { transport, address })
    }
}

fn parse_max_frame(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("no frame is that short; write a size, as in 64MiB".to_owned()),
        size => size.map_err(|error| error.to_string()),
    }
}

fn parse_keep(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(Span(time)) if time < Duration::from_secs(60) => {
            Err("frames that are being stored are never removed; write a minute or more, as in 30d"
                .to_owned())
        }
        time => time.map_err(|error| error.to_string()),
    }
}

fn parse_keep_bytes(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("nothing would be kept; write a size, as in 500GB".to_owned()),
        size => size.map_err(|error| error.to_string()),
    }
}

fn parse_keep_free(text: &str) -> Result<Share, String> {
    match text.parse::<Share>() {
        Ok(share) if share.fraction() >= 1.0 => {
            Err("no disk that holds a frame is all free; write less, as in 10%".to_owned())
        }
        share => share.map_err(|error| error.to_string()),
    }
}

fn parse_max_sessions(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is no number of sessions; write 1 or more"))
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

/// What surprises whoever expects a day's frames in a day's folder.
const DATE_HINT: &str = "{date} is the day, in UTC, on which a session begins: one that goes on over midnight stores there \
                         until it ends; --layout day sorts each frame into the day of its capture";

/// The receiver that the arguments ask for. All of it is checked before anything is made.
fn receiver(args: &ReceiveArgs, policy: &SharedPolicy) -> Result<ReceiverBuilder, Failure> {
    let limits = ReceiveLimits {
        stall: args.stall.0,
        max_sessions: args.max_sessions,
        shared: args.shared,
        warn_free: args.warn_free,
        allow_overwrite: args.allow_overwrite,
        ..ReceiveLimits::default()
    };
    let mut receiver = match args.listen {
        Some(address) => Receiver::listen(address),
        None => Receiver::anywhere(),
    };
    receiver = receiver.policy(policy.clone()).limits(limits).max_frame(args.max_frame);
    receiver = receiver.out(&args.out).durable(args.durable).layout(args.layout);
    let mut keep = Keep::default();
    keep.age = args.keep.map(|Span(time)| time);
    (keep.bytes, keep.free) = (args.keep_bytes, args.keep_free);
    receiver = receiver.keep(keep);
    if let Some(memory) = args.memory {
        receiver = receiver.memory(memory);
    }
    for TransportArg { transport, address } in &args.transport {
        receiver = match address {
            Some(address) => receiver.transport_at(*transport, address),
            None => receiver.transport(*transport),
        };
    }
    receiver.check().map_err(Failure::usage)?;
    if args.on_stored.is_some() && args.out.to_string_lossy().contains('{') {
        let why = "--on-stored follows one store; take an --out without {sender} and {date}";
        return Err(Failure::usage(anyhow!(why)));
    }
    Ok(receiver)
}

pub(super) fn run(args: &ReceiveArgs, talk: Talk, loaded: Loaded) -> Outcome {
    let (policy, allow_file) = policy::of(args)?;
    let shared = SharedPolicy::from(policy.clone());
    let receiver = receiver(args, &shared)?;
    let manager = Arc::new(Manager::of_process()?);
    let to_show = args.view.checked()?;
    let identity = trust::identity(&args.certs)?;
    process::return_memory();
    output::write_aside();
    process::runtime()?.block_on(async {
        // One that has something to read again goes on.
        let reads_again = allow_file.is_some() || loaded.file().is_some();
        let wish = signals::follow(!reads_again, Duration::ZERO, || {})?;
        let (stop, stopping) = watch::channel(false);
        if reads_again {
            Followed::start(allow_file, shared, loaded, manager.clone())?;
        }
        // Before the first frame can come.
        let on_stored = args.on_stored.clone();
        let following = on_stored.map(|command| OnStored::start(command, &args.out)).transpose()?;
        let mut serving = receiver.identity(identity.clone()).serve(stopping)?;
        announce(&serving.places, serving.pin, &policy, talk);
        if args.out.to_string_lossy().contains("{date}") && !talk.quiet {
            output::note(DATE_HINT);
        }
        let showing =
            to_show.map(|it| it.show(&serving, &identity, &args.out, talk)).transpose()?;
        // The page as well: who is told that this is ready may ask for it at once.
        manager.ready(&format!("listening on {}", addresses(&serving.places)));
        let bar = output::bar(talk, None);
        let told = Told { bar: &bar, talk, heart: Heart::new(manager.clone()) };
        let stop = Stop { tell: stop, showing: showing.as_ref() };
        let served = serve(&mut serving, args.once, wish, (stop, &manager), told).await;
        drop(bar);
        let (summary, wish) = served?;
        // All is stored; what follows it has the rest.
        drop(following);
        if args.json {
            output::json(&Versioned::of(&summary.document()))?;
        } else {
            output::result(&summary.text());
        }
        Ok(match (wish, summary.is_complete()) {
            (Wish::Interrupt | Wish::AtOnce, _) => INTERRUPTED,
            (Wish::Terminate, _) | (Wish::None, true) => COMPLETE,
            (Wish::None, false) => INCOMPLETE,
        })
    })
}

/// Each address once, whatever is served there.
fn addresses(places: &[Place]) -> String {
    let mut told: Vec<String> = Vec::new();
    for address in places.iter().map(|place| place.address.to_string()) {
        if !told.contains(&address) {
            told.push(address);
        }
    }
    told.join(", ")
}

/// Where it is told how the receiver stands.
struct Told<'a> {
    bar: &'a Bar,
    talk: Talk,
    heart: Heart,
}

/// One line on stdout for each address, and on stderr what to paste at the other end.
fn announce(places: &[Place], pin: Pin, policy: &SenderPolicy, talk: Talk) {
    let mut told: Vec<SocketAddr> = Vec::new();
    let is_served = |transport, address| places.contains(&Place { transport, address });
    for Place { transport, address } in places {
        if *transport == Transport::Tcp && is_served(Transport::Quic, *address) {
            // Senders find it by themselves.
            continue;
        }
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
            for (index, place) in address::to_dial(*address).iter().enumerate() {
                let with = if index == 0 { "send with:" } else { "or with:" };
                output::note(&format!("{with} framelane send {place} {SOURCES} {options}"));
            }
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
    let told: Vec<_> = listening.iter().flat_map(|address| address::to_dial(*address)).collect();
    if told.iter().any(|address| address.contains('%')) {
        output::note("behind the % is this machine's name of the link; a sender writes its own");
    }
    if !listening.iter().any(|address| address.ip().is_unspecified()) {
        return;
    }
    let placeholder = told.iter().any(|address| address.starts_with(address::PLACEHOLDER));
    output::note(&if placeholder {
        let host = address::PLACEHOLDER;
        format!("with the name or an address of this machine, as the sender knows it, for {host}")
    } else {
        "or with any other name or address by which the sender reaches this machine".to_owned()
    });
}

/// How a receiver stands, and how fast it was just now.
fn state(progress: &ReceiveProgress, recent: &mut Recent) -> String {
    let (frames, bytes) = (progress.frames(), progress.bytes());
    let (frames, rate) = (output::frames(frames), recent.rate(bytes, Instant::now()));
    let sessions = output::counted(progress.sessions(), "session");
    format!("{frames} stored, {} ({rate}), {sessions}", ByteSize(bytes))
}

/// What `-v` tells every few seconds in which something came.
struct Watch {
    at: Instant,
    frames: u64,
    bytes: u64,
}

impl Watch {
    const EVERY: Duration = Duration::from_secs(5);

    fn look(&mut self, progress: &ReceiveProgress, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        if since < Self::EVERY {
            return;
        }
        let (frames, bytes) = (progress.frames(), progress.bytes());
        let (more, long) = (frames - self.frames, bytes - self.bytes);
        if more > 0 {
            let (more, rate) = (output::frames(more), output::rate(long, since));
            let sessions = output::counted(progress.sessions(), "session");
            tracing::info!("stored {more} in {} s ({rate}), {sessions}", since.as_secs());
        }
        *self = Self { at: now, frames, bytes };
    }
}

/// Ends the taking of frames.
struct Stop<'a> {
    tell: watch::Sender<bool>,
    showing: Option<&'a Showing>,
}

impl Stop<'_> {
    fn now(&self) {
        self.showing.into_iter().for_each(Showing::stopping);
        self.tell.send_replace(true);
    }
}

/// Serves until it is told to stop, or with `once` until a sender has sent all it has.
async fn serve(
    serving: &mut Serving,
    once: bool,
    mut wish: watch::Receiver<Wish>,
    (stop, manager): (Stop<'_>, &Manager),
    told: Told<'_>,
) -> anyhow::Result<(Summary, Wish)> {
    let Told { bar, talk, mut heart } = told;
    let mut summary = Summary::default();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut end = OnceEnd::default();
    let mut watch = Watch { at: Instant::now(), frames: 0, bytes: 0 };
    let mut recent = Recent::since(Instant::now());
    let wish = loop {
        tokio::select! {
            // Reports first: what has ended is known before it is asked whether that was all.
            biased;
            Some(session) = serving.reports.recv() => {
                summary::tell(&session, talk);
                end.take(&session, Instant::now());
                summary.add(session);
            }
            Ok(wish) = wish.wait_for(|wish| *wish != Wish::None) => break *wish,
            // It ends by itself only where it cannot go on.
            ended = &mut serving.task => {
                ended??;
                anyhow::bail!("the receiver has ended without being asked to");
            }
            _ = tick.tick() => {
                let sessions = serving.progress.sessions();
                let state = state(&serving.progress, &mut recent);
                bar.set_message(state.clone());
                bar.tick();
                heart.beat(|| state, serving.busy.longest());
                watch.look(&serving.progress, Instant::now());
                if once && sessions == 0 && end.has_come(Instant::now()) {
                    break Wish::None;
                }
            }
        }
    };
    manager.stopping("storing what has arrived");
    stop.now();
    (&mut serving.task).await??;
    while let Ok(session) = serving.reports.try_recv() {
        summary::tell(&session, talk);
        summary.add(session);
    }
    Ok((summary, wish))
}
