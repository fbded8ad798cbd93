//! Frames that are stored together: checked, written, named, and then given their lines.

use std::collections::HashSet;
use std::sync::{Arc, RwLockWriteGuard};

use rustix::io::Errno;

use super::account::stored_before;
use super::contract::{Outcome, ReceivedFrame};
use super::directory::{Directory, Kind, Look};
use super::error::{FrameError, StoreError, Taken};
use super::footing::{CAN_SYNC_TOGETHER, Footing};
use super::layout::{Part, Spot};
use super::options::StoreOptions;
use super::root::Root;
use super::standing::{Names, Standing};
use super::volumes::Found;
use super::within::{make_within, within};
use crate::frame::{ContentHash, FrameName, SourceName, UnixNanos};
use crate::manifest::{Entry, Record};

/// Frames between two manifest appends, and in durable mode between two waits for the medium.
/// More gains nothing measurable and delays the receipts.
const RUN_FRAMES: usize = 256;

/// Names that are tried for a temporary file. Only somebody who means it takes them all.
const PART_ATTEMPTS: usize = 10_000;

/// Stores frames on one footing.
pub(super) struct Batch<'a> {
    root: &'a Root,
    names: Names<'a>,
    options: StoreOptions,
    /// The part of the source that frames are stored in just now, and its folder.
    part: Part,
    top: Option<Arc<Directory>>,
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
    /// Under its own name, waiting for its line.
    Placed {
        record: Box<Record>,
        named: Named,
        earlier: Option<Box<Record>>,
    },
}

/// How a frame's file got its name.
enum Named {
    /// Nothing was there before, so that it may be taken back.
    New,
    /// The file that was there is the frame's.
    Adopted,
    /// In the place of another file, which is under this temporary name until the frame has its line: without that, the
    /// frame that was there is the one that was confirmed. `None` where the file system can keep none.
    Over(Option<String>),
}

/// A frame to be stored with others of its part of the source.
struct Work<'a> {
    /// Its place in the batch.
    at: usize,
    received: &'a ReceivedFrame,
    spot: Spot,
    /// Its line, where it has one.
    found: Option<Found>,
}

impl<'a> Batch<'a> {
    pub(super) fn on(
        root: &'a Root,
        footing: &'a mut Footing,
        source: &'a SourceName,
        options: StoreOptions,
    ) -> Self {
        Self { root, names: Names { footing, source }, options, part: Part::Whole, top: None }
    }

