//! Which frame of a source goes next, and which does not go at all.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::super::ledger::Ledger;
use super::super::schedule::Due;
use super::super::tend::{too_late, unix};
use super::{Lane, Ready, Share, Wanted};
use crate::transport::{Forecast, PathStats};

/// How often a frame is begun of a source none of whose frames seem to make it.
const TRIED_EVERY: Duration = Duration::from_secs(5);

/// Frames of a source with a deadline that are read before they go: as many as leave while others are read.
const READ_AHEAD: usize = 8;

/// Just after now: what is due before is due by now.
fn after_now() -> Instant {
    Instant::now() + Duration::from_nanos(1)
}

impl Lane {
    /// The frame that is read next. While the queue begins with a backlog, fresh ones overtake it; where there
    /// is a deadline, the newest of those that are due goes first, and then what is due soonest.
    pub(super) fn next_wanted(&self, fresh: &Range<Instant>) -> Option<Wanted> {
        if self.deadline.is_some() {
            let to_come = after_now();
            let next = self.wanted.last_within(&(fresh.start..to_come));
            let next = next.or_else(|| self.wanted.first_within(&(to_come..fresh.end)));
            if next.is_some() {
                return next;
            }
        }
        let first = self.wanted.first()?;
        if !self.is_live || first.due.live && first.due.at >= fresh.start {
            return Some(first);
        }
        self.wanted.first_within(fresh).or(Some(first))
    }

    /// Whether a frame is to be read now. Of a source with a deadline a few are read ahead: of what is due the newest, since
    /// what comes about before the others could go makes them older than it, and of what is not (a folder that is replayed) what is due
    /// soonest. Where they are enough, one that goes later makes way, or else the oldest.
    pub(super) fn is_worth_reading(&mut self, next: &Wanted) -> bool {
        if self.deadline.is_none() || !next.due.live {
            return true;
        }
        let first = self.ready.partition_point(|ready| !ready.due.live);
        if self.ready.len() - first + self.reading < READ_AHEAD {
            return true;
        }
        let to_come = after_now();
        let is_due = |due: Due| due.at < to_come;
        let last = self.ready.len().checked_sub(1).filter(|last| *last >= first);
        let last = last.filter(|last| !is_due(self.ready[*last].due));
        match (last, self.ready.get(first)) {
            (Some(last), _) if is_due(next.due) || next.due < self.ready[last].due => {
                self.put_back(last)
            }
            (None, Some(oldest)) if is_due(next.due) && oldest.due < next.due => {
                self.put_back(first)
            }
            _ => false,
        }
    }

    /// Has a frame that was read wait to be read again; false where there is none in that place.
    fn put_back(&mut self, place: usize) -> bool {
        let Some(Ready { sequence, due, .. }) = self.ready.remove(place) else { return false };
        let bytes = self.release(sequence);
        self.want(Some(Wanted { sequence, bytes, due }));
        true
    }

    pub(super) fn has_room(&self, bytes: u64, share: Share) -> bool {
        let first = self.unconfirmed.is_empty();
        let fits = self.unconfirmed_bytes.saturating_add(bytes) <= share.bytes;
        first || fits && self.unconfirmed.len() < share.frames
    }

    /// Puts late frames back that were read and still wait, the youngest first, until so many bytes
    /// have room. They are those that were due before `fresh`, or at no time of their own.
    pub(super) fn make_room(&mut self, bytes: u64, share: Share, fresh: Instant) -> bool {
        while !self.has_room(bytes, share) {
            let is_late = |ready: &Ready| !ready.due.live || ready.due.at < fresh;
            let late = self.ready.partition_point(is_late);
            if !late.checked_sub(1).is_some_and(|last| self.put_back(last)) {
                return false;
            }
        }
        true
    }

