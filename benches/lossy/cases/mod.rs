//! The cases of the table, in its order.

mod bulk;
mod live;
mod outage;
mod rivals;
mod sharing;

use std::time::Duration;

use framelane::link::{LinkSpec, SpecError};

use crate::case::{Case, Contest, Setting};
use crate::check::{Bound, Figure};
use crate::load::{Load, PAYLOAD_SHARE};

/// The percentiles, as they are written and as shares.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];
const P50: usize = 0;
const P95: usize = 1;
const P99: usize = 2;

/// The round trip where a case does not say another, in ms.
const RTT_MS: u32 = 50;
/// The rate where a case does not say another.
const BASE_RATE: &str = "50mbit";

/// All of them.
///
/// # Errors
/// [`SpecError`] would be a link that is written wrong here.
pub(crate) fn all(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let mut cases = live::clean(setting)?;
    cases.extend(live::repair(setting)?);
    cases.extend(live::without_repair(setting)?);
    cases.extend(rivals::bbr(setting)?);
    cases.extend(rivals::bursts(setting)?);
    cases.push(live::bufferbloat(setting)?);
    cases.push(bulk::bufferbloat(setting)?);
    cases.extend(outage::all(setting)?);
    cases.push(bulk::step(setting)?);
    cases.push(bulk::lte(setting)?);
    cases.extend(bulk::grid(setting)?);
    cases.push(rivals::return_path(setting)?);
    cases.push(rivals::infrared(setting)?);
    cases.extend(sharing::all(setting)?);
    Ok(cases)
}

/// The base link with another round trip and further items, which begin with a comma.
fn base(rtt_ms: u32, further: &str) -> Result<LinkSpec, SpecError> {
    link(BASE_RATE, rtt_ms, &format!("queue=312500B{further}"))
}

fn link(rate: &str, rtt_ms: u32, further: &str) -> Result<LinkSpec, SpecError> {
    format!("rate={rate},delay={}us,{further}", rtt_ms * 500).parse()
}

/// The rate at which a load takes this share of what a link carries.
fn rate_for(load: &Load, share: f64) -> String {
    format!("{:.0}bit", load.mbit() * 1e6 / (share * PAYLOAD_SHARE))
}

fn rtt_ms(link: &LinkSpec) -> f64 {
    millis(link.round_trip())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A row for each source, judged by bounds that follow from its L0 and the bytes of its frames.
fn judge_latency(
    case: &mut Case,
    what: &str,
    (link, load): (&LinkSpec, &Load),
    contest: Contest,
    bounds: impl Fn(f64, u64) -> Vec<Bound>,
) {
    for (camera, undisturbed_ms) in load.undisturbed_ms(link) {
        let what = format!("{what} {} (L0 {undisturbed_ms:.1} ms)", camera.name);
        let figure = Figure::Latency { source: camera.name, undisturbed_ms };
        let bounds = bounds(undisturbed_ms, camera.bytes as u64);
        case.judge(what.trim(), figure, bounds, contest);
    }
}
