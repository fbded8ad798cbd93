//! The same comparison over the user's own link, against a receiver that runs at its other end.
//!
//! There is no common clock, so latency counts from the time a frame was due to the arrival of its
//! receipt, both here. Beside it stands the one-way latency to the time of storing, with the two
//! clocks' offset as it can be told from probes, and how wrong that may be.

use std::collections::HashSet;
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
use crate::door::SenderBuilder;
use crate::frame::{Sequence, UnixNanos};
use crate::sender::{INTERRUPTED, Observer, Pace, SendOptions, SendReport};
use crate::source::Source;
use crate::wire::SourceId;

/// Beyond the time that the frames take.
const GRACE: Duration = Duration::from_secs(5);
/// What bulk may take: the link's rate is not known.
const BULK: Duration = Duration::from_secs(60);
/// How long a sender that was stopped may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Missing frames of a source that are named.
const MOST_NAMED: usize = 3;

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
    /// A sender to it for each variant, without sources.
    pub sender: &'a dyn Fn(&Variant) -> SenderBuilder,
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
    /// Goodput in Mbit/s of the repetitions that did not fail; `None` where all of them did.
    pub goodput_mbit: Option<Spread>,
    /// Each repetition.
    pub runs: Vec<RemoteRun>,
}

/// One repetition.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteRun {
    /// How it went.
    pub verdict: RunVerdict,
    /// Frames that are not stored, as far as this end knows.
    pub missing: u64,
    /// True where it was stopped, or broke off, before every frame was settled.
    pub stopped: bool,
    /// From the first due time to the last receipt, of live frames at least as long as they take to
    /// fall due; to its end, if later, where it was stopped. 0 where no receipt came.
    pub seconds: f64,
    /// Payload confirmed in this time, in Mbit/s.
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
    /// Frames offered: those confirmed, found and missing.
    pub offered: u64,
    /// Frames confirmed by a receipt.
    pub confirmed: u64,
    /// Frames that the receiver turned out to have when a lost connection was made again: their
    /// receipts were lost with it, so they have no latency and count for no goodput.
    pub found: u64,
    /// Frames that are not stored, as far as this end knows.
    pub missing: u64,
    /// The first of these, each with its reason.
    pub not_stored: Vec<String>,
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
pub type Probe = [UnixNanos; 4];

