//! Random loss, and the loss that pressing adds to it.

/// A share is taken over about this many packets.
const MEMORY_PACKETS: f64 = 400.0;
/// Low pressure is rare, so its share must do with fewer packets to be of today.
const LOW_MEMORY_PACKETS: f64 = 150.0;

/// A share of lost bytes, the recent ones weighing most.
#[derive(Debug, Clone, Default)]
struct LossShare {
    acked: f64,
    lost: f64,
}

impl LossShare {
    fn add(&mut self, acked: u64, lost: u64, mtu: u64, memory: f64) {
        let packets = acked.saturating_add(lost) as f64 / mtu.max(1) as f64;
        let keep = (1.0 - packets / memory).clamp(0.25, 1.0);
        self.acked = self.acked * keep + acked as f64;
        self.lost = self.lost * keep + lost as f64;
    }

    fn share(&self) -> f64 {
        let all = self.acked + self.lost;
        if all > 0.0 { self.lost / all } else { 0.0 }
    }

    fn packets(&self, mtu: u64) -> f64 {
        (self.acked + self.lost) / mtu.max(1) as f64
    }
}

/// How hard the controller pressed when a packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    /// A queue was being filled or emptied, so that its losses say nothing.
    Unsettled,
    /// Less than the path was thought to carry.
    Low,
    /// About what the path was thought to carry.
    Even,
    /// More than that.
    High,
}

/// Loss apart by the pressure under which the packets were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct LossMeter {
    low: LossShare,
    even: LossShare,
    high: LossShare,
    bursts: Bursts,
}

/// How much more the losses of a round trip vary than independent ones would.
#[derive(Debug, Clone)]
struct Bursts {
    /// Their variance as a multiple of that of independent losses: in runs of mean length n, 2 n - 1.
    dispersion: f64,
}

impl Default for Bursts {
    fn default() -> Self {
        Self { dispersion: 1.0 }
    }
}

impl Bursts {
    fn end_round(&mut self, packets: f64, lost: f64, share: f64) {
        let expected = packets * share;
        if expected < MIN_EXPECTED {
            return;
        }
        let seen = (lost - expected).powi(2) / (expected * (1.0 - share));
        self.dispersion += (seen - self.dispersion) / DISPERSION_MEMORY;
    }

    /// By how much the standard deviation is larger than that of independent losses.
    fn factor(&self) -> f64 {
        self.dispersion.clamp(1.0, MAX_DISPERSION).sqrt()
    }
}

/// Above this, loss is never taken for random: it is the highest that forward repair is meant for,
/// with a margin.
const MAX_RANDOM: f64 = 0.15;
/// Pressing that adds less than this to the loss has met no shallow queue.
const EXCESS: f64 = 0.015;
/// Fewer packets decide nothing.
const MIN_PACKETS: f64 = 40.0;
/// A round of which fewer losses are expected says nothing about their variance.
const MIN_EXPECTED: f64 = 0.5;
/// Rounds that the variance is taken over.
const DISPERSION_MEMORY: f64 = 24.0;
/// Runs of more than eight packets are outages.
const MAX_DISPERSION: f64 = 15.0;

impl LossMeter {
    /// Bytes sent under `pressure` were acknowledged or lost.
    pub(super) fn add(&mut self, pressure: Pressure, acked: u64, lost: u64, mtu: u64) {
        match pressure {
            Pressure::Unsettled => {}
            Pressure::Low => self.low.add(acked, lost, mtu, LOW_MEMORY_PACKETS),
            Pressure::Even => self.even.add(acked, lost, mtu, MEMORY_PACKETS),
            Pressure::High => self.high.add(acked, lost, mtu, MEMORY_PACKETS),
        }
    }

    /// The share of bytes the path loses whatever the controller does.
    ///
    /// What is lost under low pressure is the path's doing; loss under even pressure counts as far
    /// as it does not exceed that distinctly.
    pub(super) fn base(&self, mtu: u64) -> f64 {
        let even = self.even.share();
        let base = if self.low.packets(mtu) >= MIN_PACKETS {
            even.min(self.low.share() + self.deviation(&self.low, self.low.share(), mtu))
        } else {
            even
        };
        base.min(MAX_RANDOM)
    }

    /// Whether high pressure loses distinctly more than the path does: the queue is shallow.
    pub(super) fn high_exceeds(&self, mtu: u64) -> bool {
        self.exceeds(&self.high, self.base(mtu), mtu)
    }

    /// Whether even what the path should carry loses distinctly more than less of it.
    pub(super) fn even_exceeds(&self, mtu: u64) -> bool {
        self.low.packets(mtu) >= MIN_PACKETS && self.exceeds(&self.even, self.low.share(), mtu)
    }

    /// Forgets what high pressure lost.
    pub(super) fn forget_high(&mut self) {
        self.high = LossShare::default();
    }

    /// Forgets what even pressure lost.
    pub(super) fn forget_even(&mut self) {
        let share = self.low.share();
        self.even = LossShare::default();
        self.even.acked = (1.0 - share) * self.low.acked.min(1.0);
        self.even.lost = share * self.low.acked.min(1.0);
    }

    /// A round in which nothing pressed is over.
    pub(super) fn end_round(&mut self, acked: u64, lost: u64, mtu: u64) {
        let packets = |bytes: u64| bytes as f64 / mtu.max(1) as f64;
        self.bursts.end_round(
            packets(acked.saturating_add(lost)),
            packets(lost),
            self.even.share(),
        );
    }

    fn exceeds(&self, share: &LossShare, base: f64, mtu: u64) -> bool {
        let allowed = base + EXCESS + self.deviation(share, base, mtu);
        share.packets(mtu) >= MIN_PACKETS && share.share() > allowed
    }

    /// Two standard deviations of the share seen in as many packets when `p` are lost.
    fn deviation(&self, share: &LossShare, p: f64, mtu: u64) -> f64 {
        let p = p.clamp(0.005, 0.5);
        2.0 * self.bursts.factor() * (p * (1.0 - p) / share.packets(mtu).max(1.0)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1_472;

    /// Rounds of 40 packets, one in ten of which is lost: in each round, or all of a run in every `run`th.
    fn meter(run: u64) -> LossMeter {
        let mut meter = LossMeter::default();
        for round in 0..200 {
            let lost = if round % run == 0 { 4 * run } else { 0 } * MTU;
            let acked = 40 * MTU - lost;
            meter.add(Pressure::Even, acked, lost, MTU);
            meter.add(Pressure::Low, acked, lost, MTU);
            meter.end_round(acked, lost, MTU);
        }
        meter
    }

    #[test]
    fn losses_in_runs_are_no_sign_of_a_shallow_queue() {
        let pressed = |mut meter: LossMeter| {
            meter.add(Pressure::High, 64 * MTU, 16 * MTU, MTU);
            meter.add(Pressure::High, 64 * MTU, 16 * MTU, MTU);
            meter.high_exceeds(MTU)
        };
        assert!((meter(1).base(MTU) - 0.1).abs() < 0.01);
        assert!(pressed(meter(1)), "20 % where 10 % are lost evenly");
        assert!(!pressed(meter(4)), "where they come in runs that is nothing");
    }
}
