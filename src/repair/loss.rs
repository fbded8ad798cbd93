//! How much is being lost, from the transport's counters.

/// Packets after which a measurement counts for 1/e. A second or so of two 30 frames/s sources;
/// at 2 % loss the standard deviation of the estimate is then about 0.2 percentage points.
const MEMORY_PACKETS: f64 = 2_048.0;
/// Packets before there is anything to say: fewer cannot tell 1 % from none.
const LEAST_PACKETS: f64 = 100.0;

/// What is expected of a lossy link before much is seen of it: a first burst of losses is more likely bad
/// luck, or this side's own queue, than the link's habit.
pub(super) const USUAL_LOSS: f64 = 0.02;
/// Packets that the expectation weighs at first; it is forgotten as they are.
const USUAL_PACKETS: f64 = 300.0;

/// The share of packets lost, with exponential memory counted in packets.
///
/// It cannot tell random loss from bursts or from a queue that overflows; repair is sized for
/// independent losses, and longer bursts are left to retransmission.
#[derive(Debug, Clone)]
pub struct LossEstimator {
    sent: f64,
    lost: f64,
    seen: f64,
    /// Packets that the expectation still weighs.
    expected: f64,
}

impl Default for LossEstimator {
    fn default() -> Self {
        Self { sent: 0.0, lost: 0.0, seen: 0.0, expected: USUAL_PACKETS }
    }
}

impl LossEstimator {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the packets sent and found lost since the last call. Losses are found about a round
    /// trip after they were sent: packets should be counted when theirs would be known.
    pub fn update(&mut self, sent: u64, lost: u64) {
        let sent = sent as f64;
        let keep = (-sent / MEMORY_PACKETS).exp();
        self.sent = self.sent * keep + sent;
        self.lost = self.lost * keep + lost as f64;
        self.expected *= keep;
        self.seen = (self.seen + sent).min(LEAST_PACKETS);
    }

    /// The share lost, 0 to 1; `None` before 100 packets were sent.
    pub fn loss(&self) -> Option<f64> {
        let measured = self.seen >= LEAST_PACKETS && self.sent > 0.0;
        let loss = self.lost / self.sent;
        let tempered = (self.lost + USUAL_LOSS * self.expected) / (self.sent + self.expected);
        // A link that loses less is believed at once: there is no harm in less repair that is not needed.
        measured.then(|| loss.min(tempered.max(USUAL_LOSS)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn silent_until_it_has_seen_enough() {
        let mut estimator = LossEstimator::new();
        assert_eq!(estimator.loss(), None);
        estimator.update(99, 5);
        assert_eq!(estimator.loss(), None);
        estimator.update(1, 0);
        let loss = estimator.loss().unwrap();
        assert!((0.02..0.035).contains(&loss), "{loss}: five of a hundred may be bad luck");
    }

    #[test]
    fn follows_a_change_within_three_memories() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut estimator = LossEstimator::new();
        for (loss, low, high) in [(0.05, 0.03, 0.07), (0.0, 0.0, 0.005), (0.1, 0.07, 0.13)] {
            for _ in 0..3 * 2_048 / 16 {
                let lost = (0..16).filter(|_| rng.random_bool(loss)).count();
                estimator.update(16, lost as u64);
            }
            let found = estimator.loss().unwrap();
            assert!((low..=high).contains(&found), "{found} at {loss}");
        }
    }

    #[test]
    fn any_counters_give_a_share() {
        let mut estimator = LossEstimator::new();
        for (sent, lost) in [(0, 7), (u64::MAX, 0), (0, u64::MAX), (5, 500), (u64::MAX, u64::MAX)] {
            estimator.update(sent, lost);
            assert!(estimator.loss().is_none_or(|loss| (0.0..=1.0).contains(&loss)));
        }
    }
}
