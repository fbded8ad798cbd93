//! Who wins by how much, in words.

mod pair;

use super::outcome::{Comparison, LinkOutcome, Row, Shortfall};

/// Differences below this share are not called better or worse.
const TIE: f64 = 0.05;
/// Nor are differences in latency below this, in ms: the resolution of timers and schedulers.
const TIE_MS: f64 = 1.0;

/// A sentence or two for each link.
pub fn verdicts(comparison: &Comparison) -> Vec<String> {
    let offered = &comparison.offered;
    let verdict = |link| verdict(link, offered.mbit, offered.fps.is_some());
    comparison.links.iter().filter_map(verdict).collect()
}

/// Each figure in which framelane's QUIC is worse than another transport.
pub fn losses(comparison: &Comparison) -> Vec<String> {
    let live = comparison.offered.fps.is_some();
    comparison.links.iter().flat_map(|link| link_losses(link, live)).collect()
}

/// Where more is offered than the link carries, no transport can keep up, and that is no fault.
fn overload(link: &LinkOutcome, offered_mbit: Option<f64>) -> String {
    // After an outage a backlog is caught up with, for which the frames need not be fewer.
    if link.spec.contains("outage=") && link.rows.iter().any(|row| row.summary.steady > 0) {
        return String::new();
    }
    match (link.limit_mbit, offered_mbit) {
        (Some(limit), Some(offered)) if offered > limit => format!(
            ". {offered:.1} Mbit/s are offered and the link carries {limit:.1} at most: lower --fps"
        ),
        _ => String::new(),
    }
}

fn verdict(link: &LinkOutcome, offered_mbit: Option<f64>, live: bool) -> Option<String> {
    let ours = link.rows.iter().find(|row| row.variant.is_default())?;
    if !link.alone.is_empty() {
        let sentence = pair::verdict(link, ours, live);
        return Some(format!("{}: {sentence}{}", link.label, overload(link, offered_mbit)));
    }
    let others: Vec<&Row> =
        link.rows.iter().filter(|row| row.variant.transport != ours.variant.transport).collect();
    let sentence = if live { live_verdict(ours, &others) } else { bulk_verdict(ours, &others) };
    Some(format!("{}: {sentence}{}", link.label, overload(link, offered_mbit)))
}

