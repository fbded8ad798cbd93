//! JPEG: segments with their lengths, and scans of pixels between them.

use memchr::{memchr, memmem};

use super::step::{Step, Walk, be16, be32, length};
use super::{Kind, Why};

/// Segments before the first scan. The most that was seen in a camera's file is 60; a colour profile
/// can have 255.
const MAX_SEGMENTS: u32 = 2_000;

/// Bytes of APP3 segments that only a radiometric camera's file has: those seen have 660,000 and more.
const RADIOMETRIC: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Jpeg {
    begun: bool,
    at: usize,
    in_scan: bool,
    has_frame: bool,
    has_scan: bool,
    segments: u32,
    /// Where the last segment begins, whose length led to where the walk is.
    last_segment: usize,
    pub(super) traits: Traits,
}

/// What the header tells of the rest of the file.
#[derive(Debug, Default, Clone)]
pub(super) struct Traits {
    /// A camera's own data: made by one, or by something that keeps them.
    pub(super) exif: bool,
    /// Where the index of a multi-picture file says that other pictures begin.
    pub(super) indexed: Vec<usize>,
    /// Bytes of APP3, where some radiometric cameras have their counts. A second picture follows.
    app3: usize,
    /// The header speaks of further pictures behind this one, such as a gain map.
    pub(super) speaks_of_more: bool,
}

impl Traits {
    pub(super) fn is_radiometric(&self) -> bool {
        self.app3 >= RADIOMETRIC
    }
}

