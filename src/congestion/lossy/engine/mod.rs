//! The controller's decisions, free of quinn's types.

mod alarms;
mod narrow;
mod phases;
mod places;
mod rivals;
#[cfg(test)]
mod tests;
mod trials;
mod window;

use std::time::{Duration, Instant};

use alarms::Alarms;
use narrow::Narrow;
use phases::HEAVY_ROUNDS;
use places::Places;
use trials::Trials;
pub(crate) use window::start_window;
use window::{MAX_WINDOW, MIN_WINDOW_PACKETS, UP_GAIN};

use super::bunch::BunchMeter;
use super::delay::DelayMeter;
use super::filter::WindowedMax;
use super::loss::{LossMeter, Pressure};
use super::sent::{Flight, SentLog};
use super::train::{TrainMean, TrainMeter, TrainSample};
use crate::congestion::trace::{TraceEvent, TracePhase};

/// Rounds for which the highest delivery rate counts.
const BANDWIDTH_ROUNDS: u64 = 10;
/// Tenths of a second for which the rate counts that was once the path's.
const LASTING_TICKS: u64 = 300;
/// No rate is believed beyond 100 Gbit/s.
const MAX_RATE: f64 = 12.5e9;
/// Losses of an outage, which say nothing of the rate, are found in this many rounds after it.
const OUTAGE_ROUNDS: u32 = 3;
/// A transmit below this part of a packet holds no data to speak of.
const SMALL_SHARE: u64 = 4;
/// Where the delay wanders, a train is believed up to this much above the mean of the last ones.
const TRAIN_MARGIN: f64 = 1.25;
/// Packets sent further apart than this (or than the pacer's bursts) are not one train.
const TRAIN_GAP: Duration = Duration::from_millis(3);
/// How far back it counts whether the application left room.
const BUSY_MEMORY: Duration = Duration::from_millis(400);
/// The pacer's smallest burst, in packets.
const PACER_BURST: f64 = 10.0;

/// What happens in one round trip.
#[derive(Debug, Clone)]
struct Round {
    start: Instant,
    acked: u64,
    lost: u64,
    batches: u32,
    limited_batches: u32,
}

impl Round {
    fn new(start: Instant) -> Self {
        Self { start, acked: 0, lost: 0, batches: 0, limited_batches: 0 }
    }

    /// Bytes of which the fate became known.
    fn resolved(&self) -> u64 {
        self.acked.saturating_add(self.lost)
    }

    fn lost_share(&self) -> f64 {
        self.lost as f64 / self.resolved().max(1) as f64
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
    /// Bytes of data in flight, as far as the controller can tell.
    in_flight: u64,
    /// Bytes of small packets since the last acknowledgement; some may be in flight.
    small: u64,
    sent_bytes: u64,
    delivered: u64,
    lost: u64,
    delivered_at: Instant,
    /// When something was last heard of a packet sent not long before.
    answered_at: Instant,
    /// Whether quinn's probe timeout has had its turn in this silence.
    probed: bool,
    narrow: Narrow,
    acked_sent: Instant,
    last_sent: Instant,
    train: u64,
    /// Bytes sent before it.
    before_train: u64,
    places: Places,
    log: SentLog,
    trains: TrainMeter,
    train_mean: TrainMean,
    bunches: BunchMeter,
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
    competing_rounds: u32,
    compete_window: f64,
    climbing: bool,
    /// Whether the last trial found a higher rate.
    found_more: bool,
    murky_downs: u32,
    /// Rounds of giving back since the last one that surely left the queue empty.
    gentle_downs: u32,
    heavy_pause: u32,
    /// Bytes lost, and bytes of which the fate became known, in the last rounds.
    recent: [(u64, u64); HEAVY_ROUNDS],
    /// Rounds left in which an outage's losses may still come to light.
    outage_rounds: u32,
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
    alarms: Alarms,
    trials: Trials,
    /// When marks of the path were last answered.
    heeded: Option<Instant>,
    /// Bandwidth before the drain that found the queue to be another's.
    before_drain: f64,
    delivery_rate: f64,
    smoothed_rtt: Duration,
    last_app_limited: bool,
    /// Share of the last half second or so in which the path was the limit.
    busy: f64,
    rng: u64,
    dirty: bool,
}

impl Engine {
    pub(super) fn new(now: Instant, mtu: u16, initial_packets: u64, seed: u64) -> Self {
        let mtu = u64::from(mtu.max(1));
        let initial_window =
            initial_packets.max(MIN_WINDOW_PACKETS).saturating_mul(mtu).min(MAX_WINDOW);
        Self {
            mtu,
            initial_window,
            window: initial_window,
            in_flight: 0,
            small: 0,
            sent_bytes: 0,
            delivered: 0,
            lost: 0,
            delivered_at: now,
            answered_at: now,
            probed: false,
            narrow: Narrow::default(),
            acked_sent: now,
            last_sent: now,
            train: 0,
            before_train: 0,
            places: Places::default(),
            log: SentLog::default(),
            trains: TrainMeter::default(),
            train_mean: TrainMean::default(),
            bunches: BunchMeter::new(now),
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
            competing_rounds: 0,
            compete_window: 0.0,
            climbing: false,
            found_more: false,
            murky_downs: 0,
            gentle_downs: 0,
            heavy_pause: 0,
            recent: [(0, 0); HEAVY_ROUNDS],
            outage_rounds: 0,
            lasting: WindowedMax::new(LASTING_TICKS),
            begun: now,
            deep: false,
            headroom: 1.0,
            drain_rounds: 4,
            drain_queue: Duration::ZERO,
            queued_rounds: 0,
            alarms: Alarms::default(),
            trials: Trials::default(),
            heeded: None,
            before_drain: 0.0,
            delivery_rate: 0.0,
            smoothed_rtt: Duration::ZERO,
            last_app_limited: true,
            busy: 0.0,
            // Any state but zero: xorshift would stay there.
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            dirty: false,
        }
    }

