//! Extremes over a sliding window, and means that forget.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The mean of the values so far, each of which weighs no less than one in the values remembered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunningMean {
    value: f64,
    values: f64,
}

impl RunningMean {
    /// The mean; 0 before there is a value.
    pub(super) fn get(&self) -> f64 {
        self.value
    }

    /// How many values there are, as far as they are remembered.
    pub(super) fn values(&self) -> f64 {
        self.values
    }

    /// Adds `value` to a mean that remembers about `memory` of them.
    pub(super) fn push(&mut self, value: f64, memory: f64) {
        self.values = (self.values + 1.0).min(memory);
        self.value += (value - self.value) / self.values;
    }
}

/// The largest of the values of the last `span` ticks.
///
/// Kept as a falling sequence, so that reading is free and a push drops what it dominates.
#[derive(Debug, Clone)]
pub(super) struct WindowedMax {
    span: u64,
    falling: VecDeque<(u64, f64)>,
}

impl WindowedMax {
    pub(super) fn new(span: u64) -> Self {
        Self { span, falling: VecDeque::new() }
    }

    /// The largest value, if there is any.
    pub(super) fn get(&self) -> Option<f64> {
        self.falling.front().map(|(_, value)| *value)
    }

    /// Adds `value` at `tick`, which never goes back.
    pub(super) fn push(&mut self, tick: u64, value: f64) {
        while self.falling.back().is_some_and(|(_, other)| *other <= value) {
            self.falling.pop_back();
        }
        // One value a tick is enough, which bounds the memory.
        if self.falling.back().is_none_or(|(at, _)| *at < tick) {
            self.falling.push_back((tick, value));
        }
        while self.falling.front().is_some_and(|(at, _)| at.saturating_add(self.span) <= tick) {
            self.falling.pop_front();
        }
    }

    /// Forgets everything but `value`.
    pub(super) fn reset(&mut self, tick: u64, value: f64) {
        self.falling.clear();
        self.falling.push_back((tick, value));
    }
}

/// The smallest duration seen within the last `span`.
#[derive(Debug, Clone)]
pub(super) struct WindowedMin {
    span: Duration,
    rising: VecDeque<(Instant, Duration)>,
}

/// Values closer together in time than this share of the window need not be kept apart; it bounds
/// the memory.
const MIN_RESOLUTION: u32 = 64;

impl WindowedMin {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, rising: VecDeque::new() }
    }

    /// The smallest value, if there is any.
    pub(super) fn get(&self) -> Option<Duration> {
        self.rising.front().map(|(_, value)| *value)
    }

    /// Adds `value` at `now`; the newest value is kept even when nothing else is.
    pub(super) fn push(&mut self, now: Instant, value: Duration) {
        while self.rising.back().is_some_and(|(_, other)| *other >= value) {
            self.rising.pop_back();
        }
        let close = self.span / MIN_RESOLUTION;
        if self.rising.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= close) {
            self.rising.push_back((now, value));
        }
        while self.rising.len() > 1
            && self
                .rising
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > self.span)
        {
            self.rising.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_expires() {
        let mut max = WindowedMax::new(3);
        max.push(0, 5.0);
        max.push(1, 2.0);
        max.push(2, 3.0);
        assert_eq!(max.get(), Some(5.0));
        max.push(3, 1.0);
        assert_eq!(max.get(), Some(3.0));
    }

    #[test]
    fn the_minimum_expires() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut min = WindowedMin::new(ms(1000));
        min.push(start, ms(10));
        min.push(start + ms(500), ms(20));
        assert_eq!(min.get(), Some(ms(10)));
        min.push(start + ms(1200), ms(30));
        assert_eq!(min.get(), Some(ms(20)));
        min.push(start + ms(1300), ms(5));
        assert_eq!(min.get(), Some(ms(5)));
    }
}
