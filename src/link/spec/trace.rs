//! Rates that change with time, in the format of Mahimahi: a text file with one number a line, the
//! millisecond at which the link can deliver 1,500 bytes. The same number twice is two packets.
//! At the end the trace starts over, its length being its last number.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use crate::frame::BitRate;

/// What one delivery opportunity carries.
pub(crate) const OPPORTUNITY_BYTES: u32 = 1_500;
/// Far above any published trace (the longest are some minutes, a few megabytes).
const MAX_FILE_BYTES: u64 = 64 << 20;
/// One day.
const MAX_MILLIS: u64 = 86_400_000;

/// A recorded or made-up sequence of delivery opportunities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    name: String,
    /// In order, never empty, the last one above 0.
    millis: Vec<u32>,
}

/// Why a trace was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read the trace {path:?}: {reason}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// More than 64 MiB.
    #[error("the trace {path:?} is larger than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// Which.
        path: String,
    },
    /// No opportunity, or all of them at 0 ms.
    #[error("the trace {path:?} has no delivery opportunity after 0 ms")]
    Empty {
        /// Which.
        path: String,
    },
    /// A line that is not a number of milliseconds within a day.
    #[error("line {line} of the trace {path:?} is not a whole number of milliseconds up to a day")]
    NotMillis {
        /// Which.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// A line earlier than the one before.
    #[error("line {line} of the trace {path:?} is earlier than the line before it")]
    Backwards {
        /// Which.
        path: String,
        /// Counted from 1.
        line: usize,
    },
}

impl Trace {
    /// Reads a trace from a file.
    ///
    /// # Errors
    /// [`TraceError`], naming file and line.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| TraceError::Unreadable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let file = File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(TraceError::TooLarge { path: name });
        }
        Self::parse(&name, &text)
    }

    /// Parses a trace's text; `name` is what it is called in messages and specifications.
    ///
    /// # Errors
    /// [`TraceError`], naming the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let path = || name.to_owned();
        let mut millis = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line_number = number + 1;
            let value = line.trim().parse::<u32>().ok().filter(|&ms| u64::from(ms) <= MAX_MILLIS);
            let Some(value) = value else {
                return Err(TraceError::NotMillis { path: path(), line: line_number });
            };
            if millis.last().is_some_and(|&last| value < last) {
                return Err(TraceError::Backwards { path: path(), line: line_number });
            }
            millis.push(value);
        }
        if millis.last().is_none_or(|&last| last == 0) {
            return Err(TraceError::Empty { path: path() });
        }
        Ok(Self { name: path(), millis })
    }

    /// A made-up drive through a mobile network: 16 s, 3 to 60 Mbit/s, with a fade and two
    /// handovers in which nothing is delivered. Synthetic: not recorded anywhere, and the same on
    /// every machine.
    pub(super) fn synthetic_lte() -> Self {
        const SEGMENT_MS: u32 = 250;
        const MBIT: [u32; 64] = [
            32, 34, 38, 41, 40, 36, 30, 27, 29, 35, 44, 52, 57, 60, 55, 47, //
            38, 30, 24, 18, 14, 10, 8, 0, 12, 22, 30, 34, 33, 36, 40, 38, //
            33, 29, 26, 22, 17, 12, 8, 5, 3, 3, 4, 6, 9, 15, 21, 26, //
            30, 32, 28, 25, 20, 0, 16, 27, 35, 42, 46, 43, 39, 36, 33, 31,
        ];
        let mut millis = Vec::new();
        let mut saved = 0;
        for (segment, mbit) in (0u32..).zip(MBIT) {
            for ms in 1..=SEGMENT_MS {
                // 1 Mbit/s is 125 bytes a millisecond.
                saved += mbit * 125;
                while saved >= OPPORTUNITY_BYTES {
                    saved -= OPPORTUNITY_BYTES;
                    millis.push(segment * SEGMENT_MS + ms);
                }
            }
        }
        Self { name: SYNTHETIC_LTE.to_owned(), millis }
    }

    /// What it is called: the file's path, or a built-in's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it delivers on average if there is always something to send.
    pub fn mean_rate(&self) -> BitRate {
        let bits = self.millis.len() as u64 * u64::from(OPPORTUNITY_BYTES) * 8;
        BitRate(bits * 1_000 / self.period_millis())
    }

    /// How long it is before it starts over.
    pub fn period(&self) -> Duration {
        Duration::from_millis(self.period_millis())
    }

    /// How many opportunities there are from one time to another, the second excluded: what a
    /// sender that always had something to send would have used.
    pub fn opportunities(&self, from: Duration, to: Duration) -> u64 {
        self.first_from(to).saturating_sub(self.first_from(from))
    }

    /// When the opportunity with this number comes, the repetitions counted on.
    pub(crate) fn time_of(&self, number: u64) -> Duration {
        let length = self.millis.len() as u64;
        let (round, index) = (number / length, number % length);
        let within = self.millis.get(index as usize).copied().unwrap_or_default();
        Duration::from_millis(round * self.period_millis() + u64::from(within))
    }

    /// The number of the first opportunity at `time` or later.
    pub(crate) fn first_from(&self, time: Duration) -> u64 {
        // A round's last opportunity is at the very time at which the next round starts, so a
        // round reaches from just after its start up to and with its end.
        let nanos = time.as_nanos().saturating_sub(1);
        let round = u64::try_from(nanos / self.period().as_nanos()).unwrap_or(u64::MAX);
        let start = Duration::from_millis(round.saturating_mul(self.period_millis()));
        let within = time.saturating_sub(start);
        let index = self.millis.partition_point(|&ms| Duration::from_millis(ms.into()) < within);
        round.saturating_mul(self.millis.len() as u64).saturating_add(index as u64)
    }

    fn period_millis(&self) -> u64 {
        u64::from(self.millis.last().copied().unwrap_or(1))
    }
}

