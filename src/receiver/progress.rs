//! What a receiver has done so far, to be looked at while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::room::RoomState;

/// Counters that can be looked at while the receiver runs.
#[derive(Debug, Default)]
pub struct ReceiveProgress {
    frames: AtomicU64,
    bytes: AtomicU64,
    sessions: AtomicU64,
    begun: AtomicU64,
    room: Mutex<Option<RoomState>>,
}

impl ReceiveProgress {
    /// Frames stored.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sessions open at the moment. One is from its hello until its report was handed on, so that who
    /// sees none has all reports, and a connection that says nothing is none.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Acquire)
    }

    /// The room that there was for frames a few seconds ago, where the store knows.
    pub fn room(&self) -> Option<RoomState> {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_room(&self, room: RoomState) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }

    /// The place of a session whose hello has come, from 1.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stored(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Counts a session as open from the time it enters until this, and those of other connections of the session, are
/// dropped.
pub(super) struct Presence {
    progress: Arc<ReceiveProgress>,
    entered: Option<Arc<Entered>>,
}

/// An open session, which is counted once, whatever connections it has.
#[derive(Debug)]
pub(super) struct Entered(Arc<ReceiveProgress>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Presence {
    pub(super) fn new(progress: &Arc<ReceiveProgress>) -> Self {
        Self { progress: progress.clone(), entered: None }
    }

    /// The session is open from now on.
    pub(super) fn enter(&mut self) -> Weak<Entered> {
        let entered = self.entered.get_or_insert_with(|| {
            self.progress.sessions.fetch_add(1, Ordering::AcqRel);
            Arc::new(Entered(self.progress.clone()))
        });
        Arc::downgrade(entered)
    }

    /// It is another connection of that session.
    pub(super) fn join(&mut self, session: &Weak<Entered>) {
        self.entered = session.upgrade();
    }
}
