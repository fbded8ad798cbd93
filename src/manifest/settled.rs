//! The names of a manifest's lines in a file beside it, so that a store of months is opened at once and its names
//! take no memory: `.framelane-index`.
//!
//! It can be made anew from the manifest at any time, and is where it does not fit that. In it are, sorted, 48 bits
//! of a keyed hash of each name and the offset of its line, 12 bytes a frame; behind them what is kept in memory: the
//! first of each 256 of these, a filter of 12 bits a frame which tells nearly always that a name is not there, and
//! what all the lines come to. Numbers are little-endian.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::summary::Summary;
use super::window::Window;
use crate::frame::FrameName;

/// The index's file name in the folder of its manifest.
pub const INDEX_NAME: &str = ".framelane-index";
/// Its name while it is made.
pub const INDEX_PART_NAME: &str = ".framelane-index.part";

const MAGIC: [u8; 16] = *b"framelane index1";
const HEAD_BYTES: usize = 16 + 4 * 8 + 3 * 32;
const ENTRY_BYTES: usize = 12;
/// Entries between two that are kept in memory.
const BLOCK_ENTRIES: usize = 256;
/// Words of 64 bits that one name's bits are in: a line of the processor's cache.
const FILTER_WORDS: u64 = 8;
const FILTER_BITS_A_NAME: u64 = 12;
/// So much of the manifest, before the end of what the index knows, has to be as it was.
const CHECKED_BYTES: u64 = 4_096;
/// A summary beyond this is of no sender that means well.
const MAX_SUMMARY_BYTES: u64 = 64 << 20;

/// By what names are hashed: random, so that nobody can choose names that all meet in one place.
pub(super) type Key = [u8; 32];

/// The hash of a name.
pub(super) fn hash(key: &Key, name: &FrameName) -> u64 {
    let hash = blake3::keyed_hash(key, name.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The part of a hash that is in the file.
pub(super) fn tag(hash: u64) -> u64 {
    hash >> 16
}

/// An index that is open, or of which what is kept in memory is.
#[derive(Debug)]
pub(super) struct Settled {
    head: Head,
    /// The first tag of each block.
    fences: Vec<u64>,
    filter: Filter,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    covered: u64,
    entries: u64,
    filter_words: u64,
    summary_bytes: u64,
    key: Key,
    check: [u8; 32],
}

/// What a new index is made of.
pub(super) struct Merge {
    /// The index so far.
    pub(super) old: Option<(Arc<Settled>, File)>,
    /// Tags and offsets of the lines since.
    pub(super) fresh: Vec<(u64, u64)>,
    pub(super) manifest: File,
    /// How much of the manifest both speak of.
    pub(super) covered: u64,
    pub(super) summary: Summary,
    pub(super) key: Key,
    pub(super) folder: Arc<OwnedFd>,
}

impl Settled {
    /// Reads the index in a folder; `None` where there is none, or none of this manifest.
    pub(super) fn load(
        folder: impl AsFd,
        manifest: &File,
    ) -> io::Result<Option<(Self, Summary, File)>> {
        let Some((file, head, summary)) = load_head(folder, manifest)? else { return Ok(None) };
        Ok(Some((Self::read(&file, head)?, summary, file)))
    }

    /// The same without what is kept in memory: how much of the manifest it speaks of, and the summary of that.
    pub(super) fn load_summary(
        folder: impl AsFd,
        manifest: &File,
    ) -> io::Result<Option<(u64, Summary)>> {
        let loaded = load_head(folder, manifest)?;
        Ok(loaded.map(|(_, head, summary)| (head.covered, summary)))
    }

    /// What is kept in memory, of an index that was found to fit before.
    pub(super) fn load_names(file: &File) -> io::Result<Option<Self>> {
        let head = Head::read(file)?;
        head.map(|(head, _)| Self::read(file, head)).transpose()
    }

    fn read(file: &File, head: Head) -> io::Result<Self> {
        let at = HEAD_BYTES as u64 + head.entries * ENTRY_BYTES as u64;
        let fences = words(file, at, head.fences())?;
        let words = words(file, at + head.fences() * 8, head.filter_words)?;
        Ok(Self { head, fences, filter: Filter { words } })
    }

    /// How much of the manifest it speaks of.
    pub(super) fn covered(&self) -> u64 {
        self.head.covered
    }

    pub(super) fn entries(&self) -> u64 {
        self.head.entries
    }

    pub(super) fn key(&self) -> &Key {
        &self.head.key
    }

    /// The memory that it holds, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.fences.len() + self.filter.words.len()) * 8
    }

    /// Whether a name of that hash can be there: without a look at the file, and wrong once in a hundred times.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.filter.may_have(tag(hash))
    }

    /// The offset of the line of the name with that hash. `is_named(offset)` says whether the line there is really
    /// this name's.
    pub(super) fn find(
        &self,
        file: &File,
        hash: u64,
        mut is_named: impl FnMut(u64) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        let wanted = tag(hash);
        if !self.filter.may_have(wanted) {
            return Ok(None);
        }
        let first = self.fences.partition_point(|&fence| fence < wanted).saturating_sub(1);
        let mut bytes = [0; BLOCK_ENTRIES * ENTRY_BYTES];
        for block in first..self.fences.len() {
            if self.fences[block] > wanted {
                break;
            }
            let begin = block as u64 * BLOCK_ENTRIES as u64;
            let some = (self.head.entries - begin).min(BLOCK_ENTRIES as u64) as usize;
            let bytes = &mut bytes[..some * ENTRY_BYTES];
            file.read_exact_at(bytes, HEAD_BYTES as u64 + begin * ENTRY_BYTES as u64)?;
            for entry in bytes.chunks_exact(ENTRY_BYTES) {
                let (tag, offset) = decode(entry);
                if tag == wanted && is_named(offset)? {
                    return Ok(Some(offset));
                }
            }
        }
        Ok(None)
    }
}

