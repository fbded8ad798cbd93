//! TIFF and BigTIFF: the end is the largest extent that the directories name.

use std::collections::HashSet;

use super::step::{Step, Walk, length};
use super::{Kind, Why};

/// Directories of one file: far more pages than a frame has.
const MAX_DIRECTORIES: usize = 1 << 16;
/// Entries of one directory. Real ones have tens.
const MAX_ENTRIES: u64 = 4_096;
/// Values of one entry: rows or tiles of the largest images.
const MAX_VALUES: u64 = 1 << 24;

#[derive(Debug, Default)]
pub(super) struct Tiff {
    is_big_endian: bool,
    is_big: bool,
    begun: bool,
    /// Where directories are that are to be read.
    pending: Vec<usize>,
    seen: HashSet<usize>,
    extent: usize,
    has_pixels: bool,
}

/// What one directory says.
#[derive(Debug, Default)]
struct Directory {
    extent: usize,
    further: Vec<usize>,
    has_pixels: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    size: usize,
    count: usize,
    /// Where its values are.
    values: usize,
}

/// Why a directory is not read.
enum Fault {
    /// It needs this much of the file.
    Needs(usize),
    Damaged(&'static str),
}

/// Pixels and the like: a tag that has places, and the tag that has their lengths.
const EXTENTS: [(u16, u16); 4] = [(273, 279), (324, 325), (288, 289), (513, 514)];
/// Tags whose values are places of directories: of smaller images, and of what a camera tells.
const DIRECTORIES: [u16; 4] = [330, 34_665, 34_853, 40_965];

impl Walk for Tiff {
    fn step(&mut self, data: &[u8]) -> Step {
        match self.advance(data) {
            Ok(()) if !self.has_pixels => Step::Bad(Why::Damaged("the TIFF has no pixels"), 4),
            Ok(()) if data.len() < self.extent => Step::More(self.extent),
            Ok(()) => Step::End(self.extent),
            Err(Fault::Needs(bytes)) => Step::More(bytes.max(self.extent)),
            Err(Fault::Damaged(what)) => Step::Bad(Why::Damaged(what), 4),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Tiff
    }

    fn torn_at(&self) -> usize {
        4
    }

    fn claimed(&self) -> usize {
        self.extent
    }
}

impl Tiff {
    fn advance(&mut self, data: &[u8]) -> Result<(), Fault> {
        if !self.begun {
            self.begin(data)?;
        }
        while let Some(&at) = self.pending.last() {
            // What was read so far claims this: without it another directory is none, however much of it is there.
            needs(data, self.extent)?;
            let directory = self.directory(data, at)?;
            self.pending.pop();
            self.extent = self.extent.max(directory.extent);
            self.has_pixels |= directory.has_pixels;
            for further in directory.further {
                if self.seen.insert(further) {
                    self.pending.push(further);
                }
            }
            if self.seen.len() > MAX_DIRECTORIES {
                return Err(Fault::Damaged("the TIFF has too many directories"));
            }
        }
        Ok(())
    }

    fn begin(&mut self, data: &[u8]) -> Result<(), Fault> {
        let head = data.first_chunk::<4>().ok_or(Fault::Needs(8))?;
        self.is_big_endian = head.starts_with(b"MM");
        self.is_big = head.contains(&43);
        let header = if self.is_big { 16 } else { 8 };
        let first = if self.is_big {
            if (self.half(data, 4)?, self.half(data, 6)?) != (8, 0) {
                return Err(Fault::Damaged("the BigTIFF's header is wrong"));
            }
            self.long(data, 8)?
        } else {
            u64::from(self.word(data, 4)?)
        };
        let first = length(first);
        if first < header {
            return Err(Fault::Damaged("the TIFF's first directory is nowhere"));
        }
        self.begun = true;
        self.extent = header;
        self.seen.insert(first);
        self.pending.push(first);
        Ok(())
    }

