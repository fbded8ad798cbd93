//! Holds one file against its line.

use rustix::io::Errno;

use super::report::Alteration;
use crate::frame::UnixNanos;
use crate::manifest::Record;
use crate::store::{Directory, Kind, Look, hash_file_while, within};

/// How one file stands to its record.
pub(super) enum Finding {
    /// It was read, and is what was stored.
    Verified(Seen),
    /// An earlier run has read it, and nothing of it has changed since.
    Before,
    Missing,
    /// Missing, as was declared.
    Expired,
    Altered(Alteration),
}

/// A file that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// What it looked like before and afterwards; `None` where that was not the same.
    look: Option<Look>,
    /// When it was begun to be read.
    began: UnixNanos,
}

impl Seen {
    /// What it looks like, where it had not been changed for so many ns: whatever changes it behind that will show.
    pub(super) fn settled(self, after: u64) -> Option<Look> {
        self.look.filter(|look| look.changed.0.saturating_add(after) <= self.began.0)
    }
}

/// Reads a frame's file, as long as it `is_wanted`: what is found of one that is not read to its end says nothing.
pub(super) fn check(
    folder: &Directory,
    record: &Record,
    buffer: &mut Vec<u8>,
    is_wanted: &dyn Fn() -> bool,
) -> Finding {
    let unreadable = |cause: String| Finding::Altered(Alteration::Unreadable { cause });
    let folder = match within(folder, record.hour, &record.name) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Finding::Missing,
        Err((_, Errno::NOTDIR)) => return Finding::Altered(Alteration::NotAFile),
        Err((_, cause)) => return unreadable(cause.to_string()),
    };
    let name = record.name.file_name();
    // The length first: it needs no reading.
    let before = match folder.look(name) {
        Ok(None) => return Finding::Missing,
        Ok(Some(look)) => look,
        Err(cause) => return unreadable(cause.to_string()),
    };
    match before.kind {
        Kind::File(found) if found != record.bytes => {
            let expected = record.bytes;
            return Finding::Altered(Alteration::Length { expected, found });
        }
        Kind::File(_) => {}
        Kind::Folder | Kind::Other => return Finding::Altered(Alteration::NotAFile),
    }
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Finding::Missing,
        Err(cause) => return unreadable(cause.to_string()),
    };
    let began = UnixNanos::now();
    match hash_file_while(&file, buffer, is_wanted) {
        Ok((hash, _)) if hash == record.blake3 => {
            let is_steady = Look::of_file(&file).is_ok_and(|after| after == before);
            Finding::Verified(Seen { look: is_steady.then_some(before), began })
        }
        Ok((_, found)) if found != record.bytes => {
            Finding::Altered(Alteration::Length { expected: record.bytes, found })
        }
        Ok((hash, _)) => Finding::Altered(Alteration::Content {
            expected: record.blake3.to_hex().to_string(),
            found: hash.to_hex().to_string(),
        }),
        Err(error) => unreadable(error.to_string()),
    }
}

/// What a frame's file looks like, without a look into it; `None` where there is none, or something else.
pub(super) fn look(folder: &Directory, record: &Record) -> Option<Look> {
    let folder = within(folder, record.hour, &record.name).ok()??;
    let look = folder.look(record.name.file_name()).ok()??;
    (look.kind == Kind::File(record.bytes)).then_some(look)
}
