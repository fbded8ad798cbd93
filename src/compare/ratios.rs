//! This build's figures as multiples of another's, and both beside the kernel's TCP.

use super::outcome::{Comparison, LinkOutcome, Row, Summary};
use super::statistics::Spread;

/// A line for each link and transport that another build made runs of as well. Below 1 is less than the other's.
pub fn ratios(comparison: &Comparison) -> Vec<String> {
    let lines = |link: &LinkOutcome| -> Vec<String> {
        let others = link.rows.iter().filter(|row| row.variant.other_build);
        others.filter_map(|other| line(link, other)).collect()
    };
    comparison.links.iter().flat_map(lines).collect()
}

fn line(link: &LinkOutcome, other: &Row) -> Option<String> {
    let ours = link.rows.iter().find(|row| row.variant == other.variant.of_this_build())?;
    let mut parts: Vec<String> =
        ours.summary.sources.iter().zip(&other.summary.sources).filter_map(latencies).collect();
    parts.extend(part("goodput", ratio(goodput(&ours.summary), goodput(&other.summary))));
    parts.extend(part("processor time", ratio(cpu(&ours.summary), cpu(&other.summary))));
    let tcp = link.rows.iter().filter(|row| row.variant.transport == "tcp");
    for row in tcp {
        let of = |summary| ratio(cpu(summary), cpu(&row.summary));
        if let (Some(this), Some(that)) = (of(&ours.summary), of(&other.summary)) {
            let name = &row.variant;
            parts.push(format!("of {name}'s processor time {this:.2}, the other {that:.2}"));
        }
    }
    let variant = &ours.variant;
    Some(format!("{}, {variant}, this build / the other: {}", link.label, parts.join("; ")))
}

fn latencies(
    (ours, theirs): (&super::outcome::SourceSummary, &super::outcome::SourceSummary),
) -> Option<String> {
    let (mine, other) = (ours.latency?, theirs.latency?);
    let each = [(mine.p50, other.p50), (mine.p95, other.p95), (mine.p99, other.p99)];
    let each = each.map(|(mine, other)| {
        ratio(Some(mine.median), Some(other.median))
            .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    });
    Some(format!("{} p50/p95/p99 {}", ours.name, each.join("/")))
}

fn part(name: &str, ratio: Option<f64>) -> Option<String> {
    ratio.map(|ratio| format!("{name} {ratio:.2}"))
}

fn ratio(mine: Option<f64>, other: Option<f64>) -> Option<f64> {
    let ratio = mine? / other.filter(|other| *other > 0.0)?;
    ratio.is_finite().then_some(ratio)
}

fn goodput(summary: &Summary) -> Option<f64> {
    summary.goodput_mbit.map(|spread| spread.median)
}

/// Seconds of both ends.
fn cpu(summary: &Summary) -> Option<f64> {
    let of = |spread: Option<Spread>| spread.map(|spread| spread.median);
    Some(of(summary.cpu_sender)? + of(summary.cpu_receiver)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Variant;
    use crate::compare::outcome::Offered;
    use crate::congestion::Congestion;

    fn row(variant: Variant, mbit: f64, cpu: f64) -> Row {
        let exactly = |value| Some(Spread { median: value, min: value, max: value });
        let summary = Summary {
            goodput_mbit: exactly(mbit),
            cpu_sender: exactly(cpu),
            cpu_receiver: exactly(cpu * 2.0),
            ..Summary::default()
        };
        Row { variant, summary, runs: Vec::new() }
    }

    #[test]
    fn a_build_is_held_against_the_other_and_both_against_tcp() {
        let quic = Variant::quic(Congestion::default());
        let tcp = Variant {
            transport: "tcp".to_owned(),
            congestion: Some("bbr".to_owned()),
            other_build: false,
            over: None,
        };
        let rows = vec![
            row(quic.clone(), 20.0, 0.3),
            row(quic.of_other_build(), 10.0, 0.6),
            row(tcp, 20.0, 0.1),
        ];
        let link = LinkOutcome {
            label: "here".to_owned(),
            spec: String::new(),
            rtt_ms: 1.0,
            limit_mbit: None,
            unmet_outages: Vec::new(),
            alone: Vec::new(),
            left_out: Vec::new(),
            rows,
        };
        let comparison = Comparison {
            version: String::new(),
            against: Some("it".to_owned()),
            seed: 0,
            offered: Offered { fps: None, sources: Vec::new(), mbit: None, generated: true },
            repeat: 1,
            missing_runs: 0,
            links: vec![link],
        };
        let expected = "here, quic lossy, this build / the other: goodput 2.00; processor time 0.50; \
                        of tcp bbr's processor time 3.00, the other 6.00";
        assert_eq!(ratios(&comparison), [expected]);
    }
}
