//! The days of a source whose frames were removed because they were old enough, for whoever reads its manifests: their
//! lines stay there, and their files do not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::day::Day;
use super::entry::Entry;
use super::lines::{Lines, Text};
use super::record::Record;
use super::summary::{DayTotal, Summary};
use crate::frame::UnixNanos;

/// What a line that a day has expired has in it; others are passed over unread.
const MARK: &[u8] = b"\"expired_unix_ns\"";

/// The days of one source that have expired, as its ledger says; followed as that grows.
#[derive(Debug, Clone, Default)]
pub struct Expired {
    days: BTreeMap<Day, Gone>,
    /// Which ledger was read, and how far.
    inode: u64,
    offset: u64,
    changes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Gone {
    /// Everything of the day that was stored until then.
    until: UnixNanos,
    /// How many lines that were.
    frames: u64,
}

impl Expired {
    /// Reads what the ledger says that was not read before; of another ledger, all of it. Where there is none,
    /// nothing has expired.
    ///
    /// # Errors
    /// From reading; what was known stays.
    pub fn follow(&mut self, ledger: Option<&File>) -> io::Result<()> {
        let Some(ledger) = ledger else {
            self.begin_anew(0);
            return Ok(());
        };
        let found = ledger.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        if found.ino() != self.inode || found.len() < self.offset {
            self.begin_anew(found.ino());
        }
        if self.offset == found.len() {
            return Ok(());
        }
        let mut lines = Lines::from(ledger, self.offset, 0, found.len())?;
        while let Some(line) = lines.next_line()? {
            match line.text {
                Text::Whole(text) => self.take(text),
                Text::TooLong => {}
                // The rest of it is under way.
                Text::Unfinished(_) => {
                    self.offset = line.offset;
                    return Ok(());
                }
            }
        }
        self.offset = found.len();
        Ok(())
    }

    fn begin_anew(&mut self, inode: u64) {
        let changes = self.changes + u64::from(!self.days.is_empty());
        *self = Self { inode, changes, ..Self::default() };
    }

    fn take(&mut self, line: &[u8]) {
        if !line.windows(MARK.len()).any(|part| part == MARK) {
            return;
        }
        if let Ok(Some(Entry::DayExpired { day, at, frames, .. })) = Entry::parse(line) {
            self.days.insert(day, Gone { until: at, frames });
            self.changes += 1;
        }
    }

    /// Counts what has been learnt so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether no day has expired.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Whether a frame has expired that has its line in the manifest of a day, or of the source itself (`None`).
    pub fn has(&self, part: Option<Day>, record: &Record) -> bool {
        !self.is_empty() && record.stored <= self.until(part.unwrap_or_else(|| record.day()))
    }

    /// When the last frame of a day was stored that has expired; 0 where none has.
    pub fn until(&self, day: Day) -> UnixNanos {
        self.days.get(&day).map_or(UnixNanos(0), |gone| gone.until)
    }

    /// How many frames of a manifest have not expired, of which this is the summary.
    pub fn left(&self, part: Option<Day>, summary: &Summary) -> u64 {
        let gone = |day: &Day| self.days.get(day).map_or(0, |gone| gone.frames);
        // The ledger counts the lines of all manifests that have some of that day.
        let gone = match part {
            Some(day) => gone(&day),
            None => {
                summary.days.iter().map(|(day, total)| gone(day).min(total.last_of_name())).sum()
            }
        };
        summary.frames.saturating_sub(gone)
    }

    /// Where the first frame that has not expired may have its line, in a manifest of which the first bytes, up to
    /// `covered`, come to this.
    pub fn begin(&self, part: Option<Day>, covered: u64, summary: &Summary) -> u64 {
        let lasts = |(day, total): &(&Day, &DayTotal)| {
            total.last_stored > self.until(part.unwrap_or(**day)).0
        };
        let begins = summary.days.iter().filter(lasts).map(|(_, total)| total.begin);
        begins.min().unwrap_or(covered).min(covered)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::record::tests::sample;
    use super::*;

    fn expires(day: &str, at: u64, frames: u64) -> Vec<u8> {
        let mut line = Vec::new();
        let at = UnixNanos(at);
        Entry::DayExpired { day: day.parse().unwrap(), at, frames, bytes: 7 }.write_line(&mut line);
        line
    }

    fn record(at: u64, stored: u64) -> Record {
        Record { captured: Some(UnixNanos(at)), stored: UnixNanos(stored), ..sample(0, "0.jpg") }
    }

    #[test]
    fn a_ledger_is_followed_as_it_grows() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ledger.jsonl");
        let mut file = File::options().create(true).append(true).read(true).open(&path).unwrap();
        let mut expired = Expired::default();
        let mut changes = |ledger: Option<&File>| {
            expired.follow(ledger).unwrap();
            (expired.changes(), expired.clone())
        };
        file.write_all(&b"{\"x\":1}\n".repeat(40_000)).unwrap();
        assert_eq!(changes(Some(&file)).0, 0);
        let line = expires("1970-01-01", 50, 3);
        file.write_all(&line[..20]).unwrap();
        assert_eq!(changes(Some(&file)).0, 0, "half a line says nothing");
        file.write_all(&line[20..]).unwrap();
        assert_eq!(changes(Some(&file)).0, 1);
        let (same, known) = changes(Some(&file));
        assert_eq!(same, 1);
        let day = Some("1970-01-01".parse().unwrap());
        assert!(known.has(None, &record(5, 50)) && known.has(day, &record(5, 50)));
        assert!(!known.has(None, &record(5, 51)), "it came later");
        let next = 86_400_000_000_000;
        assert!(!known.has(None, &record(next, 50)));
        assert!(known.has(day, &record(next, 50)), "its line is in that day's manifest");
        // Another ledger in its place says something else.
        let other = place.path().join("other");
        fs::write(&other, expires("1970-01-02", 60, 1)).unwrap();
        let (more, known) = changes(Some(&File::open(&other).unwrap()));
        assert!(more > 1 && !known.has(None, &record(5, 50)) && known.has(None, &record(next, 50)));
        let (gone, known) = changes(None);
        assert!(gone > more && known.is_empty());
    }

    #[test]
    fn what_is_left_of_a_manifest_is_counted_and_where_it_begins() {
        let next = 86_400_000_000_000;
        let mut summary = Summary::default();
        for (line, (at, stored)) in [(1, 10), (2, 11), (next, 12), (3, 13)].iter().enumerate() {
            summary.take(&record(*at, *stored), line as u64 * 100);
        }
        summary.frames = 4;
        let mut expired = Expired::default();
        assert_eq!((expired.left(None, &summary), expired.begin(None, 400, &summary)), (4, 0));
        expired.take(&expires("1970-01-01", 20, 9));
        assert_eq!((expired.left(None, &summary), expired.begin(None, 400, &summary)), (1, 200));
        expired.take(&expires("1970-01-02", 20, 1));
        assert_eq!((expired.left(None, &summary), expired.begin(None, 400, &summary)), (0, 400));
    }
}
