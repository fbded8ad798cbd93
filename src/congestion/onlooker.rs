//! Tells somebody else what becomes of a connection's packets, whichever controller is in use.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::SharedFactory;

/// Is told of a connection's packets, while the connection is locked: it takes no time, and does not look back.
///
/// All bytes are those of UDP payload.
pub trait Onlooker: Send + Sync {
    /// Bytes have left, those of acknowledgements alone included.
    fn sent(&self, bytes: u64);

    /// A packet of so many bytes, that had to be acknowledged, was: so long after it had left. What is sent again counts
    /// once.
    fn acked(&self, bytes: u64, after: Duration);

    /// Bytes were found to be lost.
    fn lost(&self, bytes: u64);

    /// An acknowledgement was taken in. `dry`: before it came nothing waited to be sent. `in_flight`: bytes of packets that
    /// were sent, have to be acknowledged, and neither are nor are lost. `rate` tells how much the path delivers, in bytes a
    /// second, where the controller knows.
    fn heard(&self, dry: bool, in_flight: u64, rate: &dyn Fn() -> Option<u64>);
}

/// A factory of the same controllers, each of which tells `onlooker`.
pub fn watched(inner: SharedFactory, onlooker: Arc<dyn Onlooker>) -> SharedFactory {
    Arc::new(Watching { inner, onlooker })
}

struct Watching {
    inner: SharedFactory,
    onlooker: Arc<dyn Onlooker>,
}

impl ControllerFactory for Watching {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = self.inner.clone().build(now, current_mtu);
        Box::new(Watched { inner, onlooker: self.onlooker.clone() })
    }
}

struct Watched {
    inner: Box<dyn Controller>,
    onlooker: Arc<dyn Onlooker>,
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.onlooker.sent(bytes);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.onlooker.acked(bytes, now.saturating_duration_since(sent));
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        let rate = || self.inner.metrics().pacing_rate.map(|bits| bits / 8);
        self.onlooker.heard(app_limited, in_flight, &rate);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.onlooker.lost(lost_bytes);
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        // Where the path has changed, the copy goes on in the place of this one.
        Box::new(Self { inner: self.inner.clone_box(), onlooker: self.onlooker.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    /// The controller within: who looks into one knows nothing of this.
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}
