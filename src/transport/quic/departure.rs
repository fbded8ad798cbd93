//! When a frame's last packet has left, so that a probe can follow it.
//!
//! A lost packet shows by what is acknowledged behind it. Behind a frame's last packets nothing comes
//! before the next frame, and quinn's probe timeout is longer than a round trip. So the stream's end is
//! sent a moment later, in a small packet of its own: when that is acknowledged, what was lost of the
//! frame's tail is sent again, little more than a round trip after it left (RFC 9002, section 6.1.2).

use std::time::{Duration, Instant};

use quinn::PathStats;

/// Below this round trip the timers' own grain is as long as what is gained.
const LEAST_RTT: Duration = Duration::from_millis(10);
/// quinn's pacer is quicker than a window in a round trip, but waits for its bursts, and retransmissions go
/// before. A probe that comes too early leaves with the tail and proves nothing; a late one costs its
/// lateness.
const SLOWER: f64 = 1.25;
/// tokio's timers and the pacer's bursts.
const CLOCK_GRAIN: Duration = Duration::from_millis(2);
/// No frame is waited for longer than this: the next one's packets are probe enough.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// The packets handed to the transport, as a queue that the window empties once a round trip.
#[derive(Debug)]
pub struct Departure {
    last: Instant,
}

impl Departure {
    /// Nothing waits.
    pub fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// Adds `bytes` that are handed over `now`; returns when a probe should follow them, if it pays.
    pub fn add(&mut self, now: Instant, path: &PathStats, bytes: u64) -> Option<Instant> {
        self.add_at(now, path.rtt, path.cwnd, bytes)
    }

    fn add_at(&mut self, now: Instant, rtt: Duration, window: u64, bytes: u64) -> Option<Instant> {
        let takes = rtt.as_secs_f64() * bytes as f64 / window.max(1) as f64;
        let takes = takes * SLOWER;
        let takes = Duration::from_secs_f64(takes.min(MOST_WAIT.as_secs_f64()));
        self.last = (self.last.max(now) + takes).min(now + 2 * MOST_WAIT);
        let pays = rtt >= LEAST_RTT && self.last <= now + MOST_WAIT;
        pays.then(|| self.last + rtt / 8 + CLOCK_GRAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    #[test]
    fn a_probe_follows_what_was_handed_over_before() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut departure = Departure::new(start);
        // A window of 100 kB in 40 ms: 2 kB a millisecond, a quarter less than it could be.
        let after = |at: u64| Some(ms(at) + RTT / 8 + CLOCK_GRAIN);
        assert_eq!(departure.add_at(ms(10), RTT, 100_000, 20_000), after(10 + 10));
        assert_eq!(departure.add_at(ms(10), RTT, 100_000, 60_000), after(10 + 40));
        assert_eq!(departure.add_at(ms(100), RTT, 100_000, 20_000), after(100 + 10));
    }

    #[test]
    fn none_where_it_does_not_pay() {
        let now = Instant::now();
        let add = |rtt, window, bytes| Departure::new(now).add_at(now, rtt, window, bytes);
        assert_eq!(add(Duration::from_millis(9), 80_000, 20_000), None);
        assert!(add(RTT, 1, 1).is_some());
        for bytes in [1 << 30, u64::MAX] {
            assert!(add(RTT, 0, bytes).is_none_or(|probe| probe <= now + MOST_WAIT + RTT));
        }
        let mut departure = Departure::new(now);
        for _ in 0..100 {
            departure.add_at(now, RTT, 80_000, 1 << 20);
        }
        assert_eq!(departure.add_at(now, RTT, 80_000, 20_000), None, "far too much waits");
    }
}
