//! The controller's decisions, free of quinn's types.

use std::time::{Duration, Instant};

use super::delay::DelayMeter;
use super::filter::WindowedMax;
use super::loss::{LossMeter, Pressure};
use super::sent::{Flight, SentLog};
use super::train::{TrainMeter, TrainSample};
use crate::congestion::trace::{TraceEvent, TracePhase};

/// Rounds for which the highest delivery rate counts.
const BANDWIDTH_ROUNDS: u64 = 10;
/// Tenths of a second for which the rate counts that was once the path's.
const LASTING_TICKS: u64 = 300;
/// No window is larger: 1 GB in flight is 10 Gbit/s over 0.8 s.
const MAX_WINDOW: u64 = 1 << 30;
/// No rate is believed beyond 100 Gbit/s.
const MAX_RATE: f64 = 12.5e9;
/// Bytes a second at which a path is tried first: over a long path, more may be in flight for the
/// same rate.
const START_RATE: f64 = 3e6;
/// The first window is never larger, however long the path.
const MAX_START_WINDOW: u64 = 1 << 20;
/// Packets the window may always hold.
const MIN_WINDOW_PACKETS: u64 = 4;
/// Packets beyond the product of rate and delay: acknowledgements come for every second packet, and
/// the window must exceed what is in flight by more than one.
const SLACK_PACKETS: f64 = 2.0;
/// Times the square root of the product in packets: what a flow keeps in the queue beyond a fixed
/// share. As it grows slower than the product, the smaller of two flows gains on the larger.
const SLACK_ROOT: f64 = 0.6;

const STARTUP_GAIN: f64 = 2.0;
const DRAIN_GAIN: f64 = 0.75;
const CRUISE_GAIN: f64 = 1.02;
const DOWN_GAIN: f64 = 0.85;
const UP_GAIN: f64 = 1.25;
const MIN_UP_GAIN: f64 = 1.06;
/// When nothing near the base delay has been seen for long, one round must surely show it.
const DEEP_DOWN_GAIN: f64 = 0.5;
/// Once a trial has found more, it goes on in larger steps.
const CLIMB_GAIN: f64 = 1.5;
/// As often in a row packets may wait though less was in flight than the path holds.
const MURKY_DOWNS: u32 = 3;
/// Against another flow: kept after a loss event, and added each round (at least, in packets).
const COMPETE_CUT: f64 = 0.8;
const COMPETE_STEP: f64 = 0.005;
const COMPETE_STEP_PACKETS: f64 = 2.0;
/// Time between trials on a long path; on a short one they are bound by round trips.
const CRUISE_TIME: Duration = Duration::from_millis(500);

/// Packets sent further apart than this (or than the pacer's bursts) are not one train.
const TRAIN_GAP: Duration = Duration::from_millis(3);
/// The pacer's smallest burst, in packets.
const PACER_BURST: f64 = 10.0;

/// An outage is suspected after this long without any acknowledgement, beyond a round trip.
const SILENCE: Duration = Duration::from_millis(60);
/// In an outage this much time lies between probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// Packets in a probe.
const PROBE_PACKETS: u64 = 2;

/// What happens in one round trip.
#[derive(Debug, Clone)]
struct Round {
    start: Instant,
    acked: u64,
    lost: u64,
    batches: u32,
    limited_batches: u32,
    peak_in_flight: u64,
}

impl Round {
    fn new(start: Instant) -> Self {
        Self { start, acked: 0, lost: 0, batches: 0, limited_batches: 0, peak_in_flight: 0 }
    }
}

/// The acknowledgements of one packet, gathered.
#[derive(Debug, Clone, Default)]
struct Batch {
    bytes: u64,
    newest: Option<Instant>,
    app_limited: bool,
    smoothed_rtt: Duration,
}

