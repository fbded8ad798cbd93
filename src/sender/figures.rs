//! The figures of a run, over all of its sessions.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::clock::ClockOffset;
use super::histogram::{Histogram, Quantiles};
use super::paths::Paths;
use super::waiting::Waiting;
use crate::frame::UnixNanos;
use crate::transport::PathStats;

/// Frames of a source that wait for the first word of the receiver's clock; it comes a round trip after the
/// welcome, and the first receipts hardly sooner.
const MOST_UNTIMED: usize = 4_096;

/// What is counted while a run goes on.
pub(super) struct Figures {
    sources: Vec<SourceFigures>,
    clock: ClockOffset,
    path: PathStats,
    /// Of sessions that have ended.
    before: PathStats,
    pub(super) waiting: Waiting,
    pub(super) paths: Paths,
}

#[derive(Default)]
struct SourceFigures {
    latency: Histogram,
    lateness: Histogram,
    untimed: Vec<Untimed>,
}

/// A confirmed frame.
struct Untimed {
    due: UnixNanos,
    /// By the receiver's clock.
    stored: UnixNanos,
    heard: UnixNanos,
}

/// What a run has seen of its link. A figure that the transport does not know is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkFigures {
    /// Round trip: the transport's smoothed one at the end, or else the shortest of a question about the
    /// receiver's clock.
    pub rtt_ms: Option<f64>,
    /// Payload of the frames that were stored in this run, in Mbit a second of the whole run.
    pub rate_mbit: f64,
    /// Bytes sent, of everything: frames, repair, what was sent again, messages.
    pub bytes_sent: u64,
    /// Packets that were lost, as a part of all.
    pub loss: Option<f64>,
    /// Forward repair, as a part of the bytes sent.
    pub repair: Option<f64>,
    /// How far the two clocks may be off in [`SourceReport::latency`], as far as the round trip tells;
    /// absent where the receiver's clock is not known, and latency goes to the receipt's arrival.
    ///
    /// [`SourceReport::latency`]: super::SourceReport::latency
    pub clock_error_ms: Option<f64>,
}

impl Figures {
    pub(super) fn new(sources: usize, now: Instant) -> Self {
        Self {
            sources: (0..sources).map(|_| SourceFigures::default()).collect(),
            clock: ClockOffset::default(),
            path: PathStats::default(),
            before: PathStats::default(),
            waiting: Waiting::new(now),
            paths: Paths::new(now),
        }
    }

    /// A live frame was handed to the transport so long after it was due.
    pub(super) fn handed(&mut self, source: usize, late: Duration) {
        if let Some(source) = self.sources.get_mut(source) {
            source.lateness.add(late);
        }
    }

    /// A live frame that was due at `due` was stored at `stored` by the receiver's clock, and it was `heard`
    /// of now.
    pub(super) fn stored(
        &mut self,
        source: usize,
        due: UnixNanos,
        stored: UnixNanos,
        heard: UnixNanos,
    ) {
        let Some(source) = self.sources.get_mut(source) else { return };
        let frame = Untimed { due, stored, heard };
        if self.clock.round_trip().is_none() && source.untimed.len() < MOST_UNTIMED {
            source.untimed.push(frame);
        } else {
            source.time(&frame, &self.clock);
        }
    }

    /// A reply to a clock probe.
    pub(super) fn clock(
        &mut self,
        asked: UnixNanos,
        arrived: UnixNanos,
        replied: UnixNanos,
        heard: UnixNanos,
    ) {
        self.clock.heard(asked, arrived, replied, heard);
        if self.clock.round_trip().is_some() {
            self.time_all();
        }
    }

    /// How far the receiver's clock is ahead of ours, in nanoseconds, where that is known.
    pub(super) fn clock_ahead(&self) -> Option<i64> {
        self.clock.ahead().and_then(|ahead| i64::try_from(ahead).ok())
    }

    fn time_all(&mut self) {
        for source in &mut self.sources {
            for frame in std::mem::take(&mut source.untimed) {
                source.time(&frame, &self.clock);
            }
        }
    }

    /// What the transport knows of the present session's path.
    pub(super) fn see(&mut self, path: &PathStats) {
        self.path = *path;
    }

