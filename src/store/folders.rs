//! Several folder stores under one path with placeholders: each sender or day has its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::brake::Keeping;
use super::contract::{OpenSource, Opener, Store};
use super::error::StoreError;
use super::folder::FolderStore;
use super::options::StoreOptions;
use super::room::Room;
use super::seats::Seats;
use super::template::FolderTemplate;
use crate::frame::SourceName;

/// The stores of a [`FolderTemplate`], each opened when the first session needs it and let go of when its last
/// source is closed. Without placeholders it is one store, open from the start.
#[derive(Debug)]
pub struct FolderStores {
    template: FolderTemplate,
    options: StoreOptions,
    /// The one store, where there is only one.
    only: Option<FolderStore>,
    /// The folders of those that sources are open in.
    open: Mutex<HashMap<PathBuf, Weak<Seats>>>,
}

impl FolderStores {
    /// Opens what can be opened before a sender comes: the store, or the folder that all stores will be below,
    /// which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be made or written to, is not a folder, or is in use.
    pub fn open(template: FolderTemplate, options: StoreOptions) -> Result<Self, StoreError> {
        let only = match template.fixed() {
            Some(path) => Some(FolderStore::open(path, options)?),
            None => {
                check_root(&template.root())?;
                None
            }
        };
        Ok(Self { template, options, only, open: Mutex::default() })
    }

    fn store_at(&self, path: &Path) -> Result<FolderStore, StoreError> {
        // What is listed is true at every moment, so another thread's panic does not spoil it.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was moved away since is opened anew when a source of it is.
        if let Some(seats) = open.get(path).and_then(Weak::upgrade) {
            return Ok(FolderStore::of(seats, self.options));
        }
        let store = FolderStore::open(path, self.options)?;
        open.retain(|_, root| root.strong_count() > 0);
        open.insert(path.to_owned(), store.hold());
        Ok(store)
    }
}

impl Store for FolderStores {
    fn open(
        &self,
        source: &SourceName,
        opener: &Opener,
    ) -> Result<Box<dyn OpenSource>, StoreError> {
        match &self.only {
            Some(store) => store.open(source, opener),
            None => self.store_at(&self.template.expand(opener))?.open(source, opener),
        }
    }

    fn is_durable(&self) -> bool {
        self.options.durable
    }

    fn room(&self) -> Option<Room> {
        match &self.only {
            Some(store) => store.room(),
            None => Room::at(&self.template.root()).ok(),
        }
    }

    fn keeping(&self) -> Option<Keeping> {
        self.only.as_ref()?.keeping()
    }

    fn place(&self, opener: &Opener) -> PathBuf {
        match self.only {
            Some(_) => PathBuf::new(),
            None => self.template.expand(opener),
        }
    }
}

fn check_root(root: &Path) -> Result<(), StoreError> {
    let failed = |doing, cause| StoreError::Io { doing, path: root.to_owned(), cause };
    std::fs::create_dir_all(root).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => StoreError::NotAFolder { path: root.to_owned() },
        _ => failed("make", Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    })?;
    access(root, Access::WRITE_OK | Access::EXEC_OK).map_err(|cause| failed("write to", cause))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    fn opener(name: &str) -> Opener {
        let mut opener = Opener::with_pin(Some("sha256:00"));
        opener.name = Some(Arc::from(name));
        opener
    }

    fn template(root: &Path, rest: &str) -> FolderTemplate {
        FolderTemplate::parse(root.join(rest).as_os_str()).unwrap()
    }

    #[test]
    fn each_sender_has_a_store_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let stores =
            FolderStores::open(template(root.path(), "out/{sender}"), StoreOptions::default())
                .unwrap();
        let source = SourceName::parse("visible").unwrap();
        let one = stores.open(&source, &opener("cam1")).unwrap();
        let two = stores.open(&source, &opener("cam2")).unwrap();
        assert!(
            root.path().join("out/cam1/visible").is_dir()
                && root.path().join("out/cam2/visible").is_dir()
        );
        assert_ne!(stores.place(&opener("cam1")), stores.place(&opener("cam2")));
        // Another source of a store that is open, and the same again when it was let go of.
        let other = SourceName::parse("infrared").unwrap();
        let more = stores.open(&other, &opener("cam1")).unwrap();
        let elsewhere = FolderStore::open(&root.path().join("out/cam1"), StoreOptions::default());
        assert!(matches!(elsewhere, Err(StoreError::Locked { .. })), "nobody else may have it");
        drop((one, more));
        let elsewhere = FolderStore::open(&root.path().join("out/cam1"), StoreOptions::default());
        drop(elsewhere.expect("it was let go of"));
        // Moved away under an open source, the path gets a new store.
        let moved = stores.open(&source, &opener("cam1")).unwrap();
        fs::rename(root.path().join("out/cam1"), root.path().join("out/gone")).unwrap();
        stores.open(&other, &opener("cam1")).unwrap();
        assert!(root.path().join("out/cam1/infrared").is_dir());
        drop((moved, two));
    }

    #[test]
    fn without_placeholders_it_is_one_store() {
        let root = tempfile::tempdir().unwrap();
        let stores =
            FolderStores::open(template(root.path(), "out"), StoreOptions::default()).unwrap();
        let again = FolderStores::open(template(root.path(), "out"), StoreOptions::default());
        assert!(matches!(again, Err(StoreError::Locked { .. })));
        assert_eq!(stores.place(&opener("cam1")), stores.place(&opener("cam2")));
        stores.open(&SourceName::parse("visible").unwrap(), &opener("cam1")).unwrap();
        assert!(root.path().join("out/visible").is_dir());
    }

    #[test]
    fn what_no_store_can_be_made_in_is_refused_at_the_start() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let refused =
            FolderStores::open(template(root.path(), "file/{sender}"), StoreOptions::default());
        assert!(refused.is_err());
    }
}
