//! A place in memory for what the receivers store, which vanishes with the process.
//!
//! Where the system allows it, it is a tmpfs that is mounted nowhere: it has no name, is reached
//! through an open file, and is gone when that is closed, by whatever end the process meets.
//! Otherwise it is a folder in `/dev/shm`, or among the temporary files, that is removed at the
//! end; one that was left behind by a killed process is removed by the next.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::CompareError;
use crate::link::Privilege;

/// Folders of ours begin so.
const PREFIX: &str = "framelane-compare-";

/// The place. Dropping it removes what is in it.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    /// A folder to remove at the end, rather than an unnamed tmpfs.
    named: bool,
    /// The tmpfs itself, or the locked folder.
    _open: OwnedFd,
}

impl Scratch {
    /// Makes it. In a user namespace this needs a mount namespace, which is entered here: call it
    /// before any thread is started.
    ///
    /// # Errors
    /// [`CompareError::Scratch`].
    pub fn make(privilege: Privilege) -> Result<Self, CompareError> {
        if privilege.is_user_namespace()
            && let Err(error) = new_mount_namespace()
        {
            tracing::debug!(%error, "no mount namespace");
        }
        match unnamed() {
            Ok(mount) => {
                let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                Ok(Self { root, named: false, _open: mount })
            }
            Err(error) => {
                tracing::debug!(%error, "no unnamed tmpfs; a folder is used");
                Self::folder()
            }
        }
    }

    /// A folder with a name.
    fn folder() -> Result<Self, CompareError> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self::folder_in(&parent)
    }

    fn folder_in(parent: &Path) -> Result<Self, CompareError> {
        let root = parent.join(format!("{PREFIX}{}", std::process::id()));
        let failed = |error| CompareError::Scratch { path: root.clone(), error };
        remove_left_over(parent);
        fs::create_dir(&root).map_err(failed)?;
        let folder = File::open(&root).map_err(failed)?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        Ok(Self { root: root.clone(), named: true, _open: folder.into() })
    }

    /// Removes it, for a process that ends without dropping it, as one does that is told to stop a
    /// second time. Whoever stores to it meanwhile fails.
    pub fn remover(&self) -> impl FnOnce() + Send + 'static + use<> {
        /// A frame that is being stored may come between; the next try finds it.
        const TRIES: u32 = 100;
        let root = self.named.then(|| self.root.clone());
        move || {
            let Some(root) = root else { return };
            let _ = (0..TRIES).find(|_| match fs::remove_dir_all(&root) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            });
        }
    }

    /// A new folder in it.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Removes a folder in it.
    pub(super) fn clear(&self, name: &str) {
        let path = self.root.join(name);
        if let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "cannot remove {}", path.display());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.named {
            // Whatever stays is removed by the next comparison.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn unnamed() -> rustix::io::Result<OwnedFd> {
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&tmpfs, "mode", "0700")?;
    fsconfig_create(&tmpfs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&tmpfs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Removes folders whose process has ended: nobody holds their lock.
fn remove_left_over(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let unused = File::open(entry.path())
            .is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok());
        if unused {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A mount namespace of our own, which a user namespace needs to be allowed to mount anything.
#[expect(unsafe_code, reason = "leaving a namespace has no safe wrapper")]
fn new_mount_namespace() -> rustix::io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: only sharing the table of file descriptors would be unsafe to give up, and it is not.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_at_once_takes_its_folder_along() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::folder_in(parent.path()).unwrap();
        fs::create_dir_all(scratch.place("1").join("visible")).unwrap();
        // Whoever is told to stop twice never gets to drop it.
        scratch.remover()();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        drop(scratch);
    }

    #[test]
    fn a_folder_is_gone_with_its_owner_and_left_overs_with_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let (used, left) =
            (parent.path().join(format!("{PREFIX}1")), parent.path().join(format!("{PREFIX}2")));
        fs::create_dir_all(used.join("x")).unwrap();
        fs::create_dir_all(left.join("x")).unwrap();
        let lock = File::open(&used).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        remove_left_over(parent.path());
        assert!(used.exists() && !left.exists());
    }
}
