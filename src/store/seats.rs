//! The open sources of a store: each is one session's at a time, and lets whoever removes old frames in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::brake::Brake;
use super::root::Root;
use super::seat::{DayStock, Seat};
use crate::frame::SourceName;

/// The sources that are in use, and what those have that were.
#[derive(Debug)]
pub(super) struct Seats {
    root: Arc<Root>,
    slots: Mutex<HashMap<SourceName, Weak<Slot>>>,
    /// What sources had when they were closed.
    stock: Mutex<HashMap<SourceName, Vec<DayStock>>>,
    brake: Brake,
}

/// The place of one source.
#[derive(Debug, Default)]
pub(super) struct Slot {
    seat: Mutex<Option<Seat>>,
    taken: AtomicBool,
    /// It stays open without a session, for whoever removes old frames.
    kept: AtomicBool,
}

/// Has a source stay open between two uses, until this is dropped: to open one reads as much as it has names.
#[derive(Debug)]
pub(super) struct KeptOpen {
    seats: Arc<Seats>,
    pub(super) source: SourceName,
    slot: Arc<Slot>,
}

impl KeptOpen {
    pub(super) fn of(seats: &Arc<Seats>, source: &SourceName) -> Self {
        let slot = seats.slot(source);
        slot.kept.store(true, Ordering::Release);
        Self { seats: seats.clone(), source: source.clone(), slot }
    }
}

impl Drop for KeptOpen {
    fn drop(&mut self) {
        self.slot.kept.store(false, Ordering::Release);
        let mut seat = self.slot.seat();
        if !self.slot.is_needed()
            && let Some(seat) = seat.take()
        {
            self.seats.note(&self.source, seat.stock());
        }
    }
}

impl Seats {
    /// Those of the store in this folder, of which none is open.
    pub(super) fn of(root: Root) -> Self {
        let (slots, stock) = (Mutex::default(), Mutex::default());
        Self { root: Arc::new(root), slots, stock, brake: Brake::default() }
    }

    /// The folder of the store.
    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// What slows storing down.
    pub(super) fn brake(&self) -> &Brake {
        &self.brake
    }

    /// The place of a source, whether it is open or not.
    pub(super) fn slot(&self, source: &SourceName) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(source).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::default());
        slots.insert(source.clone(), Arc::downgrade(&slot));
        slot
    }

    /// The places of those that are open.
    pub(super) fn open(&self) -> Vec<(SourceName, Arc<Slot>)> {
        let slots = lock(&self.slots);
        let open = slots.iter().filter_map(|(name, slot)| Some((name.clone(), slot.upgrade()?)));
        open.collect()
    }

    /// Remembers what a source has.
    pub(super) fn note(&self, source: &SourceName, stock: Vec<DayStock>) {
        lock(&self.stock).insert(source.clone(), stock);
    }

    /// What the sources are known to have.
    pub(super) fn stock(&self) -> HashMap<SourceName, Vec<DayStock>> {
        lock(&self.stock).clone()
    }

    /// Forgets what a source had: it is not there any more.
    pub(super) fn forget(&self, source: &SourceName) {
        lock(&self.stock).remove(source);
    }
}

impl Slot {
    /// What is open there. Waits for whoever uses it just now.
    pub(super) fn seat(&self) -> MutexGuard<'_, Option<Seat>> {
        lock(&self.seat)
    }

    /// Takes the place for a session; false where another one has it.
    pub(super) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// Whether what is open there stays open.
    pub(super) fn is_needed(&self) -> bool {
        self.taken.load(Ordering::Acquire) || self.kept.load(Ordering::Acquire)
    }

    pub(super) fn give_back(&self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// A thread that has panicked has left nothing half-done in these maps; what it did to a source is found at the next look.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
