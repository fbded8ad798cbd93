//! What has been seen in a watched folder, so that nothing is sent twice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Files that appeared whose content is remembered. An older one that is touched is sent again, and found
/// to be stored.
const REMEMBERED: usize = 200_000;
/// Names that are remembered though there is no file of them any more, the newest.
const GONE: u64 = 20_000;

/// The names and contents that have been seen, each as a few bytes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    /// By a hash of the name.
    files: HashMap<u64, File>,
    /// Names in the order in which their contents came, to forget the oldest contents.
    order: VecDeque<(u64, u64)>,
    /// Names and contents so far.
    noted: u64,
    /// Names after which it is worth while to look which of them are in the folder still.
    sweep_at: usize,
}

#[derive(Debug)]
struct File {
    /// When it was noted last, by count.
    noted: u64,
    /// A hash of the content, where it is known.
    content: Option<[u8; 16]>,
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
        let (key, noted) = (self.key(path), self.next());
        self.files.entry(key).or_insert(File { noted, content: None });
    }

    /// Notes a file and its content; says what was known of it.
    pub(super) fn content(&mut self, path: &[u8], hash: &blake3::Hash) -> Known {
        let (key, noted) = (self.key(path), self.next());
        let content = hash.as_bytes().first_chunk::<16>().copied();
        let before = self.files.insert(key, File { noted, content });
        self.order.push_back((key, noted));
        if self.order.len() > REMEMBERED
            && let Some((oldest, noted)) = self.order.pop_front()
            && let Some(file) = self.files.get_mut(&oldest).filter(|file| file.noted == noted)
        {
            file.content = None;
        }
        match before {
            None => Known::No,
            Some(before) if before.content.is_some() && before.content == content => Known::Yes,
            Some(_) => Known::Changed,
        }
    }

    fn next(&mut self) -> u64 {
        self.noted += 1;
        self.noted
    }

    /// Whether so many names were noted that it is worth while to [`sweep`](Self::sweep).
    pub(super) fn is_to_be_swept(&self) -> bool {
        self.files.len() > self.sweep_at.max(2 * GONE as usize)
    }

    /// Forgets the names that are not among those that there are, but for the newest.
    pub(super) fn sweep(&mut self, there: impl Iterator<Item = Vec<u8>>) {
        let there: HashSet<u64> = there.map(|path| self.key(&path)).collect();
        let oldest = self.noted.saturating_sub(GONE);
        self.files.retain(|key, file| file.noted > oldest || there.contains(key));
        self.files.shrink_to_fit();
        self.put_off_sweeping();
    }

    /// It cannot be known by now which names there are.
    pub(super) fn put_off_sweeping(&mut self) {
        self.sweep_at = self.files.len().saturating_mul(2);
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

    #[test]
    fn names_of_files_that_are_gone_are_forgotten_and_no_others() {
        let mut seen = Seen::default();
        let there = || (0..1_000).map(|number| format!("stays/{number}.jpg").into_bytes());
        let hash = blake3::hash(b"a");
        there().for_each(|name| _ = seen.content(&name, &hash));
        let mut most = 0;
        for number in 0..1_000_000 {
            seen.content(format!("{number}.jpg").as_bytes(), &hash);
            if seen.is_to_be_swept() {
                seen.sweep(there());
            }
            most = most.max(seen.files.len());
        }
        assert!(most < 50_000, "{most} names are kept");
        assert!(there().all(|name| seen.has(&name)));
        assert!(seen.has(b"999999.jpg") && seen.has(b"990000.jpg") && !seen.has(b"0.jpg"));
    }
}
