//! The manifest file: opened and put right, read at any place, and appended to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::index::Index;
use super::lines::{BadLine, Lines, MAX_LINE_BYTES, Text};
use super::listed::Listed;
use super::record::Record;
use crate::frame::{FrameName, Sequence};

/// How many unreadable lines are named; all are counted.
const BAD_LINES_NAMED: usize = 100;
/// Read at once when lines are looked up in the order they are in, as a sender's offer asks them.
const SEQUENTIAL_BYTES: usize = 64 * 1024;

/// Why the manifest could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot {doing} {}: {cause}", path.display())]
pub struct ManifestError {
    /// What was tried.
    pub doing: &'static str,
    /// The manifest.
    pub path: PathBuf,
    /// What the system said.
    pub cause: Errno,
}

/// What was found, and put right, when a manifest was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of a line whose writing had been interrupted; they were cut off.
    pub torn_bytes: u64,
    /// Lines that are not records; they are left as they are, and skipped.
    pub bad_lines: Listed<BadLine>,
}

/// A source's manifest with its [`Index`].
#[derive(Debug)]
pub struct Manifest {
    file: File,
    path: PathBuf,
    index: Index,
    /// End of the last whole line.
    end: u64,
    /// A failed append may have left something after `end`, which must go before the next one.
    unclean: bool,
    last_sequence: Option<Sequence>,
    window: Window,
}

/// What follows the last line feed.
enum Tail {
    None,
    /// The beginning of a line, from this offset.
    Torn(u64),
    /// A line that is there but for its line feed.
    Unended,
}

impl Manifest {
    /// Takes a manifest to append to, opened for reading and in append mode, and puts its end
    /// right: a torn last line is cut off. `visit` is called with each record. `path` is for messages only.
    ///
    /// # Errors
    /// Where the file cannot be read, cut or completed.
    pub fn open(
        file: File,
        path: &Path,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<(Self, Opened), ManifestError> {
        let (mut manifest, mut opened, tail) = Self::scan(file, path, visit)?;
        match tail {
            Tail::None => {}
            Tail::Torn(offset) => {
                opened.torn_bytes = manifest.end - offset;
                manifest.end = offset;
                manifest.cut()?;
            }
            Tail::Unended => {
                manifest.write(b"\n")?;
                manifest.end += 1;
            }
        }
        Ok((manifest, opened))
    }

    /// Takes a manifest only to read it; nothing is changed, and a torn last line is a bad one.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(file: File, path: &Path) -> Result<(Self, Opened), ManifestError> {
        let (manifest, mut opened, tail) = Self::scan(file, path, &mut |_| {})?;
        if let Tail::Torn(offset) = tail {
            let reason = "the last line is incomplete".to_owned();
            opened.bad_lines.push(BadLine { line: manifest.lines_before(offset)? + 1, reason });
        }
        Ok((manifest, opened))
    }

    /// How many frames have a line.
    pub fn frames(&self) -> u64 {
        self.index.len() as u64
    }

