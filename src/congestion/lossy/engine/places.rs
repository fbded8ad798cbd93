//! Where in its bursts this flow loses packets: who drops them for coming too fast drops the last of a burst, and a
//! radio link any of them.

use std::time::{Duration, Instant};

use super::Engine;
use crate::congestion::lossy::filter::RunningMean;

/// Losses and acknowledgements that are remembered.
const MEMORY: f64 = 96.0;
/// Fewer losses may be late in their bursts by chance.
const ENOUGH: f64 = 32.0;
/// Packets that are lost anywhere in a burst are as far into it as those that arrive. Here they are so many times as far.
const LATE: f64 = 1.4;
/// Of losses that are found together only the last one's place is known: more packets than this say nothing.
const FEW: u64 = 3;
/// What was found is believed for so long after the last of such losses.
const BELIEVED: Duration = Duration::from_secs(10);

/// How far into their bursts packets were lost, and how far those that arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    lost: RunningMean,
    acked: RunningMean,
    found: Option<Instant>,
}

impl Places {
    fn acked(&mut self, now: Instant, into: u64) {
        self.acked.push(into as f64, MEMORY);
        if self.found.is_some_and(|at| now.saturating_duration_since(at) > BELIEVED) {
            *self = Self::default();
        }
    }

    fn lost(&mut self, now: Instant, into: u64) {
        self.lost.push(into as f64, MEMORY);
        let late = self.lost.values() >= ENOUGH && self.lost.get() > LATE * self.acked.get();
        if late {
            self.found = Some(now);
        }
    }
}

impl Engine {
    /// Whether packets are lost because this flow's bursts are too long for what the path takes at once, so that whatever
    /// is added to them is lost as well.
    pub(in crate::congestion::lossy) fn loses_by_itself(&self) -> bool {
        self.places.found.is_some()
    }

    /// The last of some packets that were acknowledged together left so far into its burst.
    pub(super) fn watch_acked_place(&mut self, now: Instant, into: u64) {
        self.places.acked(now, into);
    }

    /// Packets of `bytes` in all were lost, the last of which left so far into its burst.
    pub(super) fn watch_lost_place(&mut self, into: u64, bytes: u64) {
        if self.outage_rounds == 0 && bytes <= FEW * self.mtu {
            self.places.lost(self.delivered_at, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const BURST: u64 = 80_000;

    /// Bursts of which a share is lost behind `from`; whether they are found to be too long at any time.
    fn found(from: u64, share: f64, seed: u64) -> bool {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut places, start) = (Places::default(), Instant::now());
        let mut found = false;
        for burst in 0..600 {
            let now = start + Duration::from_millis(33 * burst);
            for into in (1_200..=BURST).step_by(1_200) {
                match into >= from && rng.random_bool(share) {
                    true => places.lost(now, into),
                    false => places.acked(now, into),
                }
            }
            found |= places.found.is_some();
        }
        found
    }

    #[test]
    fn what_is_lost_at_the_end_of_bursts_is_told_from_what_is_lost_anywhere() {
        for seed in 0..20 {
            for share in [0.005, 0.02, 0.1, 0.3] {
                assert!(!found(0, share, seed), "{share}, seed {seed}");
            }
            assert!(found(BURST * 2 / 3, 0.5, seed), "seed {seed}");
        }
    }

    #[test]
    fn it_is_forgotten_when_nothing_is_lost_any_more() {
        let (mut places, start) = (Places::default(), Instant::now());
        for _ in 0..100 {
            places.acked(start, 30_000);
            places.lost(start, 80_000);
        }
        assert!(places.found.is_some());
        places.acked(start + BELIEVED, 30_000);
        assert!(places.found.is_some());
        places.acked(start + BELIEVED + Duration::from_millis(1), 30_000);
        assert!(places.found.is_none());
    }
}
