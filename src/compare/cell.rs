//! One run: a real sender and a real receiver at the two ends of a link of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::CompareError;
use super::elsewhere::Processors;
use super::ends::End;
use super::ideal::bulk_mbit;
use super::multipath;
use super::supervise::{Ended, TimeLimits, supervise};
use super::variant::{Over, Variant};
use super::workload::Workload;
use crate::door::{Receiver, Sender, SenderBuilder};
use crate::frame::{Sequence, UnixNanos};
use crate::identity::{
    DEFAULT_DAYS, Identity, NewCertificate, ReceiverAddress, ReceiverTrust, SenderPolicy,
};
use crate::link::{Emulation, LinkSpec, LinkStats, NamespaceHandle, Privilege};
use crate::receiver::{ReceiveError, SessionReport};
use crate::sender::{Observer, Pace, Progress, SendOptions, SendReport};
use crate::store::{FolderStore, StoreOptions};
use crate::transport::{
    BoxFuture, Dial, PathStats, PathWatch, SenderLink, Transport, TransportError,
};
use crate::wire::SourceId;

/// How long a sender that was stopped may take to say goodbye. Over a bad link it does not get to.
pub(super) const GOODBYE: Duration = Duration::from_millis(300);
/// How long a receiver may take to store what has arrived.
pub(super) const STORING: Duration = Duration::from_secs(1);
/// Beyond the time that the frames take: what the start and some rounds of retransmission need.
const GRACE: Duration = Duration::from_secs(2);
/// Round trips added to it, for links on which two seconds are few of them.
const GRACE_ROUNDS: u32 = 4;
/// What a bulk transfer may take, as a multiple of what it takes at the limit.
const BULK_MULTIPLE: f64 = 3.0;

/// Both ends know each other by these.
pub(super) struct Identities {
    sender: Identity,
    receiver: Identity,
}

/// What one run is made of.
pub(super) struct Cell<'a> {
    pub(super) privilege: Privilege,
    /// One, or two side by side, each with a seed.
    pub(super) links: &'a [LinkSpec],
    pub(super) variant: &'a Variant,
    pub(super) workload: &'a Workload,
    pub(super) identities: &'a Identities,
    pub(super) store: &'a Path,
    pub(super) interrupted: &'a watch::Receiver<bool>,
}

/// What was seen of one run, apart from what is in the store.
pub(super) struct Observed {
    pub(super) link_started: UnixNanos,
    pub(super) ended: Ended,
    pub(super) ended_at: UnixNanos,
    pub(super) report: Option<SendReport>,
    pub(super) confirmed: Vec<Confirmed>,
    pub(super) received: Vec<SessionReport>,
    pub(super) link: LinkStats,
    pub(super) path: Option<PathStats>,
    pub(super) segments: Option<Segments>,
    pub(super) cpu_sender: f64,
    pub(super) cpu_receiver: f64,
    pub(super) elsewhere: Option<f64>,
}

/// A frame whose receipt has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmed {
    pub(super) source: usize,
    pub(super) sequence: Sequence,
    pub(super) captured: UnixNanos,
}

/// TCP segments that the sender's kernel has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments {
    /// Those with anything new in them, and acknowledgements.
    pub(super) sent: u64,
    /// Retransmissions.
    pub(super) again: u64,
}

impl Identities {
    pub(super) fn generate() -> Result<Self, CompareError> {
        let new = || {
            let now = SystemTime::now();
            Identity::generate(&NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now })
        };
        Ok(Self { sender: new()?, receiver: new()? })
    }
}

