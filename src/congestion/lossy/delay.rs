//! Round-trip times: the path's own, and what a queue adds.

use std::time::{Duration, Instant};

use super::filter::WindowedMin;

/// How long the smallest round-trip time counts as the path's own. A path that has become longer is
/// known for what it is after this.
const BASE_WINDOW: Duration = Duration::from_secs(10);

/// A base this old is looked for anew.
const BASE_STALE: Duration = Duration::from_secs(5);
/// A sample within this share above the base confirms it.
const CONFIRMS: u32 = 16;

/// Quiet samples that the mean of them remembers: about a second of two cameras.
const QUIET_MEMORY: f64 = 32.0;
/// Timers and batches of acknowledgements delay samples by this much on any path.
const QUIET_NOISE: Duration = Duration::from_millis(2);
/// The delay of a path that wanders does so in every round trip. A trial's queue, this flow's or another's,
/// is there in one and not in the next: what counts is the least spread of so many steady rounds with so
/// many samples.
const SPREAD_ROUNDS: usize = 5;
const SPREAD_SAMPLES: u32 = 8;
/// Bunches of packets and acknowledgements spread samples by this much on any path.
const SPREAD_NOISE: Duration = Duration::from_millis(2);
/// The spread counts up to this part of the base.
const MOST_SPREAD: u32 = 8;
/// More is not wandering: somebody else's queue, or an outage.
const MOST_WANDER: Duration = Duration::from_millis(100);

/// The two smallest round-trip times of the round under way, and of the one before.
///
/// A thread that is held up between reading the clock and reading its socket makes a packet seem to
/// have come before it can have. One such sample as the base, and the window is too small for its
/// whole life: what is believed has been seen at two times.
#[derive(Debug, Clone)]
struct Lows {
    round: [Low; 2],
    before: [Low; 2],
}

/// A round-trip time and when it was measured.
type Low = (Duration, Option<Instant>);

const NO_LOW: Low = (Duration::MAX, None);

impl Lows {
    const NONE: Self = Self { round: [NO_LOW; 2], before: [NO_LOW; 2] };

    fn push(&mut self, now: Instant, rtt: Duration) {
        let at = Some(now);
        // Samples of one time vouch for none of their number: the smallest stands for them all.
        let place = usize::from(self.round[0].1 != at);
        if rtt < self.round[place].0 {
            self.round[place] = (rtt, at);
            self.round.sort_unstable();
        }
    }

    fn end_round(&mut self) {
        self.before = std::mem::replace(&mut self.round, [NO_LOW; 2]);
    }

    /// The second smallest of all, if there are two.
    fn seen_twice(&self) -> Option<Duration> {
        let [a, b] = self.round.map(|low| low.0);
        let [c, d] = self.before.map(|low| low.0);
        let second = a.max(c).min(b).min(d);
        (second < Duration::MAX).then_some(second)
    }
}

/// Tracks the delay of the path and of the round under way.
#[derive(Debug, Clone)]
pub(super) struct DelayMeter {
    base: WindowedMin,
    lows: Lows,
    round_min: Option<Duration>,
    round_samples: u32,
    last_round: Option<Duration>,
    confirmed: Option<Instant>,
    /// Mean delay above the base of packets that met no queue of this flow's, in seconds.
    quiet: f64,
    quiet_samples: f64,
    /// Sum of the round's samples.
    round_sum: Duration,
    /// How far the samples of the last steady rounds were above the smallest of their round, on average.
    spreads: [Duration; SPREAD_ROUNDS],
}

impl DelayMeter {
    pub(super) fn new() -> Self {
        Self {
            base: WindowedMin::new(BASE_WINDOW),
            lows: Lows::NONE,
            round_min: None,
            round_samples: 0,
            last_round: None,
            confirmed: None,
            quiet: 0.0,
            quiet_samples: 0.0,
            round_sum: Duration::ZERO,
            spreads: [Duration::ZERO; SPREAD_ROUNDS],
        }
    }

