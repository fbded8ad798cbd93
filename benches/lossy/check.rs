//! What is read off runs, and what it has to be.

use std::sync::Arc;
use std::time::Duration;

use framelane::compare::SharedRun;
use framelane::compare::outcome::{Run, RunVerdict};
use framelane::compare::statistics::median;
use framelane::link::Trace;
use serde::Serialize;

use crate::rival::Rival;

/// What one run of a cell came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Run(Box<Run>),
    Shared(SharedRun),
    /// The machine did not allow it, for this reason.
    Failed(String),
}

/// What is read off a run: one value or several.
pub(crate) enum Figure {
    /// p50, p95 and p99 of a source, in ms.
    Latency { source: &'static str, undisturbed_ms: f64 },
    /// How long after the link is back the first frame is stored that was not due long before, in
    /// ms; and how many frames were not stored at all.
    FirstFresh { source: &'static str, back: Duration },
    /// Repair bytes for each payload byte.
    Overhead,
    /// Mbit/s of payload, and its share of the limit.
    Goodput { limit_mbit: f64 },
    /// The share of what a trace would have carried in the time of the run, and Mbit/s.
    OfTrace { trace: Arc<Trace>, carried: f64 },
    /// p50 and p95 of the wait in the link's queue, in ms.
    QueueWait,
    /// The share of packets that the full queue dropped.
    QueueLoss,
    /// What the first of two senders took: the share, and both rates in Mbit/s.
    FirstShare,
}

/// A frame that was due so long before the link came back counts as fresh.
const FRESH: Duration = Duration::from_millis(100);

/// What one of a figure's values has to be.
pub(crate) struct Bound {
    /// Which of the values.
    pub(crate) of: usize,
    /// In words.
    pub(crate) text: String,
    pub(crate) limit: Limit,
}

/// The limit of a value.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Most(f64),
    Least(f64),
    /// So many times what another cell shows.
    MostOf(f64, Rival),
    LeastOf(f64, Rival),
    /// So many times what framelane shows in another cell.
    MostOfOwn(f64, usize),
}

/// Why a figure has no value.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    /// It did not keep up, or broke down: whoever has a value is better.
    Beaten(String),
    /// It was not measured.
    Unknown(String),
}

/// How a value stands to its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Met,
    Short,
    /// There is nothing to hold it against.
    Open,
}

impl Bound {
    pub(crate) fn new(of: usize, text: impl Into<String>, limit: Limit) -> Self {
        Self { of, text: text.into(), limit }
    }

    /// Judges `own`; `medians` gives the figure of any cell.
    pub(crate) fn judge(
        &self,
        own: &[f64],
        medians: &dyn Fn(usize) -> Result<Vec<f64>, Missing>,
    ) -> Standing {
        let Some(&value) = own.get(self.of) else { return Standing::Open };
        let other = |cell| medians(cell).map(|values| values.get(self.of).copied());
        let most = |times: f64, other: f64| Standing::of(value <= times * other);
        match self.limit {
            Limit::Most(most) => Standing::of(value <= most),
            Limit::Least(least) => Standing::of(value >= least),
            // A yardstick, and no rival to be beaten.
            Limit::MostOfOwn(times, cell) => match other(cell) {
                Ok(Some(other)) => most(times, other),
                _ => Standing::Open,
            },
            Limit::MostOf(times, Rival::At(cell)) => {
                against(other(cell), |other| most(times, other))
            }
            Limit::LeastOf(times, Rival::At(cell)) => {
                against(other(cell), |other| Standing::of(value >= times * other))
            }
            Limit::MostOf(..) | Limit::LeastOf(..) => Standing::Open,
        }
    }
}

/// How it stands to a rival, if that has a value.
fn against(rival: Result<Option<f64>, Missing>, judge: impl Fn(f64) -> Standing) -> Standing {
    match rival {
        Ok(Some(rival)) => judge(rival),
        Err(Missing::Beaten(_)) => Standing::Met,
        Ok(None) | Err(Missing::Unknown(_)) => Standing::Open,
    }
}

impl Standing {
    fn of(holds: bool) -> Self {
        if holds { Self::Met } else { Self::Short }
    }
}

impl Missing {
    /// In words.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Beaten(why) | Self::Unknown(why) => why,
        }
    }
}

impl Figure {
    /// The medians of the repetitions, or why there are none.
    pub(crate) fn medians(&self, outcomes: &[Outcome]) -> Result<Vec<f64>, Missing> {
        let values: Vec<Option<Vec<f64>>> = outcomes.iter().map(|one| self.of(one)).collect();
        let without = values.iter().filter(|values| values.is_none()).count();
        if without > 0 || values.is_empty() {
            return Err(why_not(outcomes, without));
        }
        let values: Vec<Vec<f64>> = values.into_iter().flatten().collect();
        let count = values.iter().map(Vec::len).min().unwrap_or(0);
        let each = (0..count).map(|of| median(values.iter().map(|values| values[of]).collect()));
        Ok(each.collect())
    }

