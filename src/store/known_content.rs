//! What the content of stored files is known to be, so that none is read twice because somebody asks again.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use crate::frame::{ContentHash, FrameName};

/// Files that are remembered. Beyond it those of before are forgotten, which costs reading them again.
const REMEMBERED: usize = 65_536;

/// A file at a moment: where one of these has changed, its content may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was read, under which name.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) name: FrameName,
    /// `None` where it could not be read, or changed meanwhile.
    pub(super) content: Option<(Version, ContentHash)>,
}

/// What is known of the files of a source.
#[derive(Debug, Default)]
pub(super) struct KnownContent(HashMap<FrameName, (Version, ContentHash)>);

impl Version {
    /// Of an open file.
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl KnownContent {
    /// The content of this version of a file, where it was read before.
    pub(super) fn of(&self, name: &FrameName, version: &Version) -> Option<ContentHash> {
        let (known, hash) = self.0.get(name)?;
        (known == version).then_some(*hash)
    }

    /// Remembers what was read.
    pub(super) fn note(&mut self, name: FrameName, version: Version, hash: ContentHash) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&name) {
            self.0.clear();
        }
        self.0.insert(name, (version, hash));
    }
}
