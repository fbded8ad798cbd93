//! Paths that have begun to swallow long packets: another route, a tunnel, an interface that was set anew.

use std::time::{Duration, Instant};

use super::{Engine, OUTAGE_ROUNDS};

/// QUIC's own probes after a silence are no longer than this, and every path that it can use takes as much
/// (RFC 9000, section 14).
const SHORTEST: u64 = 1_200;

/// Whether short packets come through and longer ones do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Narrow {
    /// Since when the first long packet waits of those that left since one was acknowledged.
    waits: Option<Instant>,
    likely: bool,
}

impl Narrow {
    /// Whether the path seems to swallow long packets.
    pub(super) fn is_likely(&self) -> bool {
        self.likely
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if bytes > SHORTEST {
            self.waits.get_or_insert(now);
        }
    }

    pub(super) fn on_ack(&mut self, bytes: u64) {
        if bytes > SHORTEST {
            *self = Self::default();
        }
    }

    /// Something was acknowledged at `now`; a long packet would have been within `patience`.
    fn on_end_acks(&mut self, now: Instant, patience: Duration) {
        self.likely = self.waits.is_some_and(|at| now.saturating_duration_since(at) > patience);
    }
}

impl Engine {
    /// What gets lost because it is too long for the path says nothing of its rate, nor of its queue.
    pub(super) fn watch_narrow(&mut self, now: Instant) {
        if self.mtu > SHORTEST {
            self.narrow.on_end_acks(now, self.short_patience());
        }
        if self.narrow.is_likely() {
            self.outage_rounds = OUTAGE_ROUNDS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_packets_that_wait_while_short_ones_come_through() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let patience = Duration::from_millis(60);
        let mut narrow = Narrow::default();
        narrow.on_sent(ms(0), 900);
        narrow.on_ack(900);
        narrow.on_end_acks(ms(500), patience);
        assert!(!narrow.is_likely(), "nothing long has left");
        narrow.on_sent(ms(500), 2_904);
        narrow.on_sent(ms(550), 1_200);
        narrow.on_end_acks(ms(560), patience);
        assert!(!narrow.is_likely(), "it may still come");
        narrow.on_end_acks(ms(600), patience);
        assert!(narrow.is_likely());
        narrow.on_ack(1_452);
        narrow.on_end_acks(ms(900), patience);
        assert!(!narrow.is_likely());
    }
}
