//! Markdown: the table, and what became of the frames.

use std::fmt::Write;

use serde::Serialize;

use crate::case::{Case, Judged};
use crate::check::{Missing, Outcome, Standing};
use crate::rival::Rival;
use crate::runs::Outcomes;

/// More packets than this share were handed over late: the machine was too busy for the run.
const LATE_SHARE: f64 = 0.05;

/// One row, in words.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    case: String,
    target: String,
    own: String,
    /// The other build's, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    bbr: String,
    cubic: String,
    standing: &'static str,
}

/// Frames of all runs together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Account {
    runs: u64,
    failed: u64,
    stored: u64,
    lost: u64,
    altered: u64,
    twice: u64,
    /// Of runs that were stopped because they did not keep up.
    unfinished: u64,
}

/// All rows; with what another build came to, where it was asked.
pub(crate) fn rows(cases: &[Case], outcomes: &Outcomes, others: Option<&Outcomes>) -> Vec<Row> {
    let each = cases.iter().enumerate().flat_map(|(index, case)| {
        let other = others.map(|others| &others[index][..]);
        case.rows.iter().map(move |judged| Row {
            other: other.map(|other| of_other(judged, other)),
            ..row(case, judged, &outcomes[index])
        })
    });
    each.collect()
}

fn of_other(judged: &Judged, outcomes: &[Vec<Outcome>]) -> String {
    match &outcomes[judged.contest.own][..] {
        [] => "-".to_owned(),
        runs => {
            let medians = judged.figure.medians(runs);
            medians.map_or_else(Missing::why, |values| judged.figure.show(&values))
        }
    }
}

fn row(case: &Case, judged: &Judged, outcomes: &[Vec<Outcome>]) -> Row {
    let of = |cell: usize| judged.figure.medians(&outcomes[cell]);
    let shown = |cell| of(cell).map_or_else(Missing::why, |values| judged.figure.show(&values));
    let rival = |rival| match rival {
        Rival::At(cell) => shown(cell),
        Rival::NotOffered => "not offered".to_owned(),
        Rival::NotRun => "-".to_owned(),
    };
    let standings: Vec<Standing> = match of(judged.contest.own) {
        Ok(own) => judged.bounds.iter().map(|bound| bound.judge(&own, &of)).collect(),
        Err(_) if judged.bounds.is_empty() => Vec::new(),
        Err(Missing::Beaten(_)) => vec![Standing::Short],
        Err(Missing::Unknown(_)) => vec![Standing::Open],
    };
    Row {
        case: format!("{} {}", case.name, judged.what).trim().to_owned(),
        target: target(judged),
        own: shown(judged.contest.own),
        other: None,
        bbr: rival(judged.contest.bbr),
        cubic: rival(judged.contest.cubic),
        standing: standing(&standings),
    }
}

/// The bounds in words.
pub(crate) fn target(judged: &Judged) -> String {
    let texts: Vec<&str> = judged.bounds.iter().map(|bound| bound.text.as_str()).collect();
    if texts.is_empty() { "(for comparison)".to_owned() } else { texts.join(", ") }
}

fn standing(standings: &[Standing]) -> &'static str {
    if standings.is_empty() {
        "-"
    } else if standings.contains(&Standing::Short) {
        "**short**"
    } else if standings.contains(&Standing::Open) {
        "open"
    } else {
        "met"
    }
}

/// The table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let beside = rows.iter().any(|row| row.other.is_some());
    let other = if beside { " other build |" } else { "" };
    let mut table = format!(
        "| case | target | framelane quic |{other} kernel bbr | kernel cubic | verdict |\n"
    );
    let _ = writeln!(table, "{}|", "|---".repeat(6 + usize::from(beside)));
    for Row { case, target, own, other, bbr, cubic, standing } in rows {
        let own = [case, target, own].into_iter().chain(other);
        let cells: Vec<String> = own.chain([bbr, cubic]).map(|text| cell(text)).collect();
        let _ = writeln!(table, "| {} | {standing} |", cells.join(" | "));
    }
    let count = |wanted| rows.iter().filter(|row| row.standing == wanted).count();
    let (met, short, open) = (count("met"), count("**short**"), count("open"));
    let _ = writeln!(
        table,
        "\nRows met {met}, short {short}, open (nothing to hold them against) {open}."
    );
    table
}

/// Text as one cell: why a run failed may have anything in it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Runs about the machine rather than the link.
pub(crate) fn disturbed(cases: &[Case], outcomes: &Outcomes) -> Vec<String> {
    let mut lines = Vec::new();
    for (case, outcomes) in cases.iter().zip(outcomes) {
        for (cell, outcomes) in case.cells.iter().zip(outcomes) {
            let late = outcomes.iter().filter(|outcome| is_disturbed(outcome)).count();
            if late > 0 {
                lines.push(format!("{}, {}: {late} of {}", case.name, cell.what, outcomes.len()));
            }
        }
    }
    lines
}

fn is_disturbed(outcome: &Outcome) -> bool {
    let wire = match outcome {
        Outcome::Run(run) => run.wire,
        Outcome::Shared(run) => run.wire,
        Outcome::Failed(_) => return false,
    };
    wire.overrun > 0 || wire.late_share > LATE_SHARE
}

impl Account {
    pub(crate) fn of(outcomes: &Outcomes) -> Self {
        let mut account = Self::default();
        outcomes.iter().flatten().flatten().for_each(|outcome| account.add(outcome));
        account
    }

    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        match outcome {
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Run(run) => {
                for source in &run.sources {
                    self.stored += source.stored;
                    self.lost += source.lost;
                    self.altered += source.altered;
                    self.twice += source.twice;
                    self.unfinished += source.unfinished;
                }
            }
            Outcome::Shared(run) => {
                for flow in &run.flows {
                    self.stored += flow.stored;
                    self.lost += flow.lost;
                    self.altered += flow.altered;
                    self.twice += flow.twice;
                }
            }
        }
    }

    /// Whether every frame is where and what it should be, and every run could be made.
    pub(crate) fn is_sound(&self) -> bool {
        self.lost + self.altered + self.twice + self.failed == 0
    }

    pub(crate) fn markdown(&self) -> String {
        let Self { runs, failed, stored, lost, altered, twice, unfinished } = self;
        format!(
            "Frames of all {runs} runs: {stored} stored, lost {lost}, altered {altered}, stored \
             twice {twice}; {unfinished} had not arrived when runs that did not keep up were \
             stopped. Runs that could not be made: {failed}."
        )
    }
}
