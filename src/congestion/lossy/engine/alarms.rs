//! Queues that were none: paths whose delay comes and goes by itself.

use std::time::{Duration, Instant};

use super::Engine;
use crate::congestion::trace::TracePhase;

/// Two false alarms within this time, and all of the delay that they were about is taken for the path's own.
const NEAR: Duration = Duration::from_secs(3);
/// After a single one, no more than this: it may have been another flow that went.
const AFTER_ONE: Duration = Duration::from_millis(15);
/// A path is taken for restless for this long after the last false alarm.
const LASTING: Duration = Duration::from_secs(30);

/// When a delay was taken for a queue that went although nobody made it go.
#[derive(Debug, Clone, Default)]
pub(super) struct Alarms {
    raised: bool,
    last: Option<Instant>,
    /// Two came near to each other.
    sure: bool,
}

impl Alarms {
    /// The queue is another flow's after all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How much of the delay that stayed while this flow gave way is the path's own.
    fn believed(&mut self, now: Instant) -> Duration {
        let recent = |at: Instant, within| now.saturating_duration_since(at) < within;
        if std::mem::take(&mut self.raised) {
            self.sure |= self.last.is_some_and(|at| recent(at, NEAR));
            self.last = Some(now);
        }
        match self.last {
            Some(at) if recent(at, LASTING) && self.sure => Duration::MAX,
            Some(at) if recent(at, NEAR) => AFTER_ONE,
            _ => {
                self.clear();
                Duration::ZERO
            }
        }
    }
}

impl Engine {
    /// This flow gave way for nothing: the delay stayed, and then went by itself.
    pub(super) fn on_false_alarm(&mut self) {
        self.alarms.raised = true;
        self.raise(self.before_drain);
    }

    /// A round trip is over.
    pub(super) fn watch_alarms(&mut self, now: Instant) {
        let gave_way = self.phase == TracePhase::Drain && self.phase_rounds >= 2;
        if gave_way && let Some(above) = self.delay.round_above() {
            self.delay.wander_mut().on_gave_way(above);
        }
        let believed = self.alarms.believed(now);
        self.delay.wander_mut().believe(believed);
    }
}
