//! When the image in a file was captured, by whatever tells it.

mod exif;
mod pattern;
mod untimed;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use pattern::{TimePattern, TimePatternError};
pub(super) use untimed::Untimed;

use crate::frame::{Captured, Clock, UnixNanos};

/// Where a file's capture time is taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapturedBy {
    /// Its modification time.
    #[default]
    Modified,
    /// Its name.
    Name(TimePattern),
    /// What its camera wrote into it: DateTimeOriginal, with its fraction and offset where they are there.
    Exif,
    /// The clock of this machine when the file is taken up.
    Now,
}

/// How far local time is ahead of UTC, for times that do not say it themselves. The default: not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zone {
    seconds: i32,
}

/// The text is no rule, or no zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CapturedByError {
    /// Not a rule.
    #[error("{0:?} is no source of capture times; write mtime, name:PATTERN, exif or now")]
    Unknown(String),
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] TimePatternError),
    /// Not a zone.
    #[error("{0:?} is not an offset from UTC; write one as in +02:00, or UTC")]
    Zone(String),
}

impl FromStr for CapturedBy {
    type Err = CapturedByError;

    fn from_str(text: &str) -> Result<Self, CapturedByError> {
        Ok(match (text, text.strip_prefix("name:")) {
            ("mtime", _) => Self::Modified,
            ("exif", _) => Self::Exif,
            ("now", _) => Self::Now,
            (_, Some(pattern)) => Self::Name(pattern.parse()?),
            _ => return Err(CapturedByError::Unknown(text.to_owned())),
        })
    }
}

impl fmt::Display for CapturedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modified => f.write_str("mtime"),
            Self::Name(pattern) => write!(f, "name:{pattern}"),
            Self::Exif => f.write_str("exif"),
            Self::Now => f.write_str("now"),
        }
    }
}

impl FromStr for Zone {
    type Err = CapturedByError;

    fn from_str(text: &str) -> Result<Self, CapturedByError> {
        if matches!(text, "UTC" | "utc") {
            return Ok(Self::default());
        }
        match pattern::offset(text.as_bytes()) {
            Some((seconds, length)) if length == text.len() => Ok(Self { seconds }),
            _ => Err(CapturedByError::Zone(text.to_owned())),
        }
    }
}

/// A time of the calendar and what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Since 1970, as the calendar has it, in nanoseconds.
    local: i128,
    /// How far that is ahead of UTC in seconds, where it says so.
    offset: Option<i32>,
    /// Its smallest unit in nanoseconds.
    unit: u64,
}

impl Stamp {
    /// The time, of a clock in `zone` where it does not say itself. `None` before 1970.
    fn captured(self, clock: Clock, zone: Zone) -> Option<Captured> {
        let offset = i128::from(self.offset.unwrap_or(zone.seconds)) * 1_000_000_000;
        let at = UnixNanos(u64::try_from(self.local - offset).ok().filter(|&nanos| nanos > 0)?);
        let uncertainty = (self.unit > 1).then_some(self.unit);
        Some(Captured { at, clock, uncertainty })
    }
}

/// Since 1970, in nanoseconds; `None` for a day or an hour that there is not.
fn calendar(date: time::Date, (hour, minute, second): (u8, u8, u8), nanos: u32) -> Option<i128> {
    let time = time::Time::from_hms_nano(hour, minute, second, nanos).ok()?;
    Some(time::PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp_nanos())
}

impl CapturedBy {
    /// When the file was captured whose last name, content and modification time these are. Where the
    /// rule says nothing of it, or needs the content and there is none, its modification time.
    pub(super) fn of(
        &self,
        name: &[u8],
        body: Option<&[u8]>,
        modified: Option<UnixNanos>,
        zone: Zone,
    ) -> Option<Captured> {
        let by_rule = match self {
            Self::Modified => None,
            Self::Name(pattern) => pattern.read(name).and_then(|it| it.captured(Clock::Name, zone)),
            Self::Exif => body.and_then(exif::read).and_then(|it| it.captured(Clock::Exif, zone)),
            Self::Now => {
                Some(Captured { at: UnixNanos::now(), clock: Clock::Now, uncertainty: None })
            }
        };
        let by_file = |at| Captured { at, clock: Clock::Modified, uncertainty: None };
        by_rule.or_else(|| modified.map(by_file))
    }
}

impl CapturedBy {
    /// Where the rule looks for a time that may not be there, in words; `None` for one that always gives one.
    fn place(&self) -> Option<&'static str> {
        match self {
            Self::Name(_) => Some("in the name"),
            Self::Exif => Some("in the EXIF"),
            Self::Modified | Self::Now => None,
        }
    }
}

/// A rule, whose length is the first byte, and then what it is for. A rule that was read is shown as one that reads the
/// same.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_for_fuzzing(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (rule, file) = rest.split_at(usize::from(*length).min(rest.len()));
    let Some(rule) =
        std::str::from_utf8(rule).ok().and_then(|text| CapturedBy::from_str(text).ok())
    else {
        return;
    };
    assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
    let zone = Zone { seconds: -86_340 };
    let _ = rule.of(file, Some(file), None, zone);
}

#[cfg(test)]
pub(in crate::source) use exif::tests::image as image_of;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_zones_as_they_are_written() {
        for text in ["mtime", "exif", "now", "name:%Y%m%d_%H%M%S_%3f"] {
            assert_eq!(text.parse::<CapturedBy>().unwrap().to_string(), text);
        }
        for text in ["", "ctime", "name:", "name:%H", "name:%Y-%m-%d %q"] {
            assert!(text.parse::<CapturedBy>().is_err(), "{text:?}");
        }
        for (text, seconds) in [("UTC", 0), ("+02:00", 7_200), ("-0330", -12_600), ("Z", 0)] {
            assert_eq!(text.parse::<Zone>().unwrap().seconds, seconds);
        }
        for text in ["", "CET", "+2", "+25:00", "+02:00x", "+02:77"] {
            assert!(text.parse::<Zone>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rule_that_says_nothing_of_a_file_leaves_its_modification_time() {
        let modified = Some(UnixNanos(5));
        let by_file = Captured { at: UnixNanos(5), clock: Clock::Modified, uncertainty: None };
        let zone: Zone = "+02:00".parse().unwrap();
        for rule in ["mtime", "exif", "name:%Y%m%d"] {
            let rule: CapturedBy = rule.parse().unwrap();
            assert_eq!(rule.of(b"0.jpg", Some(b"no image"), modified, zone), Some(by_file));
            assert_eq!(rule.of(b"0.jpg", None, None, zone), None);
        }
        let by_name: CapturedBy = "name:%Y%m%d_%H%M%S_%3f".parse().unwrap();
        let captured = by_name.of(b"20261129_201133_123.jpg", None, modified, zone).unwrap();
        let at = UnixNanos(1_795_975_893_123_000_000);
        assert_eq!(captured, Captured { at, clock: Clock::Name, uncertainty: Some(1_000_000) });
        let now = "now".parse::<CapturedBy>().unwrap().of(b"", None, modified, zone).unwrap();
        assert_eq!(now.clock, Clock::Now);
    }
}
