//! How unevenly acknowledgements come: busy machines, radio links that gather packets.

use std::time::{Duration, Instant};

use super::filter::WindowedMax;

/// Rounds for which the largest bunch counts.
const MEMORY_ROUNDS: u64 = 10;

/// Measures by how much acknowledged bytes run ahead of the path's rate.
///
/// While nothing comes back, nothing leaves: a window for the path alone lets the link idle after
/// every pause that ends in a bunch. As much as the bunches hold must be in flight beside it.
/// After draft-ietf-ccwg-bbr, section 5.5.9 ("extra acked").
#[derive(Debug, Clone)]
pub(super) struct BunchMeter {
    start: Instant,
    acked: u64,
    largest: WindowedMax,
    rounds: u64,
}

impl BunchMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, acked: 0, largest: WindowedMax::new(MEMORY_ROUNDS), rounds: 0 }
    }

    /// `bytes` were acknowledged at `now`, over a path of `rate` bytes a second that was full.
    pub(super) fn on_ack(&mut self, now: Instant, bytes: u64, rate: f64) {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        let mut expected = rate * elapsed;
        if self.acked as f64 <= expected {
            self.restart(now);
            expected = 0.0;
        }
        self.acked = self.acked.saturating_add(bytes);
        self.largest.push(self.rounds, (self.acked as f64 - expected).max(0.0));
    }

    /// What was acknowledged by now says nothing of the path.
    pub(super) fn restart(&mut self, now: Instant) {
        self.start = now;
        self.acked = 0;
    }

    /// A round trip is over.
    pub(super) fn end_round(&mut self) {
        self.rounds += 1;
    }

    /// The time in which a path of `rate` bytes a second carries what the largest bunch has more than
    /// `usual` bytes, `most` at most.
    pub(super) fn span(&self, rate: f64, usual: f64, most: Duration) -> Duration {
        let seconds = (self.largest.get().unwrap_or(0.0) - usual) / rate.max(1.0);
        Duration::from_secs_f64(seconds.clamp(0.0, most.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 1_000_000.0;
    const MOST: Duration = Duration::from_millis(50);

    /// The span after ten acknowledgements of a millisecond's bytes each, the last `late` of them
    /// together.
    fn span(late: u64, usual: f64) -> Duration {
        let start = Instant::now();
        let mut meter = BunchMeter::new(start);
        for at in 1..=10 {
            let come = if at > 10 - late { 10 } else { at };
            meter.on_ack(start + Duration::from_millis(come), 1_000, RATE);
        }
        meter.span(RATE, usual, MOST)
    }

    #[test]
    fn a_pause_leaves_a_bunch_as_long_as_itself() {
        assert_eq!(span(1, 0.0), Duration::from_millis(1));
        assert_eq!(span(6, 0.0), Duration::from_millis(6));
        assert_eq!(span(6, 2_000.0), Duration::from_millis(4));
        assert_eq!(span(1, 2_000.0), Duration::ZERO);
    }

    #[test]
    fn a_bunch_counts_for_ten_rounds() {
        let start = Instant::now();
        let mut meter = BunchMeter::new(start);
        meter.on_ack(start, 9_000, RATE);
        for round in 1..=10_u32 {
            assert_eq!(meter.span(RATE, 0.0, MOST), Duration::from_millis(9), "round {round}");
            meter.end_round();
            meter.restart(start + round * MOST);
            meter.on_ack(start + round * MOST, 1_000, RATE);
        }
        assert_eq!(meter.span(RATE, 0.0, MOST), Duration::from_millis(1));
    }
}
