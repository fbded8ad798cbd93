//! Answers in the order of their offers.
//!
//! A sender knows by its turn which offer an answer is for. One that needs files to be read for it is found later than
//! those behind it, and they wait.

use std::collections::BTreeMap;

use crate::wire::Answer;

/// The offers of one source in a session.
#[derive(Debug, Default)]
pub(super) struct Turns {
    asked: u64,
    said: u64,
    early: BTreeMap<u64, Answer>,
}

impl Turns {
    /// The turn of an offer that has come.
    pub(super) fn take(&mut self) -> u64 {
        self.asked += 1;
        self.asked - 1
    }

    /// An answer is found: those that may be said now.
    pub(super) fn found(&mut self, turn: u64, answer: Answer) -> Vec<Answer> {
        self.early.insert(turn, answer);
        let mut next = Vec::new();
        while let Some(answer) = self.early.remove(&self.said) {
            self.said += 1;
            next.push(answer);
        }
        next
    }

    /// Answers that wait for others.
    pub(super) fn waiting(&self) -> usize {
        self.early.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SourceId, Verdict};

    #[test]
    fn answers_are_said_in_the_order_in_which_they_were_asked_for() {
        let mut turns = Turns::default();
        let asked: Vec<u64> = (0..5).map(|_| turns.take()).collect();
        let answer = |turn: u64| Answer::new(SourceId(0), vec![Verdict::Wanted; turn as usize + 1]);
        let mut said = Vec::new();
        for (found, waiting) in [(1, 1), (0, 0), (4, 1), (3, 2), (2, 0)] {
            said.extend(turns.found(asked[found], answer(asked[found])));
            assert_eq!(turns.waiting(), waiting);
        }
        assert_eq!(said, (0..5).map(answer).collect::<Vec<_>>());
    }
}
