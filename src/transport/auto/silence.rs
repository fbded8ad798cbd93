//! Whether a QUIC connection's path still carries anything.

use std::time::Duration;

use tokio::time::Instant;

use crate::transport::PathStats;

/// How long nothing may come, beside some round trips. A frame under way has something come each round trip,
/// and where the receiver takes its time the session asks a question after two of them and 60 ms, and every
/// 100 ms from then on.
const PATIENCE: Duration = Duration::from_millis(100);

/// The round trips.
const ROUND_TRIPS: u32 = 3;

/// The same where a new connection by another link has come through meanwhile: both machines are awake then.
const ROUND_TRIPS_BESIDE: u32 = 2;

/// Less than this is a pause of one of the two machines.
const LEAST: Duration = Duration::from_millis(250);
/// The same where they are awake.
const LEAST_BESIDE: Duration = Duration::from_millis(200);

/// How long nothing may come, beside that, where no frame is under way: a session asks for the receiver's
/// clock once a second.
const IDLE: Duration = Duration::from_millis(1_200);

/// The least where an address or a route of this machine has changed: most likely the path is another.
const LEAST_IN_DOUBT: Duration = Duration::from_millis(120);

/// How long nothing has come.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Option<u64>,
    since: Instant,
    /// Something has changed that may be the path's end.
    doubted: bool,
}

impl Silence {
    pub(super) fn new(stats: &PathStats, now: Instant) -> Self {
        Self { heard: stats.datagrams_received, since: now, doubted: false }
    }

    /// From now on less is waited for, until something comes.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Takes in what is seen at `now`: true where nothing has come for longer than on a path that carries
    /// anything.
    pub(super) fn is_too_long(&mut self, stats: &PathStats, now: Instant) -> bool {
        self.patience(stats, now).is_some_and(|patience| self.length(now) >= patience)
    }

    /// The same where a new connection by another link has come through since nothing comes, and a frame is under way.
    pub(super) fn is_too_long_beside(&mut self, stats: &PathStats, now: Instant) -> bool {
        let beside = (stats.rtt * ROUND_TRIPS_BESIDE + PATIENCE).max(LEAST_BESIDE);
        let patience = self.patience(stats, now);
        let patience =
            patience.map(|usual| if stats.with_transport > 0 { beside.min(usual) } else { usual });
        patience.is_some_and(|patience| self.length(now) >= patience)
    }

    /// True where nothing has come for half of the usual time, where a frame is under way: something else may be begun by then.
    pub(super) fn is_long(&mut self, stats: &PathStats, now: Instant) -> bool {
        let part = if stats.with_transport > 0 { 2 } else { 1 };
        self.patience(stats, now).is_some_and(|patience| self.length(now) >= patience / part)
    }

    /// How long nothing may come; `None` where something has come since the last look.
    fn patience(&mut self, stats: &PathStats, now: Instant) -> Option<Duration> {
        if stats.datagrams_received != self.heard {
            self.heard = stats.datagrams_received;
            (self.since, self.doubted) = (now, false);
            return None;
        }
        let (round_trips, least) = match self.doubted {
            true => (1, LEAST_IN_DOUBT),
            false => (ROUND_TRIPS, LEAST),
        };
        let patience = (stats.rtt * round_trips + PATIENCE).max(least);
        let idle = if stats.with_transport > 0 { Duration::ZERO } else { IDLE };
        Some(patience + idle)
    }

    /// True where it is to be found out whether the receiver is there, though no frame is under way: it should have told
    /// its clock by now, but that needs room at its end as well.
    pub(super) fn asks(&self, now: Instant) -> bool {
        self.length(now) >= IDLE - PATIENCE
    }

    pub(super) fn length(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rtt_ms: u64, came: u64, underway: u64) -> PathStats {
        PathStats {
            rtt: Duration::from_millis(rtt_ms),
            datagrams_received: Some(came),
            with_transport: underway,
            ..PathStats::default()
        }
    }

    /// The first millisecond at which it is too long, after what came at 1 ms.
    fn too_long_at(rtt_ms: u64, underway: u64, doubted: bool) -> u64 {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = Silence::new(&seen(rtt_ms, 0, underway), start);
        assert!(!silence.is_too_long(&seen(rtt_ms, 1, underway), at(1)));
        if doubted {
            silence.doubt();
        }
        let stats = seen(rtt_ms, 1, underway);
        let first = (1..10_000).find(|&ms| silence.is_too_long(&stats, at(ms))).unwrap();
        assert!(!silence.is_too_long(&seen(rtt_ms, 2, underway), at(first + 1)), "it was heard");
        assert!(!silence.is_too_long(&seen(rtt_ms, 2, underway), at(first + 100)));
        first - 1
    }

    #[test]
    fn nothing_for_some_round_trips_is_too_long() {
        assert_eq!(too_long_at(50, 1, false), 250);
        assert_eq!(too_long_at(100, 1, false), 400);
        assert_eq!(too_long_at(1, 1, false), 250, "a machine may pause");
        assert_eq!(too_long_at(50, 0, false), 1_450, "no frame is under way");
        assert_eq!(too_long_at(50, 1, true), 150);
        assert_eq!(too_long_at(1, 1, true), 120);
    }

    #[test]
    fn what_comes_through_by_another_link_shows_sooner_that_this_one_does_not() {
        let start = Instant::now();
        let too_long_at = |stats: PathStats| {
            let mut silence = Silence::new(&stats, start);
            let at = |ms| start + Duration::from_millis(ms);
            (1..10_000).find(|&ms| silence.is_too_long_beside(&stats, at(ms))).unwrap()
        };
        assert_eq!(too_long_at(seen(50, 1, 1)), 200);
        assert_eq!(too_long_at(seen(1, 1, 1)), 200);
        assert_eq!(too_long_at(seen(100, 1, 1)), 300);
        assert_eq!(too_long_at(seen(100, 1, 0)), 1_600, "no frame is under way");
    }

    #[test]
    fn another_connection_is_begun_by_half_of_that_time() {
        let start = Instant::now();
        let long_at = |stats: PathStats| {
            let mut silence = Silence::new(&stats, start);
            (1..10_000)
                .find(|&ms| silence.is_long(&stats, start + Duration::from_millis(ms)))
                .unwrap()
        };
        assert_eq!(long_at(seen(50, 1, 1)), 125);
        assert_eq!(long_at(seen(50, 1, 0)), 1_450, "no frame is under way");
    }
}
