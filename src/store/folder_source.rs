//! One source of a folder store, as a session uses it.

use std::sync::Arc;

use super::belief::StoredInfo;
use super::contract::{Held, Note, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame};
use super::error::{FrameError, StoreError};
use super::options::StoreOptions;
use super::seat::Seat;
use super::seats::{Seats, Slot};
use crate::frame::{FrameName, RunId, Sequence, SourceName};
use crate::manifest::Opened;

/// One source of a [`FolderStore`](super::FolderStore), open for storing. All calls block on the file system.
///
/// Before each batch, and again before it is confirmed, the store's folder, the source's, its records and the folders
/// of the days that are open are known to be the ones at their paths. Where one is not, everything is opened anew, and
/// what had not been confirmed is stored there.
///
/// Between the calls old days of it are removed, where the store is told to; while it is over its limit and frames come
/// faster than old ones can go, each batch waits for that, up to 2 s.
#[derive(Debug)]
pub struct FolderSource {
    seats: Arc<Seats>,
    source: SourceName,
    options: StoreOptions,
    slot: Arc<Slot>,
}

impl FolderSource {
    /// Opens the source for a sender.
    pub(super) fn open(
        seats: Arc<Seats>,
        source: &SourceName,
        opener: &Opener,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let slot = seats.slot(source);
        if !slot.take() {
            return Err(StoreError::SourceInUse {
                path: seats.root().path().join(source.as_str()),
            });
        }
        // From here on it is given back when this is dropped.
        let mut opened = Self { seats, source: source.clone(), options, slot };
        opened.with(|seat| seat.admit(opener)).and_then(|admitted| admitted)?;
        Ok(opened)
    }

    /// What was found, and put right, when the source was opened.
    pub fn opened(&self) -> Option<Opened> {
        self.slot.seat().as_ref().and_then(|seat| seat.opened().cloned())
    }

    /// How many frames have a line in a manifest.
    pub fn frames(&self) -> u64 {
        self.slot.seat().as_ref().map_or(0, Seat::frames)
    }

    /// What is stored under `name`; `None` if the frame has to be sent. Fastest in the order in
    /// which the frames were stored.
    ///
    /// # Errors
    /// Where the source or its manifest cannot be read.
    pub fn lookup(&mut self, name: &FrameName) -> Result<Option<StoredInfo>, FrameError> {
        let frame = format!("{}/{name}", self.source);
        let found = self.with(|seat| seat.lookup(name));
        found.map_err(|error| FrameError::from_source(frame, &error))?
    }

    /// Stores frames and says what became of each, in their order. When this returns, a stored
    /// frame has its file and its line, both at their paths; in durable mode they are on the medium.
    ///
    /// A frame that fails leaves nothing of itself behind and does not keep the others from being
    /// stored, except where the manifest cannot be appended to: then all of its batch fail, and
    /// the files that it made are removed again.
    pub fn store_batch(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let bytes = frames.iter().map(|received| received.frame.body.len() as u64).sum();
        // Not while others wait for the source: whoever removes old frames needs it as well.
        self.seats.brake().wait(bytes);
        let stored = self.with(|seat| seat.store_batch(frames));
        stored.unwrap_or_else(|error| {
            let failed = |received: &ReceivedFrame| {
                let frame = format!("{}/{}", self.source, received.frame.meta.name);
                Outcome::Failed(FrameError::from_source(frame, &error))
            };
            frames.iter().map(failed).collect()
        })
    }

    /// Does something with the open source. It is opened where it is not.
    fn with<T>(&mut self, act: impl FnOnce(&mut Seat) -> T) -> Result<T, StoreError> {
        let mut seat = self.slot.seat();
        if let Some(seat) = &mut *seat {
            return Ok(act(seat));
        }
        let opened = Seat::open(self.seats.root().clone(), &self.source, self.options)?;
        Ok(act(seat.insert(opened)))
    }
}

impl Drop for FolderSource {
    fn drop(&mut self) {
        let mut seat = self.slot.seat();
        if let Some(seat) = seat.take() {
            self.seats.note(&self.source, seat.stock());
        }
        self.slot.give_back();
    }
}

impl OpenSource for FolderSource {
    fn admit(&mut self, opener: &Opener) -> Result<(), StoreError> {
        self.with(|seat| seat.admit(opener))?
    }

    fn unread(&mut self, offered: &[Offered<'_>]) -> Vec<Reading> {
        self.with(|seat| seat.unread(offered)).unwrap_or_default()
    }

    fn has_read(&mut self, reading: Reading) {
        let _ = self.with(|seat| seat.has_read(reading));
    }

    fn look_up(
        &mut self,
        asker: &Opener,
        offered: &[Offered<'_>],
        listening: &dyn Fn() -> bool,
    ) -> Vec<Held> {
        let looked_up = self.with(|seat| seat.look_up(asker, offered, listening));
        looked_up.unwrap_or_else(|_| vec![Held::Nothing; offered.len()])
    }

    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        self.store_batch(frames)
    }

    fn note(&mut self, from: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        self.with(|seat| seat.note(from, notes))?
    }

    fn last_sequence(&mut self) -> Option<Sequence> {
        self.with(|seat| seat.last_sequence()).ok().flatten()
    }

    fn goes_on_from(&mut self, run: RunId) -> Option<Sequence> {
        self.with(|seat| seat.goes_on_from(run)).ok().flatten()
    }

    fn held(&mut self) -> Option<u64> {
        self.with(|seat| seat.frames_left()).ok()
    }
}
