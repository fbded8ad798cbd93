//! When frames are due, and which of them is the most urgent.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::weight::Weight;
use crate::frame::UnixNanos;

/// How fast frames fall due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// All at once: as fast as the link takes them.
    Bulk,
    /// This many a second from each source.
    PerSecond(f64),
}

/// The clock that frames fall due by.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pace: Pace,
    start: Instant,
    start_unix: UnixNanos,
}

/// When a frame falls due, and among which others. Frames that nobody waits for come before all live ones,
/// and those in the order of their due times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    /// True for a frame that has a due time of its own; false in bulk, where everything is due at the start.
    pub(super) live: bool,
    pub(super) at: Instant,
    /// Tells apart frames of a source that are due together.
    rank: u64,
}

/// Live frames compare by a virtual deadline: when they were due, plus the time their bytes would
/// take at this rate in bytes per microsecond (128 Mbit/s) times the source's weight. Of frames due
/// at the same time the smaller goes first, but a large one waits only for smaller ones due not much
/// later.
const REFERENCE_RATE: u64 = 16;

/// Deadlines are told apart to this many microseconds, so that the range of a priority, 2^31, lasts
/// for 12 days of one session. Behind that all frames share alike.
const DEADLINE_GRAIN: u64 = 512;

/// A live frame is fresh for this long at least, ...
const LEAST_PATIENCE: Duration = Duration::from_millis(150);

/// ... and for this many round trips, in which even a frame whose retransmission is lost as well
/// gets through. Only an outage or an overloaded link makes many frames later than that, and what is
/// fresh by then waits behind no more than this.
const PATIENCE_RTTS: u32 = 3;

/// Live frames are made ready for this long before they are due, whatever else waits. Reading takes
/// milliseconds.
const MADE_READY: Duration = Duration::from_millis(250);

/// Bulk frames compare by the bytes of their source up to them, in this many bytes.
const BULK_GRAIN: u64 = 1 << 16;

impl Due {
    /// Before every live frame that falls due at that time.
    pub(super) fn first_at(at: Instant) -> Self {
        Self { live: true, at, rank: 0 }
    }
}

impl Schedule {
    /// The first frame is due now.
    pub fn start(pace: Pace) -> Self {
        Self { pace, start: Instant::now(), start_unix: UnixNanos::now() }
    }

    /// When the frame in the given place falls due.
    pub fn due(&self, slot: u64) -> Instant {
        self.start + self.offset(slot)
    }

    /// The due time of the frame in that place.
    pub(super) fn paced(&self, slot: u64) -> Due {
        Due { live: self.pace != Pace::Bulk, at: self.due(slot), rank: slot }
    }

    /// The due time of a frame that came about at `at`, the `rank`th of its source.
    pub(super) fn arrived(at: Instant, rank: u64) -> Due {
        Due { live: true, at, rank }
    }

    /// A time on this machine's clock.
    pub(super) fn unix(&self, at: Instant) -> UnixNanos {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let since = nanos(at.saturating_duration_since(self.start));
        let before = nanos(self.start.saturating_duration_since(at));
        UnixNanos(self.start_unix.0.saturating_add(since).saturating_sub(before))
    }

    /// Time from the first frame's due time to this one's.
    fn offset(&self, slot: u64) -> Duration {
        match self.pace {
            Pace::Bulk => Duration::ZERO,
            Pace::PerSecond(rate) => {
                Duration::try_from_secs_f64(slot as f64 / rate).unwrap_or(Duration::MAX / 4)
            }
        }
    }

    /// When a live frame that is not through has become part of the backlog: fresh frames are then
    /// of more use. `None` in bulk, where everything is backlog.
    pub(super) fn late_at(due: Due, rtt: Duration) -> Option<Instant> {
        due.live.then(|| due.at + patience(rtt))
    }

    /// The due times of live frames that go before every late one: from the first that is not late to
    /// the last that is due soon.
    pub(super) fn fresh(now: Instant, rtt: Duration) -> Range<Instant> {
        // What is due by the start of this is late: it is the first moment that is not.
        let start = now.checked_sub(patience(rtt)).unwrap_or(now) + Duration::from_nanos(1);
        start..now + MADE_READY
    }

    /// The urgency of a live frame that is late: below every fresh one, and the oldest first.
    pub(super) fn late_priority(&self, due: Due) -> i32 {
        -i32::try_from(self.micros(due) / DEADLINE_GRAIN).unwrap_or(i32::MAX)
    }

    /// The urgency of a frame of `bytes` bytes; higher goes first. `before` is the number of bytes
    /// that its source, of the given weight, has handed over before it.
    ///
    /// Live frames are always more urgent than bulk. Among bulk frames, sources share the bytes in
    /// proportion to their weights (fair queueing with the bytes as virtual time). Live frames have
    /// their own rate, so a weight is no share of it: it decides who waits. Of frames due together
    /// the one with fewer bytes for its source's weight goes first, and the others wait for no
    /// more than its bytes; a weight lets no frame overtake one due much earlier.
    pub(super) fn priority(&self, due: Due, bytes: u64, before: u64, weight: Weight) -> i32 {
        if due.live {
            let deadline = self.micros(due).saturating_add(weight.lighten(bytes) / REFERENCE_RATE);
            let rank = i32::try_from(deadline / DEADLINE_GRAIN).unwrap_or(i32::MAX - 2);
            // The highest value is for the session's messages.
            return (i32::MAX - 1).saturating_sub(rank).max(1);
        }
        let virtual_time = weight.lighten(before.saturating_add(bytes));
        -i32::try_from(virtual_time / BULK_GRAIN).unwrap_or(i32::MAX)
    }

