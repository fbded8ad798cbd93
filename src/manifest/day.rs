//! A day of the calendar, in UTC: what folders, retention and reports count in.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use time::{Date, OffsetDateTime};

use crate::frame::UnixNanos;

const NANOS_AN_HOUR: u64 = 3_600 * 1_000_000_000;
const NANOS_A_DAY: u64 = 24 * NANOS_AN_HOUR;
/// The day that the latest time falls on, 2554-07-21.
const LAST: u32 = (u64::MAX / NANOS_A_DAY) as u32;

/// A day in UTC, written `2026-11-29`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

/// The text is no day.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a day is written 2026-11-29, and not before 1970 or after 2554")]
pub struct NotADay;

impl Day {
    /// The day that a moment falls on.
    pub fn of(UnixNanos(at): UnixNanos) -> Self {
        // At most LAST.
        Self((at / NANOS_A_DAY) as u32)
    }

    /// Its first moment.
    pub fn begin(self) -> UnixNanos {
        UnixNanos(u64::from(self.0.min(LAST)) * NANOS_A_DAY)
    }

    /// The first moment behind it.
    pub fn end(self) -> UnixNanos {
        UnixNanos(self.begin().0.saturating_add(NANOS_A_DAY))
    }

    /// The hour of the day that a moment falls on, 0 to 23.
    pub fn hour(UnixNanos(at): UnixNanos) -> u8 {
        (at / NANOS_AN_HOUR % 24) as u8
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.begin().0 / 1_000_000_000).unwrap_or_default();
        match OffsetDateTime::from_unix_timestamp(seconds) {
            Ok(at) => write!(f, "{}", at.date()),
            Err(_) => f.write_str("1970-01-01"),
        }
    }
}

/// Reads what [`Display`](fmt::Display) writes and nothing else.
impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        let is_digit = |at: usize, byte: &u8| matches!(at, 4 | 7) != byte.is_ascii_digit();
        if text.len() != 10 || !text.bytes().enumerate().all(|(at, byte)| is_digit(at, &byte)) {
            return Err(NotADay);
        }
        let number = |part: &str| part.parse::<u16>().map_err(|_| NotADay);
        let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..])?);
        let month = u8::try_from(month).ok().and_then(|month| month.try_into().ok());
        let day = u8::try_from(day).map_err(|_| NotADay)?;
        let date = Date::from_calendar_date(i32::from(year), month.ok_or(NotADay)?, day);
        let since = date.map_err(|_| NotADay)?.to_julian_day() - EPOCH_JULIAN;
        let found = u32::try_from(since).ok().filter(|days| *days <= LAST).map(Self);
        found.filter(|day| day.to_string() == text).ok_or(NotADay)
    }
}

/// 1970-01-01 as a Julian day.
const EPOCH_JULIAN: i32 = 2_440_588;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_513, "2026-03-01"),
            (20_786, "2026-11-29"),
            (u64::from(LAST), "2554-07-21"),
        ] {
            let begin = UnixNanos(days * NANOS_A_DAY);
            assert_eq!(Day::of(begin).to_string(), expected);
            assert_eq!(Day::of(begin).begin(), begin);
            assert_eq!(expected.parse(), Ok(Day::of(begin)));
            let last = UnixNanos(begin.0.saturating_add(NANOS_A_DAY - 1));
            assert_eq!(
                (Day::of(last), Day::hour(last) >= 23 || days == u64::from(LAST)),
                (Day::of(begin), true)
            );
        }
    }

    #[test]
    fn other_names_are_no_days() {
        for text in [
            "",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "2026-1-01",
            "+026-11-29",
            "2026/11/29",
            "1969-12-31",
            "2554-07-22",
            "9999-12-31",
            "2026-11-29 ",
            "visible",
            "２０26-1-1",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NotADay), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_day_is_read_back(at: u64, text in ".{0,12}") {
            let day = Day::of(UnixNanos(at));
            prop_assert_eq!(day.to_string().parse(), Ok(day));
            prop_assert!(day.begin().0 <= at && (at < day.end().0 || day.end().0 == u64::MAX));
            let _ = text.parse::<Day>();
        }
    }
}