    /// The highest sequence in any line.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.last_sequence
    }

    /// The record of a frame: its last line. Asking in the order of the lines is fastest.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn find(&mut self, name: &FrameName) -> Result<Option<Record>, ManifestError> {
        let mut found = None;
        let Self { index, file, window, .. } = self;
        let offset = index.find(name, |offset| {
            found = window.record(file, offset)?.filter(|record| record.name == *name);
            Ok(found.is_some())
        });
        match offset {
            Ok(Some(_)) => Ok(found),
            Ok(None) => Ok(None),
            Err(error) => Err(self.error("read", &error)),
        }
    }

    /// Whether the line at `offset` is the one that counts for `name`.
    pub fn is_current(&self, name: &FrameName, offset: u64) -> bool {
        self.index.is_current(name, offset)
    }

    /// All lines, from the first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn lines(&self) -> Result<Lines<'_>, ManifestError> {
        Lines::new(&self.file, self.end).map_err(|error| self.error("read", &error))
    }

    /// Appends the lines of `records` with one write, and with `durable` waits until they are on
    /// the medium. Either all of them are in the manifest afterwards, or none.
    ///
    /// # Errors
    /// Where they cannot be written; what had been written is cut off again, if need be before the
    /// next append.
    pub fn append(&mut self, records: &[Record], durable: bool) -> Result<(), ManifestError> {
        if self.unclean {
            self.cut()?;
        }
        let mut text = Vec::with_capacity(records.len() * 384);
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            offsets.push(self.end + text.len() as u64);
            record.write_line(&mut text);
        }
        if let Err(error) = self.write_through(&text, durable) {
            // What is reported is why the append failed; a clean-up that fails too is tried again
            // before the next append.
            self.unclean = true;
            let _ = self.cut();
            return Err(error);
        }
        self.end += text.len() as u64;
        records.iter().zip(offsets).try_for_each(|(record, offset)| self.note(record, offset))
    }

    /// Reads everything once, building the index.
    fn scan(
        file: File,
        path: &Path,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<(Self, Opened, Tail), ManifestError> {
        let mut manifest = Self {
            file,
            path: path.to_owned(),
            index: Index::default(),
            end: 0,
            unclean: false,
            last_sequence: None,
            window: Window::default(),
        };
        let mut bad_lines = Listed::new(BAD_LINES_NAMED);
        let tail = manifest.scan_lines(&mut bad_lines, visit)?;
        Ok((manifest, Opened { torn_bytes: 0, bad_lines }, tail))
    }

    fn scan_lines(
        &mut self,
        bad_lines: &mut Listed<BadLine>,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<Tail, ManifestError> {
        let file = self.file.try_clone().map_err(|error| self.error("read", &error))?;
        let length = file.metadata().map_err(|error| self.error("read", &error))?.len();
        self.end = length;
        let mut lines = Lines::new(&file, length).map_err(|error| self.error("read", &error))?;
        while let Some(line) = lines.next_line().map_err(|error| self.error("read", &error))? {
            let (text, is_whole) = match line.text {
                Text::Whole(text) => (text, true),
                Text::Unfinished(text) => (text, false),
                Text::TooLong => {
                    let reason = format!("longer than {MAX_LINE_BYTES} bytes");
                    bad_lines.push(BadLine { line: line.number, reason });
                    continue;
                }
            };
            match Record::parse(text) {
                Ok(record) => {
                    visit(&record);
                    self.note(&record, line.offset)?;
                }
                // No beginning of a line is a whole one, so this is where a write was interrupted.
                Err(_) if !is_whole => return Ok(Tail::Torn(line.offset)),
                Err(error) => {
                    bad_lines.push(BadLine { line: line.number, reason: error.to_string() });
                }
            }
        }
        // Also a file that ends in an over-long line without a line feed: nobody's torn write is
        // that long, so it is not ours to cut.
        let is_ended = length == 0 || self.byte_at(length - 1)? == b'\n';
        Ok(if is_ended { Tail::None } else { Tail::Unended })
    }

    /// Enters a line that is in the file into the index.
    fn note(&mut self, record: &Record, offset: u64) -> Result<(), ManifestError> {
        let Self { index, file, window, .. } = self;
        index
            .insert(&record.name, offset, |other| {
                Ok(window.record(file, other)?.is_some_and(|line| line.name == record.name))
            })
            .map_err(|error: io::Error| self.error("read", &error))?;
        self.last_sequence = self.last_sequence.max(Some(record.sequence));
        Ok(())
    }

    fn write_through(&mut self, text: &[u8], durable: bool) -> Result<(), ManifestError> {
        self.write(text)?;
        if durable {
            self.file.sync_data().map_err(|error| self.error("sync", &error))?;
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), ManifestError> {
        self.file.write_all(text).map_err(|error| self.error("append to", &error))
    }

    /// Cuts off everything after the last whole line.
    fn cut(&mut self) -> Result<(), ManifestError> {
        self.window = Window::default();
        self.file.set_len(self.end).map_err(|error| self.error("cut the torn end off", &error))?;
        self.unclean = false;
        Ok(())
    }

    fn byte_at(&self, offset: u64) -> Result<u8, ManifestError> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).map_err(|error| self.error("read", &error))?;
        Ok(byte[0])
    }

    fn lines_before(&self, offset: u64) -> Result<u64, ManifestError> {
        let mut lines = Lines::new(&self.file, offset).map_err(|e| self.error("read", &e))?;
        let mut count = 0;
        while lines.next_line().map_err(|error| self.error("read", &error))?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn error(&self, doing: &'static str, cause: &io::Error) -> ManifestError {
        let cause = Errno::from_io_error(cause).unwrap_or(Errno::IO);
        ManifestError { doing, path: self.path.clone(), cause }
    }
}

/// The part of the file that was read last.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// Whether `bytes` goes up to the end of the file.
    at_end: bool,
}

impl Window {
    /// The record in the line at `offset`; `None` where there is none (any more).
    fn record(&mut self, file: &File, offset: u64) -> io::Result<Option<Record>> {
        if self.line_at(offset).is_none() {
            self.fill(file, offset)?;
        }
        Ok(self.line_at(offset).and_then(|line| Record::parse(line).ok()))
    }

    fn line_at(&self, offset: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.get(start..)?;
        let longest = &rest[..rest.len().min(MAX_LINE_BYTES + 1)];
        match longest.iter().position(|&byte| byte == b'\n') {
            Some(end) => Some(&rest[..end]),
            // The last line may lack its line feed where the file is only read.
            None => (self.at_end && !rest.is_empty()).then_some(longest),
        }
    }

    fn fill(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let window = self.start..=self.start + self.bytes.len() as u64;
        let goes_on = window.contains(&offset) && !self.bytes.is_empty();
        let length = if goes_on { SEQUENTIAL_BYTES } else { MAX_LINE_BYTES + 1 };
        self.bytes.resize(length, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut self.bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        self.at_end = filled < length;
        Ok(())
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
