//! Delay that is the path's own and comes and goes: no queue explains it.
//!
//! Each of four signs can be taken in by another flow's queue, so each counts within limits of its own; the
//! strongest is believed.

use std::time::{Duration, Instant};

use super::filter::RunningMean;

/// Quiet samples that the mean of them remembers: about a second of two cameras.
const QUIET_MEMORY: f64 = 32.0;
/// They count for this long after the last of them: it may have been another flow's queue.
const QUIET_STALE: Duration = Duration::from_secs(3);
/// Timers and batches of acknowledgements delay samples by this much on any path.
const QUIET_NOISE: Duration = Duration::from_millis(2);

/// The delay of a path that wanders does so in every round trip. A trial's queue, this flow's or another's,
/// is there in one and not in the next: what counts is the least spread of so many steady rounds.
const SPREAD_ROUNDS: usize = 5;
/// Bunches of packets and acknowledgements spread samples by this much on any path.
const SPREAD_NOISE: Duration = Duration::from_millis(2);
/// The spread alone counts up to this part of the base.
const MOST_SPREAD: u32 = 8;

/// Delay that trials do not move counts up to this part of the base,
const MOST_UNMOVED: u32 = 2;
/// and up to so many times the spread beyond half of its noise.
const UNMOVED_SPREADS: u32 = 4;

/// Rounds that the mean delay while giving way remembers.
const GIVEN_WAY_MEMORY: f64 = 16.0;
/// More is not wandering: somebody else's queue, or an outage.
const MOST_WANDER: Duration = Duration::from_millis(100);

/// What the signs say.
#[derive(Debug, Clone, Default)]
pub(super) struct Wander {
    /// Mean round-trip time of packets that met no queue of this flow's, in seconds.
    quiet: RunningMean,
    quiet_at: Option<Instant>,
    /// How far the samples of the last steady rounds were above the smallest of their round, on average.
    spreads: [Duration; SPREAD_ROUNDS],
    /// Mean delay above the base while this flow gave way, in seconds.
    given_way: RunningMean,
    /// How much of that is the path's own.
    believed: Duration,
    /// Mean delay above the base that trials did not move.
    unmoved: Duration,
}

impl Wander {
    /// How far the delay wanders above `base`, on average and a quarter more.
    pub(super) fn above(&self, base: Duration) -> Duration {
        let spread = self.spreads.iter().min().copied().unwrap_or_default();
        let visible = spread.saturating_sub(SPREAD_NOISE / 2) * UNMOVED_SPREADS;
        [
            self.quiet_above(base),
            spread.saturating_sub(SPREAD_NOISE).min(base / MOST_SPREAD),
            self.unmoved.min(visible).min(base / MOST_UNMOVED),
            Duration::from_secs_f64(self.given_way.get()).min(self.believed).min(MOST_WANDER),
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    }

    fn quiet_above(&self, base: Duration) -> Duration {
        let above = Duration::from_secs_f64(self.quiet.get()).saturating_sub(base).min(MOST_WANDER);
        if above < QUIET_NOISE { Duration::ZERO } else { above * 5 / 4 }
    }

    /// The round-trip time of a packet that left while too little was in flight for a queue.
    pub(super) fn on_quiet_sample(&mut self, now: Instant, rtt: Duration) {
        self.quiet_at = Some(now);
        self.quiet.push(rtt.as_secs_f64(), QUIET_MEMORY);
    }

    /// Forgets what is too old at `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.quiet_at.is_some_and(|at| now.saturating_duration_since(at) > QUIET_STALE) {
            (self.quiet, self.quiet_at) = (RunningMean::default(), None);
        }
    }

    /// How far the samples of a steady round were above the smallest of them, on average.
    pub(super) fn on_spread(&mut self, spread: Duration) {
        self.spreads.rotate_left(1);
        self.spreads[SPREAD_ROUNDS - 1] = spread;
    }

    /// The mean delay above the base in a round in which this flow gave way to whatever delays its packets.
    pub(super) fn on_gave_way(&mut self, above: Duration) {
        self.given_way.push(above.as_secs_f64(), GIVEN_WAY_MEMORY);
    }

    /// Up to `most` of the delay that stays while this flow gives way counts as the path's own.
    pub(super) fn believe(&mut self, most: Duration) {
        self.believed = most;
    }

    /// Trials do not move this much of the delay above the base.
    pub(super) fn set_unmoved(&mut self, unmoved: Duration) {
        self.unmoved = unmoved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = ms(60);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_path_that_wanders_in_every_round_is_known_for_it() {
        let mut wander = Wander::default();
        let mut after = |spread| {
            wander.on_spread(ms(spread));
            wander.above(BASE)
        };
        for _ in 1..SPREAD_ROUNDS {
            assert_eq!(after(6), ms(0), "not in every round yet");
        }
        assert_eq!(after(6), ms(6) - SPREAD_NOISE);
        assert_eq!(after(40), ms(6) - SPREAD_NOISE, "one round is somebody's queue");
        assert_eq!(after(0), ms(0));
    }

    #[test]
    fn what_packets_waited_that_met_no_queue_counts_for_a_while() {
        let start = Instant::now();
        let mut wander = Wander::default();
        for rtt in [90, 60, 60, 70] {
            wander.on_quiet_sample(start, ms(rtt));
        }
        assert_eq!(wander.above(BASE), ms(10) * 5 / 4, "70 ms on average");
        wander.expire(start + QUIET_STALE);
        assert_eq!(wander.above(BASE), ms(10) * 5 / 4);
        wander.expire(start + QUIET_STALE + ms(1));
        assert_eq!(wander.above(BASE), ms(0));
    }

    #[test]
    fn delay_that_stayed_while_giving_way_counts_as_far_as_it_is_believed() {
        let mut wander = Wander::default();
        wander.on_gave_way(ms(20));
        wander.on_gave_way(ms(40));
        assert_eq!(wander.above(BASE), ms(0));
        wander.believe(ms(15));
        assert_eq!(wander.above(BASE), ms(15));
        wander.believe(Duration::MAX);
        assert_eq!(wander.above(BASE), ms(30));
        wander.on_gave_way(ms(10_000));
        assert_eq!(wander.above(BASE), MOST_WANDER);
    }

    #[test]
    fn delay_that_trials_do_not_move_needs_some_that_varies() {
        let mut wander = Wander::default();
        wander.set_unmoved(ms(8));
        assert_eq!(wander.above(BASE), ms(0));
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(2));
        }
        assert_eq!(wander.above(BASE), ms(4));
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(6));
        }
        assert_eq!(wander.above(BASE), ms(8));
        assert_eq!(wander.above(ms(10)), ms(5), "half of the base at most");
    }
}
