//! Times that frames are named by: no two the same, and none before the one it follows.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::UnixNanos;

/// Gives out times of this machine's clock, each later than the one before, to the microsecond. Where the
/// clock is put back they go on by a microsecond each until it has caught up.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last_us: u64,
}

impl Stamps {
    /// The time of something that was at `time` and follows what the last one was given for.
    pub(super) fn take(&mut self, time: SystemTime) -> UnixNanos {
        let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let us = u64::try_from(since).unwrap_or(u64::MAX / 1_000);
        // Year 9999, beyond which a name would have more digits.
        self.last_us = us.max(self.last_us + 1).min(253_402_300_799_999_999);
        UnixNanos(self.last_us.saturating_mul(1_000))
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_in_order_and_no_two_the_same_whatever_the_clock_does() {
        let mut stamps = Stamps::default();
        let at = UNIX_EPOCH + Duration::from_micros(1_795_983_093_123_456);
        let year = Duration::from_secs(365 * 86_400);
        let times = [at, at, at - year, at + Duration::from_millis(1), UNIX_EPOCH - year];
        let names: Vec<_> = times.map(|time| name(stamps.take(time))).into();
        assert_eq!(names[0], "20261129T201133.123456Z");
        assert_eq!(names[3], "20261129T201133.124456Z");
        assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
