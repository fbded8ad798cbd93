//! The manifest file: opened and put right, read at any place, and appended to.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::lines::{BadLine, Lines, MAX_LINE_BYTES, Text};
use super::listed::Listed;
use super::names::Names;
use super::record::Record;
use super::resting::Resting;
use super::summary::Summary;
use super::window::Window;
use crate::frame::{FrameName, Sequence};

/// It is said when so much is read to open a manifest: it takes seconds.
const LONG_BYTES: u64 = 1 << 30;

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

/// A source's manifest with the index of its names.
#[derive(Debug)]
pub struct Manifest {
    file: File,
    path: PathBuf,
    names: Names,
    summary: Summary,
    /// End of the last whole line.
    end: u64,
    /// A failed append may have left something after `end`, which must go before the next one.
    unclean: bool,
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

/// A manifest that was read, and how it ends.
struct Scanned {
    manifest: Manifest,
    tail: Tail,
}

impl Scanned {
    fn begin(file: File, path: &Path, names: Names) -> Self {
        let (path, summary, window) = (path.to_owned(), Summary::default(), Window::default());
        let manifest = Manifest { file, path, names, summary, end: 0, unclean: false, window };
        Self { manifest, tail: Tail::None }
    }

    /// Cuts a torn line off, or completes one that lacks its line feed.
    fn put_right(self) -> Result<(Manifest, Opened), ManifestError> {
        let Self { mut manifest, tail } = self;
        let mut torn_bytes = 0;
        match tail {
            Tail::None => {}
            Tail::Torn(offset) => {
                torn_bytes = manifest.end - offset;
                manifest.end = offset;
                manifest.cut()?;
            }
            Tail::Unended => {
                manifest.write(b"\n")?;
                manifest.end += 1;
            }
        }
        let bad_lines = manifest.summary.bad_lines.clone();
        Ok((manifest, Opened { torn_bytes, bad_lines }))
    }
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
        Self::scan(file, path, Names::in_memory(), visit)?.put_right()
    }

    /// The same with the index that is beside it in `folder`, or is made there: only the lines since are read. What
    /// the others come to is in the [`summary`](Self::summary).
    ///
    /// # Errors
    /// Where the manifest cannot be read, cut or completed. An index that cannot be read or written is gone without.
    pub fn open_in(
        folder: OwnedFd,
        file: File,
        path: &Path,
    ) -> Result<(Self, Opened), ManifestError> {
        let (names, summary) = Names::in_folder(folder, &file);
        let mut scanned = Scanned::begin(file, path, names);
        let covered = scanned.manifest.names.covered();
        scanned.manifest.summary = summary;
        scanned.manifest.scan_from(covered, &mut scanned.tail, &mut |_| {})?;
        scanned.put_right()
    }