impl Merge {
    /// Makes the index, in the place of the one so far.
    pub(super) fn write(mut self) -> io::Result<()> {
        self.fresh.sort_unstable();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o666);
        let file =
            File::from(openat(&self.folder, INDEX_PART_NAME, flags | OFlags::CLOEXEC, mode)?);
        let written = self.write_to(&file).and_then(|()| file.sync_all());
        let named = written
            .and_then(|()| Ok(renameat(&self.folder, INDEX_PART_NAME, &self.folder, INDEX_NAME)?));
        if named.is_err() {
            let _ = unlinkat(&self.folder, INDEX_PART_NAME, AtFlags::empty());
        }
        named
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        let most = self.old.as_ref().map_or(0, |(old, _)| old.entries()) + self.fresh.len() as u64;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; HEAD_BYTES])?;
        let (mut entries, mut fences, mut filter) = (0u64, Vec::new(), Filter::of(most));
        self.for_each(&mut |tag, offset| {
            if entries.is_multiple_of(BLOCK_ENTRIES as u64) {
                fences.push(tag);
            }
            entries += 1;
            filter.add(tag);
            let ([t @ .., _, _], [o @ .., _, _]) = (tag.to_le_bytes(), offset.to_le_bytes());
            out.write_all(&t)?;
            out.write_all(&o)
        })?;
        fences
            .iter()
            .chain(&filter.words)
            .try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
        let json = self.summary.to_json();
        out.write_all(&json)?;
        out.flush()?;
        let head = Head {
            covered: self.covered,
            entries,
            filter_words: filter.words.len() as u64,
            summary_bytes: json.len() as u64,
            key: self.key,
            check: check(&self.manifest, self.covered)?,
        };
        file.write_all_at(&head.encode(&json), 0)
    }

    /// Every name's tag and the offset of its last line, sorted.
    fn for_each(&self, put: &mut dyn FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
        let mut old = Entries::of(self.old.as_ref());
        let (mut fresh, mut group) = (self.fresh.iter().copied().peekable(), Vec::new());
        let mut earlier = old.next()?;
        loop {
            let tag = match (earlier, fresh.peek()) {
                (None, None) => return Ok(()),
                (Some((tag, _)), None) | (None, Some(&(tag, _))) => tag,
                (Some((one, _)), Some(&(other, _))) => one.min(other),
            };
            group.clear();
            while let Some((_, offset)) = earlier.filter(|(other, _)| *other == tag) {
                group.push(offset);
                earlier = old.next()?;
            }
            while let Some((_, offset)) = fresh.next_if(|(other, _)| *other == tag) {
                group.push(offset);
            }
            if group.len() > 1 {
                self.keep_last(&mut group)?;
            }
            group.iter().try_for_each(|offset| put(tag, *offset))?;
        }
    }

    /// Of lines whose names have one tag, the last of each name.
    fn keep_last(&self, offsets: &mut Vec<u64>) -> io::Result<()> {
        let (mut window, mut last): (_, Vec<(FrameName, u64)>) = (Window::default(), Vec::new());
        offsets.sort_unstable();
        for &offset in offsets.iter() {
            let Some(record) = window.record(&self.manifest, offset)? else { continue };
            last.retain(|(name, _)| *name != record.name);
            last.push((record.name, offset));
        }
        *offsets = last.into_iter().map(|(_, offset)| offset).collect();
        Ok(())
    }
}