impl Cell<'_> {
    /// Runs it to its end, which comes in bounded time.
    pub(super) fn run(&self) -> Result<Observed, CompareError> {
        let link = Emulation::start_paths(self.privilege, self.links)?;
        let far = End::start("receiver", link.far())?;
        let near = End::start("sender", link.near())?;
        if self.variant.is_multipath() {
            multipath::prepare(&link, self.links.len())?;
        }
        let mut receiver = ReceivingEnd::start(self, &far, &link)?;
        let witness = Arc::new(Witness::default());
        // Now, so that outages and traces begin with the sending.
        for (path, spec) in self.links.iter().enumerate() {
            link.replace_path(path, spec)?;
        }
        let link_started = UnixNanos::now();
        let processors = Processors::now();
        let sender = SendingEnd::start(self, &near, &link, receiver.address, &witness)?;
        let limits = self.time_limits();
        let is_finished = || sender.task.is_finished();
        let ended = supervise(limits, &sender.progress, is_finished, self.interrupted);
        let ended_at = UnixNanos::now();
        let elsewhere = Processors::now().elsewhere_since(&processors);
        let path = witness.path();
        sender.stop.send_replace(true);
        let report = near.wait_briefly(sender.task, GOODBYE);
        receiver.stop.send_replace(true);
        let _ = far.wait_briefly(receiver.task, STORING);
        let mut received = Vec::new();
        while let Ok(report) = receiver.reports.try_recv() {
            received.push(report);
        }
        let stats = (0..self.links.len()).map(|path| link.stats_of(path));
        let stats = stats.reduce(LinkStats::beside).unwrap_or_default();
        let segments = segments(link.near());
        let (cpu_sender, cpu_receiver) = (near.stop(), far.stop());
        let confirmed = witness.take();
        Ok(Observed {
            link_started,
            ended,
            ended_at,
            report,
            confirmed,
            received,
            link: stats,
            path,
            segments,
            cpu_sender,
            cpu_receiver,
            elsewhere,
        })
    }

    /// How long it may take.
    fn time_limits(&self) -> TimeLimits {
        let longest = self.links.iter().map(LinkSpec::round_trip).max().unwrap_or_default();
        let grace = GRACE + GRACE_ROUNDS * longest;
        match self.workload.pace {
            Pace::PerSecond(_) => {
                let until_due = Duration::from_secs_f64(self.workload.seconds());
                TimeLimits { until_due, grace }
            }
            Pace::Bulk => {
                // A machine that is not held back by the link moves this much at least.
                const UNLIMITED_MBIT: f64 = 100.0;
                let bytes = self.workload.bytes();
                // The better of two alone: what both do not use together is a figure, not a hang.
                let alone =
                    self.links.iter().map(|link| bulk_mbit(&link.up, Duration::ZERO, bytes));
                let alone = alone.map(|mbit| mbit.unwrap_or(UNLIMITED_MBIT));
                let mbit = alone.fold(0.01, f64::max);
                let ideal = bytes as f64 * 8e-6 / mbit;
                let granted = Duration::from_secs_f64((ideal * BULK_MULTIPLE).min(3_600.0));
                TimeLimits { until_due: granted / 2, grace: granted / 2 + grace }
            }
        }
    }
}

/// A receiver that runs.
pub(super) struct ReceivingEnd {
    pub(super) address: SocketAddr,
    pub(super) task: tokio::task::JoinHandle<Result<(), ReceiveError>>,
    reports: mpsc::UnboundedReceiver<SessionReport>,
    pub(super) stop: watch::Sender<bool>,
}

impl ReceivingEnd {
    pub(super) fn start(
        cell: &Cell<'_>,
        end: &End,
        link: &Emulation,
    ) -> Result<Self, CompareError> {
        let transport = cell.variant.parsed_transport();
        let policy = match transport {
            // It has no pins, and nobody but the sender is on this link.
            Transport::StopAndWait => SenderPolicy::Any,
            _ => SenderPolicy::only([cell.identities.sender.pin()]),
        };
        let receiver = Receiver::listen(SocketAddr::from((link.far_addr(), 0)))
            .transport(transport)
            .policy(policy)
            .identity(cell.identities.receiver.clone())
            .store(FolderStore::open(cell.store, StoreOptions::default())?)
            .congestion(cell.variant.controller().factory())
            .multipath_tcp(cell.variant.is_multipath())
            .on_thread_start(end.count_thread());
        let (stop, stopping) = watch::channel(false);
        // Sockets are at the end of the thread that opens them.
        let serving = end.wait(end.spawn(async { receiver.serve(stopping) }))??;
        let (address, reports) = (serving.places[0].address, serving.reports);
        Ok(Self { address, task: serving.task, reports, stop })
    }
}

/// A sender that runs.
pub(super) struct SendingEnd {
    pub(super) task: tokio::task::JoinHandle<SendReport>,
    progress: Arc<Progress>,
    pub(super) stop: watch::Sender<bool>,
}

