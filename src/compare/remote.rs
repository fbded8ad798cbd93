//! The same comparison over the user's own link, against a receiver that runs at its other end.
//!
//! There is no common clock, so latency counts from the time a frame was due to the arrival of its
//! receipt, both here. Beside it stands the one-way latency to the time of storing, with the two
//! clocks' offset as it can be told from probes, and how wrong that may be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::CompareError;
use super::outcome::{Offered, RunVerdict};
use super::plan::{Event, offered};
use super::statistics::{Quantiles, Spread, median, quantiles, spread};
use super::steadiness::grows;
use super::supervise::{Ended, TimeLimits, supervise};
use super::variant::Variant;
use super::workload::Workload;
use crate::frame::{Sequence, UnixNanos};
use crate::sender::{self, Observer, Pace, Progress, SendOptions};
use crate::transport::Dial;
use crate::wire::SourceId;

/// Beyond the time that the frames take.
const GRACE: Duration = Duration::from_secs(5);
/// What bulk may take: the link's rate is not known.
const BULK: Duration = Duration::from_secs(60);
/// How long a sender that was stopped may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is to be compared.
pub struct RemotePlan<'a> {
    /// The transports.
    pub variants: Vec<Variant>,
    /// What is sent in each run.
    pub workload: Workload,
    /// Runs of each variant, at least one.
    pub repeat: u32,
    /// The first part of the names of the sources at the receiver, so that no run finds its frames
    /// stored already: the run's number and the source's name follow.
    pub prefix: String,
    /// Where the receiver is, as the user wrote it.
    pub receiver: String,
    /// A way to the receiver for each variant.
    pub dial: &'a dyn Fn(&Variant) -> Box<dyn Dial>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteComparison {
    /// Of framelane.
    pub version: String,
    /// Where the receiver is, as the user wrote it.
    pub receiver: String,
    /// What was sent in each run.
    pub offered: Offered,
    /// Runs of each variant.
    pub repeat: u32,
    /// The names of the sources at the receiver begin so.
    pub prefix: String,
    /// One entry a variant.
    pub rows: Vec<RemoteRow>,
}

/// One variant.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteRow {
    /// Which.
    pub variant: Variant,
    /// Repetitions that kept up.
    pub steady: usize,
    /// Goodput in Mbit/s.
    pub goodput_mbit: Option<Spread>,
    /// Each repetition.
    pub runs: Vec<RemoteRun>,
}

/// One repetition.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteRun {
    /// How it went.
    pub verdict: RunVerdict,
    /// Frames that were not confirmed.
    pub missing: u64,
    /// Payload confirmed, over the time from the first due time to the last receipt.
    pub goodput_mbit: f64,
    /// How the clocks stand.
    pub clock: Option<ClockOffset>,
    /// One entry a source.
    pub sources: Vec<RemoteSource>,
}

/// One source in one repetition.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteSource {
    /// Its name, without the prefix.
    pub name: String,
    /// Frames offered.
    pub offered: u64,
    /// Frames confirmed.
    pub confirmed: u64,
    /// From due time to receipt, in ms; `None` where the run did not keep up.
    pub to_receipt: Option<Quantiles>,
    /// From due time to stored, in ms, as far as the clocks are known.
    pub one_way: Option<Quantiles>,
    /// Every frame: sequence, ms to its receipt, ms to its storing by the two clocks as they are.
    pub samples: Vec<(u64, f64, f64)>,
}

/// How far the receiver's clock is ahead of this one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockOffset {
    /// In ms; negative where it is behind.
    pub offset_ms: f64,
    /// The offset is at most this much more or less: half of the quickest probe's round trip.
    pub error_ms: f64,
    /// The quickest probe's round trip.
    pub rtt_ms: f64,
}

/// Asked, arrived and replied at the receiver, heard: of one clock probe, in ns.
type Probe = [UnixNanos; 4];

impl ClockOffset {
    /// From the probe with the shortest round trip, which met the least queueing: the offset is
    /// exact where both ways took as long, and half of the round trip wrong at worst.
    fn from_probes(probes: &[Probe]) -> Option<Self> {
        let round_trip = |[asked, arrived, replied, heard]: &Probe| {
            heard.nanos_since(*asked) - replied.nanos_since(*arrived)
        };
        let best = probes.iter().min_by_key(|probe| round_trip(probe))?;
        let [asked, arrived, replied, heard] = best;
        let offset = (arrived.nanos_since(*asked) + replied.nanos_since(*heard)) as f64 / 2e6;
        let rtt_ms = round_trip(best).max(0) as f64 / 1e6;
        Some(Self { offset_ms: offset, error_ms: rtt_ms / 2.0, rtt_ms })
    }
}