impl Head {
    fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let array = |at: usize| {
            let mut array = [0; 32];
            array.copy_from_slice(&bytes[at..at + 32]);
            array
        };
        let head = Self {
            covered: number(16),
            entries: number(24),
            filter_words: number(32),
            summary_bytes: number(40),
            key: array(48),
            check: array(80),
        };
        let is_sane = head.entries < 1 << 40
            && head.filter_words > 0
            && head.filter_words.is_multiple_of(FILTER_WORDS)
            && head.summary_bytes <= MAX_SUMMARY_BYTES;
        (bytes[..16] == MAGIC && is_sane).then_some(head)
    }

    fn encode(&self, json: &[u8]) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..16].copy_from_slice(&MAGIC);
        let numbers = [self.covered, self.entries, self.filter_words, self.summary_bytes];
        for (place, number) in numbers.iter().enumerate() {
            bytes[16 + place * 8..24 + place * 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[48..80].copy_from_slice(&self.key);
        bytes[80..112].copy_from_slice(&self.check);
        let whole = seal(&bytes[..HEAD_BYTES - 32], json);
        bytes[HEAD_BYTES - 32..].copy_from_slice(&whole);
        bytes
    }

    fn fences(&self) -> u64 {
        self.entries.div_ceil(BLOCK_ENTRIES as u64)
    }

    /// The head of a file that is as long as it says.
    fn read(file: &File) -> io::Result<Option<(Self, [u8; HEAD_BYTES])>> {
        let metadata = file.metadata()?;
        let mut bytes = [0; HEAD_BYTES];
        if !metadata.is_file() || metadata.len() < HEAD_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let head = Self::decode(&bytes).filter(|head| head.length() == Some(metadata.len()));
        Ok(head.map(|head| (head, bytes)))
    }

    /// Where the summary is, in a file of the right length.
    fn summary_at(&self) -> u64 {
        let words = (self.fences() + self.filter_words) * 8;
        HEAD_BYTES as u64 + self.entries * ENTRY_BYTES as u64 + words
    }

    /// How long the file has to be.
    fn length(&self) -> Option<u64> {
        let words = self.fences().checked_add(self.filter_words)?.checked_mul(8)?;
        let entries = self.entries.checked_mul(ENTRY_BYTES as u64)?;
        (HEAD_BYTES as u64)
            .checked_add(entries)?
            .checked_add(words)?
            .checked_add(self.summary_bytes)
    }
}

/// Which names there may be: of each, six bits of one line of the processor's cache.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn words_for(names: u64) -> u64 {
        (names * FILTER_BITS_A_NAME).div_ceil(64 * FILTER_WORDS) * FILTER_WORDS
    }

    fn of(names: u64) -> Self {
        Self { words: vec![0; Self::words_for(names.max(1)) as usize] }
    }

    fn add(&mut self, tag: u64) {
        let begin = self.begin(tag);
        bits(tag).for_each(|(word, bit)| self.words[begin + word] |= bit);
    }

    fn may_have(&self, tag: u64) -> bool {
        let begin = self.begin(tag);
        bits(tag).all(|(word, bit)| self.words[begin + word] & bit != 0)
    }

    fn begin(&self, tag: u64) -> usize {
        let lines = self.words.len() as u128 / u128::from(FILTER_WORDS);
        // A tag has 48 bits, so this is less than the number of lines.
        ((u128::from(tag) * lines) >> 48) as usize * FILTER_WORDS as usize
    }
}

