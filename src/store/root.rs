//! The store's folder, `OUT`: locked, and the one at its path, or else opened anew.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::io::Errno;

use super::directory::{Directory, FileId, Kind};
use super::error::StoreError;
use super::lock::Locked;
use crate::frame::SourceName;
use crate::manifest::{FILE_NAME, LEDGER_NAME};

/// Made and removed when a store is opened, to see that it can be written. Its name is that of any temporary file.
const PROBE: &str = ".framelane-0.part";

/// The folder of a store, which others may move, delete or mount something over while it is in use.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// The lock is held only to open the folder anew, which all sources need then.
    current: Mutex<Arc<Locked>>,
    /// What has expired is looked at and removed under it, each file by itself, and given another content under it.
    expired: RwLock<()>,
}

impl Root {
    /// Opens and locks the folder, making it where it is missing, and sees that it can be written.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: Mutex::new(Arc::new(folder)),
            expired: RwLock::default(),
        })
    }

    /// The sources that there are.
    pub(super) fn sources(&self) -> Result<Vec<SourceName>, StoreError> {
        let folder = self.folder()?;
        let mut sources = Vec::new();
        let is_source = |name: &str| {
            let records = folder.folder(name);
            records.is_ok_and(|records| {
                [FILE_NAME, LEDGER_NAME]
                    .iter()
                    .any(|name| matches!(records.kind(name), Ok(Some(Kind::File(_)))))
            })
        };
        let visited = folder.for_each_name(|name| {
            let name = std::str::from_utf8(name).ok().filter(|name| is_source(name));
            sources.extend(name.and_then(|name| SourceName::parse(name).ok()));
            Ok::<_, Errno>(())
        });
        let path = self.path.clone();
        visited.map_err(|cause| StoreError::Io { doing: "look into", path, cause })?;
        Ok(sources)
    }

    /// While this is held no file of a frame that has expired is given another content.
    pub(super) fn hold_expired(&self) -> RwLockReadGuard<'_, ()> {
        self.expired.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is held no file of a frame that has expired is removed. Waits for one that is just being removed.
    pub(super) fn replace_expired(&self) -> RwLockWriteGuard<'_, ()> {
        self.expired.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its path, as the user gave it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a folder is the one at the path.
    pub(super) fn is_at_its_path(&self, folder: &Directory) -> bool {
        folder.id().is_ok_and(|id| FileId::at(&self.path) == Ok(id))
    }

    /// The folder at the path, opened anew where that is another one by now.
    pub(super) fn folder(&self) -> Result<Arc<Locked>, StoreError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_at_its_path(&current) {
            *current = Arc::new(open(&self.path)?);
            tracing::warn!(
                "{} is another folder than before: it was moved or deleted, or something was mounted or unmounted \
                 there; going on in the one that is there now",
                self.path.display()
            );
        }
        Ok(current.clone())
    }
}

fn open(path: &Path) -> Result<Locked, StoreError> {
    let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
    std::fs::create_dir_all(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => StoreError::NotAFolder { path: path.to_owned() },
        _ => failed("make", Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    })?;
    let folder = Directory::open(path).map_err(|cause| failed("open", cause))?;
    let folder = Locked::take(folder).map_err(|cause| match cause {
        Errno::WOULDBLOCK => StoreError::Locked { path: path.to_owned() },
        cause => failed("lock", cause),
    })?;
    match probe(&folder) {
        // Room may be made while the receiver runs.
        Ok(()) | Err(Errno::NOSPC | Errno::DQUOT) => Ok(folder),
        Err(cause) => Err(StoreError::NotWritable { path: path.to_owned(), cause }),
    }
}

fn probe(folder: &Directory) -> Result<(), Errno> {
    match folder.write_new(PROBE, b"", None, false) {
        Ok(()) => folder.remove(PROBE),
        // Left by a receiver that was killed just here, or somebody's: it says nothing about writing.
        Err(Errno::EXIST) if folder.remove(PROBE).is_ok() => Ok(()),
        failed => failed,
    }
}