    pub(super) fn bandwidth(&self) -> Option<f64> {
        self.bandwidth.get()
    }

    /// Whether the path's limit has not been met yet.
    pub(super) fn is_starting(&self) -> bool {
        self.phase == TracePhase::Startup
    }

    pub(super) fn busy(&self) -> f64 {
        self.busy
    }

    pub(super) fn initial_window(&self) -> u64 {
        self.initial_window
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu.max(1));
        self.narrow = Narrow::default();
        self.set_window();
    }

    /// `bytes` left at `now`.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if bytes < self.mtu / SMALL_SHARE {
            // Most likely acknowledgements alone, which nobody acknowledges and nothing limits.
            self.small = self.small.saturating_add(bytes);
        } else {
            self.on_data_sent(now, bytes);
        }
        self.log.push(Flight {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            acked_sent: self.acked_sent,
            train: self.train,
            sent_bytes: self.sent_bytes,
            into: self.sent_bytes.saturating_sub(self.before_train),
            queue: self.possible_queue(),
            pressure: self.pressure(),
        });
    }

    fn on_data_sent(&mut self, now: Instant, bytes: u64) {
        // While the window is shut, this can only be quinn's own probe.
        self.probed |= self.in_outage(now);
        if self.in_flight == 0 {
            // Idle time is nobody's delivery time.
            self.delivered_at = now;
            self.answered_at = now;
            self.acked_sent = now;
        }
        if now.saturating_duration_since(self.last_sent) > self.train_gap() {
            self.train += 1;
            self.before_train = self.sent_bytes;
        }
        self.narrow.on_sent(now, bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.last_sent = self.last_sent.max(now);
    }

    /// A packet sent at `sent` was acknowledged.
    pub(super) fn on_ack(
        &mut self,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        smoothed_rtt: Duration,
    ) {
        self.narrow.on_ack(bytes);
        self.batch.bytes = self.batch.bytes.saturating_add(bytes);
        self.batch.newest = Some(self.batch.newest.map_or(sent, |newest| newest.max(sent)));
        self.batch.app_limited = app_limited;
        self.batch.smoothed_rtt = smoothed_rtt;
    }

    /// The acknowledgements of one packet are all in.
    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64) {
        let batch = std::mem::take(&mut self.batch);
        let Some(newest) = batch.newest else { return };
        if self.in_outage(now) {
            self.outage_rounds = OUTAGE_ROUNDS;
        }
        self.watch_narrow(now);
        self.smoothed_rtt = batch.smoothed_rtt;
        // What was under way when an outage began is acknowledged after it, and frees little.
        if now.saturating_duration_since(newest) <= self.patience() {
            self.answered_at = now;
            self.probed = false;
        }
        self.in_flight = in_flight;
        self.small = 0;
        self.last_app_limited = batch.app_limited;
        self.delivered = self.delivered.saturating_add(batch.bytes);
        self.round.acked = self.round.acked.saturating_add(batch.bytes);
        self.round.batches += 1;
        self.round.limited_batches += u32::from(batch.app_limited);
        self.delivered_at = now;
        self.watch_bunches(now, batch.bytes);
        let newer = newest >= self.acked_sent;
        let rtt = now.saturating_duration_since(newest);
        if newer {
            self.acked_sent = newest;
            self.delay.on_sample(now, rtt);
        }
        if let Some(flight) = self.log.find(newest) {
            if newer {
                self.delay.on_sample_behind(flight.queue, now, rtt);
            }
            self.loss.add(flight.pressure, batch.bytes, 0, self.mtu);
            self.watch_acked_place(now, flight.into);
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

    /// Bytes sent up to `sent` were lost.
    pub(super) fn on_loss(&mut self, sent: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.lost = self.lost.saturating_add(bytes);
        self.round.lost = self.round.lost.saturating_add(bytes);
        if let Some(flight) = self.log.find(sent)
            && self.outage_rounds == 0
        {
            self.loss.add(flight.pressure, 0, bytes, self.mtu);
            self.watch_lost_place(flight.into, bytes);
        }
    }

    fn watch_bunches(&mut self, now: Instant, bytes: u64) {
        let steady = matches!(self.phase, TracePhase::Cruise | TracePhase::Up | TracePhase::Down);
        if steady && !self.last_app_limited && self.outage_rounds == 0 {
            // Beside another flow this one's own rate is less, and varies by nobody's pauses.
            self.bunches.on_ack(now, bytes, self.path_rate());
        } else {
            self.bunches.restart(now);
        }
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
        if sample.saturated {
            self.train_mean.add(sample);
        }
        let rate = self.believed(sample);
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

    /// A train's rate, as far as it can be the path's.
    fn believed(&self, sample: TrainSample) -> f64 {
        let rate = sample.rate.clamp(1.0, MAX_RATE);
        match self.train_mean.rate() {
            Some(mean) if self.delay.wander() > Duration::ZERO => rate.min(mean * TRAIN_MARGIN),
            _ => rate,
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
        let free = f64::from(round.limited_batches) / f64::from(round.batches.max(1));
        let weight = now.saturating_duration_since(round.start).min(BUSY_MEMORY);
        self.busy += (1.0 - free - self.busy) * weight.as_secs_f64() / BUSY_MEMORY.as_secs_f64();
        let limited = u64::from(round.limited_batches) * 5 >= u64::from(round.batches);
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
        let steady = self.is_steady();
        self.watch_alarms(now);
        if self.pressure() == Pressure::Even && self.outage_rounds == 0 {
            self.loss.end_round(round.acked, round.lost, self.mtu);
        }
        self.watch_competition(&round);
        if limited {
            self.settle();
        } else {
            self.watch_before_trial();
            if !self.loss_is_heavy(&round) {
                self.advance(rate, &round);
            }
        }
        self.outage_rounds = self.outage_rounds.saturating_sub(1);
        self.delay.end_round(now, steady);
        self.bunches.end_round();
        self.dirty = true;
    }

    /// Whether nothing but the path itself delayed the packets of the last round.
    fn is_steady(&self) -> bool {
        self.phase == TracePhase::Cruise
            && self.phase_rounds >= 2
            && self.competing == 0
            && self.murky_downs == 0
            && self.outage_rounds == 0
            && self.queue_is_clear()
    }

    /// The rate at which packets left, given the rate at which they arrived.
    fn compensated(&self, rate: f64) -> f64 {
        rate / (1.0 - self.loss.base(self.mtu))
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
            wander: self.delay.wander(),
            round_rtt: self.delay.round().unwrap_or_default(),
            smoothed_rtt: self.smoothed_rtt,
            base_loss: self.loss.base(self.mtu),
            delivered: self.delivered,
            lost: self.lost,
            app_limited: self.last_app_limited,
        })
    }
}
