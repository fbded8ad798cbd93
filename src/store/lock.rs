//! A folder that one process has to itself.

use std::ops::Deref;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::directory::Directory;

/// A folder that nobody else can lock until this is dropped.
#[derive(Debug)]
pub(super) struct Locked(Directory);

impl Locked {
    /// Takes the lock on a folder; `EWOULDBLOCK` if somebody has it. File systems that know no locks
    /// on folders (NFS, some FUSE ones) go without: a store there is better than none.
    pub(super) fn take(directory: Directory) -> Result<Self, Errno> {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::BADF | Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    tracing::warn!(
                        "this file system cannot lock the store: start no second receiver on it"
                    );
                });
                Ok(Self(directory))
            }
            locked => locked.map(|()| Self(directory)),
        }
    }
}

impl Deref for Locked {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child process that another thread has forked
        // and that has not yet executed its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