/// Runs every variant over the link to the receiver, the repetitions interleaved.
///
/// # Errors
/// [`CompareError::Interrupted`] and names that cannot be made. A transport that does not get
/// through is in the outcome.
pub fn run(
    plan: &RemotePlan<'_>,
    runtime: &Handle,
    interrupted: &watch::Receiver<bool>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<RemoteComparison, CompareError> {
    let mut runs: Vec<Vec<RemoteRun>> = vec![Vec::new(); plan.variants.len()];
    let all = u32::try_from(plan.variants.len()).unwrap_or(u32::MAX).saturating_mul(plan.repeat);
    let mut done = 0;
    for repetition in 0..plan.repeat {
        for (index, variant) in plan.variants.iter().enumerate() {
            tell(Event::Begins { done, all, link: "your link", variant, repetition });
            let run = plan.run_one(variant, done, runtime, interrupted)?;
            runs[index].push(run);
            done += 1;
        }
    }
    let rows = plan.variants.iter().zip(runs).map(|(variant, runs)| RemoteRow {
        variant: variant.clone(),
        steady: runs.iter().filter(|run| run.verdict == RunVerdict::Steady).count(),
        goodput_mbit: spread(runs.iter().map(|run| run.goodput_mbit)),
        runs,
    });
    Ok(RemoteComparison {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        receiver: plan.receiver.clone(),
        offered: offered(&plan.workload),
        repeat: plan.repeat,
        prefix: plan.prefix.clone(),
        rows: rows.collect(),
    })
}

impl RemotePlan<'_> {
    fn run_one(
        &self,
        variant: &Variant,
        number: u32,
        runtime: &Handle,
        interrupted: &watch::Receiver<bool>,
    ) -> Result<RemoteRun, CompareError> {
        let receipts = Arc::new(Receipts::default());
        let sources = self.workload.renamed(&format!("{}-{number}", self.prefix))?;
        let progress = Arc::new(Progress::new(sources.iter().map(|source| source.frames())));
        let options = SendOptions {
            pace: self.workload.pace,
            weights: Vec::new(),
            overwrite: false,
            checksum: false,
            retry_for: GRACE,
            observer: Some(receipts.clone()),
        };
        let (stop, stopping) = watch::channel(false);
        let (dial, shown) = ((self.dial)(variant), progress.clone());
        let task = runtime.spawn(async move {
            sender::run(dial.as_ref(), sources, options, shown, stopping).await
        });
        let ended = supervise(self.limits(), &progress, || task.is_finished(), interrupted);
        stop.send_replace(true);
        let waited = runtime.block_on(async { tokio::time::timeout(GOODBYE, task).await });
        let error = waited.ok().and_then(Result::ok).and_then(|report| report.error);
        let verdict = match (ended, error, self.workload.pace) {
            (Ended::Interrupted, ..) => return Err(CompareError::Interrupted),
            (Ended::NotConnected(why), ..) => RunVerdict::Failed(why),
            (Ended::BySender, Some(error), _) => RunVerdict::Failed(error),
            (Ended::BySender, None, _) => RunVerdict::Steady,
            (Ended::Stopped, _, Pace::Bulk) => RunVerdict::Unfinished,
            (Ended::Stopped, ..) => RunVerdict::Diverges,
        };
        Ok(self.measure(verdict, &receipts))
    }

    fn limits(&self) -> TimeLimits {
        match self.workload.pace {
            Pace::Bulk => TimeLimits { until_due: BULK, grace: GRACE },
            Pace::PerSecond(_) => {
                let until_due = Duration::from_secs_f64(self.workload.seconds());
                TimeLimits { until_due, grace: GRACE }
            }
        }
    }

    fn measure(&self, mut verdict: RunVerdict, receipts: &Receipts) -> RemoteRun {
        let receipts = receipts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = ClockOffset::from_probes(&receipts.probes);
        let mut sources: Vec<RemoteSource> = self
            .workload
            .clips
            .iter()
            .map(|clip| {
                use crate::source::Source;
                RemoteSource {
                    name: clip.name().to_string(),
                    offered: clip.frames(),
                    confirmed: 0,
                    to_receipt: None,
                    one_way: None,
                    samples: Vec::new(),
                }
            })
            .collect();
        for heard in &receipts.heard {
            if let Some(source) = sources.get_mut(heard.source) {
                source.confirmed += 1;
                source.samples.push((heard.sequence.0, heard.to_receipt_ms, heard.to_stored_ms));
            }
        }
        for source in &mut sources {
            source.samples.sort_by_key(|sample| sample.0);
            let latencies: Vec<f64> = source.samples.iter().map(|sample| sample.1).collect();
            // What a frame takes here at best is taken for the ideal.
            let least = latencies.iter().copied().fold(f64::INFINITY, f64::min);
            let excess: Vec<f64> = latencies.iter().map(|latency| latency - least).collect();
            if verdict == RunVerdict::Steady && self.workload.pace != Pace::Bulk && grows(&excess) {
                verdict = RunVerdict::Diverges;
            }
        }
        if verdict == RunVerdict::Steady {
            for source in &mut sources {
                source.to_receipt = quantiles(source.samples.iter().map(|s| s.1).collect());
                source.one_way = clock.and_then(|clock| {
                    quantiles(source.samples.iter().map(|s| s.2 - clock.offset_ms).collect())
                });
            }
        }
        let bytes: u64 = receipts.heard.iter().map(|heard| heard.bytes).sum();
        let first_due = receipts.heard.iter().map(|heard| heard.due).min();
        let last = receipts.heard.iter().map(|heard| heard.at).max();
        let seconds = first_due.zip(last).map_or(0.0, |(from, to)| (to - from).as_secs_f64());
        let missing = self.workload.frames().saturating_sub(receipts.heard.len() as u64);
        let goodput_mbit = bytes as f64 * 8e-6 / seconds.max(1e-3);
        RemoteRun { verdict, missing, goodput_mbit, clock, sources }
    }
}