    /// A round-trip time measured at `now`.
    pub(super) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        self.lows.push(now, rtt);
        self.base.push(now, self.lows.seen_twice().unwrap_or(rtt));
        if self.base.get().is_none_or(|base| rtt <= base + base / CONFIRMS) {
            self.confirmed = Some(now);
        }
        self.round_samples += 1;
        self.round_sum += rtt;
        self.round_min = Some(self.round_min.map_or(rtt, |min| min.min(rtt)));
    }

    /// A round-trip time of a packet that left while too little was in flight for a queue.
    pub(super) fn on_quiet_sample(&mut self, rtt: Duration) {
        let above = rtt.saturating_sub(self.base().unwrap_or(rtt)).as_secs_f64();
        self.quiet_samples = (self.quiet_samples + 1.0).min(QUIET_MEMORY);
        self.quiet += (above - self.quiet) / self.quiet_samples;
    }

    /// How far the path's delay wanders by itself above its base, on average and a quarter more: radio
    /// links that repeat, schedule or share. A window for the base alone would leave such a path mostly idle,
    /// and its wandering would be taken for a queue.
    pub(super) fn wander(&self) -> Duration {
        let quiet = Duration::from_secs_f64(self.quiet.clamp(0.0, MOST_WANDER.as_secs_f64()));
        let quiet = if quiet < QUIET_NOISE { Duration::ZERO } else { quiet * 5 / 4 };
        let spread = self.spreads.iter().min().copied().unwrap_or_default();
        let most = self.base().unwrap_or_default() / MOST_SPREAD;
        quiet.max(spread.saturating_sub(SPREAD_NOISE).min(most))
    }

    /// A round trip is over; `steady` if nothing but the path itself delayed its packets.
    pub(super) fn end_round(&mut self, steady: bool) {
        if steady
            && let Some(min) = self.round_min
            && self.round_samples >= SPREAD_SAMPLES
        {
            self.spreads.rotate_left(1);
            self.spreads[SPREAD_ROUNDS - 1] =
                (self.round_sum / self.round_samples).saturating_sub(min);
        }
        self.round_sum = Duration::ZERO;
        if let Some(min) = self.round_min.take() {
            self.last_round = Some(min);
        }
        self.lows.end_round();
        self.round_samples = 0;
    }

    /// The path's own round-trip time.
    pub(super) fn base(&self) -> Option<Duration> {
        self.base.get()
    }

    /// Whether nothing near the base has been seen for long.
    pub(super) fn base_is_stale(&self, now: Instant) -> bool {
        self.confirmed.is_some_and(|at| now.saturating_duration_since(at) > BASE_STALE)
    }

    /// The smallest round-trip time of the round under way, or of the last one.
    pub(super) fn round(&self) -> Option<Duration> {
        self.round_min.or(self.last_round)
    }

    /// Samples in the round under way.
    pub(super) fn round_samples(&self) -> u32 {
        self.round_samples
    }

    /// What every packet of the round under way waited in a queue, beyond the path's own wandering.
    pub(super) fn queue(&self) -> Duration {
        match (self.round(), self.base()) {
            // Half of the samples are above the mean, so this much again is no queue yet.
            (Some(round), Some(base)) => round.saturating_sub(base + self.wander() * 3 / 2),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_that_cannot_be_is_no_base() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut delay = DelayMeter::new();
        delay.on_sample(start, ms(10));
        assert_eq!(delay.base(), Some(ms(10)));
        // Three packets read at one time, by a thread that was held up before.
        for rtt in [8, 7, 8] {
            delay.on_sample(start + ms(1), ms(rtt));
        }
        assert_eq!(delay.base(), Some(ms(10)));
        delay.on_sample(start + ms(2), ms(9));
        assert_eq!(delay.base(), Some(ms(9)));
    }

    #[test]
    fn a_round_with_one_sample_is_believed_with_the_one_before() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut delay = DelayMeter::new();
        for (round, rtt) in [30, 20, 20, 10, 20].into_iter().enumerate() {
            delay.on_sample(start + ms(50 * round as u64), ms(rtt));
            delay.end_round(false);
        }
        assert_eq!(delay.base(), Some(ms(20)));
    }

    #[test]
    fn a_path_that_wanders_in_every_round_is_known_for_it() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut delay = DelayMeter::new();
        let mut round = |number: u64, spread: u64| {
            for sample in 0..20 {
                let rtt = ms(60) + ms(spread) * (sample % 5) / 2;
                delay.on_sample(start + ms(number * 60 + u64::from(sample)), rtt);
            }
            delay.end_round(true);
            delay.wander()
        };
        for number in 0..SPREAD_ROUNDS as u64 - 1 {
            assert_eq!(round(number, 6), Duration::ZERO, "not in every round yet");
        }
        // Samples are 0 to 12 ms above the least, 6 on average.
        assert_eq!(round(10, 6), ms(6) - SPREAD_NOISE);
        assert_eq!(round(11, 40), ms(6) - SPREAD_NOISE, "one round is somebody's queue");
        assert_eq!(round(12, 0), Duration::ZERO);
    }
}