/// Which bits of its line a name has.
fn bits(tag: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (0..6).map(move |place| {
        let nine = (mixed >> (10 + place * 9)) & 511;
        ((nine / 64) as usize, 1 << (nine % 64))
    })
}

/// The index in a folder.
pub(super) fn open_index(folder: impl AsFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(openat(folder, INDEX_NAME, flags, Mode::empty())?))
}

/// What the index beside a manifest says of it, and of how many of its bytes; `None` where there is none, or none that
/// fits.
///
/// # Errors
/// From reading.
pub fn load_summary(folder: impl AsFd, manifest: &File) -> io::Result<Option<(u64, Summary)>> {
    Settled::load_summary(folder, manifest)
}

/// Its head and its summary, where it is whole and of this manifest.
fn load_head(folder: impl AsFd, manifest: &File) -> io::Result<Option<(File, Head, Summary)>> {
    let Ok(file) = open_index(folder) else { return Ok(None) };
    let Some((head, bytes)) = Head::read(&file)? else { return Ok(None) };
    if manifest.metadata()?.len() < head.covered || check(manifest, head.covered)? != head.check {
        return Ok(None);
    }
    let mut json = vec![0; head.summary_bytes as usize];
    file.read_exact_at(&mut json, head.summary_at())?;
    if seal(&bytes[..HEAD_BYTES - 32], &json) != bytes[HEAD_BYTES - 32..] {
        return Ok(None);
    }
    Ok(Summary::from_json(&json).map(|summary| (file, head, summary)))
}

/// The entries of an index, from the first.
struct Entries<'a>(Option<BufReader<io::Take<At<'a>>>>);

impl<'a> Entries<'a> {
    fn of(old: Option<&'a (Arc<Settled>, File)>) -> Self {
        Self(old.map(|(settled, file)| {
            let at = At { file, offset: HEAD_BYTES as u64 };
            let length = settled.entries() * ENTRY_BYTES as u64;
            BufReader::with_capacity(1 << 18, at.take(length))
        }))
    }

    fn next(&mut self) -> io::Result<Option<(u64, u64)>> {
        let Some(reader) = &mut self.0 else { return Ok(None) };
        let mut entry = [0; ENTRY_BYTES];
        match reader.read_exact(&mut entry) {
            Ok(()) => Ok(Some(decode(&entry))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file read from a place on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn decode(entry: &[u8]) -> (u64, u64) {
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    (number(&entry[..6]), number(&entry[6..]))
}

fn words(file: &File, at: u64, count: u64) -> io::Result<Vec<u64>> {
    // The length of the file was held against this.
    let mut words = Vec::with_capacity(count as usize);
    let (mut chunk, mut offset, mut rest) = (vec![0; 1 << 16], at, count * 8);
    while rest > 0 {
        let some = rest.min(chunk.len() as u64);
        let bytes = &mut chunk[..some as usize];
        file.read_exact_at(bytes, offset)?;
        words.extend(bytes.chunks_exact(8).map(|word| {
            let mut number = [0; 8];
            number.copy_from_slice(word);
            u64::from_le_bytes(number)
        }));
        (offset, rest) = (offset + some, rest - some);
    }
    Ok(words)
}

/// By what a manifest is known to be the one, and to have been cut nowhere before `covered`.
fn check(manifest: &File, covered: u64) -> io::Result<[u8; 32]> {
    let begin = covered.saturating_sub(CHECKED_BYTES);
    let mut bytes = vec![0; (covered - begin) as usize];
    manifest.read_exact_at(&mut bytes, begin)?;
    bytes.extend_from_slice(&covered.to_le_bytes());
    Ok(*blake3::hash(&bytes).as_bytes())
}

fn seal(head: &[u8], json: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(json);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
#[path = "settled_tests.rs"]
mod tests;
