//! The rate inside a burst: how far apart a link spreads the packets of one train.
//!
//! A frame smaller than what the path holds ends before the first acknowledgement returns, so bytes
//! over time per round trip says how fast the application is, not the link. The acknowledgements of
//! one train arrive no faster than the link let its packets out.

use std::time::{Duration, Instant};

use super::sent::Flight;

/// Acknowledgements this close behind the first one of a train came with it in a clump.
const CLUMP: Duration = Duration::from_micros(500);
/// Fewer packets say nothing about a rate.
const MIN_PACKETS: u64 = 8;
/// In a path that never pauses, a train ends here and the next one begins.
const MAX_PACKETS: u64 = 256;
/// A train was held up by the link, not by its sender, when it left faster than it came by this.
const SATURATED: f64 = 1.1;

/// What a train says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TrainSample {
    /// Bytes a second.
    pub(super) rate: f64,
    /// Whether the link was the limit: the train left distinctly faster than it arrived.
    pub(super) saturated: bool,
    /// The time that the rate was measured over, in seconds.
    pub(super) span: f64,
}

/// Saturated trains that the mean of them remembers.
const MEAN_TRAINS: f64 = 10.0;
/// Fewer have no mean.
const LEAST_TRAINS: f64 = 3.0;

/// The rate of the last saturated trains together.
///
/// Where the delay wanders, it falls during one train and rises during the next, and the best of ten is far
/// from what the link carries. Their bytes over their times are not.
#[derive(Debug, Clone, Default)]
pub(super) struct TrainMean {
    bytes: f64,
    seconds: f64,
    trains: f64,
}

impl TrainMean {
    pub(super) fn add(&mut self, sample: TrainSample) {
        let keep = 1.0 - 1.0 / MEAN_TRAINS;
        self.bytes = self.bytes * keep + sample.rate * sample.span;
        self.seconds = self.seconds * keep + sample.span;
        self.trains += 1.0;
    }

    /// Bytes a second; `None` before there are enough.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.trains >= LEAST_TRAINS && self.seconds > 0.0).then(|| self.bytes / self.seconds)
    }
}

/// Measures one train at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct TrainMeter {
    train: Option<Train>,
}

#[derive(Debug, Clone)]
struct Train {
    id: u64,
    first_acked: Instant,
    first: Flight,
    bytes: u64,
    best: f64,
    ack_span: Duration,
    last: Flight,
}

impl TrainMeter {
    /// A batch of `bytes`, of which `flight` was sent last, was acknowledged at `now`. Returns what
    /// the train before says, when this begins another one.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        flight: Flight,
        bytes: u64,
        mtu: u64,
    ) -> Option<TrainSample> {
        let ended = self
            .train
            .as_ref()
            .is_none_or(|train| train.id != flight.train || train.bytes >= MAX_PACKETS * mtu);
        if ended {
            let sample = self.train.take().and_then(|train| train.sample(mtu));
            self.train = Some(Train::begin(now, flight));
            return sample;
        }
        if let Some(train) = &mut self.train {
            train.add(now, flight, bytes, mtu);
        }
        None
    }

    /// What the train under way says so far.
    pub(super) fn current(&self, mtu: u64) -> Option<TrainSample> {
        self.train.as_ref()?.sample(mtu)
    }
}

impl Train {
    fn begin(now: Instant, flight: Flight) -> Self {
        Self {
            id: flight.train,
            first_acked: now,
            first: flight,
            bytes: 0,
            best: 0.0,
            ack_span: Duration::ZERO,
            last: flight,
        }
    }

    fn add(&mut self, now: Instant, flight: Flight, bytes: u64, mtu: u64) {
        let span = now.saturating_duration_since(self.first_acked);
        if span <= CLUMP {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if flight.sent > self.last.sent {
            self.last = flight;
        }
        if self.bytes >= MIN_PACKETS * mtu {
            let rate = self.bytes as f64 / span.as_secs_f64();
            // The last packet's acknowledgement may be held back for the peer's acknowledgement
            // delay: the best prefix counts, but only one that is most of the train.
            if rate >= self.best || self.bytes <= 2 * MIN_PACKETS * mtu {
                self.best = rate;
                self.ack_span = span;
            }
        }
    }

    fn sample(&self, mtu: u64) -> Option<TrainSample> {
        if self.bytes < MIN_PACKETS * mtu || self.best <= 0.0 {
            return None;
        }
        let send_span = self.last.sent.saturating_duration_since(self.first.sent).as_secs_f64();
        let sent = self.last.sent_bytes.saturating_sub(self.first.sent_bytes) as f64;
        let send_rate = if send_span > 0.0 { sent / send_span } else { f64::INFINITY };
        Some(TrainSample {
            rate: self.best.min(send_rate.max(1.0)),
            saturated: send_rate > self.best * SATURATED,
            span: self.ack_span.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_trains_weighs_their_times() {
        let mut mean = TrainMean::default();
        // 50 kB each, squeezed to half of its time and stretched by as much again.
        for span in [0.01, 0.03].into_iter().cycle().take(40) {
            let sample = TrainSample { rate: 50_000.0 / span, saturated: true, span };
            assert!(mean.rate().is_none_or(|rate| (2.0e6..3.2e6).contains(&rate)));
            mean.add(sample);
        }
        let rate = mean.rate().expect("enough of them");
        assert!((rate / 2.5e6 - 1.0).abs() < 0.06, "{rate}");
    }
}
