//! Quantiles of many durations in little memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets to each doubling: a quantile is at most 1/32 too high.
const STEPS: usize = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Microseconds up to 2^40 are told apart, 12 days.
const DOUBLINGS: usize = 40;

/// Counts durations by their order of magnitude, to microseconds. 10 kB, however many there are.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

/// Quantiles of durations, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many durations were measured.
    pub count: u64,
    /// Half of them were no longer than this.
    pub p50_ms: f64,
    /// 95 of 100 were no longer than this.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * DOUBLINGS], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        self.counts[bucket(micros).min(last)] += 1;
        self.count += 1;
        self.max = self.max.max(duration);
    }

    /// `None` where nothing was measured.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let max_ms = self.max.as_secs_f64() * 1e3;
        (self.count > 0).then(|| Quantiles {
            count: self.count,
            p50_ms: self.quantile(0.50).min(max_ms),
            p95_ms: self.quantile(0.95).min(max_ms),
            max_ms,
        })
    }

    fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(bucket) as f64 / 1e3;
            }
        }
        f64::INFINITY
    }
}

/// The bucket of a number: itself below [`STEPS`], then [`STEPS`] to each doubling.
fn bucket(number: u64) -> usize {
    if number < STEPS as u64 {
        return number as usize;
    }
    let doubling = number.ilog2() - STEP_BITS;
    let step = (number >> doubling) as usize - STEPS;
    (doubling as usize + 1) * STEPS + step
}

/// The highest number of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (doubling, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) as u64).checked_shl(doubling as u32).unwrap_or(u64::MAX) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Quantiles {
        let mut histogram = Histogram::default();
        millis.into_iter().for_each(|ms| histogram.add(Duration::from_millis(ms)));
        histogram.quantiles().unwrap()
    }

    #[test]
    fn quantiles_are_near_and_the_longest_is_exact() {
        let Quantiles { count, p50_ms, p95_ms, max_ms } = of(1..=1_000);
        assert_eq!((count, max_ms), (1_000, 1_000.0));
        assert!((500.0..516.0).contains(&p50_ms), "{p50_ms}");
        assert!((950.0..980.0).contains(&p95_ms), "{p95_ms}");
        assert_eq!(of([0]).p50_ms, 0.0);
        assert_eq!(of([7; 3]).p95_ms, 7.0, "no quantile is over the longest");
        assert_eq!(Histogram::default().quantiles(), None);
        let mut huge = Histogram::default();
        huge.add(Duration::MAX);
        assert!(huge.quantiles().unwrap().max_ms > 1e15);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_falls_into_it(number in 0..u64::MAX >> 8) {
            let edge = upper_edge(bucket(number));
            prop_assert!(edge >= number && edge - number <= number / STEPS as u64);
            prop_assert!(bucket(edge) == bucket(number) && bucket(edge + 1) == bucket(number) + 1);
        }
    }
}