    /// Gives up frames that would come after their deadline, as far as is known of the path. Those that the transport
    /// has are its own.
    pub(super) fn drop_late(&mut self, ledger: &mut Ledger, path: &PathStats) {
        let Some(deadline) = self.deadline else { return };
        let now = Instant::now();
        // Where nothing goes any more, nothing is learnt of the path either: now and then a frame is tried.
        let tries = self.begun.is_none_or(|begun| now - begun >= TRIED_EVERY);
        let in_vain = self.in_vain;
        let sure = |known: Forecast| Forecast { is_busy: known.is_busy || in_vain, ..known };
        let forecast = path.forecast.filter(|_| !tries).map(sure);
        let way = path.forecast.unwrap_or_default().way(path.rtt);
        let arrival = |bytes| {
            let arrival = forecast.and_then(|forecast| forecast.arrival(now, bytes, path.rtt));
            arrival.unwrap_or(now + way)
        };
        // The estimate of a moment tells nothing of one that is not due yet.
        let is_late =
            |due: Due, bytes| due.live && due.at <= now && arrival(bytes) > due.at + deadline;
        let latest = |bytes| arrival(bytes).checked_sub(deadline);
        let late = self.wanted.take_late(latest, |wanted| is_late(wanted.due, wanted.bytes));
        let mut late: Vec<_> = late.iter().map(|wanted| (wanted.sequence, wanted.due)).collect();
        self.ready.retain(|ready| {
            let keep = !is_late(ready.due, ready.content.body.len() as u64);
            if !keep {
                late.push((ready.sequence, ready.due));
            }
            keep
        });
        late.sort_unstable_by_key(|&(sequence, _)| sequence);
        for (sequence, due) in late {
            self.release(sequence);
            self.lose(sequence, too_late(Some(unix(due.at))), ledger);
        }
    }

    /// Frames that were refused for a passing reason are wanted again after a pause.
    pub(super) fn take_up_again(&mut self) {
        let now = Instant::now();
        while self.later.front().is_some_and(|&(when, _)| when <= now) {
            let wanted = self.later.pop_front().map(|(_, wanted)| wanted);
            self.want(wanted);
        }
    }

    /// The frame that goes next: the oldest fresh one that is due; or else the oldest late one, where
    /// `late_may_go`; or else the first that will be due. Of a source that has live frames, all others are a
    /// backlog too. `is_late` tells of a live one; due times go up along the queue.
    pub(in crate::sender) fn next_ready(
        &self,
        is_late: impl Fn(Due) -> bool,
        now: Instant,
        late_may_go: bool,
    ) -> Option<(usize, &Ready)> {
        if self.is_held(now) {
            return None;
        }
        if let Some(shortest) = self.shortest_ready(now) {
            return Some((shortest, self.ready.get(shortest)?));
        }
        let is_late = |due: Due| if due.live { is_late(due) } else { self.is_live };
        if self.deadline.is_some() {
            // What can still make it, the newest first.
            let due = self.ready.partition_point(|ready| ready.due.at <= now || !ready.due.live);
            if let Some(newest) = due.checked_sub(1).filter(|&last| self.ready[last].due.live) {
                return Some((newest, self.ready.get(newest)?));
            }
        }
        let fresh = self.ready.partition_point(|ready| is_late(ready.due));
        let waits = self.ready.get(fresh).is_none_or(|ready| ready.due.at > now);
        let index = if waits && fresh > 0 && late_may_go { 0 } else { fresh };
        Some((index, self.ready.get(index)?))
    }

    /// Takes the frame at that place of the queue.
    pub(in crate::sender) fn take_ready(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
    ) -> Option<Ready> {
        let ready = self.ready.remove(index)?;
        ledger.sent(ready.sequence);
        if let Some(hold) = &mut self.hold {
            hold.handed(ready.sequence);
        }
        if let Some(known) = self.unconfirmed.get_mut(&ready.sequence) {
            known.handed = true;
            self.handed += 1;
        }
        self.begun = Some(Instant::now());
        let bytes = ready.content.body.len() as u64;
        self.handed_bytes += bytes;
        Some(ready)
    }
}
