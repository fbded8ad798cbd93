//! Two links side by side: each alone, both together, and the kernel's TCP on the better one.

use std::time::Duration;

use tokio::sync::watch;

use super::CompareError;
use super::ideal::{self, Due, bulk_mbit, carried_mbit};
use super::limit::{self, Losses};
use super::multipath::no_multipath;
use super::outcome::{AloneLink, Comparison, LinkOutcome, Row, Run};
use super::plan::{Event, offered, seeded, unmet};
use super::rig::Rig;
use super::scratch::Scratch;
use super::statistics::{Quantiles, median};
use super::summary::summarise;
use super::variant::{Over, Variant};
use super::workload::Workload;
use crate::frame::Sequence;
use crate::link::{LinkSpec, Privilege};
use crate::sender::Pace;
use crate::transport::Transport;

/// The losses of the second link are not those of the first, whatever the seed.
const SECOND_SEED: u64 = 1_000_003;

/// Two links, to be compared with both at once.
#[derive(Debug, Clone)]
pub struct PairPlan {
    /// They.
    pub links: [LinkSpec; 2],
    /// What goes over each alone and over both, which is QUIC, and what over the better one alone, which is TCP.
    pub variants: Vec<Variant>,
    /// What is sent in each run.
    pub workload: Workload,
    /// Runs of each variant, at least one.
    pub repeat: u32,
    /// The links' seeds follow from it, the same for every variant, unless a link has its own.
    pub seed: u64,
}

/// Runs all of it, the repetitions interleaved. Its outcome is one link: both together.
///
/// # Errors
/// As of [`run`](super::run).
pub fn run_pair(
    plan: &PairPlan,
    privilege: Privilege,
    scratch: &Scratch,
    interrupted: &watch::Receiver<bool>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Comparison, CompareError> {
    let rig = Rig::new(privilege, scratch, interrupted)?;
    let (variants, left_out) = plan.expand();
    let all = u32::try_from(variants.len()).unwrap_or(u32::MAX).saturating_mul(plan.repeat);
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); variants.len()];
    let mut done = 0;
    let label = plan.label();
    for repetition in 0..plan.repeat {
        let links = plan.seeded(repetition);
        for (place, variant) in variants.iter().enumerate() {
            tell(Event::Begins { done, all, link: &label, variant, repetition });
            let over = used(variant, &links);
            let run = match rig.run_beside(over, &links, variant, &plan.workload, repetition) {
                Err(CompareError::Interrupted) if done > 0 => {
                    return Ok(plan.outcome(variants, runs, left_out));
                }
                other => other?,
            };
            tell(Event::Ended(&run));
            runs[place].push(run);
            done += 1;
        }
    }
    Ok(plan.outcome(variants, runs, left_out))
}

/// The links that a variant goes over.
fn used<'a>(variant: &Variant, links: &'a [LinkSpec; 2]) -> &'a [LinkSpec] {
    match variant.over {
        Some(Over::First) => &links[..1],
        Some(Over::Second) => &links[1..],
        _ => links,
    }
}

impl PairPlan {
    /// How many runs it has.
    pub fn runs(&self) -> usize {
        self.expand().0.len() * self.repeat as usize
    }

    fn label(&self) -> String {
        format!("{} + {}", self.links[0].label, self.links[1].label)
    }

    fn seeded(&self, repetition: u32) -> [LinkSpec; 2] {
        let [first, second] = &self.links;
        let others = self.seed.wrapping_add(SECOND_SEED);
        [seeded(first, self.seed, repetition), seeded(second, others, repetition)]
    }

    /// Every variant over what it is to go over, ours first; and what is left out, with the reason.
    fn expand(&self) -> (Vec<Variant>, Vec<String>) {
        let is_quic = |variant: &&Variant| variant.parsed_transport() == Transport::Quic;
        let is_tcp = |variant: &&Variant| variant.parsed_transport() == Transport::Tcp;
        let mut all = Vec::new();
        for quic in self.variants.iter().filter(is_quic) {
            all.extend([Over::Auto, Over::Spread].map(|over| quic.over(over)));
            if self.workload.pace != Pace::Bulk {
                all.push(quic.over(Over::Duplicate));
            }
            all.extend([Over::First, Over::Second].map(|over| quic.over(over)));
        }
        let better = [Over::First, Over::Second][self.better()];
        all.extend(self.variants.iter().filter(is_tcp).map(|tcp| tcp.over(better)));
        let mut left_out = Vec::new();
        if let Some(tcp) = self.variants.iter().find(is_tcp) {
            match no_multipath() {
                None => all.push(tcp.over(Over::Multipath)),
                Some(why) => left_out.push(format!("MPTCP was not run: {why}")),
            }
        }
        (all, left_out)
    }

    /// Which of the links is the better one for an ideal sender that has it alone.
    fn better(&self) -> usize {
        let is_first = match self.workload.pace {
            Pace::Bulk => {
                let rate = |link: &LinkSpec| {
                    bulk_mbit(&link.up, Duration::ZERO, self.workload.bytes())
                        .unwrap_or(f64::INFINITY)
                };
                rate(&self.links[0]) >= rate(&self.links[1])
            }
            Pace::PerSecond(_) => {
                let worst = |link: &LinkSpec| {
                    let limits = self.limits(link, Duration::ZERO);
                    limits.iter().map(|limit| limit.p95).fold(0.0, f64::max)
                };
                worst(&self.links[0]) <= worst(&self.links[1])
            }
        };
        usize::from(!is_first)
    }

