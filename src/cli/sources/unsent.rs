//! What of the sources is not sent at all, and why.

use std::path::Path;

use serde::Serialize;

use crate::cli::output;
use crate::cli::words::in_options;
use crate::frame::SourceName;
use crate::source::Passed;

/// Things that `--json` names.
const NAMED: usize = 1_000;

/// A source, or something in one, that is not sent though no rule leaves it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct NotSent {
    source: String,
    /// `None` for the whole source.
    path: Option<String>,
    reason: String,
}

/// All of them; where there are any, frames may be missing of which no account knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Unsent {
    not_sent: Vec<NotSent>,
    /// How many there are beside those that are named.
    not_sent_more: u64,
}

impl Unsent {
    /// Notes a source that cannot be used.
    pub(super) fn source(&mut self, source: &SourceName, reason: &str) {
        self.add(source, None, reason.to_owned());
    }

    /// Notes what a folder's listing has passed over.
    pub(super) fn passed(&mut self, source: &SourceName, passed: &Passed) {
        for (path, why) in passed.unsent.iter().filter(|(_, why)| why.is_missed()) {
            self.add(source, Some(path), why.to_string());
        }
        self.not_sent_more += passed.more;
    }

    fn add(&mut self, source: &SourceName, path: Option<&Path>, reason: String) {
        if self.not_sent.len() >= NAMED {
            self.not_sent_more += 1;
            return;
        }
        let reason = in_options(&reason).into_owned();
        let path = path.map(|path| output::printable(&path.to_string_lossy()));
        self.not_sent.push(NotSent { source: source.to_string(), path, reason });
    }

    /// True where everything is sent.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.not_sent.is_empty() && self.not_sent_more == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_named_than_anybody_reads() {
        let mut unsent = Unsent::default();
        assert!(unsent.is_empty());
        let name = SourceName::parse("a").unwrap();
        (0..NAMED + 5).for_each(|_| unsent.source(&name, "it is not there"));
        assert!(!unsent.is_empty());
        assert_eq!((unsent.not_sent.len(), unsent.not_sent_more), (NAMED, 5));
    }
}
