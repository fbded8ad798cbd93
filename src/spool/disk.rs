//! The folder of a spool: opening it, and writing to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SpoolError;
use super::counts::{Counts, SLOTS};
use super::entry::Entry;
use super::frame_file;
use super::journal::Journal;
use super::journal_file::{JournalFile, Told, is_no_room};
use super::lock::Lock;
use super::past::{Past, Pasts};
use crate::frame::{RunId, UnixNanos, printable};
use crate::manifest::Ranges;
use crate::source::Content;

const FRAMES: &str = "frames";

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
    journal: Mutex<JournalFile>,
    /// What a journal that is written anew begins with.
    opened: Entry,
    lock: Mutex<Option<Lock>>,
}

impl Disk {
    /// Opens the spool in a folder, and finds what is in it.
    pub(super) fn open(folder: &Path, receiver: &str) -> Result<(Self, Found), SpoolError> {
        let lock = Lock::take(folder)?;
        let fault = |doing| move |error: io::Error| SpoolError::system(folder, doing, &error);
        let counts = Counts::open(folder).map_err(fault("open counts in it"))?;
        let frames = folder.join(FRAMES);
        fs::create_dir_all(&frames).map_err(fault("make frames in it"))?;
        let mut told = Told::read(folder).map_err(fault("read its journal"))?;
        let mut pasts = std::mem::take(&mut told.pasts);
        let known: Vec<RunId> = pasts.runs.keys().copied().collect();
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
        if is_for_another || told.is_damaged {
            move_on(&frames, &mut pasts, &mut found.left, told.is_damaged)
                .map_err(fault("take up what is in it"))?;
        }
        take_in_strays(&frames, files, &mut pasts, &mut found.left)
            .map_err(fault("take up frames of which its journal says nothing"))?;
        let opened = Entry::Opened { boot, receiver: receiver.to_owned() };
        let mut changes = changes(&opened, &known, &pasts);
        for (&run, left) in &found.left {
            let mut kept = Ranges::with_limit(usize::MAX);
            for &place in left.files.keys() {
                kept.insert(place, place);
            }
            let Some(past) = pasts.runs.get(&run) else { continue };
            for lost in past.lost(left.frames, &kept) {
                let entry = Entry::dropped(run, &lost);
                pasts.learn(&entry);
                changes.push(entry);
            }
        }
        // The disk may be full of the frames that are here, which make room as they are sent.
        let journal = match JournalFile::write_anew(folder, &opened, &pasts.entries()) {
            Err(error) if is_no_room(&error) => JournalFile::go_on(folder, &told, &changes),
            anew => anew.map(|anew| (anew, true)),
        };
        let (journal, is_written) = journal.map_err(fault("write its journal"))?;
        found.journal = Journal::of(pasts);
        if !is_written {
            found.journal.put_back(changes);
        }
        let (folder, journal) = (folder.to_owned(), Mutex::new(journal));
        let lock = Mutex::new(Some(lock));
        Ok((Self { folder, counts, journal, opened, lock }, found))
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
        if !folder.join(SOURCE_NAME).exists() {
            name_source(&folder, source)?;
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
        self.journal().append(entries)
    }

    /// Whether the journal has grown so long that it should be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.journal().is_long()
    }

    /// Writes it anew. `entries` are all that is known. Where that fails, it goes on as it is.
    pub(super) fn write_anew(&self, entries: &[Entry]) -> io::Result<()> {
        let mut journal = self.journal();
        let anew = JournalFile::write_anew(&self.folder, &self.opened, entries);
        *journal = anew.inspect_err(|_| journal.stay_long())?;
        Ok(())
    }

    /// Waits until the journal and the counts are on the medium.
    pub(super) fn sync_journal(&self) -> io::Result<()> {
        self.counts.sync()?;
        self.journal().sync()
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

    fn journal(&self) -> MutexGuard<'_, JournalFile> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a journal that knew these runs has to be told, so that it knows what is known now, but for what is lost.
fn changes(opened: &Entry, known: &[RunId], pasts: &Pasts) -> Vec<Entry> {
    let gone = known.iter().filter(|run| !pasts.runs.contains_key(run));
    let gone = gone.map(|&run| Entry::Ended { run });
    let new = pasts.runs.keys().filter(|run| !known.contains(run));
    std::iter::once(opened.clone())
        .chain(gone)
        .chain(new.flat_map(|&run| pasts.entries_of(run)))
        .collect()
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
    // Nothing here needs room on a disk that may have none; and what is cut short is a run that no journal knows.
    let folder = frame_file::folder_of(frames, new);
    fs::rename(frame_file::folder_of(frames, run), &folder)?;
    if !fs::read_to_string(folder.join(SOURCE_NAME)).is_ok_and(|said| said == source) {
        name_source(&folder, &source)?;
    }
    let mut moved = Left { files: BTreeMap::new(), frames: files.len() as u64 };
    for (place, (&before, &file)) in (0..).zip(files) {
        // In order, so that none is in the place of another.
        fs::rename(
            folder.join(frame_file::file_name(before)),
            folder.join(frame_file::file_name(place)),
        )?;
        moved.files.insert(place, file);
    }
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
fn name_source(folder: &Path, source: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name = folder.join(SOURCE_NAME);
    // Half a name is none, and would not be written again.
    fs::write(&name, source).inspect_err(|_| drop(fs::remove_file(&name)))
}

/// Where the system does not tell.
const UNKNOWN: &str = "unknown";

/// Which start of the machine this is: what the last one wrote and did not sync may be gone.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| UNKNOWN.to_owned(), |id| id.trim().to_owned())
}
