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

/// Packets after which what is known of runs counts for 1/e: they are rarer than losses.
const RUN_MEMORY_PACKETS: f64 = 8_192.0;
/// Packets whose losses are counted together, to see how that number varies: several runs long.
const RUN_WINDOW: f64 = 48.0;
/// The variance that single losses are thought to have shown before anything was seen.
const USUAL_VARIANCE: f64 = 10.0;
/// Varying less than this many times as much as single losses is chance.
const DISPERSED: f64 = 2.2;
/// Longer runs than this are outages.
const LONGEST_RUN: f64 = 20.0;
/// So many losses found at once, and most of what was sent, are an outage: it is over when they are found, says nothing
/// of what is lost from now on, and what it has made late needs all of the room there is.
const OUTAGE: u64 = 24;

/// The share of packets lost, and in what runs, with exponential memory counted in packets.
///
/// It cannot tell what the link loses from a queue that overflows. Nobody tells an application which packets
/// were lost, so runs are known by what they do to the number of losses: in runs of mean length n it varies
/// 2 n - 1 times as much as single losses would.
#[derive(Debug, Clone)]
pub struct LossEstimator {
    runs: Runs,
    sent: f64,
    lost: f64,
    seen: f64,
    /// Packets that the expectation still weighs.
    expected: f64,
}

impl Default for LossEstimator {
    fn default() -> Self {
        let runs = Runs::default();
        Self { runs, sent: 0.0, lost: 0.0, seen: 0.0, expected: USUAL_PACKETS }
    }
}

/// How much the number of losses varies from one window to the next. By the mean of a longer time a link that was clean, and begins
/// to lose packets, would have varied for as long as that remembers.
#[derive(Debug, Clone)]
struct Runs {
    window: Window,
    last: Window,
    /// Squares of what was lost more or less than in the window before, and what they would be of single losses.
    varied: f64,
    usual: f64,
}

/// Packets sent, and how many of them were lost.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    sent: f64,
    lost: f64,
}

impl Default for Runs {
    fn default() -> Self {
        let (varied, usual) = (USUAL_VARIANCE, USUAL_VARIANCE);
        Self { window: Window::default(), last: Window::default(), varied, usual }
    }
}

impl Runs {
    fn update(&mut self, sent: f64, lost: f64) {
        self.window.sent += sent;
        self.window.lost += lost;
        if self.window.sent < RUN_WINDOW {
            return;
        }
        let now = std::mem::take(&mut self.window);
        let last = std::mem::replace(&mut self.last, now);
        if last.sent == 0.0 {
            return;
        }
        // Of n and m packets with single losses of share p, x and y are lost. The square of x - y n/m is p (1 - p) n (1 + n/m)
        // on average.
        let ratio = now.sent / last.sent;
        let share = ((now.lost + last.lost) / (now.sent + last.sent)).clamp(0.0, 1.0);
        let keep = (-now.sent / RUN_MEMORY_PACKETS).exp();
        // What is thought of a link of which nothing is known is not forgotten: rare losses say little.
        let prior = USUAL_VARIANCE * (1.0 - keep);
        let more = now.lost - last.lost * ratio;
        self.varied = self.varied * keep + prior + more * more / (1.0 + ratio);
        self.usual = self.usual * keep + prior + now.sent * share * (1.0 - share);
    }

    fn mean(&self) -> f64 {
        let dispersion = self.varied / self.usual;
        match dispersion > DISPERSED {
            true => ((dispersion + 1.0) / 2.0).min(LONGEST_RUN),
            false => 1.0,
        }
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
        let lost = if lost >= OUTAGE && lost > sent / 2 { 0 } else { lost };
        let sent = sent as f64;
        self.runs.update(sent, lost as f64);
        let keep = (-sent / MEMORY_PACKETS).exp();
        self.sent = self.sent * keep + sent;
        self.lost = self.lost * keep + lost as f64;
        self.expected *= keep;
        self.seen = (self.seen + sent).min(LEAST_PACKETS);
    }

    /// The mean length of the runs in which packets are lost; 1 where they are lost one by one, or nearly so.
    pub fn run(&self) -> f64 {
        self.runs.mean()
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

    /// The runs that are found where packets are lost in such of them, in frames of so many packets.
    fn found(share: f64, run: f64, frame: usize, rng: &mut StdRng) -> f64 {
        let mut estimator = LossEstimator::new();
        let mut lost = false;
        for _ in 0..12_000 / frame {
            let among = (0..frame)
                .filter(|_| {
                    let enter = share / (1.0 - share) / run;
                    lost = rng.random_bool(if lost { 1.0 - 1.0 / run } else { enter });
                    lost
                })
                .count();
            estimator.update(frame as u64, among as u64);
        }
        estimator.run()
    }

    #[test]
    fn runs_are_told_from_single_losses() {
        let mut rng = StdRng::seed_from_u64(3);
        for frame in [1, 3, 20, 66] {
            for share in [0.002, 0.02, 0.1] {
                let single = 1.0 / (1.0 - share);
                let run = found(share, single, frame, &mut rng);
                assert!(run < 2.0, "{run} of single losses, {share}, {frame}");
            }
            for run in [5.0, 10.0] {
                let mean = (0..8).map(|_| found(0.02, run, frame, &mut rng)).sum::<f64>() / 8.0;
                assert!((0.5 * run..1.4 * run).contains(&mean), "{mean} of {run}, {frame}");
            }
        }
    }

    #[test]
    fn single_losses_after_a_clean_time_are_single() {
        for (seed, share) in [(5, 0.01), (6, 0.03), (7, 0.1)] {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut estimator = LossEstimator::new();
            for _ in 0..50_000 / 16 {
                estimator.update(16, 0);
            }
            for sent in 1..=1_000 {
                let lost = (0..16).filter(|_| rng.random_bool(share)).count();
                estimator.update(16, lost as u64);
                assert!(
                    estimator.run() < 2.0,
                    "{} after {} of {share}",
                    estimator.run(),
                    sent * 16
                );
            }
        }
    }

    #[test]
    fn an_outage_says_nothing_of_what_is_lost_after_it() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut estimator = LossEstimator::new();
        let mut lose = |estimator: &mut LossEstimator| {
            for _ in 0..200 {
                let lost = (0..33).filter(|_| rng.random_bool(0.005)).count();
                estimator.update(33, lost as u64);
            }
        };
        lose(&mut estimator);
        // Nothing was sent while the window was shut, and then all of it was found lost.
        estimator.update(2, 110);
        let (loss, run) = (estimator.loss().unwrap(), estimator.run());
        assert!(loss < 0.008 && run < 1.5, "{loss}, {run}");
        lose(&mut estimator);
        assert!(estimator.run() < 1.5, "{}", estimator.run());
    }

    #[test]
    fn any_counters_give_a_share() {
        let mut estimator = LossEstimator::new();
        for (sent, lost) in [(0, 7), (u64::MAX, 0), (0, u64::MAX), (5, 500), (u64::MAX, u64::MAX)] {
            estimator.update(sent, lost);
            assert!(estimator.loss().is_none_or(|loss| (0.0..=1.0).contains(&loss)));
            assert!((1.0..=LONGEST_RUN).contains(&estimator.run()), "{}", estimator.run());
        }
    }
}
