//! Whose queue is it: giving way to find out, and holding one's own against another flow.

use super::window::MAX_WINDOW;
use super::{Engine, Round};
use crate::congestion::trace::TracePhase;

/// Against another flow: kept after a loss event, and added each round (at least, in packets).
const COMPETE_CUT: f64 = 0.8;
const COMPETE_STEP: f64 = 0.005;
const COMPETE_STEP_PACKETS: f64 = 2.0;
/// A queue that is there for so many rounds is another flow's.
const PROVEN_ROUNDS: u32 = 16;

impl Engine {
    /// The queue is long though the window was no larger than what the path holds: the path has
    /// become slower, or somebody else is in the queue.
    pub(super) fn on_long_queue(&mut self, rate: f64) {
        self.before_drain = self.bandwidth.get().unwrap_or(rate);
        self.bandwidth.reset(self.tick, rate.max(1.0));
        self.enter(TracePhase::Drain);
    }

    /// The end of a drain, unless the queue went before.
    pub(super) fn advance_drain(&mut self) {
        if self.phase_rounds < self.drain_rounds {
            return;
        }
        if !self.queue_is_clear() && self.delay.queue() * 10 > self.drain_queue * 6 {
            // It is not ours: give way no further.
            self.competing = 32 + self.random(32);
            self.competing_rounds = 0;
            self.raise(self.before_drain);
            let rtt = self.delay.round().unwrap_or_default().as_secs_f64();
            let fair = self.lasting.get().unwrap_or(0.0) / 2.0;
            let held = (self.before_drain.max(fair) * rtt).max(self.compete_window);
            self.compete_window = held.min(MAX_WINDOW as f64);
        } else {
            self.compete_window = 0.0;
        }
        self.enter(TracePhase::Cruise);
    }

    /// While another flow holds the queue full, loss beyond the path's own is the only signal left;
    /// now and then the queue is tried again.
    pub(super) fn watch_competition(&mut self, round: &Round) {
        if self.competing == 0 {
            return;
        }
        self.competing -= 1;
        let mtu = self.mtu as f64;
        let packets = round.resolved() as f64 / mtu;
        let expected = self.loss.base(self.mtu) * packets;
        if round.lost as f64 / mtu > expected + 2.0 * expected.sqrt() + 1.5 {
            self.compete_window *= COMPETE_CUT;
        } else {
            let step = (self.compete_window * COMPETE_STEP).max(COMPETE_STEP_PACKETS * mtu);
            self.compete_window = (self.compete_window + step).min(MAX_WINDOW as f64);
        }
        self.competing_rounds += 1;
        if self.competing_rounds >= PROVEN_ROUNDS {
            self.alarms.clear();
        }
        if self.queue_is_clear() {
            if self.competing_rounds < PROVEN_ROUNDS {
                self.on_false_alarm();
            }
            self.competing = 0;
            self.compete_window = 0.0;
            return;
        }
        if self.competing == 0 && self.phase != TracePhase::Startup {
            self.before_drain = self.bandwidth.get().unwrap_or(0.0);
            self.enter(TracePhase::Drain);
        }
    }
}
