//! What a source holds back while the receiver has no room for its frames.

use std::time::Instant;

use super::super::hold::Hold;
use super::super::ledger::Ledger;
use super::Lane;
use crate::frame::Sequence;
use crate::wire::RefusalCode;

impl Lane {
    /// True where no frame may go at present, because the receiver could not store the last ones.
    pub(in crate::sender) fn is_held(&self, now: Instant) -> bool {
        self.hold.as_ref().is_some_and(|hold| !hold.lets_go(now))
    }

    /// The receiver has refused a frame.
    pub(super) fn hold_back(
        &mut self,
        place: Sequence,
        code: RefusalCode,
        now: Instant,
        ledger: &Ledger,
    ) {
        // Others concern this one frame, and what it met on its way.
        if !matches!(code, RefusalCode::NoSpace | RefusalCode::StoreFailed) {
            return;
        }
        if self.is_over(now, ledger) {
            self.hold = None;
        } else {
            self.hold.get_or_insert_with(|| Hold::begin(now)).refused(place, now);
        }
    }

    /// True where each frame that is left is tried once more and no more. A source that grows waits meanwhile, as its
    /// frames would come to nothing.
    fn is_over(&self, now: Instant, ledger: &Ledger) -> bool {
        let out_of = self.refused_since.is_some_and(|since| now - since >= self.patience);
        out_of && (self.patience.is_zero() || !ledger.goes_on || ledger.has_ended())
    }

    /// Lets everything go at the end of the time for which frames are tried again.
    pub(super) fn let_go(&mut self, ledger: &Ledger) {
        if self.hold.is_some() && self.is_over(Instant::now(), ledger) {
            self.hold = None;
        }
    }

    /// When frames may go again, without anything being heard.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let now = Instant::now();
        let hold = self.hold.as_ref()?;
        let over = self.refused_since.and_then(|since| since.checked_add(self.patience));
        hold.ends_at(now).into_iter().chain(over.filter(|&over| over > now)).min()
    }

    /// The receiver says that it has room again.
    pub(in crate::sender) fn has_room_again(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.has_room(Instant::now());
        }
    }

    /// A frame is stored.
    pub(super) fn stored_one(&mut self, place: Sequence) {
        let now = Instant::now();
        self.hold.take_if(|hold| hold.stored(place, now));
    }

    /// The frame that is tried where room is short: what is refused of the shortest is refused of all.
    pub(super) fn shortest_ready(&self, now: Instant) -> Option<usize> {
        let tries_one = self.hold.as_ref().is_some_and(Hold::tries_one);
        if !tries_one || self.deadline.is_some() {
            return None;
        }
        let due = self.ready.iter().enumerate().filter(|(_, ready)| ready.due.at <= now);
        due.min_by_key(|(_, ready)| ready.content.body.len()).map(|(place, _)| place)
    }

    /// Goes on as the session before has left it.
    pub(in crate::sender) fn take_up_hold(&mut self, hold: Option<Hold>) {
        self.hold = hold;
        if let Some(hold) = &mut self.hold {
            hold.begin_session(Instant::now());
        }
    }

    /// What the next session has to know.
    pub(in crate::sender) fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }
}