/// Receipts and clock probes of one run.
#[derive(Default)]
struct Receipts(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    heard: Vec<Receipt>,
    probes: Vec<Probe>,
}

struct Receipt {
    source: usize,
    sequence: Sequence,
    bytes: u64,
    due: Instant,
    at: Instant,
    to_receipt_ms: f64,
    to_stored_ms: f64,
}

impl Observer for Receipts {
    fn confirmed(
        &self,
        source: SourceId,
        sequence: Sequence,
        bytes: u64,
        due: Instant,
        captured: UnixNanos,
        stored: UnixNanos,
    ) {
        let at = Instant::now();
        let receipt = Receipt {
            source: source.0.into(),
            sequence,
            bytes,
            due,
            at,
            to_receipt_ms: at.saturating_duration_since(due).as_secs_f64() * 1e3,
            to_stored_ms: stored.nanos_since(captured) as f64 / 1e6,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).heard.push(receipt);
    }

    fn clock(&self, asked: UnixNanos, arrived: UnixNanos, replied: UnixNanos, heard: UnixNanos) {
        let probe = [asked, arrived, replied, heard];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).probes.push(probe);
    }
}

impl RemoteComparison {
    /// What the names of the sources begin with that the receiver keeps; `None` where it has confirmed nothing.
    pub fn kept_prefix(&self) -> Option<&str> {
        let mut runs = self.rows.iter().flat_map(|row| &row.runs);
        let some = runs.any(|run| run.sources.iter().any(|source| source.confirmed > 0));
        some.then_some(self.prefix.as_str())
    }

    /// Runs that failed altogether, with their reasons.
    pub fn failures(&self) -> Vec<String> {
        let runs = self.rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run)));
        runs.filter_map(|(row, run)| match &run.verdict {
            RunVerdict::Failed(why) => Some(format!("{}: {why}", row.variant)),
            _ => None,
        })
        .collect()
    }
}

impl RemoteRow {
    /// The median of a quantile over the repetitions; `None` unless all of them kept up.
    pub fn median_of(
        &self,
        source: usize,
        which: impl Fn(&RemoteSource) -> Option<f64>,
    ) -> Option<f64> {
        let values: Option<Vec<f64>> =
            self.runs.iter().map(|run| which(run.sources.get(source)?)).collect();
        values.filter(|values| !values.is_empty()).map(median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_quickest_probe_and_within_its_error() {
        // The receiver is 1,000 ns ahead; ways of 10 and 30 ns, then of 500 and 10.
        let quick = [UnixNanos(0), UnixNanos(1_010), UnixNanos(1_015), UnixNanos(45)];
        let slow = [UnixNanos(100), UnixNanos(1_600), UnixNanos(1_600), UnixNanos(610)];
        let clock = ClockOffset::from_probes(&[slow, quick]).unwrap();
        assert!((clock.rtt_ms - 40e-6).abs() < 1e-12);
        assert!((clock.offset_ms - 1_000e-6).abs() <= clock.error_ms + 1e-12, "{clock:?}");
        assert_eq!(ClockOffset::from_probes(&[]), None);
    }
}
