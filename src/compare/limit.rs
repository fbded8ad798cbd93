//! What physics allows on a link, whatever the transport.
//!
//! For a frame of S bytes on a link of rate C, one-way delay D and loss p, in n packets:
//! - without loss it takes L0 = D + S / (0.957 C), S being what was due up to and with the frame
//!   and not yet sent;
//! - with retransmission, at quantile q, L0 + k RTT with the smallest k for which
//!   (1 - p^(k+1))^n >= q;
//! - in bulk the payload rate is 0.957 C (1 - p), C being what a trace carries in the time that
//!   the bulk takes, which the outages in it make longer.
//!
//! Forward repair can do better than the second: a ratio to it below 1 is possible, and earned.

use serde::{Deserialize, Serialize};

use super::statistics::Quantiles;
use crate::link::DirectionSpec;

/// The payload's share of a 1,500-byte packet: what QUIC leaves of it beside headers and tags.
pub const PAYLOAD_SHARE: f64 = 0.957;

/// Payload bytes of a packet.
const PACKET_BYTES: u64 = 1_410;

/// Round trips beyond which a frame is as good as delivered.
const MOST_ROUNDS: u32 = 64;

/// How a link loses packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// The share of packets lost.
    pub share: f64,
    /// Mean length of a burst in packets; 1 where losses are independent.
    pub burst: f64,
}

/// The distribution of the latencies of a run at the limit: as a curve of (ms, share of frames that
/// are no later), ascending.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LimitCurve(pub Vec<(f64, f64)>);

impl Losses {
    /// Those of one direction.
    pub fn of(link: &DirectionSpec) -> Self {
        let share = link.loss.fraction();
        Self { share, burst: link.burst.unwrap_or(1.0).max(1.0) }
    }

    /// The chance that all of `packets` sent one behind the other arrive.
    ///
    /// Bursts are those of the two-state model: the first packet finds the link good with 1 - p,
    /// and each further one leaves the good state with p / ((1 - p) burst).
    fn all_arrive(self, packets: f64) -> f64 {
        let Self { share, burst } = self;
        if share >= 1.0 {
            return 0.0;
        }
        if burst <= 1.0 {
            return (1.0 - share).powf(packets);
        }
        let enter = (share / ((1.0 - share) * burst)).min(1.0);
        (1.0 - share) * (1.0 - enter).powf(packets - 1.0)
    }

    /// The chance that a frame of `packets` is whole after `rounds` retransmissions.
    ///
    /// Independent losses: (1 - p^(k+1))^n. In bursts a retransmission is taken for one batch of as
    /// many packets as a frame that loses any loses on average, a round trip later and so in
    /// another burst, if any.
    pub fn whole_after(self, packets: u64, rounds: u32) -> f64 {
        let packets = packets.max(1) as f64;
        let Self { share, burst } = self;
        if burst <= 1.0 {
            let lost = share.powi(i32::try_from(rounds).unwrap_or(i32::MAX - 1) + 1);
            return (1.0 - lost).powf(packets);
        }
        let at_once = self.all_arrive(packets);
        if at_once >= 1.0 {
            return 1.0;
        }
        let batch = (packets * share / (1.0 - at_once)).max(1.0);
        let again = 1.0 - self.all_arrive(batch);
        1.0 - (1.0 - at_once) * again.powi(i32::try_from(rounds).unwrap_or(i32::MAX))
    }
}

/// Packets of a frame.
pub fn packets(bytes: u64) -> u64 {
    bytes.div_ceil(PACKET_BYTES).max(1)
}

/// The round trips of waiting that retransmission needs at quantile `q`: the smallest k for which
/// a frame of `bytes` is whole with at least that chance.
pub fn rounds(losses: Losses, bytes: u64, q: f64) -> u32 {
    let packets = packets(bytes);
    (0..MOST_ROUNDS).find(|&k| losses.whole_after(packets, k) >= q).unwrap_or(MOST_ROUNDS)
}

/// The latencies of a run at the limit with retransmission only: `frames` are (L0 in ms, bytes).
pub fn curve(losses: Losses, rtt_ms: f64, frames: &[(f64, u64)]) -> LimitCurve {
    let over = |&(undisturbed, bytes): &(f64, u64)| (undisturbed, bytes, losses, rtt_ms);
    curve_over(&frames.iter().map(over).collect::<Vec<_>>())
}

