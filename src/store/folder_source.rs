//! One source's folder: what is stored in it, and how more is added.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Weak};

use rustix::io::Errno;

use super::belief::StoredInfo;
use super::content::hash_file;
use super::contract::{Held, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame};
use super::directory::{Directory, Kind};
use super::error::{FrameError, StoreError, Taken};
use super::known_content::{KnownContent, Seen, Version};
use super::lock::Locked;
use super::options::StoreOptions;
use crate::frame::{ContentHash, FrameName, RESERVED_PREFIX, Sequence, SourceName, UnixNanos};
use crate::manifest::{FILE_NAME, Manifest, ManifestError, Opened, Record};

/// Frames between two manifest appends, and in durable mode between two waits for the medium.
/// More gains nothing measurable and delays the receipts.
const RUN_FRAMES: usize = 256;
/// By so many ns the time of a file may be early: the kernel takes it from its tick, of 10 ms at most.
/// Where a file system keeps whole seconds, files are read again more often than they had to be.
const TIME_GRAIN: u64 = 20_000_000;
/// A temporary file's name ends in this.
const PART_SUFFIX: &str = ".part";

/// One source of a [`FolderStore`](super::FolderStore), open for storing. All calls block on the file system.
#[derive(Debug)]
pub struct FolderSource {
    source: SourceName,
    directory: Locked,
    manifest: Manifest,
    options: StoreOptions,
    opened: Opened,
    parts: u64,
    known: KnownContent,
    /// The folder, for those who read in it beside this, while there are any.
    readers: Weak<Directory>,
    /// Keeps the store locked.
    _out: Arc<Locked>,
}

/// What the store has under a name.
enum Standing {
    /// A line and a file of its length that is as it was when the line was written.
    Stored(Box<Record>),
    /// A line and a file of another length or content.
    Altered,
    /// No line, or no file.
    Open,
}

/// A frame on its way through one run.
enum Step {
    Settled(Outcome),
    /// Written under a temporary name.
    Written {
        part: String,
        hash: ContentHash,
    },
    /// Under its own name, waiting for its line. `made` if this run made the file there and nothing
    /// was there before, so that it may be taken back.
    Placed {
        record: Record,
        made: bool,
    },
}

impl FolderSource {
    /// Opens the folder's manifest and removes temporary files of a receiver that was killed.
    pub(super) fn open(
        out: Arc<Locked>,
        directory: Locked,
        source: &SourceName,
        path: &Path,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
        remove_parts(&directory).map_err(|cause| failed("remove temporary files from", cause))?;
        let manifest_path = path.join(FILE_NAME);
        let file = directory.open_to_append(FILE_NAME).map_err(|cause| match cause {
            Errno::LOOP | Errno::MLINK | Errno::INVAL | Errno::ISDIR | Errno::NXIO => {
                StoreError::ManifestNotAFile { path: manifest_path.clone() }
            }
            cause => failed("open the manifest in", cause),
        })?;
        if options.durable {
            // What an earlier receiver stored without syncing is confirmed from now on, too.
            directory.sync_names().map_err(|cause| failed("sync", cause))?;
            sync_together(&directory).map_err(|cause| failed("sync", cause))?;
        }
        let (manifest, opened) = Manifest::open(file, &manifest_path)?;
        let source = source.clone();
        let (parts, known, readers) = (0, KnownContent::default(), Weak::new());
        Ok(Self { source, directory, manifest, options, opened, parts, known, readers, _out: out })
    }

    /// What was found, and put right, when the source was opened.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// How many frames have a line in the manifest.
    pub fn frames(&self) -> u64 {
        self.manifest.frames()
    }

