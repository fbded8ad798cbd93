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
}

/// Above this, loss is never taken for random: it is the highest that forward repair is meant for,
/// with a margin.
const MAX_RANDOM: f64 = 0.15;
/// Pressing that adds less than this to the loss has met no shallow queue.
const EXCESS: f64 = 0.015;
/// Fewer packets decide nothing.
const MIN_PACKETS: f64 = 40.0;

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
            even.min(self.low.share() + deviation(&self.low, self.low.share(), mtu))
        } else {
            even
        };
        base.min(MAX_RANDOM)
    }

    /// Whether high pressure loses distinctly more than the path does: the queue is shallow.
    pub(super) fn high_exceeds(&self, mtu: u64) -> bool {
        exceeds(&self.high, self.base(mtu), mtu)
    }

    /// Whether even what the path should carry loses distinctly more than less of it.
    pub(super) fn even_exceeds(&self, mtu: u64) -> bool {
        self.low.packets(mtu) >= MIN_PACKETS && exceeds(&self.even, self.low.share(), mtu)
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
}

fn exceeds(share: &LossShare, base: f64, mtu: u64) -> bool {
    share.packets(mtu) >= MIN_PACKETS && share.share() > base + EXCESS + deviation(share, base, mtu)
}

/// Two standard deviations of the share seen in as many packets when `p` are lost.
fn deviation(share: &LossShare, p: f64, mtu: u64) -> f64 {
    let p = p.clamp(0.005, 0.5);
    2.0 * (p * (1.0 - p) / share.packets(mtu).max(1.0)).sqrt()
}
