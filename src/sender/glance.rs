//! What the session knows of its path: looked at now and then, and watched while nothing comes back.

use std::time::{Duration, Instant};

use crate::transport::{PathStats, PathWatch};

/// How long a look at the congestion window holds good. Asking takes the connection's lock, and
/// with every frame it would cost more than the frame.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The path is silent after this long without a datagram, beyond two round trips, though frames are
/// underway: their acknowledgements come every few milliseconds.
const SILENCE: Duration = Duration::from_millis(60);

/// How often a silent path is looked at: its end should not add to the frames' waiting.
const SILENT_INTERVAL: Duration = Duration::from_millis(5);

/// The newest look at the path.
#[derive(Debug, Default)]
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
        let patience = SILENCE + 2 * self.stats.rtt;
        let awaited = self.stats.with_transport > 0 && self.stats.datagrams_received.is_some();
        let passed = |heard| self.looked.is_some_and(|looked| looked - heard > patience);
        awaited && self.heard.is_some_and(passed)
    }

    /// When to look again though nothing has happened.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.looked.filter(|_| self.is_silent()).map(|looked| looked + SILENT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(received: Option<u64>, with_transport: u64) -> PathStats {
        let rtt = Duration::from_millis(50);
        PathStats { rtt, datagrams_received: received, with_transport, ..PathStats::default() }
    }

    #[test]
    fn a_path_is_silent_while_frames_are_underway_and_nothing_comes() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut glance = Glance::default();
        glance.see(stats(Some(7), 1_000), ms(0));
        glance.see(stats(Some(7), 1_000), ms(160));
        assert!(!glance.is_silent() && glance.wakes_at().is_none());
        glance.see(stats(Some(7), 1_000), ms(161));
        assert!(glance.is_silent());
        assert_eq!(glance.wakes_at(), Some(ms(166)));
        glance.see(stats(Some(8), 1_000), ms(1_000));
        assert!(!glance.is_silent());
    }

    #[test]
    fn a_path_on_which_nothing_is_underway_or_known_is_not_silent() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut idle = Glance::default();
        idle.see(stats(Some(7), 0), ms(0));
        idle.see(stats(Some(7), 0), ms(5_000));
        idle.see(stats(Some(7), 1_000), ms(5_100));
        assert!(!idle.is_silent());
        let mut unknown = Glance::default();
        unknown.see(stats(None, 1_000), ms(0));
        unknown.see(stats(None, 1_000), ms(5_000));
        assert!(!unknown.is_silent());
    }
}
