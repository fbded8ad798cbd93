//! What a source waits for.

use std::time::Instant;

use super::super::ledger::Ledger;
use super::super::stall::Owed;
use super::{DECLARED_EVERY, Lane};
use crate::source::Extent;

impl Lane {
    /// What the receiver owes this source.
    pub(in crate::sender) fn owed(&self, ledger: &Ledger) -> Option<Owed> {
        match (self.offered.len(), self.handed) {
            (0, 0) if ledger.drops.await_notes() => Some(Owed::Notes),
            (0, 0) => (self.ended && !self.totals).then_some(Owed::Totals),
            (0, frames) => Some(Owed::Receipts(frames)),
            (offers, _) => Some(Owed::Answers(offers)),
        }
    }

    /// True where there is nothing to start and nothing to say: the source has `extent`, nothing of it waits, and what is
    /// awaited wakes the session when it comes.
    pub(in crate::sender) fn rests(&self, ledger: &Ledger, extent: Extent) -> bool {
        let is_known = !extent.ended && extent.frames == ledger.frames();
        let is_idle = self.describing + self.reading == 0
            && self.need_hash.is_empty()
            && self.held_back.is_empty();
        let waits = ledger.has_waiting() || ledger.drops.are_to_be_told();
        is_known && is_idle && !waits && self.given_up.is_empty() && self.has_no_more()
    }

    /// True where a frame waits only for others to be confirmed, or for the receiver to have room.
    pub(in crate::sender) fn is_blocked(&self) -> bool {
        self.blocked || self.is_held(Instant::now())
    }

    /// True while the source is looked into for frames, and none of it waits to go.
    pub(in crate::sender) fn waits_for_source(&self) -> bool {
        self.ready.is_empty() && self.reading + self.describing > 0
    }

    /// True where a frame that is read is due.
    pub(in crate::sender) fn has_due(&self, now: Instant) -> bool {
        !self.is_held(now) && self.ready.front().is_some_and(|ready| ready.due.at <= now)
    }

    /// True while an answer to an offer is due.
    pub(in crate::sender) fn has_offers(&self) -> bool {
        !self.offered.is_empty()
    }

    /// True where nothing is left to be handed over.
    pub(in crate::sender) fn has_no_more(&self) -> bool {
        self.ready.is_empty() && self.wanted.is_empty() && self.later.is_empty()
    }

    /// True where a frame waits that did not have to be answered for.
    pub(in crate::sender) fn wants_schedule(&self) -> bool {
        self.is_live && (self.reading > 0 || !self.ready.is_empty())
    }

    /// True while frames that were handed to the transport are not confirmed.
    pub(in crate::sender) fn awaits_receipts(&self) -> bool {
        self.handed > 0
    }

    /// True once both ends agree on what is stored, or on that nothing of it will be.
    pub(in crate::sender) fn is_done(&self) -> bool {
        self.totals || self.is_declined
    }

    /// True where the receiver will say when it is open.
    pub(in crate::sender) fn is_to_open(&self) -> bool {
        self.unopened.is_some() && !self.is_declined
    }

    /// When something has to be taken up again without anything arriving.
    pub(in crate::sender) fn wakes_at(&self, ledger: &Ledger) -> Option<Instant> {
        let later = self.later.front().map(|&(when, _)| when);
        let told =
            self.told.filter(|_| ledger.drops.are_to_be_told()).map(|told| told + DECLARED_EVERY);
        // What is read waits in the order in which it falls due.
        let first = self.ready.partition_point(|ready| !ready.due.live);
        let ready = self.ready.get(first).map(|ready| ready.due);
        let waiting = self.wanted.first_live().map(|wanted| wanted.due).into_iter().chain(ready);
        let late = self.deadline.and_then(|deadline| waiting.map(|due| due.at + deadline).min());
        later
            .into_iter()
            .chain(told)
            .chain(late)
            .chain(self.given_up_until())
            .chain(self.held_until())
            .min()
    }
}
