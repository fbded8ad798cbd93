//! What became of a run of sending.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::figures::{Figures, LinkFigures};
use super::histogram::Quantiles;
use super::ledger::{FailedFrame, Ledger, MAX_NAMED_FAILURES};
use super::paths::PathReport;
use super::waiting::LimitedBy;
use crate::frame::{DropReason, Sequence};
use crate::source::{Remembered, Source};
use crate::spool::SpoolFigures;

/// The form of a [`SendReport`] as JSON. The number goes up when a field changes its meaning or goes
/// away; fields that are added change nothing for whoever ignores what he does not know.
pub const SEND_SCHEMA: u32 = 1;

/// From this share of its processors' time on a run is limited by the machine.
const BUSY: f64 = 0.85;

/// Frames that leave no later than this after they were due are not held up by anything.
const IN_TIME_MS: f64 = 100.0;

/// What became of every frame.
///
/// The numbers are the same here, as JSON (`framelane send --json` prints this as one object) and in the
/// text of the command line, and mean what they mean at the receiver and in a store's account:
/// `frames = stored + dropped + pending + missing`; and of `stored` there were `stored_before` at the receiver before this
/// run; the others, `sent`, have travelled in it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SendReport {
    /// [`SEND_SCHEMA`].
    pub schema: u32,
    /// True where all is as it should be: nothing is missing or pending, what was dropped was to be, and nothing ended
    /// the run early.
    pub complete: bool,
    /// One entry a source, in the order given.
    pub sources: Vec<SourceReport>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Sessions that were opened; more than one means that the connection was lost, or that the run went on
    /// over another.
    pub sessions: u32,
    /// Why the run ended early, if it did.
    pub error: Option<String>,
    /// True where the user stopped it.
    pub interrupted: bool,
    /// What the spool held at the end, where there is one.
    pub spool: Option<SpoolFigures>,
    /// What was seen of the link.
    pub link: LinkFigures,
    /// Over what it went, in order: the last 100 sessions.
    pub paths: Vec<PathReport>,
    /// What kept the run from being faster.
    pub limited_by: LimitedBy,
    /// The same as a sentence.
    pub limit: String,
}

/// What became of one source.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Frames in it, by the end; those that an earlier run had left in the spool are among them, and what it had settled
    /// is not.
    pub frames: u64,
    /// Frames that are stored at the receiver, as it has confirmed: those of this run, and those that it had
    /// before.
    pub stored: u64,
    /// Those of `stored` that the receiver had before this run.
    pub stored_before: u64,
    /// Those of `stored` that were sent in this run.
    pub sent: u64,
    /// Those of `stored` that the receiver has checked against their hash: all of them, but for the
    /// stop-and-wait protocol, which carries no hash.
    pub verified: u64,
    /// Payload bytes of the frames sent in this run.
    pub bytes: u64,
    /// Frames that will not come and are declared so at the receiver, by reason: those that would have come after the
    /// source's deadline, say, and those that could not be had or that the receiver refused. They are not missing.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames that an earlier sender of the run had, and which are lost, as those in the memory of one that was killed: this
    /// one has declared them, by reason. They are none of `frames`, and nothing that this one could have sent.
    pub dropped_before: BTreeMap<&'static str, u64>,
    /// Frames that wait in the spool, on disk, for another run of this sender. They are not missing.
    pub pending: u64,
    /// How many frames are neither stored, nor dropped, nor pending: the run ended before anything became of them.
    pub missing: u64,
    /// Those that are missing, and those that were dropped though nobody wanted that, and why; at most 10,000 of them.
    pub failed: Vec<FailedFrame>,
    /// Time from when a frame was due, or came about, until it was stored. Absent where frames have no time of
    /// their own, as in bulk.
    pub latency: Option<Quantiles>,
    /// Time from when a frame was due, or came about, until it was handed to the transport for the first
    /// time. What of the latency is not in here is the way.
    pub lateness: Option<Quantiles>,
}

/// How a run has ended.
pub(super) struct End {
    /// Whether the receiver checks hashes.
    pub(super) proven: bool,
    pub(super) elapsed: Duration,
    /// Processor time of this process in it, where the system tells.
    pub(super) processor: Option<Duration>,
    pub(super) sessions: u32,
    pub(super) error: Option<String>,
    pub(super) interrupted: bool,
}

/// Of a run of no sources.
impl Default for SendReport {
    fn default() -> Self {
        Self {
            schema: SEND_SCHEMA,
            complete: true,
            sources: Vec::new(),
            seconds: 0.0,
            sessions: 0,
            error: None,
            interrupted: false,
            spool: None,
            link: LinkFigures::default(),
            paths: Vec::new(),
            limited_by: LimitedBy::Nothing,
            limit: String::new(),
        }
    }
}

