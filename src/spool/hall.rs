//! What the threads of a spool share: its room, and its folder.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SpoolOptions;
use super::disk::{Disk, Found};
use super::room::Room;
use crate::frame::UnixNanos;

/// A room behind a lock, and whoever waits for something to happen in it.
#[derive(Debug)]
pub(super) struct Hall {
    room: Mutex<Room>,
    news: Condvar,
    pub(super) disk: Option<Disk>,
    /// Both clocks at one moment, by which times of one are told on the other: how old a frame is goes by the steady one,
    /// whatever is done to the system's.
    pub(super) moment: (Instant, UnixNanos),
}

impl Hall {
    pub(super) fn new(options: SpoolOptions, disk: Option<(Disk, Found)>) -> Self {
        let (disk, found) = match disk {
            Some((disk, found)) => (Some(disk), found),
            None => (None, Found::default()),
        };
        let Found { journal, left } = found;
        let left = if disk.is_some() { left } else { BTreeMap::new() };
        let room = Room::new(options, journal, left, disk.is_some());
        let moment = (Instant::now(), UnixNanos::now());
        Self { room: Mutex::new(room), news: Condvar::new(), disk, moment }
    }

    pub(super) fn room(&self) -> MutexGuard<'_, Room> {
        // Every change is done before anything that could panic.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment by the system's clock, as it was when this process began.
    pub(super) fn unix(&self, at: Instant) -> UnixNanos {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let since = nanos(at.saturating_duration_since(self.moment.0));
        let before = nanos(self.moment.0.saturating_duration_since(at));
        UnixNanos(self.moment.1.0.saturating_add(since).saturating_sub(before))
    }

    /// Gives the room back, until something has happened or the time is over.
    pub(super) fn wait<'a>(
        &self,
        room: MutexGuard<'a, Room>,
        time: Duration,
    ) -> MutexGuard<'a, Room> {
        self.news.wait_timeout(room, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Something has happened.
    pub(super) fn tell(&self) {
        self.news.notify_all();
    }

    /// Nothing more is taken, and what there is goes to disk.
    pub(super) fn close(&self) {
        self.room().closing = true;
        self.tell();
    }

    /// All of its threads end, and leave everything as it is.
    pub(super) fn abandon(&self) {
        self.room().abandoned = true;
        self.tell();
    }
}
