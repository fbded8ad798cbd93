//! How far the receiver's clock is from ours.

use std::collections::VecDeque;

use crate::frame::UnixNanos;

/// Replies of which the best counts. Clocks drift apart by some 50 us a second; at a probe every second that
/// is less than what a round trip leaves uncertain.
const KEPT: usize = 16;

/// How far clocks that nobody sets may drift apart between the oldest reply and the newest, and that with some to spare.
const DRIFT: i128 = 20_000_000;

/// The newest replies to clock probes.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    replies: VecDeque<Reply>,
}

#[derive(Debug, Clone, Copy)]
struct Reply {
    /// How far the receiver's clock is ahead.
    ahead: i128,
    /// On the way there and back, without the time at the receiver.
    round_trip: i128,
}

impl ClockOffset {
    /// A reply to a probe: times of asking, of arrival and reply by the receiver's clock, and of the reply's
    /// arrival here. One whose times cannot be is none.
    pub(super) fn heard(
        &mut self,
        asked: UnixNanos,
        arrived: UnixNanos,
        replied: UnixNanos,
        heard: UnixNanos,
    ) {
        let there = arrived.nanos_since(asked);
        let back = heard.nanos_since(replied);
        let round_trip = there + back;
        if round_trip < 0 || heard < asked || replied < arrived {
            return;
        }
        let reply = Reply { ahead: (there - back) / 2, round_trip };
        // Where it cannot be that both are right, one of the clocks was set.
        self.replies.retain(|before| {
            let uncertain = (before.round_trip + round_trip) / 2 + DRIFT;
            (before.ahead - reply.ahead).abs() <= uncertain
        });
        if self.replies.len() == KEPT {
            self.replies.pop_front();
        }
        self.replies.push_back(reply);
    }

    /// A time of the receiver's clock on ours; `None` before the first reply. The shorter a round trip was,
    /// the less its two ways can have differed.
    pub(super) fn here(&self, there: UnixNanos) -> Option<i128> {
        self.best().map(|reply| i128::from(there.0) - reply.ahead)
    }

    /// How far the receiver's clock is ahead of ours; `None` before the first reply.
    pub(super) fn ahead(&self) -> Option<i128> {
        self.best().map(|reply| reply.ahead)
    }

    /// The shortest round trip of the newest replies, in nanoseconds. Half of it is how far the clock can be
    /// off.
    pub(super) fn round_trip(&self) -> Option<i128> {
        self.best().map(|reply| reply.round_trip)
    }

    fn best(&self) -> Option<&Reply> {
        self.replies.iter().min_by_key(|reply| reply.round_trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(clock: &mut ClockOffset, times: [u64; 4]) {
        let [asked, arrived, replied, heard] = times.map(UnixNanos);
        clock.heard(asked, arrived, replied, heard);
    }

    #[test]
    fn the_reply_with_the_shortest_round_trip_counts() {
        let mut clock = ClockOffset::default();
        assert_eq!(clock.here(UnixNanos(1_000)), None);
        // The receiver is 500 ahead; 10 there and 10 back, then 10 there and 90 back.
        heard(&mut clock, [100, 610, 620, 130]);
        heard(&mut clock, [200, 710, 710, 300]);
        assert_eq!((clock.here(UnixNanos(1_500)), clock.round_trip()), (Some(1_000), Some(20)));
        for _ in 0..KEPT {
            heard(&mut clock, [200, 710, 710, 300]);
        }
        assert_eq!(clock.round_trip(), Some(100), "what is old is forgotten");
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut clock = ClockOffset::default();
        let second = 1_000_000_000;
        heard(&mut clock, [10 * second, 20 * second, 20 * second, 10 * second + 100]);
        // Ours was put back by five seconds, and the round trip takes longer.
        heard(&mut clock, [6 * second, 21 * second, 21 * second, 6 * second + 900]);
        assert_eq!((clock.ahead(), clock.round_trip()), (Some(15_000_000_000 - 450), Some(900)));
        // One that drifts is the same clock.
        heard(
            &mut clock,
            [7 * second, 22 * second + 1_000_000, 22 * second + 1_000_000, 7 * second + 9_000],
        );
        assert_eq!(clock.round_trip(), Some(900));
    }

    #[test]
    fn times_that_cannot_be_are_no_reply() {
        let mut clock = ClockOffset::default();
        heard(&mut clock, [100, 50, 40, 120]);
        heard(&mut clock, [100, u64::MAX, 0, 90]);
        heard(&mut clock, [100, 0, u64::MAX, 110]);
        assert_eq!(clock.round_trip(), None);
    }
}
