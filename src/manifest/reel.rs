//! The frames of a source as they are stored, in order, whatever its layout: for who looks at a store that another
//! process may be writing to. Nothing is locked, nothing changed, and no link followed.
//!
//! ```no_run
//! use framelane::manifest::Reel;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reel = Reel::open("received/visible".as_ref())?;
//! while let Some(stored) = reel.next_frame()? {
//!     println!("{} {}", stored.record.sequence, stored.path.display());
//! }
//! // Later there may be more.
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::day::Day;
use super::expired::Expired;
use super::lines::MAX_LINE_BYTES;
use super::record::Record;
use super::settled::Settled;
use super::{FILE_NAME, LEDGER_NAME};
use crate::frame::UnixNanos;

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1024;
/// Manifests of a source that stay open when they have been read, those in which there was more the last: what was
/// stored in one before it was taken away is read even so.
const MAX_HELD: usize = 2;

/// Reads the frames of one source, each once, as they are stored.
///
/// The parts of a source come one behind the other: its own folder, and then its days from the first on; in each part
/// in the order stored. At the end it can be asked again, and gives what has been stored meanwhile, in whichever
/// part. A part that was taken away is read to its end first, if it is one of the two that grew the last, though its
/// files are not at their paths any more; one that came back anew is read from its beginning. Frames that have expired are
/// left out: their lines are there, and their files are not.
#[derive(Debug)]
pub struct Reel {
    folder: PathBuf,
    parts: BTreeMap<Option<Day>, Place>,
    /// What is being read.
    open: Option<Open>,
    /// What was read and stays open, the last one last.
    held: Vec<Held>,
    since: Option<UnixNanos>,
    expired: Expired,
}

/// A stored frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its line.
    pub record: Record,
    /// Its file: the reel's folder, and what is below.
    pub path: PathBuf,
}

/// How far a part was read.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    inode: u64,
    offset: u64,
    /// The end of the file then: up to there, there is no more than the beginning of a line.
    seen: u64,
}

/// A manifest that was read, wherever it is by now.
#[derive(Debug)]
struct Held {
    day: Option<Day>,
    file: File,
    inode: u64,
}

/// A manifest that is being read.
#[derive(Debug)]
struct Open {
    day: Option<Day>,
    file: File,
    inode: u64,
    /// Where `text` begins.
    offset: u64,
    text: Vec<u8>,
    /// Where the next line begins in it.
    next: usize,
}

