//! When a link is down and when it is up again, its outages taken together.

use std::time::Duration;

use super::{DirectionSpec, Outage};

/// Outages one right behind the other that are followed; a link that is not up in between is taken
/// for one that never is.
const MOST_IN_A_ROW: usize = 1_000;

impl Outage {
    /// The end of the outage, or of the repetition of it, that is going on at `at`, if one is.
    fn ends_after(&self, at: Duration) -> Option<Duration> {
        let since = at.checked_sub(self.at)?;
        let within = self.every.map_or(since, |every| remainder(since, every));
        (within < self.lasts).then(|| at.saturating_add(self.lasts - within))
    }

    /// When it begins next after `now`; `None` where it does not.
    fn next_after(&self, now: Duration) -> Option<Duration> {
        match (now.checked_sub(self.at), self.every) {
            (None, _) => Some(self.at),
            (Some(_), None) => None,
            (Some(since), Some(every)) => {
                Some(now.saturating_add(every.saturating_sub(remainder(since, every))))
            }
        }
    }
}

impl DirectionSpec {
    /// `at`, or the end of the outages that cover it, however they overlap. `None` where the link
    /// is never up again.
    pub fn up_from(&self, mut at: Duration) -> Option<Duration> {
        for _ in 0..MOST_IN_A_ROW {
            match self.outages.iter().filter_map(|outage| outage.ends_after(at)).max() {
                Some(end) => at = end,
                None => return Some(at),
            }
        }
        None
    }

    /// The beginning of the next outage after `now`, at which the link is up.
    pub fn down_after(&self, now: Duration) -> Option<Duration> {
        self.outages.iter().filter_map(|outage| outage.next_after(now)).min()
    }
}

fn remainder(time: Duration, period: Duration) -> Duration {
    let nanos = time.as_nanos() % period.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSpec;

    fn up(outages: &[(u64, u64, Option<u64>)]) -> DirectionSpec {
        let ms = Duration::from_millis;
        let outages = outages.iter().map(|&(at, lasts, every)| Outage {
            at: ms(at),
            lasts: ms(lasts),
            every: every.map(ms),
        });
        DirectionSpec { outages: outages.collect(), ..DirectionSpec::default() }
    }

    #[test]
    fn overlapping_outages_are_one_long_one() {
        let link = up(&[(100, 50, None), (120, 100, None), (220, 10, Some(1_000))]);
        let ms = Duration::from_millis;
        for (at, back) in [(0, 0), (99, 99), (100, 230), (219, 230), (230, 230), (1_225, 1_230)] {
            assert_eq!(link.up_from(ms(at)), Some(ms(back)), "{at} ms");
        }
        assert_eq!(link.down_after(ms(230)), Some(ms(1_220)));
        assert_eq!(up(&[(5, 1, None)]).down_after(ms(5)), None);
    }

    #[test]
    fn outages_that_take_turns_leave_no_link() {
        let link = up(&[(0, 1_000, Some(2_000)), (1_000, 1_000, Some(2_000))]);
        assert_eq!(link.up_from(Duration::ZERO), None);
        assert!("outage=5s+1s".parse::<LinkSpec>().unwrap().up.up_from(Duration::ZERO).is_some());
    }
}
