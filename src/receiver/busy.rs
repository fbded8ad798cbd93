//! How long the store has been at what it does, for whoever has to know that it goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the threads of a store's sources are at. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<Pieces>>);

/// Pieces of work that have begun and not ended, numbered in the order of their beginnings.
#[derive(Debug, Default)]
struct Pieces {
    begun: u64,
    since: BTreeMap<u64, Instant>,
}

impl Busy {
    /// For how long the piece of work that began first of those under way has been; zero where there is none. A disk
    /// that hangs shows as a time that grows.
    pub fn longest(&self) -> Duration {
        let oldest = self.pieces().since.values().next().copied();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// A piece of work begins, and lasts until what this gives is dropped.
    pub(super) fn begin(&self) -> Piece {
        let mut pieces = self.pieces();
        pieces.begun += 1;
        let number = pieces.begun;
        pieces.since.insert(number, Instant::now());
        drop(pieces);
        Piece { busy: self.clone(), number }
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        // A map is whole between any two of its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of work under way.
pub(super) struct Piece {
    busy: Busy,
    number: u64,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.busy.pieces().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_piece_of_work_counts_until_it_ends() {
        let busy = Busy::default();
        assert_eq!(busy.longest(), Duration::ZERO);
        let first = busy.begin();
        let second = busy.begin();
        std::thread::sleep(Duration::from_millis(2));
        drop(first);
        let third = busy.begin();
        assert!(busy.longest() >= Duration::from_millis(2), "the second has begun as early");
        drop((second, third));
        assert_eq!(busy.longest(), Duration::ZERO);
    }
}
