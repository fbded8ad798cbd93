//! What a comparison found: written by [`crate::compare`], shown by [`crate::report`].
//!
//! Latencies and times are in milliseconds, rates in Mbit/s (10^6 bits a second) of payload unless
//! the name says otherwise. A ratio is to the limit of the same run.

use serde::{Deserialize, Serialize};

use super::limit::LimitCurve;
use super::statistics::{Quantiles, Spread};
use super::variant::Variant;

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// Of framelane.
    pub version: String,
    /// The other build that made runs as well, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Every random decision follows from it: `--seed` repeats the losses.
    pub seed: u64,
    /// What was sent in each run.
    pub offered: Offered,
    /// Runs of each variant on each link.
    pub repeat: u32,
    /// How many of them were not made, because the user stopped the comparison. Rows and links without a run
    /// are left out.
    #[serde(default)]
    pub missing_runs: u32,
    /// One entry a link.
    pub links: Vec<LinkOutcome>,
}

/// What is sent in each run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offered {
    /// Frames a second from each source; `None` is bulk, as fast as it goes.
    pub fps: Option<f64>,
    /// The sources.
    pub sources: Vec<OfferedSource>,
    /// Their payload rate; `None` in bulk.
    pub mbit: Option<f64>,
    /// True where they were generated rather than the user's own.
    pub generated: bool,
}

/// A source of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfferedSource {
    /// Its name.
    pub name: String,
    /// Frames.
    pub frames: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// One link with everything that was run over it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkOutcome {
    /// As the user wrote it.
    pub label: String,
    /// In full.
    pub spec: String,
    /// Round trip of a small packet on the idle link.
    pub rtt_ms: f64,
    /// What the link carried of frames at most in the time of the runs, the median of them: of
    /// bulk until all of it was sent, of live frames until the last was due or stored. A trace
    /// counts with what it carries then, and outages that lie in it are left out. `None` where
    /// nothing limits it.
    pub limit_mbit: Option<f64>,
    /// Outages that were asked for and that no run lasted long enough to meet.
    #[serde(default)]
    pub unmet_outages: Vec<String>,
    /// Where two links were compared with both at once: each alone. The figures above are of both then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<AloneLink>,
    /// What was not run, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// One entry a variant.
    pub rows: Vec<Row>,
}

/// One of two links that were compared with both at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AloneLink {
    /// In full.
    pub spec: String,
    /// Round trip of a small packet on the idle link.
    pub rtt_ms: f64,
    /// As of both: what it carried of frames at most in the time of the runs over it.
    pub limit_mbit: Option<f64>,
    /// What an ideal sender reaches that has it alone, by source.
    pub limits: Vec<Quantiles>,
}

/// One variant on one link.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub variant: Variant,
    /// All repetitions together.
    pub summary: Summary,
    /// Each repetition, with its raw samples.
    pub runs: Vec<Run>,
}

/// Medians over repetitions, with spread.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Repetitions that kept up, of all.
    pub steady: u32,
    /// Repetitions.
    pub runs: u32,
    /// Repetitions that failed: their figures say nothing of how fast the transport is.
    #[serde(default)]
    pub failed: u32,
    /// Frames that are not in the store although the run came to its end, and frames that the
    /// receiver confirmed and that are not there.
    pub lost: u64,
    /// Frames that are stored with other content than was sent.
    pub altered: u64,
    /// Frames that are stored more than once; each further time counts.
    pub twice: u64,
    /// Frames that had not arrived when a run that did not keep up was stopped, or one failed.
    pub unfinished: u64,
    /// Goodput of the repetitions that did not fail; `None` where all of them did.
    pub goodput_mbit: Option<Spread>,
    /// Goodput as a share of what was possible: of the link's limit, or of what was offered where
    /// that is less.
    pub goodput_ratio: Option<f64>,
    /// Bytes that entered the link from the sender for each payload byte stored.
    pub wire_ratio: Option<Spread>,
    /// The same for what entered it from the receiver.
    pub back_ratio: Option<Spread>,
    /// The share of packets (QUIC) or segments (TCP) that the sender took for lost.
    pub resent: Option<Spread>,
    /// The share of frames that forward repair made whole.
    pub repaired: Option<Spread>,
    /// Processor seconds of the sender's threads, those that read and hash included; without what
    /// the link's emulation takes, and without what the kernel does when a packet arrives.
    pub cpu_sender: Option<Spread>,
    /// The same of the receiver's threads, those that hash and store included. The store is in
    /// memory: no disk is waited for.
    pub cpu_receiver: Option<Spread>,
    /// One entry a source.
    pub sources: Vec<SourceSummary>,
}

/// One source over all repetitions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// Frames offered, all repetitions together.
    pub offered: u64,
    /// Frames stored as they were sent.
    pub stored: u64,
    /// Latency; only where every repetition kept up.
    pub latency: Option<LatencySummary>,
    /// Gaps in arrival over two frame intervals, per repetition.
    pub stalls: Option<Spread>,
    /// The longest of them, of all repetitions.
    pub longest_stall_ms: f64,
}

/// Latencies from due time to stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Half of the frames were no later.
    pub p50: Spread,
    /// 95 % were no later.
    pub p95: Spread,
    /// 99 % were no later.
    pub p99: Spread,
    /// The latest.
    pub max: Spread,
    /// The limit, the median of the repetitions.
    pub limit: Quantiles,
    /// p50, p95 and p99 as a ratio to the limit.
    pub ratio: [f64; 3],
}

