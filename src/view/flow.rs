//! How much may be on its way to a page. What is, is bounded by the time that it takes to be shown, since a slow way holds
//! megabytes in its queues, all of them older than what the store has by then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is sent is expected to be shown no later than this behind the time that any frame takes. Longer than most ways
/// there and back: those are filled by several frames.
const LATE: Duration = Duration::from_millis(400);
/// Reports closer to one another say together how fast frames are shown.
const SHORTEST: Duration = Duration::from_millis(10);
/// What a new measurement counts.
const SHARE: f64 = 0.25;

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) number: u64,
    bytes: u64,
    at: Instant,
    is_alone: bool,
}

/// What is on its way to a page, and how fast it is shown there.
#[derive(Debug, Default)]
pub(super) struct Flow {
    underway: u64,
    /// Bytes a second, while there was something on its way.
    rate: Option<f64>,
    /// Since when something is, or since the last measurement, and what was shown since.
    since: Option<Instant>,
    shown: u64,
    /// The shortest time from sending to being shown.
    least: Option<Duration>,
}

impl Flow {
    /// Whether so many bytes more may go. One frame always may.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let least = self.least.unwrap_or_default();
        let in_time =
            |rate: f64| (self.underway + bytes) as f64 <= rate * (least + LATE).as_secs_f64();
        self.underway == 0 || self.rate.is_some_and(in_time)
    }

    /// A frame was sent.
    pub(super) fn sent(&mut self, number: u64, bytes: u64, now: Instant) -> Flight {
        let is_alone = self.underway == 0;
        if is_alone {
            (self.since, self.shown) = (Some(now), 0);
        }
        self.underway += bytes;
        Flight { number, bytes, at: now, is_alone }
    }

    /// The page has shown these, or passed them over.
    pub(super) fn shown(&mut self, flights: impl Iterator<Item = Flight>, now: Instant) {
        for Flight { bytes, at, is_alone, .. } in flights {
            self.underway = self.underway.saturating_sub(bytes);
            self.shown += bytes;
            self.took(now.saturating_duration_since(at), is_alone);
        }
        let Some(since) = self.since else { return };
        let time = now.saturating_duration_since(since);
        if self.underway == 0 || time >= SHORTEST {
            let measured = self.shown as f64 / time.max(SHORTEST / 10).as_secs_f64();
            let rate = self.rate.unwrap_or(measured);
            self.rate = Some(rate + (measured - rate) * SHARE);
            (self.since, self.shown) = (Some(now), 0);
        }
    }

    /// Nobody looks at these any more, and nothing will be heard of them.
    pub(super) fn forgotten(&mut self, flights: &VecDeque<Flight>) {
        let bytes: u64 = flights.iter().map(|flight| flight.bytes).sum();
        self.underway = self.underway.saturating_sub(bytes);
    }

    /// One that went alone says how long the way is now; others have waited for one another.
    fn took(&mut self, time: Duration, was_alone: bool) {
        let least = self.least.filter(|_| !was_alone);
        self.least = Some(least.map_or(time, |least| least.min(time)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of so many bytes for `seconds`, one each 33 ms, over a way of so many bytes a second with a queue without
    /// end: the longest time that one took, and how many were shown.
    fn play(bytes: u64, rate: f64, round_trip: Duration, seconds: u64) -> (Duration, u32) {
        let began = Instant::now();
        let (mut flow, mut flights) = (Flow::default(), VecDeque::new());
        let (mut free, mut longest, mut shown) = (began, Duration::ZERO, 0);
        for tick in 0..seconds * 1_000 {
            let now = began + Duration::from_millis(tick);
            while flights.front().is_some_and(|(_, heard)| *heard <= now) {
                let (flight, _) = flights.pop_front().unwrap();
                flow.shown(std::iter::once(flight), now);
                longest = longest.max(now - Flight::at(&flight));
                shown += 1;
            }
            if tick % 33 == 0 && flow.has_room(bytes) {
                free = free.max(now) + Duration::from_secs_f64(bytes as f64 / rate);
                flights.push_back((flow.sent(tick, bytes, now), free + round_trip));
            }
        }
        (longest, shown)
    }

    impl Flight {
        fn at(&self) -> Instant {
            self.at
        }
    }

    #[test]
    fn a_slow_way_has_no_queue_and_a_long_one_is_filled() {
        let ms = Duration::from_millis;
        // A frame takes 0.8 s: one after the other.
        let (longest, shown) = play(100_000, 125_000.0, ms(50), 30);
        assert!(longest < ms(900) && shown > 30, "{longest:?} {shown}");
        // And 0.16 s.
        let (longest, shown) = play(20_000, 125_000.0, ms(50), 30);
        assert!(longest < ms(700) && shown > 160, "{longest:?} {shown}");
        // There is room for all of them.
        for round_trip in [1, 50, 300] {
            let (longest, shown) = play(20_000, 12_500_000.0, ms(round_trip), 30);
            assert!(longest < ms(round_trip + 100) && shown > 800, "{longest:?} {shown}");
        }
    }

    #[test]
    fn what_nobody_looks_at_any_more_is_not_waited_for() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        let flight = flow.sent(1, 50_000, now);
        assert!(!flow.has_room(1));
        flow.forgotten(&VecDeque::from([flight]));
        assert!(flow.has_room(1));
    }
}
