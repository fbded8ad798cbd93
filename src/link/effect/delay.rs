//! Propagation: every packet takes the same time.

use std::time::Duration;

use super::{DropReason, Effect, LinkRng, Packet};

/// A constant delay.
#[derive(Debug, Clone)]
pub struct Delay(
    /// One way, the same for every packet.
    pub Duration,
);

impl Effect for Delay {
    fn pass(&mut self, packet: Packet, _rng: &mut LinkRng) -> Result<Duration, DropReason> {
        Ok(packet.at + self.0)
    }
}
