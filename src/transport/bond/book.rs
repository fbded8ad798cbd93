//! Frames under way over several paths: which has a copy of which, and by when it is to be confirmed.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::OutgoingFrame;
use crate::frame::Sequence;
use crate::wire::SourceId;

/// Which frame.
pub(super) type Key = (SourceId, Sequence);

/// A frame that is not confirmed.
#[derive(Debug)]
pub(super) struct Out {
    /// It, without anything that would take a copy of it back.
    pub(super) frame: OutgoingFrame,
    pub(super) copies: Vec<Copied>,
    /// When it is overdue, of those that are looked after.
    due: Option<Instant>,
}

/// A copy of a frame that a line has.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) line: u64,
    pub(super) bytes: u64,
    pub(super) given: Instant,
    /// When its receipt is expected.
    pub(super) expected: Instant,
    /// Takes it back where it is dropped.
    pub(super) keep: watch::Sender<()>,
}

/// Frames under way.
#[derive(Debug, Default)]
pub(super) struct Book {
    out: BTreeMap<Key, Out>,
    due: BTreeSet<(Instant, Key)>,
}

/// Which frame that is.
pub(super) fn key(frame: &OutgoingFrame) -> Key {
    (frame.header.source, frame.header.meta.sequence)
}

impl Book {
    /// A line has been given a copy. A frame that is not confirmed by `due` is overdue.
    pub(super) fn give(&mut self, frame: OutgoingFrame, copied: Copied, due: Option<Instant>) {
        let key = key(&frame);
        let out =
            self.out.entry(key).or_insert_with(|| Out { frame, copies: Vec::new(), due: None });
        // A transport takes one copy of a frame at a time.
        out.copies.retain(|known| known.line != copied.line);
        out.copies.push(copied);
        self.set_due(key, due);
    }

    /// When a frame is overdue from now on; `None` where it is not looked after.
    pub(super) fn set_due(&mut self, key: Key, due: Option<Instant>) {
        let Some(out) = self.out.get_mut(&key) else { return };
        if let Some(before) = std::mem::replace(&mut out.due, due) {
            self.due.remove(&(before, key));
        }
        self.due.extend(due.map(|due| (due, key)));
    }

    pub(super) fn get(&self, key: Key) -> Option<&Out> {
        self.out.get(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Out)> {
        self.out.iter().map(|(&key, out)| (key, out))
    }

    /// The frame is settled.
    pub(super) fn remove(&mut self, key: Key) -> Option<Out> {
        let out = self.out.remove(&key)?;
        if let Some(due) = out.due {
            self.due.remove(&(due, key));
        }
        Some(out)
    }

    /// Those of a range of sequences that are under way.
    pub(super) fn within(&self, source: SourceId, first: Sequence, count: u64) -> Vec<Key> {
        let last = Sequence(first.0.saturating_add(count.saturating_sub(1)));
        if count == 0 {
            return Vec::new();
        }
        self.out.range((source, first)..=(source, last)).map(|(&key, _)| key).collect()
    }

    /// Takes a line's copy of a frame away; true where others are left.
    pub(super) fn take_back(&mut self, key: Key, line: u64) -> bool {
        let Some(out) = self.out.get_mut(&key) else { return false };
        out.copies.retain(|copied| copied.line != line);
        !out.copies.is_empty()
    }

    /// The first that is overdue at `now`, and not looked after from then on.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Key> {
        let &(due, key) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, key));
        if let Some(out) = self.out.get_mut(&key) {
            out.due = None;
        }
        Some(key)
    }

    /// When one is overdue next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}
