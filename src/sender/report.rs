//! What became of a run of sending.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::ledger::{Ledger, MAX_NAMED_FAILURES};
use crate::source::Source;

/// What became of every frame.
#[derive(Debug, Clone, Serialize)]
pub struct SendReport {
    /// One entry a source, in the order given.
    pub sources: Vec<SourceReport>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Sessions that were opened; more than one means that the connection was lost.
    pub sessions: u32,
    /// Why the run ended early, if it did.
    pub error: Option<String>,
    /// True where the user stopped it.
    pub interrupted: bool,
}

/// What became of one source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Frames in it.
    pub frames: u64,
    /// Frames that were sent in this run, and are stored and confirmed.
    pub stored: u64,
    /// Frames that the receiver had before.
    pub already_stored: u64,
    /// Frames that the receiver has and checked against their hash: all that are stored, but for
    /// the stop-and-wait protocol, which carries no hash.
    pub verified: u64,
    /// Payload bytes of the frames stored in this run.
    pub bytes: u64,
    /// How many frames are not stored.
    pub missing: u64,
    /// Which, and why; at most 10,000 of them.
    pub failed: Vec<FailedFrame>,
}

/// A frame that is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedFrame {
    /// Place in the source.
    pub sequence: u64,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl SendReport {
    pub(super) fn new(
        sources: &[Arc<dyn Source>],
        ledgers: Vec<Ledger>,
        proven: bool,
        elapsed: Duration,
        sessions: u32,
        error: Option<String>,
        interrupted: bool,
    ) -> Self {
        let why = error.clone().unwrap_or_else(|| "it was not confirmed".to_owned());
        let sources = sources
            .iter()
            .zip(ledgers)
            .map(|(source, ledger)| source_report(source.as_ref(), ledger, proven, &why))
            .collect();
        Self { sources, seconds: elapsed.as_secs_f64(), sessions, error, interrupted }
    }

    /// True where every frame is stored.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.sources.iter().all(|source| source.missing == 0)
    }

    /// Frames stored in this run, all sources together.
    pub fn stored(&self) -> u64 {
        self.sources.iter().map(|source| source.stored).sum()
    }

    /// Payload bytes of these.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes).sum()
    }
}

fn source_report(source: &dyn Source, ledger: Ledger, proven: bool, why: &str) -> SourceReport {
    let missing = ledger.frames() - ledger.stored - ledger.already;
    let unsettled = ledger.unsettled().map(|sequence| FailedFrame {
        sequence: sequence.0,
        name: source.label(sequence),
        reason: why.to_owned(),
    });
    let room = MAX_NAMED_FAILURES - ledger.failed.len();
    let mut failed = ledger.failed.clone();
    failed.extend(unsettled.take(room));
    SourceReport {
        name: source.name().to_string(),
        frames: ledger.frames(),
        stored: ledger.stored,
        already_stored: ledger.already,
        verified: if proven { ledger.stored + ledger.already } else { 0 },
        bytes: ledger.bytes,
        missing,
        failed,
    }
}
