//! How fast something is now, and not on average since it began: after a quiet night the mean says nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What lies further back does not count.
const WINDOW: Duration = Duration::from_secs(5);
/// Counts closer to each other than this are one.
const STEP: Duration = Duration::from_millis(250);

/// The bytes of the last seconds.
#[derive(Debug)]
pub(in crate::cli) struct Recent(VecDeque<(Instant, u64)>);

impl Recent {
    /// Begins with nothing.
    pub(in crate::cli) fn since(began: Instant) -> Self {
        Self(VecDeque::from([(began, 0)]))
    }

    /// The rate of the last seconds, by how many bytes there are until now: `1.2 MB/s`.
    pub(in crate::cli) fn rate(&mut self, bytes: u64, now: Instant) -> String {
        let ago = |at: Instant| now.saturating_duration_since(at);
        // One at the window's edge stays, so that all of it is looked at.
        while self.0.get(1).is_some_and(|(at, _)| ago(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let (at, before) = self.0.front().copied().unwrap_or((now, bytes));
        if self.0.back().is_none_or(|(at, _)| ago(*at) >= STEP) {
            self.0.push_back((now, bytes));
        }
        super::rate(bytes.saturating_sub(before), ago(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_the_memory_of_it_is_bounded() {
        let began = Instant::now();
        let mut recent = Recent::since(began);
        let at = |tenths: u64| began + Duration::from_millis(100) * u32::try_from(tenths).unwrap();
        // 1 MB a second for a minute, nothing for an hour, and then 3 MB a second.
        for tenths in 1..=600 {
            let rate = recent.rate(tenths * 100_000, at(tenths));
            assert!(
                ["1.0 MB/s", "1000.0 kB/s"].contains(&rate.as_str()),
                "{rate} after {tenths} tenths"
            );
        }
        recent.rate(60_000_000, at(36_000));
        assert!(recent.rate(60_000_000, at(36_060)).starts_with('0'));
        for tenths in 1..=100 {
            recent.rate(60_000_000 + tenths * 300_000, at(36_060 + tenths));
        }
        let rate = recent.rate(90_000_000, at(36_160));
        assert!(rate.starts_with('3'), "{rate}");
        assert!(recent.0.len() <= 24, "{}", recent.0.len());
    }
}
