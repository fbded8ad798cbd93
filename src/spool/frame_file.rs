//! A frame as a file: a line that says what it is, a line about the frame, and the frame's bytes.
//!
//! It is written under another name first, so that under its own it is whole, but for a power cut before it was synced;
//! and it is believed only where its length and its hash are as it says.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Timespec, Timestamps, futimens};
use serde::{Deserialize, Serialize};

use super::lines;
use crate::frame::{Captured, Clock, ContentHash, FrameName, RunId, UnixNanos};
use crate::source::{Content, Description, SourceError};

const MAGIC: &[u8] = b"framelane spool 1, a frame\n";

/// The longest that is read for the two lines: a name has at most 1,000 bytes, each six in JSON at worst.
const MAX_HEAD: usize = 8 << 10;

/// Ends the name of a frame's file.
const SUFFIX: &str = ".frame";
/// The name that a file is written under.
pub(super) const PART: &str = "next.part";

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    name: String,
    bytes: u64,
    blake3: String,
    modified_unix_ns: Option<u64>,
    captured: Option<(u64, String, Option<u64>)>,
}

/// The name of a frame's file.
pub(super) fn file_name(place: u64) -> String {
    format!("{place:020}{SUFFIX}")
}

/// The place of a frame, by the name of its file.
pub(super) fn place_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The folder of a run's frames.
pub(super) fn folder_of(frames: &Path, run: RunId) -> PathBuf {
    frames.join(run.to_string())
}

/// Writes a frame that came about at `came`; the length of its file. Nothing is left of one that cannot be written.
pub(super) fn write(
    folder: &Path,
    place: u64,
    content: &Content,
    came: UnixNanos,
) -> io::Result<u64> {
    fs::create_dir_all(folder)?;
    let part = folder.join(PART);
    let written = write_part(&part, content, came)
        .and_then(|bytes| fs::rename(&part, folder.join(file_name(place))).map(|()| bytes));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn write_part(part: &Path, content: &Content, came: UnixNanos) -> io::Result<u64> {
    let Content { description, hash, body } = content;
    let captured = description.captured;
    let about = About {
        name: description.name.to_string(),
        bytes: body.len() as u64,
        blake3: hash.to_hex().to_string(),
        modified_unix_ns: description.modified.map(|time| time.0),
        captured: captured.map(|it| (it.at.0, it.clock.name().to_owned(), it.uncertainty)),
    };
    let mut head = MAGIC.to_vec();
    lines::write(&about, &mut head);
    let mut file = File::create(part)?;
    let whole = head.len() + body.len();
    let written = file.write_vectored(&[IoSlice::new(&head), IoSlice::new(body)])?;
    if written < whole {
        // The kernel takes at most 2 GiB at a time, or is short of room and says so at the next.
        let rest = if written < head.len() { &head[written..] } else { &[] };
        file.write_all(rest)?;
        file.write_all(&body[written.saturating_sub(head.len())..])?;
    }
    // By its time a frame's age is known without opening it.
    let time = Timespec {
        tv_sec: i64::try_from(came.0 / 1_000_000_000).unwrap_or(0),
        tv_nsec: (came.0 % 1_000_000_000) as _,
    };
    let _ = futimens(&file, &Timestamps { last_access: time, last_modification: time });
    Ok(whole as u64)
}

/// What a frame is, without its bytes.
pub(super) fn describe(path: &Path) -> Result<(Description, ContentHash), SourceError> {
    let file = open(path)?;
    let (description, hash, _) = head(&file, path)?;
    Ok((description, hash))
}

/// Reads a frame, if it has at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Content, SourceError> {
    let file = open(path)?;
    let (description, hash, begin) = head(&file, path)?;
    let bytes = description.bytes;
    if bytes > limit {
        return Err(SourceError::TooLarge { path: description.name.as_str().into(), bytes, limit });
    }
    let length = file.metadata().map_err(|error| failed(path, &error))?.len();
    if length != begin as u64 + bytes {
        return Err(damaged(path, "it is not as long as it says"));
    }
    let mut body = vec![0; usize::try_from(bytes).map_err(|_| damaged(path, "its length"))?];
    file.read_exact_at(&mut body, begin as u64).map_err(|error| failed(path, &error))?;
    if blake3::hash(&body) != hash {
        return Err(damaged(path, "its bytes are not those that were written"));
    }
    Ok(Content { description, hash, body: Bytes::from(body) })
}