/// The same where each frame goes over a link of its own: `frames` are (L0 in ms, bytes, losses, round trip in ms).
pub fn curve_over(frames: &[(f64, u64, Losses, f64)]) -> LimitCurve {
    let weight = 1.0 / frames.len().max(1) as f64;
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for &(undisturbed, bytes, losses, rtt_ms) in frames {
        let (packets, mut before) = (packets(bytes), 0.0);
        for k in 0..MOST_ROUNDS {
            let whole = losses.whole_after(packets, k);
            steps.push((undisturbed + f64::from(k) * rtt_ms, (whole - before) * weight));
            before = whole;
            if whole > 1.0 - 1e-6 {
                break;
            }
        }
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut curve: Vec<(f64, f64)> = Vec::new();
    let mut sum = 0.0;
    for (latency, share) in steps {
        sum += share;
        // Steps closer than a hundredth of a millisecond are one.
        match curve.last_mut() {
            Some(last) if latency - last.0 < 0.01 => last.1 = sum,
            _ => curve.push((latency, sum)),
        }
    }
    LimitCurve(curve)
}

impl LimitCurve {
    /// The latency that the share `q` of frames does not exceed. Infinite on a link that loses all.
    pub fn quantile(&self, q: f64) -> f64 {
        let step = self.0.iter().find(|(_, share)| *share >= q - 1e-9);
        step.map_or(f64::INFINITY, |(latency, _)| *latency)
    }

    /// The quantiles that are told. There is no latest at the limit, only an unlikely one: as
    /// `max` counts what one frame in a thousand exceeds.
    pub fn quantiles(&self) -> Quantiles {
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 0.999].map(|q| self.quantile(q));
        Quantiles { p50, p95, p99, max }
    }
}

/// The payload rate of bulk at the limit in Mbit/s, on average over a long time: at a trace's mean
/// rate, outages that come again taken out, and those that come once not. `None` where nothing
/// limits the rate. A comparison holds its runs against what the link carried in their own time.
pub fn goodput_mbit(link: &DirectionSpec) -> Option<f64> {
    let rate = link.rate()?.0 as f64 / 1e6;
    Some(PAYLOAD_SHARE * rate * (1.0 - link.mean_loss().fraction()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::LinkSpec;

    fn independent(share: f64) -> Losses {
        Losses { share, burst: 1.0 }
    }

    #[test]
    fn round_trips_are_those_of_the_table() {
        // Sizes of 20 kB, 60 kB and 200 kB; losses of 1, 2, 5 and 10 %; p50, p95 and p99.
        let table: [(u64, u64, [[u32; 3]; 4]); 3] = [
            (20_000, 15, [[0, 1, 1], [0, 1, 1], [1, 1, 2], [1, 2, 3]]),
            (60_000, 43, [[0, 1, 1], [1, 1, 2], [1, 2, 2], [1, 2, 3]]),
            (200_000, 142, [[1, 1, 2], [1, 2, 2], [1, 2, 3], [2, 3, 4]]),
        ];
        for (bytes, count, rows) in table {
            assert_eq!(packets(bytes), count);
            for (loss, row) in [0.01, 0.02, 0.05, 0.10].into_iter().zip(rows) {
                let found = [0.5, 0.95, 0.99].map(|q| rounds(independent(loss), bytes, q));
                assert_eq!(found, row, "{bytes} bytes, {loss}");
            }
        }
    }

    #[test]
    fn the_reference_link_is_at_88_88_138() {
        let curve = curve(independent(0.02), 50.0, &[(38.375, 60_000)]);
        let Quantiles { p50, p95, p99, .. } = curve.quantiles();
        assert_eq!([p50, p95, p99].map(f64::floor), [88.0, 88.0, 138.0]);
    }

    #[test]
    fn bulk_is_the_rate_less_headers_and_losses() {
        for (loss, expected) in [("0%", 95.7), ("2%", 93.8), ("10%", 86.1)] {
            let spec: LinkSpec = format!("rate=100mbit,loss={loss}").parse().unwrap();
            let found = goodput_mbit(&spec.up).unwrap();
            assert!((found - expected).abs() < 0.05, "{loss}: {found}");
        }
        let unlimited: LinkSpec = "delay=1ms".parse().unwrap();
        assert_eq!(goodput_mbit(&unlimited.up), None);
    }

    #[test]
    fn bursts_spare_more_frames_at_the_same_loss() {
        let bursts = Losses { share: 0.1, burst: 4.0 };
        let spread_out = independent(0.1);
        assert!(bursts.whole_after(43, 0) > 10.0 * spread_out.whole_after(43, 0));
        assert!(bursts.whole_after(43, 2) < 1.0);
    }

    #[test]
    fn a_link_that_loses_everything_has_no_limit() {
        let curve = curve(independent(1.0), 50.0, &[(10.0, 1_000)]);
        assert!(curve.quantiles().p50.is_infinite());
    }

    proptest! {
        #[test]
        fn more_rounds_never_hurt(
            share in 0.0_f64..0.9, burst in 1.0_f64..20.0, packets in 1_u64..2_000, k in 0_u32..20,
        ) {
            let losses = Losses { share, burst };
            let (now, next) = (losses.whole_after(packets, k), losses.whole_after(packets, k + 1));
            prop_assert!((0.0..=1.0).contains(&now), "{now}");
            prop_assert!(next >= now - 1e-12);
        }
    }
}
