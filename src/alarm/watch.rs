//! Files that tokio watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has tokio watch a file for `interest` alone.
///
/// # Errors
/// The system's. To be called within a runtime that has I/O enabled.
#[expect(unsafe_code, reason = "tokio has no safe call any more for a file that only it holds")]
pub(crate) fn watch(file: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the file is open, and nobody can close or replace it while it is within the `AsyncFd`, which it is
    // never taken out of: those who hold one see no more of it than a reference.
    let watched = unsafe { AsyncFd::register_with_interest(file, interest) };
    watched.map_err(io::Error::from)
}
