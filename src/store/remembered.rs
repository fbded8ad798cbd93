//! Files that were hashed, so that no peer can make the store hash them again and again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::directory::Look;
use crate::frame::{ContentHash, UnixNanos};

/// Files remembered of a source, at about 20 bytes each; beyond, half of them are forgotten.
const MAX_FILES: usize = 1 << 17;
/// A file that was changed less than this before it was hashed can be changed again without its times telling.
/// FAT keeps them to two seconds.
const SETTLED_AFTER: u64 = 2_000_000_000;

/// A file that was hashed.
#[derive(Debug)]
pub(super) struct Seen {
    /// As it was before and after it was read.
    pub(super) file: Look,
    /// The content that it was held against.
    pub(super) wanted: ContentHash,
    /// Whether it has that.
    pub(super) is_same: bool,
    /// When it was begun to be read.
    pub(super) began: UnixNanos,
}

/// What was found by hashing files, by which file it was and by its times.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    hasher: RandomState,
    young: HashMap<u64, bool>,
    old: HashMap<u64, bool>,
}

impl Remembered {
    /// Whether the file was found to have that content, where it was hashed as it is.
    pub(super) fn get(&self, file: &Look, wanted: ContentHash) -> Option<bool> {
        let key = self.key(file, wanted);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Keeps what was found of a file, unless it was changed just before.
    pub(super) fn take(&mut self, Seen { file, wanted, is_same, began }: Seen) {
        if file.changed.0.saturating_add(SETTLED_AFTER) > began.0 {
            return;
        }
        if self.young.len() >= MAX_FILES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.key(&file, wanted), is_same);
    }

    /// Keyed at random, so that nobody can choose files that are taken for one another.
    fn key(&self, file: &Look, wanted: ContentHash) -> u64 {
        self.hasher.hash_one((file, wanted.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;

    #[test]
    fn a_file_is_known_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory.write_new("a", b"abc", None, false).unwrap();
        let look = || directory.look("a").unwrap().unwrap();
        let (hash, later) = (blake3::hash(b"abc"), UnixNanos(UnixNanos::now().0 + 3_000_000_000));
        let mut remembered = Remembered::default();
        let mut keep = |wanted, began| {
            remembered.take(Seen { file: look(), wanted, is_same: true, began });
            remembered.get(&look(), wanted)
        };
        assert_eq!(keep(hash, UnixNanos::now()), None, "it may change within the same tick");
        assert_eq!(keep(hash, later), Some(true));
        assert_eq!(remembered.get(&look(), blake3::hash(b"abd")), None);
        std::fs::remove_file(folder.path().join("a")).unwrap();
        directory.write_new("a", b"abd", None, false).unwrap();
        assert_eq!(remembered.get(&look(), hash), None);
    }

    #[test]
    fn memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory.write_new("a", b"abc", None, false).unwrap();
        let file = directory.look("a").unwrap().unwrap();
        let mut remembered = Remembered::default();
        for n in 0..3 * MAX_FILES as u64 {
            let (wanted, began) = (blake3::hash(&n.to_le_bytes()), UnixNanos(u64::MAX));
            remembered.take(Seen { file, wanted, is_same: true, began });
        }
        assert!(remembered.young.len() + remembered.old.len() <= MAX_FILES);
        let last = blake3::hash(&(3 * MAX_FILES as u64 - 1).to_le_bytes());
        assert_eq!(remembered.get(&file, last), Some(true));
    }
}
