//! Delay that is the path's own and comes and goes: no queue explains it.
//!
//! Each of these signs can be taken in by another flow's queue, so each counts within limits of its own; the
//! strongest is believed.

use std::time::{Duration, Instant};

use super::filter::RunningMean;

/// Quiet samples that the mean of them remembers: about a second of two cameras.
const QUIET_MEMORY: f64 = 32.0;
/// They count in full for this long after the last of them: it may have been another flow's queue.
const QUIET_FRESH: Duration = Duration::from_secs(3);
/// For this long they count as far as the delay is seen to vary. A path that is never left quiet shows no new
/// ones, and without the old ones its window would shrink ever more.
const QUIET_STALE: Duration = Duration::from_secs(30);
/// They count up to this part of the base then.
const MOST_STALE: u32 = 2;
/// Timers and batches of acknowledgements delay samples by this much on any path.
const QUIET_NOISE: Duration = Duration::from_millis(2);

/// For no longer than this if the path may have become another one since.
const DOUBTED_STALE: Duration = Duration::from_secs(3);
/// Where a queue is unlikely, but not excluded, delay counts up to this part of the base, and as far as it is
/// seen to vary.
const MOST_UNLIKELY: u32 = 3;
/// Other flows' bunches spread samples up to this part of the base in most rounds: they are longer on a longer
/// path. Radio links that wander exceed it several times over, see docs/decisions.md.
const OTHERS_SPREAD: u32 = 10;

/// The delay of a path that wanders does so in every round trip. A trial's queue, this flow's or another's,
/// is there in one and not in the next: what counts is the least spread of so many steady rounds.
const SPREAD_ROUNDS: usize = 5;
/// Bunches of packets and acknowledgements spread samples by this much on any path.
const SPREAD_NOISE: Duration = Duration::from_millis(2);
/// The spread alone counts up to this part of the base.
const MOST_SPREAD: u32 = 8;

/// Delay that trials do not move counts up to this part of the base,
const MOST_UNMOVED: u32 = 2;
/// and up to so many times the spread beyond its noise.
const SPREADS: u32 = 4;

/// Rounds that the mean delay while giving way remembers.
const GIVEN_WAY_MEMORY: f64 = 16.0;
/// More is not wandering: somebody else's queue, or an outage.
const MOST_WANDER: Duration = Duration::from_millis(100);

/// What the signs say.
#[derive(Debug, Clone, Default)]
pub(super) struct Wander {
    /// Round-trip times of packets that met no queue of this flow's.
    quiet: Remembered,
    /// The last of them was not long ago.
    quiet_is_fresh: bool,
    /// Those of packets that were unlikely to meet any queue.
    shrunk: Remembered,
    /// The base when it was last looked at.
    base: Duration,
    /// It has fallen so far since the last quiet sample that the path may be another one.
    doubted: bool,
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
        let mut spreads = self.spreads;
        spreads.sort_unstable();
        let [least, _, usual, ..] = spreads;
        // In every round: on its own a sign of a path that wanders. In most rounds: enough to believe what was
        // measured with little in flight.
        let visible = least.saturating_sub(SPREAD_NOISE / 2) * SPREADS;
        let others = (SPREAD_NOISE / 2).max(base / OTHERS_SPREAD);
        let likely = usual.saturating_sub(others) * SPREADS;
        let quiet = self.quiet.above(base);
        [
            if self.quiet_is_fresh { quiet } else { quiet.min(likely).min(base / MOST_STALE) },
            self.shrunk.above(base).min(likely).min(base / MOST_UNLIKELY),
            least.saturating_sub(SPREAD_NOISE).min(base / MOST_SPREAD),
            self.unmoved.min(visible).min(base / MOST_UNMOVED),
            Duration::from_secs_f64(self.given_way.get()).min(self.believed).min(MOST_WANDER),
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    }

    /// The round-trip time of a packet that left while too little was in flight for a queue.
    pub(super) fn on_quiet_sample(&mut self, now: Instant, rtt: Duration) {
        (self.doubted, self.quiet_is_fresh) = (false, true);
        self.quiet.push(now, rtt);
    }

    /// The round-trip time of a packet that left while far less was in flight than the path once held, though
    /// this flow had more to send. Others may have taken the rest: it counts only where the path is known to
    /// wander.
    pub(super) fn on_held_sample(&mut self, now: Instant, rtt: Duration, base: Duration) {
        if self.quiet.above(base) > Duration::ZERO {
            self.on_quiet_sample(now, rtt);
        }
    }

