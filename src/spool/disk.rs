//! The folder of a spool: opening it, and writing to it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SpoolError;
use super::counts::{Counts, SLOTS};
use super::entry::Entry;
use super::frame_file;
use super::journal::Journal;
use super::lines;
use super::lock::Lock;
use super::past::{Past, Pasts};
use crate::frame::{RunId, UnixNanos, printable};
use crate::manifest::Ranges;
use crate::source::Content;

const FRAMES: &str = "frames";
const JOURNAL: &str = "journal";
const JOURNAL_PART: &str = "journal.part";

/// The longest line that is read: a frame's name is in none of them.
const MAX_LINE: usize = 16 << 10;

/// A journal of so many bytes is written anew with what counts still.
const LONG_JOURNAL: u64 = 4 << 20;

/// A frame on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub(super) bytes: u64,
    pub(super) came: UnixNanos,
}

/// What a run has on disk, and how many frames it had.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) files: BTreeMap<u64, OnDisk>,
    pub(super) frames: u64,
}

/// What was found in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) journal: Journal,
    pub(super) left: BTreeMap<RunId, Left>,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    pub(super) counts: Counts,
    journal: Mutex<Written>,
    boot: String,
    receiver: String,
    lock: Mutex<Option<Lock>>,
}

/// The journal's file, and where its last whole line ends.
#[derive(Debug)]
struct Written {
    file: File,
    end: u64,
}

impl Disk {
    /// Opens the spool in a folder, and finds what is in it.
    pub(super) fn open(folder: &Path, receiver: &str) -> Result<(Self, Found), SpoolError> {
        let lock = Lock::take(folder)?;
        let fault = |doing| move |error: io::Error| SpoolError::system(folder, doing, &error);
        let counts = Counts::open(folder).map_err(fault("open counts in it"))?;
        let frames = folder.join(FRAMES);
        fs::create_dir_all(&frames).map_err(fault("make frames in it"))?;
        let (mut pasts, is_damaged) = read_journal(folder).map_err(fault("read its journal"))?;
        let mut files = list(&frames).map_err(fault("list its frames"))?;
        let boot = boot_id();
        // Where the machine was not started anew, what was written was written.
        let is_certain = pasts.is_closed || pasts.boot.as_deref() == Some(&boot) && boot != UNKNOWN;
        let frames_of = |run: RunId, past: &Past, files: &BTreeMap<u64, OnDisk>| {
            let counted = counts.read(past.slot, run);
            let least = files.last_key_value().map_or(0, |(last, _)| last + 1);
            let counted = match counted {
                Some(counted) if is_certain => counted,
                counted => counted.unwrap_or(0).max(past.reserved),
            };
            counted.max(least).max(past.known_frames())
        };
        let mut left = BTreeMap::new();
        for (&run, past) in &pasts.runs {
            let files = files.remove(&run).unwrap_or_default();
            let frames = frames_of(run, past, &files);
            left.insert(run, Left { files, frames });
        }
        let mut found = Found { journal: Journal::default(), left };
        let is_for_another = pasts.receiver.as_deref().is_some_and(|before| before != receiver);
        if is_for_another || is_damaged {
            move_on(&frames, &mut pasts, &mut found.left, is_damaged)
                .map_err(fault("take up what is in it"))?;
        }
        take_in_strays(&frames, files, &mut pasts, &mut found.left)
            .map_err(fault("take up frames of which its journal says nothing"))?;
        for (&run, left) in &found.left {
            let mut kept = Ranges::with_limit(usize::MAX);
            for &place in left.files.keys() {
                kept.insert(place, place);
            }
            let Some(past) = pasts.runs.get(&run) else { continue };
            for lost in past.lost(left.frames, &kept) {
                pasts.learn(&Entry::dropped(run, &lost));
            }
        }
        let file =
            write_anew(folder, &pasts, &boot, receiver).map_err(fault("write its journal"))?;
        found.journal = Journal::of(pasts);
        let (folder, receiver) = (folder.to_owned(), receiver.to_owned());
        let journal = Mutex::new(file);
        let lock = Mutex::new(Some(lock));
        Ok((Self { folder, counts, journal, boot, receiver, lock }, found))
    }

