//! From the estimates to bytes in flight.

use std::time::{Duration, Instant};

use super::Engine;
use crate::congestion::lossy::loss::Pressure;
use crate::congestion::lossy::sent::Queue;
use crate::congestion::trace::TracePhase;

/// No window is larger: 1 GB in flight is 10 Gbit/s over 0.8 s.
pub(super) const MAX_WINDOW: u64 = 1 << 30;
/// Packets the window may always hold.
pub(super) const MIN_WINDOW_PACKETS: u64 = 4;
/// Bytes a second at which a path is tried first: over a long path, more may be in flight for the
/// same rate.
const START_RATE: f64 = 3e6;
/// The first window is never larger, however long the path.
const MAX_START_WINDOW: u64 = 1 << 20;
/// Packets beyond the product of rate and delay: acknowledgements come for every second packet, and
/// the window must exceed what is in flight by more than one; a lost one stays in it until three later ones
/// have come.
const SLACK_PACKETS: f64 = 3.0;
/// Times the square root of the product in packets: what a flow keeps in the queue beyond a fixed
/// share. As it grows slower than the product, the smaller of two flows gains on the larger.
const SLACK_ROOT: f64 = 0.6;

/// Packets that come in one bunch on any path: the pacer sends that many at a time.
const USUAL_BUNCH: f64 = 16.0;
/// Longer pauses of the acknowledgements are not covered: that would be a standing queue of this length.
const MAX_BUNCH: Duration = Duration::from_millis(5);

/// This many packets in flight never make a queue worth the name,
const QUIET_PACKETS: u64 = 2;
/// nor does this part of what the path holds, ...
const QUIET_SHARE: f64 = 0.5;
/// ... or, of what it once held, this part.
const HELD_SHARE: f64 = 0.4;
/// With less than this, and delay that is not taken for another's, the window has shrunk by itself.
const SHRUNK_SHARE: f64 = 0.35;

const STARTUP_GAIN: f64 = 2.0;
const DRAIN_GAIN: f64 = 0.75;
const CRUISE_GAIN: f64 = 1.02;
/// What a trial queued drains while the window falls to what the path holds: the link is never idle.
const GENTLE_DOWN_GAIN: f64 = 1.0;
/// After so many of these in a row the queue is surely emptied once, for what only that shows: the base
/// delay, and what the path loses without pressure.
const GENTLE_DOWNS: u32 = 5;
const DOWN_GAIN: f64 = 0.85;
pub(super) const UP_GAIN: f64 = 1.25;
/// Trials have been made smaller than this because a shallow queue lost too much of them.
pub(super) const SHALLOW_UP_GAIN: f64 = 1.15;
pub(super) const MIN_UP_GAIN: f64 = 1.06;
/// When nothing near the base delay has been seen for long, one round must surely show it.
const DEEP_DOWN_GAIN: f64 = 0.5;
/// Once a trial has found more, it goes on in larger steps.
const CLIMB_GAIN: f64 = 1.5;

/// An outage is suspected after this long without any acknowledgement, beyond a round trip.
const SILENCE: Duration = Duration::from_millis(60);
/// In an outage this much time lies between probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// Packets in a probe.
const PROBE_PACKETS: u64 = 2;

/// Bytes that are in flight at most while nothing is known of a path but its round trip: 3 MB/s, and no more than 1 MiB.
pub(crate) fn start_window(round_trip: Duration) -> u64 {
    ((START_RATE * round_trip.as_secs_f64()) as u64).min(MAX_START_WINDOW)
}

impl Engine {
    /// Bytes that may be in flight at `now`.
    pub(in crate::congestion::lossy) fn window(&self, now: Instant) -> u64 {
        if self.narrow.is_likely() && !self.last_app_limited {
            // Each run of lost long packets between two short ones is a sign to quinn that the path has become
            // narrow, however many they are, and it takes four; all that counts is how soon they have left.
            return self.window.min(self.small.saturating_add(MIN_WINDOW_PACKETS * self.mtu));
        }
        if !self.in_outage(now) {
            return self.window;
        }
        // The first probe is quinn's own: only that is short enough for a path that has begun to swallow
        // long packets, and every packet that leaves puts it off.
        let silence = now.saturating_duration_since(self.last_sent);
        if !self.probed && silence < self.probe_turn() {
            return self.in_flight.max(self.mtu);
        }
        // quinn's probe timeout backs off without a limit, and nothing else may leave while the
        // window is full of packets that will never be acknowledged.
        if silence < PROBE_INTERVAL {
            return self.in_flight.max(self.mtu);
        }
        let probe = self.small.saturating_add((PROBE_PACKETS + 1) * self.mtu);
        self.in_flight.saturating_add(probe).min(u64::from(u32::MAX))
    }

    pub(super) fn in_outage(&self, now: Instant) -> bool {
        self.delivered > 0
            && self.in_flight > 0
            && now.saturating_duration_since(self.answered_at) > self.patience()
    }

    /// By when quinn's first probe has surely left (RFC 9002, section 6.2.1).
    fn probe_turn(&self) -> Duration {
        self.smoothed_rtt.saturating_mul(3).saturating_add(SILENCE)
    }

    /// The longest time after which an acknowledgement is no sign of an outage.
    pub(super) fn patience(&self) -> Duration {
        if self.narrow.is_likely() {
            return self.short_patience();
        }
        self.smoothed_rtt.saturating_mul(2).saturating_add(SILENCE)
    }

    /// After this long without one, an acknowledgement is late.
    pub(super) fn short_patience(&self) -> Duration {
        (self.smoothed_rtt + self.smoothed_rtt / 4).saturating_add(SILENCE / 4)
    }

