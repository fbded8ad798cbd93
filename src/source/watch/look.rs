//! What has been seen in a watched folder, so that nothing is sent twice.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Files that appeared whose content is remembered. An older one that is touched is sent again, and found
/// to be stored.
const REMEMBERED: usize = 200_000;

/// The names and contents that have been seen, each as a few bytes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    /// By a hash of the name: a hash of the content, where it is known.
    files: HashMap<u64, Option<[u8; 16]>>,
    /// Names in the order in which their contents came, to forget the oldest contents.
    order: VecDeque<u64>,
}

/// What is known of a file with this content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Its name is new.
    No,
    /// Its name was there, with other content, or nobody knows which.
    Changed,
    /// It was there as it is.
    Yes,
}

impl Seen {
    fn key(&self, path: &[u8]) -> u64 {
        self.hasher.hash_one(path)
    }

    /// Whether a file of this name was there.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.files.contains_key(&self.key(path))
    }

    /// Notes a name whose content is not known.
    pub(super) fn name(&mut self, path: &[u8]) {
        let key = self.key(path);
        self.files.entry(key).or_insert(None);
    }

    /// Notes a file and its content; says what was known of it.
    pub(super) fn content(&mut self, path: &[u8], hash: &blake3::Hash) -> Known {
        let key = self.key(path);
        let content = hash.as_bytes().first_chunk::<16>().copied();
        let before = self.files.insert(key, content);
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
            && !self.order.contains(&oldest)
            && oldest != key
        {
            self.files.insert(oldest, None);
        }
        match before {
            None => Known::No,
            Some(before) if before.is_some() && before == content => Known::Yes,
            Some(_) => Known::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_new_changed_or_known() {
        let mut seen = Seen::default();
        let (a, b) = (blake3::hash(b"a"), blake3::hash(b"b"));
        assert_eq!(seen.content(b"0.jpg", &a), Known::No);
        assert_eq!(seen.content(b"0.jpg", &a), Known::Yes);
        assert_eq!(seen.content(b"0.jpg", &b), Known::Changed);
        seen.name(b"1.jpg");
        assert!(seen.has(b"1.jpg") && !seen.has(b"2.jpg"));
        assert_eq!(seen.content(b"1.jpg", &a), Known::Changed);
        seen.name(b"0.jpg");
        assert_eq!(seen.content(b"0.jpg", &b), Known::Yes);
    }
}
