//! Several folder stores under one path with placeholders: each sender or day has its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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

/// The folder of one store, while sources are open in it. Who opens it holds this, so that only those wait who want the
/// same store.
type Place = Mutex<Weak<Seats>>;

/// The stores of a [`FolderTemplate`], each opened when the first session needs it and let go of when its last
/// source is closed. Without placeholders it is one store, open from the start.
#[derive(Debug)]
pub struct FolderStores {
    template: FolderTemplate,
    options: StoreOptions,
    /// The one store, where there is only one.
    only: Option<FolderStore>,
    /// Those that sources are open in, or are being opened in.
    open: Mutex<HashMap<PathBuf, Arc<Place>>>,
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
        self.store_by(path, || FolderStore::open(path, self.options))
    }

    /// The store in a folder, opened like this where it is not open.
    fn store_by(
        &self,
        path: &Path,
        open: impl FnOnce() -> Result<FolderStore, StoreError>,
    ) -> Result<FolderStore, StoreError> {
        let place = self.place_of(path);
        let mut seats = lock(&place);
        // One that was moved away since is opened anew when a source of it is.
        if let Some(seats) = seats.upgrade() {
            return Ok(FolderStore::of(seats, self.options));
        }
        let store = open()?;
        *seats = store.hold();
        Ok(store)
    }

    fn place_of(&self, path: &Path) -> Arc<Place> {
        let mut open = lock(&self.open);
        if let Some(place) = open.get(path) {
            return place.clone();
        }
        // One that somebody has is being opened, or is about to be.
        open.retain(|_, place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0);
        let place = Arc::<Place>::default();
        open.insert(path.to_owned(), place.clone());
        place
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

/// What is listed is true at every moment, so another thread's panic does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_store_that_is_slow_to_open_keeps_no_other_waiting() {
        let root = tempfile::tempdir().unwrap();
        let template = template(root.path(), "out/{sender}");
        let stores = FolderStores::open(template, StoreOptions::default()).unwrap();
        let [slow, other] = ["slow", "other"].map(|name| root.path().join("out").join(name));
        let (began, begun) = std::sync::mpsc::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let (stores, slow) = (&stores, &slow);
            let opening = scope.spawn(move || {
                stores.store_by(slow, || {
                    began.send(()).unwrap();
                    wait.recv().unwrap();
                    FolderStore::open(slow, StoreOptions::default())
                })
            });
            begun.recv().unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || tell.send(stores.store_at(&other).is_ok()).unwrap());
            // The same store is waited for, and opened once.
            let same = scope.spawn(|| stores.store_at(slow).is_ok());
            let is_open = told.recv_timeout(std::time::Duration::from_secs(10));
            go_on.send(()).unwrap();
            assert!(is_open.expect("it waited for the slow one"));
            // Held until the other has it.
            let slow = opening.join().unwrap().unwrap();
            assert!(same.join().unwrap());
            drop(slow);
        });
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
