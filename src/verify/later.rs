//! Frames that were declared dropped and that a later run brought: files of a watched folder, say, which stay where they
//! are and are found again.
//!
//! A drop is known by its sequences, which are those of its run alone, and by when its first and its last frame were
//! captured. So of sources whose frames come about while they run, a frame that a later run brought, and that had been
//! captured while frames of an earlier one were dropped, before the later one began, is one of those: what the earlier run
//! stored has that one's line. This says how many drops were made good, and proves nothing: no state depends on it.

use std::collections::HashMap;

use crate::frame::{DropReason, UnixNanos};
use crate::manifest::{Range, Record};

/// So much later than it was captured a file may be found: it is written, and then looked at.
const FOUND_WITHIN_NS: u64 = 10_000_000_000;

/// Times that are kept, of a run's drops within a few seconds one: 4 MB.
const MAX_WINDOWS: usize = 100_000;

/// When dropped frames were captured, and how many of them have come by now. Runs are known by their places in the ledger.
#[derive(Debug, Default)]
pub(super) struct Later {
    windows: Vec<Window>,
    /// Whether they are in order, and `reach` is theirs.
    in_order: bool,
    /// Of each window the latest time that it or one before it has, once they are in order.
    reach: Vec<u64>,
    came: HashMap<usize, u64>,
}

/// Frames of a run that were captured within these times.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: u64,
    to: u64,
    run: usize,
    /// Where the run itself may have brought them, in another process: behind this sequence.
    behind: Option<u64>,
    /// How many have not come.
    room: u64,
}

/// When a run began, and its place in the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) place: usize,
    pub(super) at: UnixNanos,
}

impl Later {
    /// Takes in that frames of a run were dropped.
    pub(super) fn dropped(
        &mut self,
        run: Begun,
        range: Range,
        reason: Option<DropReason>,
        captured: Option<(UnixNanos, UnixNanos)>,
    ) {
        use DropReason::{Conflict, GivenUp, NotAnImage, Refused, SourceStalled};
        let count = (range.last - range.first).saturating_add(1);
        let window = match (reason, captured) {
            // There was no frame, or it takes more than this to say that one is there after all.
            (Some(NotAnImage | SourceStalled | Refused | Conflict), _) => return,
            (_, Some((first, last))) => {
                let from = first.0.min(last.0).saturating_sub(FOUND_WITHIN_NS);
                Window { from, to: first.0.max(last.0), run: run.place, behind: None, room: count }
            }
            // Files that were there when the run began.
            (Some(GivenUp), None) => {
                let behind = Some(range.last);
                Window { from: 0, to: run.at.0, run: run.place, behind, room: count }
            }
            _ => return,
        };
        self.in_order = false;
        if let Some(last) = self.windows.last_mut().filter(|last| last.takes(&window)) {
            (last.from, last.to) = (last.from.min(window.from), last.to.max(window.to));
            last.behind = last.behind.max(window.behind);
            last.room = last.room.saturating_add(window.room);
        } else if self.windows.len() < MAX_WINDOWS {
            self.windows.push(window);
        }
    }

    /// Puts the windows in order. Drops are known before frames, all of a ledger before the manifest's, so that this is
    /// done once for each ledger.
    fn put_in_order(&mut self) {
        self.in_order = true;
        self.windows.sort_by_key(|window| window.from);
        let reach = self.windows.iter().scan(0, |reach, window| {
            *reach = window.to.max(*reach);
            Some(*reach)
        });
        self.reach = reach.collect();
    }

    /// Takes in a frame that a run brought.
    pub(super) fn stored(&mut self, run: Begun, record: &Record) {
        let Some(UnixNanos(at)) = record.captured else { return };
        if !self.in_order {
            self.put_in_order();
        }
        let first_after = self.windows.partition_point(|window| window.from <= at);
        for place in (0..first_after).rev() {
            if self.reach[place] < at {
                return;
            }
            let window = &mut self.windows[place];
            let is_later = window.run < run.place && at < run.at.0
                || window.run == run.place
                    && window.behind.is_some_and(|behind| behind < record.sequence.0);
            if window.room > 0 && at <= window.to && is_later {
                window.room -= 1;
                *self.came.entry(window.run).or_default() += 1;
                return;
            }
        }
    }

    /// How many of a run's drops came in a later one.
    pub(super) fn came(&self, run: usize) -> u64 {
        self.came.get(&run).copied().unwrap_or(0)
    }
}

impl Window {
    /// Whether both are of one run and one time.
    fn takes(&self, next: &Self) -> bool {
        let is_alike = self.run == next.run && self.behind.is_some() == next.behind.is_some();
        is_alike && next.from <= self.to && self.from <= next.to
    }
}
