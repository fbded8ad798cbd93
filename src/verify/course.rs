//! How a verification goes on from one that was interrupted, and may be interrupted itself.

use std::sync::atomic::{AtomicBool, Ordering};

use super::past::Past;
use super::together::Together;

/// What a verification has beside its options.
#[derive(Debug, Clone, Copy, Default)]
pub struct Course<'a> {
    /// What an interrupted one had read, and where this one remembers what it has.
    pub past: Option<&'a Past>,
    /// Ends it once this is true, with [`VerifyError::Interrupted`](super::VerifyError::Interrupted).
    pub stop: Option<&'a AtomicBool>,
    /// What other sources that are verified say of the runs of each.
    pub together: Option<&'a Together>,
}

impl Course<'_> {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// How far the whole store has come.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) frames: u64,
    pub(super) of_frames: u64,
    pub(super) read_before: u64,
}
