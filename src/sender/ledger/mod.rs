//! What has become of each frame of a source. It outlives sessions.

mod drops;
mod failed;
mod unbegun;

use std::collections::BTreeMap;
use std::ops::Range;

use drops::Drops;
pub use failed::FailedFrame;
pub(super) use failed::Loss;
use unbegun::Unbegun;

use super::hold::Hold;
use super::schedule::Due;
use crate::frame::{DropRange, DropReason, RunId, Sequence, UnixNanos};
use crate::source::{Dropped, Extent, Recalled};
use crate::wire::SequenceRun;

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
    unbegun: Unbegun,
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
    /// Frames of an earlier process that are lost, which this one declares, by reason.
    pub(super) dropped_before: BTreeMap<&'static str, u64>,
    pub(super) drops: Drops,
    /// In words that the receiver does not take its frames, which are another sender's there, as its last session has said.
    pub(super) declined: Option<String>,
    /// The receiver had no room for its frames when the last session ended.
    pub(super) hold: Option<Hold>,
}

/// A frame that is begun and not settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenFrame {
    /// When it falls due, once that is known. It keeps that when it is sent again.
    pub(super) due: Option<Due>,
    /// It was handed to a transport before: if the receiver has it, it has it from us.
    sent: bool,
    /// The receiver has said that it has no such frame, which was offered with so many bytes.
    wanted: Option<u64>,
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
            unbegun: Unbegun::of(recalled.left),
            origin: recalled.origin.map(|origin| origin.0),
            ..Self::of_run(recalled.run, recalled.began)
        };
        for dropped in recalled.dropped {
            let count = dropped.places.end.saturating_sub(dropped.places.start);
            *ledger.dropped_before.entry(dropped.reason.name()).or_default() += count;
            ledger.drops.add(dropped);
        }
        ledger
    }

    /// Frames of the run that will not come, as the receiver counts them: also those that an earlier process has lost.
    pub(super) fn lost_of_run(&self) -> u64 {
        self.failed_count + self.dropped_before.values().sum::<u64>()
    }

    /// Takes in what the source has by now.
    pub(super) fn grow(&mut self, extent: Extent) {
        if extent.frames > self.frames {
            self.unbegun.add(self.frames..extent.frames);
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

    /// True where no other frame will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// True where every frame is settled and no other will come.
    pub(super) fn is_settled(&self) -> bool {
        self.ended && self.settled() == self.frames
    }

    /// Frames of which the receiver is to be told next that they will not come.
    pub(super) fn declare(&mut self) -> Vec<DropRange> {
        let told = self.drops.tell().into_iter();
        told.map(|range| DropRange { first: self.sequence(range.first), ..range }).collect()
    }

    /// Whether frames wait to be begun, or begun again.
    pub(super) fn has_waiting(&self) -> bool {
        !self.unbegun.is_empty() || !self.again.is_empty()
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
        self.drops.noted(frames.iter().map(place).collect())
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
        let places = self.unbegun.take_oldest(most, wanted);
        places.into_iter().map(|place| self.open(place)).collect()
    }

    /// The same from the newest on; in order.
    pub(super) fn begin_newest(
        &mut self,
        most: usize,
        wanted: impl Fn(Sequence) -> bool,
    ) -> Vec<Sequence> {
        let places = self.unbegun.take_newest(most, wanted);
        places.into_iter().map(|place| self.open(place)).collect()
    }

    fn open(&mut self, place: u64) -> Sequence {
        let sent = place < self.recalled;
        self.open.insert(place, OpenFrame { sent, ..OpenFrame::default() });
        self.begun_to = self.begun_to.max(place + 1);
        Sequence(place)
    }

    /// True where the frame is begun and not open any more.
    pub(super) fn is_settled_frame(&self, sequence: Sequence) -> bool {
        let place = sequence.0;
        let is_begun = place < self.begun_to && !self.unbegun.contains(place);
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
        let count = gone.len() as u64 + self.unbegun.cut(start..end);
        if count > 0 {
            self.failed_count += count;
            *self.dropped.entry(dropped.reason.name()).or_default() += count;
            self.drops.add(dropped.clone());
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

    /// Notes that the receiver wants the frame, which has so many bytes.
    pub(super) fn wanted(&mut self, sequence: Sequence, bytes: u64) {
        if let Some(frame) = self.open.get_mut(&sequence.0) {
            frame.wanted = Some(bytes);
        }
    }

    /// When a frame falls due and how long it is, where the receiver has said, in this session or one before, that it
    /// wants it, and it was handed to no transport since: nothing has changed about that.
    pub(super) fn still_wanted(&self, sequence: Sequence) -> Option<(Due, u64)> {
        let frame = self.open.get(&sequence.0).filter(|frame| !frame.sent)?;
        frame.due.zip(frame.wanted)
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
        self.drops.add_one(place, why.reason, why.captured);
        true
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

    /// Frames that are neither stored nor dropped.
    pub(super) fn missing(&self) -> u64 {
        self.frames_here() - self.stored - self.already - self.dropped.values().sum::<u64>()
    }

    /// The session is gone: what it had begun has to be begun again.
    pub(super) fn session_lost(&mut self) {
        self.again.append(&mut self.open);
        self.drops.session_lost();
    }

    /// Places of frames that are not settled, in order.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = Sequence> + '_ {
        let begun = self.again.keys().chain(self.open.keys()).copied();
        let mut all: Vec<u64> = begun.chain(self.unbegun.places()).collect();
        all.sort_unstable();
        all.into_iter().map(Sequence)
    }

    /// The oldest of them.
    pub(super) fn oldest_unsettled(&self) -> Option<Sequence> {
        let begun = [self.again.keys().next().copied(), self.open.keys().next().copied()];
        let unbegun = self.unbegun.oldest();
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
mod tests;
