//! Quantities with their units, as users write them: `250ms`, `50mbit`, `64MiB`, `2%`.
//!
//! Every one is written with a unit; a bare number is refused, because `--max-frame 64` has been
//! read as bytes and as megabytes by different people on the same day.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a quantity was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// A number without a unit.
    #[error("{text:?} has no unit; write {example}")]
    NoUnit {
        /// What was written.
        text: String,
        /// What it could look like.
        example: &'static str,
    },
    /// A unit that does not fit the quantity.
    #[error("{text:?} has the unknown unit {unit:?}; the units are {known}")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
        /// The units that would fit.
        known: &'static str,
    },
    /// Not a number, or a negative one.
    #[error("{text:?} does not begin with a number of zero or more; write {example}")]
    NotANumber {
        /// What was written.
        text: String,
        /// What it could look like.
        example: &'static str,
    },
    /// Outside the range.
    #[error("{text:?} is out of range; {limit}")]
    OutOfRange {
        /// What was written.
        text: String,
        /// The range.
        limit: &'static str,
    },
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteSize(pub u64);

/// A rate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BitRate(pub u64);

/// A share between 0 and 1, written in percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Share(f64);

/// A duration as users write it; the command line's form of [`Duration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub Duration);

/// Nanoseconds since 1970-01-01 00:00 UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct UnixNanos(pub u64);

/// 2026-01-01, the first moment that a clock which is right can show: this program is younger.
pub(crate) const EARLIEST_CLOCK: UnixNanos = UnixNanos(1_767_225_600 * 1_000_000_000);

const SIZE_UNITS: &str = "B, kB, MB, GB, KiB, MiB, GiB";
const RATE_UNITS: &str = "bit, kbit, mbit, gbit";
const SPAN_UNITS: &str = "ns, us, ms, s, m, h, d";

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "64MiB")?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            _ => return Err(unknown(text, unit, SIZE_UNITS)),
        };
        whole(text, number * factor, "a size is at most 1 PB").map(Self)
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "50mbit")?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            _ => return Err(unknown(text, unit, RATE_UNITS)),
        };
        whole(text, number * factor, "a rate is at most 1 Pbit/s").map(Self)
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "2%")?;
        if unit != "%" {
            return Err(unknown(text, unit, "%"));
        }
        Self::new(number / 100.0)
            .ok_or(UnitError::OutOfRange { text: text.to_owned(), limit: "a share is 0% to 100%" })
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // Nothing lasts "no time" in any unit, so this one number needs none.
        if text.trim() == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let (number, unit) = split(text, "250ms or 2s")?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(unknown(text, unit, SPAN_UNITS)),
        };
        let limit = "a duration is at most 100 years";
        let nanos = number * seconds * 1e9;
        if nanos > 3.2e18 {
            return Err(UnitError::OutOfRange { text: text.to_owned(), limit });
        }
        Ok(Self(Duration::from_nanos(whole_nanos(nanos))))
    }
}

impl BitRate {
    /// How long `bytes` take at this rate; `None` at rate 0, which never delivers.
    pub fn time_for(self, bytes: u64) -> Option<Duration> {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000;
        let nanos = nanos.checked_div(u128::from(self.0))?;
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// Bytes carried in `time`, rounded down.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Share {
    /// Nothing.
    pub const ZERO: Share = Share(0.0);

    /// A share from a fraction between 0 and 1; `None` outside.
    pub fn new(fraction: f64) -> Option<Self> {
        (0.0..=1.0).contains(&fraction).then_some(Self(fraction))
    }

    /// The fraction, between 0 and 1.
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl UnixNanos {
    /// The clock of this machine. Before 1970 it is 0.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// Time from `earlier` to this, in nanoseconds; negative where this is earlier.
    pub fn nanos_since(self, earlier: Self) -> i128 {
        i128::from(self.0) - i128::from(earlier.0)
    }
}

impl From<SystemTime> for UnixNanos {
    fn from(time: SystemTime) -> Self {
        let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} bit/s", self.0),
            1_000..1_000_000 => write!(f, "{} kbit/s", trimmed(bits / 1e3)),
            1_000_000..1_000_000_000 => write!(f, "{} Mbit/s", trimmed(bits / 1e6)),
            _ => write!(f, "{} Gbit/s", trimmed(bits / 1e9)),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", trimmed(self.0 * 100.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds >= 1.0 || seconds == 0.0 {
            write!(f, "{} s", trimmed(seconds))
        } else if seconds >= 1e-3 {
            write!(f, "{} ms", trimmed(seconds * 1e3))
        } else {
            write!(f, "{} us", trimmed(seconds * 1e6))
        }
    }
}

/// Two decimals at most, without trailing zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Splits `50mbit` into 50.0 and `mbit`.
fn split<'a>(text: &'a str, example: &'static str) -> Result<(f64, &'a str), UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let not_a_number = || UnitError::NotANumber { text: text.to_owned(), example };
    let number: f64 = number.parse().map_err(|_| not_a_number())?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(UnitError::NoUnit { text: text.to_owned(), example });
    }
    Ok((number, unit))
}

fn unknown(text: &str, unit: &str, known: &'static str) -> UnitError {
    UnitError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned(), known }
}

/// Rounds to a whole number of at most 10^15, which a float still holds exactly.
fn whole(text: &str, value: f64, limit: &'static str) -> Result<u64, UnitError> {
    if value > 1e15 {
        return Err(UnitError::OutOfRange { text: text.to_owned(), limit });
    }
    Ok(value.round() as u64)
}

/// Float seconds carry about 16 digits; whole nanoseconds are all that is meant.
fn whole_nanos(nanos: f64) -> u64 {
    nanos.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_with_units() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(67_108_864)));
        assert_eq!("1.5 kB".parse(), Ok(ByteSize(1_500)));
        assert_eq!("50mbit".parse(), Ok(BitRate(50_000_000)));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        assert_eq!("2%".parse::<Share>().unwrap().fraction(), 0.02);
    }

    #[test]
    fn a_bare_number_is_refused_with_an_example() {
        let error = "50".parse::<BitRate>().unwrap_err().to_string();
        assert!(error.contains("no unit") && error.contains("50mbit"), "{error}");
        assert!("30".parse::<Span>().is_err());
        assert!("64".parse::<ByteSize>().is_err());
    }

    #[test]
    fn negative_huge_and_foreign_units_are_refused() {
        assert!("-1ms".parse::<Span>().is_err());
        assert!("101%".parse::<Share>().is_err());
        assert!("-2%".parse::<Share>().is_err());
        assert!("10lightyears".parse::<Span>().is_err());
        assert!("1e9GB".parse::<ByteSize>().is_err());
        assert!("99999999999GB".parse::<ByteSize>().is_err());
        assert!("1.2.3s".parse::<Span>().is_err());
    }

    #[test]
    fn time_and_bytes_at_a_rate() {
        let rate = BitRate(8_000_000);
        assert_eq!(rate.time_for(1_000), Some(Duration::from_millis(1)));
        assert_eq!(rate.bytes_in(Duration::from_millis(1)), 1_000);
        assert_eq!(BitRate(0).time_for(1), None);
    }

    #[test]
    fn shown_as_people_write_them() {
        assert_eq!(BitRate(50_000_000).to_string(), "50 Mbit/s");
        assert_eq!(ByteSize(1_234_567).to_string(), "1.2 MB");
        assert_eq!(Span(Duration::from_millis(25)).to_string(), "25 ms");
        assert_eq!(Share::new(0.02).unwrap().to_string(), "2 %");
    }
}