fn live_verdict(ours: &Row, others: &[&Row]) -> String {
    let without: Vec<&Row> = others.iter().copied().filter(|row| worst(row).is_none()).collect();
    let best = others
        .iter()
        .filter_map(|row| Some((worst(row)?.p95, *row)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let me = &ours.variant;
    let mine = worst(ours);
    let mut sentence = match (mine, best) {
        (None, None) => return nobody(ours, &without),
        (None, Some((p95, row))) => {
            let how = if failed(ours) {
                format!("{me} failed; {} keeps up", row.variant)
            } else {
                format!("{me} does not keep up; {} does", row.variant)
            };
            format!("{how}, with a p95 of {p95:.0} ms")
        }
        (Some(Worst { p95, .. }), None) => format!("only {me} keeps up, with a p95 of {p95:.0} ms"),
        (Some(Worst { p95, .. }), Some((other, row))) => {
            let than = format!("{} ({other:.0} ms)", row.variant);
            match compare(p95, other) {
                Standing::Better => format!(
                    "{me} is ahead: 95 % of frames within {p95:.0} ms, {:.1} times as fast as {than}",
                    other / p95
                ),
                Standing::Worse => format!(
                    "{me} is behind: 95 % of frames within {p95:.0} ms, {:.1} times as long as {than}",
                    p95 / other
                ),
                Standing::Alike => format!("{me} (p95 {p95:.0} ms) and {than} are alike"),
            }
        }
    };
    if let Some(Worst { source, ratio, .. }) = mine {
        sentence.push_str(&format!("; for {source} that is {ratio:.2} times the limit"));
    }
    // That only one keeps up says of all others that are slow that they do not.
    let only = best.is_none() && !without.iter().any(|row| failed(row));
    if mine.is_some() && !only {
        left_out(&without).iter().for_each(|part| sentence.push_str(&format!("; {part}")));
    }
    sentence
}

/// What there is to say where no transport kept up.
fn nobody(ours: &Row, others: &[&Row]) -> String {
    let all: Vec<&Row> = std::iter::once(ours).chain(others.iter().copied()).collect();
    if all.iter().any(|row| failed(row)) {
        left_out(&all).join("; ")
    } else {
        "nothing keeps up with this load".to_owned()
    }
}

/// Those that were too slow, and those that failed: two things.
fn left_out(rows: &[&Row]) -> Vec<String> {
    let named = |wanted: bool| {
        let rows = rows.iter().filter(|row| failed(row) == wanted);
        rows.map(|row| row.variant.to_string()).collect::<Vec<_>>().join(", ")
    };
    let parts = [(named(false), "cannot keep up"), (named(true), "failed")];
    let parts = parts.into_iter().filter(|(names, _)| !names.is_empty());
    parts.map(|(names, what)| format!("{names} {what}")).collect()
}

/// True where no repetition was too slow, but some failed.
fn failed(row: &Row) -> bool {
    row.summary.shortfall() == Some(Shortfall::Failed)
}

fn bulk_verdict(ours: &Row, others: &[&Row]) -> String {
    let goodput = |row: &Row| Some(row.summary.goodput_mbit?.median);
    let rates = others.iter().filter_map(|row| Some((goodput(row)?, *row)));
    let best = rates.max_by(|a, b| a.0.total_cmp(&b.0));
    let broken: Vec<&Row> = others.iter().copied().filter(|row| goodput(row).is_none()).collect();
    let mut sentence = match (goodput(ours), best) {
        (None, None) => format!("{} failed", ours.variant),
        (None, Some((other, row))) => {
            format!("{} failed; {} carries {other:.1} Mbit/s", ours.variant, row.variant)
        }
        (Some(mine), None) => format!("{}: {mine:.1} Mbit/s", ours.variant),
        (Some(mine), Some((other, row))) => bulk_standing((mine, ours), (other, row)),
    };
    if !broken.is_empty() {
        let names: Vec<String> = broken.iter().map(|row| row.variant.to_string()).collect();
        sentence.push_str(&format!("; {} failed", names.join(", ")));
    }
    sentence
}

/// How two stand to each other that both carried something, each with its rate.
fn bulk_standing(ours: (f64, &Row), best: (f64, &Row)) -> String {
    let ((high, faster), (low, slower)) =
        if ours.0 >= best.0 { (ours, best) } else { (best, ours) };
    let (faster, slower) = (&faster.variant, &slower.variant);
    if high - low <= TIE * high {
        return format!("{faster} and {slower} are alike at {high:.1} Mbit/s");
    }
    let times = high / low.max(0.01);
    format!(
        "{faster} carries {high:.1} Mbit/s, {times:.1} times as much as {slower} ({low:.1} Mbit/s)"
    )
}

/// The source of a row that is worst off.
#[derive(Clone, Copy)]
struct Worst<'a> {
    source: &'a str,
    /// In ms.
    p95: f64,
    /// As a ratio to the limit.
    ratio: f64,
}

/// `None` where the row does not keep up.
fn worst(row: &Row) -> Option<Worst<'_>> {
    let sources = row.summary.sources.iter();
    let all: Option<Vec<Worst<'_>>> = sources
        .map(|source| {
            let latency = source.latency?;
            Some(Worst { source: &source.name, p95: latency.p95.median, ratio: latency.ratio[1] })
        })
        .collect();
    all?.into_iter().max_by(|a, b| a.p95.total_cmp(&b.p95))
}

fn link_losses(link: &LinkOutcome, live: bool) -> Vec<String> {
    let Some(ours) = link.rows.iter().find(|row| row.variant.is_default()) else {
        return Vec::new();
    };
    let mut losses = Vec::new();
    for row in link.rows.iter().filter(|row| !row.variant.is_default()) {
        let mut worse = Vec::new();
        if live {
            latency_losses(ours, row, &mut worse);
        } else {
            goodput_loss(ours, row, &mut worse);
        }
        if !worse.is_empty() {
            losses.push(format!("{}, {}: {}", link.label, row.variant, worse.join("; ")));
        }
    }
    losses
}

fn latency_losses(ours: &Row, row: &Row, worse: &mut Vec<String>) {
    for (mine, theirs) in ours.summary.sources.iter().zip(&row.summary.sources) {
        let Some(their) = theirs.latency else { continue };
        let Some(my) = mine.latency else {
            let how = if failed(ours) { "failed" } else { "does not" };
            worse.push(format!("{} keeps up, {} {how}", theirs.name, ours.variant));
            continue;
        };
        let quantiles =
            [("p50", my.p50, their.p50), ("p95", my.p95, their.p95), ("p99", my.p99, their.p99)];
        for (name, my, their) in quantiles {
            if compare(my.median, their.median) == Standing::Worse {
                worse.push(format!(
                    "{} {name} {:.1} ms against {:.1} ms",
                    mine.name, their.median, my.median
                ));
            }
        }
    }
}

