//! What two links are worth together, in words.

use super::{TIE, worst};
use crate::compare::Over;
use crate::compare::outcome::{LinkOutcome, Row};

/// How both together stand beside each alone and beside the kernel's TCP.
pub(super) fn verdict(link: &LinkOutcome, ours: &Row, live: bool) -> String {
    let alone = [Over::First, Over::Second].map(|over| {
        let alone = ours.variant.over(over);
        link.rows.iter().find(|row| row.variant == alone)
    });
    let kernels = || link.rows.iter().filter(|row| row.variant.transport != ours.variant.transport);
    match live {
        true => in_time(ours, alone, kernels()),
        false => in_bulk(link, ours, alone, kernels()),
    }
}

fn in_bulk<'a>(
    link: &LinkOutcome,
    ours: &Row,
    alone: [Option<&Row>; 2],
    kernels: impl Iterator<Item = &'a Row>,
) -> String {
    let rate = |row: &Row| Some(row.summary.goodput_mbit?.median);
    let Some(mine) = rate(ours) else { return format!("{} failed", ours.variant) };
    let mut sentence = format!("{} carries {mine:.1} Mbit/s", ours.variant);
    if let [Some(first), Some(second)] = alone.map(|row| row.and_then(rate)) {
        let sum = first + second;
        let part = mine / sum.max(0.01);
        sentence.push_str(&format!(
            ", {part:.2} of the {sum:.1} that the links carry alone ({first:.1} and {second:.1})"
        ));
    }
    if let Some(limit) = link.limit_mbit {
        sentence.push_str(&format!(" and {:.2} of the limit of both", mine / limit.max(0.01)));
    }
    let best = kernels.filter_map(|row| Some((rate(row)?, row)));
    match best.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((other, row)) => {
            let times = mine / other.max(0.01);
            format!("{sentence}; {times:.1} times {} ({other:.1})", row.variant)
        }
        None => sentence,
    }
}

fn in_time<'a>(
    ours: &Row,
    alone: [Option<&Row>; 2],
    kernels: impl Iterator<Item = &'a Row>,
) -> String {
    let p95 = |row: &Row| worst(row).map(|worst| worst.p95);
    let told = |row: &Row| match p95(row) {
        Some(p95) => format!("{} {p95:.0} ms", row.variant),
        None => format!("{} cannot keep up", row.variant),
    };
    let mut others: Vec<String> = alone.into_iter().flatten().map(told).collect();
    let kernels: Vec<&Row> = kernels.collect();
    let best = kernels.iter().filter_map(|row| Some((p95(row)?, *row)));
    match best.min_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, row)) => others.push(told(row)),
        None if kernels.is_empty() => {}
        None => others.push("the kernel's TCP cannot keep up".to_owned()),
    }
    let Some(mine) = p95(ours) else {
        return format!("{} cannot keep up; {}", ours.variant, others.join(", "));
    };
    let better = alone.into_iter().flatten().filter_map(p95).fold(f64::INFINITY, f64::min);
    let how = match mine {
        mine if mine <= better * (1.0 - TIE) => "earlier than over either alone",
        mine if mine <= better * (1.0 + TIE) => "as early as over the better one alone",
        _ => "later than over the better one alone",
    };
    format!("{} has a p95 of {mine:.0} ms, {how} ({})", ours.variant, others.join(", "))
}
