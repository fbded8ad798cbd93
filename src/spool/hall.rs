//! What the threads of a spool share: its room, and its folder.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::SpoolOptions;
use super::disk::{Disk, Found};
use super::room::Room;

/// A room behind a lock, and whoever waits for something to happen in it.
#[derive(Debug)]
pub(super) struct Hall {
    room: Mutex<Room>,
    news: Condvar,
    pub(super) disk: Option<Disk>,
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
        Self { room: Mutex::new(room), news: Condvar::new(), disk }
    }

    pub(super) fn room(&self) -> MutexGuard<'_, Room> {
        // Every change is done before anything that could panic.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
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