    /// The highest sequence in the manifest.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.manifest.last_sequence()
    }

    /// What is stored under `name`; `None` if the frame has to be sent. Fastest in the order in
    /// which the frames were stored.
    ///
    /// # Errors
    /// Where the manifest cannot be read.
    pub fn lookup(&mut self, name: &FrameName) -> Result<Option<StoredInfo>, FrameError> {
        Ok(match self.standing(name)? {
            Standing::Stored(record) => Some(StoredInfo {
                bytes: record.bytes,
                hash: record.blake3,
                modified: record.modified,
                sequence: record.sequence,
                from: Opener::default(),
            }),
            Standing::Altered | Standing::Open => None,
        })
    }

    /// Stores frames and says what became of each, in their order. When this returns, a stored
    /// frame has its file and its line; in durable mode both are on the medium.
    ///
    /// A frame that fails leaves nothing of itself behind and does not keep the others from being
    /// stored, except where the manifest cannot be appended to: then the whole batch fails, and
    /// the files that it made are removed again.
    pub fn store_batch(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(frames.len());
        let mut rest = frames;
        while !rest.is_empty() {
            let (run, later) = rest.split_at(run_length(rest));
            outcomes.extend(self.store_run(run));
            rest = later;
        }
        outcomes
    }

    /// Stores at most [`RUN_FRAMES`] frames of different names.
    fn store_run(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        // One file is synced by itself; for more, one wait for the file system replaces many.
        let sync_each = self.options.durable && (frames.len() == 1 || !CAN_SYNC_TOGETHER);
        let mut steps: Vec<Step> =
            frames.iter().map(|frame| settle(self.write(frame, sync_each))).collect();
        if self.options.durable && !sync_each {
            self.sync_written(frames, &mut steps);
        }
        for (frame, step) in frames.iter().zip(&mut steps) {
            if let Step::Written { part, hash } = step {
                *step = settle(self.place(frame, part, *hash));
            }
        }
        self.record(frames, steps)
    }

    /// Checks a frame and writes it under a temporary name, unless it need not or must not be.
    fn write(&mut self, received: &ReceivedFrame, sync: bool) -> Result<Step, FrameError> {
        let hash = self.checked_hash(received)?;
        let name = &received.frame.meta.name;
        if name.folder().is_some() {
            return Err(FrameError::NotAFile { frame: self.frame(name) });
        }
        match self.standing(name)? {
            Standing::Stored(record) if record.blake3 == hash => {
                return Ok(Step::Settled(Outcome::AlreadyStored));
            }
            Standing::Stored(_) if !received.replace => {
                return Err(self.conflict(name, Taken::Stored));
            }
            Standing::Stored(_) | Standing::Altered | Standing::Open => {}
        }
        let part = self.write_part(name, &received.frame.body, sync)?;
        Ok(Step::Written { part, hash })
    }

    fn checked_hash(&self, received: &ReceivedFrame) -> Result<ContentHash, FrameError> {
        let (meta, body) = (&received.frame.meta, &received.frame.body);
        if meta.bytes != body.len() as u64 {
            return Err(FrameError::LengthMismatch {
                frame: self.frame(&meta.name),
                announced: meta.bytes,
                arrived: body.len() as u64,
            });
        }
        let arrived = blake3::hash(body);
        match meta.hash {
            Some(announced) if announced != arrived => {
                Err(FrameError::HashMismatch { frame: self.frame(&meta.name), announced, arrived })
            }
            _ => Ok(arrived),
        }
    }

    fn write_part(
        &mut self,
        name: &FrameName,
        body: &[u8],
        sync: bool,
    ) -> Result<String, FrameError> {
        loop {
            let part = format!("{RESERVED_PREFIX}-{}{PART_SUFFIX}", self.parts);
            self.parts += 1;
            match self.directory.write_new(&part, body, sync) {
                Ok(()) => return Ok(part),
                // Placed here by somebody else since the folder was opened; never replaced.
                Err(Errno::EXIST) => {}
                Err(cause) => return Err(self.system(name, "write its file", cause)),
            }
        }
    }

    /// Waits for all temporary files at once. None is given its name if that fails, because
    /// nothing says which of them it was.
    fn sync_written(&self, frames: &[ReceivedFrame], steps: &mut [Step]) {
        let Err(cause) = sync_together(&self.directory) else { return };
        for (frame, step) in frames.iter().zip(steps) {
            if let Step::Written { part, .. } = step {
                let _ = self.directory.remove(part);
                let error = self.system(&frame.frame.meta.name, "sync its file", cause);
                *step = Step::Settled(Outcome::Failed(error));
            }
        }
    }

    /// Gives a written frame its name. The temporary file is gone afterwards in every case.
    fn place(
        &mut self,
        received: &ReceivedFrame,
        part: &str,
        hash: ContentHash,
    ) -> Result<Step, FrameError> {
        let name = received.frame.meta.name.as_str();
        let renamed = match self.directory.rename_new(part, name) {
            Err(Errno::EXIST) => self.place_over(received, part, hash),
            Err(cause) => Err(self.system(&received.frame.meta.name, "name its file", cause)),
            Ok(()) => Ok(true),
        };
        if !matches!(renamed, Ok(true)) {
            // It may have been renamed over the other file; otherwise it is of no more use.
            let _ = self.directory.remove(part);
        }
        let made = renamed?;
        let stored = (self.options.clock)();
        let record = Record::new(&received.frame.meta, hash, received.received, stored);
        Ok(Step::Placed { record, made })
    }

    /// Decides about a file that has the frame's name already: adopts it where the content is the
    /// same, replaces it where that is wanted or nothing is lost. Returns that it was not made.
    fn place_over(
        &mut self,
        received: &ReceivedFrame,
        part: &str,
        hash: ContentHash,
    ) -> Result<bool, FrameError> {
        let name = &received.frame.meta.name;
        let kind = self.directory.kind(name.as_str());
        match kind.map_err(|cause| self.system(name, "look at its file", cause))? {
            Some(Kind::File(length)) => {
                if length == received.frame.meta.bytes && self.adopts(name, hash)? {
                    return Ok(false);
                }
                if length > 0 && !received.replace {
                    let taken = self.taken(name)?;
                    return Err(self.conflict(name, taken));
                }
                self.directory
                    .rename_over(part, name.as_str())
                    .map_err(|cause| self.system(name, "replace its file", cause))?;
                Ok(false)
            }
            Some(Kind::Folder | Kind::Other) => {
                Err(FrameError::NotAFile { frame: self.frame(name) })
            }
            None => Err(self.system(name, "name its file", Errno::EXIST)),
        }
    }

    /// Appends the lines of the placed frames; takes their files back if that fails.
    fn record(&mut self, frames: &[ReceivedFrame], steps: Vec<Step>) -> Vec<Outcome> {
        let records: Vec<Record> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Placed { record, .. } => Some(record.clone()),
                _ => None,
            })
            .collect();
        let appended = if records.is_empty() { Ok(()) } else { self.append(&records) };
        let settle = |(received, step): (&ReceivedFrame, Step)| match (step, &appended) {
            (Step::Settled(outcome), _) => outcome,
            (_, Ok(())) => Outcome::Stored,
            (step, Err((doing, cause))) => {
                let name = &received.frame.meta.name;
                if matches!(step, Step::Placed { made: true, .. }) {
                    let _ = self.directory.remove(name.as_str());
                }
                Outcome::Failed(self.system(name, doing, *cause))
            }
        };
        frames.iter().zip(steps).map(settle).collect()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), (&'static str, Errno)> {
        if self.options.durable {
            // The names before the lines: a line must never be the only thing that survives.
            self.directory.sync_names().map_err(|cause| ("sync its folder", cause))?;
        }
        self.manifest
            .append(records, self.options.durable)
            .map_err(|error| ("append its line to the manifest", error.cause))
    }

    fn standing(&mut self, name: &FrameName) -> Result<Standing, FrameError> {
        // Nothing is looked up through folders, which could be links.
        if name.folder().is_some() {
            return Ok(Standing::Open);
        }
        let record = match self.manifest.find(name) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Standing::Open),
            Err(ManifestError { cause, .. }) => {
                return Err(self.system(name, "read the manifest", cause));
            }
        };
        let found = self.directory.look(name.as_str());
        Ok(match found.map_err(|cause| self.system(name, "look at its file", cause))? {
            Some((Kind::File(length), changed)) if length == record.bytes => {
                // Most files are the line's by their time, and need not be read.
                match wrote(&record, changed) || self.has_content(name, record.blake3)? {
                    true => Standing::Stored(Box::new(record)),
                    false => Standing::Altered,
                }
            }
            Some(_) => Standing::Altered,
            None => Standing::Open,
        })
    }

    fn taken(&mut self, name: &FrameName) -> Result<Taken, FrameError> {
        Ok(match self.standing(name)? {
            Standing::Stored(_) => Taken::Stored,
            Standing::Altered => Taken::Altered,
            Standing::Open => Taken::Unlisted,
        })
    }

    /// Whether the file of that name has this content. One that was read before is not read again.
    fn has_content(&mut self, name: &FrameName, wanted: ContentHash) -> Result<bool, FrameError> {
        let failed = |cause| self.system(name, "read the file of its name", cause);
        let file = self.directory.open_file(name.as_str()).map_err(failed)?;
        let by_system = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let version = Version::of(&file).map_err(|error| failed(by_system(error)))?;
        if let Some(hash) = self.known.of(name, &version) {
            return Ok(hash == wanted);
        }
        let (hash, _) =
            hash_file(&file, &mut Vec::new()).map_err(|error| failed(by_system(error)))?;
        if Version::of(&file).is_ok_and(|after| after == version) {
            self.known.note(name.clone(), version, hash);
        }
        Ok(hash == wanted)
    }

    /// What has to be read to tell whether the frame on offer is stored, if anything has.
    fn unread_content(&mut self, offered: &Offered<'_>) -> Option<Reading> {
        let record = self.manifest.find(offered.name).ok()??;
        let (Kind::File(length), changed) = self.directory.look(offered.name.as_str()).ok()??
        else {
            return None;
        };
        if length != record.bytes || length != offered.bytes || wrote(&record, changed) {
            return None;
        }
        let file = self.directory.open_file(offered.name.as_str()).ok()?;
        let version = Version::of(&file).ok()?;
        if self.known.of(offered.name, &version).is_some() {
            return None;
        }
        let (folder, name) = (self.folder_for_readers()?, offered.name.clone());
        Some(Reading::new(move || Seen { content: read_content(&folder, &name), name }))
    }

    fn folder_for_readers(&mut self) -> Option<Arc<Directory>> {
        if let Some(folder) = self.readers.upgrade() {
            return Some(folder);
        }
        let folder = Arc::new(self.directory.again().ok()?);
        self.readers = Arc::downgrade(&folder);
        Some(folder)
    }

    /// The same; in durable mode it is synced then.
    fn adopts(&self, name: &FrameName, wanted: ContentHash) -> Result<bool, FrameError> {
        let failed = |cause| self.system(name, "read the file of its name", cause);
        let file = self.directory.open_file(name.as_str()).map_err(failed)?;
        let adopted = hash_file(&file, &mut Vec::new()).and_then(|(hash, _)| {
            let is_same = hash == wanted;
            if is_same && self.options.durable {
                file.sync_all()?;
            }
            Ok(is_same)
        });
        adopted.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    fn conflict(&self, name: &FrameName, taken: Taken) -> FrameError {
        FrameError::Conflict { frame: self.frame(name), taken }
    }

    fn system(&self, name: &FrameName, doing: &'static str, cause: Errno) -> FrameError {
        FrameError::from_system(self.frame(name), doing, cause)
    }

    fn frame(&self, name: &FrameName) -> String {
        format!("{}/{name}", self.source)
    }
}