    /// Takes a manifest only to read it; nothing is changed, and a torn last line is a bad one.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(file: File, path: &Path) -> Result<(Self, Opened), ManifestError> {
        Self::read_each(file, path, &mut |_| {})
    }

    /// The same, and `visit` is called with each record.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read_each(
        file: File,
        path: &Path,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<(Self, Opened), ManifestError> {
        let Scanned { mut manifest, tail } = Self::scan(file, path, Names::in_memory(), visit)?;
        if let Tail::Torn(offset) = tail {
            let reason = "the last line is incomplete".to_owned();
            let line = manifest.lines_before(offset)? + 1;
            manifest.summary.bad_lines.push(BadLine { line, reason });
        }
        let opened = Opened { torn_bytes: 0, bad_lines: manifest.summary.bad_lines.clone() };
        Ok((manifest, opened))
    }

    /// How many frames have a line.
    pub fn frames(&self) -> u64 {
        self.summary.frames
    }

    /// The highest sequence in any line.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.summary.last_sequence
    }

    /// What all lines come to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The record of a frame: its last line. Asking in the order of the lines is fastest.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn find(&mut self, name: &FrameName) -> Result<Option<Record>, ManifestError> {
        let mut found = None;
        let Self { names, file, window, .. } = self;
        let (mut is_stale, hash) = (false, names.hash(name));
        let offset = names.find(hash, |offset| {
            let record = window.record(file, offset)?;
            is_stale |= record.is_none();
            found = record.filter(|record| record.name == *name);
            Ok(found.is_some())
        });
        match offset {
            Ok(Some(_)) => Ok(found),
            Ok(None) if is_stale && self.names.is_settled() => {
                self.index_anew()?;
                self.find(name)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.error("read", &error)),
        }
    }

    /// Whether the line at `offset` is the one that counts for `name`, of a manifest that was opened to
    /// [read](Self::read) it.
    pub fn is_current(&self, name: &FrameName, offset: u64) -> bool {
        self.names.is_current(self.names.hash(name), offset)
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
        records.iter().zip(offsets).try_for_each(|(record, offset)| self.note(record, offset))?;
        self.names.keep_up(&self.file, self.end, &self.summary);
        Ok(())
    }

    /// Brings the index beside the manifest up to its end, where there is one: then the summary alone tells all that
    /// is in the lines. Takes as long as that takes.
    ///
    /// # Errors
    /// From writing the index. Nothing is lost then but time.
    pub fn settle(&mut self) -> io::Result<()> {
        self.names.settle(&self.file, self.end, &self.summary)
    }

    /// Puts it to rest: its index is brought up to its end, and it is closed.
    ///
    /// # Errors
    /// Where there is no index, or it cannot be written, as on a full disk: what all lines come to is known even so.
    pub fn rest(mut self) -> Result<Resting, Box<Summary>> {
        let settled = self.settle().ok().and_then(|()| self.names.folder());
        let resting = settled.and_then(|folder| Resting::load(&*folder, &self.file));
        resting.ok_or_else(|| Box::new(self.summary.clone()))
    }

    /// The same of one that may be opened again for the next line: where its index speaks of a few lines less, those are
    /// kept in mind, and the next opening reads them.
    ///
    /// # Errors
    /// As of [`rest`](Self::rest).
    pub fn rest_for_now(self) -> Result<Resting, Box<Summary>> {
        match self.names.tail() {
            Some(tail) => Ok(Resting::with_tail(self.summary.clone(), tail)),
            None => self.rest(),
        }
    }

    /// Reads everything once, entering all names.
    fn scan(
        file: File,
        path: &Path,
        names: Names,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<Scanned, ManifestError> {
        let mut scanned = Scanned::begin(file, path, names);
        scanned.manifest.scan_from(0, &mut scanned.tail, visit)?;
        Ok(scanned)
    }

    /// Reads the lines from an offset on; those before are in the index and the summary.
    fn scan_from(
        &mut self,
        offset: u64,
        tail: &mut Tail,
        visit: &mut dyn FnMut(&Record),
    ) -> Result<(), ManifestError> {
        let file = self.file.try_clone().map_err(|error| self.error("read", &error))?;
        let length = file.metadata().map_err(|error| self.error("read", &error))?.len();
        self.end = length;
        if length.saturating_sub(offset) > LONG_BYTES && self.names.is_kept() {
            tracing::info!("reading {} to make its index", self.path.display());
        }
        let before = self.summary.lines;
        let lines = Lines::from(&file, offset, before, length);
        let mut lines = lines.map_err(|error| self.error("read", &error))?;
        while let Some(line) = lines.next_line().map_err(|error| self.error("read", &error))? {
            let (text, is_whole) = match line.text {
                Text::Whole(text) => (text, true),
                Text::Unfinished(text) => (text, false),
                Text::TooLong => {
                    let reason = format!("longer than {MAX_LINE_BYTES} bytes");
                    self.bad_line(BadLine { line: line.number, reason });
                    continue;
                }
            };
            match Record::parse(text) {
                Ok(record) => {
                    visit(&record);
                    let (at, behind) = (line.offset, line.offset + text.len() as u64 + 1);
                    self.note(&record, at)?;
                    if is_whole {
                        self.names.keep_up_scanning(&self.file, behind, &self.summary);
                    }
                }
                // No beginning of a line is a whole one, so this is where a write was interrupted.
                Err(_) if !is_whole => {
                    *tail = Tail::Torn(line.offset);
                    return Ok(());
                }
                Err(error) => {
                    self.bad_line(BadLine { line: line.number, reason: error.to_string() })
                }
            }
        }
        // Also a file that ends in an over-long line without a line feed: nobody's torn write is
        // that long, so it is not ours to cut.
        let is_ended = length == 0 || self.byte_at(length - 1)? == b'\n';
        *tail = if is_ended { Tail::None } else { Tail::Unended };
        Ok(())
    }

    fn bad_line(&mut self, bad: BadLine) {
        self.summary.lines += 1;
        self.summary.bad_lines.push(bad);
    }

    /// Reads all lines again, because the index is not this manifest's.
    fn index_anew(&mut self) -> Result<(), ManifestError> {
        tracing::warn!("the index of {} does not fit it and is made anew", self.path.display());
        self.names.forget();
        self.summary = Summary::default();
        let (end, mut tail) = (self.end, Tail::None);
        self.scan_from(0, &mut tail, &mut |_| {})?;
        // It was put right when it was opened; a failed append is behind its end.
        self.end = end;
        Ok(())
    }

    /// Enters a line that is in the file.
    fn note(&mut self, record: &Record, offset: u64) -> Result<(), ManifestError> {
        let Self { names, file, window, .. } = self;
        let mut earlier = None;
        let is_named = |other| {
            let line = window.record(file, other)?.filter(|line| line.name == record.name);
            let is_it = line.is_some();
            // The index is asked before the lines since: the last of them counts.
            earlier = line.or(earlier.take());
            Ok(is_it)
        };
        let is_new = names
            .enter(names.hash(&record.name), offset, is_named)
            .map_err(|error: io::Error| self.error("read", &error))?;
        self.summary.frames += u64::from(is_new);
        self.summary.take(record, offset);
        earlier.into_iter().for_each(|earlier| self.summary.replaced(&earlier));
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

impl Drop for Manifest {
    fn drop(&mut self) {
        // What a failed append has left is not to be in the index.
        if !self.unclean {
            self.names.close(&self.file, self.end, &self.summary);
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
