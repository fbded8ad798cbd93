//! Loss in bursts, after Gilbert (1960): the link is in a good state, which loses nothing, or in a
//! bad one, which loses everything, and may change state with every packet.
//!
//! With r the probability to leave the bad state and p that to enter it, bursts last 1/r packets
//! on average and the bad state takes up p/(p+r) of all packets. Both are given, so
//! r = 1/burst and p = r * loss / (1 - loss).

use std::time::Duration;

use rand::RngExt;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::frame::Share;

/// Burst loss of a given mean loss and mean burst length.
#[derive(Debug, Clone)]
pub struct BurstLoss {
    enter: f64,
    leave: f64,
    /// Drawn with the first packet, from the share of the bad state, so that a run does not
    /// always begin on a good link.
    bad: Option<bool>,
    loss: f64,
}

impl BurstLoss {
    /// Loses `loss` of all packets, `burst` in a row on average.
    ///
    /// `None` where no such link exists: bursts are at least one packet long, and a link that
    /// loses much cannot do it in short bursts (see [`BurstLoss::shortest`]).
    pub fn new(loss: Share, burst: f64) -> Option<Self> {
        let possible = burst.is_finite() && burst >= Self::shortest(loss)?;
        possible.then(|| {
            let loss = loss.fraction();
            let leave = 1.0 / burst;
            Self { enter: (leave * loss / (1.0 - loss)).min(1.0), leave, bad: None, loss }
        })
    }

    /// The shortest mean burst that a mean loss can come in: good spells last at least one packet.
    /// `None` for a loss of everything, which has no bursts.
    pub fn shortest(loss: Share) -> Option<f64> {
        let loss = loss.fraction();
        (loss < 1.0).then(|| (loss / (1.0 - loss)).max(1.0))
    }
}

impl Effect for BurstLoss {
    fn pass(&mut self, packet: Packet, rng: &mut LinkRng) -> Result<Duration, DropReason> {
        let bad = match self.bad {
            None => rng.random_bool(self.loss),
            Some(true) => !rng.random_bool(self.leave),
            Some(false) => rng.random_bool(self.enter),
        };
        self.bad = Some(bad);
        if bad { Err(DropReason::Loss) } else { Ok(packet.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::effect::testing;

    /// Mean loss and mean burst length over many packets.
    fn measure(loss: f64, burst: f64) -> (f64, f64) {
        let mut rng = testing::rng();
        let mut effect = BurstLoss::new(Share::new(loss).unwrap(), burst).unwrap();
        let packet = Packet { at: Duration::ZERO, bytes: 1_500 };
        let packets = 1_000_000;
        let (mut lost, mut bursts, mut before) = (0u32, 0u32, false);
        for _ in 0..packets {
            let now = effect.pass(packet, &mut rng).is_err();
            lost += u32::from(now);
            bursts += u32::from(now && !before);
            before = now;
        }
        (f64::from(lost) / f64::from(packets), f64::from(lost) / f64::from(bursts))
    }

    #[test]
    fn mean_loss_and_burst_length_are_as_asked() {
        for (loss, burst) in [(0.02, 1.0), (0.02, 4.0), (0.1, 8.0), (0.5, 1.0), (0.6, 30.0)] {
            let (measured, length) = measure(loss, burst);
            // Bursts are what is independent here: with B of them the relative error of the mean
            // is about sqrt(2 / B), and 5 of those are allowed.
            let bursts: f64 = 1_000_000.0 * loss / burst;
            let bound = 5.0 * (2.0 / bursts).sqrt();
            assert!((measured / loss - 1.0).abs() < bound, "{loss} {burst}: lost {measured}");
            assert!((length / burst - 1.0).abs() < bound, "{loss} {burst}: bursts {length}");
        }
    }

    #[test]
    fn impossible_bursts_are_refused() {
        assert!(BurstLoss::new(Share::new(0.9).unwrap(), 4.0).is_none());
        assert!(BurstLoss::new(Share::new(0.9).unwrap(), 9.1).is_some());
        assert!(BurstLoss::new(Share::new(0.1).unwrap(), 0.5).is_none());
        assert!(BurstLoss::new(Share::new(1.0).unwrap(), 5.0).is_none());
        assert!(BurstLoss::new(Share::new(0.1).unwrap(), f64::NAN).is_none());
    }
}