/// What the two lines say, and where the bytes begin.
fn head(file: &File, path: &Path) -> Result<(Description, ContentHash, usize), SourceError> {
    let mut head = Vec::new();
    let read = file.take(MAX_HEAD as u64).read_to_end(&mut head);
    read.map_err(|error| failed(path, &error))?;
    let about = head.strip_prefix(MAGIC).and_then(|rest| {
        let end = memchr::memchr(b'\n', rest)?;
        Some((lines::read::<About>(&rest[..end])?, MAGIC.len() + end + 1))
    });
    let (about, begin) = about.ok_or_else(|| damaged(path, "what it says of itself"))?;
    let hash = ContentHash::from_hex(&about.blake3).ok();
    let name = FrameName::parse(&about.name).ok();
    let (hash, name) = hash.zip(name).ok_or_else(|| damaged(path, "what it says of itself"))?;
    let captured = about.captured.and_then(|(at, clock, uncertainty)| {
        Some(Captured { at: UnixNanos(at), clock: Clock::from_name(&clock)?, uncertainty })
    });
    let modified = about.modified_unix_ns.map(UnixNanos);
    Ok((Description { name, bytes: about.bytes, modified, captured }, hash, begin))
}

fn open(path: &Path) -> Result<File, SourceError> {
    File::open(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Read { path: path.to_owned(), why: error.to_string() }
}

fn damaged(path: &Path, what: &str) -> SourceError {
    SourceError::Read { path: path.to_owned(), why: format!("the file is damaged: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: usize) -> Content {
        let body = Bytes::from(vec![5; bytes]);
        let captured = Captured { at: UnixNanos(8), clock: Clock::Program, uncertainty: Some(7) };
        let description = Description {
            name: FrameName::parse("a/é.jpg").unwrap(),
            bytes: bytes as u64,
            modified: Some(UnixNanos(3)),
            captured: Some(captured),
        };
        Content { description, hash: blake3::hash(&body), body }
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for (place, bytes) in [(0, 0), (u64::MAX, 100_000)] {
            let (content, came) = (content(bytes), UnixNanos(1_795_983_093_123_456_789));
            let length = write(folder.path(), place, &content, came).unwrap();
            let path = folder.path().join(file_name(place));
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.len(), UnixNanos::from(file.modified().unwrap())), (length, came));
            let read = read(&path, bytes as u64).unwrap();
            assert_eq!((&read.description, &read.body), (&content.description, &content.body));
            assert_eq!(describe(&path).unwrap(), (content.description, content.hash));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(place_of(name), Some(place));
        }
        let path = folder.path().join(file_name(u64::MAX));
        assert!(matches!(read(&path, 99_999), Err(SourceError::TooLarge { .. })));
        assert!(!folder.path().join(PART).exists());
    }

    #[test]
    fn a_file_with_any_other_byte_or_length_is_no_frame() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &content(50), UnixNanos(1)).unwrap();
        let path = folder.path().join(file_name(1));
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(read(&path, 1_000).is_err(), "cut at {end}");
        }
        for place in 0..whole.len() {
            let mut other = whole.clone();
            other[place] ^= 0x40;
            fs::write(&path, &other).unwrap();
            let why = read(&path, u64::MAX).unwrap_err().to_string();
            assert!(why.contains("damaged"), "byte {place}: {why}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(read(&path, 1_000).is_err());
    }
}
