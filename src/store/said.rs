//! What was said of a source's trouble, so that it is said once.

use std::fmt::Display;

/// Warns of a trouble when it begins or changes, and says when it has ended how often it came.
#[derive(Debug, Default)]
pub(super) struct Said {
    last: Option<String>,
    again: u64,
}

impl Said {
    /// A trouble with `what`.
    pub(super) fn trouble(&mut self, what: &dyn Display, error: &dyn Display) {
        let text = format!("{what}: {error}");
        if self.last.as_ref() == Some(&text) {
            self.again += 1;
            return;
        }
        self.over(what);
        tracing::warn!("{text}");
        self.last = Some(text);
    }

    /// The same, where only that there is one counts, and not its figures.
    pub(super) fn trouble_once(&mut self, what: &dyn Display, why: &dyn Display) {
        if self.last.is_none() {
            self.trouble(what, why);
        }
    }

    /// There is none any more.
    pub(super) fn over(&mut self, what: &dyn Display) {
        if self.last.take().is_some() {
            let again = std::mem::take(&mut self.again);
            if again > 0 {
                tracing::warn!("{what}: the same came {again} more times, and is over");
            }
        }
    }
}
