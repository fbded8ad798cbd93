//! The ledger: `OUT/SOURCE/ledger.jsonl`, the account of a source's runs beside its frames.
//!
//! Appended to, a line a fact, each a JSON object. Times are nanoseconds since 1970. Which field a line has says
//! what it is:
//!
//! | field | says |
//! |---|---|
//! | `opened` | the sender whose source it is (`owner`, its pin, and `name`, where the receiver's user gave it one), the `source`, and when; without `owner` nobody known opened it. The first owner counts |
//! | `run`, `began` | a run began at the sender, with its `first` sequence and `sender`; `endless`: it has no last frame that is known beforehand; `live`: late frames are dropped |
//! | `run`, `dropped` | frames `first` to `last` will not come: `reason`, `where` (`sender` or `receiver`), `captured_unix_ns` of the first and the last |
//! | `run`, `stored_before` | frames of this run that an earlier one had stored: their lines in the manifest are that one's |
//! | `run`, `taken_away` | frames that were stored in a folder which was moved or deleted while the run went on |
//! | `run`, `ended`, `first`, `captured` | the run had so many frames, from this first one on |
//! | `run`, `resumed_by` | the run never ended, and all that it stored is in that later one, which did |
//! | `run`, `expired`, `expired_unix_ns` | frames that were removed because they were old enough |
//! | `day`, `expired_unix_ns` | all frames of that day that were stored until then are removed: how many `frames` and `bytes` it ever had |
//! | `day`, `removed_unix_ns` | that is done: so many `frames` were, and so many files are `left` that are not what was stored |
//!
//! Lines of another kind, and other fields, are ignored. A line that was torn by a crash is cut off at the next
//! opening; one that cannot be read is skipped and counted.
//!
//! Facts about frames in a row are one line: neighbours are joined when they are noted together, and the last line
//! grows in its place where the next fact goes on from it, so that a million drops in a row are a few lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::entry::Entry;
use super::lines::{BadLine, Lines, MAX_LINE_BYTES, Text};
use super::listed::Listed;
use super::log::{ManifestError, Opened};

/// How many unreadable lines are named; all are counted.
const BAD_LINES_NAMED: usize = 100;
/// A write within a page of memory is done or not, whenever the process is killed.
const PAGE_BYTES: u64 = 4096;

/// A source's ledger, open to append to it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    /// End of the last whole line.
    end: u64,
    /// A failed append may have left something after `end`, which must go before the next one.
    unclean: bool,
    /// The last line, where it was written since the ledger was opened: it may grow.
    last: Option<(u64, Entry)>,
}

/// A last line that is not whole: where it begins, and its number.
struct Torn {
    offset: u64,
    line: u64,
}

impl Ledger {
    /// Takes a ledger to append to, opened for reading and writing but not in append mode, and puts its end right.
    /// `visit` is called with each entry. `path` is for messages only.
    ///
    /// # Errors
    /// Where the file cannot be read, cut or completed.
    pub fn open(
        file: File,
        path: &Path,
        visit: &mut dyn FnMut(Entry),
    ) -> Result<(Self, Opened), ManifestError> {
        let mut ledger = Self { file, path: path.to_owned(), end: 0, unclean: false, last: None };
        let (length, mut opened, torn) = ledger.scan(visit)?;
        ledger.end = length;
        if let Some(Torn { offset, .. }) = torn {
            opened.torn_bytes = length - offset;
            ledger.end = offset;
            ledger.cut()?;
        } else if length > 0 && ledger.byte_at(length - 1)? != b'\n' {
            ledger.write(b"\n", length)?;
            ledger.end += 1;
        }
        Ok((ledger, opened))
    }

