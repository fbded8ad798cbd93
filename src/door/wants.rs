//! Which frames of which source the program gets. It may change its mind while it receives.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::frame::SourceName;

/// Which frames of a source the program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Want {
    /// Each of them.
    #[default]
    Every,
    /// Always the newest; those that the program is too slow for are skipped.
    Latest,
}

/// What is wanted of each source.
#[derive(Debug, Default)]
pub(super) struct Wants(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    of: HashMap<SourceName, Want>,
    others: Want,
}

impl Wants {
    pub(super) fn new(of: HashMap<SourceName, Want>) -> Self {
        Self(Mutex::new(Wanted { of, others: Want::default() }))
    }

    pub(super) fn of(&self, source: &SourceName) -> Want {
        let wanted = self.wanted();
        wanted.of.get(source).copied().unwrap_or(wanted.others)
    }

    /// From now on, of this source, or of all.
    pub(super) fn set(&self, source: Option<SourceName>, want: Want) {
        let mut wanted = self.wanted();
        match source {
            Some(source) => {
                wanted.of.insert(source, want);
            }
            None => *wanted = Wanted { of: HashMap::new(), others: want },
        }
    }

    /// It is true at every moment, so another thread's panic does not spoil it.
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
