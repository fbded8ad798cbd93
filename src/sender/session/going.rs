//! Which frame goes next, and what a session waits for.

use std::time::Instant;

use tokio::sync::mpsc;

use super::super::lane::Lane;
use super::super::schedule::{Pace, Schedule};
use super::super::waiting::LimitedBy;
use super::{LATE_UNDERWAY, Next, SPARE_UNDERWAY, SPARE_UNDERWAY_IN_BULK, State, WINDOWS_UNDERWAY};
use crate::frame::{FrameMeta, Sequence};
use crate::transport::{OutgoingFrame, PathStats};
use crate::wire::{FrameHeader, SourceId};

impl State<'_> {
    /// The transport has given up frames.
    pub(super) fn given_up(&mut self, frames: Vec<(SourceId, Sequence)>, path: &PathStats) {
        for (source, sequence) in frames {
            let index = usize::from(source.0);
            if let Some(lane) = self.lanes.get_mut(index) {
                lane.given_up(sequence, &self.run.ledgers[index], path);
            }
        }
    }

    /// Hands the transport what is due while it has room; tells which frame comes next.
    pub(super) fn hand_over(
        &mut self,
        frames: &mpsc::Sender<OutgoingFrame>,
        path: &PathStats,
        silent: bool,
    ) -> Option<Next> {
        let mut handed = 0;
        loop {
            // The transport has not counted these yet.
            let path = PathStats { with_transport: path.with_transport + handed, ..*path };
            // What it has not taken yet it knows nothing of.
            let waits = frames.capacity() < frames.max_capacity();
            let next = self.next_frame(&path, silent, waits)?;
            if next.due > Instant::now() {
                return Some(next);
            }
            let Ok(permit) = frames.try_reserve() else { return Some(next) };
            let frame = self.take_frame(&next)?;
            handed += frame.body.len() as u64;
            permit.send(frame);
        }
    }

    /// The frame that goes next; `None` where there is none, or where the transport has enough.
    ///
    /// Nothing may have come for long over a `silent` path. `waits`: the transport has not taken yet what it was handed.
    pub(super) fn next_frame(&self, path: &PathStats, silent: bool, waits: bool) -> Option<Next> {
        let schedule = self.run.schedule.as_ref().filter(|_| !self.is_leaving())?;
        let limit = path.window.saturating_mul(WINDOWS_UNDERWAY).saturating_add(self.spare());
        let fresh = path.with_transport.saturating_sub(path.late_with_transport);
        // Into an outage go no more frames than fit: they would all be late when the link is back.
        let late_underway = if silent { 0 } else { LATE_UNDERWAY };
        if fresh > limit || path.with_transport > limit.saturating_add(late_underway) {
            return None;
        }
        let late_may_go = path.with_transport <= limit;
        let in_order = path.forecast.is_some_and(|forecast| forecast.in_order);
        let may_queue =
            |lane: &Lane| lane.deadline.is_none() && !in_order || takes_live(path, silent, waits);
        let now = Instant::now();
        let is_late = |due| Schedule::late_at(due, path.rtt).is_some_and(|late_at| late_at <= now);
        let candidate = |(lane, queue): (usize, &Lane)| {
            let (place, ready) = queue.next_ready(is_late, now, late_may_go)?;
            let bytes = ready.content.body.len() as u64;
            // One with a deadline is worth as much until then as when it was new.
            let late_at = match queue.deadline.filter(|_| ready.due.live) {
                Some(deadline) => Some(ready.due.at + deadline),
                None => Schedule::late_at(ready.due, path.rtt),
            };
            let late = late_at.map(|late_at| (late_at, schedule.late_priority(ready.due)));
            let priority = match late {
                Some((late_at, priority)) if late_at <= now => priority,
                _ => schedule.priority(ready.due, bytes, queue.handed_bytes, queue.weight),
            };
            Some(Next { lane, place, due: ready.due.at, priority, late })
        };
        let candidates = self.lanes.iter().enumerate().filter(|(_, lane)| may_queue(lane));
        let candidates = candidates.filter_map(candidate);
        candidates.max_by_key(|next| (next.due <= now, next.priority))
    }

    /// What may be with the transport beside its windows.
    pub(super) fn spare(&self) -> u64 {
        match self.run.options.pace {
            Pace::Bulk => SPARE_UNDERWAY_IN_BULK,
            Pace::PerSecond(_) => SPARE_UNDERWAY,
        }
    }

    pub(super) fn take_frame(&mut self, next: &Next) -> Option<OutgoingFrame> {
        let schedule = (*self.run.schedule)?;
        let lane = next.lane;
        let ready = self.lanes[lane].take_ready(next.place, &mut self.run.ledgers[lane])?;
        if ready.due.live && ready.is_first {
            self.run.figures.handed(lane, ready.due.at.elapsed());
        }
        let description = ready.content.description;
        let is_new = self.run.sources[lane].arrival(ready.sequence).is_some();
        let meta = FrameMeta {
            sequence: self.run.ledgers[lane].sequence(ready.sequence),
            media: description.name.media_type(),
            name: description.name,
            bytes: ready.content.body.len() as u64,
            hash: Some(ready.content.hash),
            captured: description.captured,
            // What comes about while it is sent is due when it was captured.
            due: (!is_new).then(|| schedule.unix(ready.due.at)),
            modified: description.modified,
        };
        let header = FrameHeader { source: self.lanes[lane].id, meta, repair: None };
        let (priority, late) = (next.priority, next.late);
        let due = ready.due;
        let deadline = self.lanes[lane].deadline.filter(|_| due.live).map(|after| due.at + after);
        self.look_again |= self.lanes.iter().any(|lane| lane.deadline.is_some());
        Some(OutgoingFrame {
            header,
            body: ready.content.body,
            priority,
            late,
            deadline,
            moot: None,
        })
    }

    /// Accounts for the time from now on. `is_full`: a frame is to go and the transport does not take it.
    pub(super) fn account(&mut self, path: &PathStats, is_full: bool) {
        /// Less than this on the way, and the frames under way have arrived.
        const REST: u64 = 64 << 10;
        let now = Instant::now();
        let any = |of: fn(&Lane) -> bool| self.lanes.iter().any(of);
        // A transport that does not know the window does not know what is on the way either.
        let arrived = path.window > 0 && path.with_transport < REST;
        let kind = if self.share.is_none() {
            LimitedBy::Answers
        } else if is_full || self.lanes.iter().any(|lane| lane.has_due(now)) {
            LimitedBy::Link
        } else if any(Lane::is_blocked) {
            if arrived { LimitedBy::Receiver } else { LimitedBy::Link }
        } else if any(Lane::waits_for_source) {
            LimitedBy::Source
        } else if any(Lane::has_offers) {
            LimitedBy::Answers
        } else if any(Lane::awaits_receipts) && self.lanes.iter().all(Lane::has_no_more) {
            if arrived { LimitedBy::Receiver } else { LimitedBy::Link }
        } else {
            LimitedBy::Nothing
        };
        self.run.figures.waiting.begin(kind, now);
    }
}

/// Whether the next frame with a deadline may be handed over: what waits in the transport only makes it late. Over a path
/// that is silent nothing is known but that what is under way has not arrived.
fn takes_live(path: &PathStats, silent: bool, waits: bool) -> bool {
    match path.forecast {
        Some(forecast) => !silent && !waits && forecast.has_room(),
        None => {
            path.window == 0 || path.with_transport <= path.window.saturating_add(path.window / 4)
        }
    }
}
