//! What is in a file, and whether it is whole.

use std::fs::Metadata;
use std::path::Path;

use bytes::Bytes;

use crate::frame::ContentHash;
use crate::source::cut::{self, Further, Whole};
use crate::source::folder::{open_file, read_exactly};
use crate::source::{Content, Description, SourceError};

/// A file that was looked at.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole image, or something that is none and has no end of its own.
    Frame { body: Bytes, metadata: Metadata, further: Further },
    /// Nothing is in it yet.
    Empty,
    /// An image, not all of it.
    Torn(&'static str, Metadata),
    /// Longer than a frame may be; it is this long.
    TooLarge(u64),
    /// It is gone, or no file.
    Nothing,
    /// It cannot be read.
    Unreadable(SourceError),
    /// It changes while it is read.
    Changing,
}

/// Looks at a file, which may be anything by now.
pub(super) fn look(path: &Path, most: u64) -> Found {
    let (mut file, before) = match open_file(path) {
        Ok(opened) => opened,
        Err(_) if !path.is_file() => return Found::Nothing,
        Err(error) => return Found::Unreadable(error),
    };
    match before.len() {
        0 => return Found::Empty,
        bytes if bytes > most => return Found::TooLarge(bytes),
        _ => {}
    }
    let body = match read_exactly(&mut file, before.len(), path) {
        Ok(body) => body,
        Err(SourceError::Changed { .. }) => return Found::Changing,
        Err(error) => return Found::Unreadable(error),
    };
    let is_same = |after: Metadata| {
        after.len() == before.len() && after.modified().ok() == before.modified().ok()
    };
    if !file.metadata().is_ok_and(is_same) {
        return Found::Changing;
    }
    match fault(&body) {
        Some(what) => Found::Torn(what, before),
        None => {
            let further = cut::further(&body);
            Found::Frame { body: body.into(), metadata: before, further }
        }
    }
}

/// What is wrong with these, if they are an image.
fn fault(body: &[u8]) -> Option<&'static str> {
    match cut::whole(body) {
        Whole::Yes(_) | Whole::Unknown => None,
        Whole::Unended(_) => Some("its end is missing"),
        Whole::Damaged(_, what) => Some(what),
    }
}

/// Refuses what is an image without its end.
pub(super) fn check_whole(content: Content, label: &str) -> Result<Content, SourceError> {
    match fault(&content.body) {
        None => Ok(content),
        Some(why) => Err(SourceError::NotAnImage { what: label.to_owned(), why: why.to_owned() }),
    }
}

/// Reads a file that was looked at, and has to be the same still.
pub(super) fn read_again(
    path: &Path,
    description: Description,
    hash: ContentHash,
) -> Result<Content, SourceError> {
    let (mut file, _) = open_file(path)?;
    let body = read_exactly(&mut file, description.bytes, path)?;
    if blake3::hash(&body) != hash {
        let what = "it has other content than when it was complete".to_owned();
        return Err(SourceError::Changed { path: path.to_owned(), what });
    }
    Ok(Content { description, hash, body: body.into() })
}
