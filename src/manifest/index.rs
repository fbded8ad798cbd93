//! From a frame's name to where its line is, in about 20 bytes a frame.
//!
//! The names themselves stay in the manifest: a store of 500,000 frames would otherwise hold tens
//! of megabytes of them in memory. The index keeps 32 bits of a keyed hash of each name beside the
//! offset of its line. Where the 32 bits agree the line is read and the name in it compared, so
//! that two names can never be taken for one another; the hash only decides how often that reading
//! is for nothing (about n²/2³³ pairs of names: some 30 among 500,000). The key is random, so that
//! nobody can choose names that all meet in one place.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::frame::FrameName;

/// Marks a free slot; a name whose hash is 0 gets 1 instead.
const FREE: u32 = 0;
/// Slots of the first table.
const FIRST_SLOTS: usize = 64;

/// Offsets of the lines that count, by name. Open addressing with linear probing, at most 7/8 full.
#[derive(Debug)]
pub struct Index<S = RandomState> {
    hasher: S,
    tags: Vec<u32>,
    offsets: Vec<u64>,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self::with_hasher(RandomState::new())
    }
}

impl<S: BuildHasher> Index<S> {
    /// An empty index whose hashes are keyed by `hasher`.
    pub fn with_hasher(hasher: S) -> Self {
        let (tags, offsets) = (vec![FREE; FIRST_SLOTS], vec![0; FIRST_SLOTS]);
        Self { hasher, tags, offsets, len: 0 }
    }

    /// How many names it knows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<u32>() + self.offsets.capacity() * size_of::<u64>()
    }

    /// The offset of the line of `name`. `is_named(offset)` says whether the line there is really
    /// this name's.
    ///
    /// # Errors
    /// Whatever `is_named` fails with.
    pub fn find<E>(
        &self,
        name: &FrameName,
        is_named: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        self.find_hashed(self.hasher.hash_one(name.as_str()), is_named)
    }

    /// The same by the name's hash, where all names are entered by that: of 64 bits, of which the upper half counts.
    ///
    /// # Errors
    /// Whatever `is_named` fails with.
    pub(super) fn find_hashed<E>(
        &self,
        hash: u64,
        is_named: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        let slot = self.slot_of(tag(hash), is_named)?;
        Ok((self.tags[slot] != FREE).then(|| self.offsets[slot]))
    }

    /// Makes `offset` the line of `name`, instead of any earlier one.
    ///
    /// # Errors
    /// Whatever `is_named` fails with; the index is then as it was.
    pub fn insert<E>(
        &mut self,
        name: &FrameName,
        offset: u64,
        is_named: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.insert_hashed(self.hasher.hash_one(name.as_str()), offset, is_named).map(drop)
    }

    /// The same by the name's hash; whether the name is a new one.
    ///
    /// # Errors
    /// Whatever `is_named` fails with; the index is then as it was.
    pub(super) fn insert_hashed<E>(
        &mut self,
        hash: u64,
        offset: u64,
        is_named: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let tag = tag(hash);
        let slot = self.slot_of(tag, is_named)?;
        let is_new = self.tags[slot] == FREE;
        self.tags[slot] = tag;
        self.offsets[slot] = offset;
        if is_new {
            self.len += 1;
            if self.len * 8 > self.tags.len() * 7 {
                self.grow();
            }
        }
        Ok(is_new)
    }

    /// Whether the line of `name` is the one at `offset`, rather than a later one.
    pub fn is_current(&self, name: &FrameName, offset: u64) -> bool {
        self.is_current_hashed(self.hasher.hash_one(name.as_str()), offset)
    }

    /// The same by the name's hash.
    pub(super) fn is_current_hashed(&self, hash: u64, offset: u64) -> bool {
        let is_it = |other| Ok::<_, std::convert::Infallible>(other == offset);
        matches!(self.find_hashed(hash, is_it), Ok(Some(_)))
    }

    /// The slot that holds the name, or the free one where it belongs.
    fn slot_of<E>(
        &self,
        tag: u32,
        mut is_named: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let mut slot = home(tag, self.tags.len());
        while self.tags[slot] != FREE {
            if self.tags[slot] == tag && is_named(self.offsets[slot])? {
                break;
            }
            slot = (slot + 1) % self.tags.len();
        }
        Ok(slot)
    }

    /// Half as large again rather than twice: between 13.7 and 20.6 bytes a frame.
    fn grow(&mut self) {
        let slots = self.tags.len() + self.tags.len() / 2;
        let tags = std::mem::replace(&mut self.tags, vec![FREE; slots]);
        let offsets = std::mem::replace(&mut self.offsets, vec![0; slots]);
        for (tag, offset) in tags.into_iter().zip(offsets).filter(|&(tag, _)| tag != FREE) {
            let mut slot = home(tag, slots);
            while self.tags[slot] != FREE {
                slot = (slot + 1) % slots;
            }
            self.tags[slot] = tag;
            self.offsets[slot] = offset;
        }
    }
}

fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(FREE + 1)
}

/// Spreads the tags evenly over the slots by scaling, which needs no power of two.
fn home(tag: u32, slots: usize) -> usize {
    ((u64::from(tag) * slots as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::hash::{BuildHasherDefault, Hasher};

    use proptest::prelude::*;

    use super::*;

    /// Hashes by the first byte alone, so that nearly everything collides.
    #[derive(Default)]
    struct Poor(u64);

    impl Hasher for Poor {
        fn finish(&self) -> u64 {
            self.0 << 32
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0 = u64::from(bytes[0] % 4) << 30;
        }
    }

    fn name(text: &str) -> FrameName {
        FrameName::parse(text).unwrap()
    }

    fn agrees_with_a_map<S: BuildHasher>(mut index: Index<S>, names: &[String]) {
        let mut model = HashMap::new();
        let line_of = |offset: u64| &names[offset as usize];
        for (offset, text) in names.iter().enumerate() {
            let is_named = |other| Ok::<_, Infallible>(line_of(other) == text);
            index.insert(&name(text), offset as u64, is_named).unwrap();
            model.insert(text.clone(), offset as u64);
        }
        assert_eq!(index.len(), model.len());
        for (offset, text) in names.iter().enumerate() {
            let is_named = |other| Ok::<_, Infallible>(line_of(other) == text);
            let found = index.find(&name(text), is_named).unwrap();
            assert_eq!(found, Some(model[text]));
            assert_eq!(index.is_current(&name(text), offset as u64), model[text] == offset as u64);
        }
        let absent = index.find(&name("absent"), |_| Ok::<_, Infallible>(false)).unwrap();
        assert_eq!(absent, None);
    }

    proptest! {
        #[test]
        fn the_last_line_of_a_name_wins(names in prop::collection::vec("[a-f]{1,3}", 0..400)) {
            agrees_with_a_map(Index::default(), &names);
            agrees_with_a_map(Index::with_hasher(BuildHasherDefault::<Poor>::default()), &names);
        }
    }

    #[test]
    fn half_a_million_frames_take_about_twenty_bytes_each() {
        let mut index = Index::default();
        let mut worst = 0.0f64;
        for frame in 0..500_000u64 {
            let name = name(&format!("frame-{frame:08}.jpg"));
            // Equal hashes of different names are told apart; no name comes twice here.
            index.insert(&name, frame * 300, |_| Ok::<_, Infallible>(false)).unwrap();
            if frame > 1_000 {
                worst = worst.max(index.memory_bytes() as f64 / (frame + 1) as f64);
            }
        }
        assert_eq!(index.len(), 500_000);
        assert!(worst < 21.0, "{worst} bytes a frame");
        let probed = name("frame-00250000.jpg");
        let found = index.find(&probed, |offset| Ok::<_, Infallible>(offset == 75_000_000));
        assert_eq!(found, Ok(Some(75_000_000)));
    }
}
