//! What a source has in the store, page by page, from its manifests: oldest first, in the order stored. One manifest
//! is the source's own, and each day has one where the layout is so. Frames that have expired have their lines there, and
//! are left out.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use serde::Serialize;

use super::shelf::{Shelf, Unread};
use crate::frame::Sequence;
use crate::manifest::{Day, Expired, FILE_NAME, Peek, Placed, Record, load_summary};
use crate::store::{Directory, Kind};

/// Frames on one page.
pub(super) const MOST: usize = 1_000;

/// Lines that are read together where some of them are of frames that have expired.
const TOGETHER: usize = 256;

/// How far out of order a frame may have come that is looked for in a day.
const OUT_OF_ORDER: u64 = 10_000;

/// So many bytes of lines are searched for one that is not where it belongs: some two million frames.
const MOST_SEARCHED: u64 = 1 << 30;

/// A place in what is stored: a part of the source, and where a line begins in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    day: Option<Day>,
    at: u64,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum From {
    /// The first frame at a place or behind it.
    At(Place),
    /// The last frames before a place.
    Before(Place),
    /// The frame with this sequence.
    Sequence(Sequence),
    /// The frame that is so far through what is stored, 0 to 1.
    Share(f64),
    /// The newest.
    End,
}

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    schema: u32,
    frames: Vec<Listed>,
    /// Where the page before ends, and where the next one begins: to be asked with `before` and `at`. `None` at
    /// either end.
    before: Option<String>,
    next: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { schema: 1, frames: Vec::new(), before: None, next: None }
    }
}

/// A stored frame, as the manifest says.
#[derive(Debug, Serialize)]
struct Listed {
    /// Its place, to be asked with `at`.
    at: String,
    /// How far it is through what is stored, 0 to 1.
    share: f64,
    sequence: u64,
    name: String,
    bytes: u64,
    blake3: String,
    captured_unix_ns: Option<u64>,
    due_unix_ns: Option<u64>,
    stored_unix_ns: u64,
    media_type: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.day {
            Some(day) => write!(f, "{day}.{}", self.at),
            None => write!(f, "{}", self.at),
        }
    }
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (day, at) = match text.split_once('.') {
            Some((day, at)) => (Some(day.parse().map_err(|_| ())?), at),
            None => (None, text),
        };
        Ok(Self { day, at: at.parse().map_err(|_| ())? })
    }
}

/// Reads a page. Blocks on the file system.
pub(super) fn page(shelf: &Shelf, from: From, most: usize) -> Result<Page, Unread> {
    let parts = match Parts::of(shelf) {
        // Of a folder that was taken away nothing is stored, until it is there again.
        Err(Unread::Gone { .. }) => return Ok(Page::default()),
        parts => parts?,
    };
    let most = most.clamp(1, MOST);
    let end = parts.list.len();
    let found = match from {
        From::At(place) => parts.forward(place, most)?,
        From::Before(place) => parts.backward(parts.index(place.day), place.at, most)?,
        From::Sequence(sequence) => match parts.find(sequence)? {
            Some(found) => parts.forward(found.0, most)?,
            None => Vec::new(),
        },
        From::Share(share) if share < 1.0 => match parts.at_share(share) {
            Some(place) => match parts.forward(place, most)? {
                // Within the last line.
                nothing if nothing.is_empty() => parts.backward(end, 0, 1)?,
                found => found,
            },
            None => Vec::new(),
        },
        From::Share(_) | From::End => parts.backward(end, 0, most)?,
    };
    let (mut before, mut next) = (None, None);
    if let (Some((first, _)), Some((last, _))) = (found.first(), found.last()) {
        let is_first = parts.backward(parts.index(first.day), first.at, 1)?.is_empty();
        before = (!is_first).then(|| first.to_string());
        let behind = Place { at: last.at + 1, ..*last };
        next = parts.forward(behind, 1)?.pop().map(|(place, _)| place.to_string());
    }
    let listed = found.into_iter().map(|(place, record)| parts.listed(place, record)).collect();
    Ok(Page { frames: listed, before, next, ..Page::default() })
}

