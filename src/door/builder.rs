//! What a sender is to do, before it starts.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::error::StartError;
use super::pushed::Pushed;
use super::sender::{Parts, Sender};
use crate::congestion::Congestion;
use crate::frame::{ByteSize, SourceName, Span};
use crate::identity::{
    Authority, DEFAULT_DAYS, EarlyData, Identity, KnownReceivers, NewCertificate, Pin,
    ReceiverAddress, ReceiverTrust, client_config,
};
use crate::repair::RepairMode;
use crate::sender::{Pace, SendOptions, Weight};
use crate::source::{Folder, Source};
use crate::spool::{Spool, SpoolError, SpoolOptions};
use crate::transport::stop_and_wait::SenderSettings;
use crate::transport::tcp::TcpOptions;
use crate::transport::{
    self, Dial, DialSetup, PathsMode, Reached, Transport, TransportChoice, TransportError, ViaLink,
};
use crate::wire::{ALPN, MAX_SOURCES};

/// Frames that were pushed and are not settled take this much memory at most, if nothing else is said.
const MEMORY: ByteSize = ByteSize(64 << 20);

/// What a [`Sender`] is to do; [`start`](Self::start) makes one of it. What is wrong is said there.
#[must_use = "it does nothing before `start`"]
pub struct SenderBuilder {
    receiver: String,
    pins: Vec<String>,
    authority: Option<PathBuf>,
    known: Option<KnownReceivers>,
    trust: Option<ReceiverTrust>,
    identity: Option<Identity>,
    certs: PathBuf,
    sources: Vec<Wanted>,
    weights: Vec<(String, Weight)>,
    deadlines: Vec<(String, Duration)>,
    transport: TransportChoice,
    reached: Option<PathBuf>,
    via: Vec<String>,
    counted: Option<PathBuf>,
    paths: PathsMode,
    congestion: Congestion,
    repair: RepairMode,
    tcp_congestion: Option<String>,
    multipath: bool,
    gap: Option<Duration>,
    options: SendOptions,
    memory: ByteSize,
    spool: Option<PathBuf>,
    spool_options: Option<SpoolOptions>,
    stop: Option<watch::Receiver<bool>>,
    watch: Option<Wrap>,
}

/// Stands before the way to the receiver.
type Wrap = Box<dyn FnOnce(Box<dyn Dial>) -> Box<dyn Dial> + Send + Sync>;

/// A source that is wanted.
enum Wanted {
    Pushed(String),
    Folder(String, PathBuf),
    Other(Arc<dyn Source>),
}

impl Sender {
    /// A sender to `HOST:PORT`, to be told more and then [started](SenderBuilder::start).
    pub fn to(receiver: impl Into<String>) -> SenderBuilder {
        SenderBuilder::new(receiver.into())
    }
}

impl SenderBuilder {
    fn new(receiver: String) -> Self {
        Self {
            receiver,
            pins: Vec::new(),
            authority: None,
            known: None,
            trust: None,
            identity: None,
            certs: "certs".into(),
            sources: Vec::new(),
            weights: Vec::new(),
            deadlines: Vec::new(),
            transport: TransportChoice::Auto,
            reached: None,
            via: Vec::new(),
            counted: None,
            paths: PathsMode::default(),
            congestion: Congestion::default(),
            repair: RepairMode::Auto,
            tcp_congestion: None,
            multipath: false,
            gap: None,
            options: SendOptions::default(),
            memory: MEMORY,
            spool: None,
            spool_options: None,
            stop: None,
            watch: None,
        }
    }

    /// Trusts the receiver with this pin, `sha256:` and 64 hex digits, as it prints it. May be called again for
    /// another. Without a pin and an authority, the receivers that this user knows are trusted
    /// ([`KnownReceivers`]).
    pub fn pin(mut self, pin: impl Display) -> Self {
        self.pins.push(pin.to_string());
        self
    }

    /// Trusts a receiver whose certificate the authorities in this file (PEM) vouch for.
    pub fn authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// Trusts these receivers, instead of those in this user's own list.
    pub fn known_receivers(mut self, known: KnownReceivers) -> Self {
        self.known = Some(known);
        self
    }

