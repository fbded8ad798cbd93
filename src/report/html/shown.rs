//! What the plots show, whichever comparison it comes from.

use crate::compare::limit::LimitCurve;
use crate::compare::outcome::{Comparison, LinkOutcome, Offered, OfferedSource, Row, RunVerdict};
use crate::compare::remote::{RemoteComparison, RemoteRow};
use crate::compare::statistics::Spread;

/// A link with everything that was run over it.
pub(super) struct Shown {
    /// Its name, for those who cannot see the plots.
    pub(super) link: String,
    /// What latency counts to, as in "ms from due to stored".
    pub(super) latency: &'static str,
    /// The sources in their order.
    pub(super) sources: Vec<ShownSource>,
    /// One entry a transport.
    pub(super) rows: Vec<ShownRow>,
    /// From the first due time to the last; `None` in bulk.
    pub(super) seconds: Option<f64>,
    /// The goodput that was possible in Mbit/s, where it is known.
    pub(super) possible_mbit: Option<f64>,
}

/// A source, and what an ideal sender reaches with it where that is known.
pub(super) struct ShownSource {
    pub(super) name: String,
    pub(super) limit: Option<LimitCurve>,
}

/// A transport.
pub(super) struct ShownRow {
    pub(super) name: String,
    /// True for framelane's own choice.
    pub(super) ours: bool,
    pub(super) goodput_mbit: Spread,
    /// For each source the frames offered in all repetitions, and the latencies of those that came.
    pub(super) latencies: Vec<(u64, Vec<f64>)>,
    pub(super) first: Option<FirstRun>,
}

/// The first repetition, which is shown frame by frame.
pub(super) struct FirstRun {
    pub(super) pace: Kept,
    /// For each source when each frame was due (s) and its latency (ms).
    pub(super) frames: Vec<Vec<(f64, f64)>>,
}

/// Whether a run kept up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Up,
    Behind,
    Failed,
}

impl Kept {
    fn of(verdict: &RunVerdict) -> Self {
        match verdict {
            RunVerdict::Steady => Self::Up,
            RunVerdict::Diverges | RunVerdict::Unfinished => Self::Behind,
            RunVerdict::Failed(_) => Self::Failed,
        }
    }
}

impl Shown {
    /// An emulated link.
    pub(super) fn emulated(comparison: &Comparison, link: &LinkOutcome) -> Self {
        let offered = &comparison.offered;
        let possible_mbit = match (offered.mbit, link.limit_mbit) {
            (Some(offered), Some(limit)) => Some(offered.min(limit)),
            (offered, limit) => offered.or(limit),
        };
        let limit = |source: usize| {
            let mut runs = link.rows.iter().flat_map(|row| &row.runs);
            runs.find_map(|run| Some(run.sources.get(source)?.limit_curve.clone()))
        };
        Self {
            link: link.label.clone(),
            latency: "ms from due to stored",
            sources: named(&offered.sources, limit),
            rows: link.rows.iter().map(emulated_row).collect(),
            seconds: seconds(offered),
            possible_mbit,
        }
    }

    /// The user's own link, whose limit nobody knows.
    pub(super) fn remote(comparison: &RemoteComparison) -> Self {
        let offered = &comparison.offered;
        Self {
            link: comparison.receiver.clone(),
            latency: "ms from due to receipt",
            sources: named(&offered.sources, |_| None),
            rows: comparison.rows.iter().map(|row| remote_row(row, offered)).collect(),
            seconds: seconds(offered),
            possible_mbit: offered.mbit,
        }
    }
}

fn named(
    sources: &[OfferedSource],
    limit: impl Fn(usize) -> Option<LimitCurve>,
) -> Vec<ShownSource> {
    let sources = sources.iter().enumerate();
    sources
        .map(|(index, source)| ShownSource { name: source.name.clone(), limit: limit(index) })
        .collect()
}

fn seconds(offered: &Offered) -> Option<f64> {
    let frames = offered.sources.iter().map(|source| source.frames).max().unwrap_or(1);
    offered.fps.map(|fps| frames as f64 / fps)
}

fn emulated_row(row: &Row) -> ShownRow {
    let latencies = row.summary.sources.iter().enumerate().map(|(index, source)| {
        let runs = row.runs.iter().filter_map(|run| run.sources.get(index));
        let samples = runs.flat_map(|source| source.samples.iter().map(|sample| sample.2));
        (source.offered, samples.collect())
    });
    let first = row.runs.first().map(|run| {
        let frames = run.sources.iter().map(|source| {
            source.samples.iter().map(|(_, due, latency)| (due / 1e3, *latency)).collect()
        });
        FirstRun { pace: Kept::of(&run.verdict), frames: frames.collect() }
    });
    ShownRow {
        name: row.variant.to_string(),
        ours: row.variant.is_default(),
        goodput_mbit: row.summary.goodput_mbit.unwrap_or_default(),
        latencies: latencies.collect(),
        first,
    }
}

fn remote_row(row: &RemoteRow, offered: &Offered) -> ShownRow {
    let fps = offered.fps.unwrap_or(1.0);
    let latencies = (0..offered.sources.len()).map(|index| {
        let runs = || row.runs.iter().filter_map(|run| run.sources.get(index));
        let samples = runs().flat_map(|source| source.samples.iter().map(|sample| sample.1));
        (runs().map(|source| source.offered).sum(), samples.collect())
    });
    let first = row.runs.first().map(|run| {
        let frames = run.sources.iter().map(|source| {
            let samples = source.samples.iter();
            samples.map(|(sequence, latency, _)| (*sequence as f64 / fps, *latency)).collect()
        });
        FirstRun { pace: Kept::of(&run.verdict), frames: frames.collect() }
    });
    ShownRow {
        name: row.variant.to_string(),
        ours: row.variant.is_default(),
        goodput_mbit: row.goodput_mbit.unwrap_or_default(),
        latencies: latencies.collect(),
        first,
    }
}
