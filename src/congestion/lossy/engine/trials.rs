//! Whether more in flight waits: on a path that is full it must, whoever fills it.

use std::time::Duration;

use super::Engine;
use super::window::SHALLOW_UP_GAIN;
use crate::congestion::lossy::filter::RunningMean;
use crate::congestion::trace::TracePhase;

/// Trials remembered.
const MEMORY: f64 = 8.0;
/// Fewer trials show nothing.
const ENOUGH: f64 = 4.0;
/// Where less than this part of what a trial adds is found waiting, the path is not full.
const FULL: f64 = 0.4;
/// Once it was, it is until this part waits.
const SURELY_FULL: f64 = 0.6;

/// What trials did to the delay.
#[derive(Debug, Clone, Default)]
pub(super) struct Trials {
    /// Mean delay above the base in the rounds before the trial, in seconds.
    before: RunningMean,
    /// Bytes that could be in flight then.
    window: u64,
    /// The share of what trials added that was found waiting.
    waiting: RunningMean,
    /// Mean delay above the base before trials, in seconds.
    above: RunningMean,
    /// Whether the path is taken for one that is not full.
    unmoved: bool,
}

impl Trials {
    /// The mean delay above the base in a round before a trial, with `window` bytes in flight.
    fn before(&mut self, above: Duration, window: u64) {
        self.before.push(above.as_secs_f64(), f64::INFINITY);
        self.window = window;
    }

    /// A trial added `added` seconds of packets, and the mean delay above the base was this; returns the part
    /// of the delay that trials do not move.
    fn after(&mut self, above: Duration, added: f64) -> Duration {
        let before = std::mem::take(&mut self.before).get();
        let waiting = ((above.as_secs_f64() - before) / added).clamp(-1.0, 2.0);
        self.waiting.push(waiting, MEMORY);
        self.above.push(before, MEMORY);
        let full = if self.unmoved { SURELY_FULL } else { FULL };
        self.unmoved = self.waiting.values() >= ENOUGH && self.waiting.get() < full;
        let unmoved = if self.unmoved { self.above.get().max(0.0) } else { 0.0 };
        Duration::from_secs_f64(unmoved)
    }
}

impl Engine {
    /// The end of a round in which the path was the limit.
    pub(super) fn watch_before_trial(&mut self) {
        let Some(above) = self.delay.round_above() else { return };
        let alone = self.competing == 0 && self.outage_rounds == 0;
        match self.phase {
            TracePhase::Cruise if alone && self.phase_rounds >= 2 => {
                self.trials.before(above, self.window);
            }
            TracePhase::Cruise if alone => {}
            TracePhase::Up => {}
            _ => self.trials.before = RunningMean::default(),
        }
    }

    /// The first step of a trial has shown what it does.
    pub(super) fn watch_trial(&mut self) {
        let (Some(above), Some(rate)) = (self.delay.round_above(), self.bandwidth.get()) else {
            return;
        };
        let shallow = self.up_gain < SHALLOW_UP_GAIN || self.headroom < 1.0;
        if self.climbing || self.competing > 0 || shallow || self.trials.before.values() < 2.0 {
            return;
        }
        let added = self.window.saturating_sub(self.trials.window) as f64 / rate.max(1.0);
        if added > 0.0 {
            let unmoved = self.trials.after(above, added);
            self.delay.wander_mut().set_unmoved(unmoved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trials that add 10 ms of packets to a delay of 8 ms; `waiting` of them are found waiting.
    fn unmoved(trials: &mut Trials, waiting: f64, number: u32) -> Duration {
        let before = Duration::from_millis(8);
        let mut unmoved = Duration::ZERO;
        for _ in 0..number {
            trials.before(before, 100_000);
            unmoved = trials.after(before + Duration::from_millis(10).mul_f64(waiting), 0.01);
        }
        unmoved
    }

    #[test]
    fn delay_counts_that_trials_do_not_move() {
        assert_eq!(unmoved(&mut Trials::default(), 1.0, 10), Duration::ZERO);
        assert_eq!(unmoved(&mut Trials::default(), 0.5, 10), Duration::ZERO, "half is another's");
        let mut trials = Trials::default();
        assert_eq!(unmoved(&mut trials, 0.1, 3), Duration::ZERO, "too few");
        let known = unmoved(&mut trials, 0.1, 1);
        assert!((known.as_secs_f64() - 0.008).abs() < 1e-6, "{known:?}");
        assert!(
            unmoved(&mut trials, 0.5, 10) > Duration::ZERO,
            "it takes more to believe the contrary"
        );
        assert_eq!(unmoved(&mut trials, 1.0, 10), Duration::ZERO);
    }
}
