//! Slows storing down to the pace of removing, where a store is over its limit and frames come faster than old ones can
//! go: a disk that fills up would refuse them all in the end, and a sender that is slowed keeps what it has.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::ByteSize;

/// A batch waits no longer than this: a removal that hangs must not end a session, nor look like a disk that does.
const LONGEST: Duration = Duration::from_secs(2);
/// For each byte that is removed, seven eighths of one are stored, so that the store gets back to its limit.
const STORED: u64 = 7;
const REMOVED: u64 = 8;
/// No more than this is stored at once for what was removed while nothing came.
const MOST: i64 = 16 << 20;

/// How a store keeps to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keeping {
    /// By how much it is over the limit that it was told to keep, a second ago; 0 within it. What may not be removed
    /// counts.
    pub over: ByteSize,
    /// Whether storing is held to the pace of removing.
    pub is_slowed: bool,
    /// How long batches of frames have waited for that, all together.
    pub slowed: Duration,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { over: ByteSize(0), is_slowed: false, slowed: Duration::ZERO }
    }
}

/// What is held, and for how long.
#[derive(Debug, Default)]
pub(super) struct Brake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    keeping: Keeping,
    /// The bytes that may be stored, while storing is slowed.
    allowed: i64,
}

impl Brake {
    /// By how much the store is over its limit, and whether storing is to be slowed for that.
    pub(super) fn set(&self, over: u64, is_slowed: bool) {
        let mut state = self.state();
        state.keeping.over = ByteSize(over);
        if state.keeping.is_slowed != is_slowed {
            state.keeping.is_slowed = is_slowed;
            state.allowed = 0;
            self.changed.notify_all();
        }
    }

    /// So much was removed.
    pub(super) fn removed(&self, bytes: u64) {
        let mut state = self.state();
        if state.keeping.is_slowed && bytes > 0 {
            let more = i64::try_from(bytes.saturating_mul(STORED) / REMOVED).unwrap_or(MOST);
            state.allowed = state.allowed.saturating_add(more).min(MOST);
            self.changed.notify_all();
        }
    }

    /// Waits until so much may be stored.
    pub(super) fn wait(&self, bytes: u64) {
        let mut state = self.state();
        if !state.keeping.is_slowed {
            return;
        }
        let began = Instant::now();
        while state.keeping.is_slowed && state.allowed <= 0 {
            let Some(left) = LONGEST.checked_sub(began.elapsed()) else { break };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // What goes on because it has waited for long enough is not owed for.
        if state.allowed > 0 {
            state.allowed -= i64::try_from(bytes).unwrap_or(MOST);
        }
        state.keeping.slowed += began.elapsed();
    }

    pub(super) fn keeping(&self) -> Keeping {
        self.state().keeping
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn storing_waits_for_what_is_removed() {
        let brake = Arc::new(Brake::default());
        brake.wait(1 << 40);
        assert_eq!(brake.keeping(), Keeping::default(), "nothing holds it");
        brake.removed(1 << 30);
        brake.set(5, true);
        let (tell, told) = channel();
        let storing = brake.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..3 {
                storing.wait(800);
                tell.send(Instant::now()).unwrap();
            }
        });
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "what went before counts");
        // Room for two: the second owes for what it stores beyond it.
        brake.removed(1_600);
        told.recv_timeout(LONGEST / 2).unwrap();
        told.recv_timeout(LONGEST / 2).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
        brake.set(0, false);
        told.recv_timeout(LONGEST / 2).unwrap();
        thread.join().unwrap();
        let Keeping { over, is_slowed, slowed } = brake.keeping();
        assert_eq!((over, is_slowed), (ByteSize(0), false));
        assert!(slowed >= Duration::from_millis(80), "{slowed:?}");
    }

    #[test]
    fn a_removal_that_hangs_holds_no_batch_for_good() {
        let brake = Brake::default();
        brake.set(5, true);
        let began = Instant::now();
        brake.wait(10);
        assert!(began.elapsed() >= LONGEST);
        brake.removed(80);
        brake.wait(10);
        assert!(began.elapsed() < 2 * LONGEST, "it owes nothing for that");
    }
}
