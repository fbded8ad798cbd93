//! What is to be compared, and going through it.

use tokio::sync::watch;

use super::CompareError;
use super::limit::goodput_mbit;
use super::outcome::{Comparison, LinkOutcome, Offered, OfferedSource, Row, Run};
use super::rig::Rig;
use super::scratch::Scratch;
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
                let run = match rig.run(&link, variant, &plan.workload, repetition) {
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
fn seeded(link: &LinkSpec, seed: u64, repetition: u32) -> LinkSpec {
    let seed = link.seed.unwrap_or(seed).wrapping_add(repetition.into());
    link.clone().with_seed(seed)
}

impl Plan {
    /// How many runs it has.
    pub fn runs(&self) -> usize {
        self.links.len() * self.variants.len() * self.repeat as usize
    }

    fn outcome(&self, runs: Vec<Vec<Run>>) -> Comparison {
        let made: usize = runs.iter().map(Vec::len).sum();
        let mut runs = runs.into_iter();
        let offered = offered(&self.workload);
        let links = self.links.iter().map(|link| {
            let limit_mbit = goodput_mbit(&link.up);
            let cells = self.variants.iter().zip(runs.by_ref());
            let rows = cells.filter(|(_, runs)| !runs.is_empty()).map(|(variant, runs)| {
                let summary = summarise(&runs, &offered, limit_mbit);
                Row { variant: variant.clone(), summary, runs }
            });
            LinkOutcome {
                label: link.label.clone(),
                spec: link.to_string(),
                rtt_ms: link.round_trip().as_secs_f64() * 1e3,
                limit_mbit,
                rows: rows.collect(),
            }
        });
        let links = links.filter(|link: &LinkOutcome| !link.rows.is_empty()).collect();
        Comparison {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.seed,
            offered,
            repeat: self.repeat,
            missing_runs: u32::try_from(self.runs() - made).unwrap_or(u32::MAX),
            links,
        }
    }
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