impl ClockOffset {
    /// From the probe with the shortest round trip, which met the least queueing: the offset is
    /// exact where both ways took as long, and half of the round trip wrong at worst.
    pub fn from_probes(probes: &[Probe]) -> Option<Self> {
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
        goodput_mbit: spread(
            runs.iter().filter(|run| !run.is_failed()).map(|run| run.goodput_mbit),
        ),
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
        let options = SendOptions {
            pace: self.workload.senders_pace(),
            retry_for: GRACE,
            observer: Some(receipts.clone()),
            ..SendOptions::default()
        };
        let (stop, stopping) = watch::channel(false);
        let sender = (self.sender)(variant).options(options).stop_when(stopping);
        let sender = sources.into_iter().fold(sender, SenderBuilder::any);
        let sender = runtime.block_on(sender.start())?;
        let progress = sender.progress();
        let task = runtime.spawn(sender.finish());
        let ended = supervise(self.limits(), &progress, || task.is_finished(), interrupted);
        let ended_at = Instant::now();
        stop.send_replace(true);
        let waited = runtime.block_on(async { tokio::time::timeout(GOODBYE, task).await });
        let report = waited.ok().and_then(Result::ok);
        let error = report.as_ref().and_then(|report| report.error.clone());
        let stopped = (ended != Ended::BySender || error.is_some()).then_some(ended_at);
        let verdict = match (ended, error, self.workload.pace) {
            (Ended::Interrupted, ..) => return Err(CompareError::Interrupted),
            (Ended::NotConnected(why), ..) => RunVerdict::Failed(why),
            (Ended::BySender, Some(error), _) => RunVerdict::Failed(error),
            (Ended::BySender, None, _) => RunVerdict::Steady,
            (Ended::Stopped, _, Pace::Bulk) => RunVerdict::Unfinished,
            (Ended::Stopped, ..) => RunVerdict::Diverges,
        };
        Ok(self.measure(verdict, stopped, report.as_ref(), &receipts))
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

    /// The figures of a run. `stopped` is when it was stopped or broke off, if it did not come to
    /// its end; `report` is missing where the sender did not get to say what became of its frames.
    fn measure(
        &self,
        mut verdict: RunVerdict,
        stopped: Option<Instant>,
        report: Option<&SendReport>,
        receipts: &Receipts,
    ) -> RemoteRun {
        let receipts = receipts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = ClockOffset::from_probes(&receipts.probes);
        let mut sources = self.sources(report, &receipts.heard);
        for source in &sources {
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
        let seconds = self.seconds(stopped, &receipts.heard);
        RemoteRun {
            verdict,
            missing: sources.iter().map(|source| source.missing).sum(),
            stopped: stopped.is_some(),
            seconds,
            goodput_mbit: bytes as f64 * 8e-6 / seconds.max(1e-3),
            clock,
            sources,
        }
    }

    /// What became of the frames of each source, still without latencies.
    fn sources(&self, report: Option<&SendReport>, heard: &[Receipt]) -> Vec<RemoteSource> {
        let sources = self.workload.clips.iter().enumerate().map(|(index, clip)| {
            let mine = heard.iter().filter(|heard| heard.source == index);
            let mut samples: Vec<(u64, f64, f64)> = mine
                .map(|heard| (heard.sequence.0, heard.to_receipt_ms, heard.to_stored_ms))
                .collect();
            samples.sort_by_key(|sample| sample.0);
            let (offered, confirmed) = (clip.frames(), samples.len() as u64);
            let told = report.and_then(|report| report.sources.get(index));
            let found = told.map_or(0, |told| told.stored_before);
            let not_stored = match told {
                Some(told) => {
                    let failed = told.failed.iter().take(MOST_NAMED);
                    // A run that is stopped is interrupted for its sender, not for who reads this.
                    let by_us = report.is_some_and(|report| report.interrupted);
                    let why = |reason: &str| match reason {
                        INTERRUPTED if by_us => "not confirmed".to_owned(),
                        other => other.to_owned(),
                    };
                    failed.map(|frame| format!("{} ({})", frame.name, why(&frame.reason))).collect()
                }
                None => unconfirmed(clip.as_ref(), &samples),
            };
            RemoteSource {
                name: clip.name().to_string(),
                offered,
                confirmed,
                found,
                missing: offered.saturating_sub(confirmed + found),
                not_stored,
                to_receipt: None,
                one_way: None,
                samples,
            }
        });
        sources.collect()
    }

    /// What goodput counts over: see [`RemoteRun::seconds`].
    fn seconds(&self, stopped: Option<Instant>, heard: &[Receipt]) -> f64 {
        // Any frame tells when the first was due, which need not have come through.
        let starts = heard.iter().map(|heard| {
            let offset = match self.workload.pace {
                Pace::Bulk => Duration::ZERO,
                Pace::PerSecond(rate) => Duration::from_secs_f64(heard.sequence.0 as f64 / rate),
            };
            heard.due.checked_sub(offset).unwrap_or(heard.due)
        });
        let end = heard.iter().map(|heard| heard.at).chain(stopped).max();
        let Some((from, to)) = starts.min().zip(end) else { return 0.0 };
        let time = to.saturating_duration_since(from).as_secs_f64();
        // The last frame has its interval too, or a live rate would come out too high.
        let frames = self.workload.clips.iter().map(|clip| clip.frames()).max().unwrap_or(0);
        match self.workload.pace {
            Pace::PerSecond(rate) if stopped.is_none() => time.max(frames as f64 / rate),
            _ => time,
        }
    }
}

/// The first frames of a source that are not among `samples`, for a sender that could not tell.
fn unconfirmed(source: &dyn Source, samples: &[(u64, f64, f64)]) -> Vec<String> {
    let confirmed: HashSet<u64> = samples.iter().map(|sample| sample.0).collect();
    let missing = (0..source.frames()).filter(|sequence| !confirmed.contains(sequence));
    let missing = missing.take(MOST_NAMED).map(|sequence| source.label(Sequence(sequence)));
    missing.map(|name| format!("{name} (it was not confirmed)")).collect()
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

    /// Frames that are not stored, of all runs.
    pub fn missing(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.runs).map(|run| run.missing).sum()
    }

    /// A sentence for each run that misses frames: how many, what its goodput counts over where it
    /// was stopped, and which are the first.
    pub fn shortages(&self) -> Vec<String> {
        let runs = self.rows.iter().flat_map(|row| (1..).zip(&row.runs).map(move |run| (row, run)));
        let short = runs.filter(|(_, (_, run))| run.missing > 0);
        short.map(|(row, (number, run))| run.shortage(&row.variant, number)).collect()
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

impl RemoteRun {
    fn is_failed(&self) -> bool {
        matches!(self.verdict, RunVerdict::Failed(_))
    }

    /// What is not stored, in words; `number` is counted from 1.
    fn shortage(&self, variant: &Variant, number: usize) -> String {
        let offered: u64 = self.sources.iter().map(|source| source.offered).sum();
        let mut text = format!(
            "{variant}, run {number}: {} of {offered} frames are not known to be stored",
            self.missing
        );
        if self.stopped && !self.is_failed() && self.seconds > 0.0 {
            let so_long = format!("{:.1} s after the first was due", self.seconds);
            text.push_str(&format!(", it was stopped {so_long} and its Mbit/s count until then"));
        }
        let named = self.sources.iter().flat_map(|source| {
            source.not_stored.iter().map(move |frame| format!("{}/{frame}", source.name))
        });
        let named: Vec<String> = named.collect();
        if !named.is_empty() {
            let more = self.missing.saturating_sub(named.len() as u64);
            let and = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!(": {}{and}", named.join(", ")));
        }
        text
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
mod tests;
