//! One open folder, and everything that is done inside it by name. No path is resolved after it is
//! open and no symbolic link is followed, so nothing here can reach outside it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fsync, linkat, mkdirat, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::frame::UnixNanos;

/// Permissions before the umask, as for any file a program creates.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of that many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link, device, socket or pipe.
    Other,
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// Opens a folder that the user named; links in the user's own path are followed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map(|fd| Self { fd })
    }

    /// Opens a folder in this one. A link to a folder is refused as not being one (`ENOTDIR`).
    pub(crate) fn folder(&self, name: &str) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd }),
            Err(Errno::LOOP | Errno::MLINK) => Err(Errno::NOTDIR),
            Err(error) => Err(error),
        }
    }

    /// The same folder, open once more.
    pub(crate) fn again(&self) -> Result<Self> {
        let fd = self.fd.try_clone();
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        fd.map(|fd| Self { fd }).map_err(failed)
    }

    /// Makes a folder in this one; whether it is new.
    pub(crate) fn make_folder(&self, name: &str) -> Result<bool> {
        match mkdirat(&self.fd, name, FOLDER_MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What `name` is; `None` if there is nothing of that name.
    pub(crate) fn kind(&self, name: &str) -> Result<Option<Kind>> {
        Ok(self.look(name)?.map(|(kind, _)| kind))
    }

    /// The same, and when its content was last changed.
    pub(crate) fn look(&self, name: &str) -> Result<Option<(Kind, UnixNanos)>> {
        let stat = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        Ok(Some((kind, changed(&stat))))
    }

    /// Opens a regular file to read it; `ELOOP` or `EINVAL` if it is anything else.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens a regular file to read and append to it, and makes it where it is missing.
    pub(crate) fn open_to_append(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)
    }

    /// Makes a new file holding `body`; with `durable` its content is on the medium afterwards.
    /// Where that fails, no file remains.
    pub(crate) fn write_new(&self, name: &str, body: &[u8], durable: bool) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&self.fd, name, flags | OFlags::CLOEXEC, FILE_MODE)?);
        let mut written = file.write_all(body);
        if durable {
            written = written.and_then(|()| file.sync_data());
        }
        written.map_err(|error| {
            let _ = self.remove(name);
            Errno::from_io_error(&error).unwrap_or(Errno::IO)
        })
    }

    /// Gives a file its final name; `EEXIST` if the name is taken, and then nothing has changed.
    pub(crate) fn rename_new(&self, from: &str, to: &str) -> Result<()> {
        match renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            // File systems that cannot promise not to replace (NFS, some FUSE ones) can link.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?;
                self.remove(from)
            }
            renamed => renamed,
        }
    }

    /// Gives a file its final name, in the place of the file that has it.
    pub(crate) fn rename_over(&self, from: &str, to: &str) -> Result<()> {
        renameat(&self.fd, from, &self.fd, to)
    }

    /// Removes a file, or a link itself.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        unlinkat(&self.fd, name, AtFlags::empty())
    }

    /// Calls `visit` with each name in the folder, in no order.
    pub(crate) fn for_each_name<E: From<Errno>>(
        &self,
        mut visit: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                visit(name)?;
            }
        }
        Ok(())
    }

    /// Waits until the names in this folder are on the medium.
    pub(crate) fn sync_names(&self) -> Result<()> {
        fsync(&self.fd)
    }

    /// Waits until everything written to this file system is on the medium.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn sync_file_system(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd)
    }

    fn open_regular(&self, name: &str, flags: OFlags) -> Result<File> {
        // Without NONBLOCK, opening a pipe that somebody placed here would wait for a writer.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, FILE_MODE)?);
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(Errno::INVAL),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// When the content was last changed; times that nanoseconds since 1970 cannot tell are 0.
fn changed(stat: &Stat) -> UnixNanos {
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    UnixNanos(u64::try_from(nanos).unwrap_or(0))
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
