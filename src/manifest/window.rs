//! Lines of a manifest, read at any place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::lines::MAX_LINE_BYTES;
use super::record::Record;

/// Read at once when lines are looked up in the order they are in, as a sender's offer asks them.
const SEQUENTIAL_BYTES: usize = 64 * 1024;

/// The part of the file that was read last.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// Whether `bytes` goes up to the end of the file.
    at_end: bool,
}

impl Window {
    /// The record in the line at `offset`; `None` where there is none (any more).
    pub(super) fn record(&mut self, file: &File, offset: u64) -> io::Result<Option<Record>> {
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
