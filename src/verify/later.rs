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

/// Windows that are looked at for one frame. More than a few lie over one another only where a clock has jumped by days; then
/// some drops that were made good are not counted as such.
const MOST_LOOKED_AT: usize = 1_000;

/// When dropped frames were captured, and how many of them have come by now. Runs are known by their places in the ledger.
#[derive(Debug)]
pub(super) struct Later {
    /// Of drops whose times are known.
    timed: Windows,
    /// Of files that were there when a run began, which may be of any time before. By themselves: they reach over all others.
    given_up: Windows,
    came: HashMap<usize, u64>,
}

/// Windows that are asked for the one that a frame fits into.
#[derive(Debug)]
struct Windows {
    windows: Vec<Window>,
    /// What they are sorted by.
    order: fn(&Window) -> u64,
    /// Whether they are in order, and `reach` is theirs.
    in_order: bool,
    /// Of each window the latest time that it or one before it has, once they are in order.
    reach: Vec<u64>,
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

/// A frame that a run brought, and when it was captured.
#[derive(Debug, Clone, Copy)]
struct Frame {
    run: Begun,
    at: u64,
    sequence: u64,
}

impl Default for Later {
    fn default() -> Self {
        let timed = Windows::by(|window| window.from);
        let given_up = Windows::by(|window| window.run as u64);
        Self { timed, given_up, came: HashMap::new() }
    }
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
        match window.behind {
            None => self.timed.add(window),
            Some(_) => self.given_up.add(window),
        }
    }

    /// Takes in a frame that a run brought.
    pub(super) fn stored(&mut self, run: Begun, record: &Record) {
        let Some(UnixNanos(at)) = record.captured else { return };
        self.brought(Frame { run, at, sequence: record.sequence.0 });
    }

    fn brought(&mut self, frame: Frame) {
        // A run gives up no frame that is younger than itself: most frames come behind all of these windows.
        let of = self.timed.take(frame, frame.at);
        let of = of.or_else(|| self.given_up.take(frame, frame.run.place as u64));
        if let Some(of) = of {
            *self.came.entry(of).or_default() += 1;
        }
    }

    /// How many of a run's drops came in a later one.
    pub(super) fn came(&self, run: usize) -> u64 {
        self.came.get(&run).copied().unwrap_or(0)
    }
}

impl Windows {
    fn by(order: fn(&Window) -> u64) -> Self {
        Self { windows: Vec::new(), order, in_order: false, reach: Vec::new() }
    }

    fn add(&mut self, window: Window) {
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
        self.windows.sort_by_key(self.order);
        let reach = self.windows.iter().scan(0, |reach, window| {
            *reach = window.to.max(*reach);
            Some(*reach)
        });
        self.reach = reach.collect();
    }

    /// The run of whose drops a frame is one; there is room for one less. In their order the windows beyond `last` are none
    /// that it fits into.
    fn take(&mut self, frame: Frame, last: u64) -> Option<usize> {
        if !self.in_order {
            self.put_in_order();
        }
        let Frame { run, at, sequence } = frame;
        let first_after = self.windows.partition_point(|window| (self.order)(window) <= last);
        for place in (0..first_after).rev().take(MOST_LOOKED_AT) {
            if self.reach[place] < at {
                return None;
            }
            let window = &mut self.windows[place];
            let is_later = window.run < run.place && at < run.at.0
                || window.run == run.place && window.behind.is_some_and(|behind| behind < sequence);
            if window.room > 0 && at <= window.to && is_later {
                window.room -= 1;
                return Some(window.run);
            }
        }
        None
    }
}

impl Window {
    /// Whether both are of one run and one time.
    fn takes(&self, next: &Self) -> bool {
        let is_alike = self.run == next.run && self.behind.is_some() == next.behind.is_some();
        is_alike && next.from <= self.to && self.from <= next.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn begun(place: usize, at: u64) -> Begun {
        Begun { place, at: UnixNanos(at) }
    }

    fn take(later: &mut Later, run: Begun, at: u64, sequence: u64) {
        later.brought(Frame { run, at, sequence });
    }

    #[test]
    fn a_frame_looks_at_the_drops_of_its_time_however_many_others_there_are() {
        let mut later = Later::default();
        let range = |first, last| Range { first, last };
        let given_up = Some(DropReason::GivenUp);
        let drops = 50_000_u64;
        for number in 1..=drops {
            let at = UnixNanos(number * 20 * SECOND);
            later.dropped(begun(0, 0), range(number, number), None, Some((at, at)));
        }
        let end = (drops + 10) * 20 * SECOND;
        later.dropped(begun(1, end), range(0, 99), given_up, None);
        // What a later run brings of the second run's beginning, and then what it captures itself.
        let began = std::time::Instant::now();
        let third = begun(2, end + SECOND);
        for sequence in 0..100 {
            take(&mut later, third, end - SECOND - sequence, sequence);
        }
        assert_eq!(later.came(1), 100);
        for sequence in 0..500_000 {
            take(&mut later, third, end + SECOND + sequence, 100 + sequence);
        }
        for number in 1..=drops {
            take(&mut later, third, number * 20 * SECOND, 1_000_000 + number);
        }
        assert_eq!((later.came(0), later.came(1)), (drops, 100));
        assert!(began.elapsed().as_secs() < 30, "a step or two for each: {:?}", began.elapsed());
    }
}
