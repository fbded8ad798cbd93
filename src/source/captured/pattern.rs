//! Times in the names of files, by patterns as strptime has them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Stamp, Zone, calendar};
use crate::frame::Clock;

/// A pattern of a file's name with a time in it, as `IMG_%Y%m%d_%H%M%S_%3f`.
///
/// `%Y` is a year of four digits, `%m %d %H %M %S` are month, day, hour, minute and second of two, `%j`
/// the day of the year of three, `%s` seconds since 1970, `%f` a fraction of a second of one to nine
/// digits, `%3f` one of three (any digit from 1 to 9), `%z` an offset as `+0200`, `+02:00` or `Z`. `*`
/// takes anything, `?` one character, `%%`, `%*` and `%?` are those characters. What a name has behind
/// the pattern, such as its extension, does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePattern {
    text: String,
    parts: Vec<Part>,
}

/// The text is not a pattern of times.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a pattern of times: {why}; write one as in name:%Y%m%d_%H%M%S_%3f")]
pub struct TimePatternError {
    text: String,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Any,
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Unix,
    /// Of this many digits; 0 for as many as there are.
    Fraction(usize),
    Offset,
}

/// What has been read of a name.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    year: i32,
    month: u8,
    day: u8,
    day_of_year: Option<u16>,
    hour: u8,
    minute: u8,
    second: u8,
    unix: Option<i64>,
    nanos: u32,
    /// Digits of the fraction.
    digits: u32,
    offset: Option<i32>,
}

impl FromStr for TimePattern {
    type Err = TimePatternError;