    /// Reads a ledger and changes nothing; a torn last line is a bad one.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(
        file: File,
        path: &Path,
        visit: &mut dyn FnMut(Entry),
    ) -> Result<Listed<BadLine>, ManifestError> {
        let ledger = Self { file, path: path.to_owned(), end: 0, unclean: false, last: None };
        let (_, mut opened, torn) = ledger.scan(visit)?;
        if let Some(Torn { line, .. }) = torn {
            let reason = "the last line is incomplete".to_owned();
            opened.bad_lines.push(BadLine { line, reason });
        }
        Ok(opened.bad_lines)
    }

    /// Appends entries with one write, neighbours joined, and with `durable` waits until they are on the medium.
    /// Either all of them are in the ledger afterwards, or none.
    ///
    /// # Errors
    /// Where they cannot be written; what had been written is cut off again, if need be before the next append.
    pub fn append(&mut self, entries: &[Entry], durable: bool) -> Result<(), ManifestError> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.unclean {
            self.cut()?;
        }
        let mut joined = join(entries);
        let grown = self.grown(&joined[0]);
        let (mut text, mut at) = (Vec::new(), self.end);
        if let Some((offset, entry, line)) = grown {
            (text, at) = (line, offset);
            joined[0] = entry;
        }
        let begun = text.len();
        let rest = if begun > 0 { &joined[1..] } else { &joined[..] };
        let mut last_at = at;
        for entry in rest {
            last_at = at + text.len() as u64;
            entry.write_line(&mut text);
        }
        if let Err(error) = self.write_through(&text, at, durable) {
            self.unclean = true;
            let _ = self.cut();
            return Err(error);
        }
        self.end = at + text.len() as u64;
        self.last = joined.pop().map(|entry| (last_at, entry));
        Ok(())
    }

    /// The last line with `next` in it as well, where it goes on from that, and where the longer line is written
    /// over it whole or not at all.
    fn grown(&self, next: &Entry) -> Option<(u64, Entry, Vec<u8>)> {
        let (offset, last) = self.last.as_ref()?;
        let entry = last.joined(next)?;
        let mut line = Vec::new();
        entry.write_line(&mut line);
        let end = offset + line.len() as u64;
        let is_within = offset / PAGE_BYTES == (end - 1) / PAGE_BYTES;
        (is_within && end >= self.end).then_some((*offset, entry, line))
    }

    /// Reads everything once: its length, what was wrong, and what is torn at the end.
    fn scan(
        &self,
        visit: &mut dyn FnMut(Entry),
    ) -> Result<(u64, Opened, Option<Torn>), ManifestError> {
        let failed = |error: io::Error| self.error("read", &error);
        let length = self.file.metadata().map_err(failed)?.len();
        let mut opened = Opened { torn_bytes: 0, bad_lines: Listed::new(BAD_LINES_NAMED) };
        let mut lines = Lines::new(&self.file, length).map_err(failed)?;
        while let Some(line) = lines.next_line().map_err(failed)? {
            let (text, is_whole) = match line.text {
                Text::Whole(text) => (text, true),
                Text::Unfinished(text) => (text, false),
                Text::TooLong => {
                    let reason = format!("longer than {MAX_LINE_BYTES} bytes");
                    opened.bad_lines.push(BadLine { line: line.number, reason });
                    continue;
                }
            };
            match Entry::parse(text) {
                Ok(entry) => entry.into_iter().for_each(&mut *visit),
                Err(_) if !is_whole => {
                    let torn = Torn { offset: line.offset, line: line.number };
                    return Ok((length, opened, Some(torn)));
                }
                Err(error) => {
                    let reason = error.to_string();
                    opened.bad_lines.push(BadLine { line: line.number, reason });
                }
            }
        }
        Ok((length, opened, None))
    }

    fn write_through(&self, text: &[u8], at: u64, durable: bool) -> Result<(), ManifestError> {
        self.write(text, at)?;
        if durable {
            self.file.sync_data().map_err(|error| self.error("sync", &error))?;
        }
        Ok(())
    }

    fn write(&self, text: &[u8], at: u64) -> Result<(), ManifestError> {
        self.file.write_all_at(text, at).map_err(|error| self.error("append to", &error))
    }

    /// Cuts off everything after the last whole line. That may have grown over its end meanwhile, and is put back as it was
    /// before anything is cut: cut first, it would be torn if the process were killed here.
    fn cut(&mut self) -> Result<(), ManifestError> {
        if let Some((offset, last)) = &self.last {
            let mut line = Vec::new();
            last.write_line(&mut line);
            self.write(&line, *offset)?;
        }
        self.file.set_len(self.end).map_err(|error| self.error("cut the torn end off", &error))?;
        self.last = None;
        self.unclean = false;
        Ok(())
    }

    fn byte_at(&self, offset: u64) -> Result<u8, ManifestError> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).map_err(|error| self.error("read", &error))?;
        Ok(byte[0])
    }

    fn error(&self, doing: &'static str, cause: &io::Error) -> ManifestError {
        let cause = Errno::from_io_error(cause).unwrap_or(Errno::IO);
        ManifestError { doing, path: self.path.clone(), cause }
    }
}

