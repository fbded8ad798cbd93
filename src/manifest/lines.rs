//! Reads a manifest line by line, in bounded memory whatever the file holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

/// The longest line that is read, in bytes. The longest that is written is under two thirds of it; the
/// rest is room for fields that a user or a later version adds.
pub const MAX_LINE_BYTES: usize = 4096;

/// Bytes read from the file at a time: large enough that system calls do not show beside parsing.
const READ_BYTES: usize = 128 * 1024;

/// A line that is not a record, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadLine {
    /// Counted from 1, as editors do.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u64,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// What it says.
    pub text: Text<'a>,
}

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// A line that ended in a line feed, which is left out here.
    Whole(&'a [u8]),
    /// The end of the file came before a line feed.
    Unfinished(&'a [u8]),
    /// Longer than [`MAX_LINE_BYTES`]; its content was skipped.
    TooLong,
}

/// A reader over the lines of a manifest.
#[derive(Debug)]
pub struct Lines<'f> {
    reader: io::Take<BufReader<&'f File>>,
    line: Vec<u8>,
    number: u64,
    offset: u64,
}

impl<'f> Lines<'f> {
    /// Reads `file` from its beginning to `end`, so that a line appended meanwhile is not seen by
    /// halves.
    ///
    /// # Errors
    /// From seeking to the beginning.
    pub fn new(file: &'f File, end: u64) -> io::Result<Self> {
        Self::from(file, 0, 0, end)
    }

    /// The same from an offset on, where a line begins that so many lines are before.
    ///
    /// # Errors
    /// From seeking there.
    pub fn from(mut file: &'f File, offset: u64, before: u64, end: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        let rest = end.saturating_sub(offset);
        let reader = BufReader::with_capacity(READ_BYTES, file).take(rest);
        Ok(Self { reader, line: Vec::new(), number: before, offset })
    }

    /// The next line, `None` after the last. Not an `Iterator`, because the line is lent.
    ///
    /// # Errors
    /// From reading the file.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let offset = self.offset;
        self.line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;
        let text = if self.line.last() == Some(&b'\n') {
            Text::Whole(&self.line[..read - 1])
        } else if read <= MAX_LINE_BYTES {
            Text::Unfinished(&self.line)
        } else {
            self.offset += self.reader.skip_until(b'\n')? as u64;
            Text::TooLong
        };
        Ok(Some(Line { number: self.number, offset, text }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn lines_their_numbers_and_offsets() {
        let file = file(b"one\n\nthree");
        let mut lines = Lines::new(&file, 10).unwrap();
        let mut next =
            || lines.next_line().unwrap().map(|l| (l.number, l.offset, format!("{:?}", l.text)));
        assert_eq!(next(), Some((1, 0, "Whole([111, 110, 101])".into())));
        assert_eq!(next(), Some((2, 4, "Whole([])".into())));
        assert_eq!(next().unwrap().1, 5);
        assert_eq!(next(), None);
    }

    #[test]
    fn an_endless_line_is_skipped_in_bounded_memory() {
        let mut content = vec![b'x'; 3_000_000];
        content.extend_from_slice(b"\nnext\n");
        let file = file(&content);
        let mut lines = Lines::new(&file, content.len() as u64).unwrap();
        assert_eq!(lines.next_line().unwrap().unwrap().text, Text::TooLong);
        let line = lines.next_line().unwrap().unwrap();
        assert_eq!(line, Line { number: 2, offset: 3_000_001, text: Text::Whole(b"next") });
        assert!(lines.line.capacity() <= 4 * MAX_LINE_BYTES);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_read() {
        for (length, whole) in
            [(MAX_LINE_BYTES - 1, true), (MAX_LINE_BYTES, true), (MAX_LINE_BYTES + 1, false)]
        {
            let mut content = vec![b'x'; length];
            content.push(b'\n');
            let file = file(&content);
            let mut lines = Lines::new(&file, u64::MAX).unwrap();
            let is_whole = matches!(lines.next_line().unwrap().unwrap().text, Text::Whole(_));
            assert_eq!(is_whole, whole, "{length}");
            assert!(lines.next_line().unwrap().is_none());
        }
    }
}