    /// Leaves the folder to others: nothing more is written.
    pub(super) fn leave(&self) {
        self.counts.retire();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn frames(&self) -> PathBuf {
        self.folder.join(FRAMES)
    }

    /// Where a frame is.
    pub(super) fn path(&self, run: RunId, place: u64) -> PathBuf {
        frame_file::folder_of(&self.frames(), run).join(frame_file::file_name(place))
    }

    /// Writes a frame of a source; the length of its file.
    pub(super) fn write_frame(
        &self,
        (run, source): (RunId, &str),
        place: u64,
        content: &Content,
        came: UnixNanos,
    ) -> io::Result<u64> {
        let folder = frame_file::folder_of(&self.frames(), run);
        if !folder.is_dir() {
            name_source(&self.frames(), run, source)?;
        }
        frame_file::write(&folder, place, content, came)
    }

    /// Removes a frame, as far as it is there.
    pub(super) fn remove(&self, run: RunId, place: u64) {
        // One that stays is sent again by the next process, and found to be stored.
        let _ = fs::remove_file(self.path(run, place));
    }

    /// Removes the folder of a run, where it is empty.
    pub(super) fn remove_run(&self, run: RunId) {
        remove_folder(&frame_file::folder_of(&self.frames(), run));
    }

    /// Appends to the journal, all or nothing, as far as the system can.
    pub(super) fn append(&self, entries: &[Entry]) -> io::Result<()> {
        let mut written = self.written();
        let mut text = Vec::new();
        entries.iter().for_each(|entry| lines::write(entry, &mut text));
        if let Err(error) = written.file.write_all_at(&text, written.end) {
            let _ = written.file.set_len(written.end);
            return Err(error);
        }
        written.end += text.len() as u64;
        Ok(())
    }

    /// Whether the journal has grown so long that it should be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.written().end > LONG_JOURNAL
    }

    /// Writes it anew. Everything that is known has to be in `pasts`.
    pub(super) fn write_anew(&self, pasts: &Pasts) -> io::Result<()> {
        let mut written = self.written();
        *written = write_anew(&self.folder, pasts, &self.boot, &self.receiver)?;
        Ok(())
    }

    /// Waits until the journal and the counts are on the medium.
    pub(super) fn sync_journal(&self) -> io::Result<()> {
        self.counts.sync()?;
        self.written().file.sync_data()
    }

    /// Waits until everything is, frames too.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.sync_journal()?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(File::open(&self.folder)?)?;
        #[cfg(not(target_os = "linux"))]
        for run in fs::read_dir(self.frames())?.flatten() {
            for frame in fs::read_dir(run.path())?.flatten() {
                File::open(frame.path())?.sync_all()?;
            }
            File::open(run.path())?.sync_all()?;
        }
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the journal says, and whether a line of it is damaged that is not the last: that one may be torn, as by a power
/// cut, and what it would have said is found out otherwise.
fn read_journal(folder: &Path) -> io::Result<(Pasts, bool)> {
    let mut pasts = Pasts::default();
    let file = match File::open(folder.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((pasts, false)),
        opened => opened?,
    };
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    let (mut is_torn, mut is_damaged) = (false, false);
    loop {
        line.clear();
        // Without a limit a damaged file could be one line.
        let mut limited = io::Read::take(&mut reader, MAX_LINE as u64);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok((pasts, is_damaged));
        }
        is_damaged |= is_torn;
        match line.strip_suffix(b"\n").and_then(lines::read::<Entry>) {
            Some(entry) => pasts.learn(&entry),
            None => is_torn = true,
        }
    }
}

/// Writes a journal that says this and no more, and puts it into the place of the one before.
fn write_anew(folder: &Path, pasts: &Pasts, boot: &str, receiver: &str) -> io::Result<Written> {
    let mut text = Vec::new();
    let opened = Entry::Opened { boot: boot.to_owned(), receiver: receiver.to_owned() };
    lines::write(&opened, &mut text);
    pasts.entries().iter().for_each(|entry| lines::write(entry, &mut text));
    let part = folder.join(JOURNAL_PART);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&part)?;
    file.write_all_at(&text, 0)?;
    file.sync_data()?;
    fs::rename(&part, folder.join(JOURNAL))?;
    File::open(folder)?.sync_all()?;
    Ok(Written { file, end: text.len() as u64 })
}

/// The frames of each run. What a killed process had half written is removed.
fn list(frames: &Path) -> io::Result<BTreeMap<RunId, BTreeMap<u64, OnDisk>>> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(frames)? {
        let folder = folder?;
        let run = folder.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
        let Some(run) = run else { continue };
        let mut files = BTreeMap::new();
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == frame_file::PART {
                let _ = fs::remove_file(file.path());
            }
            let Some(place) = frame_file::place_of(name).filter(|&place| place < 1 << 60) else {
                continue;
            };
            let metadata = file.metadata()?;
            let came = metadata.modified().map_or_else(|_| UnixNanos::now(), UnixNanos::from);
            files.insert(place, OnDisk { bytes: metadata.len(), came });
        }
        if files.is_empty() {
            remove_folder(&folder.path());
        } else {
            found.insert(run, files);
        }
    }
    Ok(found)
}