    /// The values of one run.
    fn of(&self, outcome: &Outcome) -> Option<Vec<f64>> {
        match (self, outcome) {
            (Self::FirstShare, Outcome::Shared(run)) => {
                let rates = run.flows.iter().map(|flow| flow.goodput_mbit);
                Some(std::iter::once(run.first_share()).chain(rates).collect())
            }
            (_, Outcome::Run(run)) => self.of_run(run),
            _ => None,
        }
    }

    fn of_run(&self, run: &Run) -> Option<Vec<f64>> {
        let payload = run.payload_bytes.max(1) as f64;
        match self {
            Self::Latency { source, .. } => {
                let source = run.sources.iter().find(|other| other.name == *source)?;
                source.latency.map(|latency| vec![latency.p50, latency.p95, latency.p99])
            }
            Self::FirstFresh { source, back } => first_fresh(run, source, *back),
            Self::Overhead => run.repair_bytes.map(|repair| vec![repair as f64 / payload]),
            Self::Goodput { limit_mbit } => {
                carried(run).then(|| vec![run.goodput_mbit, run.goodput_mbit / limit_mbit])
            }
            Self::OfTrace { trace, carried } => {
                let from = run.first_due_ms / 1e3;
                let [from, to] = [from, from + run.seconds].map(Duration::from_secs_f64);
                let bits = trace.opportunities(from, to) as f64 * 12_000.0 * carried;
                Some(vec![payload * 8.0 / bits.max(1.0), run.goodput_mbit])
            }
            Self::QueueWait => Some(vec![run.wire.queue_wait_p50_ms?, run.wire.queue_wait_p95_ms?]),
            Self::QueueLoss => {
                Some(vec![run.wire.up_queue_lost as f64 / run.wire.up_packets.max(1) as f64])
            }
            Self::FirstShare => None,
        }
    }

    /// Values in words.
    pub(crate) fn show(&self, values: &[f64]) -> String {
        let percent = |value: f64| format!("{:.1} %", value * 100.0);
        match (self, values) {
            (Self::Latency { undisturbed_ms, .. }, values) => {
                let ms: Vec<String> = values.iter().map(|ms| format!("{ms:.1}")).collect();
                let ratios = values.iter().map(|ms| format!("{:.2}", ms / undisturbed_ms));
                let ratios: Vec<String> = ratios.collect();
                format!("{} ms ({} L0)", ms.join("/"), ratios.join("/"))
            }
            (Self::FirstFresh { .. }, [ms, missing]) => {
                format!("{ms:.0} ms, {missing:.0} frames missing")
            }
            (Self::Goodput { .. }, [mbit, share]) => format!("{mbit:.2} Mbit/s ({share:.3})"),
            (Self::OfTrace { .. }, [share, mbit]) => format!("{share:.3} ({mbit:.1} Mbit/s)"),
            (Self::QueueWait, [p50, p95]) => format!("p50 {p50:.1} ms, p95 {p95:.1} ms"),
            (Self::FirstShare, [share, first, second]) => {
                format!("{} ({first:.1} and {second:.1} Mbit/s)", percent(*share))
            }
            (_, [share, ..]) => percent(*share),
            (_, []) => "-".to_owned(),
        }
    }
}

/// Whether a run moved anything that could be measured.
fn carried(run: &Run) -> bool {
    !matches!(run.verdict, RunVerdict::Failed(_))
}

fn first_fresh(run: &Run, source: &str, back: Duration) -> Option<Vec<f64>> {
    let source = run.sources.iter().find(|other| other.name == source)?;
    let back_ms = back.as_secs_f64() * 1e3;
    let fresh_ms = back_ms - FRESH.as_secs_f64() * 1e3;
    let after = source.samples.iter().map(|(_, due, latency)| (due + run.first_due_ms, latency));
    let fresh = after.filter(|(due, _)| *due >= fresh_ms);
    let first = fresh.map(|(due, latency)| due + latency - back_ms).min_by(f64::total_cmp)?;
    Some(vec![first, (source.offered - source.stored.min(source.offered)) as f64])
}

/// Why a figure is not known.
fn why_not(outcomes: &[Outcome], without: usize) -> Missing {
    if outcomes.is_empty() {
        return Missing::Unknown("not measured".to_owned());
    }
    for outcome in outcomes {
        match outcome {
            Outcome::Failed(why) => return Missing::Unknown(format!("not made: {why}")),
            Outcome::Run(run) => {
                if let RunVerdict::Failed(why) = &run.verdict {
                    return Missing::Beaten(format!("failed: {why}"));
                }
            }
            Outcome::Shared(_) => {}
        }
    }
    let diverges = |outcome: &Outcome| match outcome {
        Outcome::Run(run) => run.verdict == RunVerdict::Diverges,
        _ => false,
    };
    if outcomes.iter().any(diverges) {
        return Missing::Beaten(format!("diverges in {without} of {}", outcomes.len()));
    }
    Missing::Unknown("not known: the runs were too short".to_owned())
}
