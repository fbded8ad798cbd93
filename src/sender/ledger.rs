//! What has become of each frame of a source. It outlives sessions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use serde::Serialize;

use super::schedule::Due;
use crate::frame::{DropRange, DropReason, RunId, Sequence, UnixNanos};
use crate::source::{Dropped, Extent, Recalled};
use crate::wire::{MAX_ENTRIES, SequenceRun};

/// The account of one source.
///
/// Every frame is in one of four places: not begun (`unbegun`), left over from a lost session
/// (`again`), begun in this one (`open`), or settled, of which only counts are kept, and the names
/// of failures. So memory does not grow with the number of frames.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The run that this is the account of, and when it began.
    pub(super) run: RunId,
    pub(super) began: UnixNanos,
    /// Its frames are others than those of the runs before.
    pub(super) goes_on: bool,
    /// The sequence of the frame at place 0, once it is known.
    origin: Option<u64>,
    frames: u64,
    /// No more frames will come about.
    ended: bool,
    /// In order, none of them touching.
    unbegun: VecDeque<Range<u64>>,
    /// One more than the highest place that was begun.
    begun_to: u64,
    /// Places below are of an earlier process, which may have sent them.
    recalled: u64,
    /// Frames that were settled, or lost, before this process.
    earlier: u64,
    again: BTreeMap<u64, OpenFrame>,
    open: BTreeMap<u64, OpenFrame>,
    slots: u64,
    arrived: u64,
    pub(super) stored: u64,
    pub(super) already: u64,
    pub(super) bytes: u64,
    pub(super) failed: Vec<FailedFrame>,
    pub(super) failed_count: u64,
    /// Frames that will not come, by reason.
    pub(super) dropped: BTreeMap<&'static str, u64>,
    /// Frames that will not come and of which the receiver has not been told, and those of which it has, but
    /// has not noted it. By their places.
    undeclared: Vec<DropRange>,
    declared: Vec<DropRange>,
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
    /// Why, in a word, where the receiver was told that it will not come: it is dropped, and else missing.
    pub dropped: Option<&'static str>,
    /// Why.
    pub reason: String,
}

/// Why a frame will not come.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) reason: DropReason,
    /// For people.
    pub(super) words: String,
    /// When it was captured, where that is known.
    pub(super) captured: Option<UnixNanos>,
}

/// Failures that are kept by name; more are counted.
pub(super) const MAX_NAMED_FAILURES: usize = 10_000;

impl Ledger {
    /// The account of a run of which nothing is known yet.
    pub(super) fn of_run(run: RunId, began: UnixNanos) -> Self {
        Self { run, began, ..Self::default() }
    }

    /// The account of a run that an earlier process began, or that is remembered from now on.
    pub(super) fn recalled(recalled: Recalled) -> Self {
        let left: u64 = recalled.left.iter().map(|left| left.end - left.start).sum();
        let mut ledger = Self {
            frames: recalled.frames,
            recalled: recalled.frames,
            earlier: recalled.frames - left,
            unbegun: recalled.left.into(),
            origin: recalled.origin.map(|origin| origin.0),
            ..Self::of_run(recalled.run, recalled.began)
        };
        recalled.dropped.into_iter().for_each(|dropped| ledger.note_range(dropped));
        ledger
    }

    /// Takes in what the source has by now.
    pub(super) fn grow(&mut self, extent: Extent) {
        if extent.frames > self.frames {
            match self.unbegun.back_mut() {
                Some(last) if last.end == self.frames => last.end = extent.frames,
                _ => self.unbegun.push_back(self.frames..extent.frames),
            }
            self.frames = extent.frames;
        }
        self.ended |= extent.ended;
    }

    /// All frames of the run.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Those of them that this process has to do with.
    pub(super) fn frames_here(&self) -> u64 {
        self.frames - self.earlier
    }

    /// How many of these are settled.
    pub(super) fn settled_here(&self) -> u64 {
        self.settled() - self.earlier
    }

    /// The sequence of the frame at place 0; `None` as long as the receiver has to say it.
    pub(super) fn origin(&self) -> Option<Sequence> {
        self.origin.map(Sequence)
    }

    /// The frame at place 0 is called so. The first word counts.
    pub(super) fn begin_at(&mut self, origin: Sequence) {
        self.origin.get_or_insert(origin.0);
    }

    /// What the receiver calls the frame at a place.
    pub(super) fn sequence(&self, place: Sequence) -> Sequence {
        Sequence(self.origin.unwrap_or(0).saturating_add(place.0))
    }