impl SendingEnd {
    pub(super) fn start(
        cell: &Cell<'_>,
        end: &End,
        link: &Emulation,
        address: SocketAddr,
        witness: &Arc<Witness>,
    ) -> Result<Self, CompareError> {
        let options = SendOptions {
            pace: cell.workload.senders_pace(),
            observer: Some(witness.clone()),
            ..SendOptions::default()
        };
        let (stop, stopping) = watch::channel(false);
        let (receiver, seen) = (ReceiverAddress::from(address), witness.clone());
        let sender = Sender::to(address.to_string())
            .trust(ReceiverTrust::pinned(receiver, cell.identities.receiver.pin()))
            .identity(cell.identities.sender.clone())
            .congestion(cell.variant.controller())
            .multipath_tcp(cell.variant.is_multipath())
            .repair(cell.workload.repair)
            .tcp_congestion(cell.variant.congestion.clone())
            // The pause is for old servers alone, and this one is ours.
            .gap(Duration::ZERO)
            .options(options)
            .stop_when(stopping)
            .watched(move |inner| Box::new(Watched { inner, witness: seen }));
        let sender = match cell.variant.over.and_then(Over::paths) {
            Some(mode) => (0..cell.links.len())
                .fold(sender.paths(mode), |sender, path| sender.via(link.device_of(path))),
            None => sender.transport(cell.variant.parsed_transport()),
        };
        let sender = cell.workload.sources().into_iter().fold(sender, SenderBuilder::any);
        let sender = end.wait(end.spawn(sender.start()))??;
        let progress = sender.progress();
        Ok(Self { task: end.spawn(sender.finish()), progress, stop })
    }
}

/// Sees what the sender sees.
#[derive(Default)]
pub(super) struct Witness {
    confirmed: Mutex<Vec<Confirmed>>,
    paths: Mutex<Paths>,
}

/// What is known of the paths of a run's connections, one after the other.
#[derive(Default)]
struct Paths {
    now: Option<PathWatch>,
    /// Repair that was sent in connections before it.
    repair_before: u64,
}

impl Paths {
    /// Another connection. The watch of the last one is let go.
    fn enter(&mut self, path: PathWatch) {
        self.repair_before = self.leave().map_or(self.repair_before, |path| path.repair_bytes);
        self.now = Some(path);
    }

    /// The last connection's counts, those of repair with all before it.
    fn leave(&mut self) -> Option<PathStats> {
        let path = self.now.take()?.look();
        Some(PathStats { repair_bytes: path.repair_bytes + self.repair_before, ..path })
    }
}

impl Witness {
    /// What the transport knows of its path. The watch is let go: it keeps the connection.
    fn path(&self) -> Option<PathStats> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).leave()
    }

    /// The frames whose receipts have come.
    pub(super) fn take(&self) -> Vec<Confirmed> {
        std::mem::take(&mut *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Witness {
    fn confirmed(
        &self,
        source: SourceId,
        sequence: Sequence,
        _bytes: u64,
        _due: Instant,
        captured: UnixNanos,
        _stored: UnixNanos,
    ) {
        let confirmed = Confirmed { source: source.0.into(), sequence, captured };
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).push(confirmed);
    }

    fn clock(&self, _: UnixNanos, _: UnixNanos, _: UnixNanos, _: UnixNanos) {
        // Both ends have the same clock here.
    }
}

/// A dial whose links are watched.
struct Watched {
    inner: Box<dyn Dial>,
    witness: Arc<Witness>,
}

impl Dial for Watched {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(async {
            let link = self.inner.dial().await?;
            let mut paths = self.witness.paths.lock().unwrap_or_else(PoisonError::into_inner);
            paths.enter(link.path.clone());
            drop(paths);
            Ok(link)
        })
    }

    fn proves_content(&self) -> bool {
        self.inner.proves_content()
    }
}

/// What the kernel counts for TCP in a namespace, where anything was sent.
fn segments(namespace: &NamespaceHandle) -> Option<Segments> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).ok()?.ok()?;
    parse_segments(&text).filter(|segments| segments.sent > 0)
}

fn parse_segments(snmp: &str) -> Option<Segments> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let place = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(place)?.parse().ok()
    };
    Some(Segments { sent: value("OutSegs")?, again: value("RetransSegs")? })
}

/// True where the numbers are TCP's rather than QUIC's own.
pub(super) fn is_tcp(variant: &Variant) -> bool {
    variant.parsed_transport() != Transport::Quic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_is_counted_over_all_connections() {
        let watch = |repair_bytes| {
            PathWatch::new(move || PathStats { repair_bytes, ..PathStats::default() })
        };
        let mut paths = Paths::default();
        assert!(paths.leave().is_none());
        for repair in [100, 20, 3] {
            paths.enter(watch(repair));
        }
        assert_eq!(paths.leave().map(|path| path.repair_bytes), Some(123));
    }

    #[test]
    fn the_kernels_counts_are_read_by_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: RtoMin OutSegs RetransSegs\nTcp: -1 120 7\n";
        assert_eq!(parse_segments(text), Some(Segments { sent: 120, again: 7 }));
        assert_eq!(parse_segments("Tcp: OutSegs\n"), None);
    }
}