impl Reel {
    /// The frames of the source in a folder, from the first.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if !fs::metadata(folder)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
        }
        let (parts, held, expired) = (BTreeMap::new(), Vec::new(), Expired::default());
        Ok(Self { folder: folder.to_owned(), parts, open: None, held, since: None, expired })
    }

    /// Leaves out what was stored before a time. Days that are over by then are not read at all.
    #[must_use]
    pub fn since(mut self, time: UnixNanos) -> Self {
        self.since = Some(time);
        self
    }

    /// Goes to the end: what is stored from now on comes next.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        self.open = None;
        for day in self.days()? {
            if let Ok((file, place, length)) = self.open_part(day) {
                // In the middle of a line, the rest of it is none, and is skipped.
                self.parts.insert(day, Place { offset: length, seen: length, ..place });
                self.hold(Held { day, file, inode: place.inode });
            }
        }
        Ok(())
    }

    /// The next frame; `None` where there is none yet. A line of a name that a later one replaces comes as well.
    /// Lines that cannot be read are skipped.
    ///
    /// # Errors
    /// From reading; it goes on where it was.
    pub fn next_frame(&mut self) -> io::Result<Option<Stored>> {
        loop {
            let Some(open) = &mut self.open else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(line) = open.line()? else {
                let (day, inode) = (open.day, open.inode);
                let (offset, seen) = (open.offset + open.next as u64, open.end());
                self.parts.insert(day, Place { inode, offset, seen });
                if let Some(Open { file, .. }) = self.open.take() {
                    self.hold(Held { day, file, inode });
                }
                continue;
            };
            let Ok(record) = Record::parse(line) else { continue };
            if self.since.is_some_and(|since| record.stored < since)
                || self.expired.has(open.day, &record)
            {
                continue;
            }
            let mut path = self.folder.clone();
            path.extend(open.day.map(|day| day.to_string()));
            path.push(&*record.path());
            return Ok(Some(Stored { record, path }));
        }
    }

    /// The last frame that was stored, by the order of lines in the last part; `None` where there is none.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn last(&self) -> io::Result<Option<Stored>> {
        let mut expired = self.expired.clone();
        follow(&mut expired, &self.folder);
        let is_there = |day, record: &Record| !expired.has(day, record);
        for day in self.days()?.into_iter().rev() {
            let Ok((file, _, length)) = self.open_part(day) else { continue };
            let begin = length.saturating_sub(4 * MAX_LINE_BYTES as u64);
            let mut text = vec![0; (length - begin) as usize];
            file.read_exact_at(&mut text, begin)?;
            let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            let mut lines = text[..end].rsplit(|byte| *byte == b'\n');
            let parsed = |line| Record::parse(line).ok().filter(|record| is_there(day, record));
            if let Some(record) = lines.find_map(parsed) {
                let mut path = self.folder.clone();
                path.extend(day.map(|day| day.to_string()));
                path.push(&*record.path());
                return Ok(Some(Stored { record, path }));
            }
        }
        Ok(None)
    }

    /// The parts of the source in order: itself, and its days.
    fn days(&self) -> io::Result<Vec<Option<Day>>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            if name == FILE_NAME {
                days.push(None);
            } else if let Some(day) = name.to_str().and_then(|name| name.parse().ok()) {
                days.push(Some(day));
            }
        }
        days.sort_unstable();
        Ok(days)
    }

    /// How many manifests stay open that have been read.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Closes them: what is stored in them from now on is not read if they are taken away before the next look.
    pub(super) fn let_go(&mut self) {
        self.held.clear();
    }

    fn hold(&mut self, held: Held) {
        self.held.retain(|other| other.day != held.day);
        if self.held.len() >= MAX_HELD {
            self.held.remove(0);
        }
        self.held.push(held);
    }

    /// Opens one that is not at its path any more and in which there is more.
    fn open_taken_away(&mut self) -> io::Result<bool> {
        let is_there = |held: &Held| {
            self.open_part(held.day).is_ok_and(|(_, found, _)| found.inode == held.inode)
        };
        let there = self.held.iter().map(is_there).collect::<Vec<_>>();
        for at in (0..there.len()).rev().filter(|at| !there[*at]) {
            let Held { day, file, inode } = self.held.remove(at);
            let Some(place) = self.parts.get(&day).filter(|place| place.inode == inode) else {
                continue;
            };
            if place.seen < file.metadata()?.len() {
                let offset = place.offset;
                let mut open = Open { day, file, inode, offset, text: Vec::new(), next: 0 };
                if open.fill()? {
                    self.open = Some(open);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Opens the first part in which there is more.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.open_taken_away()? {
            return Ok(true);
        }
        follow(&mut self.expired, &self.folder);
        for day in self.days()? {
            let Ok((file, found, length)) = self.open_part(day) else { continue };
            let place = match self.parts.entry(day) {
                Entry::Occupied(mut known) => {
                    let Place { inode, offset, .. } = *known.get();
                    if inode != found.inode {
                        known.insert(found);
                    } else if offset > length {
                        // Lines that could not be written were taken back. Those before them were told of.
                        let end = last_line_end(&file, length)?;
                        known.insert(Place { inode, offset: end, seen: end });
                    }
                    *known.get()
                }
                Entry::Vacant(new) => {
                    // Of a day that has expired there is nothing before it has.
                    let gone =
                        day.map(|day| UnixNanos(self.expired.until(day).0.saturating_add(1)));
                    let since = self.since.max(gone.filter(|gone| gone.0 > 1));
                    let begin = since.map_or(0, |since| begin_of(&self.folder, day, &file, since));
                    *new.insert(Place { offset: begin, seen: begin, ..found })
                }
            };
            if place.seen < length {
                let Place { inode, offset, .. } = place;
                let mut open = Open { day, file, inode, offset, text: Vec::new(), next: 0 };
                if open.fill()? {
                    self.open = Some(open);
                    return Ok(true);
                }
            } else if self.held.len() < MAX_HELD && !self.held.iter().any(|held| held.day == day) {
                self.held.push(Held { day, file, inode: place.inode });
            }
        }
        Ok(false)
    }

    /// A part's manifest, which one it is, and its length.
    fn open_part(&self, day: Option<Day>) -> io::Result<(File, Place, u64)> {
        let mut path = self.folder.clone();
        path.extend(day.map(|day| day.to_string()));
        let file = open_record(&path.join(FILE_NAME))?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok((file, Place { inode: found.ino(), offset: 0, seen: 0 }, found.len()))
    }
}

/// Opens a record for reading, following no link and waiting for no pipe.
fn open_record(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Takes in what the ledger of a source says that has expired. Of one that cannot be read nothing has.
fn follow(expired: &mut Expired, folder: &Path) {
    let ledger = open_record(&folder.join(LEDGER_NAME));
    let _ = expired.follow(ledger.as_ref().ok());
}

/// Where to begin reading for what was stored since a time: behind all that the index knows, where that is older.
fn begin_of(folder: &Path, day: Option<Day>, file: &File, since: UnixNanos) -> u64 {
    let mut path = folder.to_owned();
    path.extend(day.map(|day| day.to_string()));
    let Ok(folder) = File::open(path) else { return 0 };
    match Settled::load_summary(&folder, file) {
        Ok(Some((covered, summary))) if summary.last_stored() < since => covered,
        _ => 0,
    }
}

impl Open {
    /// Up to where it was read.
    fn end(&self) -> u64 {
        self.offset + self.text.len() as u64
    }

    /// The next line, without its line feed; `None` where no whole one is there.
    fn line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let rest = &self.text[self.next..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let begin = self.next;
                self.next += length + 1;
                return Ok(Some(&self.text[begin..begin + length]));
            }
            if rest.len() > MAX_LINE_BYTES {
                // No line is so long: what follows its line feed may be one.
                self.next = self.text.len();
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> io::Result<bool> {
        self.text.drain(..self.next);
        self.offset += self.next as u64;
        self.next = 0;
        let had = self.text.len();
        self.text.resize(had + READ_BYTES, 0);
        let read = self.file.read_at(&mut self.text[had..], self.offset + had as u64);
        self.text.truncate(had + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

/// Where the last line ends before a place.
fn last_line_end(file: &File, before: u64) -> io::Result<u64> {
    let from = before.saturating_sub(READ_BYTES as u64);
    let mut text = vec![0; usize::try_from(before - from).unwrap_or(0)];
    let read = file.read_at(&mut text, from)?;
    Ok(text[..read].iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::entry::Entry;
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn frames_that_have_expired_are_left_out() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        append(&folder.join("2026-11-29"), "1.jpg", 1);
        append(&folder.join("2026-11-30"), "2.jpg", 2);
        append(folder, "0.jpg", 0);
        let mut reel = Reel::open(folder).unwrap();
        assert_eq!(names(&mut reel).len(), 3);
        let stored = sample(0, "0.jpg").stored;
        let mut ledger = Vec::new();
        for day in ["2026-11-30".parse().unwrap(), sample(0, "0.jpg").day()] {
            Entry::DayExpired { day, at: stored, frames: 1, bytes: 3 }.write_line(&mut ledger);
        }
        fs::write(folder.join(LEDGER_NAME), ledger).unwrap();
        assert_eq!(reel.last().unwrap().unwrap().record.sequence.0, 1);
        assert_eq!(names(&mut Reel::open(folder).unwrap()), ["2026-11-29/1.jpg"]);
        // What comes to that day afterwards is there.
        let mut late = Vec::new();
        let record = Record { stored: UnixNanos(stored.0 + 1), ..sample(3, "late.jpg") };
        record.write_line(&mut late);
        let path = folder.join("2026-11-30").join(FILE_NAME);
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(&late).unwrap();
        let all = ["2026-11-29/1.jpg", "2026-11-30/late.jpg"];
        assert_eq!(names(&mut Reel::open(folder).unwrap()), all);
        assert_eq!(names(&mut reel), ["2026-11-30/late.jpg"]);
    }

    fn append(folder: &Path, name: &str, sequence: u64) {
        fs::create_dir_all(folder).unwrap();
        let mut line = Vec::new();
        sample(sequence, name).write_line(&mut line);
        let path = folder.join(FILE_NAME);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(&line).unwrap();
    }

    fn names(reel: &mut Reel) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(stored) = reel.next_frame().unwrap() {
            names.push(stored.path.strip_prefix(&reel.folder).unwrap().display().to_string());
        }
        names
    }

    #[test]
    fn lines_that_are_taken_back_make_nothing_come_twice() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        (0..3).for_each(|sequence| append(folder, &format!("{sequence}.jpg"), sequence));
        let whole = fs::metadata(folder.join(FILE_NAME)).unwrap().len();
        append(folder, "not durable.jpg", 3);
        let mut reel = Reel::open(folder).unwrap();
        assert_eq!(names(&mut reel).len(), 4);
        let manifest = fs::OpenOptions::new().write(true).open(folder.join(FILE_NAME)).unwrap();
        manifest.set_len(whole).unwrap();
        assert!(names(&mut reel).is_empty());
        append(folder, "3.jpg", 3);
        assert_eq!(names(&mut reel), ["3.jpg"]);
        manifest.set_len(0).unwrap();
        assert!(names(&mut reel).is_empty());
        append(folder, "again.jpg", 0);
        assert_eq!(names(&mut reel), ["again.jpg"]);
    }

    #[test]
    fn each_frame_comes_once_from_whichever_part() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        append(&folder.join("2026-11-30"), "3.jpg", 3);
        append(&folder.join("2026-11-29"), "1.jpg", 1);
        append(folder, "0.jpg", 0);
        append(&folder.join("2026-11-29"), "2.jpg", 2);
        append(&folder.join("not a day"), "x.jpg", 2);
        let mut reel = Reel::open(folder).unwrap();
        assert_eq!(reel.last().unwrap().unwrap().record.sequence.0, 3);
        let all = ["0.jpg", "2026-11-29/1.jpg", "2026-11-29/2.jpg", "2026-11-30/3.jpg"];
        assert_eq!(names(&mut reel), all);
        assert!(names(&mut reel).is_empty());
        append(&folder.join("2026-11-29"), "late.jpg", 4);
        append(&folder.join("2026-12-01"), "new.jpg", 5);
        assert_eq!(names(&mut reel), ["2026-11-29/late.jpg", "2026-12-01/new.jpg"]);
        // A day that was taken away, and one that came in its place.
        fs::rename(folder.join("2026-11-29"), folder.join("away")).unwrap();
        append(&folder.join("2026-11-29"), "again.jpg", 6);
        assert_eq!(names(&mut reel), ["2026-11-29/again.jpg"]);
        let mut end = Reel::open(folder).unwrap();
        end.skip_to_end().unwrap();
        assert!(names(&mut end).is_empty());
        append(folder, "last.jpg", 7);
        assert_eq!(names(&mut end), ["last.jpg"]);
    }

    #[test]
    fn what_was_stored_before_a_folder_was_taken_away_comes_still() {
        let place = tempfile::tempdir().unwrap();
        let (source, away) = (place.path().join("cam"), |name: &str| place.path().join(name));
        let day = source.join("2026-11-29");
        append(&source, "before.jpg", 0);
        let mut reel = Reel::open(&source).unwrap();
        reel.skip_to_end().unwrap();
        append(&source, "0.jpg", 1);
        fs::rename(&source, away("flight1")).unwrap();
        append(&source, "1.jpg", 2);
        append(&day, "2.jpg", 3);
        assert_eq!(names(&mut reel), ["0.jpg", "1.jpg", "2026-11-29/2.jpg"]);
        // A day, and all of it, twice; with the beginning of a line that nobody wrote to its end.
        append(&day, "3.jpg", 4);
        fs::rename(&day, away("day")).unwrap();
        append(&day, "4.jpg", 5);
        append(&source, "5.jpg", 6);
        assert_eq!(names(&mut reel), ["2026-11-29/3.jpg", "5.jpg", "2026-11-29/4.jpg"]);
        append(&source, "6.jpg", 7);
        append(&day, "7.jpg", 8);
        let mut torn = fs::OpenOptions::new().append(true).open(day.join(FILE_NAME)).unwrap();
        torn.write_all(b"{").unwrap();
        fs::rename(&source, away("flight2")).unwrap();
        let mut left = [reel.next_frame().unwrap(), reel.next_frame().unwrap()]
            .map(|stored| stored.unwrap().record.sequence.0);
        left.sort_unstable();
        assert_eq!(left, [7, 8]);
        let gone = reel.next_frame().unwrap_err();
        assert_eq!((gone.kind(), reel.held()), (io::ErrorKind::NotFound, 0));
    }

    #[test]
    fn a_line_that_is_being_written_comes_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(FILE_NAME);
        let mut line = Vec::new();
        sample(0, "0.jpg").write_line(&mut line);
        let mut text = vec![b'x'; 3 * READ_BYTES];
        text.push(b'\n');
        text.extend(&line[..20]);
        fs::write(&path, &text).unwrap();
        let mut reel = Reel::open(place.path()).unwrap();
        assert!(names(&mut reel).is_empty());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&line[20..]).unwrap();
        assert_eq!(names(&mut reel), ["0.jpg"]);
    }

    #[test]
    fn what_was_stored_before_is_left_out() {
        let place = tempfile::tempdir().unwrap();
        append(place.path(), "0.jpg", 0);
        let stored = sample(0, "0.jpg").stored;
        let since = |at| Reel::open(place.path()).unwrap().since(UnixNanos(at));
        assert_eq!(names(&mut since(stored.0)), ["0.jpg"]);
        assert!(names(&mut since(stored.0 + 1)).is_empty());
    }
}
