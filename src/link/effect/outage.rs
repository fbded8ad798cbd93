//! Times at which the link is down, and what was sent then is lost.

use std::time::Duration;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::link::spec::Outage;

/// Loses what leaves the sending end while any of the outages lasts.
#[derive(Debug, Clone)]
pub struct Outages(
    /// May overlap.
    pub Vec<Outage>,
);

impl Effect for Outages {
    fn pass(&mut self, packet: Packet, _rng: &mut LinkRng) -> Result<Duration, DropReason> {
        if self.0.iter().any(|outage| covers(outage, packet.at)) {
            return Err(DropReason::Outage);
        }
        Ok(packet.at)
    }
}

/// Whether the outage, or a repetition of it, is going on.
fn covers(outage: &Outage, at: Duration) -> bool {
    let Some(since) = at.checked_sub(outage.at) else { return false };
    let into = match outage.every {
        Some(every) => remainder(since, every),
        None => since,
    };
    into < outage.lasts
}

fn remainder(time: Duration, period: Duration) -> Duration {
    let nanos = time.as_nanos().checked_rem(period.as_nanos()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::effect::testing;

    fn lost_at(outages: &mut Outages, millis: u64) -> bool {
        let packet = Packet { at: Duration::from_millis(millis), bytes: 100 };
        outages.pass(packet, &mut testing::unused()) == Err(DropReason::Outage)
    }

    #[test]
    fn the_link_is_down_from_at_until_at_plus_for() {
        let at = Duration::from_millis(100);
        let lasts = Duration::from_millis(50);
        let mut once = Outages(vec![Outage { at, lasts, every: None }]);
        for (millis, lost) in [(0, false), (99, false), (100, true), (149, true), (150, false)] {
            assert_eq!(lost_at(&mut once, millis), lost, "{millis} ms");
        }
    }

    #[test]
    fn a_repeating_outage_comes_back() {
        let every = Some(Duration::from_millis(1_000));
        let at = Duration::from_millis(100);
        let lasts = Duration::from_millis(50);
        let mut outages = Outages(vec![Outage { at, lasts, every }]);
        for (millis, lost) in
            [(50, false), (120, true), (1_099, false), (1_100, true), (7_149, true)]
        {
            assert_eq!(lost_at(&mut outages, millis), lost, "{millis} ms");
        }
    }
}