    /// A session has ended: what another counts comes on top.
    pub(super) fn session_ended(&mut self) {
        let last = std::mem::take(&mut self.path);
        self.before.packets_sent += last.packets_sent;
        self.before.packets_lost += last.packets_lost;
        self.before.bytes_sent += last.bytes_sent;
        self.before.repair_bytes += last.repair_bytes;
        let datagrams = last.datagrams_received.or(self.before.datagrams_received);
        self.before.datagrams_received = datagrams;
        if !last.rtt.is_zero() {
            self.before.rtt = last.rtt;
        }
    }

    /// The run has ended: nothing more will be known of what is not timed yet.
    pub(super) fn finish(&mut self) {
        self.time_all();
        self.session_ended();
    }

    /// Latency and lateness of a source's live frames.
    pub(super) fn of(&self, source: usize) -> (Option<Quantiles>, Option<Quantiles>) {
        let figures = self.sources.get(source);
        let quantiles = |of: fn(&SourceFigures) -> &Histogram| of(figures?).quantiles();
        (quantiles(|source| &source.latency), quantiles(|source| &source.lateness))
    }

    /// What was seen of the link by a run that has stored so many bytes in that time.
    pub(super) fn link(&self, bytes: u64, elapsed: Duration) -> LinkFigures {
        let path = &self.before;
        let part = |of: u64, all: u64| (all > 0).then(|| of as f64 / all as f64);
        let probed = self.clock.round_trip().map(|nanos| nanos as f64 / 1e6);
        let smoothed = (!path.rtt.is_zero()).then_some(path.rtt.as_secs_f64() * 1e3);
        let loss = part(path.packets_lost, path.packets_sent);
        LinkFigures {
            rtt_ms: smoothed.or(probed),
            rate_mbit: bytes as f64 * 8e-6 / elapsed.as_secs_f64().max(1e-3),
            bytes_sent: path.bytes_sent,
            loss,
            // Only a transport of datagrams can carry repair.
            repair: path.datagrams_received.and_then(|_| part(path.repair_bytes, path.bytes_sent)),
            clock_error_ms: probed.map(|round_trip| round_trip / 2.0),
        }
    }
}

impl SourceFigures {
    fn time(&mut self, frame: &Untimed, clock: &ClockOffset) {
        let stored = clock.here(frame.stored).unwrap_or_else(|| i128::from(frame.heard.0));
        // No frame is stored before it is due, nor after it was heard of: that is the clocks' error.
        let latest = frame.heard.nanos_since(frame.due).max(0);
        let nanos = (stored - i128::from(frame.due.0)).clamp(0, latest);
        self.latency.add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn latency_is_by_our_clock_whenever_the_receivers_becomes_known() {
        let mut figures = Figures::new(1, Instant::now());
        let ahead = 3_600_000 * MS;
        let at = |ms: u64| UnixNanos(ms * MS);
        figures.stored(0, at(100), UnixNanos(140 * MS + ahead), at(165));
        assert_eq!(figures.of(0).0, None, "nobody knows the receiver's clock");
        let there = UnixNanos(225 * MS + ahead);
        figures.clock(at(200), there, there, at(250));
        figures.stored(0, at(300), UnixNanos(320 * MS + ahead), at(345));
        let latency = figures.of(0).0.unwrap();
        assert_eq!((latency.count, latency.max_ms), (2, 40.0));
        assert_eq!(figures.link(0, Duration::ZERO).clock_error_ms, Some(25.0));
    }

    #[test]
    fn without_a_clock_latency_goes_to_the_receipt() {
        let mut figures = Figures::new(1, Instant::now());
        figures.stored(0, UnixNanos(100 * MS), UnixNanos(7), UnixNanos(190 * MS));
        figures.finish();
        assert_eq!(figures.of(0).0.unwrap().max_ms, 90.0);
        assert_eq!(figures.link(0, Duration::ZERO).clock_error_ms, None);
    }

    #[test]
    fn sessions_add_up() {
        let mut figures = Figures::new(0, Instant::now());
        let path = PathStats {
            rtt: Duration::from_millis(40),
            packets_sent: 50,
            packets_lost: 1,
            bytes_sent: 1_000,
            repair_bytes: 100,
            datagrams_received: Some(40),
            ..PathStats::default()
        };
        figures.see(&path);
        figures.session_ended();
        figures.see(&path);
        figures.finish();
        let link = figures.link(250_000, Duration::from_secs(2));
        assert_eq!((link.rtt_ms, link.rate_mbit, link.bytes_sent), (Some(40.0), 1.0, 2_000));
        assert_eq!((link.loss, link.repair), (Some(0.02), Some(0.1)));
    }
}
