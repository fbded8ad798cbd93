//! What the store has under a frame's name.

use rustix::io::Errno;

use super::content::hash_file;
use super::contract::{Reading, ReceivedFrame};
use super::directory::{Directory, FileId, Kind, Look};
use super::error::{FrameError, StoreError, Taken};
use super::footing::{Footing, folds};
use super::layout::{Layout, Part, Spot};
use super::remembered::Seen;
use super::volumes::Found;
use super::within::within;
use crate::frame::{ContentHash, FrameName, SourceName, UnixNanos};
use crate::manifest::{Day, Record, Text};

/// By so many ns the time of a file may be early: the kernel takes it from its tick, of 10 ms at most.
/// Where a file system keeps whole seconds, files are read again more often than they had to be.
const TIME_GRAIN: u64 = 20_000_000;

/// What the store has under a name.
pub(super) enum Standing {
    /// A line and a file of its length that is as it was when the line was written.
    Stored(Box<Record>),
    /// A line and a file of another length or content.
    Altered,
    /// A line of a frame that has expired.
    Expired(Box<Record>),
    /// No line, or no file.
    Open,
}

/// What one source has under names.
pub(super) struct Names<'a> {
    pub(super) footing: &'a mut Footing,
    pub(super) source: &'a SourceName,
}

impl Names<'_> {
    /// The line of a name, and where it is.
    pub(super) fn find(&mut self, name: &FrameName) -> Result<Option<Found>, FrameError> {
        let Footing { volumes, folder, account, .. } = &mut *self.footing;
        let is_gone = |part, record: &Record| account.expired.has(part, record);
        volumes.find(folder, name, &is_gone).map_err(|error| match error {
            StoreError::Manifest(error) => self.system(name, "read the manifest", error.cause),
            error => FrameError::from_source(self.frame(name), &error),
        })
    }

    /// Where a frame's file goes, and its line, where it has one: it stays where that is.
    pub(super) fn spot(
        &mut self,
        received: &ReceivedFrame,
        layout: Layout,
    ) -> Result<(Spot, Option<Found>), FrameError> {
        let meta = &received.frame.meta;
        let found = self.find(&meta.name)?;
        let expired = &self.footing.account.expired;
        let spot = match &found {
            Some(found) if !expired.has(found.part, &found.record) => {
                Spot { part: found.part, hour: found.record.hour }
            }
            _ => {
                let came = received.received;
                let mut spot = layout.spot(meta.captured.map_or(came, |captured| captured.at));
                // Nothing is put among what is being removed.
                if let Part::Of(day) = spot.part {
                    spot.part = Part::Of(expired.open_day(day, Day::of(came)));
                }
                spot
            }
        };
        Ok((spot, found))
    }

    pub(super) fn standing(&mut self, name: &FrameName) -> Result<Standing, FrameError> {
        let found = self.find(name)?;
        self.standing_of(name, found)
    }

    /// The same where its line was found before.
    pub(super) fn standing_of(
        &mut self,
        name: &FrameName,
        found: Option<Found>,
    ) -> Result<Standing, FrameError> {
        let Some(Found { part, folder: top, record }) = found else { return Ok(Standing::Open) };
        if self.footing.account.expired.has(part, &record) {
            return Ok(Standing::Expired(Box::new(record)));
        }
        let folder = match within(&top, record.hour, name) {
            Ok(Some(folder)) => folder,
            // Without its folder, or with something in its place, there is no file.
            Ok(None) | Err((_, Errno::NOTDIR)) => return Ok(Standing::Open),
            Err((_, cause)) => return Err(self.system(name, "open its folder", cause)),
        };
        let found = folder.look(name.file_name());
        let found = found.map_err(|cause| self.system(name, "look at its file", cause))?;
        let Some(file) = found else { return Ok(Standing::Open) };
        match self.is_of_line(&record, name, &folder, &file)? {
            true => Ok(Standing::Stored(Box::new(record))),
            false => Ok(Standing::Altered),
        }
    }

    /// Whether the file of that name in its folder, which looks like `seen`, is what its line says.
    fn is_of_line(
        &mut self,
        record: &Record,
        name: &FrameName,
        folder: &Directory,
        seen: &Look,
    ) -> Result<bool, FrameError> {
        if seen.kind != Kind::File(record.bytes) {
            return Ok(false);
        }
        // Most files are the line's by their time, and need not be read. Where names are folded, a file may be
        // another frame's that came after it was deleted.
        let is_by_time = wrote(record, seen.changed) && !self.footing.folds;
        Ok(is_by_time || self.has_content(name, folder, seen, record.blake3)?)
    }

    /// Whether the file of that name in its folder, which looks like `seen`, is that of a frame that has expired.
    pub(super) fn is_expired(
        &mut self,
        name: &FrameName,
        folder: &Directory,
        seen: &Look,
    ) -> Result<bool, FrameError> {
        let Some(Found { part, record, .. }) = self.find(name)? else { return Ok(false) };
        let has_expired = self.footing.account.expired.has(part, &record);
        Ok(has_expired && self.is_of_line(&record, name, folder, seen)?)
    }

    pub(super) fn taken(&mut self, name: &FrameName) -> Result<Taken, FrameError> {
        Ok(match self.standing(name)? {
            Standing::Stored(_) => Taken::Stored,
            Standing::Altered => Taken::Altered,
            Standing::Expired(_) | Standing::Open => Taken::Unlisted,
        })
    }

    /// Whether the file of that name in its folder, which looks like `seen`, has this content. It is read once, and
    /// again only when it has changed.
    pub(super) fn has_content(
        &mut self,
        name: &FrameName,
        folder: &Directory,
        seen: &Look,
        wanted: ContentHash,
    ) -> Result<bool, FrameError> {
        if let Some(known) = self.footing.remembered.get(seen, wanted) {
            return Ok(known);
        }
        let failed = |cause| self.system(name, "read the file of its name", cause);
        let (is_same, seen) = read(folder, name.file_name(), wanted).map_err(failed)?;
        seen.into_iter().for_each(|seen| self.footing.remembered.take(seen));
        Ok(is_same)
    }

    /// What has to be read to tell whether a frame of so many bytes is stored, if anything has.
    pub(super) fn unread(&mut self, name: &FrameName, bytes: u64) -> Option<Reading> {
        let Found { part, folder: top, record } = self.find(name).ok()??;
        if self.footing.account.expired.has(part, &record) {
            return None;
        }
        let folder = within(&top, record.hour, name).ok()??;
        let file = folder.look(name.file_name()).ok()??;
        let is_candidate = file.kind == Kind::File(record.bytes) && record.bytes == bytes;
        if !is_candidate
            || wrote(&record, file.changed) && !self.footing.folds
            || self.footing.remembered.get(&file, record.blake3).is_some()
        {
            return None;
        }
        drop(folder);
        // Its folder is opened when its turn has come: thousands may wait, and those of one part share a descriptor.
        let (hour, hash, name) = (record.hour, record.blake3, name.clone());
        Some(Reading::new(move || {
            let folder = within(&top, hour, &name).ok()??;
            read(&folder, name.file_name(), hash).ok()?.1
        }))
    }

    /// The frame of another name that has a line of the file in that place, from a time of another layout.
    pub(super) fn frame_at(
        &mut self,
        name: &FrameName,
        spot: Spot,
    ) -> Result<Option<String>, FrameError> {
        for (place, other) in spot.others(name) {
            let is_there =
                |found: Found| (found.part, found.record.hour) == (place.part, place.hour);
            if self.find(&other)?.is_some_and(is_there) {
                return Ok(Some(self.frame(&other)));
            }
        }
        Ok(None)
    }

    /// The frame, or the store's own file, whose file is found under a name without a line of its own: where the
    /// file system takes the two names for one. Known by looking at what is there, never by the names: every
    /// frame's file in that part of the source is looked at, where the file system is one that folds names at all.
    pub(super) fn owner_of_file(
        &mut self,
        name: &FrameName,
        part: Part,
        folder: &Directory,
        id: FileId,
    ) -> Result<Option<String>, FrameError> {
        if let Some(own) = self.footing.own_file(folder, id) {
            return Ok(Some(format!("{own}, which is the store's own")));
        }
        if self.find(name)?.is_some() || !folds(folder) {
            return Ok(None);
        }
        // As long as it is open, no other file can be given its number.
        let _held = folder.open_file(name.file_name());
        let frame = self.frame(name);
        let failed = |cause| FrameError::from_system(frame.clone(), "read the manifest", cause);
        let Footing { volumes, folder: top, .. } = &mut *self.footing;
        let volume = volumes.volume(top, part, false);
        let volume = volume.map_err(|error| FrameError::from_source(frame.clone(), &error))?;
        let Some(volume) = volume else { return Ok(None) };
        let mut lines = volume.manifest.lines().map_err(|error| failed(error.cause))?;
        loop {
            let line = lines
                .next_line()
                .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            let Some(line) = line else { return Ok(None) };
            let Text::Whole(text) = line.text else { continue };
            let Ok(record) = Record::parse(text) else { continue };
            let other = within(&volume.folder, record.hour, &record.name).ok().flatten();
            let found = other.and_then(|other| other.look(record.name.file_name()).ok().flatten());
            if record.name != *name && found.is_some_and(|found| found.id == id) {
                return Ok(Some(format!("{}/{}", self.source, record.name)));
            }
        }
    }

    pub(super) fn conflict(&self, name: &FrameName, taken: Taken) -> FrameError {
        FrameError::Conflict { frame: self.frame(name), taken }
    }

    pub(super) fn system(&self, name: &FrameName, doing: &'static str, cause: Errno) -> FrameError {
        FrameError::from_system(self.frame(name), doing, cause)
    }

    pub(super) fn frame(&self, name: &FrameName) -> String {
        format!("{}/{name}", self.source)
    }
}

