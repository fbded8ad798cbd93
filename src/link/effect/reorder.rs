//! Reordering: a share of the packets takes a longer way and is overtaken.

use std::time::Duration;

use rand::RngExt;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::link::spec::Reorder;

/// Holds back a share of packets, so that those sent meanwhile overtake them.
#[derive(Debug, Clone)]
pub struct Reordering(
    /// How many and how long.
    pub Reorder,
);

impl Effect for Reordering {
    fn pass(&mut self, packet: Packet, rng: &mut LinkRng) -> Result<Duration, DropReason> {
        let held = rng.random_bool(self.0.share.fraction());
        Ok(if held { packet.at + self.0.by } else { packet.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Share;
    use crate::link::effect::testing;

    #[test]
    fn the_share_is_overtaken_by_what_is_sent_meanwhile() {
        let mut rng = testing::rng();
        let by = Duration::from_millis(5);
        let mut effect = Reordering(Reorder { share: Share::new(0.1).unwrap(), by });
        let leaves: Vec<_> = (0..100_000u64)
            .map(|n| Packet { at: Duration::from_millis(n), bytes: 1_500 })
            .map(|packet| effect.pass(packet, &mut rng).unwrap() - packet.at)
            .collect();
        let held = leaves.iter().filter(|&&extra| extra == by).count();
        assert_eq!(held + leaves.iter().filter(|extra| extra.is_zero()).count(), leaves.len());
        // Binomial, five standard deviations of sqrt(100000 * 0.1 * 0.9).
        assert!((held as f64 - 10_000.0).abs() < 5.0 * 95.0, "held {held}");
    }
}