impl SendReport {
    pub(super) fn new(
        sources: &[Arc<dyn Source>],
        ledgers: &[Ledger],
        figures: &Figures,
        end: End,
    ) -> Self {
        let why = end.error.clone().unwrap_or_else(|| "it was not confirmed".to_owned());
        let sources: Vec<SourceReport> = sources
            .iter()
            .zip(ledgers)
            .enumerate()
            .map(|(index, (source, ledger))| SourceReport {
                latency: figures.of(index).0,
                lateness: figures.of(index).1,
                ..source_report(source.as_ref(), ledger, end.proven, &why)
            })
            .collect();
        let bytes = sources.iter().map(|source| source.bytes).sum();
        let in_time =
            |source: &SourceReport| source.lateness.is_none_or(|late| late.p95_ms < IN_TIME_MS);
        let is_late = !sources.iter().all(in_time);
        let (limited_by, limit) = limit(figures, &end, is_late);
        let mut report = Self {
            schema: SEND_SCHEMA,
            complete: false,
            link: figures.link(bytes, end.elapsed),
            paths: figures.paths.reports(),
            sources,
            seconds: end.elapsed.as_secs_f64(),
            sessions: end.sessions,
            error: end.error,
            interrupted: end.interrupted,
            spool: None,
            limited_by,
            limit,
        };
        report.complete = report.is_complete();
        report
    }

    /// True where every frame is stored, or was dropped because that is wanted, and nothing ended the run early.
    pub fn is_complete(&self) -> bool {
        let is_whole = |source: &SourceReport| source.lost() == 0 && source.pending == 0;
        self.error.is_none() && self.sources.iter().all(is_whole)
    }

    /// Frames sent and stored in this run, all sources together.
    pub fn sent(&self) -> u64 {
        self.sources.iter().map(|source| source.sent).sum()
    }

    /// Payload bytes of these.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes).sum()
    }
}

impl SourceReport {
    /// Frames that are not stored though nobody wanted that: those that are missing, and those that were dropped because
    /// they could not be had, or because the receiver refused them.
    pub fn lost(&self) -> u64 {
        let is_wanted =
            |reason: &str| DropReason::from_name(reason).is_some_and(DropReason::is_wanted);
        let unwanted = self.dropped.iter().filter(|(reason, _)| !is_wanted(reason));
        self.missing + unwanted.map(|(_, frames)| frames).sum::<u64>()
    }
}

fn source_report(source: &dyn Source, ledger: &Ledger, proven: bool, why: &str) -> SourceReport {
    let stored = ledger.stored + ledger.already;
    let why = ledger.declined.as_deref().unwrap_or(why);
    let unsettled = ledger.unsettled().map(|sequence| FailedFrame {
        sequence: ledger.sequence(sequence).0,
        name: source.label(sequence),
        dropped: None,
        reason: why.to_owned(),
    });
    let is_kept = source.remembered().is_some_and(Remembered::keeps);
    let pending = if is_kept { ledger.frames_here() - ledger.settled_here() } else { 0 };
    let room = if is_kept { 0 } else { MAX_NAMED_FAILURES - ledger.failed.len() };
    let mut failed = ledger.failed.clone();
    failed.extend(unsettled.take(room));
    let (dropped, untold) = dropped(ledger, &mut failed);
    SourceReport {
        name: source.name().to_string(),
        frames: ledger.frames_here(),
        stored,
        stored_before: ledger.already,
        sent: ledger.stored,
        verified: if proven { stored } else { 0 },
        bytes: ledger.bytes,
        dropped,
        dropped_before: ledger.dropped_before.clone(),
        pending,
        missing: ledger.missing() - pending + untold,
        failed,
        latency: None,
        lateness: None,
    }
}

/// What was dropped, and how many frames were given up without anybody having heard of it: these are missing.
fn dropped(ledger: &Ledger, failed: &mut [FailedFrame]) -> (BTreeMap<&'static str, u64>, u64) {
    let (mut dropped, places) = (ledger.dropped.clone(), ledger.drops.given_up_untold());
    let given_up = dropped.entry(DropReason::GivenUp.name()).or_default();
    let untold = places.iter().map(|places| places.end - places.start).sum::<u64>().min(*given_up);
    *given_up -= untold;
    dropped.retain(|_, frames| *frames > 0);
    let is_untold = |frame: &FailedFrame| {
        let place = ledger.place(Sequence(frame.sequence));
        place.is_some_and(|place| places.iter().any(|places| places.contains(&place.0)))
    };
    for frame in failed.iter_mut().filter(|frame| frame.dropped.is_some()) {
        if is_untold(frame) {
            frame.dropped = None;
        }
    }
    (dropped, untold)
}

/// What limited a run, and a sentence that says so. `is_late`: frames have left later than they were due.
fn limit(figures: &Figures, end: &End, is_late: bool) -> (LimitedBy, String) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let available = end.elapsed.as_secs_f64() * processors as f64;
    let busy = end.processor.map_or(0.0, |time| time.as_secs_f64() / available.max(1e-3));
    if busy >= BUSY && end.elapsed >= Duration::from_millis(100) {
        let words = format!("this machine limits: its processors were busy to {:.0} %", busy * 1e2);
        return (LimitedBy::Machine, words);
    }
    let (most, part) = figures.waiting.most(is_late);
    let share = format!("{:.0} % of the time", part * 1e2);
    let words = match most {
        LimitedBy::Nothing => "nothing limits: frames left as they fell due".to_owned(),
        LimitedBy::Link => format!("the link limits: frames waited for it {share}"),
        LimitedBy::Receiver => {
            format!("the receiver's storing limits: it was waited for {share}")
        }
        LimitedBy::Answers => format!(
            "the receiver's looking up of what it has limits: its answers were waited for {share}"
        ),
        LimitedBy::Source => {
            format!("reading the source limits: frames were not read yet {share}")
        }
        LimitedBy::Machine => "this machine limits".to_owned(),
        LimitedBy::Connection => format!("the connection limits: there was none {share}"),
    };
    (most, words)
}
