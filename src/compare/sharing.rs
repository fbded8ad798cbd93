//! Two senders over one link at the same time: who takes how much of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::CompareError;
use super::cell::{Cell, GOODBYE, ReceivingEnd, STORING, SendingEnd, Witness};
use super::ends::End;
use super::measure::{confirmed_and_gone, millis_between, wire};
use super::outcome::Wire;
use super::rig::Rig;
use super::stored::find;
use super::variant::Variant;
use super::workload::Workload;
use crate::frame::{Sequence, UnixNanos};
use crate::link::{Emulation, LinkSpec};
use crate::source::Source;

/// The second sender starts so much later: the first one has the link to itself until then.
const APART: Duration = Duration::from_secs(1);

/// How often it is looked whether a sender has ended.
const TICK: Duration = Duration::from_millis(10);

/// What two senders took of one link.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedRun {
    /// The link's seed.
    pub seed: u64,
    /// How long both were active.
    pub seconds: f64,
    /// The one that started first, and the other.
    pub flows: Vec<SharedFlow>,
    /// Counts of the link, of both together.
    pub wire: Wire,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedFlow {
    /// How it sent.
    pub variant: Variant,
    /// Payload stored while both were active.
    pub goodput_mbit: f64,
    /// Frames stored altogether.
    pub stored: u64,
    /// Frames whose receipt came although they are not in the store.
    pub lost: u64,
    /// Frames that are stored with other content than was sent.
    pub altered: u64,
    /// Frames that are stored more than once.
    pub twice: u64,
}

impl SharedRun {
    /// The share that the first one took of what both carried; 0 where neither carried anything.
    pub fn first_share(&self) -> f64 {
        let all: f64 = self.flows.iter().map(|flow| flow.goodput_mbit).sum();
        let first = self.flows.first().map_or(0.0, |flow| flow.goodput_mbit);
        if all > 0.0 { first / all } else { 0.0 }
    }
}

/// One sender with its receiver, both running.
struct Flow<'a> {
    cell: Cell<'a>,
    receiver: ReceivingEnd,
    sender: SendingEnd,
    witness: Arc<Witness>,
}

impl Rig<'_> {
    /// Lets two variants send `workload` each over one link, the second a second later, and stops
    /// them when both have been active for `lasts`, or one has sent all.
    ///
    /// # Errors
    /// [`CompareError`] where the machine does not allow it, or it was interrupted.
    pub fn share(
        &self,
        link: &LinkSpec,
        variants: [&Variant; 2],
        workload: &Workload,
        lasts: Duration,
    ) -> Result<SharedRun, CompareError> {
        let places = variants.map(|_| self.new_place());
        let stores: Vec<PathBuf> = places.iter().map(|place| self.scratch.place(place)).collect();
        let cell = |index: usize| Cell {
            privilege: self.privilege,
            links: std::slice::from_ref(link),
            variant: variants[index],
            workload,
            identities: &self.identities,
            store: &stores[index],
            interrupted: self.interrupted,
        };
        let run = self.run_both(link, [cell(0), cell(1)], lasts);
        places.iter().for_each(|place| self.scratch.clear(place));
        run
    }

    fn run_both(
        &self,
        link: &LinkSpec,
        cells: [Cell<'_>; 2],
        lasts: Duration,
    ) -> Result<SharedRun, CompareError> {
        let emulation = Emulation::start(self.privilege, link)?;
        let far = End::start("receivers", emulation.far())?;
        let near = End::start("senders", emulation.near())?;
        let mut flows = Vec::new();
        for cell in cells {
            if let Some(first) = flows.last() {
                self.wait(APART, std::slice::from_ref(first))?;
            } else {
                emulation.replace(link)?;
            }
            let receiver = ReceivingEnd::start(&cell, &far, &emulation)?;
            let witness = Arc::new(Witness::default());
            let sender = SendingEnd::start(&cell, &near, &emulation, receiver.address, &witness)?;
            flows.push(Flow { cell, receiver, sender, witness });
        }
        let from = UnixNanos::now();
        self.wait(lasts, &flows)?;
        let until = UnixNanos::now();
        let counts = emulation.stats();
        for flow in &flows {
            flow.sender.stop.send_replace(true);
        }
        let flows = flows.into_iter().map(|flow| flow.end(&near, &far, from, until));
        let flows = flows.collect::<Result<_, _>>();
        near.stop();
        far.stop();
        Ok(SharedRun {
            seed: link.seed.unwrap_or_default(),
            seconds: millis_between(from, until) / 1e3,
            flows: flows?,
            wire: wire(&counts),
        })
    }

    /// Waits for a time, or until a sender has ended.
    fn wait(&self, time: Duration, flows: &[Flow<'_>]) -> Result<(), CompareError> {
        let end = Instant::now() + time;
        while Instant::now() < end && !flows.iter().any(|flow| flow.sender.task.is_finished()) {
            if *self.interrupted.borrow() {
                return Err(CompareError::Interrupted);
            }
            thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Flow<'_> {
    /// Ends it, and reads what it has stored, and what of that between two times.
    fn end(
        self,
        near: &End,
        far: &End,
        from: UnixNanos,
        until: UnixNanos,
    ) -> Result<SharedFlow, CompareError> {
        let _ = near.wait_briefly(self.sender.task, GOODBYE);
        self.receiver.stop.send_replace(true);
        let _ = far.wait_briefly(self.receiver.task, STORING);
        let confirmed = self.witness.take();
        let variant = self.cell.variant.clone();
        let mut flow =
            SharedFlow { variant, goodput_mbit: 0.0, stored: 0, lost: 0, altered: 0, twice: 0 };
        let mut bytes = 0;
        for (index, clip) in self.cell.workload.clips.iter().enumerate() {
            let found = find(&self.cell.store.join(clip.name().as_str()), clip)?;
            let between = found.good.iter().filter(|frame| (from..=until).contains(&frame.stored));
            bytes += between.map(|frame| clip.bytes_of(Sequence(frame.sequence.0))).sum::<u64>();
            flow.stored += found.good.len() as u64;
            flow.lost += confirmed_and_gone(&confirmed, index, &found);
            flow.altered += found.altered;
            flow.twice += found.twice;
        }
        flow.goodput_mbit = bytes as f64 * 8e-3 / millis_between(from, until).max(1.0);
        Ok(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::Congestion;

    #[test]
    fn shares_are_of_what_both_carried() {
        let flow = |goodput_mbit| SharedFlow {
            variant: Variant::quic(Congestion::default()),
            goodput_mbit,
            stored: 0,
            lost: 0,
            altered: 0,
            twice: 0,
        };
        let run = |first, second| SharedRun {
            seed: 0,
            seconds: 1.0,
            flows: vec![flow(first), flow(second)],
            wire: Wire::default(),
        };
        assert_eq!(run(10.0, 30.0).first_share(), 0.25);
        assert_eq!(run(0.0, 0.0).first_share(), 0.0);
    }
}