    /// The place of a frame that the receiver calls so, where it can be of this run.
    pub(super) fn place(&self, sequence: Sequence) -> Option<Sequence> {
        sequence.0.checked_sub(self.origin.unwrap_or(0)).map(Sequence)
    }

    /// Frames that are settled, one way or another.
    pub(super) fn settled(&self) -> u64 {
        self.earlier + self.stored + self.already + self.failed_count
    }

    /// When the frame that has waited the longest fell due, of those that are begun and not settled, where that is
    /// known of the first.
    pub(super) fn oldest_due(&self) -> Option<Due> {
        let first =
            |frames: &BTreeMap<u64, OpenFrame>| frames.values().next().and_then(|frame| frame.due);
        [first(&self.again), first(&self.open)].into_iter().flatten().min_by_key(|due| due.at)
    }

    /// True where every frame is settled and no other will come.
    pub(super) fn is_settled(&self) -> bool {
        self.ended && self.settled() == self.frames
    }

    /// True where the receiver has noted every frame that will not come.
    pub(super) fn is_declared(&self) -> bool {
        self.undeclared.is_empty() && self.declared.is_empty()
    }

    /// Frames of which the receiver is to be told next that they will not come.
    pub(super) fn declare(&mut self) -> Vec<DropRange> {
        let most = self.undeclared.len().min(MAX_ENTRIES);
        let ranges: Vec<_> = self.undeclared.drain(..most).collect();
        self.declared.extend_from_slice(&ranges);
        let told = ranges.into_iter();
        told.map(|range| DropRange { first: self.sequence(range.first), ..range }).collect()
    }

    /// Whether frames wait to be begun, or begun again.
    pub(super) fn has_waiting(&self) -> bool {
        !self.unbegun.is_empty() || !self.again.is_empty()
    }

    /// Whether there are such frames.
    pub(super) fn has_undeclared(&self) -> bool {
        !self.undeclared.is_empty()
    }

    /// Whether the receiver owes a note of some.
    pub(super) fn awaits_notes(&self) -> bool {
        !self.declared.is_empty()
    }

    /// The receiver has noted these; the places of those of them that were waited for.
    pub(super) fn noted(&mut self, frames: &[SequenceRun]) -> Vec<Range<u64>> {
        let origin = self.origin.unwrap_or(0);
        let place = |run: &SequenceRun| {
            // What is before this run is none of its frames.
            let before = origin.saturating_sub(run.first.0).min(run.count);
            let first = Sequence(run.first.0.saturating_add(before).saturating_sub(origin));
            SequenceRun { first, count: run.count - before }
        };
        let mut noted: Vec<_> = frames.iter().map(place).collect();
        noted.sort_unstable_by_key(|run| run.first);
        self.declared.sort_unstable_by_key(|range| range.first);
        let (mut runs, mut news) = (noted.into_iter().peekable(), Vec::new());
        let mut left = Vec::new();
        for range in std::mem::take(&mut self.declared) {
            let (mut first, end) = (range.first.0, range.first.0.saturating_add(range.count));
            // Both lists go up, so what ends before this range ends before all that follow.
            while first < end {
                let Some(run) = runs.peek() else { break };
                let (from, to) = (run.first.0, run.first.0.saturating_add(run.count));
                if to <= first {
                    runs.next();
                    continue;
                }
                if from >= end {
                    break;
                }
                news.push(from.max(first)..to.min(end));
                if from > first {
                    left.push(DropRange { first: Sequence(first), count: from - first, ..range });
                }
                first = to.min(end);
            }
            if first < end {
                left.push(DropRange { first: Sequence(first), count: end - first, ..range });
            }
        }
        self.declared = left;
        news
    }

