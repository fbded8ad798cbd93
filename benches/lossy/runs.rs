//! Going through the cases, so that whatever else the machine does meets all of them.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use framelane::compare::outcome::Run;
use framelane::compare::{CompareError, OtherBuild, Rig, Variant, Workload};
use framelane::link::LinkSpec;
use framelane::transport::Transport;
use tokio::sync::watch;

use crate::case::{Case, Cell, Work};
use crate::check::Outcome;
use crate::load::{Frames, Load};

/// By case, cell and repetition.
pub(crate) type Outcomes = Vec<Vec<Vec<Outcome>>>;

/// What all runs have in common.
pub(crate) struct Course<'a> {
    pub(crate) rig: &'a Rig<'a>,
    pub(crate) frames: &'a Frames,
    pub(crate) cases: &'a [Case],
    pub(crate) seed: u64,
    pub(crate) repeat: u32,
    pub(crate) jobs: usize,
    /// Turns true when the user has enough: nothing more is begun, and what is running does not count.
    pub(crate) interrupted: &'a watch::Receiver<bool>,
    /// Another build, which makes framelane's own runs as well, each behind this one's.
    pub(crate) other: Option<&'a OtherBuild>,
}

/// What was found of a cell, and what the other build found.
type Found = (Turn, Outcome, Option<Outcome>);

/// One cell, once.
#[derive(Clone, Copy)]
struct Turn {
    case: usize,
    cell: usize,
    repetition: u32,
}

impl Course<'_> {
    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.turns(0).len() * self.repeat as usize
    }

    /// All repetitions of everything, each repetition of all cases before the next; and the other build's.
    pub(crate) fn run(&self) -> [Outcomes; 2] {
        let cells = |case: &Case| case.cells.iter().map(|_| Vec::new()).collect();
        let mut outcomes: Outcomes = self.cases.iter().map(cells).collect();
        let mut others: Outcomes = self.cases.iter().map(cells).collect();
        let done = AtomicUsize::new(0);
        for repetition in 0..self.repeat {
            let alone = |turn: &Turn| self.jobs == 1 || self.cell(*turn).alone;
            let (alone, together): (Vec<_>, Vec<_>) =
                self.turns(repetition).into_iter().partition(alone);
            let mut found = self.in_turns(&together, self.jobs, &done);
            found.extend(self.in_turns(&alone, 1, &done));
            for (turn, outcome, other) in found {
                outcomes[turn.case][turn.cell].push(outcome);
                others[turn.case][turn.cell].extend(other);
            }
        }
        [outcomes, others]
    }

    fn turns(&self, repetition: u32) -> Vec<Turn> {
        let cases = self.cases.iter().enumerate();
        let turns = cases.flat_map(|(case, of)| {
            (0..of.cells.len()).map(move |cell| Turn { case, cell, repetition })
        });
        turns.collect()
    }

    fn cell(&self, turn: Turn) -> &Cell {
        &self.cases[turn.case].cells[turn.cell]
    }

    /// So many at the same time, begun in the order given.
    fn in_turns(&self, turns: &[Turn], jobs: usize, done: &AtomicUsize) -> Vec<Found> {
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let work = || {
            while !*self.interrupted.borrow()
                && let Some(&turn) = turns.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let (outcome, other) = (self.one(turn), self.one_of_other(turn));
                if *self.interrupted.borrow() {
                    return;
                }
                let number = done.fetch_add(1, Ordering::Relaxed) + 1;
                self.tell(number, turn, &outcome);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push((turn, outcome, other));
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs.min(turns.len()) {
                scope.spawn(work);
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, turn: Turn) -> LinkSpec {
        // Every contender meets the same losses.
        let seed = self.seed.wrapping_add(turn.repetition.into());
        self.cell(turn).link.clone().with_seed(seed)
    }

    fn one(&self, turn: Turn) -> Outcome {
        let (cell, link) = (self.cell(turn), self.link(turn));
        let outcome = match &cell.work {
            Work::Run { variant, load } => self.workload(load).and_then(|workload| {
                let run = self.rig.run(&link, variant, &workload, turn.repetition)?;
                Ok(Outcome::Run(Box::new(run)))
            }),
            Work::Shared { variants: [first, second], load, lasts } => {
                self.shared(&link, [first, second], load, *lasts)
            }
        };
        outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
    }

    /// The same by the other build, where it is one of framelane's own that it can be asked for.
    fn one_of_other(&self, turn: Turn) -> Option<Outcome> {
        let Work::Run { variant, load } = &self.cell(turn).work else { return None };
        let other = self.other.filter(|_| variant.parsed_transport() == Transport::Quic)?;
        let arguments = load.arguments(self.frames.coming(), other.knows_cameras())?;
        let asked = other.clone().with_arguments(arguments);
        let run = asked.run(&self.link(turn), variant, turn.repetition, self.interrupted);
        Some(match run {
            Ok(run) => Outcome::Run(Box::new(run)),
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    fn shared(
        &self,
        link: &LinkSpec,
        variants: [&Variant; 2],
        load: &Load,
        lasts: Duration,
    ) -> Result<Outcome, CompareError> {
        let workload = self.workload(load)?;
        Ok(Outcome::Shared(self.rig.share(link, variants, &workload, lasts)?))
    }

    fn workload(&self, load: &Load) -> Result<Workload, CompareError> {
        self.frames.workload(load)
    }

    /// A line of progress.
    fn tell(&self, number: usize, turn: Turn, outcome: &Outcome) {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "run {number}/{}: {}, {}, repetition {}: {}",
            self.runs(),
            self.cases[turn.case].name,
            self.cell(turn).what,
            turn.repetition + 1,
            brief(outcome),
        );
    }
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(why) => format!("failed: {why}"),
        Outcome::Shared(run) => format!("{:.1} % for the first", run.first_share() * 100.0),
        Outcome::Run(run) => brief_run(run),
    }
}

fn brief_run(run: &Run) -> String {
    let latencies = run.sources.iter().filter_map(|source| {
        let latency = source.latency?;
        let (p50, p95, p99) = (latency.p50, latency.p95, latency.p99);
        Some(format!("{} {p50:.0}/{p95:.0}/{p99:.0} ms", source.name))
    });
    let latencies: Vec<String> = latencies.collect();
    format!("{:?}, {:.1} Mbit/s, {}", run.verdict, run.goodput_mbit, latencies.join(", "))
}