    /// Trusts by this, whatever pins, authorities and receivers are given beside it.
    pub fn trust(mut self, trust: ReceiverTrust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Who this sender is. Its pin is what a receiver allows.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The folder of this sender's identity, where none is given; one is made there where it is missing.
    /// `certs` if nothing else is said.
    pub fn certs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.certs = folder.into();
        self
    }

    /// A source of that name, whose frames are [pushed](Sender::push).
    pub fn source(mut self, name: impl Into<String>) -> Self {
        self.sources.push(Wanted::Pushed(name.into()));
        self
    }

    /// The files of a folder.
    pub fn folder(mut self, name: impl Into<String>, path: impl AsRef<Path>) -> Self {
        self.sources.push(Wanted::Folder(name.into(), path.as_ref().to_owned()));
        self
    }

    /// A source of any kind.
    pub fn any(mut self, source: Arc<dyn Source>) -> Self {
        self.sources.push(Wanted::Other(source));
        self
    }

    /// A source's share of the link beside the others.
    pub fn weight(mut self, source: impl Into<String>, weight: Weight) -> Self {
        self.weights.push((source.into(), weight));
        self
    }

    /// How old a frame of a source may be when it arrives: one that would be older is dropped, and declared.
    /// Without this every frame is sent, however late.
    pub fn deadline(mut self, source: impl Into<String>, age: Duration) -> Self {
        self.deadlines.push((source.into(), age));
        self
    }

    /// So many frames a second of each source that was there before, instead of as fast as the link takes them.
    pub fn per_second(mut self, frames: f64) -> Self {
        self.options.pace = Pace::PerSecond(frames);
        self
    }

    /// Which transport; the receiver has to serve it. If nothing is said, QUIC where UDP gets through and TCP
    /// where it does not ([`TransportChoice::Auto`]).
    pub fn transport(mut self, transport: impl Into<TransportChoice>) -> Self {
        self.transport = transport.into();
        self
    }

    /// Leaves by this link of this machine, by its name or its address. May be called again for another, which is used
    /// at the same time ([`SenderBuilder::paths`]). Only with [`TransportChoice::Auto`]. If nothing is said, the routes
    /// of this machine say it.
    ///
    /// Behind it may be how much may go over it in a day or a month of the calendar (UTC), and over which transport, as in
    /// `wwan0,max=2GB/day,transport=tcp`; a cap needs [`count_data_in`](Self::count_data_in).
    pub fn via(mut self, link: impl Into<String>) -> Self {
        self.via.push(link.into());
        self
    }

    /// How several links are used that [`via`](SenderBuilder::via) names: at once, if nothing is said.
    pub fn paths(mut self, mode: PathsMode) -> Self {
        self.paths = mode;
        self
    }

    /// Counts in this file what goes over links with a cap, over all runs.
    pub fn count_data_in(mut self, file: impl Into<PathBuf>) -> Self {
        self.counted = Some(file.into());
        self
    }

    /// Remembers in this file how receivers were reached, so that this is tried first the next time. If nothing
    /// is said it is forgotten.
    pub fn remember_in(mut self, file: impl Into<PathBuf>) -> Self {
        self.reached = Some(file.into());
        self
    }