/// One repetition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Counted from 0.
    pub repetition: u32,
    /// The link's seed in it.
    pub seed: u64,
    /// How it went.
    pub verdict: RunVerdict,
    /// When the first frame was due, after the start of the link and of its outages.
    pub first_due_ms: f64,
    /// From the first due time to the last frame stored, or to the end of a run that was stopped.
    pub seconds: f64,
    /// Payload stored in this time.
    pub goodput_mbit: f64,
    /// Payload bytes stored.
    pub payload_bytes: u64,
    /// What entered and left the link.
    pub wire: Wire,
    /// The share that the sender took for lost; `None` where it is not known.
    pub resent: Option<f64>,
    /// Frames that forward repair made whole; `None` where it is not known.
    pub repaired: Option<u64>,
    /// Bytes of forward repair that were sent; `None` where the transport has none.
    pub repair_bytes: Option<u64>,
    /// Processor seconds of the sender's threads, those that read and hash included; without what
    /// the link's emulation takes, and without what the kernel does when a packet arrives.
    pub cpu_sender: f64,
    /// The same of the receiver's threads, those that hash and store included. The store is in
    /// memory: no disk is waited for.
    pub cpu_receiver: f64,
    /// The share of all processors' time that other programs took, or the host of a virtual machine kept back;
    /// `None` where it is not known.
    #[serde(default)]
    pub elsewhere: Option<f64>,
    /// Connections that were needed.
    pub sessions: u32,
    /// One entry a source.
    pub sources: Vec<SourceRun>,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// It came to its end, and latency did not grow. A frame that was refused is still missing.
    Steady,
    /// It fell behind further and further.
    Diverges,
    /// Bulk that was not done in time, and was stopped.
    Unfinished,
    /// It failed, for this reason.
    Failed(String),
}

/// Counts of the emulated link.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Bytes of IP packets that entered from the sender.
    pub up_bytes: u64,
    /// Packets of these.
    pub up_packets: u64,
    /// Packets of these that the link lost, in its queue or otherwise.
    pub up_lost: u64,
    /// Of these, in its queue.
    pub up_queue_lost: u64,
    /// What half of the packets from the sender waited in the link's queue at most, without the
    /// first two seconds; `None` where there is no queue, or nothing came later.
    pub queue_wait_p50_ms: Option<f64>,
    /// The same for 95 % of them.
    pub queue_wait_p95_ms: Option<f64>,
    /// Bytes that entered from the receiver.
    pub down_bytes: u64,
    /// Packets that this machine was too slow to carry: anything but 0 taints the run.
    pub overrun: u64,
    /// The share of packets that were handed over more than a millisecond late.
    pub late_share: f64,
}

/// One source in one repetition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceRun {
    /// Its name.
    pub name: String,
    /// Frames offered.
    pub offered: u64,
    /// Frames stored as they were sent.
    pub stored: u64,
    /// See [`Summary::lost`].
    pub lost: u64,
    /// See [`Summary::altered`].
    pub altered: u64,
    /// See [`Summary::twice`].
    pub twice: u64,
    /// See [`Summary::unfinished`].
    pub unfinished: u64,
    /// The first frames that the sender says are not stored, each with its reason.
    #[serde(default)]
    pub not_stored: Vec<String>,
    /// Latencies; `None` where the run did not keep up.
    pub latency: Option<Quantiles>,
    /// The limit of this run.
    pub limit: Quantiles,
    /// The limit as a curve.
    pub limit_curve: LimitCurve,
    /// Gaps in arrival over two frame intervals.
    pub stalls: u64,
    /// The longest gap over two frame intervals; 0 where there is none.
    pub longest_stall_ms: f64,
    /// Every stored frame: sequence, when it was due since the first one (ms), latency (ms).
    pub samples: Vec<(u64, f64, f64)>,
}

impl Run {
    /// True where it ended with an error, rather than well or late.
    pub fn is_failed(&self) -> bool {
        matches!(self.verdict, RunVerdict::Failed(_))
    }
}

/// What became of the repetitions of a row that did not all keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// All that did not keep up failed.
    Failed,
    /// Some were too slow for what was due.
    Behind,
}

impl Summary {
    /// Repetitions that came to their end, or would have, and were too slow.
    pub fn behind(&self) -> u32 {
        self.runs.saturating_sub(self.steady).saturating_sub(self.failed)
    }

    /// Why there is no figure that counts for all repetitions; `None` where all of them kept up.
    pub fn shortfall(&self) -> Option<Shortfall> {
        match (self.behind(), self.failed) {
            (0, 0) => None,
            (0, _) => Some(Shortfall::Failed),
            _ => Some(Shortfall::Behind),
        }
    }
}

impl Comparison {
    /// Frames lost, altered or stored twice anywhere. Anything but 0 is a defect.
    pub fn damaged(&self) -> u64 {
        let rows = self.links.iter().flat_map(|link| &link.rows);
        rows.map(|row| row.summary.lost + row.summary.altered + row.summary.twice).sum()
    }

    /// Runs that failed altogether, with their reasons.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for link in &self.links {
            for row in &link.rows {
                for run in &row.runs {
                    if let RunVerdict::Failed(why) = &run.verdict {
                        failures.push(format!("{}, {}: {why}", link.label, row.variant));
                    }
                }
            }
        }
        failures
    }
}