    /// Begins up to `most` frames, those left over from a lost session first, and then the oldest.
    pub(super) fn begin(&mut self, most: usize) -> Vec<Sequence> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some((place, frame)) = self.again.pop_first() else { break };
            self.open.insert(place, frame);
            batch.push(Sequence(place));
        }
        let left = most - batch.len();
        batch.extend(self.begin_oldest(left, |_| true));
        batch
    }

    /// Begins up to `most` frames that were never begun, from the oldest on, as long as they are `wanted`.
    pub(super) fn begin_oldest(
        &mut self,
        most: usize,
        wanted: impl Fn(Sequence) -> bool,
    ) -> Vec<Sequence> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(first) = self.unbegun.front_mut() else { break };
            let place = first.start;
            if !wanted(Sequence(place)) {
                break;
            }
            first.start += 1;
            if first.is_empty() {
                self.unbegun.pop_front();
            }
            batch.push(self.open(place));
        }
        batch
    }

    /// The same from the newest on; in order.
    pub(super) fn begin_newest(
        &mut self,
        most: usize,
        wanted: impl Fn(Sequence) -> bool,
    ) -> Vec<Sequence> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(last) = self.unbegun.back_mut() else { break };
            let place = last.end - 1;
            if !wanted(Sequence(place)) {
                break;
            }
            last.end = place;
            if last.is_empty() {
                self.unbegun.pop_back();
            }
            batch.push(self.open(place));
        }
        batch.reverse();
        batch
    }

    fn open(&mut self, place: u64) -> Sequence {
        let sent = place < self.recalled;
        self.open.insert(place, OpenFrame { due: None, sent });
        self.begun_to = self.begun_to.max(place + 1);
        Sequence(place)
    }

    fn is_unbegun(&self, place: u64) -> bool {
        let after = self.unbegun.partition_point(|range| range.start <= place);
        after.checked_sub(1).is_some_and(|at| self.unbegun[at].contains(&place))
    }

    /// True where the frame is begun and not open any more.
    pub(super) fn is_settled_frame(&self, sequence: Sequence) -> bool {
        let place = sequence.0;
        let is_begun = place < self.begun_to && !self.is_unbegun(place);
        is_begun && !self.open.contains_key(&place) && !self.again.contains_key(&place)
    }

    /// The source itself has dropped these: those that were not settled before.
    pub(super) fn drop_range(&mut self, dropped: &Dropped) -> u64 {
        let Range { start, end } = dropped.places;
        let mut gone: Vec<u64> = Vec::new();
        for frames in [&mut self.open, &mut self.again] {
            let found: Vec<u64> = frames.range(start..end).map(|(&place, _)| place).collect();
            for place in &found {
                frames.remove(place);
            }
            gone.extend(found);
        }
        let mut unbegun = 0;
        let left = std::mem::take(&mut self.unbegun).into_iter().flat_map(|range| {
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from >= to {
                return [range.clone(), range.end..range.end];
            }
            unbegun += to - from;
            [range.start..from, to..range.end]
        });
        self.unbegun = left.filter(|range| !range.is_empty()).collect();
        let count = gone.len() as u64 + unbegun;
        if count > 0 {
            self.failed_count += count;
            *self.dropped.entry(dropped.reason.name()).or_default() += count;
            self.note_range(dropped.clone());
        }
        count
    }

    /// A frame that was given up has been stored after all, before the receiver knew.
    pub(super) fn stored_after_all(&mut self, reason: DropReason, bytes: u64) {
        self.failed_count -= 1;
        if let Some(count) = self.dropped.get_mut(reason.name()) {
            *count -= 1;
        }
        self.dropped.retain(|_, count| *count > 0);
        self.stored += 1;
        self.bytes += bytes;
    }

    fn note_range(&mut self, dropped: Dropped) {
        let Dropped { places, reason, captured } = dropped;
        let (first, count) = (Sequence(places.start), places.end.saturating_sub(places.start));
        if count > 0 {
            self.undeclared.push(DropRange { first, count, reason, captured });
        }
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
        if range.end > self.begun_to.max(self.recalled) {
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
    pub(super) fn fail(&mut self, place: Sequence, name: String, why: Loss) -> bool {
        if self.open.remove(&place.0).is_none() {
            return false;
        }
        self.failed_count += 1;
        let sequence = self.sequence(place);
        let dropped = why.reason.name();
        *self.dropped.entry(dropped).or_default() += 1;
        if !why.reason.is_wanted() && self.failed.len() < MAX_NAMED_FAILURES {
            let (sequence, dropped) = (sequence.0, Some(dropped));
            self.failed.push(FailedFrame { sequence, name, dropped, reason: why.words });
        }
        self.note_drop(place, why.reason, why.captured);
        true
    }

    fn note_drop(&mut self, sequence: Sequence, reason: DropReason, captured: Option<UnixNanos>) {
        if let Some(last) = self.undeclared.last_mut()
            && last.reason == reason
            && last.first.0.checked_add(last.count) == Some(sequence.0)
            && last.captured.is_some() == captured.is_some()
        {
            last.count += 1;
            if let (Some((_, newest)), Some(at)) = (&mut last.captured, captured) {
                *newest = at;
            }
            return;
        }
        let captured = captured.map(|at| (at, at));
        self.undeclared.push(DropRange { first: sequence, count: 1, reason, captured });
    }

    /// Nothing more is sent: every frame that is not settled will not come, and no other is captured. Those of
    /// them that were not before.
    pub(super) fn give_up(&mut self) -> Vec<Sequence> {
        let places: Vec<_> = self.unsettled().collect();
        self.open.append(&mut self.again);
        while !self.begin_oldest(usize::MAX, |_| true).is_empty() {}
        self.ended = true;
        places
    }

    /// Places of frames that were given up at the end of the run, and of which the receiver has not noted that: as far as
    /// anybody but this sender knows they may still come.
    pub(super) fn given_up_untold(&self) -> Vec<Range<u64>> {
        let untold = self.undeclared.iter().chain(&self.declared);
        let given_up = untold.filter(|range| range.reason == DropReason::GivenUp);
        given_up.map(|range| range.first.0..range.first.0.saturating_add(range.count)).collect()
    }

    /// Frames that are neither stored nor dropped.
    pub(super) fn missing(&self) -> u64 {
        self.frames_here() - self.stored - self.already - self.dropped.values().sum::<u64>()
    }

    /// The session is gone: what it had begun has to be begun again.
    pub(super) fn session_lost(&mut self) {
        self.again.append(&mut self.open);
        let told = std::mem::take(&mut self.declared);
        self.undeclared.splice(..0, told);
    }

    /// Places of frames that are not settled, in order.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = Sequence> + '_ {
        let begun = self.again.keys().chain(self.open.keys()).copied();
        let mut all: Vec<u64> = begun.chain(self.unbegun.iter().cloned().flatten()).collect();
        all.sort_unstable();
        all.into_iter().map(Sequence)
    }

    /// The oldest of them.
    pub(super) fn oldest_unsettled(&self) -> Option<Sequence> {
        let begun = [self.again.keys().next().copied(), self.open.keys().next().copied()];
        let unbegun = self.unbegun.front().map(|range| range.start);
        begun.into_iter().flatten().chain(unbegun).min().map(Sequence)
    }

    /// Frames of the session before that were never handed to a transport, and are not `wanted` any more: begun.
    pub(super) fn begin_unsent(&mut self, is_over: impl Fn(Sequence) -> bool) -> Vec<Sequence> {
        let over =
            self.again.iter().filter(|&(&place, frame)| !frame.sent && is_over(Sequence(place)));
        let over: Vec<u64> = over.map(|(&place, _)| place).collect();
        for place in &over {
            if let Some(frame) = self.again.remove(place) {
                self.open.insert(*place, frame);
            }
        }
        over.into_iter().map(Sequence).collect()
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

    fn loss(reason: DropReason) -> Loss {
        Loss { reason, words: String::new(), captured: None }
    }

    #[test]
    fn what_will_not_come_is_declared_until_it_is_noted() {
        let mut ledger = ledger(10);
        ledger.begin_at(Sequence(100));
        ledger.begin(10);
        for place in [2, 3, 4, 7] {
            ledger.fail(Sequence(place), String::new(), loss(DropReason::Late));
        }
        ledger.fail(Sequence(8), "8".to_owned(), loss(DropReason::Unreadable));
        assert_eq!((ledger.missing(), ledger.dropped["late"]), (5, 4));
        assert_eq!((ledger.dropped["unreadable"], ledger.failed.len()), (1, 1));
        let told: Vec<_> =
            ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
        assert_eq!(told, [(102, 3), (107, 1), (108, 1)]);
        let noted = |first, count| SequenceRun { first: Sequence(first), count };
        let none = ledger.noted(&[noted(50, 52), noted(105, 2)]);
        assert!(none.is_empty(), "none of these was told: {none:?}");
        assert_eq!(ledger.noted(&[noted(107, 9), noted(103, 1)]), [3..4, 7..8, 8..9]);
        // What was not noted when the session was lost is told in the next.
        ledger.session_lost();
        assert!(!ledger.is_declared() && ledger.has_undeclared());
        let left: Vec<_> =
            ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
        assert_eq!(left, [(102, 1), (104, 1)]);
        assert!(ledger.awaits_notes());
        assert_eq!(ledger.noted(&[noted(0, u64::MAX)]), [2..3, 4..5]);
        assert!(ledger.is_declared());
    }

    #[test]
    fn what_is_given_up_is_declared_and_counts_once() {
        let mut ledger = ledger(6);
        ledger.begin_at(Sequence(10));
        ledger.begin(2);
        ledger.session_lost();
        ledger.begin(3);
        assert!(ledger.confirm(Sequence(1), 5).is_some());
        let places = ledger.give_up();
        assert_eq!(places, [0, 2, 3, 4, 5].map(Sequence));
        for place in places {
            assert!(ledger.fail(place, String::new(), loss(DropReason::GivenUp)));
        }
        assert!(ledger.is_settled() && ledger.give_up().is_empty());
        assert_eq!((ledger.stored, ledger.dropped["given-up"], ledger.missing()), (1, 5, 0));
        assert_eq!(ledger.given_up_untold(), [0..1, 2..6]);
        let told: Vec<_> =
            ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
        assert_eq!(told, [(10, 1), (12, 4)]);
        ledger.noted(&[SequenceRun { first: Sequence(12), count: 4 }]);
        assert_eq!(ledger.given_up_untold(), std::slice::from_ref(&(0..1)));
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

    #[test]
    fn a_run_goes_on_with_what_an_earlier_process_left() {
        let late = Dropped { places: 4..6, reason: DropReason::SenderCrashed, captured: None };
        let mut recalled = Recalled::new(RunId([1; 16]), 8, vec![2..3, 6..7]);
        (recalled.origin, recalled.dropped) = (Some(Sequence(100)), vec![late]);
        let mut ledger = Ledger::recalled(recalled);
        assert_eq!((ledger.frames(), ledger.frames_here(), ledger.settled_here()), (8, 2, 0));
        ledger.grow(Extent::growing(10));
        // What is fresh goes first, and what may have been sent is known as such.
        assert_eq!(ledger.begin_newest(9, |place| place.0 > 8), [Sequence(9)]);
        assert_eq!(ledger.begin(9), [2, 6, 8].map(Sequence));
        assert!(ledger.was_sent(Sequence(2)) && !ledger.was_sent(Sequence(8)));
        for place in [2, 6, 8, 9] {
            ledger.confirm(Sequence(place), 1);
        }
        ledger.grow(Extent::fixed(10));
        assert!(ledger.is_settled() && !ledger.is_declared());
        let told: Vec<_> =
            ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
        assert_eq!((told, ledger.missing()), (vec![(104, 2)], 0));
    }

    #[test]
    fn what_the_source_drops_is_settled_wherever_it_was() {
        let mut ledger = ledger(10);
        ledger.begin(2);
        ledger.session_lost();
        ledger.begin(1);
        let full = |places| Dropped { places, reason: DropReason::SpoolFull, captured: None };
        assert_eq!(ledger.drop_range(&full(0..4)), 4);
        assert_eq!((ledger.drop_range(&full(0..4)), ledger.drop_range(&full(6..7))), (0, 1));
        assert_eq!(ledger.begin(99), [4, 5, 7, 8, 9].map(Sequence));
        assert!(ledger.is_settled_frame(Sequence(6)) && !ledger.is_settled_frame(Sequence(5)));
        assert_eq!((ledger.dropped["spool-full"], ledger.missing()), (5, 5));
        assert_eq!(ledger.oldest_unsettled(), Some(Sequence(4)));
    }

    proptest! {
        #[test]
        fn every_frame_is_settled_once(steps in proptest::collection::vec((0_u8..8, 0_u64..20), 0..200)) {
            let mut ledger = ledger(20);
            for (step, sequence) in steps {
                let sequence = Sequence(sequence);
                match step {
                    0 => { ledger.begin(3); }
                    1 => { ledger.confirm(sequence, 1); }
                    2 => { ledger.found(sequence, 1); }
                    3 => { ledger.fail(sequence, String::new(), loss(DropReason::Unreadable)); }
                    4 => ledger.session_lost(),
                    5 => { ledger.begin_newest(2, |place| place.0 > sequence.0); }
                    6 => {
                        let places = sequence.0..sequence.0 + 3;
                        let reason = DropReason::SpoolFull;
                        ledger.drop_range(&Dropped { places, reason, captured: None });
                    }
                    _ => ledger.sent(sequence),
                }
                let unsettled = ledger.unsettled().count() as u64;
                prop_assert_eq!(unsettled + ledger.settled(), 20);
            }
        }
    }
}
