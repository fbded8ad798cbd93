//! Where frames wait that the link cannot take yet: in memory first, then on disk, and never more than was allowed.
//!
//! [`Spool::keep`] puts itself in front of a source that grows: it takes each frame as it comes about, and gives it to
//! the sender until it is settled. What is not settled within a second, and what memory has no room for, goes to disk,
//! a file a frame. So the source is read on while the link is away, and what is on disk outlives the process: the next
//! one that opens the folder goes on with the same runs, sends what is there, and declares what was only in memory.
//!
//! `docs/spool.md` has the form of the folder, and what is synced when.

mod counts;
mod disk;
mod entry;
mod error;
mod frame_file;
mod hall;
mod intake;
mod journal;
mod journal_file;
mod keeper;
mod lines;
mod lock;
mod past;
mod room;
mod shelf;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_reserve;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::frame::{ByteSize, SourceName};
use crate::source::Source;
use disk::Disk;
pub use error::SpoolError;
use hall::Hall;
pub use room::SpoolFigures;
use shelf::Shelf;

/// How much a spool may hold, and what is done when that is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// Bytes of files on disk.
    pub size: ByteSize,
    /// Bytes of frames in memory, beside one frame.
    pub memory: ByteSize,
    /// What is done when both are full.
    pub when_full: WhenFull,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self { size: ByteSize(10 << 30), memory: ByteSize(64 << 20), when_full: WhenFull::Wait }
    }
}

/// What is done when a spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The source is held: a pipe is not read on, a program's push waits.
    #[default]
    Wait,
    /// The oldest frames are dropped, and declared.
    DropOldest,
}

/// A spool that is open. Dropped without [`close`](Self::close), it leaves what a killed process would.
pub struct Spool {
    hall: Arc<Hall>,
    keeper: Option<JoinHandle<()>>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Spool {
    /// A spool in memory alone.
    ///
    /// # Errors
    /// [`SpoolError::Thread`].
    pub fn in_memory(options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::start(Hall::new(options, None))
    }

    /// Opens the spool in a folder, which is made where it is missing, of frames for `receiver`, as the user calls it.
    /// What another process left there is sent by the sources that are [kept](Self::keep) under their names; where it
    /// was meant for another receiver, in a run of its own.
    ///
    /// # Errors
    /// [`SpoolError`]: it is another process's, of another version, or cannot be used.
    pub fn open(folder: &Path, options: SpoolOptions, receiver: &str) -> Result<Self, SpoolError> {
        let (disk, journal) = Disk::open(folder, receiver)?;
        Self::start(Hall::new(options, Some((disk, journal))))
    }

    fn start(hall: Hall) -> Result<Self, SpoolError> {
        let hall = Arc::new(hall);
        let keeping = hall.clone();
        let keeper = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || keeper::run(&keeping))
            .map_err(|error| SpoolError::Thread(error.to_string()))?;
        Ok(Self { hall, keeper: Some(keeper) })
    }

    /// Stands in front of a source that grows. Frames of one that is not an `archive`, whose frames are dropped when
    /// they are late, are accounted for, and not stored here. A source that is the same each time is given back as it is.
    ///
    /// # Errors
    /// [`SpoolError::Thread`].
    pub fn keep(
        &self,
        source: Arc<dyn Source>,
        archive: bool,
    ) -> Result<Arc<dyn Source>, SpoolError> {
        if !source.goes_on() {
            return Ok(source);
        }
        if archive {
            source.drained();
        }
        let shelf = Arc::new(Shelf::new(self.hall.clone(), source, archive));
        intake::start(&shelf).map_err(|error| SpoolError::Thread(error.to_string()))?;
        Ok(shelf)
    }

    /// Names of sources of which it has frames, without those that are kept, and how many.
    pub fn left_over(&self) -> Vec<(String, u64)> {
        self.hall.room().left_over()
    }

    /// What it holds, to be looked at from anywhere.
    pub fn figures(&self) -> SpoolFigures {
        self.hall.room().figures()
    }

    /// The same, for whoever shows it while the run goes on.
    pub fn watch(&self) -> impl Fn() -> SpoolFigures + Send + Sync + 'static {
        let hall = self.hall.clone();
        move || hall.room().figures()
    }

    /// Takes nothing more, and brings what is not settled to disk. What has no room there is lost, which the next
    /// process declares. Blocks for as long as the disk takes. The sources that were kept, and how many frames of each are
    /// on disk then.
    pub fn close(mut self) -> Vec<(SourceName, u64)> {
        self.hall.close();
        if let Some(keeper) = self.keeper.take() {
            // A panic of it has been told.
            let _ = keeper.join();
        }
        self.hall.room().on_disk()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            self.hall.abandon();
            let _ = keeper.join();
        }
    }
}
