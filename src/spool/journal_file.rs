//! The journal's file: read, written anew, and gone on with where there is no room to write it anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use super::entry::Entry;
use super::lines;
use super::past::Pasts;

const JOURNAL: &str = "journal";
const JOURNAL_PART: &str = "journal.part";

/// The longest line that is read: a frame's name is in none of them.
const MAX_LINE: usize = 16 << 10;

/// A journal of so many bytes is written anew with what counts still.
const LONG_JOURNAL: u64 = 4 << 20;

/// Bytes behind the last line that the disk keeps for the next ones, where it can: the frames of the spool may take all
/// the others, and what becomes of them has to be written all the same.
const AHEAD: u64 = 16 << 10;

/// What a journal says.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) pasts: Pasts,
    /// A line is damaged that is not the last: that one may be torn, as by a power cut, and what it would have said is
    /// found out otherwise.
    pub(super) is_damaged: bool,
    /// Where the last whole line ends.
    end: u64,
    /// The same without a word of an orderly end behind all others.
    open_end: u64,
}

impl Told {
    /// Reads the journal in a folder; it says nothing where there is none.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut told = Self::default();
        let file = match File::open(folder.join(JOURNAL)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(told),
            opened => opened?,
        };
        let (mut reader, mut line, mut at) = (BufReader::new(file), Vec::new(), 0);
        let mut is_torn = false;
        loop {
            line.clear();
            // Without a limit a damaged file could be one line.
            let mut limited = io::Read::take(&mut reader, MAX_LINE as u64);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Ok(told);
            }
            told.is_damaged |= is_torn;
            at += line.len() as u64;
            let Some(entry) = line.strip_suffix(b"\n").and_then(lines::read::<Entry>) else {
                is_torn = true;
                continue;
            };
            told.pasts.learn(&entry);
            told.end = at;
            if entry != (Entry::Closed {}) {
                told.open_end = at;
            }
        }
    }
}

/// The file, and where its last whole line ends.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    end: u64,
    /// From so many bytes on it should be written anew.
    long: u64,
    /// Up to where the disk has room for it.
    kept: u64,
}

impl JournalFile {
    /// Writes a journal that says this and no more, and puts it into the place of the one before.
    pub(super) fn write_anew(folder: &Path, opened: &Entry, entries: &[Entry]) -> io::Result<Self> {
        let mut text = Vec::new();
        lines::write(opened, &mut text);
        entries.iter().for_each(|entry| lines::write(entry, &mut text));
        let part = folder.join(JOURNAL_PART);
        let written = write_part(&part, &text).and_then(|file| {
            fs::rename(&part, folder.join(JOURNAL))?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        });
        if written.is_err() {
            // What of it is there has room that others need.
            let _ = fs::remove_file(&part);
        }
        Ok(Self::of(written?, text.len() as u64))
    }

    /// Goes on with the journal that is there, where the disk has no room for another, and says what has changed since;
    /// true where it could be written. Where it could not, the file says at least that the spool was not closed.
    ///
    /// One that is damaged is begun anew in its place.
    pub(super) fn go_on(folder: &Path, told: &Told, changes: &[Entry]) -> io::Result<(Self, bool)> {
        let path = folder.join(JOURNAL);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if told.is_damaged {
            file.set_len(0)?;
        }
        let (end, open_end) = if told.is_damaged { (0, 0) } else { (told.end, told.open_end) };
        let mut this = Self { file, end, long: LONG_JOURNAL.max(end.saturating_mul(2)), kept: 0 };
        let written = this.append(changes).and_then(|()| {
            // What was torn may have been longer.
            this.cut_to(this.end)?;
            this.file.sync_data()
        });
        match written {
            Ok(()) => Ok((this, true)),
            Err(error) if is_no_room(&error) => {
                this.cut_to(open_end)?;
                // What cannot be synced now is cut off all the same for whoever comes after a crash of this process.
                let _ = this.file.sync_data();
                this.end = open_end;
                Ok((this, false))
            }
            Err(error) => Err(error),
        }
    }

    fn of(file: File, end: u64) -> Self {
        let mut this = Self { file, end, long: LONG_JOURNAL.max(end.saturating_mul(2)), kept: end };
        this.keep_room();
        this
    }

    /// Appends, all or nothing, as far as the system can.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut text = Vec::new();
        entries.iter().for_each(|entry| lines::write(entry, &mut text));
        if let Err(error) = self.file.write_all_at(&text, self.end) {
            let _ = self.cut_to(self.end);
            return Err(error);
        }
        self.end += text.len() as u64;
        self.keep_room();
        Ok(())
    }

    /// Whether it has grown so long that it should be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.end > self.long
    }

    /// It could not be written anew: that is tried again when it is twice as long.
    pub(super) fn stay_long(&mut self) {
        self.long = self.end.saturating_mul(2);
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Ends the file there, and keeps the room behind it where nothing is to be cut off.
    fn cut_to(&mut self, end: u64) -> io::Result<()> {
        if self.file.metadata()?.len() == end {
            return Ok(());
        }
        self.kept = end;
        self.file.set_len(end)
    }

    /// Has the disk keep room for the next lines, where less than half of it is left and the system knows how.
    #[cfg(target_os = "linux")]
    fn keep_room(&mut self) {
        if self.end + AHEAD / 2 <= self.kept {
            return;
        }
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, self.end, AHEAD) {
            Ok(()) => self.kept = self.end + AHEAD,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.kept = u64::MAX,
            // A disk that is full may have room later.
            Err(_) => {}
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn keep_room(&mut self) {
        self.kept = self.end + AHEAD;
    }
}

fn write_part(part: &Path, text: &[u8]) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(part)?;
    file.write_all_at(text, 0)?;
    file.sync_data()?;
    Ok(file)
}

/// Whether the system has no room: of bytes, of files, or of what this user may have.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| errno == Errno::NOSPC || errno == Errno::DQUOT)
}
