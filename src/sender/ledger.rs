//! What has become of each frame of a source. It outlives sessions.

use std::collections::BTreeMap;

use std::ops::Range;

use serde::Serialize;

use super::schedule::Due;
use crate::frame::{RunId, Sequence, UnixNanos};
use crate::source::Extent;

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
    /// No more frames will come about.
    ended: bool,
    next: u64,
    again: BTreeMap<u64, OpenFrame>,
    open: BTreeMap<u64, OpenFrame>,
    slots: u64,
    arrived: u64,
    pub(super) stored: u64,
    pub(super) already: u64,
    pub(super) bytes: u64,
    pub(super) failed: Vec<FailedFrame>,
    pub(super) failed_count: u64,
}

/// A frame that is begun and not settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenFrame {
    /// When it falls due, once that is known. It keeps that when it is sent again.
    pub(super) due: Option<Due>,
    /// It was handed to a transport before: if the receiver has it, it has it from us.
    sent: bool,
}

/// A frame that is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedFrame {
    /// Place in the source.
    pub sequence: u64,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Failures that are kept by name; more are counted.
pub(super) const MAX_NAMED_FAILURES: usize = 10_000;

impl Ledger {
    /// The account of a run of which nothing is known yet.
    pub(super) fn of_run(run: RunId, began: UnixNanos) -> Self {
        Self { run, began, ..Self::default() }
    }