    /// QUIC's congestion controller.
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.congestion = congestion;
        self
    }

    /// How much forward repair live frames carry over QUIC.
    pub fn repair(mut self, repair: RepairMode) -> Self {
        self.repair = repair;
        self
    }

    /// The kernel's congestion control for the TCP transports, by name.
    pub fn tcp_congestion(mut self, name: Option<String>) -> Self {
        self.tcp_congestion = name;
        self
    }

    /// Asks for TCP connections of several subflows (MPTCP), which the receiver has to
    /// [take](super::listen::ReceiverBuilder::multipath_tcp); one that does not gets one of a single. Linux only.
    pub fn multipath_tcp(mut self, multipath: bool) -> Self {
        self.multipath = multipath;
        self
    }

    /// The pause of stop-and-wait before each frame; see [`SenderSettings::gap`].
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = Some(gap);
        self
    }

    /// How long to go on trying without a connection, or with some that get no frame stored. A program that is
    /// to run for days says a day.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.options.retry_for = time;
        self
    }

    /// All other options of the run. Weights in them are in the order of the sources.
    pub fn options(mut self, options: SendOptions) -> Self {
        self.options = options;
        self
    }

    /// Memory for frames that were pushed and are not settled, of all sources: 64 MiB if nothing is said. A
    /// push waits for room in it.
    pub fn memory(mut self, bytes: ByteSize) -> Self {
        self.memory = bytes;
        self
    }

    /// Keeps frames of sources that grow in this folder while the link cannot take them: pushed ones, those of pipes and of
    /// watched folders. What is in it when the process ends, or is killed, is sent by the next one that names it.
    pub fn spool(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool = Some(folder.into());
        self
    }

    /// How much the spool holds, and what is done when it is full. Without a [folder](Self::spool) it is in memory.
    pub fn spool_options(mut self, options: SpoolOptions) -> Self {
        self.spool_options = Some(options);
        self
    }

    /// Ends the run when this turns true.
    pub fn stop_when(mut self, stop: watch::Receiver<bool>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Lets something stand before the way to the receiver, to watch each link that is opened.
    #[cfg(feature = "cli")]
    pub(crate) fn watched(
        mut self,
        watch: impl FnOnce(Box<dyn Dial>) -> Box<dyn Dial> + Send + Sync + 'static,
    ) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// Checks all of it, looks the receiver's name up, and starts to send in a task of its own. It does not
    /// wait for the connection: frames can be pushed at once, and what is wrong with it is in the report.
    ///
    /// Has to be called in a tokio runtime. Cancel safe.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Sender, StartError> {
        let receiver: ReceiverAddress = self.receiver.parse()?;
        let (sources, pushed) = open(&self.sources, self.transport)?;
        let mut options = self.options.clone();
        if !self.weights.is_empty() {
            let given = in_order(&self.weights, &sources)?;
            options.weights = given.into_iter().map(Option::unwrap_or_default).collect();
        }
        if !self.deadlines.is_empty() {
            options.deadlines = in_order(&self.deadlines, &sources)?;
        }
        let trust = self.trusted(&receiver)?;
        let (sources, spool) = self.open_spool(sources, &options.deadlines).await?;
        let identity = match self.identity {
            Some(identity) => identity,
            None => {
                let now = SystemTime::now();
                let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now };
                Identity::load_or_create(&self.certs, &new)?.0
            }
        };
        let defaults = SenderSettings::default();
        let transport = match self.transport {
            TransportChoice::Auto => Transport::Quic,
            TransportChoice::Only(transport) => transport,
        };
        let setup = DialSetup {
            transport,
            addresses: resolve(&receiver, options.retry_for).await?,
            host: receiver.host().to_owned(),
            tls: client_config(&identity, trust, &[ALPN], EarlyData::Off),
            congestion: self.congestion.factory(),
            repair: self.repair,
            tcp: TcpOptions {
                congestion: self.tcp_congestion.clone(),
                stall: options.stall.max(TcpOptions::default().stall),
                multipath: self.multipath,
                ..TcpOptions::default()
            },
            stop_and_wait: SenderSettings {
                gap: self.gap.unwrap_or(defaults.gap),
                congestion: self.tcp_congestion,
                ..defaults
            },
        };
        let via = self.via.iter().map(|link| link.parse()).collect::<Result<Vec<ViaLink>, _>>()?;
        check_links(&via, self.paths, options.retry_for)?;
        let dial = match self.transport {
            TransportChoice::Only(_) if !via.is_empty() => return Err(StartError::ViaOne),
            TransportChoice::Only(_) => transport::dial_by_name(setup, receiver),
            TransportChoice::Auto => {
                let reached = Reached::recall(receiver.clone(), self.reached);
                let counted = self.counted.as_deref();
                transport::dial_by_links(&setup, &receiver, &via, self.paths, reached, counted)?
            }
        };
        let dial = match self.watch {
            Some(watch) => watch(dial),
            None => dial,
        };
        let (memory, stop) = (self.memory, self.stop);
        Ok(Sender::run(Parts { dial, sources, pushed, options, memory, spool, stop }))
    }

    /// Puts the spool, where there is to be one, in front of the sources that grow.
    async fn open_spool(
        &self,
        sources: Vec<Arc<dyn Source>>,
        deadlines: &[Option<Duration>],
    ) -> Result<(Vec<Arc<dyn Source>>, Option<Spool>), StartError> {
        let options = self.spool_options.unwrap_or_default();
        let spool = match self.spool.clone() {
            Some(folder) => {
                let receiver = self.receiver.clone();
                // A folder with much in it takes a while to look through.
                let opening = move || Spool::open(&folder, options, &receiver);
                let opened = tokio::task::spawn_blocking(opening).await;
                opened.map_err(|error| SpoolError::Thread(error.to_string()))??
            }
            None if self.spool_options.is_some() => Spool::in_memory(options)?,
            None => return Ok((sources, None)),
        };
        let is_archive = |place: usize| deadlines.get(place).copied().flatten().is_none();
        let kept = sources.into_iter().enumerate();
        let kept = kept.map(|(place, source)| spool.keep(source, is_archive(place)));
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        for (source, frames) in spool.left_over() {
            tracing::warn!(
                "the spool has {frames} frames of source {source}, which is not sent now; they go when it is"
            );
        }
        Ok((kept, Some(spool)))
    }

    fn trusted(&self, receiver: &ReceiverAddress) -> Result<ReceiverTrust, StartError> {
        if let Some(trust) = &self.trust {
            return Ok(trust.clone());
        }
        let pins = self.pins.iter().map(|pin| pin.parse()).collect::<Result<Vec<Pin>, _>>()?;
        let authority = self.authority.as_deref().map(Authority::load).transpose()?;
        let known = match (&self.known, KnownReceivers::default_path()) {
            (Some(known), _) => known.clone(),
            (None, Some(path)) if path.exists() => KnownReceivers::load(&path)?,
            (None, _) => KnownReceivers::default(),
        };
        Ok(ReceiverTrust::new(receiver.clone(), pins, authority, &known))
    }
}