/// A delivery-rate and delay controller.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    mtu: u64,
    initial_window: u64,
    window: u64,
    in_flight: u64,
    sent_bytes: u64,
    delivered: u64,
    lost: u64,
    delivered_at: Instant,
    acked_sent: Instant,
    last_sent: Instant,
    train: u64,
    log: SentLog,
    trains: TrainMeter,
    delay: DelayMeter,
    loss: LossMeter,
    bandwidth: WindowedMax,
    tick: u64,
    batch: Batch,
    round: Round,
    phase: TracePhase,
    phase_rounds: u32,
    cruise_rounds: u32,
    up_gain: f64,
    /// The bandwidth when the present climb began.
    reference: f64,
    stalled_rounds: u32,
    saturated_trains: u32,
    /// Rounds left in which delay is not heeded.
    competing: u32,
    compete_window: f64,
    climbing: bool,
    murky_downs: u32,
    /// The highest rate of the last half minute.
    lasting: WindowedMax,
    begun: Instant,
    deep: bool,
    /// How much of the slack is used; less where the queue is too shallow for it.
    headroom: f64,
    /// Rounds a drain may take, and the queue it began with.
    drain_rounds: u32,
    drain_queue: Duration,
    queued_rounds: u32,
    /// Bandwidth before the drain that found the queue to be another's.
    before_drain: f64,
    delivery_rate: f64,
    smoothed_rtt: Duration,
    last_app_limited: bool,
    rng: u64,
    dirty: bool,
}

impl Engine {
    pub(super) fn new(now: Instant, mtu: u16, initial_packets: u64, seed: u64) -> Self {
        let mtu = u64::from(mtu.max(1));
        let initial_window = (initial_packets.max(MIN_WINDOW_PACKETS) * mtu).min(MAX_WINDOW);
        Self {
            mtu,
            initial_window,
            window: initial_window,
            in_flight: 0,
            sent_bytes: 0,
            delivered: 0,
            lost: 0,
            delivered_at: now,
            acked_sent: now,
            last_sent: now,
            train: 0,
            log: SentLog::default(),
            trains: TrainMeter::default(),
            delay: DelayMeter::new(),
            loss: LossMeter::default(),
            bandwidth: WindowedMax::new(BANDWIDTH_ROUNDS),
            tick: 0,
            batch: Batch::default(),
            round: Round::new(now),
            phase: TracePhase::Startup,
            phase_rounds: 0,
            cruise_rounds: 6,
            up_gain: UP_GAIN,
            reference: 0.0,
            stalled_rounds: 0,
            saturated_trains: 0,
            competing: 0,
            compete_window: 0.0,
            climbing: false,
            murky_downs: 0,
            lasting: WindowedMax::new(LASTING_TICKS),
            begun: now,
            deep: false,
            headroom: 1.0,
            drain_rounds: 4,
            drain_queue: Duration::ZERO,
            queued_rounds: 0,
            before_drain: 0.0,
            delivery_rate: 0.0,
            smoothed_rtt: Duration::ZERO,
            last_app_limited: true,
            // Any state but zero: xorshift would stay there.
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            dirty: false,
        }
    }