/// A frame's record and the day that it is in, by its place where that is known, or by its sequence. Blocks on the
/// file system.
pub(super) fn record(
    shelf: &Shelf,
    sequence: Sequence,
    at: Option<Place>,
) -> Result<Option<(Option<Day>, Record)>, Unread> {
    let parts = Parts::of(shelf)?;
    if let Some(at) = at {
        let there = parts.forward(at, 1)?.pop();
        let is_it = |(place, record): &(Place, Record)| *place == at && record.sequence == sequence;
        if let Some((place, record)) = there.filter(is_it) {
            return Ok(Some((place.day, record)));
        }
    }
    Ok(parts.find(sequence)?.map(|(place, record)| (place.day, record)))
}

/// How many frames there are. Blocks on the file system; where an index is missing it reads every line.
pub(super) fn count(shelf: &Shelf) -> Result<u64, Unread> {
    let parts = Parts::of(shelf)?;
    let mut count = 0;
    for (index, part) in parts.list.iter().enumerate() {
        let folder = parts.folder_of(part.day).map_err(|cause| unread(shelf, cause))?;
        let mut at = Place { day: part.day, at: 0 };
        if let Ok(file) = folder.open_file(FILE_NAME)
            && let Ok(Some((covered, summary))) = load_summary(&folder, &file)
        {
            count += parts.expired.left(part.day, &summary);
            at.at = covered;
        }
        loop {
            let some = parts.forward_in(index, at.at, MOST)?;
            let Some((last, _)) = some.last() else { break };
            at.at = last.at + 1;
            count += some.len() as u64;
        }
    }
    Ok(count)
}

/// The last frame that was stored. Blocks on the file system.
pub(super) fn last(shelf: &Shelf) -> Result<Option<Record>, Unread> {
    let parts = Parts::of(shelf)?;
    Ok(parts.backward(parts.list.len(), 0, 1)?.pop().map(|(_, record)| record))
}

/// The manifests of a source, the oldest first.
struct Parts<'a> {
    shelf: &'a Shelf,
    folder: Directory,
    list: Vec<Part>,
    expired: Expired,
}

/// One manifest.
#[derive(Debug, Clone, Copy)]
struct Part {
    day: Option<Day>,
    /// Lines before this are of frames that have expired.
    begin: u64,
    end: u64,
}

impl Part {
    fn length(&self) -> u64 {
        self.end - self.begin
    }
}

impl<'a> Parts<'a> {
    fn of(shelf: &'a Shelf) -> Result<Self, Unread> {
        let failed = |cause| unread(shelf, cause);
        let folder = shelf.folder().map_err(failed)?;
        let expired = shelf.expired(&folder);
        let mut list = Vec::new();
        let visited = folder.for_each_name(|name| {
            let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
            if name == FILE_NAME {
                // It may have gone just now.
                let end = length(&folder)?;
                list.extend(end.map(|end| Part { day: None, begin: 0, end }));
            } else if let Ok(day) = name.parse::<Day>()
                && let Ok(inner) = folder.folder(name)
            {
                let end = length(&inner)?;
                list.extend(end.map(|end| Part { day: Some(day), begin: 0, end }));
            }
            Ok::<_, Errno>(())
        });
        visited.map_err(failed)?;
        list.sort_unstable_by_key(|part| part.day);
        let mut parts = Self { shelf, folder, list, expired };
        if !parts.expired.is_empty() {
            for index in 0..parts.list.len() {
                parts.list[index].begin = parts.begin(index).min(parts.list[index].end);
            }
        }
        Ok(parts)
    }

    /// Where frames begin that have not expired, as far as that is known without reading all lines.
    fn begin(&self, index: usize) -> u64 {
        let Part { day, end, .. } = self.list[index];
        if day.is_some_and(|day| self.expired.until(day).0 == 0) {
            return 0;
        }
        let index_says = || {
            let folder = self.folder_of(day).ok()?;
            let file = folder.open_file(FILE_NAME).ok()?;
            load_summary(&folder, &file).ok()?
        };
        if let Some((covered, summary)) = index_says() {
            return self.expired.begin(day, covered, &summary);
        }
        // Where the last line of a day that has expired is older than that, all are.
        let last = || self.peek(index).ok()?.backward(u64::MAX, 1).ok()?.pop();
        let is_over =
            day.is_some() && last().is_none_or(|last| self.expired.has(day, &last.record));
        if is_over { end } else { 0 }
    }

