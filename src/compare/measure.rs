//! From what was seen of a run, and what is in the store, to its figures.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::CompareError;
use super::cell::{Confirmed, Observed, is_tcp};
use super::clip::Clip;
use super::ideal::{self, Due};
use super::limit::{self, Losses};
use super::outcome::{Run, RunVerdict, SourceRun, Wire};
use super::statistics::quantiles;
use super::steadiness::grows;
use super::stored::{Found, find};
use super::supervise::Ended;
use super::variant::Variant;
use super::workload::Workload;
use crate::frame::{Sequence, UnixNanos};
use crate::link::{LinkSpec, LinkStats};
use crate::sender::Pace;
use crate::source::Source;

/// Frames of a source that are named in a run's figures.
const MOST_NAMED: usize = 3;

/// Which run it was.
pub(super) struct Context<'a> {
    pub(super) repetition: u32,
    /// Those that an ideal sender has: the one of the run, or both of two where the run is beside others over both.
    pub(super) links: &'a [LinkSpec],
    pub(super) variant: &'a Variant,
    pub(super) workload: &'a Workload,
    pub(super) store: &'a Path,
}

impl Context<'_> {
    /// The figures of a run.
    pub(super) fn measure(&self, seen: &Observed) -> Result<Run, CompareError> {
        let clips = &self.workload.clips;
        let found = clips.iter().map(|clip| find(&self.store.join(clip.name().as_str()), clip));
        let found: Vec<Found> = found.collect::<Result<_, _>>()?;
        let first_due = self.first_due(seen, &found);
        let ideal = self.ideal(seen, first_due);
        let mut verdict = self.verdict(seen);
        let mut sources: Vec<SourceRun> = Vec::new();
        for (index, clip) in clips.iter().enumerate() {
            let source =
                self.source_run(seen, index, clip, &found[index], first_due, &ideal[index]);
            let steps = source.samples.iter();
            let excess: Vec<f64> = steps
                .filter_map(|(sequence, _, latency)| {
                    Some(latency - ideal[index].get(usize::try_from(*sequence).ok()?)?.0)
                })
                .collect();
            if verdict == RunVerdict::Steady && self.workload.pace != Pace::Bulk && grows(&excess) {
                verdict = RunVerdict::Diverges;
            }
            sources.push(source);
        }
        if verdict != RunVerdict::Steady {
            sources.iter_mut().for_each(|source| source.latency = None);
        }
        Ok(self.run(seen, first_due, &found, sources, verdict))
    }

    fn run(
        &self,
        seen: &Observed,
        first_due: UnixNanos,
        found: &[Found],
        sources: Vec<SourceRun>,
        verdict: RunVerdict,
    ) -> Run {
        let good = found
            .iter()
            .zip(&self.workload.clips)
            .flat_map(|(found, clip)| found.good.iter().map(|frame| clip.bytes_of(frame.sequence)));
        let payload_bytes: u64 = good.sum();
        let stored = found.iter().flat_map(|found| &found.good).map(|frame| frame.stored);
        // A run that was stopped went on to its end without storing anything, perhaps.
        let stopped = (verdict != RunVerdict::Steady).then_some(seen.ended_at);
        let end = stored.chain(stopped).max().unwrap_or(seen.ended_at);
        // The last frame has its interval too, or a live rate would come out too high.
        let frames = self.workload.clips.iter().map(|clip| clip.frames()).max().unwrap_or(0);
        let schedule = self.offset(frames).as_secs_f64();
        let seconds = (millis_between(first_due, end) / 1e3).max(schedule);
        let mbit = payload_bytes as f64 * 8e-6 / seconds.max(1e-3);
        Run {
            repetition: self.repetition,
            seed: self.links.first().and_then(|link| link.seed).unwrap_or_default(),
            verdict,
            first_due_ms: millis_between(seen.link_started, first_due),
            seconds,
            goodput_mbit: mbit,
            payload_bytes,
            wire: wire(&seen.link),
            resent: resent(self.variant, seen),
            repaired: (!is_tcp(self.variant)).then(|| {
                let sources = seen.received.iter().flat_map(|session| &session.sources);
                sources.map(|source| source.repaired).sum()
            }),
            repair_bytes: seen.path.filter(|_| !is_tcp(self.variant)).map(|path| path.repair_bytes),
            cpu_sender: seen.cpu_sender,
            cpu_receiver: seen.cpu_receiver,
            elsewhere: seen.elsewhere,
            sessions: seen.report.as_ref().map_or(1, |report| report.sessions),
            sources,
        }
    }

    /// How it went, as far as the sender knows.
    fn verdict(&self, seen: &Observed) -> RunVerdict {
        let error = seen.report.as_ref().and_then(|report| report.error.clone());
        match (&seen.ended, error, self.workload.pace) {
            (Ended::NotConnected(why), ..) => RunVerdict::Failed(why.clone()),
            (Ended::BySender, Some(error), _) => RunVerdict::Failed(error),
            (Ended::BySender, None, _) => RunVerdict::Steady,
            (_, _, Pace::Bulk) => RunVerdict::Unfinished,
            (_, _, Pace::PerSecond(_)) => RunVerdict::Diverges,
        }
    }

    /// Time from the first due time to that of a frame.
    fn offset(&self, sequence: u64) -> Duration {
        match self.workload.pace {
            Pace::Bulk => Duration::ZERO,
            Pace::PerSecond(rate) => Duration::from_secs_f64(sequence as f64 / rate),
        }
    }

    /// When the first frame was due: the schedule began with the connection, and any frame whose
    /// due time is known tells when that was. Without one, when the run began.
    fn first_due(&self, seen: &Observed, found: &[Found]) -> UnixNanos {
        let recorded = found.iter().flat_map(|found| &found.good);
        let recorded = recorded.filter_map(|frame| Some((frame.sequence, frame.captured?)));
        let confirmed = seen.confirmed.iter().map(|frame| (frame.sequence, frame.captured));
        let starts = recorded.chain(confirmed).map(|(sequence, captured)| {
            let offset = u64::try_from(self.offset(sequence.0).as_nanos()).unwrap_or(u64::MAX);
            UnixNanos(captured.0.saturating_sub(offset))
        });
        starts.min().unwrap_or(seen.link_started)
    }

    /// What each frame takes on the ideal link without loss, in ms, and over which of them, by source and sequence.
    fn ideal(&self, seen: &Observed, first_due: UnixNanos) -> Vec<Vec<(f64, usize)>> {
        let started = first_due.nanos_since(seen.link_started);
        let started = Duration::from_nanos(u64::try_from(started).unwrap_or(0));
        let clips = &self.workload.clips;
        let frames = clips.iter().flat_map(|clip| {
            (0..clip.frames()).map(|sequence| Due {
                at: started + self.offset(sequence),
                bytes: clip.bytes_of(Sequence(sequence)),
            })
        });
        let ups: Vec<_> = self.links.iter().map(|link| &link.up).collect();
        let latencies = ideal::latencies_over(&ups, &frames.collect::<Vec<_>>());
        let mut latencies =
            latencies.iter().map(|(latency, link)| (latency.as_secs_f64() * 1e3, *link));
        let each = clips.iter().map(|clip| {
            latencies.by_ref().take(usize::try_from(clip.frames()).unwrap_or(usize::MAX)).collect()
        });
        each.collect()
    }

    fn source_run(
        &self,
        seen: &Observed,
        index: usize,
        clip: &Clip,
        found: &Found,
        first_due: UnixNanos,
        ideal: &[(f64, usize)],
    ) -> SourceRun {
        let samples: Vec<(u64, f64, f64)> = found
            .good
            .iter()
            .map(|frame| {
                let due_ms = self.offset(frame.sequence.0).as_secs_f64() * 1e3;
                (frame.sequence.0, due_ms, millis_between(first_due, frame.stored) - due_ms)
            })
            .collect();
        let over: Vec<(Losses, f64)> = self
            .links
            .iter()
            .map(|link| (Losses::of(&link.up), link.round_trip().as_secs_f64() * 1e3))
            .collect();
        let undisturbed =
            (0..clip.frames()).zip(ideal).filter_map(|(sequence, &(latency, link))| {
                let &(losses, rtt_ms) = over.get(link)?;
                Some((latency, clip.bytes_of(Sequence(sequence)), losses, rtt_ms))
            });
        let limit_curve = limit::curve_over(&undisturbed.collect::<Vec<_>>());
        let (offered, stored) = (clip.frames(), found.good.len() as u64);
        let missing = offered.saturating_sub(stored + found.altered);
        let complete = seen.ended == Ended::BySender
            && seen.report.as_ref().is_some_and(|report| report.error.is_none());
        let lost =
            if complete { missing } else { confirmed_and_gone(&seen.confirmed, index, found) };
        let (stalls, longest_stall_ms) = self.stalls(found);
        SourceRun {
            name: clip.name().to_string(),
            offered,
            stored,
            lost,
            altered: found.altered,
            twice: found.twice,
            unfinished: missing - lost.min(missing),
            not_stored: if complete { not_stored(seen, index) } else { Vec::new() },
            latency: quantiles(samples.iter().map(|(_, _, latency)| *latency).collect()),
            limit: limit_curve.quantiles(),
            limit_curve,
            stalls,
            longest_stall_ms,
            samples,
        }
    }

    /// Gaps in arrival over two frame intervals: how many, and the longest in ms.
    fn stalls(&self, found: &Found) -> (u64, f64) {
        let Pace::PerSecond(rate) = self.workload.pace else { return (0, 0.0) };
        let mut arrivals: Vec<UnixNanos> = found.good.iter().map(|frame| frame.stored).collect();
        arrivals.sort_unstable();
        let gaps = arrivals.windows(2).map(|pair| millis_between(pair[0], pair[1]));
        let (mut count, mut longest) = (0, 0.0_f64);
        for gap in gaps.filter(|gap| *gap > 2_000.0 / rate) {
            count += 1;
            longest = longest.max(gap);
        }
        (count, longest)
    }
}

