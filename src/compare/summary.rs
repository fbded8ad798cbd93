//! Repetitions to medians with spread.

use super::outcome::{LatencySummary, Offered, Run, RunVerdict, SourceRun, SourceSummary, Summary};
use super::statistics::{Quantiles, median, spread};

/// All repetitions of one variant on one link.
pub(super) fn summarise(runs: &[Run], offered: &Offered, limit_mbit: Option<f64>) -> Summary {
    let sources = || runs.iter().flat_map(|run| &run.sources);
    let steady = runs.iter().filter(|run| run.verdict == RunVerdict::Steady).count();
    let failed = runs.iter().filter(|run| run.is_failed()).count();
    // What a connection that was refused carried is no rate.
    let whole = runs.iter().filter(|run| !run.is_failed());
    let goodput_mbit = spread(whole.map(|run| run.goodput_mbit));
    let possible = match (offered.mbit, limit_mbit) {
        (Some(offered), Some(limit)) => Some(offered.min(limit)),
        (offered, limit) => offered.or(limit),
    };
    let per_payload = |bytes: fn(&Run) -> u64| {
        let some = runs.iter().filter(|run| run.payload_bytes > 0);
        spread(some.map(|run| bytes(run) as f64 / run.payload_bytes as f64))
    };
    let frames = |run: &Run| run.sources.iter().map(|source| source.stored).sum::<u64>();
    let repaired = runs
        .iter()
        .filter(|run| frames(run) > 0)
        .filter_map(|run| Some(run.repaired? as f64 / frames(run) as f64));
    Summary {
        steady: u32::try_from(steady).unwrap_or(u32::MAX),
        runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
        failed: u32::try_from(failed).unwrap_or(u32::MAX),
        lost: sources().map(|source| source.lost).sum(),
        altered: sources().map(|source| source.altered).sum(),
        twice: sources().map(|source| source.twice).sum(),
        unfinished: sources().map(|source| source.unfinished).sum(),
        goodput_ratio: goodput_mbit
            .zip(possible)
            .map(|(goodput, possible)| goodput.median / possible),
        goodput_mbit,
        wire_ratio: per_payload(|run| run.wire.up_bytes),
        back_ratio: per_payload(|run| run.wire.down_bytes),
        resent: spread(runs.iter().filter_map(|run| run.resent)),
        repaired: spread(repaired),
        cpu_sender: spread(runs.iter().map(|run| run.cpu_sender)),
        cpu_receiver: spread(runs.iter().map(|run| run.cpu_receiver)),
        sources: offered
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| {
                let runs = runs.iter().filter_map(|run| run.sources.get(index));
                source_summary(&source.name, &runs.collect::<Vec<_>>(), offered.fps.is_some())
            })
            .collect(),
    }
}

fn source_summary(name: &str, runs: &[&SourceRun], live: bool) -> SourceSummary {
    SourceSummary {
        name: name.to_owned(),
        offered: runs.iter().map(|run| run.offered).sum(),
        stored: runs.iter().map(|run| run.stored).sum(),
        latency: if live { latency(runs) } else { None },
        stalls: spread(runs.iter().map(|run| run.stalls as f64)),
        longest_stall_ms: runs.iter().map(|run| run.longest_stall_ms).fold(0.0, f64::max),
    }
}

/// Only where every repetition kept up: the percentile of a queue says how long the run was.
fn latency(runs: &[&SourceRun]) -> Option<LatencySummary> {
    let all: Option<Vec<Quantiles>> = runs.iter().map(|run| run.latency).collect();
    let all = all.filter(|all| !all.is_empty())?;
    let of = |which: fn(&Quantiles) -> f64| spread(all.iter().map(which));
    let limit =
        |which: fn(&Quantiles) -> f64| median(runs.iter().map(|run| which(&run.limit)).collect());
    let limit = Quantiles {
        p50: limit(|limit| limit.p50),
        p95: limit(|limit| limit.p95),
        p99: limit(|limit| limit.p99),
        max: limit(|limit| limit.max),
    };
    let (p50, p95, p99) = (of(|q| q.p50)?, of(|q| q.p95)?, of(|q| q.p99)?);
    let ratio = [p50.median / limit.p50, p95.median / limit.p95, p99.median / limit.p99];
    Some(LatencySummary { p50, p95, p99, max: of(|q| q.max)?, limit, ratio })
}
