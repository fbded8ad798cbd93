//! A comparison as text for a terminal, as JSON, and as one HTML page: a file each.

mod html;
mod json;
mod remote;
mod table;
mod text;

use std::io;

use crate::compare::outcome::Comparison;

pub use html::Html;
pub use json::Json;
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
    let runs = || {
        comparison.links.iter().flat_map(|link| {
            link.rows.iter().flat_map(move |row| row.runs.iter().map(move |run| (link, row, run)))
        })
    };
    let mut warnings = Vec::new();
    let overrun = runs().filter(|(_, _, run)| run.wire.overrun > 0).count();
    if overrun > 0 {
        warnings.push(format!(
            "in {overrun} runs this machine was too slow to carry every packet: their figures are \
             about the machine. Close other programs, or choose slower links"
        ));
    }
    let late = runs().filter(|(_, _, run)| run.wire.late_share > LATE).count();
    if late > 0 {
        warnings.push(format!(
            "in {late} runs over {:.0} % of the packets came over 1 ms late because this machine \
             was busy: repeat the comparison when it is idle",
            LATE * 100.0
        ));
    }
    warnings
}
