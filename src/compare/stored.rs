//! What the store holds after a run, every file held against what was sent.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use super::CompareError;
use super::clip::Clip;
use crate::frame::{Sequence, UnixNanos};
use crate::manifest::{FILE_NAME, Lines, Record, Text};
use crate::source::Source;

/// A frame that was found in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) sequence: Sequence,
    pub(super) captured: Option<UnixNanos>,
    pub(super) stored: UnixNanos,
}

/// What one source's folder holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// As they were sent, each once, in the order of their sequences.
    pub(super) good: Vec<Stored>,
    /// Files with other content, or of names that were never sent.
    pub(super) altered: u64,
    /// How often a frame was stored although it was there already.
    pub(super) twice: u64,
}

impl Found {
    /// Puts frames into order, and keeps the first of those that are there more than once.
    fn count_repeats(&mut self) {
        self.good.sort_unstable_by_key(|frame| (frame.sequence, frame.stored));
        let before = self.good.len();
        self.good.dedup_by_key(|frame| frame.sequence);
        self.twice = (before - self.good.len()) as u64;
    }
}

/// Reads a source's folder and holds every file against what was sent.
pub(super) fn find(folder: &Path, clip: &Clip) -> Result<Found, CompareError> {
    let manifest = folder.join(FILE_NAME);
    let unreadable =
        |error: std::io::Error| CompareError::ReadBack(format!("{}: {error}", manifest.display()));
    let file = match File::open(&manifest) {
        Ok(file) => file,
        // Nothing of it has arrived.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(unreadable(error)),
    };
    let names = names(clip);
    let end = file.metadata().map_err(unreadable)?.len();
    let mut lines = Lines::new(&file, end).map_err(unreadable)?;
    let mut found = Found::default();
    while let Some(line) = lines.next_line().map_err(unreadable)? {
        let record = match line.text {
            Text::Whole(text) => Record::parse(text).ok(),
            // Being written when the run was stopped.
            Text::Unfinished(_) => continue,
            Text::TooLong => None,
        };
        let frame = record.and_then(|record| as_sent(folder, clip, &names, &record));
        match frame {
            Some(frame) => found.good.push(frame),
            None => found.altered += 1,
        }
    }
    found.count_repeats();
    Ok(found)
}

fn names(clip: &Clip) -> HashMap<String, Sequence> {
    let sequences = (0..clip.frames()).map(Sequence);
    sequences.map(|sequence| (clip.label(sequence), sequence)).collect()
}

/// The frame of a manifest's line, if its file has the very content that was sent.
fn as_sent(
    folder: &Path,
    clip: &Clip,
    names: &HashMap<String, Sequence>,
    record: &Record,
) -> Option<Stored> {
    let sequence = *names.get(record.name.as_str())?;
    let content = fs::read(folder.join(record.name.as_str())).ok()?;
    let hash = blake3::hash(&content);
    (clip.hash(sequence) == Some(hash) && record.blake3 == hash).then_some(Stored {
        sequence,
        captured: record.due.or(record.captured),
        stored: record.stored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Workload;
    use crate::frame::FrameMeta;
    use crate::sender::Pace;

    /// Stores a frame as a receiver does, at the time `at`.
    fn store(folder: &Path, clip: &Clip, sequence: u64, body: &[u8], at: u64) {
        let (sequence, name) = (Sequence(sequence), clip.frame_name(Sequence(sequence)).unwrap());
        fs::write(folder.join(name.as_str()), body).unwrap();
        let (bytes, media) = (body.len() as u64, name.media_type());
        let meta = FrameMeta {
            sequence,
            name,
            bytes,
            hash: None,
            captured: None,
            due: None,
            modified: None,
            media,
        };
        let record = Record::new(&meta, blake3::hash(body), UnixNanos(at), UnixNanos(at));
        let manifest = folder.join(FILE_NAME);
        let mut lines = fs::read(&manifest).unwrap_or_default();
        record.write_line(&mut lines);
        fs::write(manifest, lines).unwrap();
    }

    #[test]
    fn frames_stored_twice_and_altered_ones_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let workload = Workload::generated(Pace::Bulk, 4, 1).unwrap();
        let clip = &workload.clips[1];
        let body = |sequence| clip.read(Sequence(sequence), u64::MAX).unwrap().body;
        store(dir.path(), clip, 1, &body(1), 7);
        store(dir.path(), clip, 0, &body(0), 8);
        store(dir.path(), clip, 1, &body(1), 9);
        store(dir.path(), clip, 2, b"something else", 10);
        let found = find(dir.path(), clip).unwrap();
        assert_eq!((found.altered, found.twice), (1, 1));
        let good: Vec<_> = found.good.iter().map(|f| (f.sequence.0, f.stored.0)).collect();
        assert_eq!(good, [(0, 8), (1, 7)]);
    }
}
