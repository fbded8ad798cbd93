//! Times that frames are named by: no two the same, and none before the one it follows.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::frame::{Captured, Clock, SourceName, UnixNanos};

/// A clock that is behind by less than this was slewed, or read twice in a moment.
const NOTED: Duration = Duration::from_millis(1);
/// One that is behind by more is said to be.
const TOLD: Duration = Duration::from_secs(1);

/// Gives out times of this machine's clock, each later than the one before, to the microsecond. Where the clock is put
/// back they go on at half the pace of time until it has caught up, and say how far they are from it.
#[derive(Debug)]
pub(super) struct Stamps {
    source: SourceName,
    last_us: u64,
    /// When the last one was given out, by the clock that nobody sets.
    given: Option<Instant>,
    /// It was said that the clock is behind.
    is_told: bool,
}

/// A time that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) at: UnixNanos,
    /// How far it is from the clock, where that was put back.
    uncertainty: Option<u64>,
}

impl Stamp {
    /// The time of something that follows nothing.
    pub(super) fn alone(time: SystemTime) -> Self {
        Self { at: UnixNanos::from(time), uncertainty: None }
    }

    /// As the time of a capture.
    pub(super) fn captured(self, clock: Clock) -> Captured {
        Captured { at: self.at, clock, uncertainty: self.uncertainty }
    }
}

impl Stamps {
    /// Times for what comes of a source.
    pub(super) fn of(source: SourceName) -> Self {
        Self { source, last_us: 0, given: None, is_told: false }
    }

    /// The time of something that was at `time`, which is `now` by the steady clock, and follows what the last one was
    /// given for.
    pub(super) fn take(&mut self, time: SystemTime, now: Instant) -> Stamp {
        let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let us = u64::try_from(since).unwrap_or(u64::MAX / 1_000);
        let elapsed =
            self.given.map_or(Duration::ZERO, |given| now.saturating_duration_since(given));
        let pace = u64::try_from(elapsed.as_micros() / 2).unwrap_or(u64::MAX);
        let next = if us > self.last_us { us } else { self.last_us.saturating_add(pace.max(1)) };
        // Year 9999, beyond which a name would have more digits.
        self.last_us = next.min(253_402_300_799_999_999);
        self.given = Some(now);
        let behind = Duration::from_micros(self.last_us.saturating_sub(us));
        self.tell(behind);
        let nanos = u64::try_from(behind.as_nanos()).unwrap_or(u64::MAX);
        Stamp {
            at: UnixNanos(self.last_us.saturating_mul(1_000)),
            uncertainty: (behind >= NOTED).then_some(nanos),
        }
    }

    /// Says once that the clock is behind.
    fn tell(&mut self, behind: Duration) {
        if behind < TOLD {
            self.is_told = false;
        } else if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                "source {}: the clock of this machine was put back by {:.1} s: until it has caught up, capture times are \
                 ahead of it, in order, and each says by how much (uncertainty_ns)",
                self.source,
                behind.as_secs_f64()
            );
        }
    }
}

/// A time as the name of a file, `20261129T201133.123456Z`.
pub(super) fn name(time: UnixNanos) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0));
    let date = date.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second(),
        date.microsecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_no_two_the_same_whatever_the_clock_does() {
        let mut stamps = Stamps::of(SourceName::parse("a").unwrap());
        let at = UNIX_EPOCH + Duration::from_micros(1_795_983_093_123_456);
        let year = Duration::from_secs(365 * 86_400);
        let times = [at, at, at - year, at + Duration::from_millis(1), UNIX_EPOCH - year];
        let now = Instant::now();
        let names: Vec<_> = times.map(|time| name(stamps.take(time, now).at)).into();
        assert_eq!(names[0], "20261129T201133.123456Z");
        assert_eq!(names[3], "20261129T201133.124456Z");
        assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_clock_that_was_put_back_is_caught_up_with_and_said_to_be_off() {
        let mut stamps = Stamps::of(SourceName::parse("a").unwrap());
        let (start, now) = (UNIX_EPOCH + Duration::from_secs(1_795_983_093), Instant::now());
        let second = Duration::from_secs(1);
        let unix = |time: SystemTime| UnixNanos::from(time);
        let first = stamps.take(start, now);
        assert_eq!(first, Stamp { at: unix(start), uncertainty: None });
        assert_eq!(first.captured(Clock::Read).uncertainty, None);
        // Put back by ten seconds: half a second a second is made up for.
        let back = start - 10 * second;
        for seconds in 1..=19 {
            let stamp = stamps.take(back + seconds * second, now + seconds * second);
            assert_eq!(stamp.at, unix(start + seconds * second / 2), "{seconds}");
            let off = 10 * second - seconds * second / 2;
            assert_eq!(stamp.uncertainty, Some(off.as_nanos() as u64), "{seconds}");
        }
        let stamp = stamps.take(back + 21 * second, now + 21 * second);
        assert_eq!(stamp, Stamp { at: unix(start + 11 * second), uncertainty: None });
    }
}