/// Whether a file has this content, and what is to be remembered of it, where it was the same before and after it
/// was read.
fn read(
    folder: &Directory,
    name: &str,
    wanted: ContentHash,
) -> Result<(bool, Option<Seen>), Errno> {
    let began = UnixNanos::now();
    let file = folder.open_file(name)?;
    let before = Look::of_file(&file)?;
    let (hash, _) = hash_file(&file, &mut Vec::new())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let is_same = hash == wanted;
    let is_steady = Look::of_file(&file)? == before;
    Ok((is_same, is_steady.then_some(Seen { file: before, wanted, is_same, began })))
}

/// Whether a file has this content.
pub(super) fn has_content(
    folder: &Directory,
    name: &str,
    wanted: ContentHash,
) -> Result<bool, Errno> {
    Ok(read(folder, name, wanted)?.0)
}

/// Whether a file of which the kernel last changed anything at `changed` was stored when its line says: after the
/// frame's last byte had come, and before the line. One changed later was replaced by a receiver that was killed
/// before it wrote the new line, or altered, or only touched; one changed earlier was there before, and then either
/// its content was the frame's, or a power cut has left the line of the file that was to replace it. The file's
/// modification time says nothing of that: it is the sender's.
pub(super) fn wrote(record: &Record, changed: UnixNanos) -> bool {
    changed.0.saturating_add(TIME_GRAIN) >= record.received.0 && changed <= record.stored
}
