//! Frames that are not stored, and why.

use serde::Serialize;

use crate::frame::{DropReason, UnixNanos};

/// A frame that is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedFrame {
    /// Place in the source.
    pub sequence: u64,
    /// Its name.
    pub name: String,
    /// Why, in a word, where the receiver was told that it will not come: it is dropped, and else missing.
    pub dropped: Option<&'static str>,
    /// Why.
    pub reason: String,
}

/// Why a frame will not come.
#[derive(Debug, Clone)]
pub(in super::super) struct Loss {
    pub(in super::super) reason: DropReason,
    /// For people.
    pub(in super::super) words: String,
    /// When it was captured, where that is known.
    pub(in super::super) captured: Option<UnixNanos>,
}
