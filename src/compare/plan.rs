//! What is to be compared, and going through it.

use std::time::Duration;

use tokio::sync::watch;

use super::CompareError;
use super::against::OtherBuild;
use super::ideal::{bulk_mbit, carried_mbit};
use super::outcome::{Comparison, LinkOutcome, Offered, OfferedSource, Row, Run};
use super::rig::Rig;
use super::scratch::Scratch;
use super::statistics::median;
use super::summary::summarise;
use super::variant::Variant;
use super::workload::Workload;
use crate::link::{LinkSpec, Privilege};
use crate::sender::Pace;
use crate::source::Source;

/// What is to be compared: every variant on every link, several times.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The links.
    pub links: Vec<LinkSpec>,
    /// The transports.
    pub variants: Vec<Variant>,
    /// What is sent in each run.
    pub workload: Workload,
    /// Runs of each variant on each link, at least one.
    pub repeat: u32,
    /// The links' seeds follow from it, the same for every variant, unless a link has its own.
    pub seed: u64,
    /// Another build, which makes the runs of the variants that are its.
    pub against: Option<OtherBuild>,
}

/// Where it is, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A run begins.
    Begins {
        /// Runs before it.
        done: u32,
        /// Runs altogether.
        all: u32,
        /// The link.
        link: &'a str,
        /// The transport.
        variant: &'a Variant,
        /// Counted from 0.
        repetition: u32,
    },
    /// A run has ended.
    Ended(&'a Run),
}

/// Runs every cell, one after the other, the repetitions interleaved: the first of every variant on
/// every link, then the second, so that a disturbance of the machine does not hit one variant alone.
///
/// Where the user stops it, the outcome is of the runs that had ended.
///
/// # Errors
/// [`CompareError`] where the machine does not allow it, or the user stopped it before the first run had ended:
/// then nothing is left behind either. What goes wrong with a transport is in the outcome.
pub fn run(
    plan: &Plan,
    privilege: Privilege,
    scratch: &Scratch,
    interrupted: &watch::Receiver<bool>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Comparison, CompareError> {
    let rig = Rig::new(privilege, scratch, interrupted)?;
    let cells = plan.links.len() * plan.variants.len();
    let all = u32::try_from(cells).unwrap_or(u32::MAX).saturating_mul(plan.repeat);
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); cells];
    let mut done = 0;
    for repetition in 0..plan.repeat {
        for (link_index, link) in plan.links.iter().enumerate() {
            let link = seeded(link, plan.seed, repetition);
            for (variant_index, variant) in plan.variants.iter().enumerate() {
                let label = link.label.as_str();
                tell(Event::Begins { done, all, link: label, variant, repetition });
                let run = match plan.against.as_ref().filter(|_| variant.other_build) {
                    Some(other) => other.run(&link, variant, repetition, interrupted),
                    None => rig.run(&link, variant, &plan.workload, repetition),
                };
                let run = match run {
                    Err(CompareError::Interrupted) if done > 0 => return Ok(plan.outcome(runs)),
                    other => other?,
                };
                tell(Event::Ended(&run));
                runs[link_index * plan.variants.len() + variant_index].push(run);
                done += 1;
            }
        }
    }
    Ok(plan.outcome(runs))
}

/// The link of one repetition. Every variant meets the same seed.
pub(super) fn seeded(link: &LinkSpec, seed: u64, repetition: u32) -> LinkSpec {
    let seed = link.seed.unwrap_or(seed).wrapping_add(repetition.into());
    link.clone().with_seed(seed)
}

impl Plan {
    /// How many runs it has.
    pub fn runs(&self) -> usize {
        self.links.len() * self.variants.len() * self.repeat as usize
    }

    /// What the link carried of frames at most in the time of these runs, the median of them.
    fn limit_mbit<'a>(
        &self,
        link: &LinkSpec,
        runs: impl IntoIterator<Item = &'a Run>,
    ) -> Option<f64> {
        let limits = runs.into_iter().map(|run| {
            let from = Duration::try_from_secs_f64(run.first_due_ms / 1e3).unwrap_or_default();
            match self.workload.pace {
                Pace::Bulk => bulk_mbit(&link.up, from, self.workload.bytes()),
                Pace::PerSecond(rate) => {
                    let interval = 1.0 / rate;
                    // Goodput counts until the last frame is stored.
                    let lasts = (self.workload.seconds() + interval).max(run.seconds);
                    carried_mbit(&link.up, from, Duration::from_secs_f64(lasts))
                }
            }
        });
        let limits: Option<Vec<f64>> = limits.collect();
        limits.filter(|limits| !limits.is_empty()).map(median)
    }

    fn outcome(&self, runs: Vec<Vec<Run>>) -> Comparison {
        let made: usize = runs.iter().map(Vec::len).sum();
        let mut runs = runs.into_iter();
        let offered = offered(&self.workload);
        let links = self.links.iter().map(|link| {
            let cells = self.variants.iter().zip(runs.by_ref());
            let rows = cells.filter(|(_, runs)| !runs.is_empty()).map(|(variant, runs)| {
                let limit_mbit = self.limit_mbit(link, &runs);
                let summary = summarise(&runs, &offered, limit_mbit);
                Row { variant: variant.clone(), summary, runs }
            });
            let rows: Vec<Row> = rows.collect();
            LinkOutcome {
                label: link.label.clone(),
                spec: link.to_string(),
                rtt_ms: link.round_trip().as_secs_f64() * 1e3,
                limit_mbit: self.limit_mbit(link, rows.iter().flat_map(|row| &row.runs)),
                unmet_outages: unmet([link], &rows),
                alone: Vec::new(),
                left_out: Vec::new(),
                rows,
            }
        });
        let links = links.filter(|link: &LinkOutcome| !link.rows.is_empty()).collect();
        Comparison {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            against: self.against.as_ref().map(OtherBuild::to_string),
            seed: self.seed,
            offered,
            repeat: self.repeat,
            missing_runs: u32::try_from(self.runs() - made).unwrap_or(u32::MAX),
            links,
        }
    }
}

/// The outages of links that no run lasted long enough to meet, as they are written.
pub(super) fn unmet<'a>(
    links: impl IntoIterator<Item = &'a LinkSpec>,
    rows: &[Row],
) -> Vec<String> {
    let runs = rows.iter().flat_map(|row| &row.runs);
    let longest = runs.map(|run| run.first_due_ms / 1e3 + run.seconds).fold(0.0, f64::max);
    let mut unmet: Vec<String> = Vec::new();
    let outages =
        links.into_iter().flat_map(|link| link.up.outages.iter().chain(&link.down.outages));
    for outage in outages {
        let shown = outage.to_string();
        if outage.at.as_secs_f64() >= longest && !unmet.contains(&shown) {
            unmet.push(shown);
        }
    }
    unmet
}

/// What is sent in each run, for the outcome.
pub(super) fn offered(workload: &Workload) -> Offered {
    let fps = match workload.pace {
        Pace::Bulk => None,
        Pace::PerSecond(rate) => Some(rate),
    };
    let sources = workload.clips.iter().map(|clip| OfferedSource {
        name: clip.name().to_string(),
        frames: clip.frames(),
        bytes: clip.bytes(),
    });
    let sources: Vec<OfferedSource> = sources.collect();
    let rate = |source: &OfferedSource| source.bytes as f64 / source.frames.max(1) as f64;
    let mbit = fps.map(|fps| sources.iter().map(rate).sum::<f64>() * fps * 8e-6);
    Offered { fps, sources, mbit, generated: workload.generated }
}
