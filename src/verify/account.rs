//! What is to be said of a source's runs.

use serde::Serialize;

use crate::manifest::Listed;

/// Whether a source has everything that its runs captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Every frame of every run is stored, or declared dropped.
    Complete,
    /// No run declares how many frames there were: they came over stop-and-wait, or to an earlier version.
    Undeclared,
    /// Frames of a run are here, and the ledger does not know of it: it was lost, or a part of it.
    AccountLost,
    /// The sender of a run was killed, or is still at it.
    NotEnded,
    /// Different frames of a run have one sequence: two senders gave it, as from a copied spool, and how many frames there
    /// were nobody can tell.
    Ambiguous,
    /// The account contradicts itself: frames are here, or are declared dropped, that its run did not have by what it says
    /// of itself, or that another sender sent than the run's. Lines were changed or lost.
    Contradictory,
    /// Frames of a run have neither file nor declaration.
    Gap,
}

/// One run of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Its id, 32 hex digits.
    pub run: String,
    /// What is to be said of it.
    pub state: State,
    /// When it began, on the sender's clock.
    pub began_unix_ns: Option<u64>,
    /// When it ended, on the sender's clock; `None` where it did not.
    pub ended_unix_ns: Option<u64>,
    /// The run that has all of its frames as well, where it did not end, or its account is lost.
    pub resumed_by: Option<String>,
    /// How many frames it had; `None` where it did not end.
    pub captured: Option<u64>,
    /// Frames of it with a line in the manifest.
    pub stored: u64,
    /// Frames of it that an earlier run had stored.
    pub stored_before: u64,
    /// Frames of it that were declared dropped, and not stored after all.
    pub dropped: u64,
    /// Frames of it that were removed because they were old enough.
    pub expired: u64,
    /// Frames of it in a folder that was taken away while it went on.
    pub taken_away: u64,
    /// Frames of it that are in another source that was verified together with this.
    pub elsewhere: u64,
}

/// Frames in a row that a run had and the store does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The run.
    pub run: String,
    /// The first sequence.
    pub from: u64,
    /// The last sequence.
    pub to: u64,
    /// Whether they are in a folder that was taken away while the run went on.
    pub taken_away: bool,
}

/// Declared drops of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Why.
    pub reason: &'static str,
    /// At which end: `sender` or `receiver`.
    #[serde(rename = "where")]
    pub place: &'static str,
    /// How many frames.
    pub frames: u64,
}

/// Everything that is to be said of a source's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// All runs together.
    pub state: State,
    /// The pin of the sender whose source it is.
    pub owner: Option<String>,
    /// What the receiver's user called that sender.
    pub owner_name: Option<String>,
    /// In the order in which they began.
    pub runs: Listed<RunReport>,
    /// What is missing of runs that ended.
    pub gaps: Listed<Gap>,
    /// Frames that were declared dropped, and that their run did not bring after all.
    pub dropped: u64,
    /// Those of them that a later run brought, as far as their sequences or their times of capture tell.
    pub came_later: u64,
    /// Those of `dropped` by reason and place.
    pub drops: Vec<Drops>,
    /// Those of `dropped` that the receiver refused, for want of room or because it has other content of that name, and
    /// that no later run brought.
    pub refused: u64,
    /// Those of `refused` of whose names other content is stored.
    pub other_content: u64,
    /// Frames that have the sequence of another frame of their run, here or in another source that was verified together
    /// with this.
    pub ambiguous: u64,
    /// Frames that are in another source that was verified together with this as well, with the same contents.
    pub copies: u64,
    /// Frames that their run cannot have had, or not from that sender.
    pub contradictory: u64,
    /// Frames that were removed because they were old enough.
    pub expired: u64,
}

/// Of a source's frames of a run, those whose sequences lie elsewhere as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// With the same contents.
    pub(super) copies: u64,
    /// With other contents.
    pub(super) differ: u64,
}