    fn from_str(text: &str) -> Result<Self, TimePatternError> {
        let fault = |why: &str| TimePatternError { text: text.to_owned(), why: why.to_owned() };
        let mut parts = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'*' => Part::Any,
                b'?' => Part::One,
                b'%' => {
                    let code = bytes.next().ok_or_else(|| fault("it ends in a %"))?;
                    let digits = usize::from(code.wrapping_sub(b'0'));
                    match code {
                        b'1'..=b'9' if bytes.next() == Some(b'f') => Part::Fraction(digits),
                        code => part(code).ok_or_else(|| {
                            fault(&format!("%{} is not known", char::from(code).escape_default()))
                        })?,
                    }
                }
                byte => Part::Byte(byte),
            });
        }
        let has = |part| parts.contains(&part);
        let has_day = has(Part::Month) && has(Part::Day) || has(Part::DayOfYear);
        let is_enough = has(Part::Unix) || has(Part::Year) && has_day;
        if !is_enough {
            return Err(fault("it needs %Y, %m and %d, or %Y and %j, or %s"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

fn part(code: u8) -> Option<Part> {
    Some(match code {
        b'Y' => Part::Year,
        b'm' => Part::Month,
        b'd' => Part::Day,
        b'j' => Part::DayOfYear,
        b'H' => Part::Hour,
        b'M' => Part::Minute,
        b'S' => Part::Second,
        b's' => Part::Unix,
        b'f' => Part::Fraction(0),
        b'z' => Part::Offset,
        b'%' | b'*' | b'?' => Part::Byte(code),
        _ => return None,
    })
}

impl fmt::Display for TimePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TimePattern {
    /// Whether a name has a time where the pattern says, and one that a frame can have: from 1970 to 2554.
    pub fn gives_a_time(&self, name: &[u8], zone: Zone) -> bool {
        self.read(name).and_then(|stamp| stamp.captured(Clock::Name, zone)).is_some()
    }

    pub(super) fn read(&self, name: &[u8]) -> Option<Stamp> {
        let (mut part, mut at, mut read) = (0, 0, Read::default());
        // Behind the last `*`: where to go on if what follows does not fit.
        let mut again = None;
        while let Some(&next) = self.parts.get(part) {
            if next == Part::Any {
                part += 1;
                again = Some((part, at, read));
                continue;
            }
            match read.take(next, &name[at..]) {
                Some(length) => (part, at) = (part + 1, at + length),
                None => {
                    let (behind, from, before) = again.filter(|(_, from, _)| *from < name.len())?;
                    again = Some((behind, from + 1, before));
                    (part, at, read) = (behind, from + 1, before);
                }
            }
            // A date that there is not may be one further on.
            if part == self.parts.len() && read.stamp(self).is_none() {
                let (behind, from, before) = again.filter(|(_, from, _)| *from < name.len())?;
                again = Some((behind, from + 1, before));
                (part, at, read) = (behind, from + 1, before);
            }
        }
        read.stamp(self)
    }
}

impl Read {
    /// Takes a part off the beginning of `rest`; gives its length.
    fn take(&mut self, part: Part, rest: &[u8]) -> Option<usize> {
        let two = || number(rest, 2).and_then(|value| u8::try_from(value).ok());
        match part {
            Part::Byte(byte) => return rest.starts_with(&[byte]).then_some(1),
            Part::One => return character(rest),
            Part::Any => return Some(0),
            Part::Year => {
                self.year = i32::try_from(number(rest, 4)?).ok()?;
                return Some(4);
            }
            Part::DayOfYear => {
                self.day_of_year = Some(u16::try_from(number(rest, 3)?).ok()?);
                return Some(3);
            }
            Part::Unix => {
                let digits = digits(rest, 12);
                self.unix = Some(i64::try_from(number(rest, digits)?).ok()?);
                return Some(digits);
            }
            Part::Fraction(exactly) => {
                let digits = if exactly == 0 { digits(rest, 9) } else { exactly };
                let value = u32::try_from(number(rest, digits)?).ok()?;
                self.digits = u32::try_from(digits).ok()?;
                self.nanos = value * 10_u32.pow(9 - self.digits);
                return Some(digits);
            }
            Part::Offset => {
                let (seconds, length) = offset(rest)?;
                self.offset = Some(seconds);
                return Some(length);
            }
            Part::Month => self.month = two()?,
            Part::Day => self.day = two()?,
            Part::Hour => self.hour = two()?,
            Part::Minute => self.minute = two()?,
            Part::Second => self.second = two()?,
        }
        Some(2)
    }

    fn stamp(&self, pattern: &TimePattern) -> Option<Stamp> {
        let has = |part| pattern.parts.contains(&part);
        let unit = match self.digits {
            0 if has(Part::Second) || self.unix.is_some() => 1_000_000_000,
            0 if has(Part::Minute) => 60_000_000_000,
            0 if has(Part::Hour) => 3_600_000_000_000,
            0 => 86_400_000_000_000,
            digits => 10_u64.pow(9 - digits),
        };
        if let Some(unix) = self.unix {
            let local = i128::from(unix) * 1_000_000_000 + i128::from(self.nanos);
            return Some(Stamp { local, offset: Some(0), unit });
        }
        let date = match self.day_of_year {
            Some(day) => time::Date::from_ordinal_date(self.year, day).ok()?,
            None => {
                let month = time::Month::try_from(self.month).ok()?;
                time::Date::from_calendar_date(self.year, month, self.day).ok()?
            }
        };
        let local = calendar(date, (self.hour, self.minute, self.second), self.nanos)?;
        Some(Stamp { local, offset: self.offset, unit })
    }
}

/// The length of the first character; names need not be text.
fn character(rest: &[u8]) -> Option<usize> {
    let continues = |byte: &&u8| (0x80..0xc0).contains(*byte);
    rest.split_first().map(|(_, rest)| 1 + rest.iter().take_while(continues).count())
}

/// How many digits `rest` begins with, up to `most`.
fn digits(rest: &[u8], most: usize) -> usize {
    rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number of the first `length` bytes, at least one, if all of them are digits.
fn number(rest: &[u8], length: usize) -> Option<u64> {
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// An offset from UTC in seconds, and how many bytes it takes.
pub(super) fn offset(rest: &[u8]) -> Option<(i32, usize)> {
    let sign = match rest.first()? {
        b'Z' => return Some((0, 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = i32::try_from(number(&rest[1..], 2)?).ok()?;
    let (at, length) = if rest.get(3) == Some(&b':') { (4, 6) } else { (3, 5) };
    let minutes = i32::try_from(number(&rest[at..], 2)?).ok()?;
    (hours < 24 && minutes < 60).then(|| (sign * (hours * 3_600 + minutes * 60), length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pattern: &str, name: &str) -> Option<(i128, Option<i32>, u64)> {
        let stamp = pattern.parse::<TimePattern>().unwrap().read(name.as_bytes())?;
        Some((stamp.local, stamp.offset, stamp.unit))
    }

    #[test]
    fn times_are_read_where_the_pattern_says() {
        let second = 1_000_000_000;
        let at = 1_795_983_093 * i128::from(second);
        let ms = 123_000_000;
        for (pattern, name, expected) in [
            ("%Y%m%d_%H%M%S_%3f", "20261129_201133_123.jpg", (at + ms, None, 1_000_000)),
            ("IMG_%Y%m%d_%H%M%S", "IMG_20261129_201133.jpg", (at, None, second)),
            (
                "%Y%m%dT%H%M%S.%f%z",
                "20261129T201133.123456Z.jpg",
                (at + 123_456_000, Some(0), 1_000),
            ),
            ("%Y-%m-%d %H.%M.%S%z", "2026-11-29 20.11.33+02:00.png", (at, Some(7_200), second)),
            ("*_%s.%3f", "cam_1_1795983093.123.png", (at + ms, Some(0), 1_000_000)),
            ("%s", "1795983093", (at, Some(0), second)),
            ("*%Y%m%d%H%M%S", "DJI_0001_20261129201133_V.jpg", (at, None, second)),
            ("%Y%j_%H%M%S", "2026333_201133.tif", (at, None, second)),
            ("?_%Y%m%d-%H%M%S", "ä_20261129-201133", (at, None, second)),
            (
                "100%%_%Y%m%d",
                "100%_20261129",
                (
                    at - i128::from(20 * 3_600 + 11 * 60 + 33) * i128::from(second),
                    None,
                    86_400 * second,
                ),
            ),
        ] {
            assert_eq!(read(pattern, name), Some(expected), "{pattern} of {name}");
        }
    }

    #[test]
    fn names_without_a_time_have_none() {
        for (pattern, name) in [
            ("%Y%m%d", "0.jpg"),
            ("%Y%m%d", "20261329.jpg"),
            ("%Y%m%d", "20260230.jpg"),
            ("%Y%m%d_%H%M%S", "20261129_256060.jpg"),
            ("%Y%m%d", "2026112"),
            ("%Y%m%d", "+026+1+2"),
            ("*%Y%m%d", ""),
            ("%Y%m%d_%3f", "20261129_12.jpg"),
            ("%Y%m%d%z", "20261129+99:00"),
        ] {
            assert_eq!(read(pattern, name), None, "{pattern} of {name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_too_much(name in proptest::collection::vec(any::<u8>(), 0..60), digits in "[0-9_*]{0,40}") {
            for pattern in ["*%Y*%m*%d?%f%z", "%s%f", "*%Y%j"] {
                let pattern: TimePattern = pattern.parse().unwrap();
                let _ = pattern.read(&name);
                let _ = pattern.read(digits.as_bytes());
            }
        }
    }
}
