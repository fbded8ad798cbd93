//! Round-trip times: the path's own, and what a queue adds.

use std::time::{Duration, Instant};

use super::filter::WindowedMin;
use super::sent::Queue;
use super::wander::Wander;

/// How long the smallest round-trip time counts as the path's own. A path that has become longer is
/// known for what it is after this.
const BASE_WINDOW: Duration = Duration::from_secs(10);

/// A base this old is looked for anew.
const BASE_STALE: Duration = Duration::from_secs(5);
/// A sample within this share above the base confirms it.
const CONFIRMS: u32 = 16;

/// Fewer samples of a round do not show how far they spread.
const SPREAD_SAMPLES: u32 = 8;

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
    /// Sum of the round's samples.
    round_sum: Duration,
    wander: Wander,
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
            round_sum: Duration::ZERO,
            wander: Wander::default(),
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

    /// How far the path's delay wanders by itself above its base: radio links that repeat, schedule or share.
    /// A window for the base alone would leave such a path mostly idle, and its wandering would be taken for
    /// a queue.
    pub(super) fn wander(&self) -> Duration {
        self.wander.above(self.base().unwrap_or_default())
    }

    /// What is known of the path's wandering from elsewhere than its round trips.
    pub(super) fn wander_mut(&mut self) -> &mut Wander {
        &mut self.wander
    }

    /// The round-trip time of a packet that could meet this queue.
    pub(super) fn on_sample_behind(&mut self, queue: Queue, now: Instant, rtt: Duration) {
        let base = self.base().unwrap_or_default();
        match queue {
            Queue::None => self.wander.on_quiet_sample(now, rtt),
            Queue::Unlikely => self.wander.on_shrunk_sample(now, rtt),
            Queue::Others => self.wander.on_held_sample(now, rtt, base),
            Queue::Own => {}
        }
    }

    /// Mean delay of the round under way above the base; `None` before there is a sample.
    pub(super) fn round_above(&self) -> Option<Duration> {
        Some(self.round_mean()?.saturating_sub(self.base()?))
    }

    fn round_mean(&self) -> Option<Duration> {
        self.round_sum.checked_div(self.round_samples)
    }

    /// A round trip is over; `steady` if nothing but the path itself delayed its packets.
    pub(super) fn end_round(&mut self, now: Instant, steady: bool) {
        let base = self.base().unwrap_or_default();
        self.wander.expire(now, base);
        if steady
            && let (Some(min), Some(mean)) = (self.round_min, self.round_mean())
            && self.round_samples >= SPREAD_SAMPLES
        {
            self.wander.on_spread(mean.saturating_sub(min));
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
            delay.end_round(start, false);
        }
        assert_eq!(delay.base(), Some(ms(20)));
    }
}