    /// What an ideal sender reaches that has this link alone, by source.
    fn limits(&self, link: &LinkSpec, from: Duration) -> Vec<Quantiles> {
        let Pace::PerSecond(rate) = self.workload.pace else { return Vec::new() };
        let at = |sequence: u64| {
            from + Duration::try_from_secs_f64(sequence as f64 / rate).unwrap_or_default()
        };
        let clips = &self.workload.clips;
        let frames = clips.iter().flat_map(|clip| {
            (0..clip.frames)
                .map(|sequence| Due { at: at(sequence), bytes: clip.bytes_of(Sequence(sequence)) })
        });
        let frames: Vec<Due> = frames.collect();
        let latencies = ideal::latencies(&link.up, &frames);
        let mut each = latencies.iter().zip(&frames);
        let (losses, rtt_ms) = (Losses::of(&link.up), link.round_trip().as_secs_f64() * 1e3);
        let limit = |frames: u64| {
            let frames = each.by_ref().take(usize::try_from(frames).unwrap_or(usize::MAX));
            let frames = frames.map(|(latency, due)| (latency.as_secs_f64() * 1e3, due.bytes));
            limit::curve(losses, rtt_ms, &frames.collect::<Vec<_>>()).quantiles()
        };
        clips.iter().map(|clip| clip.frames).map(limit).collect()
    }

    /// What links carry of frames at most in the time of these runs, together; the median of the runs.
    fn limit_mbit<'a>(
        &self,
        links: &[LinkSpec],
        runs: impl IntoIterator<Item = &'a Run>,
    ) -> Option<f64> {
        let limits = runs.into_iter().map(|run| {
            let from = Duration::try_from_secs_f64(run.first_due_ms / 1e3).unwrap_or_default();
            let each = links.iter().map(|link| match self.workload.pace {
                Pace::Bulk => bulk_mbit(&link.up, from, self.share(link, links)),
                Pace::PerSecond(rate) => {
                    let lasts = (self.workload.seconds() + 1.0 / rate).max(run.seconds);
                    let lasts = Duration::try_from_secs_f64(lasts).unwrap_or_default();
                    carried_mbit(&link.up, from, lasts)
                }
            });
            each.sum()
        });
        let limits: Option<Vec<f64>> = limits.collect();
        limits.filter(|limits| !limits.is_empty()).map(median)
    }

    /// The bytes of bulk that a link takes of all, so that all end with theirs at about the same time.
    fn share(&self, link: &LinkSpec, links: &[LinkSpec]) -> u64 {
        let rate = |link: &LinkSpec| link.up.rate().map_or(0.0, |rate| rate.0 as f64);
        let all: f64 = links.iter().map(rate).sum();
        (self.workload.bytes() as f64 * rate(link) / all.max(1.0)) as u64
    }

    fn outcome(
        &self,
        variants: Vec<Variant>,
        runs: Vec<Vec<Run>>,
        left_out: Vec<String>,
    ) -> Comparison {
        let made: usize = runs.iter().map(Vec::len).sum();
        let missing = variants.len() * self.repeat as usize - made;
        let offered = offered(&self.workload);
        let both = self.limit_mbit(&self.links, runs.iter().flatten());
        let rows = variants.into_iter().zip(runs).filter(|(_, runs)| !runs.is_empty());
        let rows: Vec<Row> = rows
            .map(|(variant, runs)| {
                let over = used(&variant, &self.links);
                let limit_mbit = self.limit_mbit(over, &runs);
                // Goodput is held against what both carry, as latency is.
                let summary = summarise(&runs, &offered, both.or(limit_mbit));
                Row { variant, summary, runs }
            })
            .collect();
        let from = rows.iter().flat_map(|row| &row.runs).next();
        let from = from.map_or(0.0, |run| run.first_due_ms / 1e3);
        let from = Duration::try_from_secs_f64(from).unwrap_or_default();
        let alone = self.links.iter().zip([Over::First, Over::Second]).map(|(link, over)| {
            let of_it = rows.iter().filter(|row| row.variant.over == Some(over));
            AloneLink {
                spec: link.to_string(),
                rtt_ms: link.round_trip().as_secs_f64() * 1e3,
                limit_mbit: self
                    .limit_mbit(std::slice::from_ref(link), of_it.flat_map(|row| &row.runs)),
                limits: self.limits(link, from),
            }
        });
        let [first, second] = &self.links;
        let outcome = LinkOutcome {
            label: self.label(),
            spec: format!("{first} + {second}"),
            rtt_ms: first.round_trip().min(second.round_trip()).as_secs_f64() * 1e3,
            limit_mbit: both,
            unmet_outages: unmet(&self.links, &rows),
            alone: alone.collect(),
            left_out,
            rows,
        };
        Comparison {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            against: None,
            seed: self.seed,
            offered,
            repeat: self.repeat,
            missing_runs: u32::try_from(missing).unwrap_or(u32::MAX),
            links: vec![outcome],
        }
    }
}
