//! What a source has in the store, page by page, from its manifests: oldest first, in the order stored. One manifest
//! is the source's own, and each day has one where the layout is so.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use serde::Serialize;

use super::shelf::{Shelf, Unread};
use crate::frame::Sequence;
use crate::manifest::{Day, FILE_NAME, Peek, Placed, Record};
use crate::store::{Directory, Kind};

/// Frames on one page.
pub(super) const MOST: usize = 1_000;

/// How far out of order a frame may have come that is looked for in a day.
const OUT_OF_ORDER: u64 = 10_000;

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
    let parts = Parts::of(shelf)?;
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
    Ok(Page { schema: 1, frames: listed, before, next })
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

/// The last frame that was stored. Blocks on the file system.
pub(super) fn last(shelf: &Shelf) -> Result<Option<Record>, Unread> {
    let parts = Parts::of(shelf)?;
    Ok(parts.backward(parts.list.len(), 0, 1)?.pop().map(|(_, record)| record))
}

/// The manifests of a source, the oldest first, each with its length.
struct Parts<'a> {
    shelf: &'a Shelf,
    folder: Directory,
    list: Vec<(Option<Day>, u64)>,
}

impl<'a> Parts<'a> {
    fn of(shelf: &'a Shelf) -> Result<Self, Unread> {
        let failed = |cause| unread(shelf, cause);
        let folder = shelf.folder().map_err(failed)?;
        let mut list = Vec::new();
        let visited = folder.for_each_name(|name| {
            let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
            if name == FILE_NAME {
                list.extend(length(&folder).map(|length| (None, length)));
            } else if let Ok(day) = name.parse::<Day>()
                && let Ok(inner) = folder.folder(name)
            {
                list.extend(length(&inner).map(|length| (Some(day), length)));
            }
            Ok::<_, Errno>(())
        });
        visited.map_err(failed)?;
        list.sort_unstable();
        Ok(Self { shelf, folder, list })
    }

    /// The place of a part in the list, or where it would be.
    fn index(&self, day: Option<Day>) -> usize {
        self.list.partition_point(|(known, _)| *known < day)
    }

    fn peek(&self, index: usize) -> Result<Peek, Unread> {
        let failed = |cause| unread(self.shelf, cause);
        let file = match self.list[index].0 {
            Some(day) => {
                self.folder.folder(&day.to_string()).and_then(|day| day.open_file(FILE_NAME))
            }
            None => self.folder.open_file(FILE_NAME),
        };
        Peek::new(file.map_err(failed)?).map_err(|error| failed(errno(&error)))
    }

    fn forward(&self, from: Place, most: usize) -> Result<Vec<(Place, Record)>, Unread> {
        let mut found = Vec::new();
        for index in self.index(from.day)..self.list.len() {
            let day = self.list[index].0;
            let at = if day == from.day { from.at } else { 0 };
            let some = self.peek(index)?.forward(at, most - found.len());
            found.extend(placed(day, some.map_err(|error| unread(self.shelf, errno(&error)))?));
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// The last frames before `at` in a part, and in those before it.
    fn backward(&self, index: usize, at: u64, most: usize) -> Result<Vec<(Place, Record)>, Unread> {
        let mut found: Vec<(Place, Record)> = Vec::new();
        for part in (0..self.list.len().min(index + 1)).rev() {
            let before = if part == index { at } else { u64::MAX };
            let some = self.peek(part)?.backward(before, most - found.len());
            let some = some.map_err(|error| unread(self.shelf, errno(&error)))?;
            let mut some = placed(self.list[part].0, some);
            some.append(&mut found);
            found = some;
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// The last frame with a sequence. In a day it is looked for where its frames could have it.
    fn find(&self, sequence: Sequence) -> Result<Option<(Place, Record)>, Unread> {
        let failed = |error: std::io::Error| unread(self.shelf, errno(&error));
        for (index, (day, _)) in self.list.iter().enumerate().rev() {
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
            if let Some(Placed { at, record }) = peek.find(sequence).map_err(failed)? {
                return Ok(Some((Place { day: *day, at }, record)));
            }
        }
        Ok(None)
    }

    fn total(&self) -> u64 {
        self.list.iter().map(|(_, length)| length).sum()
    }

    fn at_share(&self, share: f64) -> Option<Place> {
        let mut at = (self.total() as f64 * share.max(0.0)) as u64;
        for (day, length) in &self.list {
            if at < *length {
                return Some(Place { day: *day, at });
            }
            at -= length;
        }
        self.list.last().map(|(day, length)| Place { day: *day, at: *length })
    }

    fn listed(&self, place: Place, record: Record) -> Listed {
        let before: u64 = self.list[..self.index(place.day)].iter().map(|(_, length)| length).sum();
        Listed {
            at: place.to_string(),
            share: (before + place.at) as f64 / self.total().max(1) as f64,
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

fn placed(day: Option<Day>, found: Vec<Placed>) -> Vec<(Place, Record)> {
    found.into_iter().map(|Placed { at, record }| (Place { day, at }, record)).collect()
}

/// The length of a folder's manifest, where it has one.
fn length(folder: &Directory) -> Option<u64> {
    match folder.kind(FILE_NAME) {
        Ok(Some(Kind::File(length))) => Some(length),
        _ => None,
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn unread(shelf: &Shelf, cause: Errno) -> Unread {
    let frame = shelf.path().display().to_string();
    match cause {
        Errno::NOENT | Errno::NOTDIR => Unread::Gone { frame },
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
