//! Frames that are stored together: checked, written, named, and then given their lines.

use std::collections::HashSet;

use rustix::io::Errno;

use super::account::stored_before;
use super::contract::{Outcome, ReceivedFrame};
use super::directory::{Directory, Kind, Look};
use super::error::{FrameError, Taken};
use super::footing::{CAN_SYNC_TOGETHER, Footing};
use super::options::StoreOptions;
use super::standing::{Names, Standing};
use super::within::{make_within, within};
use crate::frame::{ContentHash, FrameName, SourceName};
use crate::manifest::{Entry, Record};

/// Frames between two manifest appends, and in durable mode between two waits for the medium.
/// More gains nothing measurable and delays the receipts.
const RUN_FRAMES: usize = 256;

/// Names that are tried for a temporary file. Only somebody who means it takes them all.
const PART_ATTEMPTS: usize = 10_000;

/// Stores frames on one footing.
pub(super) struct Batch<'a> {
    names: Names<'a>,
    options: StoreOptions,
}

/// A frame on its way through.
enum Step {
    Settled(Outcome),
    /// Written under a temporary name.
    Written {
        part: String,
        hash: ContentHash,
        /// The line that it replaces.
        earlier: Option<Box<Record>>,
    },
    /// Under its own name, waiting for its line. `made` if this batch made the file there and nothing
    /// was there before, so that it may be taken back.
    Placed {
        record: Box<Record>,
        made: bool,
        earlier: Option<Box<Record>>,
    },
}

impl<'a> Batch<'a> {
    pub(super) fn on(
        footing: &'a mut Footing,
        source: &'a SourceName,
        options: StoreOptions,
    ) -> Self {
        Self { names: Names { footing, source }, options }
    }

