//! Independent loss: each packet is lost with the same probability, whatever became of the others.

use std::time::Duration;

use rand::RngExt;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::frame::Share;

/// Random loss.
#[derive(Debug, Clone)]
pub struct RandomLoss(
    /// The share of packets lost.
    pub Share,
);

impl Effect for RandomLoss {
    fn pass(&mut self, packet: Packet, rng: &mut LinkRng) -> Result<Duration, DropReason> {
        if rng.random_bool(self.0.fraction()) { Err(DropReason::Loss) } else { Ok(packet.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::effect::testing;

    #[test]
    fn losses_are_inside_their_binomial_bounds() {
        let mut rng = testing::rng();
        for loss in [0.0, 0.001, 0.02, 0.1, 0.5, 1.0] {
            let mut effect = RandomLoss(Share::new(loss).unwrap());
            let packets = 200_000;
            let packet = Packet { at: Duration::ZERO, bytes: 1_500 };
            let lost = (0..packets).filter(|_| effect.pass(packet, &mut rng).is_err()).count();
            let mean = f64::from(packets) * loss;
            // Five standard deviations: one false alarm in some million seeds.
            let bound = 5.0 * (mean * (1.0 - loss)).sqrt();
            assert!((lost as f64 - mean).abs() <= bound, "{loss}: lost {lost}, expected {mean}");
        }
    }
}
