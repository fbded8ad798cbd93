//! Delay that varies, without packets overtaking each other.
//!
//! Drawing a delay for each packet and then keeping the order would push a fast flow's delay to
//! the maximum, since every packet waits for the slowest before it. Real links vary in time, not
//! by packet (medium access, scheduling grants), so the extra delay here is a function of time:
//! a value drawn every `jitter`, uniform between 0 and `jitter`, and a straight line between
//! values. Over one step the line falls by at most the length of the step, so a later packet never
//! leaves before an earlier one. The mean is half of `jitter`.

use std::time::Duration;

use rand::RngExt;

use super::{DropReason, Effect, LinkRng, Packet};

/// Extra delay between 0 and a maximum, changing with time.
#[derive(Debug, Clone)]
pub struct Jitter {
    max: Duration,
    step: Option<Step>,
}

/// The straight line that is in force, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Step {
    number: u128,
    from: u64,
    to: u64,
}

impl Jitter {
    /// Between nothing and `max` more.
    pub fn new(max: Duration) -> Self {
        Self { max, step: None }
    }

    fn step(&mut self, number: u128, rng: &mut LinkRng) -> Step {
        let max = u64::try_from(self.max.as_nanos()).unwrap_or(u64::MAX);
        let step = match self.step {
            Some(step) if step.number == number => step,
            Some(step) if step.number + 1 == number => {
                Step { number, from: step.to, to: rng.random_range(0..=max) }
            }
            // After a pause, or at the start, nothing is left to be continued.
            _ => Step { number, from: rng.random_range(0..=max), to: rng.random_range(0..=max) },
        };
        self.step = Some(step);
        step
    }
}

impl Effect for Jitter {
    fn pass(&mut self, packet: Packet, rng: &mut LinkRng) -> Result<Duration, DropReason> {
        let length = self.max.as_nanos();
        let Some(number) = packet.at.as_nanos().checked_div(length) else { return Ok(packet.at) };
        let step = self.step(number, rng);
        let into = packet.at.as_nanos() - number * length;
        let extra = (u128::from(step.from) * (length - into) + u128::from(step.to) * into) / length;
        Ok(packet.at + Duration::from_nanos(u64::try_from(extra).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::link::effect::testing;

    #[test]
    fn the_mean_is_half_and_all_of_the_range_is_used() {
        let mut rng = testing::rng();
        let mut jitter = Jitter::new(Duration::from_millis(10));
        let extras: Vec<f64> = (0..500_000u64)
            .map(|n| Packet { at: Duration::from_micros(n * 333), bytes: 1_500 })
            .map(|packet| (jitter.pass(packet, &mut rng).unwrap() - packet.at).as_secs_f64() * 1e3)
            .collect();
        let mean = extras.iter().sum::<f64>() / extras.len() as f64;
        // 16,650 knots of standard deviation 2.9 ms: 0.022 ms, times five.
        assert!((mean - 5.0).abs() < 0.12, "mean {mean} ms");
        assert!(extras.iter().all(|extra| (0.0..=10.0).contains(extra)));
        assert!(extras.iter().any(|&extra| extra < 0.5) && extras.iter().any(|&extra| extra > 9.5));
    }

    proptest! {
        #[test]
        fn nothing_overtakes(
            seed: u64,
            max_us in 0u64..20_000,
            gaps in prop::collection::vec(0u64..30_000, 1..200),
        ) {
            let mut rng = LinkRng::seed_from_u64(seed);
            let mut jitter = Jitter::new(Duration::from_micros(max_us));
            let (mut at, mut before) = (Duration::ZERO, Duration::ZERO);
            for gap in gaps {
                at += Duration::from_micros(gap);
                let leaves = jitter.pass(Packet { at, bytes: 1 }, &mut rng).unwrap();
                prop_assert!(leaves >= before && leaves >= at);
                prop_assert!(leaves <= at + Duration::from_micros(max_us));
                before = leaves;
            }
        }
    }
}