impl Walk for Jpeg {
    fn step(&mut self, data: &[u8]) -> Step {
        if data.len() < 4 {
            return Step::More(4);
        }
        if !self.begun {
            (self.begun, self.at) = (true, 2);
        }
        loop {
            let step = if self.in_scan { self.scan(data) } else { self.marker(data) };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn kind(&self) -> Kind {
        Kind::Jpeg
    }

    fn torn_at(&self) -> usize {
        if self.in_scan { self.at } else { self.at + 4 }
    }

    fn claimed(&self) -> usize {
        self.at
    }
}

impl Jpeg {
    /// Whether all segments before the pixels have been seen.
    pub(super) fn is_past_header(&self) -> bool {
        self.has_frame
    }

    /// Forgets what is behind the walk; gives how many bytes that are.
    pub(super) fn forget(&mut self) -> usize {
        let gone = std::mem::take(&mut self.at);
        self.forget_places(gone);
        gone
    }

    /// Counts the places that the index names from `gone` on.
    pub(super) fn forget_places(&mut self, gone: usize) {
        self.last_segment = 0;
        let places = self.traits.indexed.iter().filter_map(|place| place.checked_sub(gone));
        self.traits.indexed = places.collect();
    }

    /// Goes through pixels to the marker behind them.
    fn scan(&mut self, data: &[u8]) -> Option<Step> {
        loop {
            let Some(found) = memchr(0xff, &data[self.at..]) else {
                self.at = data.len();
                return Some(Step::More(data.len() + 1));
            };
            let at = self.at + found;
            match data.get(at + 1) {
                None => {
                    self.at = at;
                    return Some(Step::More(at + 2));
                }
                // Stuffing, restarts, and what no decoder knows.
                Some(0x00..=0xbf | 0xd0..=0xd7) => self.at = at + 2,
                Some(0xff) => self.at = at + 1,
                Some(0xd8) => return Some(Step::Bad(Why::Unended, at)),
                Some(_) => {
                    (self.at, self.in_scan) = (at, false);
                    return None;
                }
            }
        }
    }

    /// Takes one marker and its segment.
    fn marker(&mut self, data: &[u8]) -> Option<Step> {
        let at = self.at;
        let Some(&[first, code]) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Some(Step::More(at + 2));
        };
        let bad = |what, at| Some(Step::Bad(Why::Damaged(what), at));
        // An image that was torn off in a segment goes on where that would have ended, inside another.
        let resume = (self.last_segment + 4).min(at);
        match (first, code) {
            (0xff, 0xff) => {
                self.at = at + 1;
                return None;
            }
            (0xff, 0xd9) if self.has_scan => return Some(Step::End(at + 2)),
            (0xff, 0xd9) => return bad("the JPEG has no pixels", at + 2),
            (0xff, 0xd8) => return Some(Step::Bad(Why::Unended, at)),
            (0xff, 0x01 | 0xd0..=0xd7) => {
                self.at = at + 2;
                return None;
            }
            (0xff, 0xc0..) => {}
            _ => return bad("what should be a JPEG segment is none", resume),
        }
        let stated = match be16(data, at + 2) {
            None => return Some(Step::More(at + 4)),
            Some(stated) if stated < 2 => return bad("a JPEG segment's length is wrong", resume),
            Some(stated) => usize::from(stated),
        };
        self.segments += 1;
        if self.segments > MAX_SEGMENTS && !self.has_scan {
            return bad("it has too many JPEG segments", resume);
        }
        let end = at + 2 + stated;
        if data.len() < end {
            self.segments -= 1;
            return Some(Step::More(end));
        }
        self.note(code, at, &data[at + 4..end]);
        match code {
            0xda if !self.has_frame => return bad("the JPEG has pixels and no size", resume),
            0xda => (self.in_scan, self.has_scan) = (true, true),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => self.has_frame = true,
            _ => {}
        }
        (self.last_segment, self.at) = (at, end);
        None
    }

    /// Notes what a segment tells of the rest of the file.
    fn note(&mut self, code: u8, at: usize, content: &[u8]) {
        let speaks = |of: &[u8]| memmem::find(content, of).is_some();
        match code {
            0xe1 if content.starts_with(b"Exif\0") => self.traits.exif = true,
            0xe1 if content.starts_with(b"http://ns.adobe.com/") => {
                self.traits.speaks_of_more |= speaks(b"hdrgm:") || speaks(b"Container:Directory");
            }
            0xe2 if content.starts_with(b"MPF\0") => {
                // Offsets count from behind the four letters.
                self.traits.indexed = indexed(&content[4..], at + 8);
            }
            0xe2 if content.starts_with(b"urn:iso:std:iso:ts:21496") => {
                self.traits.speaks_of_more = true;
            }
            0xe3 => self.traits.app3 += content.len(),
            _ => {}
        }
    }
}

/// Where the pictures behind the first one begin, as the index of a multi-picture file says.
fn indexed(index: &[u8], base: usize) -> Vec<usize> {
    /// Pictures beyond this many are not looked for.
    const MOST: usize = 16;
    let is_little = index.starts_with(b"II*\0");
    if !is_little && !index.starts_with(b"MM\0*") {
        return Vec::new();
    }
    let word = |at: usize| {
        let value = be32(index, at)?;
        Some(if is_little { value.swap_bytes() } else { value })
    };
    let half = |at: usize| {
        let value = be16(index, at)?;
        Some(if is_little { value.swap_bytes() } else { value })
    };
    let find = || {
        let directory = length(u64::from(word(4)?));
        let entries = usize::from(half(directory)?).min(64);
        let entry = (0..entries).map(|index| directory.saturating_add(2 + 12 * index));
        // Tag B002: sixteen bytes a picture, of which the third word is its place.
        let pictures = entry.into_iter().find(|&entry| half(entry) == Some(0xb002))?;
        let count = length(u64::from(word(pictures + 4)?)) / 16;
        let first = length(u64::from(word(pictures + 8)?));
        let places = (0..count.min(MOST)).filter_map(|picture| {
            let place = length(u64::from(word(first.saturating_add(16 * picture + 8))?));
            (place > 0).then(|| base.saturating_add(place))
        });
        Some(places.collect::<Vec<_>>())
    };
    let mut places = find().unwrap_or_default();
    places.sort_unstable();
    places
}
