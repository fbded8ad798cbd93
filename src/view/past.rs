//! Sources that are in the store from before: they are shown as well, with their last frame, until their senders come.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Shown;
use super::raw::RawLook;
use super::shelf::Shelf;
use super::stored;
use crate::frame::{Captured, Clock, SourceName};
use crate::manifest::{FILE_NAME, LEDGER_NAME, Record};
use crate::receiver::Newest;
use crate::store::{Directory, Kind};

/// Sources that are looked for.
const MOST: usize = 256;

/// Folders that are looked into.
const MOST_FOLDERS: usize = 4_096;

/// How deep the sources are below the root: that of a sender and a day.
const DEEPEST: usize = 4;

/// Puts up what is found in the store. Blocks on the file system.
pub(super) fn put_up(shown: &Shown, has_places: bool) {
    let mut walk =
        Walk { found: Vec::new(), folders: 0, deepest: if has_places { DEEPEST } else { 1 } };
    // What cannot be looked at is not shown; whoever stores there is told.
    if let Ok(root) = Directory::open(&shown.root) {
        let _ = walk.look(&root, &shown.root, 1);
    }
    for (store, source) in walk.found {
        let last = stored::last(&Shelf::new(store.clone(), source.clone(), RawLook::default()))
            .ok()
            .flatten();
        let place = if has_places { store } else { PathBuf::new() };
        shown.board.recall(&place, &source, last.map(newest));
    }
}

struct Walk {
    /// Stores and the sources in them.
    found: Vec<(PathBuf, SourceName)>,
    folders: usize,
    deepest: usize,
}

impl Walk {
    fn look(&mut self, folder: &Directory, path: &Path, depth: usize) -> Result<(), Errno> {
        folder.for_each_name(|name| {
            self.folders += 1;
            let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
            if self.found.len() >= MOST || self.folders > MOST_FOLDERS {
                return Ok(());
            }
            let Ok(inner) = folder.folder(name) else { return Ok::<_, Errno>(()) };
            let has = |name| matches!(inner.kind(name), Ok(Some(Kind::File(_))));
            let is_source = has(FILE_NAME) || has(LEDGER_NAME);
            match SourceName::parse(name) {
                Ok(source) if is_source => self.found.push((path.to_owned(), source)),
                _ if depth < self.deepest => {
                    let _ = self.look(&inner, &path.join(name), depth + 1);
                }
                _ => {}
            }
            Ok(())
        })
    }
}

pub(super) fn newest(record: Record) -> Newest {
    let clock = record.clock.unwrap_or(Clock::Modified);
    let uncertainty = record.uncertainty;
    Newest {
        sequence: record.sequence,
        name: record.name,
        bytes: record.bytes,
        hash: Some(record.blake3),
        media: record.media,
        captured: record.captured.map(|at| Captured { at, clock, uncertainty }),
        due: record.due,
        received: record.received,
        stored: record.stored,
        run: record.run,
    }
}