/// The entries with neighbours as one.
fn join(entries: &[Entry]) -> Vec<Entry> {
    let mut joined: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match joined.last().and_then(|last| last.joined(entry)) {
            Some(both) => {
                joined.pop();
                joined.push(both);
            }
            None => joined.push(entry.clone()),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::entry::tests::{RUN, dropped};
    use super::*;
    use crate::frame::UnixNanos;

    fn open(folder: &TempDir) -> (Ledger, Vec<Entry>, Opened) {
        let path = folder.path().join("ledger.jsonl");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut found = Vec::new();
        let (ledger, opened) =
            Ledger::open(file.unwrap(), &path, &mut |entry| found.push(entry)).unwrap();
        (ledger, found, opened)
    }

    fn ended(captured: u64) -> Entry {
        Entry::Ended { run: RUN, at: UnixNanos(1), first: None, captured }
    }

    #[test]
    fn a_million_drops_in_a_row_are_a_few_lines() {
        let folder = TempDir::new().unwrap();
        let (mut ledger, _, _) = open(&folder);
        for first in (0..1_000_000).step_by(10) {
            ledger
                .append(&[dropped(first, first + 4), dropped(first + 5, first + 9)], false)
                .unwrap();
        }
        ledger.append(&[ended(1_000_000)], false).unwrap();
        let (_, found, opened) = open(&folder);
        assert_eq!(found, [dropped(0, 999_999), ended(1_000_000)]);
        assert_eq!((opened.torn_bytes, opened.bad_lines.count), (0, 0));
    }

    #[test]
    fn what_was_noted_is_read_back_and_no_line_grows_over_the_end_of_a_page() {
        let folder = TempDir::new().unwrap();
        let (mut ledger, _, _) = open(&folder);
        let mut noted = Vec::new();
        for n in 0..400u64 {
            let entries = [dropped(n * 1_000, n * 1_000), dropped(n * 1_000 + 1, n * 1_000 + 500)];
            entries
                .iter()
                .for_each(|one| ledger.append(std::slice::from_ref(one), n % 7 == 0).unwrap());
            noted.push(dropped(n * 1_000, n * 1_000 + 500));
        }
        let (_, found, _) = open(&folder);
        let mut joined = join(&found);
        // Where a line would have grown over the end of a page, the next fact has a line of its own.
        assert!(found.len() < 420, "{}", found.len());
        assert_eq!(join(&joined), noted);
        joined.clear();
    }

    #[test]
    fn a_line_torn_at_any_byte_is_cut_off_and_the_next_is_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut one, mut both) = (Vec::new(), Vec::new());
        dropped(0, 4).write_line(&mut one);
        both.extend_from_slice(&one);
        ended(9).write_line(&mut both);
        for length in one.len()..both.len() {
            fs::write(&path, &both[..length]).unwrap();
            let (mut ledger, found, _) = open(&folder);
            let is_complete = length == both.len() - 1;
            assert_eq!(found.len(), 1 + usize::from(is_complete), "torn at byte {length}");
            ledger.append(&[ended(9)], false).unwrap();
            assert_eq!(open(&folder).1.last(), Some(&ended(9)));
        }
    }

    #[test]
    fn a_torn_last_line_is_named_by_its_number() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut text = Vec::new();
        dropped(0, 4).write_line(&mut text);
        ended(9).write_line(&mut text);
        text.extend_from_slice(b"{\"run\":\"5a5a");
        fs::write(&path, text).unwrap();
        let bad = Ledger::read(File::open(&path).unwrap(), &path, &mut |_| {}).unwrap();
        assert_eq!((bad.count, bad.first[0].line), (1, 3));
    }

    #[test]
    fn an_append_that_fails_leaves_no_line_and_the_next_one_works() {
        let folder = TempDir::new().unwrap();
        let (mut ledger, _, _) = open(&folder);
        let Ok(full) = OpenOptions::new().read(true).write(true).open("/dev/full") else { return };
        ledger.append(&[dropped(0, 4)], false).unwrap();
        let file = std::mem::replace(&mut ledger.file, full);
        assert_eq!(ledger.append(&[ended(9)], false).unwrap_err().cause, Errno::NOSPC);
        ledger.file = file;
        ledger.append(&[ended(9)], true).unwrap();
        assert_eq!(open(&folder).1, [dropped(0, 4), ended(9)]);
    }

    #[test]
    fn a_line_that_had_grown_when_an_append_failed_is_as_it_was() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut ledger, _, _) = open(&folder);
        ledger.append(&[dropped(0, 9)], false).unwrap();
        let before = fs::read(&path).unwrap();
        // What a disk leaves that had room for the line that has grown, and not for what follows it.
        let mut grown = Vec::new();
        dropped(0, 1_000).write_line(&mut grown);
        grown.extend_from_slice(b"{\"run\":\"5a5a");
        fs::write(&path, grown).unwrap();
        ledger.cut().unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        ledger.append(&[ended(9)], false).unwrap();
        let (_, found, opened) = open(&folder);
        assert_eq!((found, opened.bad_lines.count), (vec![dropped(0, 9), ended(9)], 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_file_holds_opening_it_is_safe_and_settles(
            chunks in prop::collection::vec(prop_oneof![
                Just(b"{\"run\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\",\"ended\":1,\"captured\":9}\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..50),
                Just(vec![b'\n']),
                Just(vec![b' '; MAX_LINE_BYTES]),
            ], 0..12)
        ) {
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join("ledger.jsonl"), chunks.concat()).unwrap();
            let (mut ledger, found, opened) = open(&folder);
            ledger.append(&[dropped(1, 2)], false).unwrap();
            let (_, again, settled) = open(&folder);
            prop_assert_eq!(settled.torn_bytes, 0);
            prop_assert_eq!(settled.bad_lines, opened.bad_lines);
            prop_assert_eq!(&again[..found.len()], &found[..]);
            prop_assert_eq!(again.last(), Some(&dropped(1, 2)));
        }
    }
}
