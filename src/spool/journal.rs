//! What a spool notes of its runs, a line a fact, and the lines that wait to be written.

use super::entry::Entry;
use super::past::{Past, Pasts};
use crate::frame::RunId;

/// What is known, and what of it is not written yet.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) pasts: Pasts,
    queue: Vec<Entry>,
}

impl Journal {
    pub(super) fn of(pasts: Pasts) -> Self {
        Self { pasts, queue: Vec::new() }
    }

    /// Notes a fact. Those that follow one another are one.
    pub(super) fn note(&mut self, entry: Entry) {
        self.pasts.learn(&entry);
        if let (Some(Entry::Settled { run, last, .. }), Entry::Settled { run: of, first, last: to }) =
            (self.queue.last_mut(), &entry)
            && run == of
            && last.checked_add(1) == Some(*first)
        {
            *last = *to;
            return;
        }
        self.queue.push(entry);
    }

    pub(super) fn past(&self, run: RunId) -> Option<&Past> {
        self.pasts.runs.get(&run)
    }

    pub(super) fn has_unwritten(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn take_unwritten(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.queue)
    }

    /// Puts back what could not be written.
    pub(super) fn put_back(&mut self, mut entries: Vec<Entry>) {
        entries.append(&mut self.queue);
        self.queue = entries;
    }
}
