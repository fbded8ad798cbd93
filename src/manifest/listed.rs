//! A count that is exact, and as many of the counted things as are worth keeping in memory.

use serde::Serialize;

/// Everything is counted; the first few are kept to be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them, at most the limit given to [`Listed::new`].
    pub first: Vec<T>,
    #[serde(skip)]
    limit: usize,
}

impl<T> Listed<T> {
    /// Nothing yet; at most `limit` will be kept.
    pub fn new(limit: usize) -> Self {
        Self { count: 0, first: Vec::new(), limit }
    }

    /// Counts one more, and keeps it if there is room.
    pub fn push(&mut self, item: T) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(item);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
