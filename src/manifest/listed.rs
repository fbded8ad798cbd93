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

    /// An empty list of the same limit.
    pub fn alike(&self) -> Self {
        Self::new(self.limit)
    }

    /// Counts one more, and keeps it if there is room.
    pub fn push(&mut self, item: T) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(item);
        }
    }

    /// Counts all of another list as well.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = self.limit.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
