//! How long packets waited in a queue, kept in bounded memory.

use std::time::Duration;

/// Buckets to each doubling of the wait: quantiles are right to some 5 %.
const PER_OCTAVE: u32 = 8;
/// The first bucket has all waits up to this one.
const SHORTEST: Duration = Duration::from_micros(16);
/// The last bucket has all waits from some 67 s on: 22 doublings.
const BUCKETS: usize = 22 * PER_OCTAVE as usize + 1;

/// A histogram of waits in buckets whose bounds grow in proportion.
#[derive(Debug, Clone)]
pub struct Waits {
    counts: [u64; BUCKETS],
    all: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], all: 0 }
    }
}

impl Waits {
    /// Counts a packet that waited so long.
    pub fn add(&mut self, wait: Duration) {
        self.counts[bucket(wait)] += 1;
        self.all += 1;
    }

    /// The wait that the share `q` of the packets did not exceed, to the accuracy of a bucket;
    /// `None` where there were no packets.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = ((q * self.all as f64).ceil() as u64).clamp(1, self.all.max(1));
        let mut counted = 0;
        let place = self.counts.iter().position(|count| {
            counted += count;
            counted >= rank
        });
        place.map(middle)
    }
}

fn bucket(wait: Duration) -> usize {
    let ratio = wait.as_secs_f64() / SHORTEST.as_secs_f64();
    if ratio <= 1.0 {
        return 0;
    }
    let place = (ratio.log2() * f64::from(PER_OCTAVE)).ceil();
    (place as usize).min(BUCKETS - 1)
}

/// What a bucket's waits are taken for; the first one's are as good as none.
fn middle(bucket: usize) -> Duration {
    if bucket == 0 {
        return Duration::ZERO;
    }
    let octaves = (bucket as f64 - 0.5) / f64::from(PER_OCTAVE);
    SHORTEST.mul_f64(octaves.exp2())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantile_and_no_wait_is_none() {
        let mut waits = Waits::default();
        assert_eq!(waits.quantile(0.5), None);
        waits.add(Duration::ZERO);
        assert_eq!(waits.quantile(0.5), Some(Duration::ZERO));
        waits.add(Duration::from_secs(1_000_000));
        assert!(waits.quantile(1.0) > Some(Duration::from_secs(60)));
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_five_percent(
            mut micros in prop::collection::vec(20u64..60_000_000, 1..200), q in 0.0_f64..=1.0,
        ) {
            let mut waits = Waits::default();
            micros.iter().for_each(|&micros| waits.add(Duration::from_micros(micros)));
            micros.sort_unstable();
            let rank = ((q * micros.len() as f64).ceil() as usize).clamp(1, micros.len());
            let exact = micros[rank - 1] as f64 / 1e6;
            let found = waits.quantile(q).unwrap().as_secs_f64();
            prop_assert!((found / exact - 1.0).abs() < 0.05, "{found} for {exact}");
        }
    }
}