/// The content of a file, where that is the same before and after it was read.
fn read_content(folder: &Directory, name: &FrameName) -> Option<(Version, ContentHash)> {
    let file = folder.open_file(name.as_str()).ok()?;
    let version = Version::of(&file).ok()?;
    let (hash, _) = hash_file(&file, &mut Vec::new()).ok()?;
    (Version::of(&file).ok()? == version).then_some((version, hash))
}

impl OpenSource for FolderSource {
    fn unread(&mut self, offered: &[Offered<'_>]) -> Vec<Reading> {
        offered.iter().filter_map(|offered| self.unread_content(offered)).collect()
    }

    fn has_read(&mut self, reading: Reading) {
        if let Some(Seen { name, content: Some((version, hash)) }) = reading.found() {
            self.known.note(name, version, hash);
        }
    }

    fn look_up(
        &mut self,
        asker: &Opener,
        offered: &[Offered<'_>],
        listening: &dyn Fn() -> bool,
    ) -> Vec<Held> {
        let mut held = Vec::with_capacity(offered.len());
        for offered in offered {
            if !listening() {
                break;
            }
            held.push(match self.lookup(offered.name) {
                Ok(Some(stored)) => stored.compare(asker, offered),
                Ok(None) => Held::Nothing,
                Err(error) => {
                    tracing::warn!("cannot look up a frame on offer: {error}");
                    Held::Nothing
                }
            });
        }
        held
    }

    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        self.store_batch(frames)
    }

    fn last_sequence(&mut self) -> Option<Sequence> {
        self.manifest.last_sequence()
    }
}

/// Whether a file that was last changed at `changed` was written when its line says: after the frame's last
/// byte had come, and before the line. One changed later was replaced by a receiver that was killed
/// before it wrote the new line, or altered; one changed earlier was there before, and then either its
/// content was the frame's, or a power cut has left the line of the file that was to replace it.
fn wrote(record: &Record, changed: UnixNanos) -> bool {
    changed.0.saturating_add(TIME_GRAIN) >= record.received.0 && changed <= record.stored
}

fn settle(step: Result<Step, FrameError>) -> Step {
    step.unwrap_or_else(|error| Step::Settled(Outcome::Failed(error)))
}

/// How many frames from the front can be stored together: each name once, so that the second frame
/// of a name meets the first one stored.
fn run_length(frames: &[ReceivedFrame]) -> usize {
    let mut names = HashSet::new();
    let run = frames.iter().take(RUN_FRAMES);
    run.map(|frame| &frame.frame.meta.name).take_while(|&name| names.insert(name)).count()
}

/// Removes the temporary files of a receiver that was killed. The prefix is the store's own: no
/// frame can have it, and users are told so.
fn remove_parts(directory: &Directory) -> Result<(), Errno> {
    let mut parts = Vec::new();
    directory.for_each_name(|name| {
        if let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_part(name)) {
            parts.push(name.to_owned());
        }
        Ok::<_, Errno>(())
    })?;
    parts.iter().try_for_each(|part| match directory.kind(part)? {
        Some(Kind::Folder) => Ok(()),
        _ => directory.remove(part),
    })
}

fn is_part(name: &str) -> bool {
    name.strip_prefix(RESERVED_PREFIX)
        .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(PART_SUFFIX))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether one call can wait for many files.
const CAN_SYNC_TOGETHER: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync_together(directory: &Directory) -> Result<(), Errno> {
    directory.sync_file_system()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_together(_directory: &Directory) -> Result<(), Errno> {
    Ok(())
}
