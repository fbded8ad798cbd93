//! A controller for links that lose packets at random.
//!
//! It keeps an estimate of the path's rate (the highest delivery rate of the last round trips, and
//! the rate inside bursts while the application is the limit) and of its delay (the smallest
//! round-trip time of the last seconds). The window is their product and a little more. Once in a
//! few round trips it tries a higher rate, and then a lower one, which empties the queue and shows
//! the delay anew. A queue that stays is congestion; a lost packet is not.
//!
//! Ideas are from BBRv1 (Cardwell et al., 2016), Copa (Arun and Balakrishnan, NSDI 2018) and
//! draft-huitema-ccwg-c4.

mod bunch;
mod delay;
mod engine;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod loss;
mod sent;
mod train;
mod wander;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::Clock;
use super::trace::TraceSink;
use engine::Engine;
pub(crate) use engine::start_window;

/// How a [`Lossy`] begins and whom it reports to.
#[derive(Clone)]
pub struct LossyConfig {
    /// Packets that may be in flight before anything is known of the path.
    ///
    /// 200 packets are what quinn's `Bbr` begins with; from 64 the first frames of a connection
    /// come late by a round trip or more.
    pub initial_packets: u64,
    /// The present time, to notice that nothing is coming back.
    pub clock: Clock,
    /// Seeds the times of trials, which differ between flows so that two of them do not try at once.
    pub seed: u64,
    /// Who is told of changes of state.
    pub trace: Option<Arc<dyn TraceSink>>,
}

impl Default for LossyConfig {
    fn default() -> Self {
        Self {
            initial_packets: 200,
            clock: Arc::new(Instant::now),
            seed: rand::random(),
            trace: None,
        }
    }
}

impl fmt::Debug for LossyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossyConfig")
            .field("initial_packets", &self.initial_packets)
            .field("seed", &self.seed)
            .field("traced", &self.trace.is_some())
            .finish_non_exhaustive()
    }
}

impl ControllerFactory for LossyConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        static FLOWS: AtomicU64 = AtomicU64::new(0);
        let engine = Engine::new(now, current_mtu, self.initial_packets, self.seed);
        let flow = FLOWS.fetch_add(1, Ordering::Relaxed);
        Box::new(Lossy { engine, config: self, flow })
    }
}

/// The controller of one connection.
#[derive(Debug, Clone)]
pub struct Lossy {
    engine: Engine,
    config: Arc<LossyConfig>,
    /// Tells the connections of this process apart in the log.
    flow: u64,
}

impl Lossy {
    /// The rate that the path was measured to deliver, in bytes a second; `None` while it is only known to be
    /// no less than something, which it is until the start has found the path's limit.
    pub fn bandwidth(&self) -> Option<f64> {
        self.engine.bandwidth().filter(|_| !self.engine.is_starting())
    }

    /// The share of the last half second or so in which the path was the limit and not the application: 0 to 1.
    pub fn busy(&self) -> f64 {
        self.engine.busy()
    }

    /// Whether packets are lost because bursts are longer than the path takes at once: a policer, or a queue that is too short.
    pub fn loses_by_itself(&self) -> bool {
        self.engine.loses_by_itself()
    }

    fn report(&mut self, now: Instant) {
        let Some(event) = self.engine.take_event(now) else { return };
        event.log(self.flow);
        if let Some(sink) = &self.config.trace {
            sink.record(&event);
        }
    }
}

impl Controller for Lossy {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.engine.on_sent(now, bytes);
    }

    fn on_ack(
        &mut self,
        _now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.engine.on_ack(sent, bytes, app_limited, rtt.get());
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        _app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        self.engine.on_end_acks(now, in_flight);
        self.report(now);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        _is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        // quinn tells of ECN marks as of a loss of nothing.
        if lost_bytes == 0 {
            self.engine.on_mark(now, sent);
        } else {
            self.engine.on_loss(sent, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.engine.on_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.engine.window((self.config.clock)())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.bandwidth().map(|bytes| (bytes * 8.0) as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.engine.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
