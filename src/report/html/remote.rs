//! The page of a comparison over the user's own link.

use std::io;

use super::shown::Shown;
use super::svg::escape;
use super::{write_list, write_plots, write_table};
use crate::compare::remote::RemoteComparison;
use crate::report::{remote, text};

pub(super) fn write(comparison: &RemoteComparison, out: &mut dyn io::Write) -> io::Result<()> {
    let RemoteComparison { offered, receiver, repeat, version, .. } = comparison;
    let offered = format!("{}; {}", text::offered(offered), text::repeated(*repeat));
    writeln!(out, "<h1>Frames over your own link</h1>")?;
    writeln!(out, "<p class=\"soft\">{}</p>", escape(&offered))?;
    write_list("Failed", "", &comparison.failures(), out)?;
    write_list("Missing", "", &comparison.shortages(), out)?;
    writeln!(
        out,
        "<p class=\"soft\">{} framelane {}.</p>",
        escape(remote::MEANING),
        escape(version)
    )?;
    writeln!(out, "<section><div class=\"together\"><h2>To {}</h2>", escape(receiver))?;
    write_table(&remote::lines(comparison), remote::NAMES, out)?;
    writeln!(out, "</div>")?;
    if let Some(prefix) = comparison.kept_prefix() {
        writeln!(
            out,
            "<p class=\"soft\">The receiver keeps the frames in sources that begin with \
             <code>{}-</code></p>",
            escape(prefix)
        )?;
    }
    write_plots(&Shown::remote(comparison), out)?;
    writeln!(out, "</section>")
}

#[cfg(test)]
mod tests {
    use crate::compare::Variant;
    use crate::compare::outcome::{Offered, OfferedSource, RunVerdict};
    use crate::compare::remote::{
        ClockOffset, RemoteComparison, RemoteRow, RemoteRun, RemoteSource,
    };
    use crate::compare::statistics::Quantiles;
    use crate::report::{Html, write_remote};

    /// Two transports, of which one failed, and a source with a hostile name.
    fn comparison() -> RemoteComparison {
        let name = "<b>visible</b>".to_owned();
        let source = RemoteSource {
            name: name.clone(),
            offered: 3,
            confirmed: 2,
            found: 0,
            missing: 1,
            not_stored: vec!["<s>2.png</s> (it is empty)".to_owned()],
            to_receipt: Some(Quantiles { p50: 41.0, p95: 60.0, p99: 60.0, max: 60.0 }),
            one_way: Some(Quantiles { p50: 20.5, p95: 39.5, p99: 39.5, max: 39.5 }),
            samples: vec![(0, 41.0, -979.5), (1, 60.0, -960.5)],
        };
        let run = RemoteRun {
            verdict: RunVerdict::Steady,
            missing: 1,
            stopped: false,
            seconds: 1.0,
            goodput_mbit: 1.0,
            clock: Some(ClockOffset { offset_ms: -1_000.0, error_ms: 20.0, rtt_ms: 40.0 }),
            sources: vec![source],
        };
        let failed = RemoteRun {
            verdict: RunVerdict::Failed("<i>refused</i>".to_owned()),
            clock: None,
            sources: Vec::new(),
            ..run.clone()
        };
        let row = |transport: &str, run: RemoteRun| RemoteRow {
            variant: Variant {
                transport: transport.to_owned(),
                congestion: None,
                other_build: false,
                over: None,
            },
            steady: usize::from(run.verdict == RunVerdict::Steady),
            goodput_mbit: None,
            runs: vec![run],
        };
        let sources = vec![OfferedSource { name, frames: 3, bytes: 180_000 }];
        RemoteComparison {
            version: "0".to_owned(),
            receiver: "<u>store</u>:4433".to_owned(),
            offered: Offered { fps: Some(30.0), sources, mbit: Some(14.4), generated: false },
            repeat: 1,
            prefix: "compare-7".to_owned(),
            rows: vec![row("quic", run), row("tcp", failed)],
        }
    }

    #[test]
    fn the_page_has_a_plot_for_each_transport_and_names_stay_text() {
        let mut page = Vec::new();
        Html.write_remote(&comparison(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        for markup in ["<b>visible", "<i>refused", "<u>store", "<s>2.png"] {
            assert!(!page.contains(markup), "{markup} became markup");
        }
        for transport in ["quic", "tcp"] {
            let label = format!("aria-label=\"Latency over time of {transport} over ");
            assert_eq!(page.matches(&label).count(), 1, "{transport}");
        }
        assert_eq!(page.matches("aria-label=\"Latency distribution of ").count(), 1);
        assert!(page.contains("-1000.0 +-20.0") && page.contains("failed"), "{page}");
        assert!(!page.contains("limit-line\" d=\"\"") && !page.contains("NaN"), "{page}");
    }

    #[test]
    fn the_text_says_how_the_clocks_stand() {
        let mut text = Vec::new();
        write_remote(&comparison(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("-1000.0 +-20.0") && text.contains("20.5"), "{text}");
        assert!(text.contains("missing: quic, run 1: 1 of 3 frames"), "{text}");
    }
}
