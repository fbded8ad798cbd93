//! A source whose frames the receiver has no room for: tried again now and then, and not as fast as they are refused.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::frame::Sequence;

/// The first pause. Each try that is refused as well doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Room that the receiver does not tell of is used within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// So many frames under way that are stored are no try any more.
const ENOUGH: usize = 1_024;

/// No frame goes until the pause is over. Then one does, and twice as many as long as all are stored: so what is refused
/// is never much more than what was stored.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pause: Duration,
    until: Instant,
    /// Frames that may be under way at once after it.
    most: usize,
    /// Those that went since it began.
    tries: HashSet<Sequence>,
}

impl Hold {
    /// From now on.
    pub(super) fn begin(now: Instant) -> Self {
        let pause = FIRST_PAUSE;
        Self { pause, until: now + pause, most: 1, tries: HashSet::new() }
    }

    /// Whether a frame may go.
    pub(super) fn lets_go(&self, now: Instant) -> bool {
        self.until <= now && self.tries.len() < self.most
    }

    /// When one may that may not yet, and for which nothing but time has to pass.
    pub(super) fn ends_at(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    /// True where it is one frame that is tried.
    pub(super) fn tries_one(&self) -> bool {
        self.most == 1
    }

    /// A frame goes.
    pub(super) fn handed(&mut self, frame: Sequence) {
        self.tries.insert(frame);
    }

    /// The receiver could not store a frame. What went before tells nothing new.
    pub(super) fn refused(&mut self, frame: Sequence, now: Instant) {
        if self.tries.remove(&frame) && self.until <= now {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            (self.until, self.most) = (now + self.pause, 1);
        }
    }

    /// It has stored one; true where it stores all that comes.
    pub(super) fn stored(&mut self, frame: Sequence, now: Instant) -> bool {
        if self.tries.remove(&frame) && self.until <= now {
            self.most += 1;
        }
        self.most > ENOUGH
    }

    /// Nothing will be heard of a frame.
    pub(super) fn forget(&mut self, frame: Sequence) {
        self.tries.remove(&frame);
    }

    /// The receiver says that it has room again.
    pub(super) fn has_room(&mut self, now: Instant) {
        (self.pause, self.until) = (FIRST_PAUSE, now);
    }

    /// Another session begins, maybe with a receiver that has another disk: a frame may be tried.
    pub(super) fn begin_session(&mut self, now: Instant) {
        self.tries.clear();
        (self.until, self.most) = (now, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Tries a frame as soon as that may be, and has it refused; how long that took.
    fn refused_after(hold: &mut Hold, now: &mut Instant, frame: u64) -> Duration {
        let (began, frame) = (*now, Sequence(frame));
        *now = hold.ends_at(*now).unwrap_or(*now);
        assert!(hold.lets_go(*now));
        hold.handed(frame);
        assert!(!hold.lets_go(*now + SECOND), "one is under way");
        hold.refused(frame, *now);
        *now - began
    }

    #[test]
    fn a_night_without_room_costs_a_frame_now_and_then() {
        let (began, mut now) = (Instant::now(), Instant::now());
        let mut hold = Hold::begin(now);
        let pauses: Vec<_> =
            (0..7).map(|frame| refused_after(&mut hold, &mut now, frame).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        let tries = (7..).take_while(|&frame| {
            refused_after(&mut hold, &mut now, frame);
            now - began < SECOND * 3_600 * 8
        });
        assert!(tries.count() < 1_000);
    }

    #[test]
    fn what_was_under_way_when_it_began_changes_nothing() {
        let now = Instant::now();
        let mut hold = Hold::begin(now);
        hold.refused(Sequence(8), now);
        assert!(!hold.stored(Sequence(9), now) && !hold.lets_go(now));
        assert!(hold.lets_go(now + SECOND));
    }

    #[test]
    fn room_is_found_out_a_frame_first_and_then_twice_as_many() {
        let mut now = Instant::now();
        let mut hold = Hold::begin(now);
        for frame in 0..9 {
            refused_after(&mut hold, &mut now, frame);
        }
        // Nobody waits for a pause that the receiver has ended.
        hold.has_room(now);
        let (mut rounds, mut next, mut over) = (Vec::new(), 100, false);
        while !over {
            let first = next;
            while hold.lets_go(now) {
                hold.handed(Sequence(next));
                next += 1;
            }
            rounds.push(next - first);
            over = (first..next).any(|frame| hold.stored(Sequence(frame), now));
        }
        assert_eq!(rounds[..3], [1, 2, 4], "{rounds:?}");
        assert!(rounds.iter().sum::<u64>() < 4 * ENOUGH as u64, "{rounds:?}");
        // In the midst of it there is none again.
        let mut hold = Hold::begin(now);
        hold.has_room(now);
        hold.handed(Sequence(0));
        hold.stored(Sequence(0), now);
        hold.handed(Sequence(1));
        hold.handed(Sequence(2));
        hold.refused(Sequence(1), now);
        hold.refused(Sequence(2), now);
        assert_eq!(hold.ends_at(now), Some(now + 2 * SECOND), "once");
        assert!(hold.tries_one());
    }

    #[test]
    fn a_frame_of_which_nothing_will_be_heard_is_not_waited_for() {
        let now = Instant::now();
        let mut hold = Hold::begin(now);
        hold.has_room(now);
        hold.handed(Sequence(0));
        hold.forget(Sequence(0));
        assert!(hold.lets_go(now));
        hold.handed(Sequence(1));
        hold.begin_session(now);
        assert!(hold.lets_go(now));
    }
}
