//! What runs have in common, and one run at a time: for whoever goes through them in their own way.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::CompareError;
use super::cell::{Cell, Identities};
use super::measure::Context;
use super::outcome::Run;
use super::scratch::Scratch;
use super::supervise::Ended;
use super::variant::Variant;
use super::workload::Workload;
use crate::link::{LinkSpec, Privilege};

/// All that a run needs beside its link, transport and frames. Several threads may share it: each
/// run has a link, and a place to store to, of its own.
pub struct Rig<'a> {
    pub(super) privilege: Privilege,
    pub(super) scratch: &'a Scratch,
    pub(super) identities: Identities,
    pub(super) interrupted: &'a watch::Receiver<bool>,
    runs: AtomicU64,
}

impl<'a> Rig<'a> {
    /// One whose runs end early when `interrupted` turns true.
    ///
    /// # Errors
    /// [`CompareError::Identity`].
    pub fn new(
        privilege: Privilege,
        scratch: &'a Scratch,
        interrupted: &'a watch::Receiver<bool>,
    ) -> Result<Self, CompareError> {
        let identities = Identities::generate()?;
        Ok(Self { privilege, scratch, identities, interrupted, runs: AtomicU64::new(0) })
    }

    /// One run over a link, which should have a seed. What was stored is removed again.
    ///
    /// # Errors
    /// [`CompareError`] where the machine does not allow it, or it was interrupted. What goes wrong
    /// with a transport is in the run.
    pub fn run(
        &self,
        link: &LinkSpec,
        variant: &Variant,
        workload: &Workload,
        repetition: u32,
    ) -> Result<Run, CompareError> {
        let link = std::slice::from_ref(link);
        self.run_beside(link, link, variant, workload, repetition)
    }

    /// The same over one or several links at once, held against what an ideal sender reaches that has `all` of them.
    pub(super) fn run_beside(
        &self,
        links: &[LinkSpec],
        all: &[LinkSpec],
        variant: &Variant,
        workload: &Workload,
        repetition: u32,
    ) -> Result<Run, CompareError> {
        let place = self.new_place();
        let store = self.scratch.place(&place);
        let cell = Cell {
            privilege: self.privilege,
            links,
            variant,
            workload,
            identities: &self.identities,
            store: &store,
            interrupted: self.interrupted,
        };
        let seen = cell.run()?;
        if seen.ended == Ended::Interrupted {
            return Err(CompareError::Interrupted);
        }
        let context = Context { repetition, links: all, variant, workload, store: &store };
        let run = context.measure(&seen);
        self.scratch.clear(&place);
        run
    }

    /// The name of a folder that no other run has.
    pub(super) fn new_place(&self) -> String {
        self.runs.fetch_add(1, Ordering::Relaxed).to_string()
    }
}