/// Whether somebody has asked for more patience than everybody has.
fn is_patient(patience: Duration) -> bool {
    patience > SendOptions::default().retry_for
}

/// Links that are not there yet are waited for, where there is another meanwhile, or more patience than everybody has: a
/// modem may take minutes. Else it is a slip of the pen.
fn check_links(via: &[ViaLink], mode: PathsMode, patience: Duration) -> Result<(), TransportError> {
    let missing: Vec<_> = via.iter().filter_map(ViaLink::missing).collect();
    // Links that stand by for one another are tried in their order, and one that is not there is not passed over.
    let others = missing.len() < via.len() && mode != PathsMode::Standby;
    let waits = others || via.len() < 2 && is_patient(patience);
    for error in missing {
        if !waits {
            return Err(error);
        }
        tracing::warn!("{error}; it is used once it is there");
    }
    Ok(())
}

/// Looks the receiver's name up, in no more time than the run has patience; no address where it may have one later.
async fn resolve(
    receiver: &ReceiverAddress,
    patience: Duration,
) -> Result<Vec<SocketAddr>, StartError> {
    /// A name service across a slow link answers in it.
    const LEAST: Duration = Duration::from_secs(1);
    let looking = transport::resolve(receiver);
    if patience.is_zero() {
        return Ok(looking.await?);
    }
    let patience = patience.max(LEAST);
    let found = tokio::time::timeout(patience, looking).await;
    let found = found.unwrap_or_else(|_| {
        let why = format!("the name service did not answer within {}", Span(patience));
        Err(TransportError::Resolve { host: receiver.host().to_owned(), why })
    });
    match found {
        // A name that nobody knows is a slip of the pen, but for whoever means to wait for the network, or the receiver.
        Err(error) if may_come(&error, patience) => {
            tracing::warn!("{error}; trying again");
            Ok(Vec::new())
        }
        found => Ok(found?),
    }
}

