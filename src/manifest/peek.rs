//! Looks into a manifest at any place, without reading the rest of it: for whoever turns its pages.
//!
//! Lines are in the order in which frames were stored, so sequences go up but for what came out of order, and for runs
//! that count from 0 each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memchr;

use super::lines::MAX_LINE_BYTES;
use super::record::Record;
use crate::frame::Sequence;

/// Read at once.
const BLOCK: usize = 64 * 1024;

/// A manifest that is no longer than this is searched as a whole, from its end: 200,000 frames, in 0.2 s.
const WHOLE: u64 = 64 << 20;

/// How far around the place where a sequence belongs it is looked for: what came out of order is not far.
const AROUND: u64 = 1 << 20;

/// A manifest as it is at one moment, open for reading.
#[derive(Debug)]
pub struct Peek {
    file: File,
    end: u64,
}

/// A record, and where its line begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Offset in the file.
    pub at: u64,
    /// The record.
    pub record: Record,
}

impl Peek {
    /// Takes a manifest as it is now; what is appended later is not seen.
    ///
    /// # Errors
    /// Where its length cannot be had.
    pub fn new(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self { file, end })
    }

    /// Its length in bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Up to `most` records, from the first on whose line begins at `from` or behind it. Lines that are none are
    /// passed over.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn forward(&self, from: u64, most: usize) -> io::Result<Vec<Placed>> {
        let mut found = Vec::new();
        let mut at = self.line_from(from)?;
        while found.len() < most && at < self.end {
            let (some, next) = self.block(at, self.end)?;
            found.extend(some);
            at = next;
        }
        found.truncate(most);
        Ok(found)
    }

    /// The last `most` records whose lines begin before `before`, in the file's order.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn backward(&self, before: u64, most: usize) -> io::Result<Vec<Placed>> {
        let mut found: Vec<Placed> = Vec::new();
        let mut end = before.min(self.end);
        while found.len() < most && end > 0 {
            let start = self.line_from(end.saturating_sub(BLOCK as u64))?;
            // A line that is longer than a block is none of a record.
            let start = if start >= end { end.saturating_sub(BLOCK as u64) } else { start };
            let mut some = self.between(start, end)?;
            some.append(&mut found);
            (found, end) = (some, start);
        }
        Ok(found.split_off(found.len().saturating_sub(most)))
    }

    /// The record of a sequence: the last one, where the manifest is not long; otherwise one that is where it
    /// belongs.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn find(&self, sequence: Sequence) -> io::Result<Option<Placed>> {
        let last = |records: Vec<Placed>| {
            records.into_iter().rev().find(|placed| placed.record.sequence == sequence)
        };
        if self.end > WHOLE {
            let (mut low, mut high) = (0, self.end);
            while high - low > BLOCK as u64 {
                let middle = low + (high - low) / 2;
                let there = self.forward(middle, 1)?.pop();
                match there.is_some_and(|placed| placed.record.sequence < sequence) {
                    true => low = middle,
                    false => high = middle,
                }
            }
            let from = self.line_from(low.saturating_sub(AROUND))?;
            return Ok(last(self.between(from, high.saturating_add(AROUND).min(self.end))?));
        }
        let mut end = self.end;
        while end > 0 {
            let start = self.line_from(end.saturating_sub(BLOCK as u64))?;
            let start = if start >= end { end.saturating_sub(BLOCK as u64) } else { start };
            if let Some(found) = last(self.between(start, end)?) {
                return Ok(Some(found));
            }
            end = start;
        }
        Ok(None)
    }

    /// The last record of a sequence, wherever it is: read from the end, until `budget` bytes have been, which are
    /// taken off it. What came after an outage may be anywhere. Lines that the store writes begin with their sequence,
    /// and only those of it are read whole.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn find_anywhere(
        &self,
        sequence: Sequence,
        budget: &mut u64,
    ) -> io::Result<Option<Placed>> {
        const TOGETHER: u64 = 4 << 20;
        let (own, any) = (format!("{{\"sequence\":{sequence},"), &b"{\"sequence\":"[..]);
        let mut end = self.end;
        while end > 0 && *budget > 0 {
            let start = self.line_from(end.saturating_sub(TOGETHER))?;
            let start = if start >= end { end.saturating_sub(TOGETHER) } else { start };
            let length = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = self.read(start, length)?;
            let (mut found, mut at) = (None, start);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = memchr(b'\n', rest).unwrap_or(rest.len());
                let line = &rest[..length];
                if line.starts_with(own.as_bytes()) || !line.starts_with(any) {
                    let record = Record::parse(line).ok();
                    found = record
                        .filter(|record| record.sequence == sequence)
                        .map(|record| Placed { at, record })
                        .or(found);
                }
                at += length as u64 + 1;
                rest = rest.get(length + 1..).unwrap_or_default();
            }
            if found.is_some() {
                return Ok(found);
            }
            *budget = budget.saturating_sub(end - start);
            end = start;
        }
        Ok(None)
    }

    /// Records whose lines begin in this range.
    fn between(&self, from: u64, to: u64) -> io::Result<Vec<Placed>> {
        let (mut found, mut at) = (Vec::new(), from);
        while at < to {
            let (some, next) = self.block(at, to)?;
            found.extend(some);
            at = next;
        }
        Ok(found)
    }

    /// Records of lines that begin at `at` and behind it, as far as a block goes and before `to`; and where the
    /// next block begins.
    fn block(&self, at: u64, to: u64) -> io::Result<(Vec<Placed>, u64)> {
        let bytes = self.read(at, BLOCK + MAX_LINE_BYTES)?;
        let (mut found, mut here) = (Vec::new(), 0);
        while here < BLOCK && at + (here as u64) < to {
            let rest = &bytes[here..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                // The rest of the file without a line feed, or a line that is too long: it goes on there.
                return Ok((found, at + bytes.len().max(1) as u64));
            };
            if let Ok(record) = Record::parse(&rest[..end]) {
                found.push(Placed { at: at + here as u64, record });
            }
            here += end + 1;
        }
        Ok((found, at + here as u64))
    }

    /// Where the first line begins that does so at `from` or behind it.
    fn line_from(&self, from: u64) -> io::Result<u64> {
        let Some(mut at) = from.checked_sub(1) else { return Ok(0) };
        while at < self.end {
            let bytes = self.read(at, MAX_LINE_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(feed) = bytes.iter().position(|byte| *byte == b'\n') {
                return Ok(at + feed as u64 + 1);
            }
            at += bytes.len() as u64;
        }
        Ok(self.end)
    }

    fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let most = most.min(usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX));
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most {
            match self.file.read_at(&mut bytes[filled..], at + filled as u64) {
                // It was cut meanwhile.
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::{ContentHash, FrameMeta, FrameName, MediaType, UnixNanos};

    fn line(sequence: u64, name_length: usize) -> Vec<u8> {
        let meta = FrameMeta {
            sequence: Sequence(sequence),
            name: FrameName::parse(&format!("{sequence}{}", "x".repeat(name_length))).unwrap(),
            bytes: 1,
            hash: None,
            captured: None,
            due: None,
            modified: None,
            media: MediaType::parse("image/png").unwrap(),
        };
        let hash = ContentHash::from_bytes([0; 32]);
        let mut text = Vec::new();
        Record::new(&meta, hash, UnixNanos(1), UnixNanos(2)).write_line(&mut text);
        text
    }

    fn peek(content: &[u8]) -> Peek {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Peek::new(file).unwrap()
    }

    fn sequences(found: &[Placed]) -> Vec<u64> {
        found.iter().map(|placed| placed.record.sequence.0).collect()
    }

    #[test]
    fn pages_go_forth_and_back_over_what_is_no_line() {
        let mut content = Vec::new();
        let mut starts = Vec::new();
        for sequence in 0..1_000 {
            if sequence % 100 == 7 {
                content.extend_from_slice(b"not a line\n\n");
            }
            if sequence == 500 {
                content.extend(std::iter::repeat_n(b'y', 200_000));
                content.push(b'\n');
            }
            starts.push(content.len() as u64);
            content.extend(line(sequence, (sequence % 200) as usize));
        }
        content.extend_from_slice(b"{\"sequence\":1000,");
        let peek = peek(&content);
        assert_eq!(sequences(&peek.forward(0, 5_000).unwrap()), (0..1_000).collect::<Vec<_>>());
        assert_eq!(
            sequences(&peek.backward(peek.end(), 5_000).unwrap()),
            (0..1_000).collect::<Vec<_>>()
        );
        for at in [0, 1, 6, 7, 99, 499, 500, 501, 999] {
            let next = peek.forward(starts[at], 1).unwrap();
            assert_eq!(sequences(&next), [at as u64]);
            assert_eq!(next[0].at, starts[at]);
            let before = peek.backward(starts[at], 2).unwrap();
            let wanted: Vec<_> = (at.saturating_sub(2) as u64..at as u64).collect();
            assert_eq!(sequences(&before), wanted);
            let found = peek.find(Sequence(at as u64)).unwrap().unwrap();
            assert_eq!(found.at, starts[at]);
        }
        assert_eq!(peek.find(Sequence(1_000)).unwrap(), None);
        assert!(peek.forward(peek.end(), 3).unwrap().is_empty());
    }

    #[test]
    fn what_came_out_of_order_is_found_anywhere() {
        // Ten megabytes, of which the middle came backwards behind all that is fresh.
        let order = (0..15_000).chain(25_000..40_000).chain((15_000..25_000).rev());
        let content: Vec<u8> = order.flat_map(|sequence| line(sequence, 30)).collect();
        let peek = peek(&content);
        for sequence in [0, 14_999, 15_000, 20_000, 24_999, 25_000, 39_999] {
            let mut budget = u64::MAX;
            let found = peek.find_anywhere(Sequence(sequence), &mut budget).unwrap().unwrap();
            assert_eq!(found.record.sequence, Sequence(sequence));
            assert_eq!(peek.forward(found.at, 1).unwrap(), [found]);
        }
        let mut budget = 1 << 40;
        assert!(peek.find_anywhere(Sequence(40_000), &mut budget).unwrap().is_none());
        assert_eq!((1 << 40) - budget, peek.end());
        // No more than was said, by a block.
        let mut budget = 1;
        assert!(peek.find_anywhere(Sequence(0), &mut budget).unwrap().is_none());
        assert_eq!(budget, 0);
    }

    #[test]
    fn of_several_frames_with_one_sequence_the_last_is_found() {
        let content = [line(3, 1), line(3, 2), line(4, 1)].concat();
        let found = peek(&content).find(Sequence(3)).unwrap().unwrap();
        assert_eq!(found.record.name.as_str(), "3xx");
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_file_nothing_is_read_twice(
            content in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 0..300),
            place in 0..400u64,
        ) {
            let peek = peek(&content);
            prop_assert!(peek.forward(place, 9).unwrap().is_empty());
            prop_assert!(peek.backward(place, 9).unwrap().is_empty());
            prop_assert!(peek.find(Sequence(1)).unwrap().is_none());
        }
    }
}
