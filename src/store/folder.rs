//! The store as a whole: the folder, locked, and the sources in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::io::Errno;

use super::contract::{OpenSource, Opener, Store};
use super::directory::Directory;
use super::error::StoreError;
use super::folder_source::FolderSource;
use super::lock::Locked;
use super::options::StoreOptions;
use crate::frame::SourceName;

/// A store: `OUT`. Nobody else can open it until this and every [`FolderSource`] of it is dropped.
/// The lock is on the folder itself; it leaves no file behind and ends with the process.
#[derive(Debug)]
pub struct FolderStore {
    out: Arc<Locked>,
    path: PathBuf,
    options: StoreOptions,
}

impl FolderStore {
    /// Opens the store at `path`, making the folder where it is missing.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be made, is not a folder, or is in use.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
        std::fs::create_dir_all(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => StoreError::NotAFolder { path: path.to_owned() },
            _ => failed("make", Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        })?;
        let out = Directory::open(path).map_err(|cause| failed("open", cause))?;
        let out = Locked::take(out).map_err(|cause| match cause {
            Errno::WOULDBLOCK => StoreError::Locked { path: path.to_owned() },
            cause => failed("lock", cause),
        })?;
        Ok(Self { out: Arc::new(out), path: path.to_owned(), options })
    }

    /// The store whose lock is held already.
    pub(super) fn held(out: Arc<Locked>, path: &Path, options: StoreOptions) -> Self {
        Self { out, path: path.to_owned(), options }
    }

    /// Its lock, for as long as the store or one of its sources is open.
    pub(super) fn hold(&self) -> Weak<Locked> {
        Arc::downgrade(&self.out)
    }

    /// Opens one source, making its folder where it is missing, and puts right what a crash left.
    /// Reads the source's manifest once: about 2 µs a frame.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be made, is a link, is open already, or its manifest is unreadable.
    pub fn source(&self, source: &SourceName) -> Result<FolderSource, StoreError> {
        let path = self.path.join(source.as_str());
        let directory = self.source_folder(source, &path)?;
        let directory = Locked::take(directory).map_err(|cause| match cause {
            Errno::WOULDBLOCK => StoreError::SourceInUse { path: path.clone() },
            cause => StoreError::Io { doing: "lock", path: path.clone(), cause },
        })?;
        FolderSource::open(Arc::clone(&self.out), directory, source, &path, self.options)
    }

    fn source_folder(&self, source: &SourceName, path: &Path) -> Result<Directory, StoreError> {
        let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
        let name = source.as_str();
        let is_new = self.out.make_folder(name).map_err(|cause| failed("make", cause))?;
        if is_new && self.options.durable {
            self.out.sync_names().map_err(|cause| failed("sync", cause))?;
        }
        self.out.folder(name).map_err(|cause| match cause {
            Errno::NOTDIR => StoreError::NotAFolder { path: path.to_owned() },
            cause => failed("open", cause),
        })
    }
}

impl Store for FolderStore {
    fn open(
        &self,
        source: &SourceName,
        _opener: &Opener,
    ) -> Result<Box<dyn OpenSource>, StoreError> {
        Ok(Box::new(self.source(source)?))
    }

    fn is_durable(&self) -> bool {
        self.options.durable
    }
}