    /// The round-trip time of a packet that left while so little was in flight that a queue was unlikely.
    pub(super) fn on_shrunk_sample(&mut self, now: Instant, rtt: Duration) {
        self.shrunk.push(now, rtt);
    }

    /// Forgets what is too old at `now`. Where `base` falls far, the path may have become another one.
    pub(super) fn expire(&mut self, now: Instant, base: Duration) {
        let before = std::mem::replace(&mut self.base, base);
        self.doubted |= base < before / 2;
        let most = if self.doubted { DOUBTED_STALE } else { QUIET_STALE };
        self.quiet_is_fresh = !self.quiet.is_older(now, QUIET_FRESH);
        for samples in [&mut self.quiet, &mut self.shrunk] {
            if samples.is_older(now, most) {
                *samples = Remembered::default();
            }
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

/// The mean of the last round-trip times of a kind, in seconds, and when the newest was measured.
#[derive(Debug, Clone, Default)]
struct Remembered {
    mean: RunningMean,
    at: Option<Instant>,
}

impl Remembered {
    fn push(&mut self, now: Instant, rtt: Duration) {
        self.at = Some(now);
        self.mean.push(rtt.as_secs_f64(), QUIET_MEMORY);
    }

    /// Whether the newest is older than `most`, or there is none.
    fn is_older(&self, now: Instant, most: Duration) -> bool {
        self.at.is_none_or(|at| now.saturating_duration_since(at) > most)
    }

    /// How far the mean is above `base`, and a quarter more; nothing where timers explain it.
    fn above(&self, base: Duration) -> Duration {
        let mean = Duration::from_secs_f64(self.mean.get());
        let above = mean.saturating_sub(base).min(MOST_WANDER);
        if above < QUIET_NOISE { Duration::ZERO } else { above * 5 / 4 }
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
        wander.expire(start + QUIET_FRESH, BASE);
        assert_eq!(wander.above(BASE), ms(10) * 5 / 4);
        wander.expire(start + QUIET_FRESH + ms(1), BASE);
        assert_eq!(wander.above(BASE), ms(0), "another flow's queue");
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(8));
        }
        assert_eq!(wander.above(BASE), ms(8), "as far as it is seen to vary");
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(2));
        }
        wander.expire(start + QUIET_STALE + ms(1), BASE);
        assert_eq!(wander.above(BASE), ms(0));
    }

    #[test]
    fn a_flow_that_is_held_down_learns_only_where_the_path_is_known_to_wander() {
        let start = Instant::now();
        let mut smooth = Wander::default();
        smooth.on_quiet_sample(start, BASE + ms(1));
        smooth.on_held_sample(start, ms(90), BASE);
        assert_eq!(smooth.above(BASE), ms(0), "another flow's queue");
        let mut restless = Wander::default();
        restless.on_quiet_sample(start, ms(68));
        restless.on_held_sample(start + QUIET_STALE, ms(76), BASE);
        restless.expire(start + QUIET_STALE + ms(1), BASE);
        assert_eq!(restless.above(BASE), ms(15), "kept, and 72 ms on average");
    }

    #[test]
    fn what_little_in_flight_waited_counts_in_part_where_the_delay_is_seen_to_vary() {
        let mut wander = Wander::default();
        wander.on_shrunk_sample(Instant::now(), ms(100));
        assert_eq!(wander.above(BASE), ms(0), "another flow's queue");
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(6));
        }
        assert_eq!(wander.above(BASE), ms(4), "no more than other flows' bunches make likely");
        for spread in [0, 8, 30] {
            wander.on_spread(ms(spread));
        }
        assert_eq!(wander.above(BASE), ms(0), "6 ms in most rounds");
        wander.on_spread(ms(8));
        assert_eq!(wander.above(BASE), ms(8), "8 ms in most rounds");
        for _ in 0..SPREAD_ROUNDS {
            wander.on_spread(ms(30));
        }
        assert_eq!(wander.above(BASE), BASE / MOST_UNLIKELY);
    }

    #[test]
    fn where_the_path_may_be_another_one_quiet_samples_count_for_less_long() {
        let start = Instant::now();
        let mut wander = Wander::default();
        wander.on_quiet_sample(start, ms(70));
        for (after, base, above) in [(0, 60, 10), (9, 50, 20), (9, 24, 46), (10, 24, 0)] {
            wander.expire(start + DOUBTED_STALE + ms(after) - ms(9), ms(base));
            assert_eq!(wander.above(ms(base)), ms(above) * 5 / 4, "{after} {base}");
        }
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
