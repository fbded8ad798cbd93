//! The stores of a receiver that hands its frames to a program: one above a folder, and one that is none.

use std::path::PathBuf;
use std::sync::Arc;

use super::desk::{Desk, Lay, Seat};
use super::received::Received;
use super::remembered::Remembered;
use super::wants::{Want, Wants};
use crate::frame::{ContentHash, RunId, Sequence, SourceName};
use crate::store::{
    FrameError, Held, Keeping, Note, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame,
    Room, Store, StoreError,
};

/// Hands out what it has stored, or what it has not stored.
#[derive(Debug)]
pub(super) struct Handing {
    /// Where frames are stored first, if anywhere.
    pub(super) below: Option<Arc<dyn Store>>,
    pub(super) desk: Arc<Desk>,
    pub(super) wants: Arc<Wants>,
}

impl Store for Handing {
    fn open(
        &self,
        source: &SourceName,
        opener: &Opener,
    ) -> Result<Box<dyn OpenSource>, StoreError> {
        let wants = self.wants.clone();
        let hand = Hand { source: source.clone(), seat: self.desk.seat(), wants, newest: None };
        Ok(match &self.below {
            Some(below) => Box::new(Stored { below: below.open(source, opener)?, hand }),
            None => Box::new(Passing { hand, taken: Remembered::default(), last: None }),
        })
    }

    /// Where nothing is stored, sources of one name are as many as their senders: there is no folder that they
    /// would have to share.
    fn place(&self, opener: &Opener) -> PathBuf {
        match (&self.below, &opener.pin) {
            (Some(below), _) => below.place(opener),
            (None, Some(pin)) if !opener.shared => PathBuf::from(&**pin),
            (None, _) => PathBuf::new(),
        }
    }

    fn is_durable(&self) -> bool {
        self.below.as_ref().is_some_and(|below| below.is_durable())
    }

    fn room(&self) -> Option<Room> {
        self.below.as_ref()?.room()
    }

    fn keeping(&self) -> Option<Keeping> {
        self.below.as_ref()?.keeping()
    }
}

/// One source's way to the program.
#[derive(Debug)]
struct Hand {
    source: SourceName,
    seat: Seat,
    wants: Arc<Wants>,
    /// The newest frame of the session that brought the last one.
    newest: Option<(Arc<Opener>, Sequence)>,
}

impl Hand {
    fn is_latest(&self) -> bool {
        self.wants.of(&self.source) == Want::Latest
    }

    /// False where the program takes no more.
    fn out(&mut self, frame: &ReceivedFrame) -> bool {
        let is_newest = self.note(frame);
        let frame = Received::new(&self.source, frame);
        self.seat.lay(frame, || match (self.is_latest(), is_newest) {
            (false, _) => Lay::Behind,
            (true, true) => Lay::InPlace,
            // A later one has overtaken it.
            (true, false) => Lay::Not,
        })
    }

    /// Whether no later frame of the same session came before this one.
    fn note(&mut self, frame: &ReceivedFrame) -> bool {
        let sequence = frame.frame.meta.sequence;
        let newer = |(from, newest): &(Arc<Opener>, Sequence)| {
            Arc::ptr_eq(from, &frame.from) && *newest > sequence
        };
        if self.newest.as_ref().is_some_and(newer) {
            return false;
        }
        self.newest = Some((frame.from.clone(), sequence));
        true
    }
}

/// A source that is stored, and then handed out.
#[derive(Debug)]
struct Stored {
    below: Box<dyn OpenSource>,
    hand: Hand,
}

impl OpenSource for Stored {
    fn admit(&mut self, opener: &Opener) -> Result<(), StoreError> {
        self.below.admit(opener)
    }

