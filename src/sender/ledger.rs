//! What has become of each frame of a source. It outlives sessions.

use std::collections::BTreeMap;

use super::report::FailedFrame;
use crate::frame::{RunId, Sequence, UnixNanos};

/// The account of one source.
///
/// Every frame is in one of four places: not begun (from `next` on), left over from a lost session
/// (`again`), begun in this one (`open`), or settled, of which only counts are kept, and the names
/// of failures. So memory does not grow with the number of frames.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The run that this is the account of, and when it began.
    pub(super) run: RunId,
    pub(super) began: UnixNanos,
    frames: u64,
    next: u64,
    again: BTreeMap<u64, OpenFrame>,
    open: BTreeMap<u64, OpenFrame>,
    slots: u64,
    pub(super) stored: u64,
    pub(super) already: u64,
    pub(super) bytes: u64,
    pub(super) failed: Vec<FailedFrame>,
    pub(super) failed_count: u64,
}

/// A frame that is begun and not settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenFrame {
    /// Its place in the schedule, once it has one. It keeps it when it is sent again.
    slot: Option<u64>,
    /// It was handed to a transport before: if the receiver has it, it has it from us.
    sent: bool,
}

/// Failures that are kept by name; more are counted.
pub(super) const MAX_NAMED_FAILURES: usize = 10_000;

impl Ledger {
    pub(super) fn new(frames: u64) -> Self {
        Self { frames, ..Self::default() }
    }

    /// The account of a run of that many frames.
    pub(super) fn of_run(run: RunId, began: UnixNanos, frames: u64) -> Self {
        Self { run, began, ..Self::new(frames) }
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that are settled, one way or another.
    pub(super) fn settled(&self) -> u64 {
        self.stored + self.already + self.failed_count
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled() == self.frames
    }

    /// Begins up to `most` frames, those left over from a lost session first.
    pub(super) fn begin(&mut self, most: usize) -> Vec<Sequence> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let (sequence, frame) = match self.again.pop_first() {
                Some(left_over) => left_over,
                None if self.next < self.frames => {
                    self.next += 1;
                    (self.next - 1, OpenFrame::default())
                }
                None => break,
            };
            self.open.insert(sequence, frame);
            batch.push(Sequence(sequence));
        }
        batch
    }

    /// True where the frame is begun and not settled. A receipt for any other is not ours.
    pub(super) fn is_open(&self, sequence: Sequence) -> bool {
        self.open.contains_key(&sequence.0)
    }

    /// True where the frame is begun and not open any more.
    pub(super) fn is_settled_frame(&self, sequence: Sequence) -> bool {
        let sequence = sequence.0;
        let begun = sequence < self.next;
        begun && !self.open.contains_key(&sequence) && !self.again.contains_key(&sequence)
    }

    /// The frame's place in the schedule, given out at the first asking.
    pub(super) fn slot(&mut self, sequence: Sequence) -> u64 {
        let next = self.slots;
        let Some(frame) = self.open.get_mut(&sequence.0) else { return next };
        let slot = *frame.slot.get_or_insert(next);
        if slot == next {
            self.slots += 1;
        }
        slot
    }

    /// Notes that the frame was handed to the transport.
    pub(super) fn sent(&mut self, sequence: Sequence) {
        if let Some(frame) = self.open.get_mut(&sequence.0) {
            frame.sent = true;
        }
    }

    /// True where the frame was handed to a transport, in this session or one before, and is not settled.
    pub(super) fn was_sent(&self, sequence: Sequence) -> bool {
        let frame = self.open.get(&sequence.0).or_else(|| self.again.get(&sequence.0));
        frame.is_some_and(|frame| frame.sent)
    }

    /// The receiver has confirmed the frame. False where it was not open.
    pub(super) fn confirm(&mut self, sequence: Sequence, bytes: u64) -> bool {
        let known = self.open.remove(&sequence.0).is_some();
        if known {
            self.stored += 1;
            self.bytes += bytes;
        }
        known
    }

    /// The receiver had the frame before it was sent; from a lost session of this run, maybe.
    pub(super) fn found(&mut self, sequence: Sequence, bytes: u64) {
        match self.open.remove(&sequence.0) {
            Some(frame) if frame.sent => {
                self.stored += 1;
                self.bytes += bytes;
            }
            Some(_) => self.already += 1,
            None => {}
        }
    }

    /// The frame will not be stored.
    pub(super) fn fail(&mut self, sequence: Sequence, name: String, reason: String) {
        if self.open.remove(&sequence.0).is_none() {
            return;
        }
        self.failed_count += 1;
        if self.failed.len() < MAX_NAMED_FAILURES {
            self.failed.push(FailedFrame { sequence: sequence.0, name, reason });
        }
    }

    /// The session is gone: what it had begun has to be begun again.
    pub(super) fn session_lost(&mut self) {
        self.again.append(&mut self.open);
    }

    /// Sequences that are not settled, in order.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = Sequence> + '_ {
        let begun = self.again.keys().chain(self.open.keys()).copied();
        let mut begun: Vec<u64> = begun.collect();
        begun.sort_unstable();
        begun.into_iter().chain(self.next..self.frames).map(Sequence)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_sent_before_the_session_was_lost_counts_as_stored() {
        let mut ledger = Ledger::new(2);
        ledger.begin(2);
        ledger.sent(Sequence(0));
        ledger.session_lost();
        assert_eq!(ledger.begin(9), [Sequence(0), Sequence(1)]);
        ledger.found(Sequence(0), 5);
        ledger.found(Sequence(1), 5);
        assert_eq!((ledger.stored, ledger.already, ledger.bytes), (1, 1, 5));
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_frame_keeps_its_place_in_the_schedule() {
        let mut ledger = Ledger::new(3);
        ledger.begin(3);
        assert_eq!(ledger.slot(Sequence(2)), 0);
        assert_eq!(ledger.slot(Sequence(1)), 1);
        ledger.session_lost();
        ledger.begin(3);
        assert_eq!(ledger.slot(Sequence(2)), 0);
        assert_eq!(ledger.slot(Sequence(0)), 2);
    }

    proptest! {
        #[test]
        fn every_frame_is_settled_once(steps in proptest::collection::vec((0_u8..6, 0_u64..20), 0..200)) {
            let mut ledger = Ledger::new(20);
            for (step, sequence) in steps {
                let sequence = Sequence(sequence);
                match step {
                    0 => { ledger.begin(3); }
                    1 => { ledger.confirm(sequence, 1); }
                    2 => ledger.found(sequence, 1),
                    3 => ledger.fail(sequence, String::new(), String::new()),
                    4 => ledger.session_lost(),
                    _ => ledger.sent(sequence),
                }
                let unsettled = ledger.unsettled().count() as u64;
                prop_assert_eq!(unsettled + ledger.settled(), 20);
            }
        }
    }
}
