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

/// Tracks the delay of the path and of the round under way.
#[derive(Debug, Clone)]
pub(super) struct DelayMeter {
    base: WindowedMin,
    round_min: Option<Duration>,
    round_samples: u32,
    last_round: Option<Duration>,
    confirmed: Option<Instant>,
}

impl DelayMeter {
    pub(super) fn new() -> Self {
        Self {
            base: WindowedMin::new(BASE_WINDOW),
            round_min: None,
            round_samples: 0,
            last_round: None,
            confirmed: None,
        }
    }

    /// A round-trip time measured at `now`.
    pub(super) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        self.base.push(now, rtt);
        if self.base.get().is_none_or(|base| rtt <= base + base / CONFIRMS) {
            self.confirmed = Some(now);
        }
        self.round_samples += 1;
        self.round_min = Some(self.round_min.map_or(rtt, |min| min.min(rtt)));
    }

    /// A round trip is over.
    pub(super) fn end_round(&mut self) {
        if let Some(min) = self.round_min.take() {
            self.last_round = Some(min);
        }
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

    /// What every packet of the round under way waited in a queue.
    pub(super) fn queue(&self) -> Duration {
        match (self.round(), self.base()) {
            (Some(round), Some(base)) => round.saturating_sub(base),
            _ => Duration::ZERO,
        }
    }
}