    /// Stores the frames and says what became of each, in their order.
    pub(super) fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(frames.len());
        let mut rest = frames;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(without_repeats(rest));
            outcomes.extend(self.store_some(some));
            rest = later;
        }
        outcomes
    }

    /// Stores at most [`RUN_FRAMES`] frames of different names.
    fn store_some(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        // One file is synced by itself; for more, one wait for the file system replaces many.
        let sync_each = self.options.durable && (frames.len() == 1 || !CAN_SYNC_TOGETHER);
        let mut before = Vec::new();
        let mut steps: Vec<Step> =
            frames.iter().map(|frame| settle(self.write(frame, sync_each, &mut before))).collect();
        if self.options.durable && !sync_each {
            self.sync_written(frames, &mut steps);
        }
        for (frame, step) in frames.iter().zip(&mut steps) {
            if let Step::Written { part, hash, earlier } = step {
                let earlier = earlier.take();
                *step = settle(self.place(frame, part, *hash, earlier));
            }
        }
        // Frames of this run that were stored before count for it as well.
        if let Err(error) = self.names.footing.note(&before) {
            for (frame, step) in frames.iter().zip(&mut steps) {
                if matches!(step, Step::Settled(Outcome::AlreadyStored)) {
                    let name = &frame.frame.meta.name;
                    let failed = self.names.system(name, "write the ledger", error.cause);
                    *step = Step::Settled(Outcome::Failed(failed));
                }
            }
        }
        self.record(frames, steps)
    }

    /// Checks a frame and writes it under a temporary name, unless it need not or must not be.
    fn write(
        &mut self,
        received: &ReceivedFrame,
        sync: bool,
        before: &mut Vec<Entry>,
    ) -> Result<Step, FrameError> {
        let name = &received.frame.meta.name;
        if !self.names.footing.account.permits(&received.from) {
            let why = self.names.footing.not_owner();
            return Err(FrameError::from_source(self.names.frame(name), &why));
        }
        let hash = received.checked_hash(self.names.source)?;
        let mut earlier = None;
        match self.names.standing(name)? {
            Standing::Stored(record) if record.blake3 == hash => {
                let (run, sequence) = (received.from.run, received.frame.meta.sequence.0);
                before.extend(stored_before(run, &record, sequence));
                return Ok(Step::Settled(Outcome::AlreadyStored));
            }
            Standing::Stored(_) if !received.replace => {
                return Err(self.names.conflict(name, Taken::Stored));
            }
            Standing::Stored(record) => earlier = Some(record),
            Standing::Altered | Standing::Open => {}
        }
        let part = self.write_part(received, sync)?;
        Ok(Step::Written { part, hash, earlier })
    }

    fn write_part(&mut self, received: &ReceivedFrame, sync: bool) -> Result<String, FrameError> {
        let (meta, body) = (&received.frame.meta, &received.frame.body);
        for _ in 0..PART_ATTEMPTS {
            let part = self.names.footing.part_name();
            match self.names.footing.folder.write_new(&part, body, meta.modified, sync) {
                Ok(()) => return Ok(part),
                // Placed here by somebody else since the folder was opened; never replaced.
                Err(Errno::EXIST) => {}
                Err(cause) => return Err(self.names.system(&meta.name, "write its file", cause)),
            }
        }
        Err(self.names.system(&meta.name, "write its file", Errno::EXIST))
    }

    /// Waits for all temporary files at once. None is given its name if that fails, because
    /// nothing says which of them it was.
    fn sync_written(&self, frames: &[ReceivedFrame], steps: &mut [Step]) {
        let Err(cause) = self.names.footing.sync_together() else { return };
        for (frame, step) in frames.iter().zip(steps) {
            if let Step::Written { part, .. } = step {
                let _ = self.names.footing.folder.remove(part);
                let error = self.names.system(&frame.frame.meta.name, "sync its file", cause);
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
        earlier: Option<Box<Record>>,
    ) -> Result<Step, FrameError> {
        let renamed = self.rename(received, part, hash);
        if !matches!(renamed, Ok(true)) {
            // It may have been renamed over the other file; otherwise it is of no more use.
            let _ = self.names.footing.folder.remove(part);
        }
        let made = renamed?;
        let stored = (self.options.clock)();
        let mut record = Record::new(&received.frame.meta, hash, received.received, stored);
        record.run = received.from.run;
        record.sender = received.from.pin.as_deref().map(str::to_owned);
        Ok(Step::Placed { record: Box::new(record), made, earlier })
    }

    /// Whether the name is a new file's.
    fn rename(
        &mut self,
        received: &ReceivedFrame,
        part: &str,
        hash: ContentHash,
    ) -> Result<bool, FrameError> {
        let name = &received.frame.meta.name;
        let top = &self.names.footing.folder;
        let folder = make_within(top, name, self.options.durable);
        let folder = folder.map_err(|(folder, cause)| self.no_folder(name, &folder, cause))?;
        let renamed = top.rename_new(part, &folder, name.file_name());
        drop(folder);
        match renamed {
            Ok(()) => {
                self.sync_folder(name)?;
                Ok(true)
            }
            Err(Errno::EXIST) => {
                self.place_over(received, part, hash)?;
                self.sync_folder(name)?;
                Ok(false)
            }
            Err(cause) => Err(self.names.system(name, "name its file", cause)),
        }
    }

    fn no_folder(&self, name: &FrameName, folder: &str, cause: Errno) -> FrameError {
        match cause {
            Errno::NOTDIR => FrameError::NotAFolder {
                frame: self.names.frame(name),
                folder: format!("{}/{folder}", self.names.source),
            },
            cause => self.names.system(name, "make its folder", cause),
        }
    }

    /// The names in the source's own folder are synced once for all frames; in folders below it, for each.
    fn sync_folder(&self, name: &FrameName) -> Result<(), FrameError> {
        if !self.options.durable || name.folder().is_none() {
            return Ok(());
        }
        let failed = |cause| self.names.system(name, "sync its folder", cause);
        match within(&self.names.footing.folder, name) {
            Ok(Some(folder)) => folder.sync_names().map_err(failed),
            Ok(None) => Err(failed(Errno::NOENT)),
            Err((_, cause)) => Err(failed(cause)),
        }
    }

    /// Decides about a file that has the frame's name already: adopts it where the content is the
    /// same, replaces it where that is wanted or nothing is lost.
    fn place_over(
        &mut self,
        received: &ReceivedFrame,
        part: &str,
        hash: ContentHash,
    ) -> Result<(), FrameError> {
        let name = &received.frame.meta.name;
        let folder = self.open_again(name)?;
        let found = folder.look(name.file_name());
        let found = found.map_err(|cause| self.names.system(name, "look at its file", cause))?;
        let Some(file) = found else {
            return Err(self.names.system(name, "name its file", Errno::EXIST));
        };
        let Kind::File(length) = file.kind else {
            return Err(FrameError::NotAFile { frame: self.names.frame(name) });
        };
        let is_part = |found: Option<Look>| found.is_some_and(|f| f.id == file.id);
        if self.names.footing.folder.look(part).is_ok_and(is_part) {
            let other = format!("{part}, which is the store's own");
            return Err(FrameError::Folded { frame: self.names.frame(name), other });
        }
        if let Some(other) = self.names.owner_of_file(name, &folder, file.id)? {
            return Err(FrameError::Folded { frame: self.names.frame(name), other });
        }
        if length == received.frame.meta.bytes && self.names.has_content(name, &file, hash)? {
            return self.sync_adopted(name);
        }
        if length > 0 && !received.replace {
            let taken = self.names.taken(name)?;
            return Err(self.names.conflict(name, taken));
        }
        let replaced = self.names.footing.folder.rename_over(part, &folder, name.file_name());
        replaced.map_err(|cause| self.names.system(name, "replace its file", cause))
    }

    /// The frame's folder, which is there. A handle of its own.
    fn open_again(&self, name: &FrameName) -> Result<Directory, FrameError> {
        let failed = |cause| self.names.system(name, "open its folder", cause);
        match within(&self.names.footing.folder, name) {
            Ok(Some(folder)) => folder.again().map_err(failed),
            Ok(None) => Err(failed(Errno::NOENT)),
            Err((_, cause)) => Err(failed(cause)),
        }
    }

    /// A file that was there already is on the medium before it counts, in durable mode.
    fn sync_adopted(&self, name: &FrameName) -> Result<(), FrameError> {
        if !self.options.durable {
            return Ok(());
        }
        let failed = |cause| self.names.system(name, "sync the file of its name", cause);
        let file = self.open_again(name)?.open_file(name.file_name()).map_err(failed)?;
        file.sync_all().map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    /// Appends the lines of the placed frames; takes their files back if that fails.
    fn record(&mut self, frames: &[ReceivedFrame], steps: Vec<Step>) -> Vec<Outcome> {
        let placed = |step: &Step| match step {
            Step::Placed { record, .. } => Some(Record::clone(record)),
            _ => None,
        };
        let records: Vec<Record> = steps.iter().filter_map(placed).collect();
        let appended = if records.is_empty() { Ok(()) } else { self.append(&records) };
        let settle = |(received, step): (&ReceivedFrame, Step)| match (step, &appended) {
            (Step::Settled(outcome), _) => outcome,
            (Step::Placed { record, earlier, .. }, Ok(())) => {
                let account = &mut self.names.footing.account;
                account.brought(&record);
                if let Some(earlier) = earlier {
                    account.has_again(record.run, &earlier);
                }
                Outcome::Stored
            }
            (Step::Written { .. }, Ok(())) => Outcome::Stored,
            (step, Err((doing, cause))) => {
                let name = &received.frame.meta.name;
                if matches!(step, Step::Placed { made: true, .. })
                    && let Ok(folder) = self.open_again(name)
                {
                    let _ = folder.remove(name.file_name());
                }
                Outcome::Failed(self.names.system(name, doing, *cause))
            }
        };
        frames.iter().zip(steps).map(settle).collect()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), (&'static str, Errno)> {
        let footing = &mut *self.names.footing;
        if self.options.durable {
            // The names before the lines: a line must never be the only thing that survives.
            footing.folder.sync_names().map_err(|cause| ("sync its folder", cause))?;
        }
        footing
            .manifest
            .append(records, self.options.durable)
            .map_err(|error| ("append its line to the manifest", error.cause))
    }
}

fn settle(step: Result<Step, FrameError>) -> Step {
    step.unwrap_or_else(|error| Step::Settled(Outcome::Failed(error)))
}

/// How many frames from the front can be stored together: each name once, so that the second frame
/// of a name meets the first one stored.
fn without_repeats(frames: &[ReceivedFrame]) -> usize {
    let mut names = HashSet::new();
    let some = frames.iter().take(RUN_FRAMES);
    some.map(|frame| &frame.frame.meta.name).take_while(|&name| names.insert(name)).count()
}
