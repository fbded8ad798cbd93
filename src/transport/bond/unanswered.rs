//! What the session has said and the receiver has not answered: said again where the connection that it was said over
//! carries nothing any more.

use std::collections::VecDeque;

use crate::wire::Message;

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
            Message::Noted(noted) => self.0.iter().position(|said| {
                matches!(said, Message::Drops(drops) if (drops.source, drops.run) == (noted.source, noted.run))
            }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::RunId;
    use crate::wire::{Answer, Noted, Offer, SourceId, Totals};

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
}
