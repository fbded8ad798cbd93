//! What the session has said and the receiver has not answered: said again where the connection that it was said over
//! carries nothing any more.

use std::collections::VecDeque;

use crate::wire::{Drops, Message, Noted};

/// Messages that are owed an answer, in their order.
#[derive(Debug, Default)]
pub(super) struct Unanswered(VecDeque<Message>);

impl Unanswered {
    /// The session says this; kept where it is to be answered, and nothing else would say it again.
    pub(super) fn said(&mut self, message: &Message) {
        if matches!(message, Message::Offer(_) | Message::Drops(_) | Message::EndOfRun(_)) {
            self.0.push_back(message.clone());
        }
    }

    /// The receiver says this: true where it answers something, or no answer is meant.
    pub(super) fn heard(&mut self, message: &Message) -> bool {
        let answered = match message {
            Message::Answer(answer) => self.0.iter().position(
                |said| matches!(said, Message::Offer(offer) if offer.source == answer.source),
            ),
            Message::Noted(noted) => {
                let place = self.0.iter().position(|said| {
                    matches!(said, Message::Drops(drops) if is_of(drops, noted) && has_all(noted, drops))
                });
                // In other pieces than they were said in it tells of drops as well: the session knows of which.
                let is_meant =
                    |said: &Message| matches!(said, Message::Drops(drops) if is_of(drops, noted));
                if place.is_none() {
                    return self.0.iter().any(is_meant);
                }
                place
            }
            Message::Totals(totals) => self.0.iter().position(
                |said| matches!(said, Message::EndOfRun(end) if end.source == totals.source),
            ),
            _ => return true,
        };
        answered.is_some_and(|place| self.0.remove(place).is_some())
    }

    /// All of it, to be said again.
    pub(super) fn again(&self) -> impl Iterator<Item = Message> + '_ {
        self.0.iter().cloned()
    }
}

/// Whether these drops are of the source and run that it speaks of.
fn is_of(drops: &Drops, noted: &Noted) -> bool {
    (drops.source, drops.run) == (noted.source, noted.run)
}

/// Whether it names all of them: there may be others of the same run, which are noted by themselves.
fn has_all(noted: &Noted, drops: &Drops) -> bool {
    drops.ranges.iter().all(|range| {
        noted.frames.iter().any(|run| {
            let end = run.first.0.saturating_add(run.count);
            run.first <= range.first && range.last().0 < end
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DropRange, DropReason, RunId, Sequence};
    use crate::wire::{Answer, Offer, SequenceRun, SourceId, Totals};

    #[test]
    fn what_is_not_answered_is_said_again_in_its_order() {
        let offer =
            |source| Message::Offer(Offer { source: SourceId(source), entries: Vec::new() });
        let answer = |source| Message::Answer(Answer::new(SourceId(source), Vec::new()));
        let mut unanswered = Unanswered::default();
        for said in [offer(0), offer(1), offer(0), Message::ClockProbe(1)] {
            unanswered.said(&said);
        }
        assert!(unanswered.heard(&answer(0)) && unanswered.heard(&Message::ClockProbe(1)));
        assert_eq!(unanswered.again().collect::<Vec<_>>(), [offer(1), offer(0)]);
        assert!(unanswered.heard(&answer(1)) && !unanswered.heard(&answer(1)));
        let totals = Totals { source: SourceId(0), stored: 0, already: 0 };
        assert!(!unanswered.heard(&Message::Totals(totals)), "a second count tells nothing");
        let noted = Noted { source: SourceId(0), run: RunId([1; 16]), frames: Vec::new() };
        assert!(!unanswered.heard(&Message::Noted(noted)));
    }

    #[test]
    fn a_second_note_of_drops_does_not_answer_others_of_the_run() {
        let (source, run) = (SourceId(0), RunId([1; 16]));
        let drops = |first| {
            let (first, reason) = (Sequence(first), DropReason::Late);
            let ranges = vec![DropRange { first, count: 5, reason, captured: None }];
            Message::Drops(Drops { source, run, ranges })
        };
        let noted = |first| {
            let frames = vec![SequenceRun { first: Sequence(first), count: 5 }];
            Message::Noted(Noted { source, run, frames })
        };
        let mut unanswered = Unanswered::default();
        unanswered.said(&drops(0));
        assert!(unanswered.heard(&noted(0)));
        unanswered.said(&drops(5));
        unanswered.heard(&noted(0));
        assert_eq!(unanswered.again().collect::<Vec<_>>(), [drops(5)]);
        assert!(unanswered.heard(&noted(5)) && unanswered.again().next().is_none());
    }
}
