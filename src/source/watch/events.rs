//! What the kernel tells of folders.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A file at this path below the root was closed by a writer.
    Complete(Vec<u8>),
    /// A file or link was moved there.
    Moved(Vec<u8>),
    /// A file or link came about: linked, or to be written.
    Created(Vec<u8>),
    /// A folder came about, or was moved in.
    Folder(Vec<u8>),
    /// The root was moved or removed.
    RootGone,
    /// Events were lost.
    Overflow,
}

impl Event {
    /// What it is about, by its path below the root.
    pub(super) fn path(&self) -> Option<&[u8]> {
        match self {
            Self::Complete(path) | Self::Moved(path) | Self::Created(path) | Self::Folder(path) => {
                Some(path)
            }
            Self::RootGone | Self::Overflow => None,
        }
    }
}

/// The kernel's word on a root and folders below it.
pub(super) struct Events {
    inotify: OwnedFd,
    /// The path of each folder below the root, the root's own being empty.
    folders: HashMap<i32, Vec<u8>>,
    root: Option<i32>,
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new(), root: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Listens to a folder, at `relative` below `root`; false where it is listened to already, under this path or under
    /// another that leads to it as well. One that was moved goes by its new path from here on. More events than these
    /// would fill the kernel's queue four times as fast.
    pub(super) fn listen(&mut self, root: &Path, relative: Vec<u8>) -> io::Result<bool> {
        let folder = &below(root, &relative);
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let is_root = relative.is_empty();
        let own = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let flags = if is_root { flags | own } else { flags };
        let watch = inotify::add_watch(&self.inotify, folder, flags)?;
        let known = self.folders.get(&watch);
        let is_new = match known {
            Some(known) if *known == relative => false,
            Some(_) if is_root => false,
            Some(known) if is_same(&below(root, known), folder) => return Ok(false),
            Some(_) | None => true,
        };
        self.folders.insert(watch, relative);
        if is_root {
            self.root = Some(watch);
        }
        Ok(is_new)
    }

    /// The folders that are listened to, by their paths below the root.
    pub(super) fn folders(&self) -> Vec<Vec<u8>> {
        self.folders.values().cloned().collect()
    }

    /// Listens no more to a folder that is not there: where it was moved to, it is found again.
    pub(super) fn forget(&mut self, relative: &[u8]) {
        let watches = self.folders.extract_if(|_, known| known == relative);
        for (watch, _) in watches.collect::<Vec<_>>() {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Listens to nothing any more.
    pub(super) fn forget_all(&mut self) {
        for (watch, _) in self.folders.drain() {
            // One that is gone has been forgotten by the kernel already.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
        self.root = None;
    }

    /// What has happened by now.
    pub(super) fn take(&mut self) -> io::Result<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); 64 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut events = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(events),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let (watch, flags) = (event.wd(), event.events());
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                events.push(Event::Overflow);
                continue;
            }
            if flags.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
            }
            if flags.intersects(ReadFlags::MOVE_SELF | ReadFlags::DELETE_SELF | ReadFlags::UNMOUNT)
                && Some(watch) == self.root
            {
                events.push(Event::RootGone);
                continue;
            }
            let (Some(folder), Some(name)) = (self.folders.get(&watch), event.file_name()) else {
                continue;
            };
            let path = join(folder, name.to_bytes());
            if flags.contains(ReadFlags::ISDIR) {
                events.push(Event::Folder(path));
            } else if flags.contains(ReadFlags::MOVED_TO) {
                events.push(Event::Moved(path));
            } else if flags.contains(ReadFlags::CLOSE_WRITE) {
                events.push(Event::Complete(path));
            } else if flags.contains(ReadFlags::CREATE) {
                events.push(Event::Created(path));
            }
        }
    }
}

/// A path below the root.
fn below(root: &Path, relative: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(relative))
}

/// Whether two paths lead to one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// A name in a folder, both below the root.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        return name.to_vec();
    }
    [folder, b"/", name].concat()
}
