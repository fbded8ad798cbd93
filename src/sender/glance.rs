//! What the session knows of its path: looked at now and then, and watched while nothing comes back.

use std::time::{Duration, Instant};

use crate::transport::{Forecast, PathStats, PathWatch};

/// How long a look at the congestion window holds good. Asking takes the connection's lock, and
/// with every frame it would cost more than the frame.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Beyond two round trips, see [`patience`]. The congestion controller takes as long for an outage.
const SILENCE: Duration = Duration::from_millis(60);

/// How often a silent path is looked at: its end should not add to the frames' waiting.
const SILENT_INTERVAL: Duration = Duration::from_millis(5);

/// How often a path is looked at that has no room for the next frame, beside the transport's own word.
const FULL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a path of this round-trip time may be silent though something is awaited: acknowledgements come
/// every few milliseconds while frames are underway, and answers after a round trip.
pub(super) fn patience(rtt: Duration) -> Duration {
    SILENCE + 2 * rtt
}

/// The newest look at the path.
#[derive(Debug, Default, Clone)]
pub(super) struct Glance {
    stats: PathStats,
    looked: Option<Instant>,
    /// When something was last found to have come, or nothing was awaited.
    heard: Option<Instant>,
}

impl Glance {
    /// What the transport knows of the path, not much older than now.
    pub(super) fn look(&mut self, path: &PathWatch) -> PathStats {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now - looked >= LOOK_INTERVAL) {
            self.see(path.look(), now);
        }
        self.stats
    }

    fn see(&mut self, stats: PathStats, now: Instant) {
        if stats.datagrams_received != self.stats.datagrams_received || stats.with_transport == 0 {
            self.heard = Some(now);
        }
        self.stats = stats;
        self.looked = Some(now);
    }

    /// Something has changed: the next look is a fresh one.
    pub(super) fn forget(&mut self) {
        self.looked = None;
    }

    /// Whether frames are underway and nothing has come back for long. Never on a transport that does
    /// not know what has come.
    pub(super) fn is_silent(&self) -> bool {
        let patience = patience(self.stats.rtt);
        let awaited = self.stats.with_transport > 0 && self.stats.datagrams_received.is_some();
        let passed = |heard| self.looked.is_some_and(|looked| looked - heard > patience);
        awaited && self.heard.is_some_and(passed)
    }

    /// When to look again though nothing has happened.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let silent =
            self.looked.filter(|_| self.is_silent()).map(|looked| looked + SILENT_INTERVAL);
        // What it takes for room goes by a rate, which changes.
        let is_full = |known: Forecast| known.in_order && !known.has_room();
        let full = self.looked.filter(|_| self.stats.forecast.is_some_and(is_full));
        silent.into_iter().chain(full.map(|looked| looked + FULL_INTERVAL)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a path of 50 ms: at how many milliseconds, the datagrams that have come by then, and
    /// the bytes with the transport. Returns the glance after each, and the time of the first.
    fn looks<const N: usize>(seen: [(u64, Option<u64>, u64); N]) -> ([Glance; N], Instant) {
        let start = Instant::now();
        let rtt = Duration::from_millis(50);
        let mut glance = Glance::default();
        let glances = seen.map(|(at, datagrams_received, with_transport)| {
            let stats =
                PathStats { rtt, datagrams_received, with_transport, ..PathStats::default() };
            glance.see(stats, start + Duration::from_millis(at));
            glance.clone()
        });
        (glances, start)
    }

    #[test]
    fn a_path_is_silent_while_frames_are_underway_and_nothing_comes() {
        let seen = [(0, Some(7)), (160, Some(7)), (161, Some(7)), (1_000, Some(8))];
        let ([_, patient, silent, back], start) = looks(seen.map(|(at, came)| (at, came, 1_000)));
        assert!(!patient.is_silent() && patient.wakes_at().is_none());
        assert!(silent.is_silent());
        assert_eq!(silent.wakes_at(), Some(start + Duration::from_millis(166)));
        assert!(!back.is_silent());
    }

    #[test]
    fn a_path_on_which_nothing_is_underway_or_known_is_not_silent() {
        let ([.., idle], _) =
            looks([(0, Some(7), 0), (5_000, Some(7), 0), (5_100, Some(7), 1_000)]);
        assert!(!idle.is_silent());
        let ([.., unknown], _) = looks([(0, None, 1_000), (5_000, None, 1_000)]);
        assert!(!unknown.is_silent());
    }
}
