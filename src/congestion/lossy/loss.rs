//! Random loss, and the loss that pressing adds to it.

/// A share is taken over about this many packets.
const MEMORY_PACKETS: f64 = 400.0;

/// A share of lost bytes, the recent ones weighing most.
#[derive(Debug, Clone, Default)]
struct LossShare {
    acked: f64,
    lost: f64,
}

impl LossShare {
    fn add(&mut self, acked: u64, lost: u64, mtu: u64) {
        let packets = (acked + lost) as f64 / mtu.max(1) as f64;
        let keep = (1.0 - packets / MEMORY_PACKETS).clamp(0.25, 1.0);
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

/// Loss apart by whether the controller was pressing when the packets were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct LossMeter {
    resting: LossShare,
    pressing: LossShare,
}

/// Above this, loss is never taken for random: it is the highest that forward repair is meant for,
/// with a margin.
const MAX_RANDOM: f64 = 0.15;
/// Pressing that adds less than this to the loss has met no shallow queue.
const EXCESS: f64 = 0.03;
/// Fewer packets decide nothing.
const MIN_PACKETS: f64 = 40.0;

impl LossMeter {
    /// A round trip ended with `acked` and `lost` bytes.
    pub(super) fn on_round(&mut self, pressing: bool, acked: u64, lost: u64, mtu: u64) {
        let share = if pressing { &mut self.pressing } else { &mut self.resting };
        share.add(acked, lost, mtu);
    }

    /// The share of bytes the path loses whatever the controller does.
    pub(super) fn base(&self) -> f64 {
        self.resting.share().min(MAX_RANDOM)
    }

    /// Whether pressing loses distinctly more than resting: the queue is shallow.
    pub(super) fn grows_with_gain(&self, mtu: u64) -> bool {
        self.pressing.packets(mtu) >= MIN_PACKETS
            && self.pressing.share() > self.resting.share() + EXCESS + deviation(self, mtu)
    }

    /// Forgets what pressing lost.
    pub(super) fn forget_pressing(&mut self) {
        self.pressing = LossShare::default();
    }
}

/// Two standard deviations of the share that pressing would lose if it changed nothing.
fn deviation(meter: &LossMeter, mtu: u64) -> f64 {
    let p = meter.resting.share().max(0.01);
    2.0 * (p * (1.0 - p) / meter.pressing.packets(mtu).max(1.0)).sqrt()
}
