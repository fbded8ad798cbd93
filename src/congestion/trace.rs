//! What a controller reports about itself, for plots and for the live view.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What the controller is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TracePhase {
    /// Finding the rate of the path, about doubling every round trip.
    Startup,
    /// Emptying a queue.
    Drain,
    /// Holding the rate.
    Cruise,
    /// Trying a higher rate for a round trip.
    Up,
    /// Giving back what the trial may have queued; the round in which the base delay is measured.
    Down,
}

/// The controller's state at the end of a round trip or at a change of phase.
///
/// Rates are in bytes a second, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEvent {
    /// When.
    pub at: Instant,
    /// What it is doing.
    pub phase: TracePhase,
    /// Whether another flow keeps the queue full, so that delay is not heeded.
    pub competing: bool,
    /// Bytes that may be in flight.
    pub window: u64,
    /// Bytes in flight, as far as the controller can tell.
    pub in_flight: u64,
    /// Estimated rate of the path.
    pub bandwidth: f64,
    /// Delivery rate of the last round trip.
    pub delivery_rate: f64,
    /// Smallest round-trip time within the base window.
    pub base_rtt: Duration,
    /// How far the path's delay wanders above that by itself, as far as known.
    pub wander: Duration,
    /// Smallest round-trip time within the last round trip.
    pub round_rtt: Duration,
    /// quinn's smoothed round-trip time.
    pub smoothed_rtt: Duration,
    /// Share of bytes lost when the controller was not pressing; taken for random.
    pub base_loss: f64,
    /// Bytes acknowledged so far.
    pub delivered: u64,
    /// Bytes lost so far.
    pub lost: u64,
    /// Whether the application was the limit in the last round trip.
    pub app_limited: bool,
}

impl TraceEvent {
    /// A line in the log at level trace, for `RUST_LOG=framelane::congestion=trace`: at most a few a round
    /// trip, with times in milliseconds (`at` since the first event of this process) and rates in Mbit/s.
    pub(super) fn log(&self, flow: u64) {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        if !tracing::enabled!(tracing::Level::TRACE) {
            return;
        }
        let at = self.at.saturating_duration_since(*FIRST.get_or_init(|| self.at));
        let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
        let mbit = |rate: f64| (rate * 8e-4).round() / 1e2;
        tracing::trace!(
            flow,
            at = ms(at),
            phase = ?self.phase,
            competing = self.competing,
            window = self.window,
            in_flight = self.in_flight,
            bandwidth = mbit(self.bandwidth),
            delivery_rate = mbit(self.delivery_rate),
            base_rtt = ms(self.base_rtt),
            wander = ms(self.wander),
            round_rtt = ms(self.round_rtt),
            smoothed_rtt = ms(self.smoothed_rtt),
            base_loss = self.base_loss,
            delivered = self.delivered,
            lost = self.lost,
            app_limited = self.app_limited,
            "congestion"
        );
    }
}

/// Takes events as they happen; called on the connection's own task, so it must not block.
pub trait TraceSink: Send + Sync {
    /// One event.
    fn record(&self, event: &TraceEvent);
}

/// The newest events, at most a fixed number of them.
#[derive(Debug)]
pub struct TraceRing {
    limit: usize,
    events: Mutex<VecDeque<TraceEvent>>,
}

impl TraceRing {
    /// A ring that keeps `limit` events, and drops the oldest beyond.
    pub fn new(limit: usize) -> Self {
        Self { limit, events: Mutex::new(VecDeque::new()) }
    }

    /// The events held, oldest first; the ring keeps them.
    pub fn snapshot(&self) -> Vec<TraceEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().cloned().collect()
    }

    /// The newest event.
    pub fn latest(&self) -> Option<TraceEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.back().cloned()
    }
}

impl TraceSink for TraceRing {
    fn record(&self, event: &TraceEvent) {
        if self.limit == 0 {
            return;
        }
        // A reader that panicked has left the queue whole: it only copies.
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while events.len() >= self.limit {
            events.pop_front();
        }
        events.push_back(event.clone());
    }
}
