//! What to do next, decided at the end of a round trip or when a queue shows.

use std::time::{Duration, Instant};

use super::window::{MIN_UP_GAIN, UP_GAIN};
use super::{Engine, Round};
use crate::congestion::trace::TracePhase;

/// As often in a row packets may wait though less was in flight than the path holds.
const MURKY_DOWNS: u32 = 3;
/// Loss above this share is congestion even where it is random: nothing useful gets through.
const HEAVY_LOSS: f64 = 0.35;
/// A queue of one's own is gone sooner than after so many rounds of giving way.
const SLOW_DRAIN: u32 = 3;
/// Random loss comes in bursts: it is looked at over this many rounds.
pub(super) const HEAVY_ROUNDS: usize = 3;
/// Fewer packets do not show heavy loss.
const HEAVY_PACKETS: u64 = 90;
/// Rounds between two answers to heavy loss, so that trials can undo the first.
const HEAVY_PAUSE: u32 = 10;
/// Where the delay wanders by more than this part of the base, eight packets that were late show no queue:
/// startup ends when the rate stalls.
const WANDERING_STARTUP: u32 = 3;
/// Less than this is no wandering, however short the path.
const WANDERING_LEAST: Duration = Duration::from_millis(2);
/// Time between trials on a long path; on a short one they are bound by round trips.
const CRUISE_TIME: Duration = Duration::from_millis(500);

impl Engine {
    /// The phase after a round in which the path was the limit.
    pub(super) fn advance(&mut self, rate: f64, round: &Round) {
        match self.phase {
            TracePhase::Startup => self.advance_startup(round),
            TracePhase::Drain => self.advance_drain(),
            TracePhase::Cruise => self.advance_cruise(rate),
            TracePhase::Up => self.advance_up(rate),
            TracePhase::Down => {
                self.adapt_headroom();
                self.gentle_downs = if self.is_gentle() { self.gentle_downs + 1 } else { 0 };
                self.deep = false;
                self.murky_downs = if self.queue_is_clear() { 0 } else { self.murky_downs + 1 };
                if self.competing == 0 && self.queue_is_long() {
                    self.on_long_queue(rate);
                } else if self.competing == 0 && self.murky_downs >= MURKY_DOWNS {
                    // Less than what the path holds was in flight, time and again, and still
                    // packets waited.
                    self.before_drain = self.bandwidth.get().unwrap_or(rate);
                    self.enter(TracePhase::Drain);
                } else {
                    self.enter(TracePhase::Cruise);
                }
            }
        }
    }

    /// What was begun to learn about a full path ends when the application leaves room.
    pub(super) fn settle(&mut self) {
        if !matches!(self.phase, TracePhase::Startup | TracePhase::Cruise) && self.phase_rounds >= 2
        {
            self.enter(TracePhase::Cruise);
        }
    }

    /// Backs off from heavy loss; says whether it did.
    pub(super) fn loss_is_heavy(&mut self, round: &Round) -> bool {
        self.heavy_pause = self.heavy_pause.saturating_sub(1);
        self.recent.rotate_left(1);
        self.recent[HEAVY_ROUNDS - 1] = (round.lost, round.resolved());
        let [lost, resolved] = self.recent.iter().fold([0u64; 2], |[lost, resolved], round| {
            [lost.saturating_add(round.0), resolved.saturating_add(round.1)]
        });
        let heavy =
            lost as f64 > HEAVY_LOSS * resolved as f64 && resolved > HEAVY_PACKETS * self.mtu;
        if !heavy || self.outage_rounds > 0 || self.heavy_pause > 0 || self.startup_is_blind() {
            return false;
        }
        self.heavy_pause = HEAVY_PAUSE;
        self.bandwidth.reset(self.tick, self.delivery_rate.max(1.0));
        self.before_drain = 0.0; // not to be taken up again, whatever this drain finds
        self.competing = 0;
        self.enter(TracePhase::Drain);
        true
    }

    /// Whether startup has yet to see the rate at which the path delivers.
    fn startup_is_blind(&self) -> bool {
        self.phase == TracePhase::Startup && self.stalled_rounds == 0
    }

    /// A queue too shallow even for the little that is kept in it is asked for less.
    fn adapt_headroom(&mut self) {
        if self.loss.even_exceeds(self.mtu) {
            self.keep_less();
            self.loss.forget_even();
        } else {
            self.headroom = (self.headroom + 0.02).min(1.0);
        }
    }

    /// A smaller part of the slack is kept in the queue.
    fn keep_less(&mut self) {
        self.headroom *= 0.7;
    }

    fn advance_startup(&mut self, round: &Round) {
        let best = self.bandwidth.get().unwrap_or(0.0);
        if best >= self.reference * 1.25 {
            self.reference = best;
            self.stalled_rounds = 0;
        } else {
            self.stalled_rounds += 1;
        }
        let packets = (round.resolved() / self.mtu) as f64;
        let heavy = packets >= 20.0 && round.lost_share() > 0.12 + 3.0 * (0.1 / packets).sqrt();
        if self.stalled_rounds >= 3 || (heavy && self.stalled_rounds >= 1) {
            self.enter(TracePhase::Drain);
        }
    }

