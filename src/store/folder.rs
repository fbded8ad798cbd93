//! The store as a whole: the folder, locked, and the sources in it.

use std::path::Path;
use std::sync::{Arc, Weak};

use super::brake::Keeping;
use super::contract::{OpenSource, Opener, Store};
use super::error::StoreError;
use super::folder_source::FolderSource;
use super::janitor::Janitor;
use super::options::StoreOptions;
use super::room::Room;
use super::root::Root;
use super::seats::Seats;
use crate::frame::SourceName;

/// A store: `OUT`. Nobody else can open it until this and every [`FolderSource`] of it is dropped.
/// The lock is on the folder itself; it leaves no file behind and ends with the process.
#[derive(Debug)]
pub struct FolderStore {
    seats: Arc<Seats>,
    options: StoreOptions,
    /// Removes old frames, where any are to be, until the store is dropped.
    _janitor: Option<Janitor>,
}

impl FolderStore {
    /// Opens the store at `path`, making the folder where it is missing.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be made, is not a folder, is in use, or cannot be written.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let seats = Arc::new(Seats::of(Root::open(path)?));
        let janitor = Janitor::start(&seats, options);
        Ok(Self { seats, options, _janitor: janitor })
    }

    /// The store whose folder is open already.
    pub(super) fn of(seats: Arc<Seats>, options: StoreOptions) -> Self {
        Self { seats, options, _janitor: None }
    }

    /// Its folder, for as long as the store or one of its sources is open.
    pub(super) fn hold(&self) -> Weak<Seats> {
        Arc::downgrade(&self.seats)
    }

    /// Opens one source for a sender, making its folder where it is missing, and puts right what a crash
    /// left. Reads the lines that are not in the indexes of its manifests: about 2 µs each.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be made, is a link, is open already or another sender's, or its manifest is
    /// unreadable.
    pub fn source(&self, source: &SourceName, opener: &Opener) -> Result<FolderSource, StoreError> {
        FolderSource::open(self.seats.clone(), source, opener, self.options)
    }
}

impl Store for FolderStore {
    fn open(
        &self,
        source: &SourceName,
        opener: &Opener,
    ) -> Result<Box<dyn OpenSource>, StoreError> {
        Ok(Box::new(self.source(source, opener)?))
    }

    fn is_durable(&self) -> bool {
        self.options.durable
    }

    fn room(&self) -> Option<Room> {
        Room::at(self.seats.root().path()).ok()
    }

    fn keeping(&self) -> Option<Keeping> {
        self.options.keep.has_limit().then(|| self.seats.brake().keeping())
    }
}