/// Whether what cannot be looked up now may be found within so long.
fn may_come(error: &TransportError, patience: Duration) -> bool {
    /// As the C libraries say it.
    const UNKNOWN: [&str; 3] = ["not known", "No address associated", "does not resolve"];
    let is_unknown = |why: &str| UNKNOWN.iter().any(|unknown| why.contains(unknown));
    match error {
        TransportError::Resolve { why, .. } if is_unknown(why) => is_patient(patience),
        error => error.may_pass(),
    }
}

/// All sources, and those of them that frames are pushed to.
type Opened = (Vec<Arc<dyn Source>>, Vec<Arc<Pushed>>);

/// Opens the sources, and checks that one session can carry them over that transport.
fn open(wanted: &[Wanted], transport: TransportChoice) -> Result<Opened, StartError> {
    let (mut sources, mut pushed): Opened = (Vec::new(), Vec::new());
    for wanted in wanted {
        let source: Arc<dyn Source> = match wanted {
            Wanted::Other(source) => source.clone(),
            Wanted::Folder(name, path) => Arc::new(Folder::open(parse(name)?, path)?),
            Wanted::Pushed(name) => {
                let source = Pushed::new(parse(name)?);
                pushed.push(source.clone());
                source
            }
        };
        let name = source.name();
        if sources.iter().any(|other| other.name() == name) {
            return Err(StartError::SameName(name.to_string()));
        }
        check_name(name, transport)?;
        sources.push(source);
    }
    match sources.len() {
        0 => Err(StartError::NoSource),
        count if count > MAX_SOURCES => Err(StartError::TooManySources(count)),
        _ => Ok((sources, pushed)),
    }
}

/// Checks that a transport can carry a source of that name.
///
/// # Errors
/// [`StartError::Separator`].
pub fn check_name(
    name: &SourceName,
    transport: impl Into<TransportChoice>,
) -> Result<(), StartError> {
    if transport.into().is_only(Transport::StopAndWait) && name.as_str().contains('|') {
        return Err(StartError::Separator(name.to_string()));
    }
    Ok(())
}

fn parse(name: &str) -> Result<SourceName, StartError> {
    SourceName::parse(name).map_err(|why| StartError::SourceName { name: name.to_owned(), why })
}

/// What is given of some sources, in the order of all.
fn in_order<T: Copy>(
    given: &[(String, T)],
    sources: &[Arc<dyn Source>],
) -> Result<Vec<Option<T>>, StartError> {
    let mut ordered = vec![None; sources.len()];
    for (name, value) in given {
        let place = sources.iter().position(|source| source.name().as_str() == name);
        let place = place.ok_or_else(|| StartError::UnknownSource {
            name: name.clone(),
            known: sources
                .iter()
                .map(|source| source.name().as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        if ordered[place].replace(*value).is_some() {
            return Err(StartError::Twice(name.clone()));
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why it does not start.
    async fn refused(builder: SenderBuilder) -> String {
        let place = tempfile::tempdir().unwrap();
        match builder.certs(place.path()).start().await {
            Ok(_) => panic!("it starts"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_at_the_start() {
        let to = || SenderBuilder::new("127.0.0.1:9".to_owned());
        let weight = Weight::default();
        let many = (0..65).fold(to(), |to, number| to.source(format!("s{number}")));
        for (builder, says) in [
            (SenderBuilder::new("nowhere".to_owned()).source("a"), "nowhere"),
            (to(), "no source"),
            (to().source("../a"), "../a"),
            (to().source("a").source("a"), "two sources are called a"),
            (many, "at most 64"),
            (to().source("a").pin("sha256:0"), "sha256"),
            (to().source("a").weight("b", weight), "no source is called b; the sources are a"),
            (to().source("a").weight("a", weight).weight("a", weight), "given twice"),
            (to().source("a|b").transport(Transport::StopAndWait), "'|'"),
            (to().folder("a", "/nonexistent"), "/nonexistent"),
        ] {
            let why = refused(builder).await;
            assert!(why.contains(says), "{says}: {why}");
        }
    }
}