/// Frames whose receipt came although they are not in the store.
pub(super) fn confirmed_and_gone(confirmed: &[Confirmed], index: usize, found: &Found) -> u64 {
    let good: HashSet<Sequence> = found.good.iter().map(|frame| frame.sequence).collect();
    let confirmed = confirmed.iter().filter(|frame| frame.source == index);
    confirmed.filter(|frame| !good.contains(&frame.sequence)).count() as u64
}

/// The link's counts.
pub(super) fn wire(link: &LinkStats) -> Wire {
    let (up, down, kept) = (link.up, link.down, link.punctuality);
    let millis = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1e3);
    Wire {
        up_bytes: up.offered_bytes,
        up_packets: up.offered,
        up_lost: up.dropped_queue + up.dropped_loss + up.dropped_outage + up.dropped_long,
        up_queue_lost: up.dropped_queue,
        queue_wait_p50_ms: millis(up.queue_wait_p50_us),
        queue_wait_p95_ms: millis(up.queue_wait_p95_us),
        down_bytes: down.offered_bytes,
        overrun: up.dropped_overrun + down.dropped_overrun,
        late_share: kept.late as f64 / kept.released.max(1) as f64,
    }
}

/// The first frames of a source that the sender says are not stored, and why.
fn not_stored(seen: &Observed, index: usize) -> Vec<String> {
    let source = seen.report.as_ref().and_then(|report| report.sources.get(index));
    let failed = source.into_iter().flat_map(|source| &source.failed);
    failed.take(MOST_NAMED).map(|frame| format!("{}: {}", frame.name, frame.reason)).collect()
}

/// What the sender took for lost: QUIC by its own account, TCP by the kernel's.
fn resent(variant: &Variant, seen: &Observed) -> Option<f64> {
    if is_tcp(variant) {
        let segments = seen.segments?;
        return Some(segments.again as f64 / (segments.sent + segments.again).max(1) as f64);
    }
    let path = seen.path.filter(|path| path.packets_sent > 0)?;
    Some(path.packets_lost as f64 / path.packets_sent as f64)
}

pub(super) fn millis_between(from: UnixNanos, to: UnixNanos) -> f64 {
    to.nanos_since(from) as f64 / 1e6
}