    fn gain(&self) -> f64 {
        match self.phase {
            TracePhase::Startup => STARTUP_GAIN,
            TracePhase::Drain => DRAIN_GAIN,
            TracePhase::Cruise => CRUISE_GAIN,
            TracePhase::Up if self.climbing => CLIMB_GAIN,
            TracePhase::Up => self.up_gain,
            TracePhase::Down if self.deep => DEEP_DOWN_GAIN,
            TracePhase::Down if self.is_gentle() => GENTLE_DOWN_GAIN,
            TracePhase::Down => DOWN_GAIN,
        }
    }

    /// Whether giving back what a trial queued is enough: packets did not wait after the last time, and
    /// the queue is not so shallow that what is lost without pressure must be known well.
    pub(super) fn is_gentle(&self) -> bool {
        let shallow = self.up_gain < SHALLOW_UP_GAIN || self.headroom < 1.0;
        self.gentle_downs < GENTLE_DOWNS && self.murky_downs == 0 && !self.deep && !shallow
    }

    /// How hard this phase presses.
    pub(super) fn pressure(&self) -> Pressure {
        match self.phase {
            TracePhase::Startup | TracePhase::Drain => Pressure::Unsettled,
            TracePhase::Down if self.is_gentle() => Pressure::Unsettled,
            TracePhase::Down => Pressure::Low,
            TracePhase::Cruise if self.competing == 0 => Pressure::Even,
            _ => Pressure::High,
        }
    }

    /// The window for the estimates of now.
    pub(super) fn set_window(&mut self) {
        let floor = MIN_WINDOW_PACKETS * self.mtu;
        let (Some(rate), Some(base)) = (self.bandwidth.get(), self.delay.base()) else {
            self.window = self.initial_window.max(floor);
            return;
        };
        let product = rate * (base + self.delay.wander()).as_secs_f64();
        let packets = product / self.mtu as f64;
        // What the path holds if none of the loss is its own: to see what it loses by itself, the
        // window must now and then be surely too small for a queue.
        let surely = product * (1.0 - self.loss.base(self.mtu));
        let mtu = self.mtu as f64;
        let wanted = match self.phase {
            TracePhase::Cruise | TracePhase::Up | TracePhase::Down if self.competing > 0 => {
                self.compete_window
            }
            // This one is not for seeing what the path loses by itself, so the lost have room as well.
            TracePhase::Down if self.is_gentle() => self.gain() * product + SLACK_PACKETS * mtu,
            TracePhase::Down | TracePhase::Drain => self.gain() * surely + SLACK_PACKETS * mtu,
            _ => {
                let slack = SLACK_ROOT * packets.sqrt() * mtu;
                let bunch = rate * self.bunch().as_secs_f64();
                let full = self.gain() * product + slack.max(bunch);
                surely + self.headroom * (full - surely).max(0.0) + SLACK_PACKETS * mtu
            }
        };
        let mut window = (wanted.min(MAX_WINDOW as f64) as u64).max(floor);
        if self.phase == TracePhase::Startup && self.saturated_trains == 0 {
            window = window.max(self.initial_window).max(start_window(base));
        }
        self.window = window;
    }

    /// How long acknowledgements pause on this path, as far as the window allows for it.
    pub(super) fn bunch(&self) -> Duration {
        if self.murky_downs > 0 {
            return Duration::ZERO; // somebody else's packets lie between ours
        }
        let base = self.delay.base().unwrap_or_default();
        let usual = USUAL_BUNCH * self.mtu as f64;
        self.bunches.span(self.path_rate(), usual, MAX_BUNCH.max(base / 10))
    }

    /// Whose queue a packet can meet that leaves now.
    pub(super) fn possible_queue(&self) -> Queue {
        let base = self.delay.base().unwrap_or_default().as_secs_f64();
        let room = |rate: f64, share: f64| {
            let bytes = (rate * base * share).min(MAX_WINDOW as f64) as u64;
            self.in_flight <= bytes.max(QUIET_PACKETS * self.mtu)
        };
        if self.last_app_limited {
            let rate = self.bandwidth.get().unwrap_or(0.0);
            return if room(rate, QUIET_SHARE) { Queue::None } else { Queue::Own };
        }
        let alone = self.competing == 0 && self.murky_downs == 0;
        match self.path_rate() {
            rate if alone && room(rate, SHRUNK_SHARE) => Queue::Unlikely,
            rate if alone && room(rate, HELD_SHARE) => Queue::Others,
            _ => Queue::Own,
        }
    }

    /// A queue longer than this is not the one that the window's slack makes.
    pub(super) fn queue_limit(&self) -> Duration {
        let base = self.delay.base().unwrap_or_default();
        let packets = self.path_rate() * base.as_secs_f64() / self.mtu as f64;
        let slack = SLACK_PACKETS + SLACK_ROOT * packets.sqrt();
        base / 5 + self.transmission(2.0 * slack).max(self.bunch() * 2) + Duration::from_millis(1)
    }

    /// Whether no more waits than the few packets that are always on their way.
    pub(super) fn queue_is_clear(&self) -> bool {
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
    pub(super) fn path_rate(&self) -> f64 {
        let best = self.bandwidth.get().unwrap_or(0.0);
        best.max(self.lasting.get().unwrap_or(0.0)).max(1.0)
    }

    /// Whether the queue is longer than the slack explains.
    pub(super) fn queue_is_long(&self) -> bool {
        self.delay.queue() > self.queue_limit()
    }
}
