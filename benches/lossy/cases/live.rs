//! Live frames, held against what the link allows.

use framelane::compare::limit::{Losses, rounds};
use framelane::link::SpecError;

use super::{P50, P95, P99, PERCENTILES, RTT_MS, base, judge_latency, link, rate_for, rtt_ms};
use crate::case::{Case, Contest, Rivals, Setting};
use crate::check::{Bound, Figure, Limit};
use crate::load::Load;

/// The share of a link that live frames may take and still be on time.
const HEAVY: f64 = 0.7;

/// Nothing is lost: light and heavy load.
pub(super) fn clean(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let load = Load::live(setting.seconds);
    let clean = |rtt: u32| {
        let mut case = Case::new(format!("clean-{rtt}"));
        let heavy = link(&rate_for(&load, HEAVY), rtt, "queue=312500B")?;
        for (what, link) in [("38 %", base(rtt, "")?), ("70 %", heavy)] {
            let contest = case.contest(setting, what, &link, &load, Rivals::Both);
            judge_latency(&mut case, what, (&link, &load), contest, |l0, _| {
                let late = Limit::Most(1.25 * l0 + 2.0);
                vec![times_l0(P50, 1.10, l0), Bound::new(P99, "p99 <= 1.25 L0 + 2 ms", late)]
            });
        }
        Ok(case)
    };
    [10, 50, 100, 200].into_iter().map(clean).collect()
}

/// Repair as framelane decides on it.
pub(super) fn repair(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let load = Load::live(setting.seconds);
    let repair = |(percent, overhead): (u32, f64)| {
        let mut case = Case::new(format!("repair-{percent}"));
        let link = base(RTT_MS, &format!(",loss={percent}%"))?;
        let contest = case.contest(setting, "", &link, &load, Rivals::Bbr);
        let rtt = rtt_ms(&link);
        judge_latency(&mut case, "", (&link, &load), contest, |l0, _| match percent {
            10 => {
                let late = Limit::Most(l0 + 1.2 * rtt);
                vec![times_l0(P95, 1.35, l0), Bound::new(P99, "p99 <= L0 + 1.2 RTT", late)]
            }
            _ => vec![times_l0(P50, 1.15, l0), times_l0(P95, 1.25, l0), times_l0(P99, 1.40, l0)],
        });
        let text = format!("repair bytes <= {:.0} % of payload", overhead * 100.0);
        let bounds = vec![Bound::new(0, text, Limit::Most(overhead))];
        case.judge("overhead", Figure::Overhead, bounds, Contest::alone(contest.own));
        Ok(case)
    };
    [(1, 0.2), (2, 0.2), (5, 0.2), (10, 0.35)].into_iter().map(repair).collect()
}

/// Retransmission alone.
pub(super) fn without_repair(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let load = Load::live(setting.seconds).without_repair();
    let without = |percent: u32| {
        let mut case = Case::new(format!("norepair-{percent}"));
        let link = base(RTT_MS, &format!(",loss={percent}%"))?;
        let contest = case.contest(setting, "", &link, &load, Rivals::None);
        judge_latency(&mut case, "", (&link, &load), contest, |l0, bytes| {
            let bound = |(of, (name, q)): (usize, (&str, f64))| {
                let rounds = rounds(Losses::of(&link.up), bytes, q);
                let most = Limit::Most(1.15 * (l0 + f64::from(rounds) * rtt_ms(&link)));
                Bound::new(of, format!("{name} <= 1.15 (L0 + {rounds} RTT)"), most)
            };
            PERCENTILES.into_iter().enumerate().map(bound).collect()
        });
        Ok(case)
    };
    [1, 2, 5].into_iter().map(without).collect()
}

/// A queue of a whole second, which a sender had better not fill.
pub(super) fn bufferbloat(setting: &Setting) -> Result<Case, SpecError> {
    let load = Load::live(setting.seconds);
    let mut case = Case::new("bloat-live");
    let link = link(&rate_for(&load, HEAVY), RTT_MS, "queue=1s")?;
    let contest = case.contest(setting, "", &link, &load, Rivals::Both);
    judge_latency(&mut case, "", (&link, &load), contest, |l0, _| {
        vec![Bound::new(P95, "p95 <= L0 + 30 ms", Limit::Most(l0 + 30.0))]
    });
    Ok(case)
}

fn times_l0(of: usize, times: f64, l0: f64) -> Bound {
    let text = format!("{} <= {times:.2} L0", PERCENTILES[of].0);
    Bound::new(of, text, Limit::Most(times * l0))
}
