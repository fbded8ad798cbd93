//! One open folder, and everything that is done inside it by name. No path is resolved after it is
//! open and no symbolic link is followed, so nothing here can reach outside it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    fstat, fsync, futimens, linkat, mkdirat, openat, renameat, renameat_with, stat, statat,
    unlinkat,
};
use rustix::io::{Errno, Result};

use crate::frame::UnixNanos;

#[cfg(test)]
use super::model;

/// Permissions before the umask, as for any file a program creates.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A regular file of that many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link, device, socket or pipe.
    Other,
}

/// Which file or folder it is, whatever it is called. No other one has the same while it exists or is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    pub(crate) kind: Kind,
    pub(crate) id: FileId,
    /// When its content was last changed, or what somebody has set that time to.
    pub(crate) modified: UnixNanos,
    /// When the kernel last changed anything of it, its name included: nobody can set that.
    pub(crate) changed: UnixNanos,
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
        match openat(&self.fd, &*self.on_disk(name), flags, Mode::empty()) {
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
        match mkdirat(&self.fd, &*self.on_disk(name), FOLDER_MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Which folder this is.
    pub(crate) fn id(&self) -> Result<FileId> {
        fstat(&self.fd).map(|stat| FileId::of(&stat))
    }

    /// What `name` is; `None` if there is nothing of that name.
    pub(crate) fn kind(&self, name: &str) -> Result<Option<Kind>> {
        Ok(self.look(name)?.map(|look| look.kind))
    }

    /// The same, and which file it is, and its times.
    pub(crate) fn look(&self, name: &str) -> Result<Option<Look>> {
        match statat(&self.fd, &*self.on_disk(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Look::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file to read it; `ELOOP` or `EINVAL` if it is anything else.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens a regular file to read and append to it, and makes it where it is missing.
    pub(crate) fn open_to_append(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)
    }

    /// Opens a regular file to read and write it at any place, and makes it where it is missing.
    pub(crate) fn open_to_write(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes a new file holding `body`, last changed at `modified`; with `durable` its content is on the medium
    /// afterwards. Where that fails, no file remains.
    pub(crate) fn write_new(
        &self,
        name: &str,
        body: &[u8],
        modified: Option<UnixNanos>,
        durable: bool,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let name = &*self.on_disk(name);
        let mut file = File::from(openat(&self.fd, name, flags | OFlags::CLOEXEC, FILE_MODE)?);
        let mut written = file.write_all(body);
        if let (Ok(()), Some(modified)) = (&written, modified) {
            // A file system that takes no times keeps the frame all the same.
            let _ = futimens(&file, &modified_at(modified));
        }
        if durable {
            written = written.and_then(|()| file.sync_data());
        }
        written.map_err(|error| {
            let _ = self.remove(name);
            Errno::from_io_error(&error).unwrap_or(Errno::IO)
        })
    }

    /// Gives a file its final name, in this folder or another of its file system; `EEXIST` if the name is taken,
    /// and then nothing has changed.
    pub(crate) fn rename_new(&self, from: &str, folder: &Self, to: &str) -> Result<()> {
        match self.rename_no_replace(from, folder, to) {
            // File systems that cannot promise not to replace (NFS, FAT, some FUSE ones).
            Err(first @ (Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)) => {
                self.rename_checked(from, folder, to, first)
            }
            renamed => renamed,
        }
    }

    fn rename_no_replace(&self, from: &str, folder: &Self, to: &str) -> Result<()> {
        #[cfg(test)]
        model::refuse_no_replace()?;
        let (from, to) = (self.on_disk(from), folder.on_disk(to));
        renameat_with(&self.fd, &*from, &folder.fd, &*to, RenameFlags::NOREPLACE)
    }

    /// By a link, which never replaces; where there are none either, by looking first: the store is locked, so
    /// that nobody of ours makes the name meanwhile. What fails then is told by the `first` error.
    fn rename_checked(&self, from: &str, folder: &Self, to: &str, first: Errno) -> Result<()> {
        match self.link(from, folder, to) {
            Ok(()) => return self.remove(from),
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            Err(_) => {}
        }
        match folder.look(to) {
            Ok(None) => renameat(&self.fd, &*self.on_disk(from), &folder.fd, to).map_err(|_| first),
            Ok(Some(_)) => Err(Errno::EXIST),
            Err(_) => Err(first),
        }
    }

    /// Gives a file its final name, and the file that has that this one's, at once. Not every file system can.
    pub(crate) fn exchange(&self, from: &str, folder: &Self, to: &str) -> Result<()> {
        #[cfg(test)]
        model::refuse_exchange()?;
        let (from, to) = (self.on_disk(from), folder.on_disk(to));
        renameat_with(&self.fd, &*from, &folder.fd, &*to, RenameFlags::EXCHANGE)
    }

    /// Gives a file one more name, which there is not yet. Not every file system can.
    pub(crate) fn link(&self, from: &str, folder: &Self, to: &str) -> Result<()> {
        #[cfg(test)]
        model::refuse_link()?;
        let (from, to) = (self.on_disk(from), folder.on_disk(to));
        linkat(&self.fd, &*from, &folder.fd, &*to, AtFlags::empty())
    }

    /// Gives a file its final name, in the place of the file that has it.
    pub(crate) fn rename_over(&self, from: &str, folder: &Self, to: &str) -> Result<()> {
        renameat(&self.fd, &*self.on_disk(from), &folder.fd, &*folder.on_disk(to))
    }

    /// Removes a file, or a link itself.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        unlinkat(&self.fd, &*self.on_disk(name), AtFlags::empty())
    }

    /// Removes a folder that is empty.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<()> {
        unlinkat(&self.fd, &*self.on_disk(name), AtFlags::REMOVEDIR)
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

    /// The name that the file system really has for `name`: in tests, by the rules of the file system that they
    /// play.
    #[cfg(test)]
    fn on_disk<'a>(&self, name: &'a str) -> std::borrow::Cow<'a, str> {
        model::on_disk(self, name)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests look into the folder")]
    fn on_disk<'a>(&self, name: &'a str) -> std::borrow::Cow<'a, str> {
        std::borrow::Cow::Borrowed(name)
    }

    fn open_regular(&self, name: &str, flags: OFlags) -> Result<File> {
        // Without NONBLOCK, opening a pipe that somebody placed here would wait for a writer.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.fd, &*self.on_disk(name), flags, FILE_MODE)?);
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(Errno::INVAL),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

impl Look {
    fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        let modified = nanos(stat.st_mtime, stat.st_mtime_nsec);
        let changed = nanos(stat.st_ctime, stat.st_ctime_nsec);
        Self { kind, id: FileId::of(stat), modified, changed }
    }

    /// All of it that is of a regular file, as bytes: equal only where everything is.
    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let Self { kind, id, modified, changed } = self;
        let bytes = match kind {
            Kind::File(bytes) => bytes,
            Kind::Folder | Kind::Other => u64::MAX,
        };
        let mut all = [0; 40];
        all[..16].copy_from_slice(&id.to_bytes());
        for (place, number) in all[16..].chunks_exact_mut(8).zip([bytes, modified.0, changed.0]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        all
    }

    /// What an open file is.
    pub(crate) fn of_file(file: &File) -> Result<Self> {
        fstat(file).map(|stat| Self::of(&stat))
    }
}

impl FileId {
    #[expect(clippy::unnecessary_cast, reason = "the types differ between platforms")]
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.device) << 64 | u128::from(self.inode)).to_le_bytes()
    }

    /// What is at a path, links followed.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        stat(path).map(|stat| Self::of(&stat))
    }
}

/// Times that nanoseconds since 1970 cannot tell are 0.
fn nanos(seconds: impl Into<i128>, nanos: impl TryInto<i128>) -> UnixNanos {
    let nanos = seconds.into() * 1_000_000_000 + nanos.try_into().unwrap_or(0);
    UnixNanos(u64::try_from(nanos).unwrap_or(0))
}

fn modified_at(UnixNanos(nanos): UnixNanos) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: (nanos / 1_000_000_000).cast_signed(),
            tv_nsec: (nanos % 1_000_000_000) as _,
        },
    }
}

impl From<Directory> for OwnedFd {
    fn from(folder: Directory) -> Self {
        folder.fd
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