    /// Takes in what the source has by now.
    pub(super) fn grow(&mut self, extent: Extent) {
        self.frames = self.frames.max(extent.frames);
        self.ended |= extent.ended;
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// True where no other frame will come about.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The sequence of the frame at place 0.
    pub(super) fn origin(&self) -> Sequence {
        Sequence(0)
    }

    /// Frames that are settled, one way or another.
    pub(super) fn settled(&self) -> u64 {
        self.stored + self.already + self.failed_count
    }

    /// True where every frame is settled and no other will come.
    pub(super) fn is_settled(&self) -> bool {
        self.ended && self.settled() == self.frames
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

    /// True where the frame is begun and not open any more.
    pub(super) fn is_settled_frame(&self, sequence: Sequence) -> bool {
        let sequence = sequence.0;
        let begun = sequence < self.next;
        begun && !self.open.contains_key(&sequence) && !self.again.contains_key(&sequence)
    }

    /// When the frame falls due, decided at the first asking: `decide` is given how many have been asked for
    /// before it that arrived as it did, or did not.
    pub(super) fn due(
        &mut self,
        sequence: Sequence,
        arrived: bool,
        decide: impl FnOnce(u64) -> Due,
    ) -> Option<Due> {
        let frame = self.open.get_mut(&sequence.0)?;
        let count = if arrived { &mut self.arrived } else { &mut self.slots };
        Some(*frame.due.get_or_insert_with(|| {
            *count += 1;
            decide(*count - 1)
        }))
    }

    /// The same, where it was decided.
    pub(super) fn due_of(&self, sequence: Sequence) -> Option<Due> {
        self.open.get(&sequence.0).and_then(|frame| frame.due)
    }

    /// Frames of the range that are begun and not settled, in this session or left over from one before;
    /// `None` where it reaches beyond what was begun.
    pub(super) fn unsettled_within(&self, range: Range<u64>) -> Option<Vec<Sequence>> {
        if range.end > self.next {
            return None;
        }
        let within = |frames: &BTreeMap<u64, OpenFrame>| -> Vec<Sequence> {
            frames.range(range.clone()).map(|(&sequence, _)| Sequence(sequence)).collect()
        };
        let mut unsettled = within(&self.open);
        unsettled.append(&mut within(&self.again));
        Some(unsettled)
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

    /// The receiver has confirmed the frame; what was known of it, where it was open.
    pub(super) fn confirm(&mut self, sequence: Sequence, bytes: u64) -> Option<OpenFrame> {
        let known = self.open.remove(&sequence.0)?;
        self.stored += 1;
        self.bytes += bytes;
        Some(known)
    }

    /// The receiver had the frame before it was sent: from a lost session of this run, maybe. True then.
    pub(super) fn found(&mut self, sequence: Sequence, bytes: u64) -> bool {
        match self.open.remove(&sequence.0) {
            Some(frame) if frame.sent => {
                self.stored += 1;
                self.bytes += bytes;
                true
            }
            Some(_) => {
                self.already += 1;
                false
            }
            None => false,
        }
    }

    /// The frame will not be stored. False where it was not open.
    pub(super) fn fail(&mut self, sequence: Sequence, name: String, reason: String) -> bool {
        if self.open.remove(&sequence.0).is_none() {
            return false;
        }
        self.failed_count += 1;
        if self.failed.len() < MAX_NAMED_FAILURES {
            self.failed.push(FailedFrame { sequence: sequence.0, name, reason });
        }
        true
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

    use super::super::schedule::Schedule;
    use super::*;

    fn ledger(frames: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.grow(Extent::fixed(frames));
        ledger
    }

    #[test]
    fn a_frame_sent_before_the_session_was_lost_counts_as_stored() {
        let mut ledger = ledger(2);
        ledger.begin(2);
        ledger.sent(Sequence(0));
        ledger.session_lost();
        assert_eq!(ledger.begin(9), [Sequence(0), Sequence(1)]);
        assert!(ledger.found(Sequence(0), 5) && !ledger.found(Sequence(1), 5));
        assert_eq!((ledger.stored, ledger.already, ledger.bytes), (1, 1, 5));
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_frame_keeps_its_place_in_the_schedule() {
        let mut ledger = ledger(4);
        let now = std::time::Instant::now();
        let place = |ledger: &mut Ledger, sequence, arrived| {
            let mut place = None;
            let decide = |slot| {
                place = Some(slot);
                Schedule::arrived(now, slot)
            };
            let due = ledger.due(Sequence(sequence), arrived, decide);
            assert_eq!(due.is_some(), sequence < 4);
            place
        };
        ledger.begin(4);
        assert_eq!(place(&mut ledger, 2, false), Some(0));
        assert_eq!(place(&mut ledger, 3, true), Some(0), "what arrives takes nobody's place");
        assert_eq!(place(&mut ledger, 1, false), Some(1));
        assert_eq!(place(&mut ledger, 9, false), None);
        ledger.session_lost();
        ledger.begin(4);
        assert_eq!(place(&mut ledger, 2, false), None, "it has its place");
        assert_eq!(place(&mut ledger, 0, false), Some(2));
    }

    #[test]
    fn a_source_that_grows_is_settled_when_it_has_ended() {
        let mut ledger = Ledger::default();
        ledger.grow(Extent::growing(1));
        assert_eq!(ledger.begin(9), [Sequence(0)]);
        ledger.confirm(Sequence(0), 1);
        assert!(!ledger.is_settled() && ledger.begin(9).is_empty());
        ledger.grow(Extent::growing(3));
        assert_eq!(ledger.begin(9), [Sequence(1), Sequence(2)]);
        assert_eq!(ledger.unsettled_within(0..3), Some(vec![Sequence(1), Sequence(2)]));
        assert_eq!(ledger.unsettled_within(0..4), None);
        ledger.confirm(Sequence(1), 1);
        ledger.confirm(Sequence(2), 1);
        ledger.grow(Extent::fixed(3));
        assert!(ledger.is_settled());
    }

    proptest! {
        #[test]
        fn every_frame_is_settled_once(steps in proptest::collection::vec((0_u8..6, 0_u64..20), 0..200)) {
            let mut ledger = ledger(20);
            for (step, sequence) in steps {
                let sequence = Sequence(sequence);
                match step {
                    0 => { ledger.begin(3); }
                    1 => { ledger.confirm(sequence, 1); }
                    2 => { ledger.found(sequence, 1); }
                    3 => { ledger.fail(sequence, String::new(), String::new()); }
                    4 => ledger.session_lost(),
                    _ => ledger.sent(sequence),
                }
                let unsettled = ledger.unsettled().count() as u64;
                prop_assert_eq!(unsettled + ledger.settled(), 20);
            }
        }
    }
}