    /// Stores the frames and says what became of each, in their order.
    pub(super) fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = frames.iter().map(|_| None).collect();
        let mut rest: Vec<usize> = (0..frames.len()).collect();
        while !rest.is_empty() {
            let (some, later) = self.together(frames, &rest, &mut outcomes);
            let places: Vec<usize> = some.iter().map(|work| work.at).collect();
            for (at, outcome) in places.into_iter().zip(self.store_some(some)) {
                outcomes[at] = Some(outcome);
            }
            rest = later;
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Frames from the front that can be stored together: of one part of the source, each name once, so that the
    /// second frame of a name meets the first one stored. And those that are left.
    fn together<'f>(
        &mut self,
        frames: &'f [ReceivedFrame],
        rest: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> (Vec<Work<'f>>, Vec<usize>) {
        let (mut some, mut later): (Vec<Work<'f>>, _) = (Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for &at in rest {
            let received = &frames[at];
            if some.len() >= RUN_FRAMES || !names.insert(&received.frame.meta.name) {
                later.push(at);
                continue;
            }
            match self.names.spot(received, self.options.layout) {
                Ok((spot, found)) => match some.first() {
                    Some(first) if first.spot.part != spot.part => later.push(at),
                    _ => some.push(Work { at, received, spot, found }),
                },
                Err(error) => outcomes[at] = Some(Outcome::Failed(error)),
            }
        }
        (some, later)
    }

    /// Stores at most [`RUN_FRAMES`] frames of different names and of one part of the source.
    fn store_some(&mut self, some: Vec<Work<'_>>) -> Vec<Outcome> {
        let Some(first) = some.first() else { return Vec::new() };
        self.part = first.spot.part;
        let (frames, (spots, found)): (Vec<_>, (Vec<_>, Vec<_>)) =
            some.into_iter().map(|work| (work.received, (work.spot, work.found))).unzip();
        match self.open_part() {
            Ok(top) => self.top = Some(top),
            Err(error) => {
                let failed = |received: &&ReceivedFrame| {
                    let frame = self.names.frame(&received.frame.meta.name);
                    Outcome::Failed(FrameError::from_source(frame, &error))
                };
                return frames.iter().map(failed).collect();
            }
        }
        // One file is synced by itself; for more, one wait for the file system replaces many.
        let sync_each = self.options.durable && (frames.len() == 1 || !CAN_SYNC_TOGETHER);
        let mut before = Vec::new();
        let mut steps: Vec<Step> = frames
            .iter()
            .zip(found)
            .map(|(frame, found)| settle(self.write(frame, found, sync_each, &mut before)))
            .collect();
        if self.options.durable && !sync_each {
            self.sync_written(&frames, &mut steps);
        }
        for ((frame, spot), step) in frames.iter().zip(spots).zip(&mut steps) {
            if let Step::Written { part, hash, earlier } = step {
                let earlier = earlier.take();
                *step = settle(self.place(frame, spot.hour, part, *hash, earlier));
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
        self.record(&frames, steps)
    }

    /// The folder of the part of the source that the frames go to, made where it is missing.
    fn open_part(&mut self) -> Result<Arc<Directory>, StoreError> {
        let Footing { volumes, folder, .. } = &mut *self.names.footing;
        let volume = volumes.volume(folder, self.part, true)?;
        let gone = || StoreError::Io {
            doing: "open",
            path: self.part.to_string().into(),
            cause: Errno::NOENT,
        };
        volume.map(|volume| volume.folder.clone()).ok_or_else(gone)
    }

    /// The folder that the frames' files, and folders with them, are in.
    fn top(&self) -> &Directory {
        self.top.as_deref().unwrap_or(&self.names.footing.folder)
    }

    /// Checks a frame and writes it under a temporary name, unless it need not or must not be.
    fn write(
        &mut self,
        received: &ReceivedFrame,
        found: Option<Found>,
        sync: bool,
        before: &mut Vec<Entry>,
    ) -> Result<Step, FrameError> {
        let name = &received.frame.meta.name;
        if !self.names.footing.account.permits(&received.from) {
            let why = self.names.footing.not_owner(&received.from);
            return Err(FrameError::from_source(self.names.frame(name), &why));
        }
        let hash = received.checked_hash(self.names.source)?;
        let (run, sequence) = (received.from.run, received.frame.meta.sequence);
        let is_own_line = found
            .as_ref()
            .is_some_and(|Found { record, .. }| (record.run, record.sequence) == (run, sequence));
        let mut earlier = None;
        match self.names.standing_of(name, found)? {
            Standing::Stored(record) if record.blake3 == hash => {
                let (run, sequence) = (received.from.run, received.frame.meta.sequence.0);
                before.extend(stored_before(run, &record, sequence));
                return Ok(Step::Settled(Outcome::AlreadyStored));
            }
            Standing::Expired(record) if record.blake3 == hash => {
                let (run, sequence) = (received.from.run, received.frame.meta.sequence.0);
                before.extend(stored_before(run, &record, sequence));
                return Ok(Step::Settled(Outcome::AlreadyStored));
            }
            Standing::Stored(_) if !received.replace => {
                return Err(self.names.conflict(name, Taken::Stored));
            }
            Standing::Stored(record) => earlier = Some(record),
            Standing::Expired(_) | Standing::Altered | Standing::Open => {}
        }
        if !is_own_line && self.names.footing.has_brought(run, sequence) {
            self.names.footing.tell_of_two(self.names.source, sequence);
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
    fn sync_written(&self, frames: &[&ReceivedFrame], steps: &mut [Step]) {
        let Err(cause) = self.names.footing.sync_together() else { return };
        for (frame, step) in frames.iter().zip(steps) {
            if let Step::Written { part, .. } = step {
                let _ = self.names.footing.folder.remove(part);
                let error = self.names.system(&frame.frame.meta.name, "sync its file", cause);
                *step = Step::Settled(Outcome::Failed(error));
            }
        }
    }

    /// Gives a written frame its name. Its temporary file is gone afterwards in every case; what it replaces has one.
    fn place(
        &mut self,
        received: &ReceivedFrame,
        hour: Option<u8>,
        part: &str,
        hash: ContentHash,
        earlier: Option<Box<Record>>,
    ) -> Result<Step, FrameError> {
        let named = self.rename(received, hour, part, hash);
        if matches!(named, Ok(Named::Adopted) | Err(_)) {
            let _ = self.names.footing.folder.remove(part);
        }
        let named = named?;
        let stored = (self.options.clock)();
        let mut record = Record::new(&received.frame.meta, hash, received.received, stored);
        if let Some(gone) = self.names.footing.account.expired.of(self.part.day(&record)) {
            // A clock that was set back does not make it one of those that have expired.
            record.stored = record.stored.max(UnixNanos(gone.until.0.saturating_add(1)));
        }
        record.run = received.from.run;
        record.sender = received.from.pin.as_deref().map(str::to_owned);
        record.hour = hour;
        Ok(Step::Placed { record: Box::new(record), named, earlier })
    }

    fn rename(
        &mut self,
        received: &ReceivedFrame,
        hour: Option<u8>,
        part: &str,
        hash: ContentHash,
    ) -> Result<Named, FrameError> {
        let name = &received.frame.meta.name;
        let folder = make_within(self.top(), hour, name, self.options.durable);
        let folder = folder.map_err(|(folder, cause)| self.no_folder(name, &folder, cause))?;
        let renamed = self.names.footing.folder.rename_new(part, &folder, name.file_name());
        drop(folder);
        match renamed {
            Ok(()) => {
                self.sync_folder(hour, name)?;
                Ok(Named::New)
            }
            Err(Errno::EXIST) => {
                let named = self.place_over(received, hour, part, hash)?;
                let synced = self.sync_folder(hour, name);
                if let (Named::Over(Some(old)), Err(_)) = (&named, &synced) {
                    self.put_back(old, hour, name);
                }
                synced.map(|()| named)
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

    /// The names in the manifest's own folder are synced once for all frames; in folders below it, for each.
    fn sync_folder(&self, hour: Option<u8>, name: &FrameName) -> Result<(), FrameError> {
        if !self.options.durable || hour.is_none() && name.folder().is_none() {
            return Ok(());
        }
        let failed = |cause| self.names.system(name, "sync its folder", cause);
        match within(self.top(), hour, name) {
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
        hour: Option<u8>,
        part: &str,
        hash: ContentHash,
    ) -> Result<Named, FrameError> {
        let name = &received.frame.meta.name;
        let folder = self.open_again(hour, name)?;
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
        if let Some(other) = self.names.frame_at(name, Spot { part: self.part, hour })? {
            return Err(FrameError::Occupied { frame: self.names.frame(name), other });
        }
        if let Some(other) = self.names.owner_of_file(name, self.part, &folder, file.id)? {
            return Err(FrameError::Folded { frame: self.names.frame(name), other });
        }
        if length == received.frame.meta.bytes
            && self.names.has_content(name, &folder, &file, hash)?
        {
            return self.sync_adopted(hour, name).map(|()| Named::Adopted);
        }
        let expired = self.over_expired(name, &folder, &file)?;
        if length > 0 && !received.replace && expired.is_none() {
            let taken = self.names.taken(name)?;
            return Err(self.names.conflict(name, taken));
        }
        let replaced = self.replace(part, &folder, name.file_name());
        replaced.map_err(|cause| self.names.system(name, "replace its file", cause))
    }

    /// Where the file of a name is that of a frame that has expired, it is on its way out: the name need not wait until it is
    /// reached. It stays as it is until what is given here is let go.
    fn over_expired(
        &mut self,
        name: &FrameName,
        folder: &Directory,
        file: &Look,
    ) -> Result<Option<RwLockWriteGuard<'a, ()>>, FrameError> {
        if !self.names.is_expired(name, folder, file)? {
            return Ok(None);
        }
        let still = self.root.replace_expired();
        match folder.look(name.file_name()) {
            Ok(Some(now)) if now == *file => Ok(Some(still)),
            // It went just now; the frame is stored when it is sent again.
            Ok(_) => Err(self.names.system(name, "name its file", Errno::EXIST)),
            Err(cause) => Err(self.names.system(name, "look at its file", cause)),
        }
    }

    /// Puts a written file in the place of another, which is kept under a temporary name.
    fn replace(&mut self, part: &str, folder: &Directory, name: &str) -> Result<Named, Errno> {
        let own = &self.names.footing.folder;
        if own.exchange(part, folder, name).is_ok() {
            return Ok(Named::Over(Some(part.to_owned())));
        }
        let old = self.names.footing.part_name();
        let own = &self.names.footing.folder;
        let is_kept = folder.link(name, own, &old).is_ok();
        own.rename_over(part, folder, name).inspect_err(|_| {
            if is_kept {
                let _ = own.remove(&old);
            }
        })?;
        Ok(Named::Over(is_kept.then_some(old)))
    }

    /// Puts the file back that a frame has replaced which has no line.
    fn put_back(&self, old: &str, hour: Option<u8>, name: &FrameName) {
        let put_back = |folder: Directory| {
            self.names.footing.folder.rename_over(old, &folder, name.file_name())?;
            if self.options.durable { folder.sync_names() } else { Ok(()) }
        };
        let folder = self.open_again(hour, name).ok();
        if let Some(Err(cause)) = folder.map(put_back) {
            let frame = self.names.frame(name);
            tracing::warn!("frame {frame} was to be replaced, and cannot be put back: {cause}");
        }
    }

    /// The frame's folder, which is there. A handle of its own.
    fn open_again(&self, hour: Option<u8>, name: &FrameName) -> Result<Directory, FrameError> {
        let failed = |cause| self.names.system(name, "open its folder", cause);
        match within(self.top(), hour, name) {
            Ok(Some(folder)) => folder.again().map_err(failed),
            Ok(None) => Err(failed(Errno::NOENT)),
            Err((_, cause)) => Err(failed(cause)),
        }
    }

    /// A file that was there already is on the medium before it counts, in durable mode.
    fn sync_adopted(&self, hour: Option<u8>, name: &FrameName) -> Result<(), FrameError> {
        if !self.options.durable {
            return Ok(());
        }
        let failed = |cause| self.names.system(name, "sync the file of its name", cause);
        let file = self.open_again(hour, name)?.open_file(name.file_name()).map_err(failed)?;
        file.sync_all().map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    /// Appends the lines of the placed frames; takes their files back if that fails, and puts those back that they replaced.
    fn record(&mut self, frames: &[&ReceivedFrame], steps: Vec<Step>) -> Vec<Outcome> {
        let placed = |step: &Step| match step {
            Step::Placed { record, .. } => Some(Record::clone(record)),
            _ => None,
        };
        let records: Vec<Record> = steps.iter().filter_map(placed).collect();
        let appended = if records.is_empty() { Ok(()) } else { self.append(&records) };
        let settle = |(received, step): (&&ReceivedFrame, Step)| match (step, &appended) {
            (Step::Settled(outcome), _) => outcome,
            (Step::Placed { record, named, earlier }, Ok(())) => {
                if let Named::Over(Some(old)) = named {
                    let _ = self.names.footing.folder.remove(&old);
                }
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
                match &step {
                    Step::Placed { named: Named::New, record, .. } => {
                        if let Ok(folder) = self.open_again(record.hour, name) {
                            let _ = folder.remove(name.file_name());
                        }
                    }
                    Step::Placed { named: Named::Over(Some(old)), record, .. } => {
                        self.put_back(old, record.hour, name);
                    }
                    _ => {}
                }
                Outcome::Failed(self.names.system(name, doing, *cause))
            }
        };
        frames.iter().zip(steps).map(settle).collect()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), (&'static str, Errno)> {
        if self.options.durable {
            // The names before the lines: a line must never be the only thing that survives.
            self.top().sync_names().map_err(|cause| ("sync its folder", cause))?;
        }
        let doing = "append its line to the manifest";
        let Footing { volumes, folder, .. } = &mut *self.names.footing;
        let volume = volumes.volume(folder, self.part, false);
        let volume = volume.map_err(|error| (doing, error.cause().unwrap_or(Errno::IO)))?;
        let volume = volume.ok_or((doing, Errno::NOENT))?;
        volume.manifest.append(records, self.options.durable).map_err(|error| (doing, error.cause))
    }
}

fn settle(step: Result<Step, FrameError>) -> Step {
    step.unwrap_or_else(|error| Step::Settled(Outcome::Failed(error)))
}
