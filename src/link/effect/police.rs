//! A rate that is held by dropping what is too much, without a queue.

use std::time::Duration;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::frame::BitRate;

/// What may come at once, as time at the rate, but no less than [`LEAST_BURST`] bytes.
const BURST: Duration = Duration::from_millis(20);
/// Ten full packets.
const LEAST_BURST: u64 = 15_000;

/// A bucket that fills at the rate, from which each packet takes its length; one that finds too little is
/// dropped, and none waits.
#[derive(Debug)]
pub struct Policer {
    rate: BitRate,
    burst: f64,
    /// Bytes in the bucket at `filled`.
    level: f64,
    filled: Duration,
}

impl Policer {
    /// One whose bucket is full.
    pub fn new(rate: BitRate) -> Self {
        let burst = rate.bytes_in(BURST).max(LEAST_BURST) as f64;
        Self { rate, burst, level: burst, filled: Duration::ZERO }
    }
}

impl Effect for Policer {
    fn pass(&mut self, packet: Packet, _rng: &mut LinkRng) -> Result<Duration, DropReason> {
        let since = packet.at.saturating_sub(self.filled);
        self.filled = packet.at;
        let bytes_a_second = self.rate.bytes_in(Duration::from_secs(1)) as f64;
        self.level = (self.level + since.as_secs_f64() * bytes_a_second).min(self.burst);
        let bytes = f64::from(packet.bytes);
        if bytes > self.level {
            return Err(DropReason::Policed);
        }
        self.level -= bytes;
        Ok(packet.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_rate_is_held_and_nothing_waits() {
        let mut policer = Policer::new("12mbit".parse().unwrap());
        let (mut passed, mut at_once) = (0_u32, 0_u32);
        for n in 0..20_000_u32 {
            // Twice the rate, a packet each half of a millisecond.
            let at = Duration::from_micros(500) * n;
            let packet = Packet { at, bytes: 1_500 };
            if let Ok(leaves) = policer.pass(packet, &mut testing::unused()) {
                assert_eq!(leaves, at);
                passed += 1;
                at_once = if n < 100 { passed } else { at_once };
            }
        }
        // A packet takes a millisecond at the rate, and the bucket holds 20 ms of it.
        assert!((10_000..=10_020).contains(&passed), "{passed}");
        assert!((60..=75).contains(&at_once), "{at_once}");
    }
}
