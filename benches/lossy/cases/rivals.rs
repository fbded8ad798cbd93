//! Live frames, held against other runs: the kernel's bbr, or framelane itself over another link.

use framelane::compare::{CAMERAS, Camera};
use framelane::link::{LinkSpec, SpecError};

use super::{P95, P99, PERCENTILES, RTT_MS, base, judge_latency, rtt_ms};
use crate::case::{Case, Contest, Rivals, Setting};
use crate::check::{Bound, Figure, Limit};
use crate::load::{FPS, Load, PAYLOAD_SHARE};
use crate::rival::Rival;

/// Far ahead of the kernel's bbr where packets are lost.
pub(super) fn bbr(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let load = Load::live(setting.seconds);
    let mut cases = Vec::new();
    for percent in [2, 5] {
        for rtt in [50, 100, 200] {
            let mut case = Case::new(format!("bbr-{percent}-{rtt}"));
            let link = base(rtt, &format!(",loss={percent}%"))?;
            let contest = case.contest(setting, "", &link, &load, Rivals::Both);
            judge_latency(&mut case, "", (&link, &load), contest, |_, _| {
                vec![of_bbr(P95, 0.5, contest.bbr), of_bbr(P99, 0.35, contest.bbr)]
            });
            cases.push(case);
        }
    }
    Ok(cases)
}

/// Losses in bursts, which repair is not made for.
pub(super) fn bursts(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let load = Load::live(setting.seconds);
    let bursts = |packets: u32| {
        let mut case = Case::new(format!("burst-{packets}"));
        let link = base(RTT_MS, &format!(",loss=2%,burst={packets}"))?;
        let contest = case.contest(setting, "", &link, &load, Rivals::Bbr);
        let rtt = rtt_ms(&link);
        judge_latency(&mut case, "", (&link, &load), contest, |l0, _| {
            let late = Limit::Most(1.15 * (l0 + rtt));
            vec![Bound::new(P95, "p95 <= 1.15 (L0 + RTT)", late), of_bbr(P95, 0.7, contest.bbr)]
        });
        Ok(case)
    };
    [5, 10].into_iter().map(bursts).collect()
}

/// Losses of acknowledgements must not matter.
pub(super) fn return_path(setting: &Setting) -> Result<Case, SpecError> {
    let load = Load::live(setting.seconds);
    let mut case = Case::new("return-5");
    let clean = base(RTT_MS, "")?;
    let lossy = base(RTT_MS, ",down.loss=5%")?;
    let without = case.contest(setting, "without loss", &clean, &load, Rivals::None);
    let contest = case.contest(setting, "", &lossy, &load, Rivals::None);
    judge_latency(&mut case, "", (&lossy, &load), contest, |_, _| {
        let bound = |(of, (name, _)): (usize, (&str, f64))| {
            let text = format!("{name} <= 1.10 x without loss");
            Bound::new(of, text, Limit::MostOfOwn(1.10, without.own))
        };
        PERCENTILES.into_iter().enumerate().map(bound).collect()
    });
    show(&mut case, "without loss,", (&clean, &load), without);
    Ok(case)
}

/// A small source must not suffer from a large one beside it.
pub(super) fn infrared(setting: &Setting) -> Result<Case, SpecError> {
    /// What the large one takes of the link.
    const SHARE: f64 = 0.6;
    let mut case = Case::new("infrared");
    let link = base(RTT_MS, ",loss=5%")?;
    let rate = link.up.rate().map_or(0.0, |rate| rate.0 as f64);
    let [visible, infrared] = CAMERAS;
    let large = Camera { bytes: (SHARE * PAYLOAD_SHARE * rate / 8.0 / FPS) as usize, ..visible };
    let alone_load = Load::of(&[infrared], setting.seconds);
    let load = Load::of(&[large, infrared], setting.seconds);
    let alone = case.contest(setting, "alone", &link, &alone_load, Rivals::None);
    let beside = case.contest(setting, "beside visible", &link, &load, Rivals::None);
    let undisturbed = alone_load.undisturbed_ms(&link);
    let undisturbed_ms = undisturbed.first().map_or(0.0, |(_, undisturbed)| *undisturbed);
    let figure = Figure::Latency { source: infrared.name, undisturbed_ms };
    let limit = Limit::MostOfOwn(1.3, alone.own);
    let what = format!("beside visible at 60 % (L0 {undisturbed_ms:.1} ms)");
    case.judge(what, figure, vec![Bound::new(P95, "p95 <= 1.3 x alone", limit)], beside);
    show(&mut case, "alone,", (&link, &alone_load), alone);
    Ok(case)
}

/// Rows that others are held against.
fn show(case: &mut Case, what: &str, of: (&LinkSpec, &Load), contest: Contest) {
    judge_latency(case, what, of, contest, |_, _| Vec::new());
}

fn of_bbr(of: usize, times: f64, bbr: Rival) -> Bound {
    let text = format!("{} <= {times} x kernel bbr", PERCENTILES[of].0);
    Bound::new(of, text, Limit::MostOf(times, bbr))
}
