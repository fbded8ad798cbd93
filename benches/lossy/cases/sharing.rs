//! Others on the same link: their packets, and their share.

use std::time::Duration;

use framelane::compare::Variant;
use framelane::link::{LinkSpec, SpecError};

use super::bulk::{load, queue_bytes};
use super::{BASE_RATE, RTT_MS, link};
use crate::case::{Case, Contest, Rivals, Setting, Work, own};
use crate::check::{Bound, Figure, Limit};
use crate::load::Load;
use crate::rival::Rival;

/// The base rate in Mbit/s.
const MBIT: u32 = 50;
/// More frames than either can send in the time, whatever its share.
const PLENTY: f64 = 1.5;

/// What it drops into the queue, and what it leaves to others.
pub(super) fn all(setting: &Setting) -> Result<Vec<Case>, SpecError> {
    let mut cases = vec![queue_loss(setting)?];
    let link = one_product(1.0)?;
    let mut own_pair = Case::new("neighbours-own");
    let pair = shared(&mut own_pair, setting, &link, own());
    own_pair.judge("", Figure::FirstShare, between(0.4, 0.6), Contest::alone(pair));
    let mut beside = Case::new("neighbours-cubic");
    match setting.kernel("cubic") {
        Ok(cubic) => {
            let pair = shared(&mut beside, setting, &link, cubic);
            beside.judge("", Figure::FirstShare, between(0.3, 0.7), Contest::alone(pair));
            cases.push(beside);
        }
        // Said in the table's head.
        Err(Rival::NotOffered | Rival::NotRun | Rival::At(_)) => {}
    }
    cases.push(own_pair);
    Ok(cases)
}

fn queue_loss(setting: &Setting) -> Result<Case, SpecError> {
    let mut case = Case::new("neighbours-queue");
    for (what, products) in [("half a BDP", 0.5), ("one BDP", 1.0)] {
        let link = one_product(products)?;
        let contest = case.contest(setting, what, &link, &load(setting, &link), Rivals::Both);
        let text = "at most 2 % of packets lost to the queue";
        let bounds = vec![Bound::new(0, text, Limit::Most(0.02))];
        case.judge(what, Figure::QueueLoss, bounds, contest);
    }
    Ok(case)
}

/// The base link with a queue of so many bandwidth-delay products, without loss.
fn one_product(products: f64) -> Result<LinkSpec, SpecError> {
    let queue = queue_bytes(MBIT, RTT_MS, products);
    link(BASE_RATE, RTT_MS, &format!("queue={queue}B"))
}

fn shared(case: &mut Case, setting: &Setting, link: &LinkSpec, other: Variant) -> usize {
    let lasts = Duration::from_secs_f64(setting.seconds);
    // One of them has the link to itself for a second.
    let load = Load::bulk((setting.seconds + 1.0) * PLENTY, f64::from(MBIT));
    let what = format!("{} beside {other}", own());
    case.cell(what, link, Work::Shared { variants: [own(), other], load, lasts })
}

fn between(least: f64, most: f64) -> Vec<Bound> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    vec![
        Bound::new(0, format!("takes >= {}", percent(least)), Limit::Least(least)),
        Bound::new(0, format!("<= {}", percent(most)), Limit::Most(most)),
    ]
}
