//! A question now and then while the receiver owes something and is silent.
//!
//! A hello, an offer or an answer is one packet, with nothing behind it by whose acknowledgement its loss would
//! show. Each probe timeout is twice the one before, so a run of losses, as at the edge of a radio's range, can
//! cost ten seconds and more. Something new to send, in both directions, shows the loss a round trip later.

use std::time::{Duration, Instant};

use super::glance::patience;
use crate::transport::PathStats;

/// Between two questions. A hundred bytes each, while nothing else is sent.
const INTERVAL: Duration = Duration::from_millis(100);

/// When the receiver was last heard, and asked.
#[derive(Debug)]
pub(super) struct Inquiry {
    heard: Instant,
    asks_at: Option<Instant>,
}

impl Inquiry {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, asks_at: None }
    }

    /// A message came at `now`.
    pub(super) fn heard(&mut self, now: Instant) {
        (self.heard, self.asks_at) = (now, None);
    }

    /// Whether to ask at `now`, something being `awaited` or not. Never on a transport that cannot tell whether
    /// datagrams come: one over TCP, where the kernel sends again.
    pub(super) fn asks(&mut self, now: Instant, awaited: bool, path: &PathStats) -> bool {
        if !awaited || path.datagrams_received.is_none() {
            (self.heard, self.asks_at) = (now, None);
            return false;
        }
        let when = *self.asks_at.get_or_insert(self.heard + patience(path.rtt));
        let asks = when <= now;
        if asks {
            self.asks_at = Some(now + INTERVAL);
        }
        asks
    }

    /// When to see again whether to ask.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.asks_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_silent_receiver_is_asked_while_something_is_awaited() {
        let start = Instant::now();
        let path = PathStats { rtt: ms(50), datagrams_received: Some(0), ..PathStats::default() };
        let mut inquiry = Inquiry::new(start);
        let asked: Vec<u64> =
            (0..500).filter(|&at| inquiry.asks(start + ms(at), true, &path)).collect();
        assert_eq!(asked, [160, 260, 360, 460]);
        assert_eq!(inquiry.wakes_at(), Some(start + ms(560)));
        inquiry.heard(start + ms(500));
        let mut asks = |at, awaited| inquiry.asks(start + ms(at), awaited, &path);
        assert!(!asks(659, true) && asks(660, true));
        assert!(!asks(900, false), "nothing is awaited");
        assert!(!asks(901, true), "the silence counts from when something is");
        assert!(asks(1_060, true));
    }

    #[test]
    fn not_over_tcp() {
        let mut inquiry = Inquiry::new(Instant::now());
        assert!(!inquiry.asks(Instant::now() + ms(60_000), true, &PathStats::default()));
        assert_eq!(inquiry.wakes_at(), None);
    }
}