/// What the built-in trace is called in a specification.
pub(super) const SYNTHETIC_LTE: &str = "builtin:lte-moving";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_traces_are_refused_by_line() {
        let error = |text| Trace::parse("t", text).unwrap_err().to_string();
        assert!(error("").contains("no delivery opportunity"));
        assert!(error("0\n0\n").contains("no delivery opportunity"));
        assert!(error("1\nx\n").contains("line 2"));
        assert!(error("1\n\n2\n").contains("line 2"));
        assert!(error("-1\n").contains("line 1"));
        assert!(error("90000000\n").contains("line 1"));
        assert!(error("5\n4\n").contains("earlier"));
        let error = Trace::read(Path::new("/nonexistent/a.trace")).unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/a.trace") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn the_synthetic_trace_stays_as_it_is() {
        let trace = Trace::synthetic_lte();
        assert_eq!(trace.period(), Duration::from_secs(16));
        assert_eq!(trace.mean_rate(), BitRate(27_593_250));
    }

    #[test]
    fn opportunities_are_counted_over_repetitions() {
        let trace = Trace::parse("t", "1\n2\n2\n10\n").unwrap();
        let ms = Duration::from_millis;
        assert_eq!(trace.opportunities(ms(0), ms(2)), 1);
        assert_eq!(trace.opportunities(ms(2), ms(10)), 2);
        assert_eq!(trace.opportunities(ms(0), ms(100)), 39);
        assert_eq!(trace.opportunities(ms(5), ms(5)), 0);
    }

    proptest! {
        #[test]
        fn the_first_opportunity_from_a_time(
            mut millis in prop::collection::vec(0u32..50, 1..20),
            time_us in 0u64..500_000,
        ) {
            millis.push(50);
            millis.sort_unstable();
            let text: String = millis.iter().map(|ms| format!("{ms}\n")).collect();
            let trace = Trace::parse("t", &text).unwrap();
            let time = Duration::from_micros(time_us);
            let first = trace.first_from(time);
            prop_assert!(trace.time_of(first) >= time);
            prop_assert!(first == 0 || trace.time_of(first - 1) < time);
        }
    }
}
