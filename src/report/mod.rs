//! A comparison as text for a terminal, as JSON, and as one HTML page: a file each.

mod html;
mod json;
mod remote;
mod table;
mod text;

use std::io;

use crate::compare::outcome::{Comparison, Run};

pub use html::Html;
pub use json::{Json, Versioned};
pub use remote::write_remote;
pub use text::Text;

/// A way to show a comparison.
pub trait Report {
    /// Writes all of it.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()>;
}

/// What taints the figures, each with advice; empty where nothing does.
pub fn warnings(comparison: &Comparison) -> Vec<String> {
    /// Packets that may be late before it is worth a word.
    const LATE: f64 = 0.02;
    /// Processor time that others may take.
    const ELSEWHERE: f64 = 0.1;
    /// More of them would only hide the table.
    const MOST_WARNINGS: usize = 12;
    let runs = || {
        comparison.links.iter().flat_map(|link| {
            link.rows.iter().flat_map(move |row| row.runs.iter().map(move |run| (link, row, run)))
        })
    };
    let mut warnings = Vec::new();
    if comparison.missing_runs > 0 {
        warnings.push(format!(
            "the comparison was stopped: {} of {} runs are missing, and with them their rows",
            comparison.missing_runs,
            comparison.missing_runs as usize + runs().count()
        ));
    }
    let count = |tainted: fn(&Run) -> bool| runs().filter(|(_, _, run)| tainted(run)).count();
    let overrun = count(|run| run.wire.overrun > 0);
    if overrun > 0 {
        warnings.push(format!(
            "in {overrun} runs this machine was too slow to carry every packet: their figures are \
             about the machine. Close other programs, or choose slower links"
        ));
    }
    let late = count(|run| run.wire.late_share > LATE);
    if late > 0 {
        warnings.push(format!(
            "in {late} runs over {:.0} % of the packets came over 1 ms late because this machine \
             was busy: repeat the comparison when it is idle",
            LATE * 100.0
        ));
    }
    let elsewhere = count(|run| run.elsewhere.is_some_and(|share| share > ELSEWHERE));
    if elsewhere > 0 {
        warnings.push(format!(
            "in {elsewhere} runs other programs, or the host of this virtual machine, took over {:.0} % of the \
             processors' time, which lengthens latencies: repeat the comparison when it is idle",
            ELSEWHERE * 100.0
        ));
    }
    for link in comparison.links.iter().filter(|link| !link.unmet_outages.is_empty()) {
        warnings.push(format!(
            "{}: no run lasted until outage={}: ask for more --frames, or let it begin earlier",
            link.label,
            link.unmet_outages.join(", outage=")
        ));
    }
    for link in &comparison.links {
        warnings.extend(link.left_out.iter().cloned());
    }
    for (_, row, run) in runs() {
        for frame in run.sources.iter().flat_map(|source| &source.not_stored) {
            let warning = format!("{} did not store {frame}", row.variant);
            if !warnings.contains(&warning) && warnings.len() < MOST_WARNINGS {
                warnings.push(warning);
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Variant;
    use crate::compare::limit::LimitCurve;
    use crate::compare::outcome::{
        LinkOutcome, Offered, OfferedSource, Row, RunVerdict, SourceRun, SourceSummary, Summary,
        Wire,
    };
    use crate::compare::statistics::Quantiles;

    /// One run that was stopped, over a link and of a source with hostile names.
    fn comparison() -> Comparison {
        let limit = Quantiles { p50: 38.0, p95: 88.0, p99: 88.0, max: 138.0 };
        let source = SourceRun {
            name: "<b>visible</b>".to_owned(),
            offered: 3,
            stored: 2,
            lost: 0,
            altered: 0,
            twice: 0,
            unfinished: 1,
            not_stored: vec!["<b>visible</b>/1.png: it is empty".to_owned(); 2],
            latency: None,
            limit,
            limit_curve: LimitCurve(vec![(38.0, 0.4), (88.0, 1.0)]),
            stalls: 1,
            longest_stall_ms: 90.0,
            samples: vec![(0, 0.0, 41.0), (1, 33.3, 5_000.0)],
        };
        let summary = SourceSummary {
            name: source.name.clone(),
            offered: 3,
            stored: 2,
            ..Default::default()
        };
        let run = Run {
            repetition: 0,
            seed: 7,
            verdict: RunVerdict::Diverges,
            first_due_ms: 120.0,
            seconds: 1.0,
            goodput_mbit: 1.0,
            payload_bytes: 120_000,
            wire: Wire { overrun: 1, ..Wire::default() },
            resent: Some(0.02),
            repaired: Some(0),
            repair_bytes: Some(0),
            cpu_sender: 0.1,
            cpu_receiver: 0.1,
            elsewhere: Some(0.3),
            sessions: 1,
            sources: vec![source],
        };
        let row = Row {
            variant: Variant {
                transport: "quic".to_owned(),
                congestion: Some("lossy".to_owned()),
                other_build: false,
                over: None,
            },
            summary: Summary {
                runs: 1,
                unfinished: 1,
                sources: vec![summary],
                ..Default::default()
            },
            runs: vec![run],
        };
        let name = "<script>alert(1)</script>".to_owned();
        let link = LinkOutcome {
            label: name.clone(),
            spec: name,
            rtt_ms: 50.0,
            limit_mbit: Some(46.9),
            unmet_outages: vec!["30s+1s".to_owned()],
            alone: Vec::new(),
            left_out: Vec::new(),
            rows: vec![row],
        };
        let sources = vec![OfferedSource { name: "v".to_owned(), frames: 3, bytes: 180_000 }];
        let offered = Offered { fps: Some(30.0), sources, mbit: Some(14.4), generated: false };
        Comparison {
            version: "0".to_owned(),
            against: None,
            seed: 7,
            offered,
            repeat: 1,
            missing_runs: 5,
            links: vec![link],
        }
    }

    fn written(report: &dyn Report) -> String {
        let mut out = Vec::new();
        report.write(&comparison(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_run_that_does_not_keep_up_has_no_percentile() {
        let text = written(&Text);
        assert!(text.contains("diverges"), "{text}");
        assert!(text.contains("  stalls        gaps in arrival"), "{text}");
        assert!(!text.contains("  of limit  "), "a column of bulk alone: {text}");
        assert!(!text.contains("5000"), "{text}");
        assert!(text.contains("1 had not arrived"), "{text}");
        assert!(text.contains("warning: in 1 runs this machine was too slow"), "{text}");
        assert!(text.contains("warning: the comparison was stopped: 5 of 6 runs"), "{text}");
        assert!(text.contains("warning: in 1 runs other programs"), "{text}");
        assert!(
            text.contains("no run lasted until outage=30s+1s: ask for more --frames"),
            "{text}"
        );
        let unsent = "warning: quic lossy did not store <b>visible</b>/1.png: it is empty";
        assert_eq!(text.matches(unsent).count(), 1, "{text}");
    }

    #[test]
    fn a_run_that_failed_is_not_called_slow() {
        let mut comparison = comparison();
        let row = &mut comparison.links[0].rows[0];
        row.runs[0].verdict = RunVerdict::Failed("connection refused".to_owned());
        (row.summary.runs, row.summary.failed) = (2, 1);
        let text = |comparison: &Comparison| {
            let mut out = Vec::new();
            Text.write(comparison, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        // The other one of the two was too slow.
        let both = text(&comparison);
        assert!(both.contains("failed 1/2, diverges 1/2"), "{both}");
        let summary = &mut comparison.links[0].rows[0].summary;
        (summary.failed, summary.unfinished) = (2, 0);
        let failed = text(&comparison);
        let line = failed.lines().find(|line| line.starts_with("  quic lossy")).unwrap();
        assert!(line.contains(" failed ") && !line.contains("diverges"), "{line}");
        let reason = "failed: <script>alert(1)</script>, quic lossy: connection refused";
        assert!(failed.contains("quic lossy failed") && failed.contains(reason), "{failed}");
        assert!(!failed.contains("keep up"), "{failed}");
    }

    #[test]
    fn a_name_with_a_bar_stays_in_its_column() {
        let mut comparison = comparison();
        let name = "left|'right' & \"top\"";
        comparison.links[0].rows[0].summary.sources[0].name = name.to_owned();
        comparison.links[0].rows[0].runs[0].sources[0].name = name.to_owned();
        comparison.offered.sources[0].name = name.to_owned();
        let (mut text, mut page) = (Vec::new(), Vec::new());
        Text.write(&comparison, &mut text).unwrap();
        Html.write(&comparison, &mut page).unwrap();
        let text = String::from_utf8(text).unwrap();
        // The columns before and behind it are where they are in the line of the limit.
        let ends: Vec<Option<usize>> = ["  limit ", "  quic lossy "]
            .iter()
            .map(|row| text.lines().find(|line| line.starts_with(row))?.find(name))
            .collect();
        assert!(ends[0].is_some() && ends[0] == ends[1], "{text}");
        let page = String::from_utf8(page).unwrap();
        let cell = "<td class=\"name\">left|&#39;right&#39; &amp; &quot;top&quot;</td>";
        assert_eq!(page.matches(cell).count(), 2, "{page}");
        let label = "of left|&#39;right&#39; &amp; &quot;top&quot; over";
        assert!(page.contains(label), "{page}");
    }

    #[test]
    fn json_comes_back_with_its_raw_samples() {
        let back: Comparison = serde_json::from_str(&written(&Json)).unwrap();
        let source = &back.links[0].rows[0].runs[0].sources[0];
        assert_eq!(source.samples[1], (1, 33.3, 5_000.0));
        assert_eq!(back.links[0].rows[0].runs[0].verdict, RunVerdict::Diverges);
    }

    #[test]
    fn the_page_is_whole_and_names_stay_text() {
        let page = written(&Html);
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        assert!(!page.contains("<script>") && !page.contains("<b>visible"), "names became markup");
        // A distribution, a timeline, and the bars.
        assert_eq!(page.matches("role=\"img\"").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<dt>").count(), page.matches("<dd>").count());
        for part in [
            "cannot keep up",
            "<dt>wire/payload</dt>",
            "prefers-color-scheme: dark",
            "@media print",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}
