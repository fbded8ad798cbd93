//! Whether the clock is to be believed where frames are removed by their age. A board without a battery that starts in another
//! year, or a wrong answer of a time server, makes frames of a minute ago look a year old.

use std::time::{Duration, Instant};

use super::seat::DayStock;
use crate::frame::{EARLIEST_CLOCK, UnixNanos};
use crate::manifest::Day;

const HOUR: u64 = 3_600_000_000_000;
const DAY: u64 = 24 * HOUR;

/// For so long nothing is removed by its age while nothing speaks for the clock.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The time by both clocks when it was looked at last.
    looked: Option<(Instant, UnixNanos)>,
    /// Since when nothing has spoken for the system's clock; `None` where it is believed.
    since: Option<(Instant, UnixNanos)>,
}

impl Doubt {
    /// At the start of a receiver, which may have been off for any time.
    pub(super) fn at_start(steady: Instant, now: UnixNanos) -> Self {
        Self { looked: Some((steady, now)), since: Some((steady, now)) }
    }

    /// Where time is what a test says.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { looked: None, since: None }
    }

    /// Looks at the clock, and at what speaks for it: frames that were stored within the last day, or whose senders' clocks
    /// say much the same.
    pub(super) fn look<'a>(
        &mut self,
        steady: Instant,
        now: UnixNanos,
        stock: impl Iterator<Item = &'a DayStock>,
    ) {
        let Some((then, was)) = self.looked.replace((steady, now)) else {
            self.looked = None;
            return;
        };
        let passed = u64::try_from(steady.saturating_duration_since(then).as_nanos());
        let expected = was.0.saturating_add(passed.unwrap_or(u64::MAX));
        if now.0.saturating_sub(expected) > HOUR {
            self.since = Some((steady, now));
        }
        let Some((since, began)) = self.since else { return };
        let today = Day::of(now).begin().0;
        let (mut is_empty, mut speaks) = (true, false);
        for day in stock.filter(|day| day.frames > 0) {
            is_empty = false;
            let is_recent = now.0.saturating_sub(day.last_stored.0) <= DAY;
            let says_sender = day.day.begin().0.abs_diff(today) <= DAY;
            speaks |= is_recent && (day.last_stored < began || says_sender);
        }
        if is_empty || speaks || steady.saturating_duration_since(since) >= PATIENCE {
            self.since = None;
        }
    }

    /// Whether frames may be removed by their age.
    pub(super) fn is_over(&self) -> bool {
        self.since.is_none()
    }
}

/// Whether the time at which a frame was stored says how old it is: none was stored before 2026, whatever a clock said.
pub(super) fn says_age(stored: UnixNanos) -> bool {
    stored >= EARLIEST_CLOCK
}

/// Whether a removal that was declared at that time may go on: not where that is still to come.
pub(super) fn may_go_on(declared: UnixNanos, now: UnixNanos) -> bool {
    declared.0 <= now.0.saturating_add(HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(captured: u64, last_stored: u64) -> DayStock {
        let (day, last_stored) = (Day::of(UnixNanos(captured)), UnixNanos(last_stored));
        let (frames, bytes, lines) = (1, 1, 1);
        DayStock { day, frames, bytes, lines, last_stored, pending: None, has_only_records: false }
    }

    #[test]
    fn a_clock_that_nothing_speaks_for_is_doubted_for_a_day() {
        let (steady, now) = (Instant::now(), UnixNanos(400 * DAY));
        let after = |hours: u64| {
            let at = UnixNanos(now.0 + hours * HOUR);
            (steady + Duration::from_nanos(hours * HOUR), at)
        };
        let is_over_with = |hours, stock: &[DayStock]| {
            let mut doubt = Doubt::at_start(steady, now);
            let (steady, now) = after(hours);
            doubt.look(steady, now, stock.iter());
            doubt.is_over()
        };
        let long_ago = stock(100 * DAY, 100 * DAY);
        assert!(is_over_with(0, &[]), "there is nothing to lose");
        assert!(!is_over_with(0, &[long_ago]));
        assert!(!is_over_with(23, &[long_ago]));
        assert!(is_over_with(24, &[long_ago]));
        assert!(is_over_with(0, &[long_ago, stock(399 * DAY, now.0 - HOUR)]), "stored just now");
        // What is stored since then speaks for the clock where the sender's says the same.
        assert!(!is_over_with(1, &[long_ago, stock(101 * DAY, now.0 + HOUR)]));
        assert!(is_over_with(1, &[long_ago, stock(400 * DAY, now.0 + HOUR)]));
    }

    #[test]
    fn a_clock_that_is_set_forward_is_doubted() {
        let (steady, now) = (Instant::now(), UnixNanos(400 * DAY));
        let kept = [stock(now.0, now.0)];
        let mut doubt = Doubt::at_start(steady, now);
        doubt.look(steady, now, kept.iter());
        assert!(doubt.is_over());
        let later = steady + Duration::from_secs(60);
        doubt.look(later, UnixNanos(now.0 + 60_000_000_000), kept.iter());
        assert!(doubt.is_over());
        doubt.look(later, UnixNanos(now.0 + 300 * DAY), kept.iter());
        assert!(!doubt.is_over());
        // Set right, what is there was stored just now.
        doubt.look(later, UnixNanos(now.0 + 60_000_000_000), kept.iter());
        assert!(doubt.is_over());
    }
}