    /// Reads the directory at a place.
    fn directory(&self, data: &[u8], at: usize) -> Result<Directory, Fault> {
        let (count, head, entry_size, word) = if self.is_big {
            (self.long(data, at)?, 8, 20, 8)
        } else {
            (u64::from(self.half(data, at)?), 2, 12, 4)
        };
        if count == 0 || count > MAX_ENTRIES {
            return Err(Fault::Damaged("a TIFF directory's count is wrong"));
        }
        let first = at.saturating_add(head);
        let next = first.saturating_add(length(count).saturating_mul(entry_size));
        let end = next.saturating_add(word);
        needs(data, end)?;
        let mut entries = Vec::with_capacity(length(count));
        let mut directory = Directory { extent: end, ..Directory::default() };
        for index in 0..length(count) {
            let entry = self.entry(data, first + index * entry_size)?;
            let values_end = entry.values.saturating_add(entry.count.saturating_mul(entry.size));
            directory.extent = directory.extent.max(values_end);
            entries.push(entry);
        }
        let following = self.place(data, next)?;
        directory.further.extend((following != 0).then_some(following));
        self.follow(data, &entries, &mut directory)?;
        Ok(directory)
    }

    fn entry(&self, data: &[u8], at: usize) -> Result<Entry, Fault> {
        let (tag, kind) = (self.half(data, at)?, self.half(data, at + 2)?);
        let size = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            // A kind of value from the future is passed over, as the standard says.
            _ => return Ok(Entry { tag: 0, size: 0, count: 0, values: at }),
        };
        let (count, values, inline) = if self.is_big {
            (self.long(data, at + 4)?, at + 12, 8)
        } else {
            (u64::from(self.word(data, at + 4)?), at + 8, 4)
        };
        let count = length(count);
        let values =
            if count.saturating_mul(size) <= inline { values } else { self.place(data, values)? };
        Ok(Entry { tag, size, count, values })
    }

    /// Adds what the entries of a directory point at.
    fn follow(&self, data: &[u8], entries: &[Entry], into: &mut Directory) -> Result<(), Fault> {
        let of = |tag: u16| entries.iter().find(|entry| entry.tag == tag && tag != 0);
        for (places, lengths) in EXTENTS {
            let (Some(places), Some(lengths)) = (of(places), of(lengths)) else { continue };
            if places.count != lengths.count {
                continue;
            }
            self.check_values(data, places)?;
            self.check_values(data, lengths)?;
            for index in 0..places.count {
                let bytes = self.value(data, lengths, index)?;
                let end = self.value(data, places, index)?.saturating_add(bytes);
                into.extent = into.extent.max(if bytes > 0 { end } else { 0 });
                into.has_pixels |= bytes > 0 && matches!(places.tag, 273 | 324);
            }
        }
        for tag in DIRECTORIES {
            let Some(entry) = of(tag) else { continue };
            self.check_values(data, entry)?;
            for index in 0..entry.count {
                let place = self.value(data, entry, index)?;
                into.further.extend((place != 0).then_some(place));
            }
        }
        Ok(())
    }

    fn check_values(&self, data: &[u8], entry: &Entry) -> Result<(), Fault> {
        if entry.count as u64 > MAX_VALUES {
            return Err(Fault::Damaged("a TIFF entry has too many values"));
        }
        needs(data, entry.values.saturating_add(entry.count * entry.size))
    }

    fn value(&self, data: &[u8], entry: &Entry, index: usize) -> Result<usize, Fault> {
        let at = entry.values + index * entry.size;
        match entry.size {
            1 => data.get(at).map(|&byte| usize::from(byte)).ok_or(Fault::Needs(at + 1)),
            2 => self.half(data, at).map(usize::from),
            4 => self.word(data, at).map(|word| length(u64::from(word))),
            _ => self.long(data, at).map(length),
        }
    }

    /// A place in the file, in as many bytes as such a file has for one.
    fn place(&self, data: &[u8], at: usize) -> Result<usize, Fault> {
        if self.is_big {
            self.long(data, at).map(length)
        } else {
            self.word(data, at).map(|word| length(u64::from(word)))
        }
    }

    fn half(&self, data: &[u8], at: usize) -> Result<u16, Fault> {
        let bytes = chunk(data, at)?;
        Ok(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn word(&self, data: &[u8], at: usize) -> Result<u32, Fault> {
        let bytes = chunk(data, at)?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn long(&self, data: &[u8], at: usize) -> Result<u64, Fault> {
        let bytes = chunk(data, at)?;
        Ok(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}

fn needs(data: &[u8], bytes: usize) -> Result<(), Fault> {
    if data.len() < bytes { Err(Fault::Needs(bytes)) } else { Ok(()) }
}

fn chunk<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], Fault> {
    let found = data.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or(Fault::Needs(at.saturating_add(N)))
}