    /// The place of a part in the list, or where it would be.
    fn index(&self, day: Option<Day>) -> usize {
        self.list.partition_point(|part| part.day < day)
    }

    fn folder_of(&self, day: Option<Day>) -> Result<Directory, Errno> {
        match day {
            Some(day) => self.folder.folder(&day.to_string()),
            None => self.folder.again(),
        }
    }

    fn peek(&self, index: usize) -> Result<Peek, Unread> {
        let failed = |cause| unread(self.shelf, cause);
        let file = self.folder_of(self.list[index].day).and_then(|day| day.open_file(FILE_NAME));
        Peek::new(file.map_err(failed)?).map_err(|error| failed(errno(&error)))
    }

    fn forward(&self, from: Place, most: usize) -> Result<Vec<(Place, Record)>, Unread> {
        let mut found = Vec::new();
        for index in self.index(from.day)..self.list.len() {
            let at = if self.list[index].day == from.day { from.at } else { 0 };
            found.extend(self.forward_in(index, at, most - found.len())?);
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// The first frames from a place in a part on.
    fn forward_in(
        &self,
        index: usize,
        at: u64,
        most: usize,
    ) -> Result<Vec<(Place, Record)>, Unread> {
        let Part { day, begin, .. } = self.list[index];
        let (peek, mut at, mut found) = (self.peek(index)?, at.max(begin), Vec::new());
        while found.len() < most {
            let wanted = self.together(most - found.len());
            let some =
                peek.forward(at, wanted).map_err(|error| unread(self.shelf, errno(&error)))?;
            let (read, last) = (some.len(), some.last().map(|last| last.at));
            found.extend(self.placed(day, some));
            match last {
                Some(last) if read == wanted => at = last + 1,
                _ => break,
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// The last frames before `at` in a part, and in those before it.
    fn backward(&self, index: usize, at: u64, most: usize) -> Result<Vec<(Place, Record)>, Unread> {
        let mut found: Vec<(Place, Record)> = Vec::new();
        for part in (0..self.list.len().min(index + 1)).rev() {
            let before = if part == index { at } else { u64::MAX };
            let mut some = self.backward_in(part, before, most - found.len())?;
            some.append(&mut found);
            found = some;
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    fn backward_in(
        &self,
        index: usize,
        before: u64,
        most: usize,
    ) -> Result<Vec<(Place, Record)>, Unread> {
        let Part { day, begin, end } = self.list[index];
        let (mut before, mut found) = (before.min(end), Vec::new());
        if before <= begin {
            return Ok(found);
        }
        let peek = self.peek(index)?;
        while found.len() < most && before > begin {
            let wanted = self.together(most - found.len());
            let some = peek.backward(before, wanted);
            let some = some.map_err(|error| unread(self.shelf, errno(&error)))?;
            let Some(first) = some.first().map(|first| first.at) else { break };
            before = first;
            let mut some: Vec<_> = self.placed(day, some).collect();
            some.append(&mut found);
            found = some;
        }
        Ok(found.split_off(found.len().saturating_sub(most)))
    }

    /// So many lines are read to find so many frames.
    fn together(&self, most: usize) -> usize {
        if self.expired.is_empty() { most } else { most.max(TOGETHER) }
    }

    fn placed(
        &self,
        day: Option<Day>,
        found: Vec<Placed>,
    ) -> impl Iterator<Item = (Place, Record)> {
        let found = found.into_iter().filter(move |placed| !self.expired.has(day, &placed.record));
        found.map(move |Placed { at, record }| (Place { day, at }, record))
    }

    /// The last frame with a sequence. In a day it is looked for where its frames could have it.
    ///
    /// # Errors
    /// [`Unread::Expired`] where there is none but one that has expired.
    fn find(&self, sequence: Sequence) -> Result<Option<(Place, Record)>, Unread> {
        let failed = |error: std::io::Error| unread(self.shelf, errno(&error));
        let mut expired = None;
        for (index, Part { day, .. }) in self.list.iter().enumerate().rev() {
            let peek = self.peek(index)?;
            if day.is_some() {
                let first = peek.forward(0, 1).map_err(failed)?.pop();
                let last = peek.backward(u64::MAX, 1).map_err(failed)?.pop();
                let (Some(first), Some(last)) = (first, last) else { continue };
                let [first, last] = [first, last].map(|placed| placed.record.sequence.0);
                let lowest = first.min(last).saturating_sub(OUT_OF_ORDER);
                if !(lowest..=first.max(last).saturating_add(OUT_OF_ORDER)).contains(&sequence.0) {
                    continue;
                }
            }
            match peek.find(sequence).map_err(failed)? {
                Some(Placed { record, .. }) if self.expired.has(*day, &record) => {
                    expired.get_or_insert(record.name);
                }
                Some(Placed { at, record }) => return Ok(Some((Place { day: *day, at }, record))),
                None => {}
            }
        }
        if expired.is_none()
            && let Some(found) = self.find_anywhere(sequence)?
        {
            return Ok(Some(found));
        }
        match expired {
            Some(name) => Err(Unread::Expired { frame: format!("{}/{name}", self.shelf.source()) }),
            None => Ok(None),
        }
    }

    /// The same where it is not where its sequence belongs: what a source had waiting at its sender stands behind what
    /// was fresh.
    fn find_anywhere(&self, sequence: Sequence) -> Result<Option<(Place, Record)>, Unread> {
        let mut budget = MOST_SEARCHED;
        for (index, Part { day, .. }) in self.list.iter().enumerate().rev() {
            let peek = self.peek(index)?;
            let found = peek.find_anywhere(sequence, &mut budget);
            let found = found.map_err(|error| unread(self.shelf, errno(&error)))?;
            let is_there = |placed: &Placed| !self.expired.has(*day, &placed.record);
            if let Some(Placed { at, record }) = found.filter(is_there) {
                return Ok(Some((Place { day: *day, at }, record)));
            }
            if budget == 0 {
                return Err(Unread::NotFound {
                    frame: format!("{}: {sequence}", self.shelf.source()),
                });
            }
        }
        Ok(None)
    }

    fn total(&self) -> u64 {
        self.list.iter().map(Part::length).sum()
    }

    fn at_share(&self, share: f64) -> Option<Place> {
        let mut at = (self.total() as f64 * share.max(0.0)) as u64;
        for part in &self.list {
            if at < part.length() {
                return Some(Place { day: part.day, at: part.begin + at });
            }
            at -= part.length();
        }
        self.list.last().map(|part| Place { day: part.day, at: part.end })
    }

    fn listed(&self, place: Place, record: Record) -> Listed {
        let index = self.index(place.day);
        let before: u64 = self.list[..index].iter().map(Part::length).sum();
        let begin = self.list.get(index).map_or(0, |part| part.begin);
        Listed {
            at: place.to_string(),
            share: (before + place.at.saturating_sub(begin)) as f64 / self.total().max(1) as f64,
            sequence: record.sequence.0,
            name: record.name.to_string(),
            bytes: record.bytes,
            blake3: record.blake3.to_hex().to_string(),
            captured_unix_ns: record.captured.map(|at| at.0),
            due_unix_ns: record.due.map(|at| at.0),
            stored_unix_ns: record.stored.0,
            media_type: record.media.as_str().to_owned(),
        }
    }
}

/// The length of a folder's manifest, where it has one.
///
/// # Errors
/// `NXIO` where something else is in its place.
fn length(folder: &Directory) -> Result<Option<u64>, Errno> {
    match folder.kind(FILE_NAME)? {
        Some(Kind::File(length)) => Ok(Some(length)),
        Some(_) => Err(Errno::NXIO),
        None => Ok(None),
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn unread(shelf: &Shelf, cause: Errno) -> Unread {
    let frame = shelf.path().display().to_string();
    match cause {
        Errno::NOENT | Errno::NOTDIR => Unread::Gone { frame },
        Errno::NXIO | Errno::LOOP => {
            Unread::NoFile { record: shelf.path().join(FILE_NAME).display().to_string() }
        }
        cause => Unread::Io { frame, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["0", "77", "2026-11-30.5"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", ".", "x", "2026-11-30", "2026-11-31.5", "-1", "2026-11-30.5.6"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