    pub(super) fn initial_window(&self) -> u64 {
        self.initial_window
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu.max(1));
        self.set_window();
    }

    /// `bytes` left at `now`.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.in_flight == 0 {
            // Idle time is nobody's delivery time.
            self.delivered_at = now;
            self.acked_sent = now;
        }
        if now.saturating_duration_since(self.last_sent) > self.train_gap() {
            self.train += 1;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.round.peak_in_flight = self.round.peak_in_flight.max(self.in_flight);
        self.last_sent = self.last_sent.max(now);
        self.log.push(Flight {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            acked_sent: self.acked_sent,
            train: self.train,
            sent_bytes: self.sent_bytes,
            pressure: self.pressure(),
        });
    }

    /// A packet sent at `sent` was acknowledged.
    pub(super) fn on_ack(
        &mut self,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        smoothed_rtt: Duration,
    ) {
        self.batch.bytes = self.batch.bytes.saturating_add(bytes);
        self.batch.newest = Some(self.batch.newest.map_or(sent, |newest| newest.max(sent)));
        self.batch.app_limited = app_limited;
        self.batch.smoothed_rtt = smoothed_rtt;
    }

    /// The acknowledgements of one packet are all in.
    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64) {
        self.in_flight = in_flight;
        let batch = std::mem::take(&mut self.batch);
        let Some(newest) = batch.newest else { return };
        self.smoothed_rtt = batch.smoothed_rtt;
        self.last_app_limited = batch.app_limited;
        self.delivered = self.delivered.saturating_add(batch.bytes);
        self.round.acked = self.round.acked.saturating_add(batch.bytes);
        self.round.batches += 1;
        self.round.limited_batches += u32::from(batch.app_limited);
        self.delivered_at = now;
        let newer = newest >= self.acked_sent;
        if newer {
            self.acked_sent = newest;
            self.delay.on_sample(now, now.saturating_duration_since(newest));
        }
        if let Some(flight) = self.log.find(newest) {
            self.loss.add(flight.pressure, batch.bytes, 0, self.mtu);
            self.on_flight_acked(now, flight, batch.bytes, batch.app_limited);
            if newer && newest >= self.round.start {
                self.end_round(now, flight);
            }
        }
        self.watch_startup_queue(now);
        self.watch_drain();
        self.watch_up();
        self.log.expire(now);
        self.set_window();
    }

    /// Bytes sent up to `sent` were lost; none means that the path marked packets (ECN).
    pub(super) fn on_loss(&mut self, _now: Instant, sent: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.lost = self.lost.saturating_add(bytes);
        self.round.lost = self.round.lost.saturating_add(bytes);
        if let Some(flight) = self.log.find(sent) {
            self.loss.add(flight.pressure, 0, bytes, self.mtu);
        }
        if bytes == 0 && sent >= self.round.start {
            self.back_off(0.85);
        }
    }

    /// Bytes that may be in flight at `now`.
    pub(super) fn window(&self, now: Instant) -> u64 {
        if !self.in_outage(now) {
            return self.window;
        }
        // quinn's probe timeout backs off without a limit, and nothing else may leave while the
        // window is full of packets that will never be acknowledged.
        if now.saturating_duration_since(self.last_sent) < PROBE_INTERVAL {
            return self.in_flight.max(self.mtu);
        }
        self.in_flight.saturating_add((PROBE_PACKETS + 1) * self.mtu).min(u64::from(u32::MAX))
    }

    fn in_outage(&self, now: Instant) -> bool {
        let patience = self.smoothed_rtt.saturating_mul(2) + SILENCE;
        self.delivered > 0
            && self.in_flight > 0
            && now.saturating_duration_since(self.delivered_at) > patience
    }

    fn train_gap(&self) -> Duration {
        let rate = self.bandwidth.get().unwrap_or(f64::INFINITY).max(1.0);
        let burst = PACER_BURST * self.mtu as f64 / rate;
        TRAIN_GAP.max(Duration::from_secs_f64((burst * 1.2).min(0.1)))
    }

    fn on_flight_acked(&mut self, now: Instant, flight: Flight, bytes: u64, app_limited: bool) {
        let ended = self.trains.on_ack(now, flight, bytes, self.mtu);
        if let Some(sample) = ended
            && (app_limited || self.phase == TracePhase::Startup)
        {
            self.on_train(sample);
        }
        if self.phase == TracePhase::Startup
            && let Some(sample) = self.trains.current(self.mtu)
            && self.bandwidth.get().is_none_or(|best| sample.rate > best)
        {
            self.raise(sample.rate);
        }
    }

    fn on_train(&mut self, sample: TrainSample) {
        let rate = sample.rate.clamp(1.0, MAX_RATE);
        if sample.saturated {
            self.tick += 1;
            self.saturated_trains += 1;
            self.bandwidth.push(self.tick, rate);
            if self.phase == TracePhase::Startup && self.saturated_trains >= 3 {
                self.enter(TracePhase::Cruise);
            }
        } else {
            self.raise(rate);
        }
    }

    fn raise(&mut self, rate: f64) {
        if self.bandwidth.get().is_none_or(|best| rate > best) {
            self.bandwidth.push(self.tick, rate.clamp(1.0, MAX_RATE));
        }
    }

    fn end_round(&mut self, now: Instant, flight: Flight) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let interval = now
            .saturating_duration_since(flight.delivered_at)
            .max(flight.sent.saturating_duration_since(flight.acked_sent))
            .as_secs_f64();
        let bytes = self.delivered.saturating_sub(flight.delivered) as f64;
        let limited = round.limited_batches * 5 >= round.batches;
        if interval > 0.0 {
            self.delivery_rate = (bytes / interval).min(MAX_RATE);
        }
        let rate = self.compensated(self.delivery_rate);
        if limited {
            self.raise(rate);
        } else {
            self.tick += 1;
            self.bandwidth.push(self.tick, rate.max(1.0));
        }
        self.phase_rounds += 1;
        self.deep |= self.phase != TracePhase::Down && self.delay.base_is_stale(now);
        let tenths = now.saturating_duration_since(self.begun).as_millis() / 100;
        self.lasting.push(u64::try_from(tenths).unwrap_or(u64::MAX), self.delivery_rate);
        self.watch_competition(&round);
        if !limited {
            self.advance(rate, &round);
        }
        self.delay.end_round();
        self.dirty = true;
    }

    /// The rate at which packets left, given the rate at which they arrived.
    fn compensated(&self, rate: f64) -> f64 {
        rate / (1.0 - self.loss.base(self.mtu))
    }

    /// The phase after a round in which the path was the limit.
    fn advance(&mut self, rate: f64, round: &Round) {
        match self.phase {
            TracePhase::Startup => self.advance_startup(round),
            TracePhase::Drain => self.advance_drain(),
            TracePhase::Cruise => self.advance_cruise(rate),
            TracePhase::Up => self.advance_up(rate),
            TracePhase::Down => {
                self.adapt_headroom();
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

    /// A queue too shallow even for the little that is kept in it is asked for less.
    fn adapt_headroom(&mut self) {
        if self.loss.even_exceeds(self.mtu) {
            self.headroom *= 0.7;
            self.loss.forget_even();
        } else {
            self.headroom = (self.headroom + 0.02).min(1.0);
        }
    }

    fn advance_startup(&mut self, round: &Round) {
        let best = self.bandwidth.get().unwrap_or(0.0);
        if best >= self.reference * 1.25 {
            self.reference = best;
            self.stalled_rounds = 0;
        } else {
            self.stalled_rounds += 1;
        }
        let packets = ((round.acked + round.lost) / self.mtu) as f64;
        let share = round.lost as f64 / ((round.acked + round.lost).max(1)) as f64;
        let heavy = packets >= 20.0 && share > 0.12 + 3.0 * (0.1 / packets).sqrt();
        if self.stalled_rounds >= 3 || (heavy && self.stalled_rounds >= 1) {
            self.enter(TracePhase::Drain);
        }
    }

    /// In startup the queue fills within a round trip: it is looked at with every acknowledgement.
    fn watch_startup_queue(&mut self, now: Instant) {
        if self.phase != TracePhase::Startup || self.last_app_limited {
            return;
        }
        let Some(base) = self.delay.base() else { return };
        let limit = (base / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        if self.delay.round_samples() < 8 || self.delay.queue() < limit {
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
    fn watch_drain(&mut self) {
        if self.phase == TracePhase::Drain
            && self.phase_rounds >= 1
            && self.delay.round_samples() > 0
            && self.queue_is_clear()
        {
            self.enter(TracePhase::Cruise);
        }
    }

    fn advance_drain(&mut self) {
        if self.phase_rounds < self.drain_rounds {
            return;
        }
        if !self.queue_is_clear() && self.delay.queue() * 10 > self.drain_queue * 6 {
            // It is not ours: give way no further.
            self.competing = 32 + self.random(32);
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
    fn watch_competition(&mut self, round: &Round) {
        if self.competing == 0 {
            return;
        }
        self.competing -= 1;
        let mtu = self.mtu as f64;
        let packets = (round.acked + round.lost) as f64 / mtu;
        let expected = self.loss.base(self.mtu) * packets;
        if round.lost as f64 / mtu > expected + 2.0 * expected.sqrt() + 1.5 {
            self.compete_window *= COMPETE_CUT;
        } else {
            let step = (self.compete_window * COMPETE_STEP).max(COMPETE_STEP_PACKETS * mtu);
            self.compete_window = (self.compete_window + step).min(MAX_WINDOW as f64);
        }
        if self.queue_is_clear() {
            self.competing = 0;
            self.compete_window = 0.0;
            return;
        }
        if self.competing == 0 && self.phase != TracePhase::Startup {
            self.before_drain = self.bandwidth.get().unwrap_or(0.0);
            self.enter(TracePhase::Drain);
        }
    }

    /// A number below `bound`; two flows that probe at the same time learn nothing.
    fn random(&mut self, bound: u32) -> u32 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        ((self.rng >> 32) % u64::from(bound.max(1))) as u32
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
        let grown = rate > self.reference * (1.0 + (self.up_gain - 1.0) * 0.5);
        self.climbing = false;
        if self.loss.high_exceeds(self.mtu) {
            self.up_gain = (1.0 + (self.up_gain - 1.0) / 2.0).max(MIN_UP_GAIN);
            self.loss.forget_high();
        } else {
            self.up_gain = (self.up_gain + 0.02).min(UP_GAIN);
            if grown && !self.queue_is_long() {
                self.reference = self.bandwidth.get().unwrap_or(0.0);
                self.phase_rounds = 1;
                self.climbing = true;
                return;
            }
        }
        self.enter(TracePhase::Down);
    }

    /// A trial has its answer as soon as every packet of a round waits.
    fn watch_up(&mut self) {
        if self.phase == TracePhase::Up
            && self.competing == 0
            && self.delay.round_samples() >= 8
            && self.delay.queue() > self.queue_limit() * 3 / 4
        {
            self.enter(TracePhase::Down);
        }
    }

    /// The queue is long though the window was no larger than what the path holds: the path has
    /// become slower, or somebody else is in the queue.
    fn on_long_queue(&mut self, rate: f64) {
        self.before_drain = self.bandwidth.get().unwrap_or(rate);
        self.bandwidth.reset(self.tick, rate.max(1.0));
        self.enter(TracePhase::Drain);
    }

    fn back_off(&mut self, share: f64) {
        let rate = self.bandwidth.get().unwrap_or(1.0) * share;
        self.bandwidth.reset(self.tick, rate.max(1.0));
        if self.phase != TracePhase::Drain {
            self.enter(TracePhase::Drain);
        }
    }

    /// A queue longer than this is not the one that the window's slack makes.
    fn queue_limit(&self) -> Duration {
        let base = self.delay.base().unwrap_or_default();
        let packets = self.path_rate() * base.as_secs_f64() / self.mtu as f64;
        let slack = SLACK_PACKETS + SLACK_ROOT * packets.sqrt();
        base / 5 + self.transmission(2.0 * slack) + Duration::from_millis(1)
    }

    /// Whether no more waits than the few packets that are always on their way.
    fn queue_is_clear(&self) -> bool {
        let base = self.delay.base().unwrap_or_default();
        self.delay.queue() <= base / 12 + self.transmission(3.0) + Duration::from_millis(1)
    }

    /// How long the path takes to send `packets`.
    fn transmission(&self, packets: f64) -> Duration {
        let seconds = packets * self.mtu as f64 / self.path_rate();
        Duration::from_secs_f64(seconds.clamp(0.0, 1.0))
    }

    /// The rate the path once had: when others take a share, what is left to this flow says nothing
    /// about how long a packet takes.
    fn path_rate(&self) -> f64 {
        let best = self.bandwidth.get().unwrap_or(0.0);
        best.max(self.lasting.get().unwrap_or(0.0)).max(1.0)
    }

    fn queue_is_long(&self) -> bool {
        self.delay.queue() > self.queue_limit()
    }

    fn enter(&mut self, phase: TracePhase) {
        self.phase = phase;
        self.phase_rounds = 0;
        self.climbing = false;
        self.queued_rounds = 0;
        match phase {
            TracePhase::Cruise => {
                let base = self.delay.base().unwrap_or_default().as_secs_f64();
                let rounds = CRUISE_TIME.as_secs_f64() / base.max(1e-3);
                self.cruise_rounds = rounds.clamp(2.0, 5.0) as u32 + self.random(4);
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

    fn gain(&self) -> f64 {
        match self.phase {
            TracePhase::Startup => STARTUP_GAIN,
            TracePhase::Drain => DRAIN_GAIN,
            TracePhase::Cruise => CRUISE_GAIN,
            TracePhase::Up if self.climbing => CLIMB_GAIN,
            TracePhase::Up => self.up_gain,
            TracePhase::Down if self.deep => DEEP_DOWN_GAIN,
            TracePhase::Down => DOWN_GAIN,
        }
    }

    fn pressure(&self) -> Pressure {
        match self.phase {
            TracePhase::Startup | TracePhase::Drain => Pressure::Unsettled,
            TracePhase::Down => Pressure::Low,
            TracePhase::Cruise if self.competing == 0 => Pressure::Even,
            _ => Pressure::High,
        }
    }

    fn set_window(&mut self) {
        let floor = MIN_WINDOW_PACKETS * self.mtu;
        let (Some(rate), Some(base)) = (self.bandwidth.get(), self.delay.base()) else {
            self.window = self.initial_window.max(floor);
            return;
        };
        let product = rate * base.as_secs_f64();
        let packets = product / self.mtu as f64;
        // What the path holds if none of the loss is its own: to see what it loses by itself, the
        // window must now and then be surely too small for a queue.
        let surely = product * (1.0 - self.loss.base(self.mtu));
        let mtu = self.mtu as f64;
        let wanted = match self.phase {
            TracePhase::Cruise | TracePhase::Up | TracePhase::Down if self.competing > 0 => {
                self.compete_window
            }
            TracePhase::Down | TracePhase::Drain => self.gain() * surely + SLACK_PACKETS * mtu,
            _ => {
                let slack = SLACK_ROOT * packets.sqrt() * mtu;
                let full = self.gain() * product + slack;
                surely + self.headroom * (full - surely).max(0.0) + SLACK_PACKETS * mtu
            }
        };
        let mut window = (wanted.min(MAX_WINDOW as f64) as u64).max(floor);
        if self.phase == TracePhase::Startup && self.saturated_trains == 0 {
            let start = (START_RATE * base.as_secs_f64()) as u64;
            window = window.max(self.initial_window).max(start.min(MAX_START_WINDOW));
        }
        self.window = window;
    }

    /// The state to report, when it has changed since the last call.
    pub(super) fn take_event(&mut self, now: Instant) -> Option<TraceEvent> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        Some(TraceEvent {
            at: now,
            phase: self.phase,
            competing: self.competing > 0,
            window: self.window,
            in_flight: self.in_flight,
            bandwidth: self.bandwidth.get().unwrap_or(0.0),
            delivery_rate: self.delivery_rate,
            base_rtt: self.delay.base().unwrap_or_default(),
            round_rtt: self.delay.round().unwrap_or_default(),
            smoothed_rtt: self.smoothed_rtt,
            base_loss: self.loss.base(self.mtu),
            delivered: self.delivered,
            lost: self.lost,
            app_limited: self.last_app_limited,
        })
    }
}
