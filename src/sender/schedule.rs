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

impl Schedule {
    /// The first frame is due now.
    pub fn start(pace: Pace) -> Self {
        Self { pace, start: Instant::now(), start_unix: UnixNanos::now() }
    }

    /// When the frame in the given place falls due.
    pub fn due(&self, slot: u64) -> Instant {
        self.start + self.offset(slot)
    }

    /// The same on this machine's clock. In bulk every frame was due when the run began.
    pub fn captured(&self, slot: u64) -> UnixNanos {
        let offset = u64::try_from(self.offset(slot).as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(self.start_unix.0.saturating_add(offset))
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
    pub fn late_at(&self, slot: u64, rtt: Duration) -> Option<Instant> {
        match self.pace {
            Pace::Bulk => None,
            Pace::PerSecond(_) => Some(self.due(slot) + LEAST_PATIENCE.max(PATIENCE_RTTS * rtt)),
        }
    }

    /// The places of live frames that go before every late one: from the first that is not late to
    /// the last that is due soon. Empty in bulk.
    pub fn fresh(&self, now: Instant, rtt: Duration) -> Range<u64> {
        let Pace::PerSecond(rate) = self.pace else { return 0..0 };
        let patience = LEAST_PATIENCE.max(PATIENCE_RTTS * rtt);
        let elapsed = now.saturating_duration_since(self.start);
        let due_within = |time: Duration| (time.as_secs_f64() * rate) as u64 + 1;
        let start = elapsed.checked_sub(patience).map_or(0, due_within);
        start..due_within(elapsed + MADE_READY)
    }

    /// The urgency of a live frame that is late: below every fresh one, and the oldest first.
    pub fn late_priority(&self, slot: u64) -> i32 {
        -i32::try_from(slot).unwrap_or(i32::MAX)
    }

    /// The urgency of a frame of `bytes` bytes; higher goes first. `before` is the number of bytes
    /// that its source, of the given weight, has handed over before it.
    ///
    /// Live frames are always more urgent than bulk. Among bulk frames, sources share the bytes in
    /// proportion to their weights (fair queueing with the bytes as virtual time). Live frames have
    /// their own rate, so a weight is no share of it: it decides who waits. Of frames due together
    /// the one with fewer bytes for its source's weight goes first, and the others wait for no
    /// more than its bytes; a weight lets no frame overtake one due much earlier.
    pub fn priority(&self, slot: u64, bytes: u64, before: u64, weight: Weight) -> i32 {
        match self.pace {
            Pace::PerSecond(_) => {
                let due = u64::try_from(self.offset(slot).as_micros()).unwrap_or(u64::MAX);
                let deadline = due.saturating_add(weight.lighten(bytes) / REFERENCE_RATE);
                let rank = i32::try_from(deadline / DEADLINE_GRAIN).unwrap_or(i32::MAX - 2);
                // The highest value is for the session's messages.
                (i32::MAX - 1).saturating_sub(rank).max(1)
            }
            Pace::Bulk => {
                let virtual_time = weight.lighten(before.saturating_add(bytes));
                -i32::try_from(virtual_time / BULK_GRAIN).unwrap_or(i32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(number: u8) -> Weight {
        number.to_string().parse().unwrap()
    }

    #[test]
    fn frames_fall_due_at_their_place() {
        let schedule = Schedule::start(Pace::PerSecond(30.0));
        assert_eq!(schedule.due(30) - schedule.due(0), Duration::from_secs(1));
        assert_eq!(schedule.captured(60).nanos_since(schedule.captured(0)), 2_000_000_000);
        let bulk = Schedule::start(Pace::Bulk);
        assert_eq!(bulk.due(1_000), bulk.due(0));
    }

    #[test]
    fn the_oldest_due_goes_first_and_of_equals_the_smaller() {
        let live = Schedule::start(Pace::PerSecond(30.0));
        assert!(live.priority(0, 60_000, 0, weight(1)) > live.priority(1, 60_000, 0, weight(1)));
        assert!(live.priority(5, 20_000, 0, weight(1)) > live.priority(5, 60_000, 0, weight(1)));
        // A large frame is overtaken by small ones for a while, not for ever.
        assert!(live.priority(0, 1_000_000, 0, weight(1)) > live.priority(3, 20_000, 0, weight(1)));
    }

    #[test]
    fn a_late_frame_goes_behind_every_fresh_one() {
        let live = Schedule::start(Pace::PerSecond(30.0));
        assert!(live.late_priority(0) < live.priority(u64::MAX, u64::MAX, 0, weight(1)));
        assert!(live.late_priority(0) > live.late_priority(1));
        let rtt = Duration::from_millis(50);
        assert_eq!(live.late_at(0, rtt), Some(live.due(0) + Duration::from_millis(150)));
        let rtt = Duration::from_millis(600);
        assert_eq!(live.late_at(30, rtt), Some(live.due(30) + Duration::from_millis(1_800)));
    }

    #[test]
    fn what_is_not_late_and_due_soon_is_fresh() {
        let live = Schedule::start(Pace::PerSecond(100.0));
        let fresh =
            |millis| live.fresh(live.due(0) + Duration::from_millis(millis), Duration::ZERO);
        assert_eq!(fresh(0), 0..26);
        assert_eq!(fresh(149).start, 0);
        for (millis, first) in [(150, 1), (155, 1), (5_005, 486)] {
            let now = live.due(0) + Duration::from_millis(millis);
            assert_eq!(fresh(millis), first..first + 40);
            let late = |slot| live.late_at(slot, Duration::ZERO).is_some_and(|late| late <= now);
            assert!(late(first - 1) && !late(first));
        }
        assert!(Schedule::start(Pace::Bulk).fresh(Instant::now(), Duration::ZERO).is_empty());
    }

    #[test]
    fn bulk_never_goes_before_live_and_shares_by_bytes() {
        let live = Schedule::start(Pace::PerSecond(1.0));
        let bulk = Schedule::start(Pace::Bulk);
        assert!(
            live.priority(u64::MAX, u64::MAX, 0, weight(1)) > bulk.priority(0, 0, 0, weight(1))
        );
        assert!(bulk.priority(0, 0, 1 << 20, weight(1)) > bulk.priority(0, 0, 2 << 20, weight(1)));
        let _ = bulk.priority(0, 0, u64::MAX, weight(1));
    }

    #[test]
    fn of_live_frames_due_together_the_lighter_for_its_weight_goes_first() {
        let live = Schedule::start(Pace::PerSecond(30.0));
        let large = |slot, number| live.priority(slot, 60_000, 0, weight(number));
        let small = live.priority(5, 20_000, 0, weight(1));
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
            let priority =
                |&source: &usize| bulk.priority(0, 50_000, handed[source], weights[source]);
            let next = (0..3).max_by_key(priority).unwrap();
            handed[next] += 50_000;
        }
        let parts = handed.map(|bytes| bytes as f64 / handed.iter().sum::<u64>() as f64);
        for (part, due) in parts.into_iter().zip([0.3, 0.1, 0.6]) {
            assert!((part - due).abs() < 0.01, "{parts:?}");
        }
    }
}