/// Makes runs that cannot go on into runs of their own, of the frames that are left. One of which no receiver has heard
/// goes on with any; where the journal `is_damaged`, nobody knows that of a run.
fn move_on(
    frames: &Path,
    pasts: &mut Pasts,
    left: &mut BTreeMap<RunId, Left>,
    is_damaged: bool,
) -> io::Result<()> {
    let before = pasts.receiver.clone();
    let before = before.map_or_else(|| "its receiver".to_owned(), |name| printable(&name).into());
    let why = if is_damaged { "its journal is damaged" } else { "it was for another receiver" };
    for (run, past) in std::mem::take(&mut pasts.runs) {
        if past.origin.is_none() && !is_damaged {
            pasts.runs.insert(run, past);
            continue;
        }
        let Left { files, .. } = left.remove(&run).unwrap_or_default();
        tracing::warn!(
            "the spool: {why}: {} frames of source {} that are in it are sent in a run of their own, and the run at \
             {before} stays without an end",
            files.len(),
            past.source
        );
        if !files.is_empty() {
            renumber(frames, run, &files, past.source, pasts, left)?;
        }
    }
    Ok(())
}

/// Frames of runs that the journal does not know, because it is damaged: they make runs of their own.
fn take_in_strays(
    frames: &Path,
    strays: BTreeMap<RunId, BTreeMap<u64, OnDisk>>,
    pasts: &mut Pasts,
    left: &mut BTreeMap<RunId, Left>,
) -> io::Result<()> {
    for (run, files) in strays {
        let source = fs::read_to_string(frame_file::folder_of(frames, run).join(SOURCE_NAME));
        let Ok(source) = source else {
            tracing::warn!(
                "the spool: {} frames of run {run} are of a source that nobody knows; they stay in {}",
                files.len(),
                printable(&frame_file::folder_of(frames, run).to_string_lossy())
            );
            continue;
        };
        tracing::warn!(
            "the spool: its journal says nothing of {} frames of source {source}; they are sent in a run of their own",
            files.len()
        );
        renumber(frames, run, &files, source, pasts, left)?;
    }
    Ok(())
}

/// The file in a run's folder that names its source.
const SOURCE_NAME: &str = "source";

/// Gives frames to a run of their own, counted from 0.
fn renumber(
    frames: &Path,
    run: RunId,
    files: &BTreeMap<u64, OnDisk>,
    source: String,
    pasts: &mut Pasts,
    left: &mut BTreeMap<RunId, Left>,
) -> io::Result<()> {
    let Some(slot) = pasts.free_slot(SLOTS) else { return Ok(()) };
    let new = RunId(rand::random());
    let folder = frame_file::folder_of(frames, new);
    name_source(frames, new, &source)?;
    let mut moved = Left { files: BTreeMap::new(), frames: files.len() as u64 };
    for (place, (&before, &file)) in (0..).zip(files) {
        let from = frame_file::folder_of(frames, run).join(frame_file::file_name(before));
        fs::rename(from, folder.join(frame_file::file_name(place)))?;
        moved.files.insert(place, file);
    }
    remove_folder(&frame_file::folder_of(frames, run));
    let began_unix_ns = moved.files.values().map(|file| file.came.0).min().unwrap_or(0);
    pasts.learn(&Entry::Began { run: new, source, slot, began_unix_ns });
    left.insert(new, moved);
    Ok(())
}

/// Removes a run's folder, where no frame is in it.
fn remove_folder(folder: &Path) {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    if listed.into_iter().all(|entry| entry.file_name() == SOURCE_NAME) {
        let _ = fs::remove_file(folder.join(SOURCE_NAME));
        let _ = fs::remove_dir(folder);
    }
}

/// Notes in a run's folder of which source it is.
fn name_source(frames: &Path, run: RunId, source: &str) -> io::Result<()> {
    let folder = frame_file::folder_of(frames, run);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(SOURCE_NAME), source)
}

/// Where the system does not tell.
const UNKNOWN: &str = "unknown";

/// Which start of the machine this is: what the last one wrote and did not sync may be gone.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| UNKNOWN.to_owned(), |id| id.trim().to_owned())
}
