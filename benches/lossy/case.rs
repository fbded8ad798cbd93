//! A case of the table: what is run for it, and how it is judged.

use std::time::Duration;

use framelane::compare::{Variant, VariantError, kernel_variants};
use framelane::congestion::Congestion;
use framelane::link::LinkSpec;

use crate::check::{Bound, Figure};
use crate::load::Load;
use crate::rival::Rival;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    /// All are run in each repetition, one behind the other.
    pub(crate) cells: Vec<Cell>,
    pub(crate) rows: Vec<Judged>,
}

/// What is run once in each repetition.
pub(crate) struct Cell {
    /// What tells it from the case's others.
    pub(crate) what: String,
    pub(crate) link: LinkSpec,
    pub(crate) work: Work,
    /// It takes the machine for itself, whatever runs at the same time otherwise.
    pub(crate) alone: bool,
}

/// What is sent over the link.
pub(crate) enum Work {
    Run { variant: Variant, load: Load },
    Shared { variants: [Variant; 2], load: Load, lasts: Duration },
}

/// One row of the table.
pub(crate) struct Judged {
    /// Source, load or the like; may be empty.
    pub(crate) what: String,
    pub(crate) figure: Figure,
    pub(crate) bounds: Vec<Bound>,
    pub(crate) contest: Contest,
}

/// The cells that are held against each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contest {
    pub(crate) own: usize,
    pub(crate) bbr: Rival,
    pub(crate) cubic: Rival,
}

/// What cases are made from.
pub(crate) struct Setting {
    pub(crate) seconds: f64,
    /// The kernel's congestion controls; `None` where the kernel's TCP is left out.
    kernel: Option<Vec<String>>,
}

/// Which of the kernel's congestion controls are of interest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rivals {
    None,
    Bbr,
    Both,
}

impl Setting {
    pub(crate) fn new(seconds: f64, kernel: Option<Vec<String>>) -> Self {
        Self { seconds, kernel }
    }

    /// TCP with this congestion control, where the kernel offers it.
    pub(crate) fn kernel(&self, congestion: &str) -> Result<Variant, Rival> {
        let Some(kernel) = &self.kernel else { return Err(Rival::NotRun) };
        match kernel_variants(&[format!("tcp:{congestion}")], &[], kernel) {
            Ok(variants) => variants.into_iter().next().ok_or(Rival::NotOffered),
            Err(VariantError::Kernel { .. }) => Err(Rival::NotOffered),
            Err(_) => Err(Rival::NotRun),
        }
    }
}

/// framelane's own way.
pub(crate) fn own() -> Variant {
    Variant::quic(Congestion::default())
}

impl Case {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), cells: Vec::new(), rows: Vec::new() }
    }

    /// framelane and the kernel's over the same link.
    pub(crate) fn contest(
        &mut self,
        setting: &Setting,
        what: &str,
        link: &LinkSpec,
        load: &Load,
        rivals: Rivals,
    ) -> Contest {
        let own = self.run(what, link, own(), load);
        let mut rival = |congestion: &str, wanted: bool| match setting.kernel(congestion) {
            Ok(variant) if wanted => Rival::At(self.run(what, link, variant, load)),
            Err(missing) if wanted => missing,
            _ => Rival::NotRun,
        };
        let bbr = rival("bbr", !matches!(rivals, Rivals::None));
        let cubic = rival("cubic", matches!(rivals, Rivals::Both));
        Contest { own, bbr, cubic }
    }

    fn run(&mut self, what: &str, link: &LinkSpec, variant: Variant, load: &Load) -> usize {
        let what = format!("{what} {variant}").trim().to_owned();
        let work = Work::Run { variant, load: load.clone() };
        self.cell(what, link, work)
    }

    /// Adds a cell.
    pub(crate) fn cell(&mut self, what: String, link: &LinkSpec, work: Work) -> usize {
        let alone = work.load().is_bulk() && is_fast(link);
        self.cells.push(Cell { what, link: link.clone(), work, alone });
        self.cells.len() - 1
    }

    /// Adds a row.
    pub(crate) fn judge(
        &mut self,
        what: impl Into<String>,
        figure: Figure,
        bounds: Vec<Bound>,
        contest: Contest,
    ) {
        self.rows.push(Judged { what: what.into(), figure, bounds, contest });
    }

    /// Whether `asked` names it: all of its name, or the beginning up to a dash.
    pub(crate) fn is_named(&self, asked: &str) -> bool {
        let rest = self.name.strip_prefix(asked);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl Work {
    pub(crate) fn load(&self) -> &Load {
        match self {
            Self::Run { load, .. } | Self::Shared { load, .. } => load,
        }
    }
}

impl Contest {
    /// framelane alone.
    pub(crate) fn alone(own: usize) -> Self {
        Self { own, bbr: Rival::NotRun, cubic: Rival::NotRun }
    }
}

/// A bulk transfer over it needs most of a small machine. Traces have faster moments than their
/// mean.
fn is_fast(link: &LinkSpec) -> bool {
    const FAST_BITS: u64 = 100_000_000;
    let traced = matches!(link.up.capacity, framelane::link::Capacity::Trace(_));
    traced || link.up.rate().is_none_or(|rate| rate.0 >= FAST_BITS)
}