    fn unread(&mut self, offered: &[Offered<'_>]) -> Vec<Reading> {
        self.below.unread(offered)
    }

    fn has_read(&mut self, reading: Reading) {
        self.below.has_read(reading);
    }

    fn look_up(
        &mut self,
        asker: &Opener,
        offered: &[Offered<'_>],
        listening: &dyn Fn() -> bool,
    ) -> Vec<Held> {
        self.below.look_up(asker, offered, listening)
    }

    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let outcomes = self.below.store(frames);
        for (frame, outcome) in frames.iter().zip(&outcomes) {
            // It is stored in any case.
            if *outcome == Outcome::Stored && !self.hand.out(frame) {
                break;
            }
        }
        outcomes
    }

    fn note(&mut self, from: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        self.below.note(from, notes)
    }

    fn last_sequence(&mut self) -> Option<Sequence> {
        self.below.last_sequence()
    }

    fn goes_on_from(&mut self, run: RunId) -> Option<Sequence> {
        self.below.goes_on_from(run)
    }

    fn held(&mut self) -> Option<u64> {
        self.below.held()
    }
}

/// A source that is handed out and stored nowhere.
#[derive(Debug)]
struct Passing {
    hand: Hand,
    taken: Remembered,
    last: Option<Sequence>,
}

/// What is known of a frame before the program has taken all of its batch.
enum Step {
    Done(Outcome),
    /// It lies there.
    Laid(ContentHash),
    /// It is the very frame that lies there in this place of the batch.
    Same(usize),
}

impl OpenSource for Passing {
    fn look_up(&mut self, _: &Opener, offered: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
        let held = |offered: &Offered<'_>| match (self.taken.content(offered.name), offered.hash) {
            (Some(_), None) => Held::NeedsHash,
            (Some(taken), Some(hash)) if taken == hash => Held::Same,
            // A name keeps nothing here from being taken.
            _ => Held::Nothing,
        };
        offered.iter().map(held).collect()
    }

    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let mut steps: Vec<Step> = Vec::with_capacity(frames.len());
        for frame in frames {
            let step = self.lay(frame, frames, &steps);
            steps.push(step);
        }
        // The newest of a source may lie there for as long as it likes.
        let not_taken = self.hand.seat.wait_until_taken(|| self.hand.is_latest());
        self.settle(frames, steps, not_taken)
    }

    fn last_sequence(&mut self) -> Option<Sequence> {
        self.last
    }
}

impl Passing {
    fn lay(&mut self, frame: &ReceivedFrame, batch: &[ReceivedFrame], steps: &[Step]) -> Step {
        let content = match frame.checked_hash(&self.hand.source) {
            Ok(content) => content,
            Err(error) => return Step::Done(Outcome::Failed(error)),
        };
        let name = &frame.frame.meta.name;
        if self.taken.content(name) == Some(content) {
            return Step::Done(Outcome::AlreadyStored);
        }
        let same = batch.iter().zip(steps).position(|(earlier, step)| {
            matches!(step, Step::Laid(laid) if *laid == content) && earlier.frame.meta.name == *name
        });
        match same {
            Some(place) => Step::Same(place),
            None if self.hand.out(frame) => Step::Laid(content),
            None => Step::Done(self.not_taken(frame)),
        }
    }

    /// What became of the frames, of which the program did not take so many of those laid down last.
    fn settle(
        &mut self,
        frames: &[ReceivedFrame],
        steps: Vec<Step>,
        not_taken: usize,
    ) -> Vec<Outcome> {
        let laid = steps.iter().filter(|step| matches!(step, Step::Laid(_))).count();
        let mut to_be_taken = laid.saturating_sub(not_taken);
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(frames.len());
        for (frame, step) in frames.iter().zip(steps) {
            outcomes.push(match step {
                Step::Done(outcome) => outcome,
                Step::Laid(content) if to_be_taken > 0 => {
                    to_be_taken -= 1;
                    self.taken.take(&frame.frame.meta.name, content);
                    self.last = self.last.max(Some(frame.frame.meta.sequence));
                    Outcome::Stored
                }
                Step::Laid(_) => self.not_taken(frame),
                Step::Same(place) => match &outcomes[place] {
                    Outcome::Failed(_) => self.not_taken(frame),
                    _ => Outcome::AlreadyStored,
                },
            });
        }
        outcomes
    }

    fn not_taken(&self, frame: &ReceivedFrame) -> Outcome {
        let frame = format!("{}/{}", self.hand.source, frame.frame.meta.name);
        Outcome::Failed(FrameError::NotTaken { frame })
    }
}

#[cfg(test)]
#[path = "handing_tests.rs"]
mod tests;
