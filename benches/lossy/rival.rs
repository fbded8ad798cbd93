//! The kernel's TCP beside a run of ours.

/// Where the run with one of the kernel's congestion controls is, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    /// Its place among the runs.
    At(usize),
    /// The kernel does not have it.
    NotOffered,
    /// It was left out.
    NotRun,
}
