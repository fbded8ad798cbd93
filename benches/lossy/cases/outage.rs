//! The link is down for a while, once.

use std::time::Duration;

use framelane::link::SpecError;

use super::{RTT_MS, base, millis, rtt_ms};
use crate::case::{Case, Rivals, Setting};
use crate::check::{Bound, Figure, Limit};
use crate::load::Load;

/// When it goes down: the start is over.
const AT: Duration = Duration::from_secs(3);
/// What a run goes on for when the link is back, at least.
const AFTER: Duration = Duration::from_secs(3);

/// Fresh frames come through as soon as the link is back.
pub(super) fn all(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let outage = |seconds: u64| {
        let lasts = Duration::from_secs(seconds);
        let back = AT + lasts;
        let load = Load::live(setting.seconds.max((back + AFTER).as_secs_f64()));
        let mut case = Case::new(format!("outage-{seconds}"));
        let outage = format!(",outage={}ms+{}ms", millis(AT), millis(lasts));
        let link = base(RTT_MS, &outage)?;
        let contest = case.contest(setting, "", &link, &load, Rivals::Both);
        let most = Limit::Most(100.0 + 1.5 * rtt_ms(&link));
        for camera in &load.cameras {
            let bounds = vec![
                Bound::new(0, "first fresh frame <= 100 ms + 1.5 RTT after the link is back", most),
                Bound::new(1, "every frame stored", Limit::Most(0.0)),
            ];
            let figure = Figure::FirstFresh { source: camera.name, back };
            case.judge(camera.name, figure, bounds, contest);
        }
        Ok(case)
    };
    [1, 3, 5].into_iter().map(outage).collect()
}
