//! As fast as the link takes it.

use std::fmt::Write;
use std::sync::Arc;

use framelane::compare::limit::goodput_mbit;
use framelane::link::{Capacity, LinkSpec, SpecError, Trace};

use super::{BASE_RATE, P50, RTT_MS, link, rtt_ms};
use crate::case::{Case, Rivals, Setting};
use crate::check::{Bound, Figure, Limit};
use crate::load::{Load, PAYLOAD_SHARE};

/// The queue of a cell holds a bandwidth-delay product, but no less than this.
const LEAST_QUEUE_BYTES: u64 = 30_000;

/// A queue of a whole second, which a sender had better not fill.
pub(super) fn bufferbloat(setting: &Setting) -> Result<Case, SpecError> {
    let mut case = Case::new("bloat-bulk");
    let link = link(BASE_RATE, RTT_MS, "queue=1s")?;
    let contest = case.contest(setting, "", &link, &load(setting, &link), Rivals::Both);
    let most = Limit::Most((0.3 * rtt_ms(&link)).max(15.0));
    let bounds = vec![Bound::new(P50, "median wait in the queue <= max(15 ms, 0.3 RTT)", most)];
    case.judge("", Figure::QueueWait, bounds, contest);
    Ok(case)
}

/// Half of the rate is gone in the middle third.
pub(super) fn step(setting: &Setting) -> Result<Case, SpecError> {
    let trace = steps(setting.seconds, &[50, 25, 50]);
    let mut link = link(BASE_RATE, RTT_MS, "queue=312500B")?;
    // The way back keeps its rate: what is asked is whether the sender follows.
    link.up.capacity = Capacity::Trace(Arc::clone(&trace));
    Ok(traced("step", setting, &link, trace))
}

/// The synthetic drive through a mobile network.
pub(super) fn lte(setting: &Setting) -> Result<Case, SpecError> {
    let link: LinkSpec = "lte-moving".parse()?;
    let Capacity::Trace(trace) = link.up.capacity.clone() else {
        return Ok(Case::new("lte"));
    };
    Ok(traced("lte", setting, &link, trace))
}

fn traced(name: &str, setting: &Setting, link: &LinkSpec, trace: Arc<Trace>) -> Case {
    let mut case = Case::new(name);
    let contest = case.contest(setting, "", link, &load(setting, link), Rivals::Both);
    let carried = PAYLOAD_SHARE * (1.0 - link.up.loss.fraction());
    let text = "goodput >= 0.85 of what the link carried";
    let bounds = vec![Bound::new(0, text, Limit::Least(0.85))];
    case.judge("", Figure::OfTrace { trace, carried }, bounds, contest);
    case
}

/// Rates in Mbit/s, each for an equal part of the time.
fn steps(seconds: f64, rates: &[u32]) -> Arc<Trace> {
    const OPPORTUNITY_BITS: u32 = 12_000;
    let part_ms = ((seconds * 1e3) as u32 / rates.len() as u32).max(1);
    let (mut text, mut saved, mut now_ms) = (String::new(), 0, 0);
    for rate in rates {
        for _ in 0..part_ms {
            now_ms += 1;
            // 1 Mbit/s is 1,000 bits a millisecond.
            saved += rate * 1_000;
            while saved >= OPPORTUNITY_BITS {
                saved -= OPPORTUNITY_BITS;
                let _ = writeln!(text, "{now_ms}");
            }
        }
    }
    let trace = Trace::parse("50/25/50 Mbit/s", &text);
    Arc::new(trace.expect("rising milliseconds are a trace"))
}

/// Rates, round trips and losses.
pub(super) fn grid(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let mut cases = Vec::new();
    for mbit in [10, 50, 200] {
        for rtt in [10, 50, 200] {
            for percent in [0, 2, 5, 10] {
                cases.push(cell(setting, mbit, rtt, percent)?);
            }
        }
    }
    Ok(cases)
}

fn cell(setting: &Setting, mbit: u32, rtt: u32, percent: u32) -> Result<Case, SpecError> {
    let mut case = Case::new(format!("bulk-{mbit}-{rtt}-{percent}"));
    let queue = queue_bytes(mbit, rtt, 1.0).max(LEAST_QUEUE_BYTES);
    let further = format!("queue={queue}B,loss={percent}%");
    let link = link(&format!("{mbit}mbit"), rtt, &further)?;
    let rivals = if percent == 0 { Rivals::Both } else { Rivals::Bbr };
    let contest = case.contest(setting, "", &link, &load(setting, &link), rivals);
    let (share, text) = if percent > 5 { (0.8, "0.80") } else { (0.9, "0.90") };
    let limit_mbit = limit(&link);
    let of_limit = format!(">= {text} x {limit_mbit:.1} Mbit/s");
    let bounds = vec![
        Bound::new(0, of_limit, Limit::Least(share * limit_mbit)),
        Bound::new(0, ">= kernel bbr", Limit::LeastOf(1.0, contest.bbr)),
    ];
    case.judge("", Figure::Goodput { limit_mbit }, bounds, contest);
    Ok(case)
}

/// A queue of so many bandwidth-delay products.
pub(super) fn queue_bytes(mbit: u32, rtt_ms: u32, products: f64) -> u64 {
    (f64::from(mbit) * 1e3 / 8.0 * f64::from(rtt_ms) * products) as u64
}

/// What takes about as long as it should at the limit.
pub(super) fn load(setting: &Setting, link: &LinkSpec) -> Load {
    Load::bulk(setting.seconds, limit(link))
}

fn limit(link: &LinkSpec) -> f64 {
    goodput_mbit(&link.up).unwrap_or(100.0)
}