fn goodput_loss(ours: &Row, row: &Row, worse: &mut Vec<String>) {
    let Some(theirs) = row.summary.goodput_mbit.map(|spread| spread.median) else { return };
    match ours.summary.goodput_mbit.map(|spread| spread.median) {
        None => worse.push(format!("{theirs:.1} Mbit/s, {} failed", ours.variant)),
        Some(mine) if theirs > mine * (1.0 + TIE) => {
            worse.push(format!("{theirs:.1} Mbit/s against {mine:.1}"));
        }
        Some(_) => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Better,
    Alike,
    Worse,
}

/// How a latency stands to another.
fn compare(mine: f64, other: f64) -> Standing {
    let margin = (TIE * other.min(mine)).max(TIE_MS);
    if mine > other + margin {
        Standing::Worse
    } else if mine + margin < other {
        Standing::Better
    } else {
        Standing::Alike
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::outcome::{LatencySummary, Offered, SourceSummary, Summary};
    use crate::compare::statistics::{Quantiles, Spread};
    use crate::compare::{Variant, kernel_variants};

    fn exactly(value: f64) -> Spread {
        Spread { median: value, min: value, max: value }
    }

    fn row(variant: &Variant, p95: Option<f64>, mbit: f64) -> Row {
        let latency = p95.map(|p95| LatencySummary {
            p50: exactly(p95 / 2.0),
            p95: exactly(p95),
            p99: exactly(p95),
            max: exactly(p95),
            limit: Quantiles { p50: 10.0, p95: 20.0, p99: 20.0, max: 20.0 },
            ratio: [p95 / 20.0, p95 / 20.0, p95 / 20.0],
        });
        let source = SourceSummary { name: "visible".to_owned(), latency, ..Default::default() };
        let goodput_mbit = Some(exactly(mbit));
        let (runs, steady) = (2, if p95.is_some() { 2 } else { 0 });
        let sources = vec![source];
        let summary = Summary { goodput_mbit, sources, runs, steady, ..Default::default() };
        Row { variant: variant.clone(), summary, runs: Vec::new() }
    }

    /// QUIC, then TCP with bbr, then with cubic.
    fn comparison(fps: Option<f64>, figures: [(Option<f64>, f64); 3]) -> Comparison {
        let asked = ["quic", "tcp"].map(str::to_owned);
        let kernel = ["bbr", "cubic"].map(str::to_owned);
        let variants = kernel_variants(&asked, &[], &kernel).unwrap();
        let rows =
            variants.iter().zip(figures).map(|(variant, (p95, mbit))| row(variant, p95, mbit));
        let link = LinkOutcome {
            label: "here".to_owned(),
            spec: String::new(),
            rtt_ms: 1.0,
            limit_mbit: None,
            unmet_outages: Vec::new(),
            alone: Vec::new(),
            left_out: Vec::new(),
            rows: rows.collect(),
        };
        Comparison {
            version: String::new(),
            against: None,
            seed: 0,
            offered: Offered { fps, sources: Vec::new(), mbit: None, generated: true },
            repeat: 1,
            missing_runs: 0,
            links: vec![link],
        }
    }

    #[test]
    fn the_winner_is_named_with_its_lead() {
        let won = comparison(Some(30.0), [(Some(50.0), 19.0), (Some(100.0), 19.0), (None, 1.0)]);
        let verdict = verdicts(&won).remove(0);
        for part in [
            "quic lossy is ahead",
            "2.0 times as fast as tcp bbr",
            "for visible that is 2.50 times the limit",
        ] {
            assert!(verdict.contains(part), "{verdict}");
        }
        assert!(verdict.contains("tcp cubic cannot keep up"), "{verdict}");
        assert!(losses(&won).is_empty());
    }

    #[test]
    fn every_row_in_which_quic_loses_is_there() {
        let lost =
            comparison(Some(30.0), [(Some(60.0), 19.0), (Some(20.0), 19.0), (Some(61.0), 9.0)]);
        assert!(verdicts(&lost)[0].contains("quic lossy is behind"), "{:?}", verdicts(&lost));
        assert_eq!(losses(&lost).len(), 1);
        assert!(losses(&lost)[0].contains("visible p95 20.0 ms against 60.0 ms"));
        let gave_up = comparison(Some(30.0), [(None, 2.0), (Some(20.0), 19.0), (None, 1.0)]);
        assert!(verdicts(&gave_up)[0].contains("does not keep up; tcp bbr does"));
        assert!(losses(&gave_up)[0].contains("visible keeps up, quic lossy does not"));
    }

    fn fail(row: &mut Row) {
        row.summary.failed = row.summary.runs - row.summary.steady;
        row.summary.goodput_mbit = None;
    }

    #[test]
    fn what_failed_is_not_called_slow_nor_the_other_way_round() {
        let mut mixed = comparison(Some(30.0), [(Some(50.0), 19.0), (None, 0.0), (None, 1.0)]);
        fail(&mut mixed.links[0].rows[1]);
        let verdict = verdicts(&mixed).remove(0);
        assert!(verdict.ends_with("; tcp cubic cannot keep up; tcp bbr failed"), "{verdict}");
        // Ours, with one that is slow, and with one that keeps up.
        let mut broken = comparison(Some(30.0), [(None, 0.0), (None, 1.0), (None, 1.0)]);
        fail(&mut broken.links[0].rows[0]);
        let verdict = verdicts(&broken).remove(0);
        assert_eq!(verdict, "here: tcp bbr, tcp cubic cannot keep up; quic lossy failed");
        let mut beaten = comparison(Some(30.0), [(None, 0.0), (Some(20.0), 19.0), (None, 1.0)]);
        fail(&mut beaten.links[0].rows[0]);
        let verdict = verdicts(&beaten).remove(0);
        assert!(verdict.contains("quic lossy failed; tcp bbr keeps up"), "{verdict}");
        assert!(losses(&beaten)[0].contains("visible keeps up, quic lossy failed"));
        // One that failed once and was too slow once is too slow.
        let mut once = comparison(Some(30.0), [(Some(50.0), 19.0), (None, 1.0), (None, 1.0)]);
        once.links[0].rows[1].summary.failed = 1;
        let verdict = verdicts(&once).remove(0);
        assert!(verdict.contains("only quic lossy") && !verdict.contains("failed"), "{verdict}");
    }

    #[test]
    fn bulk_that_failed_has_no_rate_to_be_beaten() {
        let mut bulk = comparison(None, [(None, 40.0), (None, 0.0), (None, 4.0)]);
        fail(&mut bulk.links[0].rows[1]);
        let verdict = verdicts(&bulk).remove(0);
        assert!(verdict.contains("10.0 times as much as tcp cubic"), "{verdict}");
        assert!(verdict.ends_with("; tcp bbr failed"), "{verdict}");
        fail(&mut bulk.links[0].rows[0]);
        let verdict = verdicts(&bulk).remove(0);
        assert!(verdict.contains("quic lossy failed; tcp cubic carries 4.0 Mbit/s"), "{verdict}");
        assert!(losses(&bulk)[0].contains("4.0 Mbit/s, quic lossy failed"));
    }

    #[test]
    fn a_link_that_cannot_carry_the_load_is_named() {
        let mut overloaded = comparison(Some(30.0), [(None, 8.0), (None, 8.0), (None, 8.0)]);
        overloaded.offered.mbit = Some(42.0);
        overloaded.links[0].limit_mbit = Some(28.7);
        assert!(verdicts(&overloaded)[0].contains("lower --fps"), "{:?}", verdicts(&overloaded));
    }

    #[test]
    fn a_backlog_that_an_outage_left_is_no_overload() {
        let mut out = comparison(Some(30.0), [(Some(500.0), 17.0), (None, 1.0), (None, 1.0)]);
        out.offered.mbit = Some(19.2);
        out.links[0].limit_mbit = Some(16.0);
        out.links[0].spec = "rate=50mbit,outage=300ms+1500ms".to_owned();
        assert!(!verdicts(&out)[0].contains("lower --fps"), "{:?}", verdicts(&out));
        out.links[0].spec = "rate=16mbit".to_owned();
        assert!(verdicts(&out)[0].contains("lower --fps"), "{:?}", verdicts(&out));
    }

    #[test]
    fn a_hair_is_no_lead() {
        let close = comparison(Some(30.0), [(Some(20.5), 19.0), (Some(20.0), 19.0), (None, 1.0)]);
        assert!(verdicts(&close)[0].contains("alike"), "{:?}", verdicts(&close));
        assert!(losses(&close).is_empty());
    }

    #[test]
    fn bulk_is_judged_by_what_is_carried() {
        let bulk = comparison(None, [(None, 40.0), (None, 80.0), (None, 4.0)]);
        assert!(verdicts(&bulk)[0].contains("tcp bbr carries 80.0 Mbit/s, 2.0 times as much"));
        assert!(losses(&bulk)[0].contains("80.0 Mbit/s against 40.0"));
    }
}