    fn micros(&self, due: Due) -> u64 {
        let since = due.at.saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// How long a live frame is fresh.
fn patience(rtt: Duration) -> Duration {
    LEAST_PATIENCE.max(PATIENCE_RTTS * rtt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Pace = Pace::PerSecond(30.0);

    fn weight(number: u8) -> Weight {
        number.to_string().parse().unwrap()
    }

    /// The urgency of a frame in a place, of a source of a weight.
    fn priority(schedule: &Schedule, slot: u64, bytes: u64, number: u8) -> i32 {
        schedule.priority(schedule.paced(slot), bytes, 0, weight(number))
    }

    #[test]
    fn frames_fall_due_at_their_place() {
        let schedule = Schedule::start(LIVE);
        assert_eq!(schedule.due(30) - schedule.due(0), Duration::from_secs(1));
        let unix = |slot| schedule.unix(schedule.due(slot));
        assert_eq!(unix(60).nanos_since(unix(0)), 2_000_000_000);
        let before = schedule.due(0) - Duration::from_secs(1);
        assert_eq!(unix(0).nanos_since(schedule.unix(before)), 1_000_000_000);
        let bulk = Schedule::start(Pace::Bulk);
        assert_eq!(bulk.due(1_000), bulk.due(0));
    }

    #[test]
    fn the_oldest_due_goes_first_and_of_equals_the_smaller() {
        let live = Schedule::start(LIVE);
        assert!(priority(&live, 0, 60_000, 1) > priority(&live, 1, 60_000, 1));
        assert!(priority(&live, 5, 20_000, 1) > priority(&live, 5, 60_000, 1));
        // A large frame is overtaken by small ones for a while, not for ever.
        assert!(priority(&live, 0, 1_000_000, 1) > priority(&live, 3, 20_000, 1));
    }

    #[test]
    fn a_late_frame_goes_behind_every_fresh_one() {
        let live = Schedule::start(LIVE);
        let late = |slot| live.late_priority(live.paced(slot));
        assert!(late(0) < priority(&live, u64::MAX, u64::MAX, 1));
        assert!(late(0) > late(1));
        let rtt = Duration::from_millis(50);
        let late_at = |slot, rtt| Schedule::late_at(live.paced(slot), rtt);
        assert_eq!(late_at(0, rtt), Some(live.due(0) + Duration::from_millis(150)));
        let rtt = Duration::from_millis(600);
        assert_eq!(late_at(30, rtt), Some(live.due(30) + Duration::from_millis(1_800)));
    }

    #[test]
    fn what_is_not_late_and_due_soon_is_fresh() {
        let live = Schedule::start(Pace::PerSecond(100.0));
        for (millis, first, end) in [(0, 0, 25), (149, 0, 40), (150, 1, 40), (5_005, 486, 526)] {
            let now = live.due(0) + Duration::from_millis(millis);
            let fresh = Schedule::fresh(now, Duration::ZERO);
            let is_fresh = |slot: u64| fresh.contains(&live.due(slot));
            assert!(is_fresh(first) && is_fresh(end - 1) && !is_fresh(end), "{millis} ms");
            let late = |slot| {
                Schedule::late_at(live.paced(slot), Duration::ZERO).is_some_and(|at| at <= now)
            };
            assert!(!late(first) && (first == 0 || late(first - 1) && !is_fresh(first - 1)));
        }
        let bulk = Schedule::start(Pace::Bulk);
        assert_eq!(Schedule::late_at(bulk.paced(0), Duration::ZERO), None);
    }

    #[test]
    fn bulk_never_goes_before_live_and_shares_by_bytes() {
        let (live, bulk) = (Schedule::start(Pace::PerSecond(1.0)), Schedule::start(Pace::Bulk));
        assert!(priority(&live, u64::MAX, u64::MAX, 1) > priority(&bulk, 0, 0, 1));
        let after = |before| bulk.priority(bulk.paced(0), 0, before, weight(1));
        assert!(after(1 << 20) > after(2 << 20));
        let _ = after(u64::MAX);
        // What comes about while a backlog is sent goes before it, and keeps its own order.
        let arrived = |ms, rank| Schedule::arrived(bulk.start + Duration::from_millis(ms), rank);
        assert!(bulk.paced(1) < arrived(0, 0) && arrived(0, 5) < arrived(1, 4));
    }

    #[test]
    fn of_live_frames_due_together_the_lighter_for_its_weight_goes_first() {
        let live = Schedule::start(LIVE);
        let large = |slot, number| priority(&live, slot, 60_000, number);
        let small = priority(&live, 5, 20_000, 1);
        assert!(large(5, 1) < small && small < large(5, 6));
        // But a source that weighs all does not jump the queue.
        assert!(large(6, 100) < small && small < large(4, 1));
    }

    #[test]
    fn in_bulk_sources_share_the_bytes_in_proportion_to_their_weights() {
        let bulk = Schedule::start(Pace::Bulk);
        let weights = [weight(3), weight(1), weight(6)];
        let mut handed = [0_u64; 3];
        for _ in 0..1_000 {
            let priority = |&source: &usize| {
                bulk.priority(bulk.paced(0), 50_000, handed[source], weights[source])
            };
            let next = (0..3).max_by_key(priority).unwrap();
            handed[next] += 50_000;
        }
        let parts = handed.map(|bytes| bytes as f64 / handed.iter().sum::<u64>() as f64);
        for (part, due) in parts.into_iter().zip([0.3, 0.1, 0.6]) {
            assert!((part - due).abs() < 0.01, "{parts:?}");
        }
    }
}