    /// In startup the queue fills within a round trip: it is looked at with every acknowledgement.
    pub(super) fn watch_startup_queue(&mut self, now: Instant) {
        if self.phase != TracePhase::Startup || self.last_app_limited {
            return;
        }
        let Some(base) = self.delay.base() else { return };
        let limit = (base / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        if self.delay.round_samples() < 8 || self.delay.queue() < limit {
            return;
        }
        if self.delay.wander() > (base / WANDERING_STARTUP).max(WANDERING_LEAST) {
            return;
        }
        let elapsed = now.saturating_duration_since(self.round.start);
        if elapsed >= Duration::from_millis(4) {
            // The link has been busy for this round, so its acknowledgements tell its rate.
            let rate = self.compensated(self.round.acked as f64 / elapsed.as_secs_f64());
            self.raise(rate);
        }
        self.enter(TracePhase::Drain);
    }

    /// A queue of one's own is gone as soon as one packet meets none.
    pub(super) fn watch_drain(&mut self) {
        if self.phase == TracePhase::Drain
            && self.phase_rounds >= 1
            && self.delay.round_samples() > 0
            && self.queue_is_clear()
        {
            if self.phase_rounds >= SLOW_DRAIN {
                self.on_false_alarm();
            }
            self.enter(TracePhase::Cruise);
        }
    }

    fn advance_cruise(&mut self, rate: f64) {
        if self.competing == 0 && self.queue_is_long() {
            self.queued_rounds += 1;
            if self.queued_rounds >= 2 {
                self.on_long_queue(rate);
                return;
            }
        } else {
            self.queued_rounds = 0;
        }
        if self.phase_rounds >= self.cruise_rounds {
            self.enter(TracePhase::Up);
        }
    }

    fn advance_up(&mut self, rate: f64) {
        if self.phase_rounds < 2 {
            return;
        }
        self.watch_trial();
        let grown = rate > self.reference * (1.0 + (self.up_gain - 1.0) * 0.5);
        self.climbing = false;
        if self.loss.high_exceeds(self.mtu) {
            self.up_gain = (1.0 + (self.up_gain - 1.0) / 2.0).max(MIN_UP_GAIN);
            self.loss.forget_high();
        } else {
            self.up_gain = (self.up_gain + 0.02).min(UP_GAIN);
            if grown && !self.queue_is_long() {
                self.reference = self.bandwidth.get().unwrap_or(0.0);
                self.phase_rounds = 0;
                self.climbing = true;
                self.found_more = true;
                return;
            }
        }
        self.enter(TracePhase::Down);
    }

    /// A trial has its answer as soon as every packet of a round waits.
    pub(super) fn watch_up(&mut self) {
        if self.phase == TracePhase::Up
            && self.competing == 0
            && self.delay.round_samples() >= 8
            && self.delay.queue() > self.queue_limit() * 3 / 4
        {
            if self.phase_rounds == 1 {
                self.watch_trial();
            }
            self.enter(TracePhase::Down);
        }
    }

    /// At `now` it became known that the path had marked packets sent up to `sent` (ECN): a queue
    /// fills, whoever fills it, and is to be emptied. What left before the last answer knows nothing of
    /// that answer, so there is one in a round trip (RFC 3168, section 6.1.2).
    ///
    /// The rate is not taken for too high: where marks come early, to lower it each time costs more of
    /// the path than others gain.
    pub(in crate::congestion::lossy) fn on_mark(&mut self, now: Instant, sent: Instant) {
        if self.bandwidth.get().is_none() || self.heeded.is_some_and(|at| sent <= at) {
            return;
        }
        self.heeded = Some(now);
        self.competing = 0;
        self.before_drain = 0.0;
        match self.phase {
            TracePhase::Startup => self.enter(TracePhase::Drain),
            // The queue of a trial goes with the trial.
            TracePhase::Up => self.enter(TracePhase::Down),
            // What was begun needs its time to show.
            TracePhase::Down | TracePhase::Drain => {}
            TracePhase::Cruise => {
                self.keep_less();
                self.enter(TracePhase::Drain);
            }
        }
    }

    pub(super) fn enter(&mut self, phase: TracePhase) {
        self.phase = phase;
        self.phase_rounds = 0;
        self.climbing = false;
        self.queued_rounds = 0;
        match phase {
            TracePhase::Cruise => {
                let base = self.delay.base().unwrap_or_default().as_secs_f64();
                let rounds = CRUISE_TIME.as_secs_f64() / base.max(1e-3);
                self.cruise_rounds = rounds.clamp(2.0, 5.0) as u32 + self.random(4);
                if std::mem::take(&mut self.found_more) {
                    // A path that has become faster by more than one trial shows.
                    self.cruise_rounds = 1;
                }
            }
            TracePhase::Drain => {
                self.drain_rounds = 4 + self.random(5);
                self.drain_queue = self.delay.queue();
            }
            TracePhase::Up => self.reference = self.bandwidth.get().unwrap_or(0.0),
            _ => {}
        }
        self.dirty = true;
    }

    /// A number below `bound`; two flows that probe at the same time learn nothing.
    pub(super) fn random(&mut self, bound: u32) -> u32 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        ((self.rng >> 32) % u64::from(bound.max(1))) as u32
    }
}
